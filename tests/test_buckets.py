from __future__ import annotations

import itertools

import numpy as np
import pytest

from crnn_jax.data.buckets import assign_buckets, choose_buckets
from crnn_jax.errors import UserError


def test_assign_buckets():
    assert assign_buckets(np.array([0, 1, 32, 33, 64]), (32, 64)).tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(UserError, match=r"65 px wide .* widest bucket 64 px: .* of 68 px"):
        assign_buckets(np.array([65]), (32, 64))
    for wrong in ((), (64, 32), (0, 32), (32, 32)):
        with pytest.raises(UserError, match="increasing"):
            assign_buckets(np.array([5]), wrong)


def padded_pixels(widths, buckets) -> int:
    return int(np.asarray(buckets)[assign_buckets(widths, buckets)].sum())


def test_choose_buckets_is_optimal():
    rng = np.random.default_rng(0)
    for _ in range(20):
        widths = rng.choice(rng.integers(1, 60, 6), 40)
        sizes = sorted({-(-int(w) // 4) * 4 for w in widths})
        chosen = choose_buckets(widths, 3)
        assert len(chosen) <= 3
        best = min(
            padded_pixels(widths, (*some, sizes[-1]))
            for k in range(3)
            for some in itertools.combinations(sizes[:-1], k)
        )
        assert best <= padded_pixels(widths, chosen) <= best * 1.02


def test_choose_buckets_few_multiples_of_four():
    widths = np.random.default_rng(0).gamma(4, 25, 5_000).astype(int) + 8
    chosen = choose_buckets(widths, 6)
    assert list(chosen) == sorted(set(chosen))
    assert 2 <= len(chosen) <= 6
    assert all(width % 4 == 0 for width in chosen)
    assert chosen[-1] - 4 < widths.max() <= chosen[-1]
    assert padded_pixels(widths, chosen) < 1.25 * widths.sum()
    assert choose_buckets(np.full(50, 100), 6) == (100,)
    assert choose_buckets(np.array([0, 101, 0]), 6) == (104,), "unreadable rows do not count"
    assert choose_buckets(widths, 1) == (chosen[-1],)
    # One narrow row among thousands is not worth another compiled program.
    assert choose_buckets(np.array([20] + [100] * 5_000), 4) == (100,)


def test_choose_buckets_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match="max_buckets=0"):
        choose_buckets(np.array([5]), 0)
    with pytest.raises(UserError, match="no image can be measured"):
        choose_buckets(np.array([0, 0]), 3)
