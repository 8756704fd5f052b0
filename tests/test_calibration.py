"""Calibration errors have the values that follow from the curve that rows are drawn from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.scoring import calibration
from crnn_jax.scoring.calibration import (
    brier_score,
    calibration_error,
    ece_interval,
    log_loss,
    max_calibration_error,
    noise_floor,
    reliability_bins,
    summarise,
)


def rows(n, accuracy, seed=0):
    """Confidences, uniform, and outcomes that are right with probability accuracy(confidence)."""
    rng = np.random.default_rng(seed)
    confidences = rng.random(n)
    return confidences, rng.random(n) < accuracy(confidences)


def test_calibrated_confidences_have_an_error_near_0_and_within_the_floor() -> None:
    found = summarise(*rows(20_000, lambda c: c))
    assert found.ece < 0.02
    assert found.ece_width < 0.02
    assert found.ece <= found.floor.high
    assert found.floor.p > 0.05
    assert found.confidence == pytest.approx(found.accuracy, abs=0.01)


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_a_known_curve_has_its_known_error(kind: str) -> None:
    """Of rows right with probability c^2 the error is the mean of c - c^2, 1/6."""
    confidences, correct = rows(200_000, lambda c: c**2)
    assert calibration_error(confidences, correct, kind=kind) == pytest.approx(1 / 6, abs=0.004)
    # The greatest gap, 1/4 at 1/2, less what its bin of a tenth levels out.
    worst = max_calibration_error(confidences, correct, kind=kind)
    assert worst == pytest.approx(0.25, abs=0.015)
    assert noise_floor(confidences[:2000], correct[:2000], kind=kind, simulations=200).p < 0.01


def test_errors_of_four_rows_by_hand() -> None:
    confidences, correct = [0.1, 0.3, 0.8, 0.9], [0, 1, 1, 1]
    # Bins {0.1, 0.3} and {0.8, 0.9}: gaps 0.2 - 0.5 and 0.85 - 1.
    assert calibration_error(confidences, correct, bins=2) == pytest.approx(0.225)
    assert max_calibration_error(confidences, correct, bins=2) == pytest.approx(0.3)
    assert calibration_error(confidences, correct, bins=1) == pytest.approx(0.225)
    assert calibration_error(confidences, correct, bins=4) == pytest.approx((0.1 + 0.7 + 0.3) / 4)
    assert brier_score(confidences, correct) == pytest.approx((0.01 + 0.49 + 0.04 + 0.01) / 4)
    expected = -(math.log(0.9) + math.log(0.3) + math.log(0.8) + math.log(0.9)) / 4
    assert log_loss(confidences, correct) == pytest.approx(expected)
    first, second = reliability_bins(confidences, correct, bins=2)
    assert (first.low, first.high, first.count, first.correct) == (0.1, 0.3, 2, 1)
    assert (second.accuracy, second.interval[1]) == (1.0, 1.0)
    assert second.gap == pytest.approx(-0.15)


def test_bins_of_equal_width_leave_the_empty_ones_out_and_hold_the_ends() -> None:
    found = reliability_bins([0.0, 0.1, 0.2, 1.0], [0, 0, 1, 1], bins=5, kind="width")
    assert [(b.low, b.high) for b in found] == [(0.0, 0.1), (0.2, 0.2), (1.0, 1.0)]


def test_bins_of_equal_mass_hold_as_many_rows_each() -> None:
    confidences, correct = rows(1003, lambda c: c)
    counts = [b.count for b in reliability_bins(confidences, correct)]
    assert sum(counts) == 1003
    assert set(counts) <= {100, 101}


def test_rows_of_one_confidence_share_a_bin_so_that_their_order_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    confidences = rng.choice([0.2, 0.5, 0.9, 1.0], 500)
    correct = rng.random(500) < confidences
    found = reliability_bins(confidences, correct)
    assert [b.low for b in found] == [0.2, 0.5, 0.9, 1.0]
    assert all(b.low == b.high for b in found)
    shuffled = rng.permutation(500)
    for kind in calibration.KINDS:
        again = calibration_error(confidences[shuffled], correct[shuffled], kind=kind)
        assert calibration_error(confidences, correct, kind=kind) == pytest.approx(again, abs=1e-12)


def test_the_noise_floor_is_the_error_of_calibrated_rows() -> None:
    errors = [calibration_error(*rows(400, lambda c: c, seed)) for seed in range(300)]
    found = noise_floor(*rows(400, lambda c: c))
    assert found.mean == pytest.approx(np.mean(errors), rel=0.05)
    assert found.high == pytest.approx(np.quantile(errors, 0.95), rel=0.07)


def test_the_floors_test_is_right_about_calibrated_rows() -> None:
    """Its p-value is uniform: below 0.1 in a tenth of the cases."""
    p = [noise_floor(*rows(200, lambda c: c, s), simulations=100).p for s in range(400)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


def test_the_floor_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    some = rows(50, lambda c: c)
    whole = noise_floor(*some, simulations=20)
    monkeypatch.setattr(calibration, "_CELLS", 120)
    assert noise_floor(*some, simulations=20) == whole


@pytest.mark.parametrize("exponent", [1, 2])
def test_intervals_hold_the_true_error_about_as_often_as_they_say(exponent: int) -> None:
    truth = 0 if exponent == 1 else 1 / 6
    held = 0
    for seed in range(100):
        some = rows(300, lambda c: c**exponent, seed)
        low, high = ece_interval(*some, resamples=100)
        held += low <= truth <= high
    assert held >= 88


def test_rows_of_one_group_are_drawn_together_which_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    confidences = np.repeat(rng.random(100), 10)
    correct = np.repeat(rng.random(100) < 0.3 * confidences[::10], 10)  # ten rows, one fate
    alone = ece_interval(confidences, correct)
    together = ece_interval(confidences, correct, [f"photo {i // 10}" for i in range(1000)])
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_all_right_and_all_wrong() -> None:
    confidences = np.linspace(0, 1, 101)
    right, wrong = (summarise(confidences, np.full(101, value)) for value in (True, False))
    assert (right.accuracy, wrong.accuracy) == (1, 0)
    assert right.ece == pytest.approx(0.5)
    assert wrong.ece == pytest.approx(0.5)
    sure = summarise([1.0] * 5, [True] * 5)
    assert (sure.ece, sure.brier, sure.mce, sure.floor.p) == (0, 0, 0, 1)
    assert sure.log_loss == pytest.approx(0, abs=2e-6)


def test_one_row_and_none() -> None:
    one = summarise([0.75], [True])
    assert (one.rows, one.ece, one.mce, one.brier) == (1, 0.25, 0.25, 0.0625)
    none = summarise([], [])
    assert none.rows == 0
    assert all(map(math.isnan, (none.ece, none.ece_width, none.mce, none.brier, none.log_loss)))
    assert reliability_bins([], []) == ()
    assert all(map(math.isnan, ece_interval([], [])))


def test_a_wrong_row_of_confidence_1_costs_much_but_not_everything() -> None:
    assert log_loss([1.0, 0.0], [False, True]) == pytest.approx(-math.log(1e-6))


@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([0.5, math.nan], [1, 0], "confidence nan of row 1"),
        ([0.5, 1.2], [1, 0], "confidence 1.2 of row 1"),
        ([-0.1], [1], "from 0 to 1"),
        ([0.5], [1, 0], "one length"),
        ([0.5], [2], "True or False"),
    ],
)
def test_what_is_no_confidence_is_refused(confidences, correct, message: str) -> None:
    for function in (calibration_error, noise_floor, brier_score, log_loss, summarise):
        with pytest.raises(UserError, match=message):
            function(confidences, correct)


def test_other_kinds_of_bins_are_refused() -> None:
    with pytest.raises(UserError, match="valid: mass, width"):
        calibration_error([0.5], [1], kind="masses")
    with pytest.raises(UserError, match="at least 1"):
        calibration_error([0.5], [1], bins=0)
