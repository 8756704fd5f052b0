from __future__ import annotations

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest

from crnn_jax.data import plan as plan_lib
from crnn_jax.data.buckets import assign_buckets
from crnn_jax.data.index import Index, IndexReport, RaggedLabels
from crnn_jax.data.plan import EpochPlan, apportion
from crnn_jax.errors import UserError


def make_index(widths, source_ids=None) -> Index:
    count = len(widths)
    ids = np.zeros(count, np.int32) if source_ids is None else np.asarray(source_ids, np.int32)
    return Index(
        sources=[],
        source_ids=ids,
        rows=np.arange(count, dtype=np.int32),
        widths=np.asarray(widths, np.int32),
        labels=RaggedLabels.from_lengths(np.ones(count, np.int32), np.ones(count, np.int32)),
        report=IndexReport(count, count),
    )


def mixture(sizes) -> Index:
    """An index with sources of the given numbers of rows; plans only count and name them."""
    index = make_index([32] * sum(sizes), np.repeat(np.arange(len(sizes)), sizes))
    index.sources.extend(Named(f"source{i}") for i in range(len(sizes)))
    return index


class Named:
    def __init__(self, name):
        self.name = name


def epoch(plan: EpochPlan, number: int) -> list[tuple[int, np.ndarray]]:
    first = number * plan.steps_per_epoch
    return [plan.step(i) for i in range(first, first + plan.steps_per_epoch)]


def counts(plan: EpochPlan, number: int) -> Counter:
    return Counter(itertools.chain.from_iterable(rows.tolist() for _, rows in epoch(plan, number)))


# Rows, batch size, bucket widths: full batches only, remainders, empty buckets, one bucket, buckets
# that never fill a batch of their own, a single row too many.
CASES = [
    (64, 8, (32, 64, 128)),
    (67, 8, (32, 64, 128)),
    (100, 7, (4, 8, 128)),
    (41, 8, (128,)),
    (23, 12, (16, 40, 80, 120, 128)),
    (9, 8, (64, 128)),
    (8, 8, (64, 128)),
    (50, 1, (64, 128)),
]


