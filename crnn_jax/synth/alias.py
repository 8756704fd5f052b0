"""Weighted choice by Walker's alias method, in integers alone: NumPy and JAX agree on every bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Alias(NamedTuple):
    """Tables of a weighted choice, see `pick`."""

    odds: Any
    alias: Any


def at(table: Any, index: Any) -> Any:
    """Returns table[index], NumPy or JAX; indices are in bounds, which costs JAX no check."""
    if isinstance(table, np.ndarray):
        return table[index]
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def scaled(bits: Any, size: Any) -> Any:
    """Returns floor(bits * size / 2**32) as int32, in 32-bit arithmetic; NumPy or JAX arrays.

    Args:
      bits: uint32.
      size: int32 array, not negative.
    """
    size = size.astype("uint32")
    low, high = bits & 0xFFFF, bits >> 16
    size_low, size_high = size & 0xFFFF, size >> 16
    middle = high * size_low + ((low * size_low) >> 16)
    carried = low * size_high + (middle & 0xFFFF)
    return (high * size_high + (middle >> 16) + (carried >> 16)).astype("int32")


def alias_table(weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns odds uint32[N] and alias int32[N] of Walker's method, as built by Vose (1991)."""
    share = np.asarray(weights, np.float64)
    share = share / share.sum() * len(share)
    alias = np.arange(len(share), dtype=np.int32)
    left = share.tolist()
    small = np.flatnonzero(share < 1).tolist()
    large = np.flatnonzero(share >= 1).tolist()
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        left[rich] -= 1 - left[poor]
        if left[rich] < 1:
            small.append(large.pop())
    odds = np.clip(np.round(np.array(left) * 2.0**32), 0, 2**32 - 1).astype(np.uint32)
    odds[small + large] = 2**32 - 1  # what rounding left of them is certain
    return odds, alias


def pick(odds: Any, alias: Any, first: Any, size: Any, column: Any, coin: Any) -> Any:
    """Draws indices from first to first + size - 1 with the weights that `alias_table` took.

    Args:
      odds, alias: tables, of which that range is one; its aliases count from its start.
      column, coin: two uint32 random numbers per draw.
    """
    chosen = scaled(column, size)
    # 0 or 1 as a factor, for NumPy and JAX alike; the column itself is its own last resort.
    stays = (coin <= at(odds, first + chosen)).astype("int32")
    return first + chosen * stays + at(alias, first + chosen) * (1 - stays)
