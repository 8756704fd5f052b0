"""Pictures of readings: images with what they say, what was read and how sure the model is."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_jax.data.pixels import from_array
from crnn_jax.errors import DataError

if TYPE_CHECKING:
    from crnn_jax.data.images import Preprocess
    from crnn_jax.data.sources import Source
    from crnn_jax.evaluate import Row

_COLUMNS = 4
_CELL = (240, 92)  # pixels of a cell
_IMAGE = (228, 48)  # pixels that the image may take of it
_TEXT = 13
_RIGHT, _WRONG, _INK, _PAPER = "#157a3c", "#b3261e", "#202124", "#ffffff"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: it has the letters of many scripts."""
    import matplotlib

    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def readings_grid(images: Sequence[np.ndarray | None], rows: Sequence[Row]) -> Image.Image:
    """Draws images in a grid, each above its target and its reading.

    Args:
      images: pixels (H, W, C) uint8; None where one could not be read.
      rows: what they say and what was read.
    """
    columns = min(_COLUMNS, max(len(rows), 1))
    lines = -(-len(rows) // columns)
    grid = Image.new("RGB", (columns * _CELL[0], max(lines, 1) * _CELL[1]), _PAPER)
    draw = ImageDraw.Draw(grid)
    for number, (pixels, row) in enumerate(zip(images, rows, strict=True)):
        left, top = number % columns * _CELL[0] + 6, number // columns * _CELL[1] + 4
        if pixels is not None:
            _paste(grid, pixels, left, top)
        else:
            draw.text((left, top + 16), "unreadable image", _WRONG, _font(_TEXT))
        right = row.reading == row.label or row.reading == row.label.lower()
        text = top + _IMAGE[1] + 3
        draw.text((left, text), _fit(draw, row.label), _INK, _font(_TEXT))
        reading = f"{row.reading or '(empty)'}  {row.confidence:.2f}"
        draw.text((left, text + 16), _fit(draw, reading), _RIGHT if right else _WRONG, _font(_TEXT))
    return grid


def _paste(grid: Image.Image, pixels: np.ndarray, left: int, top: int) -> None:
    image = from_array(pixels)
    scale = min(_IMAGE[0] / image.width, _IMAGE[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    grid.paste(image.resize(size, Image.Resampling.BILINEAR), (left, top))


def labelled_grid(images: Sequence[np.ndarray], labels: Sequence[str], columns: int) -> Image.Image:
    """Draws images in a grid, each above its label.

    Args:
      images: pixels (H, W, C) uint8.
      labels: what they say.
      columns: of the grid.
    """
    lines, height = -(-len(images) // columns), _IMAGE[1] + 24
    grid = Image.new("RGB", (columns * _CELL[0], lines * height), _PAPER)
    draw = ImageDraw.Draw(grid)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        left, top = number % columns * _CELL[0] + 6, number // columns * height + 4
        _paste(grid, pixels, left, top)
        draw.text((left, top + _IMAGE[1] + 2), _fit(draw, label), _INK, _font(_TEXT))
    return grid


def _fit(draw: ImageDraw.ImageDraw, text: str) -> str:
    """Shortens a text to the width of a cell."""
    if draw.textlength(text, _font(_TEXT)) <= _IMAGE[0]:
        return text
    while text and draw.textlength(text + "…", _font(_TEXT)) > _IMAGE[0]:
        text = text[:-1]
    return text + "…"


def save_readings(
    path: pathlib.Path, source: Source, rows: Sequence[Row], preprocess: Preprocess
) -> None:
    """Writes the grid of a source's first rows, images as the model sees them."""
    images = []
    for i in range(len(rows)):
        try:
            images.append(preprocess(source.image_bytes(i)))
        except DataError:
            images.append(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    readings_grid(images, rows).save(path)
