"""Signed distance fields of glyphs from large grey drawings of them.

The nearest edge pixel of every texel comes from an exact Euclidean distance transform. The grey
level of that pixel and the direction in which it grows say where the outline crosses it
(S. Gustavson, R. Strand, "Anti-aliased Euclidean distance transform", 2011), so that the error is
a few hundredths of a texel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from crnn_jax.synth.atlas import SPREAD

OVERSAMPLING = 5  # drawn pixels per texel and axis; odd, so that a texel's centre is a pixel's


class Tile(NamedTuple):
    """The distance field of one glyph.

    Attributes:
      field: uint8 [h, w], 255 * (0.5 + distance / (2 * SPREAD)), positive inside the ink.
      left: column of the first texel; texel k lies between k and k + 1 texels from the pen.
      top: row of the first texel, counted downwards from the baseline.
    """

    field: np.ndarray
    left: int
    top: int


def distance_tile(drawing: np.ndarray, left: int, top: int) -> Tile:
    """Returns the field of a glyph, SPREAD texels wider than its ink on every side.

    Args:
      drawing: coverage, uint8 [H, W], OVERSAMPLING pixels per texel; some of it not 0.
      left: column of its first pixel, counted from the pen.
      top: row of its first pixel, counted downwards from the baseline.
    """
    pixels, first_column, first_row = _align(drawing, left, top)
    middle = OVERSAMPLING // 2
    centres = np.s_[middle::OVERSAMPLING, middle::OVERSAMPLING]
    edge = _edge_pixels(pixels)
    row, column = ndimage.distance_transform_edt(
        ~edge, return_distances=False, return_indices=True
    )[(slice(None), *centres)]
    grey = pixels.astype(np.float32) / 255
    normal_y, normal_x, offset = _outline(grey, row, column)
    y = np.arange(middle, pixels.shape[0], OVERSAMPLING, dtype=np.float32)[:, None] - row
    x = np.arange(middle, pixels.shape[1], OVERSAMPLING, dtype=np.float32)[None, :] - column
    across = normal_y * y + normal_x * x + offset  # positive inside
    beyond = np.maximum(np.abs(normal_y * x - normal_x * y) - 0.5, 0)  # the outline ends there
    distance = np.hypot(across, beyond)
    near = np.abs(y) + np.abs(x) <= 1
    inside = np.where(near, across > 0, grey[centres] >= 0.5)
    signed = np.where(inside, distance, -distance) / OVERSAMPLING
    field = np.rint(255 * np.clip(0.5 + signed / (2 * SPREAD), 0, 1)).astype(np.uint8)
    return Tile(field, first_column, first_row)


def _align(drawing: np.ndarray, left: int, top: int) -> tuple[np.ndarray, int, int]:
    """Pads a drawing to whole texels and by SPREAD + 1 of them, so that the border is outside."""
    height, width = drawing.shape
    first_column = left // OVERSAMPLING - SPREAD - 1
    first_row = top // OVERSAMPLING - SPREAD - 1
    end_column = -(-(left + width) // OVERSAMPLING) + SPREAD + 1
    end_row = -(-(top + height) // OVERSAMPLING) + SPREAD + 1
    before = (top - first_row * OVERSAMPLING, left - first_column * OVERSAMPLING)
    after = (end_row * OVERSAMPLING - top - height, end_column * OVERSAMPLING - left - width)
    pixels = np.pad(drawing, tuple(zip(before, after, strict=True)))
    return pixels, first_column, first_row


def _edge_pixels(pixels: np.ndarray) -> np.ndarray:
    """Returns which pixels the outline crosses, or touches where it runs between two pixels."""
    edge = (pixels > 0) & (pixels < 255)
    full, empty = pixels == 255, pixels == 0
    edge[1:] |= full[1:] & empty[:-1]
    edge[:-1] |= full[:-1] & empty[1:]
    edge[:, 1:] |= full[:, 1:] & empty[:, :-1]
    edge[:, :-1] |= full[:, :-1] & empty[:, 1:]
    return edge


def _outline(
    grey: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the inward normal (y, x) of the outline at some pixels and its distance from them.

    The distance is that from the outline to the pixel's centre, positive where that is inside.
    """
    below, above, after, before = row + 1, row - 1, column + 1, column - 1
    diagonal = grey[below, after] - grey[above, before], grey[below, before] - grey[above, after]
    root2 = np.float32(np.sqrt(2))
    y = diagonal[0] + diagonal[1] + root2 * (grey[below, column] - grey[above, column])
    x = diagonal[0] - diagonal[1] + root2 * (grey[row, after] - grey[row, before])
    length = np.maximum(np.hypot(y, x), 1e-6)
    y, x = y / length, x / length
    # The area that a line at distance d and this direction cuts off a unit square, inverted.
    long, short = np.maximum(np.abs(y), np.abs(x)), np.minimum(np.abs(y), np.abs(x))
    covered = grey[row, column]
    smaller = np.minimum(covered, 1 - covered)
    triangle = short / (2 * np.maximum(long, 1e-6))  # area up to which a corner alone is cut off
    corner = 0.5 * (long + short) - np.sqrt(2 * long * short * smaller)
    straight = (0.5 - smaller) * long
    offset = np.where(smaller < triangle, corner, straight)
    return y, x, np.where(covered >= 0.5, offset, -offset)
