"""Pictures of readings: images with what they say, what was read and how sure the model is."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import pathlib
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_jax import files, metrics
from crnn_jax.data.pixels import from_array
from crnn_jax.errors import DataError, printable

if TYPE_CHECKING:
    from crnn_jax.data.images import Preprocess
    from crnn_jax.data.sources import Source
    from crnn_jax.evaluate import Row
    from crnn_jax.reading import Reading

Entry = tuple["np.ndarray | None", "Row"]  # pixels (H, W, C), None if unreadable; what was read
_COLUMNS = 4
_CELL = (240, 92)  # pixels of a cell
_IMAGE = (228, 48)  # pixels that the image may take of it
_BLANK = "\u2423"
_WIDE = (480, 112)  # pixels of a cell with a mistake in it
_ACROSS, _SLIM, _TITLE = 6, (160, 100), 26  # cells of a gallery, their pixels, those of a title
_TEXT, _SMALL = 13, 10
_ENLARGED = 128  # pixels of the height of an image with boxes, about
_EDGES = ("#1a73e8", "#e8710a")  # of neighbours in turn
_RIGHT, _WRONG, _INK, _PAPER, _FAINT = "#157a3c", "#b3261e", "#202124", "#ffffff", "#80868b"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: it has the letters of many scripts."""
    import matplotlib

    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def readings_grid(
    images: Sequence[np.ndarray | None], rows: Sequence[Row], protocol: str
) -> Image.Image:
    """Draws images in a grid, each above its target and its reading.

    A right reading is green and a wrong one red; one that the protocol does not compare is neither.

    Args:
      images: pixels (H, W, C) uint8; None where one could not be read.
      rows: what they say and what was read.
      protocol: how texts are compared.
    """
    columns = min(_COLUMNS, max(len(rows), 1))
    lines = -(-len(rows) // columns)
    grid = Image.new("RGB", (columns * _CELL[0], max(lines, 1) * _CELL[1]), _PAPER)
    draw = ImageDraw.Draw(grid)
    for number, (pixels, row) in enumerate(zip(images, rows, strict=True)):
        left, top = number % columns * _CELL[0] + 6, number // columns * _CELL[1] + 4
        _paste(grid, pixels, left, top)
        label, read = (metrics.apply_protocol(text, protocol) for text in (row.label, row.reading))
        text = top + _IMAGE[1] + 3
        draw.text((left, text), _fit(draw, row.label), _INK, _font(_TEXT))
        reading = f"{row.reading or '(empty)'}  {_sure(row)}"
        colour = _RIGHT if label == read else _WRONG
        colour = colour if label or row.error else _INK
        draw.text((left, text + 16), _fit(draw, reading), colour, _font(_TEXT))
    return grid


def _sure(row: Row) -> str:
    """Returns a confidence; nothing where a recogniser gave none."""
    return "" if math.isnan(row.confidence) else f"{row.confidence:.2f}"


def compared(source: Source, number: int, row: Row, protocol: str) -> Entry:
    """Returns an image of a set as it is, and its texts as a protocol compares them."""
    label, reading = (metrics.apply_protocol(text, protocol) for text in (row.label, row.reading))
    return original(source, number), dataclasses.replace(row, label=label, reading=reading)


def original(source: Source, row: int) -> np.ndarray | None:
    """Returns an image of a set as it is, (H, W, 3) uint8; None where it cannot be read."""
    from crnn_jax.data.images import decode_image

    try:
        return decode_image(source.image_bytes(row), channels=3)
    except DataError:
        return None


def mistakes(entries: Sequence[Entry]) -> Image.Image:
    """Draws images in two columns, each above its label and its reading; what differs is red.

    Args:
      entries: pixels (H, W, C) uint8, None where they could not be read, and the row.
    """
    lines = max(-(-len(entries) // 2), 1)
    picture = Image.new("RGB", (2 * _WIDE[0], lines * _WIDE[1]), _PAPER)
    draw = ImageDraw.Draw(picture)
    for number, (pixels, row) in enumerate(entries):
        left, top = number % 2 * _WIDE[0] + 6, number // 2 * _WIDE[1] + 4
        _paste(picture, pixels, left, top, _WIDE[0] - 12)
        top += _IMAGE[1] + 3
        draw.text((left, top), _fit(draw, row.key, _WIDE[0] - 60, _SMALL), _FAINT, _font(_SMALL))
        right = left + _WIDE[0] - 16
        draw.text((right, top), _sure(row), _FAINT, _font(_SMALL), anchor="ra")
        _draw_compared(draw, left, top + 17, row, 17)
    return picture


def gallery(groups: Sequence[tuple[str, bool, Sequence[Entry]]]) -> Image.Image:
    """Draws groups of misread images with their names, below titles; what differs is red.

    Args:
      groups: title, whether it stands above groups, and its images.
    """
    heights = [_TITLE + -(-len(entries) // _ACROSS) * _SLIM[1] for _, _, entries in groups]
    picture = Image.new("RGB", (_ACROSS * _SLIM[0], max(sum(heights), 1)), _PAPER)
    draw = ImageDraw.Draw(picture)
    start = 0
    for (title, is_main, entries), height in zip(groups, heights, strict=True):
        draw.line([(0, start), (picture.width, start)], _FAINT)
        draw.text((6, start + 5), printable(title), _INK, _font(_TEXT + 3 if is_main else _TEXT))
        for number, (pixels, row) in enumerate(entries):
            left = number % _ACROSS * _SLIM[0] + 6
            top = start + _TITLE + number // _ACROSS * _SLIM[1]
            _paste(picture, pixels, left, top, _SLIM[0] - 12)
            _draw_compared(draw, left, top + _IMAGE[1] + 2, row, 16)
            name = _fit(draw, row.key.rsplit("/", 1)[-1], _SLIM[0] - 12, _SMALL)
            draw.text((left, top + _IMAGE[1] + 35), name, _FAINT, _font(_SMALL))
        start += height
    return picture


def _draw_compared(draw: ImageDraw.ImageDraw, left: int, top: int, row: Row, line: int) -> None:
    """Draws a label and, a line of so many pixels below, its reading; what differs is red."""
    blocks = metrics.differences(row.label, row.reading)
    _draw_runs(draw, (left, top), [(label, same) for label, _, same in blocks])
    _draw_runs(draw, (left, top + line), [(reading, same) for _, reading, same in blocks])


def _draw_runs(
    draw: ImageDraw.ImageDraw, start: tuple[int, int], runs: Sequence[tuple[str, bool]]
) -> None:
    """Draws parts of a text beside one another, those that are not right in red."""
    text = "".join(part for part, _ in runs)
    if any(
        unicodedata.bidirectional(c) in ("R", "AL", "NSM") for c in text
    ):  # parts would not join
        runs = [(text, all(right for _, right in runs))]
    x: float = start[0]
    top = start[1]
    for part, right in runs:
        part = part if right else part.replace(" ", _BLANK)  # a wrong blank would not be seen
        part = printable(part)
        draw.text((x, top), part, _INK if right else _WRONG, _font(_TEXT))
        x += draw.textlength(part, _font(_TEXT))
    if not text:
        draw.text(start, "(empty)", _WRONG, _font(_TEXT))


def _paste(
    grid: Image.Image, pixels: np.ndarray | None, left: int, top: int, width: int = _IMAGE[0]
) -> None:
    """Draws an image into its cell, or that it cannot be read."""
    if pixels is None:
        place = (left, top + 16)
        ImageDraw.Draw(grid).text(place, "unreadable image", _WRONG, _font(_TEXT))
        return
    image = from_array(pixels)
    scale = min(width / image.width, _IMAGE[1] / image.height)
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


def character_boxes(pixels: np.ndarray, reading: Reading) -> Image.Image:
    """Draws an image with the characters of a reading over it, each between its edges.

    Args:
      pixels: (H, W, 3) uint8.
      reading: with characters in pixels of the image.
    """
    scale = max(1, round(_ENLARGED / pixels.shape[0]))
    image = from_array(pixels)
    image = image.resize((scale * image.width, scale * image.height), Image.Resampling.BICUBIC)
    picture = Image.new("RGB", (max(image.width, 80), image.height + 44), _PAPER)
    picture.paste(image, (0, 44))
    draw = ImageDraw.Draw(picture)
    for number, c in enumerate(reading.characters):
        x0, x1 = scale * c.x0, scale * c.x1
        colour = _EDGES[number % len(_EDGES)]
        draw.rectangle([x0, 42, max(x0, x1 - 1), picture.height - 1], outline=colour, width=2)
        middle = (x0 + x1) / 2
        char = printable(c.char.replace(" ", _BLANK))
        draw.text((middle, 12), char, _INK, _font(16), anchor="mm")
        draw.text((middle, 32), f"{100 * c.confidence:.0f}", _FAINT, _font(_SMALL), anchor="mm")
    return picture


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int = _IMAGE[0], size: int = _TEXT) -> str:
    """Shortens a text to the width of a cell; Pillow measures no line breaks."""
    text = printable(text)
    if draw.textlength(text, _font(size)) <= width:
        return text
    while text and draw.textlength(text + "…", _font(size)) > width:
        text = text[:-1]
    return text + "…"


def save_readings(
    path: pathlib.Path, source: Source, rows: Sequence[Row], preprocess: Preprocess, protocol: str
) -> None:
    """Writes the grid of a source's first rows, images as the model sees them."""
    images: list[np.ndarray | None] = []
    for i in range(len(rows)):
        try:
            images.append(preprocess(source.image_bytes(i)))
        except DataError:
            images.append(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, readings_grid(images, rows, protocol))


def write(path: str | pathlib.Path, picture: Image.Image) -> None:
    """Writes a picture as PNG, whole or not at all."""
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    files.write_bytes(path, encoded.getvalue())
