"""Near-duplicates: a perceptual hash of a word image, and the pairs of hashes that are nearest.

The hash is the signs of 255 low frequencies of the image's cosine transform. It knows neither
brightness nor contrast nor size. JPEG flips a few bits of it, a crop of a few percent some dozens;
words that have nothing to do with each other differ in about 127.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt64
from PIL import Image

BITS = 256  # 255 frequencies; the constant one stays 0, because it is the brightness
_FREQUENCIES = 16  # on each axis
_THUMBNAIL = (64, 32)  # width, height: both hold the frequencies with room to spare
_BLOCK = 512  # rows a side: the distances of a block and what they are made of stay in the cache
_ALIKE = np.float32(np.log(1.25))  # aspects of two crops of one word differ less

Hashes = UInt64[np.ndarray, "_ words"]
Aspects = Float32[np.ndarray, " _"]


class Pairs(NamedTuple):
    """Pairs of rows, nearest first; equal distances in the order of their rows.

    Attributes:
      left, right: row numbers.
      distances: bits in which their hashes differ.
      within: how many pairs are within the distance that was asked for, listed or not.
      apart: those of them whose rows are in different groups, where there are groups.
    """

    left: Int32[np.ndarray, " pairs"]
    right: Int32[np.ndarray, " pairs"]
    distances: Int32[np.ndarray, " pairs"]
    within: int
    apart: Pairs | None = None


def perceptual_hash(grey: Image.Image) -> tuple[UInt64[np.ndarray, " words"], float]:
    """Returns the hash of an image of mode L, and the contrast of what was hashed.

    The contrast is the standard deviation of the thumbnail in grey levels; near 0 there is nothing
    in the image and the hash means nothing.
    """
    small = grey.resize(_THUMBNAIL, Image.Resampling.BILINEAR)
    pixels = np.asarray(small, np.float32)
    across, down = _cosines(_THUMBNAIL[0]), _cosines(_THUMBNAIL[1])
    signs = (down @ (pixels - pixels.mean()) @ across.T > 0).ravel()
    signs[0] = False
    return np.packbits(signs).view(np.uint64), float(pixels.std())


@functools.cache
def _cosines(size: int) -> Float32[np.ndarray, "frequencies size"]:
    """Returns the rows of the cosine transform (DCT-II) of `size` samples, lowest first."""
    k, x = np.arange(_FREQUENCIES)[:, None], np.arange(size)[None, :]
    return np.cos(np.pi * k * (2 * x + 1) / (2 * size)).astype(np.float32)


def nearest_pairs(
    left: Hashes,
    left_aspects: Aspects,
    right: Hashes | None = None,
    right_aspects: Aspects | None = None,
    *,
    within: int,
    most: int,
    groups: Int32[np.ndarray, " _"] | None = None,
    progress: Callable[[int], object] = lambda pairs: None,
) -> Pairs:
    """Returns the nearest pairs of rows of two sets, or of one set when there is no second.

    Every row is compared with every other, block by block, so that memory does not grow with the
    sets. Rows of which one is over a quarter longer for its height than the other are no pair.

    Args:
      left, right: hashes, as `perceptual_hash` makes them.
      left_aspects, right_aspects: width / height of each image.
      within: distance in bits up to which pairs are counted.
      most: at most that many pairs are listed, whatever their distance; as many of those apart.
      groups: of the rows, without a second set: pairs of two groups are counted and listed, too.
      progress: told after every block how many pairs it compared.
    """
    alone = right is None
    if right is None:
        right, right_aspects = left, left_aspects
    assert right_aspects is not None  # they come with the hashes
    left_logs, right_logs = np.log(left_aspects), np.log(right_aspects)
    kept, apart = _Nearest(most, within), _Nearest(most, within)
    bound, apart_bound = BITS, within
    for top in range(0, len(left), _BLOCK):
        for start in range(top if alone else 0, len(right), _BLOCK):
            rows, columns = slice(top, top + _BLOCK), slice(start, start + _BLOCK)
            distances = _distances(left[rows], right[columns])
            progress(distances.size)
            near = distances <= max(bound, within)
            if alone and start == top:
                near &= np.tri(*near.shape, dtype=np.bool_).T ^ np.eye(len(near), dtype=bool)
            i, j = np.nonzero(near)
            alike = np.abs(left_logs[top + i] - right_logs[start + j]) <= _ALIKE
            i, j = i[alike], j[alike]
            found = np.stack([distances[i, j], top + i, start + j], axis=1).astype(np.int32)
            bound = kept.add(found, bound)
            if groups is not None:
                other = groups[found[:, 1]] != groups[found[:, 2]]
                apart_bound = apart.add(found[other], apart_bound)
    return kept.pairs()._replace(apart=None if groups is None else apart.pairs())


class _Nearest:
    """The nearest of the pairs that it is given, rows of (distance, left, right)."""

    def __init__(self, most: int, within: int):
        self._most, self._within = most, within
        self._kept, self._count = np.zeros((0, 3), np.int32), 0

    def add(self, found: Int32[np.ndarray, "_ three"], bound: int) -> int:
        """Takes pairs up to a bound; returns the bound from now on."""
        self._count += int(np.count_nonzero(found[:, 0] <= self._within))
        found = np.concatenate([self._kept, found[found[:, 0] <= bound]])
        order = np.lexsort((found[:, 2], found[:, 1], found[:, 0]))
        self._kept = found[order[: self._most]]
        if len(self._kept) < self._most:
            return bound
        return int(self._kept[-1, 0]) if self._most else -1

    def pairs(self) -> Pairs:
        kept = self._kept
        return Pairs(kept[:, 1], kept[:, 2], kept[:, 0], self._count)


def _distances(a: Hashes, b: Hashes) -> np.ndarray:
    """Returns in how many bits each hash of `a` differs from each of `b` (rows, columns)."""
    total = np.zeros((len(a), len(b)), np.uint16)
    for word in range(a.shape[1]):
        total += np.bitwise_count(a[:, None, word] ^ b[None, :, word])
    return total