@pytest.mark.parametrize(("count", "batch_size", "buckets"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_invariants_of_epochs(count, batch_size, buckets, seed):
    widths = np.random.default_rng(seed).integers(0, 129, count)
    plan = EpochPlan(make_index(widths), batch_size, buckets, seed)
    assert plan.steps_per_epoch == count // batch_size
    left_out = []
    for number in range(6):
        steps = epoch(plan, number)
        assert all(rows.shape == (batch_size,) for _, rows in steps)
        assert all(width in buckets and widths[rows].max() <= width for width, rows in steps)
        used = counts(plan, number)
        assert max(used.values()) == 1, "a row twice in an epoch"
        left_out.append(set(range(count)) - set(used))
        assert len(left_out[-1]) == count % batch_size
    for before, after in itertools.pairwise(left_out):
        assert not before & after, "a row left out of two epochs running is used too rarely"


@pytest.mark.parametrize(("count", "batch_size", "buckets"), CASES)
def test_rows_stay_in_the_narrowest_bucket_but_for_less_than_a_batch(count, batch_size, buckets):
    widths = np.random.default_rng(2).integers(0, 129, count)
    home = assign_buckets(widths, buckets)
    for width, rows in epoch(EpochPlan(make_index(widths), batch_size, buckets, 0), 0):
        bucket = buckets.index(width)
        # A batch is pulled to its width by a row that belongs there, or is the cascade's.
        assert (home[rows] < bucket).sum() < batch_size or bucket == len(buckets) - 1
    wide = [w for w, _ in epoch(EpochPlan(make_index(widths), batch_size, buckets, 0), 0)]
    for bucket, width in enumerate(buckets[:-1]):
        assert wide.count(width) >= ((home == bucket).sum() - count % batch_size) // batch_size


def test_rare_wide_rows_are_not_starved():
    # The widest bucket never fills a batch by itself, and 31 of 95 rows are left out each time.
    widths = np.full(95, 32)
    widths[:3] = 128
    plan = EpochPlan(make_index(widths), 64, (32, 128), seed=0)
    seen = sum((counts(plan, number) for number in range(95)), Counter())
    assert set(seen.values()) == {64}, "over 95 epochs every row is used equally often"


def test_each_step_is_a_pure_function_of_seed_and_number():
    index = make_index(np.random.default_rng(0).integers(1, 129, 61))
    make = lambda seed: EpochPlan(index, 8, (32, 64, 128), seed)  # noqa: E731
    total = 5 * make(3).steps_per_epoch
    forward = [make(3).step(0)] + [None] * (total - 1)
    plan = make(3)
    for i in np.random.default_rng(1).permutation(total):  # any order, the cache thrashes
        forward[i] = plan.step(int(i))
    for i in range(total):
        width, rows = make(3).step(i)
        assert width == forward[i][0]
        assert np.array_equal(rows, forward[i][1])
    assert any(not np.array_equal(make(4).step(i)[1], forward[i][1]) for i in range(total))
    first, second = epoch(plan, 0), epoch(plan, 1)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def test_golden_steps():
    """A change here changes what every resumed run trains on."""
    plan = EpochPlan(make_index([30, 60, 90, 120] * 3), 4, (64, 128), seed=7)
    assert [(w, r.tolist()) for w, r in epoch(plan, 0)] == GOLDEN


GOLDEN = [(128, [2, 6, 11, 3]), (64, [5, 8, 4, 0]), (128, [9, 1, 7, 10])]


def test_batches_of_different_buckets_are_mixed():
    plan = EpochPlan(make_index([32] * 320 + [64] * 320), 8, (32, 64), seed=0)
    widths = [width for width, _ in epoch(plan, 0)]
    assert sorted(widths) == [32] * 40 + [64] * 40
    assert sum(a != b for a, b in itertools.pairwise(widths)) > 20


def test_rows_meet_different_rows_in_each_epoch():
    plan = EpochPlan(make_index([32] * 64), 32, (32,), seed=0)
    halves = {frozenset(plan.step(2 * number)[1].tolist()) for number in range(8)}
    assert len(halves) == 8


@pytest.mark.parametrize(("count", "batch_size"), [(1, 8), (3, 8), (5, 8), (7, 8)])
def test_fewer_rows_than_a_batch_repeat_evenly(count, batch_size):
    plan = EpochPlan(make_index([32] * count), batch_size, (32,), seed=0)
    assert plan.steps_per_epoch == 1
    for number in range(4):
        used = counts(plan, number)
        assert len(used) == count
        assert max(used.values()) - min(used.values()) <= 1
        assert sum(used.values()) == batch_size
    whole = sum((counts(plan, number) for number in range(count)), Counter())
    assert set(whole.values()) == {batch_size}


def test_weighted_mixture_has_exact_shares_and_cycles_through_each_source():
    sizes, weights = (500, 37, 90), (0.25, 0.6, 0.15)
    plan = EpochPlan(mixture(sizes), 20, (32,), seed=1, weights=weights)
    length = 620
    assert plan.steps_per_epoch * 20 == length
    ends = np.cumsum(sizes)
    total = Counter()
    for number in range(5):
        used = counts(plan, number)
        total += used
        for source, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
            rows = {r: n for r, n in used.items() if ends[source] - size <= r < ends[source]}
            assert sum(rows.values()) == round(weight * length)
            each = list(rows.values()) + [0] * (size - len(rows))
            assert max(each) - min(each) <= 1, "a row was reused before all had been used"
    for source, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        each = [total[r] for r in range(ends[source] - size, ends[source])]
        assert max(each) - min(each) <= 1, "cycles do not go on from epoch to epoch"
        assert sum(each) == 5 * round(weight * length)


def test_weights_are_relative_and_must_fit_the_sources():
    index = mixture((40, 40))
    one = EpochPlan(index, 8, (32,), 0, weights=(1, 3))
    other = EpochPlan(index, 8, (32,), 0, weights=(0.25, 0.75))
    assert all(np.array_equal(one.step(i)[1], other.step(i)[1]) for i in range(10))
    with pytest.raises(UserError, match="3 weights for 2 sources"):
        EpochPlan(index, 8, (32,), 0, weights=(1, 1, 1))
    with pytest.raises(UserError, match="greater than 0"):
        EpochPlan(index, 8, (32,), 0, weights=(1, 0))
    with pytest.raises(UserError, match="source1 has a weight in the mixture and no usable row"):
        EpochPlan(mixture((40, 0)), 8, (32,), 0, weights=(1, 1))


def test_apportion():
    assert apportion(10, (1, 1, 1)) == [4, 3, 3]
    assert apportion(640, (0.7, 0.3)) == [448, 192]
    assert apportion(64, (1, 1e-6)) == [63, 1]
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.uniform(0.1, 1, rng.integers(1, 8))
        total = int(rng.integers(100, 10_000))
        shares = apportion(total, weights.tolist())
        assert sum(shares) == total
        assert np.abs(shares - weights / weights.sum() * total).max() < 1
    with pytest.raises(UserError, match="cannot hold 3 sources"):
        apportion(2, (1, 1, 1))
    with pytest.raises(UserError, match="greater than 0"):
        apportion(10, (1.0, float("nan")))


def test_a_pickled_plan_is_the_same_plan_without_its_cache():
    plan = EpochPlan(make_index([32] * 4_000), 8, (32,), seed=5)
    fresh = len(pickle.dumps(plan))
    expected = [plan.step(i)[1] for i in range(1_200)]
    data = pickle.dumps(plan)
    assert len(data) == fresh
    copy = pickle.loads(data)
    assert all(np.array_equal(copy.step(i)[1], rows) for i, rows in enumerate(expected))


def test_each_epoch_is_computed_once_and_few_are_held(monkeypatch):
    plan = EpochPlan(make_index([32] * 40), 8, (32,), seed=5)
    computed = []
    compute = plan._compute
    monkeypatch.setattr(plan, "_compute", lambda e: computed.append(e) or compute(e))
    for i in range(50):
        plan.step(i)
        assert len(plan._cache) <= plan_lib._CACHED_EPOCHS
    assert computed == list(range(10))


def test_wrong_sizes_are_told():
    index = make_index([32])
    with pytest.raises(UserError, match="batch_size=0"):
        EpochPlan(index, 0, (32,), 0)
    with pytest.raises(UserError, match="seed=-1"):
        EpochPlan(index, 4, (32,), -1)
    with pytest.raises(ValueError, match="negative"):
        EpochPlan(index, 4, (32,), 0).step(-1)


def test_padding_is_the_share_that_buckets_add():
    plan = EpochPlan(make_index([10, 20, 30]), 1, (20, 40), seed=0)
    assert plan.padding(np.array([10, 20, 30], np.int32)) == pytest.approx(20 / 80)


# Rows, batch size, bucket widths and a number that is to divide the rows of every batch.
BY_COLUMNS = [
    (2_000, 64, (32, 64, 128), 1),
    (2_000, 64, (16, 48, 104, 128), 4),
    (1_003, 12, (64, 128), 3),
    (300, 8, (4, 128), 1),
    (41, 8, (128,), 1),
]


@pytest.mark.parametrize(("count", "batch_size", "buckets", "parts"), BY_COLUMNS)
@pytest.mark.parametrize("weights", [None, (3, 1)])
def test_batches_by_columns_cost_the_same(count, batch_size, buckets, parts, weights):
    widths = np.minimum(np.random.default_rng(0).gamma(3, 16, count).astype(int), 128)
    index = make_index(widths, np.arange(count) % 2)
    index.sources.extend([Named("even"), Named("odd")])
    plan = EpochPlan(index, batch_size, buckets, 0, weights, "columns", parts)
    budget = batch_size * np.mean(np.asarray(buckets)[assign_buckets(widths, buckets)])
    for width in buckets:
        rows = plan.batch_rows(width)
        assert rows % parts == 0
        coarse = max(batch_size / 16, parts)
        assert abs(rows * width - budget) <= coarse * width / 2 or rows == parts
    last = plan.batch_rows(buckets[-1])
    for number in range(3):
        start = next(i for i in itertools.count() if plan._epoch_of(i) == number)
        steps = list(
            itertools.takewhile(
                lambda i, number=number: plan._epoch_of(i) == number, itertools.count(start)
            )
        )
        batches = [plan.step(i) for i in steps]
        used = Counter(itertools.chain.from_iterable(rows.tolist() for _, rows in batches))
        assert all(len(rows) == plan.batch_rows(width) for width, rows in batches)
        assert all(widths[rows].max() <= width for width, rows in batches)
        assert count - last < sum(used.values()) <= count
        if weights is None:
            assert max(used.values()) == 1, "a row twice in an epoch"
            assert len(batches) == plan.steps_per_epoch
        assert plan.rows_before(start + len(steps)) - plan.rows_before(start) == sum(used.values())
    middle = steps[len(steps) // 2]
    assert plan.rows_before(middle) == sum(len(plan.step(i)[1]) for i in range(middle))


def test_columns_are_a_pure_function_of_the_step_even_where_epochs_differ():
    index = mixture([300, 100])
    index.widths[:] = np.random.default_rng(0).choice([32, 128], 400)
    make = lambda: EpochPlan(index, 2, (32, 128), 0, (1, 2), "columns")  # noqa: E731
    plan = make()
    forward = [plan.step(i) for i in range(900)]
    lengths = Counter(plan._epoch_of(i) for i in range(900))
    assert len(set(list(lengths.values())[:-1])) > 1, "epochs of these sets have unlike lengths"
    for i in (899, 5, 64, 420, 0):
        width, rows = pickle.loads(pickle.dumps(make())).step(i)
        assert width == forward[i][0]
        assert np.array_equal(rows, forward[i][1])


def test_too_few_rows_by_columns_repeat_to_a_batch():
    plan = EpochPlan(make_index([20, 20, 60]), 16, (32, 64), 0, batch_by="columns")
    assert plan.steps_per_epoch == 1
    width, rows = plan.step(7)
    assert len(rows) == plan.batch_rows(width)
    assert set(rows.tolist()) == {0, 1, 2}
    assert plan.rows_before(7) == 7 * plan.batch_rows(64)


@pytest.mark.parametrize(("narrow", "wide"), [(504, 3), (500, 1), (17, 2)])
def test_the_widest_rows_are_trained_on_though_they_fill_no_batch(narrow, wide):
    index = make_index([64] * narrow + [1024] * wide)
    plan = EpochPlan(index, 64, (64, 1024), 0, batch_by="columns")
    for number in range(2):
        assert {narrow, narrow + wide - 1} <= set(counts(plan, number))
        assert all(len(rows) == plan.batch_rows(width) for width, rows in epoch(plan, number))
    rows = sum(len(rows) for _, rows in epoch(plan, 0))
    assert plan.rows_before(2 * plan.steps_per_epoch) == 2 * rows
