"""Intervals cover what they should, and tests agree with values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crnn_jax.evaluate import Row
from crnn_jax.metrics import RecognitionMetrics
from crnn_jax.scoring import significance
from crnn_jax.scoring.significance import RowScores, bootstrap, interval, mcnemar, paired_test


def resample(models, name="", resamples=significance.RESAMPLES):
    """The metrics of the resamples."""
    return bootstrap(models, name, resamples).metrics()


def scores(correct, distance=None, length=None) -> RowScores:
    correct = np.asarray(correct, np.int64)
    distance = 1 - correct if distance is None else np.asarray(distance)
    length = np.full(len(correct), 4) if length is None else np.asarray(length)
    return RowScores(np.ones(len(correct), bool), correct, distance, length)


def test_scores_of_rows_sum_up_to_the_metrics() -> None:
    rows = [Row(str(i), label, reading, 1.0) for i, (label, reading) in enumerate(
        [("Haus", "haus"), ("it's", "its"), ("!!", "x"), ("abc", ""), ("kitten", "sitting")]
    )]  # fmt: skip
    for protocol in ("36", "exact"):
        found, sums = significance.score_rows(rows, protocol), RecognitionMetrics(protocol)
        for row in rows:
            sums.update(row.label, row.reading)
        kept = found.where(found.compared)
        assert len(kept.correct) == sums.count
        assert len(found.correct) == len(rows)
        assert kept.correct.sum() == sums.correct
        assert kept.distance.sum() == sums.distance
        assert kept.length.sum() == sums.label_length


def test_replicates_of_an_accuracy_are_binomial() -> None:
    """The bootstrap of a mean of zeros and ones is Binomial(n, p) / n, which has a closed form."""
    n, right = 400, 300
    found = resample([scores([1] * right + [0] * (n - right))], resamples=20_000)
    deviation = math.sqrt(0.75 * 0.25 / n)
    assert found.word_accuracy.mean() == pytest.approx(0.75, abs=4 * deviation / math.sqrt(20_000))
    assert found.word_accuracy.std() == pytest.approx(deviation, rel=0.03)
    low, high = interval(found.word_accuracy)
    assert low == pytest.approx(0.75 - 1.96 * deviation, abs=1.01 / n)
    assert high == pytest.approx(0.75 + 1.96 * deviation, abs=1.01 / n)


def test_replicates_of_the_cer_are_those_of_drawing_row_after_row() -> None:
    rng = np.random.default_rng(0)
    length = rng.integers(1, 12, 150)
    distance = rng.binomial(length, 0.2)
    found = resample([scores(distance == 0, distance, length)], resamples=8000).cer
    rows = rng.integers(0, 150, (8000, 150))
    plain = distance[rows].sum(1) / length[rows].sum(1)
    assert found.mean() == pytest.approx(plain.mean(), abs=0.001)
    assert found.std() == pytest.approx(plain.std(), rel=0.05)
    assert interval(found) == pytest.approx(interval(plain), abs=0.003)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(400):
        low, high = interval(
            resample([scores(rng.random(300) < 0.8)], str(trial), 1000).word_accuracy
        )
        covered += low <= 0.8 <= high
    assert 0.92 <= covered / 400 <= 0.975


def test_the_same_result_has_the_same_interval_whatever_the_order_of_rows() -> None:
    rng = np.random.default_rng(2)
    correct = rng.integers(0, 2, 100)
    first = resample([scores(correct)], "svt")
    assert np.array_equal(first.cer, resample([scores(correct[::-1])], "svt").cer)
    assert not np.array_equal(first.cer, resample([scores(correct)], "ic03").cer)


def test_in_parts_the_resamples_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scores([1, 0, 1, 1, 0, 1], [0, 3, 0, 0, 1, 0], [2, 3, 4, 5, 6, 7])
    whole = resample([one], resamples=50)
    monkeypatch.setattr(significance, "_CELLS", 40)
    assert np.array_equal(resample([one], resamples=50).cer, whole.cer)


def test_seeds_that_differ_widen_the_interval_by_what_they_differ() -> None:
    n = 4000
    low, high = scores([1] * 2400 + [0] * 1600), scores([1] * 3200 + [0] * 800)
    alike = resample([low, low], resamples=4000).word_accuracy
    assert alike.std() == pytest.approx(math.sqrt(0.6 * 0.4 / n), rel=0.05)
    found = resample([low, low, high], resamples=20_000).word_accuracy
    # Student's t of two degrees has the quartiles +- 0.816; the error of the mean is 0.2 / 3.
    expected = [2 / 3 - 0.816 * 0.2 / 3, 2 / 3, 2 / 3 + 0.816 * 0.2 / 3]
    assert np.quantile(found, [0.25, 0.5, 0.75]) == pytest.approx(expected, abs=0.003)
    assert 0 <= found.min() < found.max() <= 1


@pytest.mark.parametrize(("spread", "seeds"), [(0.0, 3), (0.03, 3), (0.03, 2), (0.03, (3, 5))])
def test_intervals_of_a_difference_cover_none_where_there_is_none(spread, seeds) -> None:
    """Also of few seeds, whose spread is more than that of images (0.7 points here)."""
    rng = np.random.default_rng(7)
    counts = seeds if isinstance(seeds, tuple) else (seeds, seeds)
    hard, covered, trials = rng.random(2000), 0, 150
    for trial in range(trials):
        a, b = (
            [
                scores(rng.random(2000) < np.clip(0.4 + 0.3 * hard + spread * rng.normal(), 0, 1))
                for _ in range(count)
            ]
            for count in counts
        )
        low, high = significance.difference_of_groups(a, b, str(trial), 400)[1]
        covered += low <= 0 <= high
    assert covered / trials > 0.91


def test_one_model_of_a_group_leaves_images_alone() -> None:
    rng = np.random.default_rng(8)
    one, two, other = (scores(rng.random(500) < rate) for rate in (0.5, 0.6, 0.9))
    narrow = significance.difference_of_groups([one], [two, other])[1]
    assert narrow.high - narrow.low < 0.12


def test_models_are_drawn_alike_in_all_sets_and_images_are_not() -> None:
    """So the mean over sets keeps the whole spread between the models."""
    bad, good = scores([0] * 50), scores([1] * 50)
    sets = [bootstrap([bad, good], name) for name in ("a", "b", "c")]
    assert np.array_equal(sets[0].correct, sets[2].correct)
    mean = significance.mean_of_sets(sets).word_accuracy
    assert mean == pytest.approx(sets[0].metrics().word_accuracy)
    half = [bootstrap([scores([0, 1] * 25)], name) for name in ("a", "b", "c")]
    assert np.std(significance.mean_of_sets(half).word_accuracy) == pytest.approx(
        np.std(half[0].metrics().word_accuracy) / math.sqrt(3), rel=0.1
    )


def test_means_over_sets_weigh_sets_and_means_over_images_weigh_images() -> None:
    large, small = scores([1] * 900), scores([0] * 100, [2] * 100, [5] * 100)
    sets = [bootstrap([large], "large"), bootstrap([small], "small")]
    assert interval(significance.mean_of_sets(sets).word_accuracy) == (0.5, 0.5)
    assert interval(significance.mean_of_images(sets).word_accuracy) == (0.9, 0.9)
    assert interval(significance.mean_of_sets(sets).cer) == (0.2, 0.2)
    assert interval(significance.mean_of_images(sets).cer) == (200 / 4100, 200 / 4100)


def test_rows_that_do_not_count_are_left_out() -> None:
    some = RowScores(np.array([True, False, True]), *np.array([[1, 0, 1], [0, 9, 0], [3, 0, 3]]))
    assert interval(resample([some]).cer) == (0, 0)
    none = some.where(np.array([False, True, False]))
    assert all(map(math.isnan, interval(resample([none]).word_accuracy)))
    assert paired_test(none, none) is None


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 1, 1.0),
        (0, 5, 2 / 2**5),
        (6, 1, 2 * (1 + 7) / 2**7),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemars_exact_test_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(p)
    assert mcnemar(only_b, only_a) == pytest.approx(p)


def test_paired_test_says_who_is_better_by_how_much_and_how_sure() -> None:
    a = scores([1] * 60 + [0] * 40)
    b = scores([1] * 58 + [0] * 2 + [1] * 8 + [0] * 32)
    found = paired_test(a, b, resamples=4000)
    assert (found.count, found.only_a, found.only_b) == (100, 2, 8)
    accuracy = found.word_accuracy
    assert (accuracy.a, accuracy.b) == (0.60, 0.66)
    assert accuracy.difference == pytest.approx(0.06)
    assert accuracy.p == pytest.approx(112 / 1024)
    deviation = math.sqrt((0.1 - 0.06**2) / 100)  # of differences -1, 0, 1
    width = accuracy.interval.high - accuracy.interval.low
    assert width == pytest.approx(2 * 1.96 * deviation, abs=0.021)
    assert (found.cer.a, found.cer.b) == (40 / 400, 34 / 400)
    assert found.cer.interval.low < found.cer.difference < found.cer.interval.high
    assert set(found.to_json()["cer"]) == {"a", "b", "difference", "interval", "p"}


def test_pairing_finds_what_intervals_of_each_alone_hide() -> None:
    rng = np.random.default_rng(3)
    a = (rng.random(500) < 0.7).astype(int)
    b = a.copy()
    b[np.flatnonzero(a == 0)[:15]] = 1  # better on 15 rows, worse on none
    alone = [interval(resample([scores(x)]).word_accuracy) for x in (a, b)]
    assert alone[0].high > alone[1].low
    found = paired_test(scores(a), scores(b))
    assert found.word_accuracy.p == pytest.approx(2 / 2**15)
    assert found.word_accuracy.interval.low > 0
    assert found.cer.interval.high < 0
    assert found.cer.p == pytest.approx(2 / 2001)  # the least that 2,000 resamples can say


def test_under_no_difference_the_tests_are_seldom_sure() -> None:
    rng = np.random.default_rng(4)
    sure = [0, 0]
    for trial in range(300):
        a, b = rng.random((2, 200)) < 0.8
        found = paired_test(scores(a), scores(b), str(trial), 400)
        sure[0] += found.word_accuracy.p < 0.05
        sure[1] += found.cer.p < 0.05
    assert sure[0] / 300 <= 0.06  # the exact test is on the safe side
    assert 0.01 <= sure[1] / 300 <= 0.09
