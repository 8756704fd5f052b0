"""Thresholds keep their guarantee, curves are what trying every threshold gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from crnn_jax.errors import UserError
from crnn_jax.scoring.selective import (
    apply_threshold,
    aurc,
    clopper_pearson,
    excess_aurc,
    risk_coverage,
    rows_needed,
    shown,
    threshold_for,
)


def sure_rows(n, seed, exponent=1.0):
    """Confidences near 1, and outcomes that are right with probability confidence ** exponent."""
    rng = np.random.default_rng(seed)
    confidences = 1 - rng.random(n) ** 4  # half of them above 0.93
    return confidences, rng.random(n) < confidences**exponent


def true_risk(threshold, exponent=1.0):
    """Share of wrong rows at and above a threshold, by integration over u of 1 - u^4."""
    u = np.linspace(0, (1 - threshold) ** 0.25, 20_001)
    return float(np.mean(1 - (1 - u**4) ** exponent))


def test_the_curve_is_what_trying_every_threshold_gives() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.choice(np.linspace(0, 1, 30), 200)
    correct = rng.random(200) < confidences
    curve = risk_coverage(confidences, correct)
    assert curve.thresholds.tolist() == sorted(set(confidences.tolist()), reverse=True)
    for i, threshold in enumerate(curve.thresholds):
        taken = confidences >= threshold
        assert curve.accepted[i] == taken.sum()
        assert curve.errors[i] == (~correct[taken]).sum()
        assert curve.coverage[i] == pytest.approx(taken.mean())
        assert curve.risk[i] == pytest.approx(1 - correct[taken].mean())
    assert curve.coverage[curve.at(0.5)] >= 0.5 > curve.coverage[curve.at(0.5) - 1]
    assert (curve.at(0.0), curve.at(1.0)) == (0, len(curve.thresholds) - 1)


def test_the_area_by_hand() -> None:
    # Errors at the second and fourth: risks 0, 1/2, 1/3, 2/4.
    assert aurc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    # The best order: 0, 0, 1/3, 2/4.
    assert excess_aurc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx(1 / 8)
    assert aurc([0.9, 0.1], [1, 1]) == 0
    assert aurc([0.9, 0.1], [0, 0]) == 1
    assert math.isnan(aurc([], []))


def test_the_area_of_ties_is_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(1)
    confidences = rng.choice([0.3, 0.6, 0.9], 40)
    correct = rng.random(40) < confidences
    shuffled = []
    for _ in range(4000):
        noise = 1e-6 * rng.random(40)
        shuffled.append(aurc(confidences + noise, correct))
    assert aurc(confidences, correct) == pytest.approx(np.mean(shuffled), abs=0.002)
    order = rng.permutation(40)
    assert aurc(confidences[order], correct[order]) == pytest.approx(aurc(confidences, correct))


@pytest.mark.parametrize(("errors", "n"), [(0, 10), (10, 10), (3, 50), (1, 299)])
def test_intervals_are_clopper_pearsons(errors: int, n: int) -> None:
    expected = binomtest(errors, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(errors, n) == pytest.approx((expected.low, expected.high))
    assert clopper_pearson(0, 0) == (0, 1)


def test_the_plain_threshold_accepts_most_rows_at_the_wanted_error_rate() -> None:
    confidences, correct = sure_rows(800, 2)
    found = threshold_for(confidences, correct, 0.02).plain
    assert found.error_rate <= 0.02
    for threshold in np.unique(confidences):
        taken = confidences >= threshold
        if (~correct[taken]).mean() <= 0.02:
            assert taken.sum() <= found.accepted
    assert found.accepted == (confidences >= found.value).sum()


def test_the_plain_threshold_takes_ties_together() -> None:
    # Nine right rows and a wrong one of the same confidence: all ten or none.
    confidences, correct = [0.9] * 10 + [0.5], [1] * 9 + [0, 1]
    assert threshold_for(confidences, correct, 0.05).plain.value is None
    assert threshold_for(confidences, correct, 0.1).plain.accepted == 11
    assert threshold_for(confidences, correct, 1 / 11).plain.accepted == 11


@pytest.mark.parametrize("exponent", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("error_rate", [0.02, 0.05])
def test_the_guarantee_holds_as_often_as_it_says(exponent: float, error_rate: float) -> None:
    """Whether confidences are calibrated, say too little or too much."""
    broken = found = 0
    for seed in range(300):
        value = threshold_for(*sure_rows(1000, seed, exponent), error_rate, 0.1).guaranteed.value
        if value is not None:
            found += 1
            broken += true_risk(value, exponent) > error_rate
    # 0.1 is promised; of 300 draws, 0.14 has three standard deviations to spare.
    assert broken / 300 <= 0.14
    if exponent <= 1:
        assert found > 200  # and it is not the guarantee of saying nothing


def test_the_plain_threshold_has_no_such_guarantee() -> None:
    """Else the other one would not be needed."""
    broken = 0
    for seed in range(200):
        value = threshold_for(*sure_rows(1000, seed), 0.02).plain.value
        broken += value is not None and true_risk(value) > 0.02
    assert broken / 200 > 0.3


def test_a_guarantee_takes_enough_rows() -> None:
    needed = rows_needed(0.01)
    assert needed == 327  # with all of delta in one test it would be 299
    few = threshold_for([0.999] * needed, [True] * needed, 0.01)
    assert few.plain.accepted == needed
    assert few.guaranteed.value is not None
    assert threshold_for([0.999] * 326, [True] * 326, 0.01).guaranteed.value is None
    # An error among them is too many, and among 500 it is not.
    assert threshold_for([0.99] * 400, [True] * 399 + [False], 0.01).guaranteed.value is None
    assert threshold_for([0.99] * 510, [True] * 509 + [False], 0.01).guaranteed.value is not None


def test_guaranteed_is_never_more_than_plain_would_accept() -> None:
    for seed in range(20):
        found = threshold_for(*sure_rows(1500, seed), 0.03)
        assert found.guaranteed.accepted <= found.plain.accepted
        assert found.guaranteed.interval[0] < 0.03


def test_all_right_all_wrong_one_and_none() -> None:
    rng = np.random.default_rng(3)
    confidences = rng.random(2000)
    right = threshold_for(confidences, np.ones(2000, bool), 0.01)
    assert (right.plain.accepted, right.plain.coverage) == (2000, 1)
    wrong = threshold_for(confidences, np.zeros(2000, bool), 0.01)
    assert (wrong.plain.value, wrong.guaranteed.value) == (None, None)
    assert math.isnan(wrong.plain.error_rate)
    one = threshold_for([1.0], [True], 0.01)
    assert (one.plain.value, one.plain.accepted, one.guaranteed.value) == (1.0, 1, None)
    none = threshold_for([], [], 0.01)
    assert (none.plain.value, none.plain.interval) == (None, (0, 1))
    assert math.isnan(none.plain.coverage)
    assert risk_coverage([], []).at(0.5) is None


def test_confidences_of_exactly_0_and_1_count() -> None:
    found = threshold_for([1.0] * 400 + [0.0] * 600, [True] * 400 + [False] * 600, 0.01)
    assert (found.plain.value, found.plain.accepted) == (1.0, 400)
    assert found.guaranteed.accepted == 400
    everything = threshold_for([0.0] * 400, [True] * 400, 0.01)
    assert (everything.plain.value, everything.plain.accepted) == (0.0, 400)


def test_a_threshold_does_on_other_rows_what_counting_says() -> None:
    found = apply_threshold([0.2, 0.5, 0.9, 0.5], [1, 0, 1, 1], 0.5)
    assert (found.accepted, found.errors, found.coverage) == (3, 1, 0.75)
    assert apply_threshold([0.2], [1], None).accepted == 0


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_rates_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(UserError, match=r"error rate .* above 0 and below 1"):
        threshold_for([0.5], [1], bad)
    with pytest.raises(UserError, match="delta"):
        threshold_for([0.5], [1], 0.01, bad)


def test_nan_is_refused() -> None:
    for function in (aurc, risk_coverage, lambda c, y: threshold_for(c, y, 0.1)):
        with pytest.raises(UserError, match="nan"):
            function([0.5, math.nan], [1, 1])


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.99, 5, "0.99000"),
        (0.97655, 3, "0.976"),
        (1 - 3.25e-6, 5, "0.9999967"),
        (1 - 2**-53, 4, "0.99999999999999990"),
        (0.00042, 3, "0.00042"),
        (1.0, 4, "1.0000"),
        (0.0, 4, "0.0000"),
    ],
)
def test_a_threshold_is_shown_so_that_it_accepts_what_it_is_said_to(
    value: float, decimals: int, text: str
) -> None:
    assert shown(value, decimals) == text
    assert float(text) <= value
