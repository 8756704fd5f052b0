"""Bucket widths: the few widths to which images of a training set are padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from crnn_jax.errors import UserError

BUCKET_MULTIPLE = 4  # the encoders halve the width twice before it is cropped
_WORTHWHILE = 0.02  # share of all pixels that more buckets have to save


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
