"""Which rows form batch i: a pure function of (seed, i), so that the step is the position.

Nothing here is drawn in sequence: every order comes from a counter-based generator keyed by the
seed and the epoch, so any step can be computed first, again, or on another machine.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from crnn_jax.data.buckets import assign_buckets
from crnn_jax.data.index import Index
from crnn_jax.errors import UserError

_CACHED_EPOCHS = 2  # loading ahead crosses the end of an epoch
FINENESS = 16  # batches of equal cost have multiples of this part of batch_size as rows
_STREAM, _ROWS, _BATCHES = range(3)  # what a permutation is drawn for

BY_ROWS, BY_COLUMNS = BATCH_BY = ("rows", "columns")


class _Tally(NamedTuple):
    """What an epoch has, or those before it."""

    steps: int
    rows: int


class EpochPlan:
    """Batches of all epochs: `step(i)` gives the width and the rows of batch i.

    Without weights an epoch holds each row once, except for the `len(index) % batch_size` rows
    that do not fill a batch; two epochs in a row leave out different ones. Fewer rows than
    `batch_size` are repeated to one batch.

    Batches by columns cost the same each: `batch_size` times the mean padded width are the pixel
    columns that a batch may have, so that narrow buckets get more rows and wide ones fewer.
    About `batch_size` rows are the mean, and fewer than a batch of the widest bucket are left out,
    other ones in each epoch. Where that would be all of its rows, they are repeated to a batch.

    With weights an epoch is as long, and each source fills its share from a shuffled endless
    cycle of its own rows: all of them have been used before one is used again.

    Rows go to the narrowest bucket that holds them; the rest of a bucket that does not fill a
    batch moves on to the next wider one.
    """

    def __init__(
        self,
        index: Index,
        batch_size: int,
        bucket_widths: Sequence[int],
        seed: int,
        weights: Sequence[float | int] | None = None,
        batch_by: str = BY_ROWS,
        parts: int = 1,
    ):
        """Args:
        index: the rows.
        batch_size: rows per step; by columns, on average.
        bucket_widths: in pixels, increasing.
        seed: of all orders.
        weights: of the sources of the index.
        batch_by: whether batches have as many rows each, or as many columns of pixels.
        parts: a number that divides batch_size, and is to divide the rows of every batch.

        Raises:
          UserError: for values that do not fit together.
        """
        if batch_size < 1 or seed < 0:
            raise UserError(
                f"batch_size={batch_size} and seed={seed}: batch_size is 1 or more, seed 0 or more"
            )
        self.batch_size = batch_size
        self.bucket_widths = tuple(bucket_widths)
        self.seed = seed
        self._bucket_of = assign_buckets(index.widths, self.bucket_widths)
        self._rows_of = self._batch_rows(batch_by, parts)
        rows = len(index)
        if batch_by == BY_ROWS:
            rows = max(batch_size, rows - rows % batch_size)
        if weights is None:
            pools, self._shares = [np.arange(len(index), dtype=np.int32)], [rows]
        else:
            pools, self._shares = _pools(index), apportion(rows, weights)
            if len(pools) != len(self._shares):
                raise UserError(
                    f"{len(self._shares)} weights for {len(pools)} sources: give one for each"
                )
        self._streams = [
            pool[_permutation(len(pool), seed, _STREAM, number)]
            for number, pool in enumerate(pools)
        ]
        # Weights and columns: epochs have other rows each, and so other numbers of batches.
        self._varies = batch_by == BY_COLUMNS and weights is not None
        self._cache: dict[int, tuple[np.ndarray, list[np.ndarray], np.ndarray]] = {}
        self._before = [_Tally(0, 0)]  # what there is before each epoch, as far as was asked for
        self._first = self._tally(0)
        self._lock = threading.Lock()

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the first epoch; of all, but by columns with weights."""
        return self._first.steps

    def batch_rows(self, width: int) -> int:
        """Returns the rows of the batches of a bucket."""
        return int(self._rows_of[self.bucket_widths.index(width)])

    def _batch_rows(self, batch_by: str, parts: int) -> Int[np.ndarray, " buckets"]:
        """Returns the rows of a batch in each bucket."""
        widths = np.asarray(self.bucket_widths)
        if batch_by == BY_ROWS:
            return np.full(len(widths), self.batch_size)
        coarse = max(self.batch_size // FINENESS, parts)
        divisors = range(parts, coarse + 1, parts)
        multiple = max(d for d in divisors if not self.batch_size % d)
        columns = self.batch_size * widths[self._bucket_of].mean()
        return np.maximum(np.rint(columns / widths / multiple).astype(int), 1) * multiple

    def padding(self, widths: Int[np.ndarray, " N"]) -> float:
        """Returns the share of all pixels that buckets add to rows of these widths."""
        padded = np.asarray(self.bucket_widths)[self._bucket_of]
        return 1 - float(widths.sum(dtype=np.int64)) / float(padded.sum(dtype=np.int64))

    def step(self, i: int) -> tuple[int, Int32[np.ndarray, " B"]]:
        """Returns the bucket width in pixels and the rows of the index that form batch i."""
        if i < 0:
            raise ValueError(f"step {i} is negative")
        epoch = self._epoch_of(i)
        buckets, batches, _ = self._epoch(epoch)
        batch = i - self._before[epoch].steps
        return self.bucket_widths[buckets[batch]], batches[batch]

    def rows_before(self, i: int) -> int:
        """Returns the rows of all steps before step i."""
        if np.all(self._rows_of == self._rows_of[0]):  # it is asked for in every step
            return i * int(self._rows_of[0])
        epoch = self._epoch_of(i)
        steps, rows = self._before[epoch]
        return rows if i == steps else rows + int(self._epoch(epoch)[2][i - steps])

    def _epoch_of(self, i: int) -> int:
        """Returns the epoch that a step is in."""
        with self._lock:
            while self._before[-1].steps <= i:
                before = self._before[-1]
                tally = self._tally(len(self._before) - 1) if self._varies else self._first
                self._before.append(_Tally(before.steps + tally.steps, before.rows + tally.rows))
        return bisect.bisect_right(self._before, i, key=lambda before: before.steps) - 1

    def _epoch(self, epoch: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Returns bucket numbers [steps], the rows of each step, and how many come before it."""
        with self._lock:  # so that threads loading ahead do not all compute the same epoch
            if epoch not in self._cache:
                while len(self._cache) >= _CACHED_EPOCHS:
                    del self._cache[next(iter(self._cache))]
                self._cache[epoch] = self._compute(epoch)
            return self._cache[epoch]

    def _tally(self, epoch: int) -> _Tally:
        """Returns the steps and rows of an epoch, without the order of its rows."""
        bucket_of = self._bucket_of[self._rows(epoch)]
        rest = steps = rows = 0
        counts = np.bincount(bucket_of, minlength=len(self._rows_of))
        for count, size in zip(counts.tolist(), self._rows_of.tolist(), strict=True):
            full, rest = divmod(rest + count, size)
            steps, rows = steps + full, rows + full * size
        widest = int(bucket_of.max())
        if rest >= counts[widest]:
            steps, rows = steps + 1, rows + int(self._rows_of[widest])
        return _Tally(steps, rows)

    def _rows(self, epoch: int) -> np.ndarray:
        """Returns the rows of an epoch, source after source."""
        parts = [
            np.take(stream, np.arange(epoch * share, (epoch + 1) * share), mode="wrap")
            for stream, share in zip(self._streams, self._shares, strict=True)
        ]
        return np.concatenate(parts)

    def _compute(self, epoch: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        rows = self._rows(epoch)
        rows = rows[_permutation(len(rows), self.seed, _ROWS, epoch)]
        bucket_of = self._bucket_of[rows]
        buckets: list[int] = []
        batches: list[np.ndarray] = []
        rest = rows[:0]
        for bucket, size in enumerate(self._rows_of):
            # What is left of the narrower bucket goes first: hardly a row moves up twice.
            pool = np.concatenate([rest, rows[bucket_of == bucket]])
            count = len(pool) // size
            full, rest = np.split(pool, [count * size])
            batches.extend(full.reshape(count, size))
            buckets.extend([bucket] * count)
        widest = int(bucket_of.max())
        if len(rest) >= np.count_nonzero(bucket_of == widest):
            # They are the last of all pools: without this batch no epoch would hold one of them.
            batches.append(np.resize(rest if batches else rows, self._rows_of[widest]))
            buckets.append(widest)
        order = _permutation(len(batches), self.seed, _BATCHES, epoch)
        bucket_of_batch = np.array(buckets, np.int32)[order]
        sizes = self._rows_of[bucket_of_batch]
        return bucket_of_batch, [batches[i] for i in order], np.cumsum(sizes) - sizes

    def __getstate__(self) -> dict[str, object]:
        # A worker process makes its own lock, and its own epochs faster than it would receive them.
        return {k: v for k, v in self.__dict__.items() if k not in ("_cache", "_lock", "_before")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _cache={}, _lock=threading.Lock(), _before=[_Tally(0, 0)])


def apportion(total: int, weights: Sequence[float | int]) -> list[int]:
    """Splits `total` rows by weight: whole numbers, less than one row from the exact share.

    The largest remainders are rounded up. A share below one row is raised to one, so that every
    source takes part.
    """
    if not weights or not all(math.isfinite(w) and w > 0 for w in weights):
        raise UserError(f"weights {tuple(weights)} of a mixture: each must be greater than 0")
    if total < len(weights):
        raise UserError(
            f"an epoch of {total} rows cannot hold {len(weights)} sources: raise the batch size"
        )
    exact = np.asarray(weights, np.float64) * (total / math.fsum(weights))
    shares = np.floor(exact).astype(np.int64)
    remainders = np.argsort(shares - exact, kind="stable")
    shares[remainders[: total - shares.sum()]] += 1
    while shares.min() == 0:
        shares[shares.argmin()] += 1
        shares[shares.argmax()] -= 1
    return shares.tolist()


def _pools(index: Index) -> list[Int32[np.ndarray, " rows"]]:
    pools = []
    for number, source in enumerate(index.sources):
        pool = np.flatnonzero(index.source_ids == number).astype(np.int32)
        if not len(pool):
            raise UserError(
                f"{source.name} has a weight in the mixture and no usable row: take it out"
            )
        pools.append(pool)
    return pools


def _permutation(count: int, seed: int, purpose: int, number: int) -> Int[np.ndarray, " count"]:
    """Shuffles `count` numbers, the same with every NumPy release.

    NumPy keeps the raw stream of a bit generator for good, but not what `Generator.permutation`
    makes of it; so the order is that of random 64-bit keys.
    """
    key = np.random.SeedSequence(seed, spawn_key=(purpose, number))
    return np.argsort(np.random.Philox(key).random_raw(count), kind="stable")
