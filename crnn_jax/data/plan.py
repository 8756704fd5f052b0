"""Which rows form batch i: a pure function of (seed, i), so that the step is the position.

Nothing here is drawn in sequence: every order comes from a counter-based generator keyed by the
seed and the epoch, so any step can be computed first, again, or on another machine.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from crnn_jax.data.index import Index
from crnn_jax.errors import UserError

BUCKET_MULTIPLE = 4  # the encoders halve the width twice before it is cropped
_CACHED_EPOCHS = 2  # loading ahead crosses the end of an epoch
_WORTHWHILE = 0.02  # share of all pixels that more buckets have to save
_STREAM, _ROWS, _BATCHES = range(3)  # what a permutation is drawn for


class EpochPlan:
    """Batches of all epochs: `step(i)` gives the width and the rows of batch i.

    Without weights an epoch holds each row once, except for the `len(index) % batch_size` rows
    that do not fill a batch; two epochs in a row leave out different ones. Fewer rows than
    `batch_size` are repeated to one batch.

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
    ):
        if batch_size < 1 or seed < 0:
            raise UserError(
                f"batch_size={batch_size} and seed={seed}: batch_size is 1 or more, seed 0 or more"
            )
        self.batch_size = batch_size
        self.bucket_widths = tuple(bucket_widths)
        self.seed = seed
        self._bucket_of = assign_buckets(index.widths, self.bucket_widths)
        rows = max(batch_size, len(index) - len(index) % batch_size)
        self.steps_per_epoch = rows // batch_size
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
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def padding(self, widths: Int[np.ndarray, " N"]) -> float:
        """Returns the share of all pixels that buckets add to rows of these widths."""
        padded = np.asarray(self.bucket_widths)[self._bucket_of]
        return 1 - float(widths.sum(dtype=np.int64)) / float(padded.sum(dtype=np.int64))

    def step(self, i: int) -> tuple[int, Int32[np.ndarray, " B"]]:
        """Returns the bucket width in pixels and the rows of the index that form batch i."""
        if i < 0:
            raise ValueError(f"step {i} is negative")
        epoch, batch = divmod(i, self.steps_per_epoch)
        buckets, batches = self._epoch(epoch)
        return self.bucket_widths[buckets[batch]], batches[batch]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns bucket numbers [steps] and rows [steps, B] of an epoch."""
        with self._lock:  # so that threads loading ahead do not all compute the same epoch
            if epoch not in self._cache:
                while len(self._cache) >= _CACHED_EPOCHS:
                    del self._cache[next(iter(self._cache))]
                self._cache[epoch] = self._compute(epoch)
            return self._cache[epoch]

    def _compute(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            np.take(stream, np.arange(epoch * share, (epoch + 1) * share), mode="wrap")
            for stream, share in zip(self._streams, self._shares, strict=True)
        ]
        rows = np.concatenate(parts)
        rows = rows[_permutation(len(rows), self.seed, _ROWS, epoch)]
        bucket_of = self._bucket_of[rows]
        buckets, batches, rest = [], [], rows[:0]
        for bucket in range(len(self.bucket_widths)):
            # What is left of the narrower bucket goes first: hardly a row moves up twice.
            pool = np.concatenate([rest, rows[bucket_of == bucket]])
            count = len(pool) // self.batch_size
            full, rest = np.split(pool, [count * self.batch_size])
            batches.append(full.reshape(count, self.batch_size))
            buckets.append(np.full(count, bucket, np.int32))
        order = _permutation(self.steps_per_epoch, self.seed, _BATCHES, epoch)
        return np.concatenate(buckets)[order], np.concatenate(batches)[order]

    def __getstate__(self) -> dict[str, object]:
        # A worker process makes its own lock, and its own epochs faster than it would receive them.
        return {k: v for k, v in self.__dict__.items() if k not in ("_cache", "_lock")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _cache={}, _lock=threading.Lock())


def assign_buckets(
    widths: Int[np.ndarray, " N"], bucket_widths: Sequence[int]
) -> Int32[np.ndarray, " N"]:
    """Returns for each width the number of the narrowest bucket that holds it."""
    edges = np.asarray(bucket_widths)
    if not len(edges) or edges[0] <= 0 or np.any(np.diff(edges) <= 0):
        raise UserError(
            f"bucket widths {tuple(bucket_widths)} are no increasing list of pixels, as in 64,128"
        )
    if len(widths) and widths.max() > edges[-1]:
        raise UserError(
            f"an image is {widths.max()} px wide after preprocessing and the widest bucket"
            f" {edges[-1]} px: add a bucket of {_round_up(int(widths.max()))} px or lower max_width"
        )
    return np.searchsorted(edges, widths).astype(np.int32)


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


def choose_buckets(widths: Int[np.ndarray, " N"], max_buckets: int) -> tuple[int, ...]:
    """Returns at most `max_buckets` bucket widths (px, multiples of 4) with the least padding.

    Fewer are returned where more would save less than 2 % of the pixels: each width is one more
    compiled program. Exact, by dynamic programming over the distinct widths.
    """
    if max_buckets < 1:
        raise UserError(f"max_buckets={max_buckets}: at least one bucket is needed")
    known = widths[widths > 0]  # unreadable images have width 0 and fit anywhere
    if not len(known):
        raise UserError("no image can be measured, so no bucket widths can be chosen")
    sizes, counts = np.unique(_round_up(known), return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: pixel columns of the rows with the j smallest sizes, in the best k buckets
    cost = before * np.append(0, sizes)
    costs, cuts = [cost], []
    for _ in range(min(max_buckets, len(sizes)) - 1):
        last = (before[1:, None] - before[None, :-1]) * sizes[:, None]  # bucket of sizes i..j
        table = np.where(np.tri(len(sizes), dtype=bool), cost[None, :-1] + last, np.inf)
        cuts.append(table.argmin(axis=1))
        cost = np.append(0, table.min(axis=1))
        costs.append(cost)
    least = costs[-1][-1] * (1 + _WORTHWHILE)
    k = next(i for i, cost in enumerate(costs) if cost[-1] <= least)
    chosen, end = [], len(sizes)
    for cut in reversed(cuts[:k]):
        chosen.append(int(sizes[end - 1]))
        end = int(cut[end - 1])
        if not end:
            break
    if end:
        chosen.append(int(sizes[end - 1]))
    return tuple(reversed(chosen))


def _round_up(width):
    return -(-width // BUCKET_MULTIPLE) * BUCKET_MULTIPLE


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
