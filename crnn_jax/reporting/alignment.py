"""What the network says frame by frame, above it the image, on it the path of the label.

Frames stand from left to right as the columns of the image do, so that a peak is below the letter
that it reads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import jax
import numpy as np

from crnn_jax import pages
from crnn_jax.charset import Charset
from crnn_jax.ctc.align import align
from crnn_jax.ctc.forward import column_sizes
from crnn_jax.data.pixels import from_array
from crnn_jax.data.stream import padded_widths, stack
from crnn_jax.recognizer import Recognizer
from crnn_jax.reporting.charts import shown

_FRAME, _NARROWEST, _WIDEST = 10.5, 200.0, 720.0  # pixels of a frame, of the whole image
_ROW, _GUTTER = 15, 46  # pixels of a class, of the names beside
_LEAST = 0.02  # probability of a cell that is drawn
_RIVAL, _RIVALS = 0.1, 4  # probability of a class that neither text holds, and how many at most
_TALLEST = 110.0  # pixels of the image


# Where a text is in the frames: (class, first, last, peak) of every character.
Path = list[tuple[int, int, int, int]]


@dataclass(frozen=True)
class Look:
    """An image and what the network says about it.

    Attributes:
      pixels: as the network sees them.
      posteriors: (T, K), of real frames.
      label, reading: their paths; None for a text that cannot be spelled or does not fit.
    """

    pixels: np.ndarray
    posteriors: np.ndarray
    label: Path | None
    reading: Path | None


def spelled(charset: Charset, text: str) -> list[int]:
    """Returns the class ids of a text; none when it holds unknown characters."""
    return [] if charset.unknown(text) else charset.encode(text)


def look(
    recognizer: Recognizer,
    images: Sequence[np.ndarray],
    labels: Sequence[list[int]],
    readings: Sequence[list[int]],
) -> list[Look]:
    """Returns what the network says about images.

    Args:
      recognizer: the network.
      images: (H, W, C) uint8, preprocessed.
      labels, readings: class ids of the texts to align; empty for none.
    """
    if not images:
        return []
    ladder = padded_widths(recognizer.preprocess)
    width = next(w for w in ladder if w >= max(image.shape[1] for image in images))
    batch = stack(list(images), width, len(images), np.zeros((len(images), 1), np.int32))
    logits, frames = jax.jit(recognizer.model.apply)(
        recognizer.variables, batch.images, batch.widths
    )
    posteriors = np.asarray(jax.nn.softmax(logits.astype(np.float32), axis=-1))
    counts = np.asarray(frames)
    found = [paths(logits, frames, texts) for texts in (labels, readings)]
    return [
        Look(image, posteriors[i, : counts[i]], found[0][i], found[1][i])
        for i, image in enumerate(images)
    ]


def paths(logits: Any, frames: Any, texts: Sequence[list[int]]) -> list[Path | None]:
    """Returns where texts are in the frames; None for those that are empty or do not fit.

    Args:
      logits: (B, T, K).
      frames: (B,), real ones.
      texts: class ids of one text per row.
    """
    longest = max(len(ids) for ids in texts)
    sizes = column_sizes(logits.shape[1])  # few shapes, for each is compiled
    columns = next((size for size in sizes if size >= longest), longest)
    padded = np.zeros((len(texts), columns), np.int32)
    for row, ids in enumerate(texts):
        padded[row, : len(ids)] = ids
    lengths = np.array([len(ids) for ids in texts], np.int32)
    found = jax.device_get(_align()(logits, frames, padded, lengths))
    return [
        [
            (ids[j], int(found.first[i, j]), int(found.last[i, j]), int(found.peak[i, j]))
            for j in range(len(ids))
        ]
        if ids and np.isfinite(found.log_probability[i])
        else None
        for i, ids in enumerate(texts)
    ]


@functools.cache
def _align() -> Any:
    return jax.jit(align)


def heat_map(seen: Look, charset: Charset, name: str) -> str:
    """Returns a picture of an image above its posteriors.

    Args:
      seen: the image and what the network says.
      charset: names the classes.
      name: of the picture, for those who do not see it.
    """
    frames = len(seen.posteriors)
    width = min(max(frames * _FRAME, _NARROWEST), _WIDEST)
    rows = _rows(seen)
    image, height = _image(seen.pixels, width)
    top = height + 8
    step = width / frames
    shapes = [image]
    for place, number in enumerate(rows):
        y = top + place * _ROW
        text = "blank" if number == 0 else shown(charset.classes[number - 1], short=True)
        shapes.append(
            f'<rect class="lane" x="{_GUTTER}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_ROW - 2}"/><text class="{"axis" if number == 0 else "char"}" '
            f'x="{_GUTTER - 7}" y="{y + 11:.1f}" text-anchor="end">{escape(text)}</text>'
        )
        kind = "blank" if number == 0 else "cell"
        for frame in np.flatnonzero(seen.posteriors[:, number] >= _LEAST).tolist():
            p = float(seen.posteriors[frame, number])
            shapes.append(
                f'<rect class="{kind}" x="{_GUTTER + frame * step:.1f}" y="{y:.1f}" '
                f'width="{max(step - 0.6, 0.6):.1f}" height="{_ROW - 2}" '
                f'fill-opacity="{p**0.6:.2f}"><title>{escape(text)}, frame {frame}: {p:.2f}'
                "</title></rect>"
            )
    way = _shapes(seen.label, rows, top, step)
    shapes += [
        f'<g class="other">{s}</g>' for s in sorted(_shapes(seen.reading, rows, top, step) - way)
    ]
    shapes += [f'<g class="way">{s}</g>' for s in sorted(way)]
    total, across = top + len(rows) * _ROW + 2, _GUTTER + width + 2
    return (
        f'<div class="scroll"><svg class="frames" viewBox="0 0 {across:.0f} {total:.0f}" '
        f'width="{across:.0f}" height="{total:.0f}" role="img" aria-label="{escape(name)}">'
        f"{''.join(shapes)}</svg></div>"
    )


def _rows(seen: Look) -> list[int]:
    """Returns the classes that are shown: of the label, of the reading, rivals, the blank."""
    texts = [path for path in (seen.label, seen.reading) if path]
    chosen = list(dict.fromkeys(entry[0] for path in texts for entry in path))
    most = seen.posteriors.max(axis=0)
    others = [int(k) for k in np.argsort(-most) if k and k not in chosen and most[k] >= _RIVAL]
    return [*chosen, *others[:_RIVALS], 0]


def _image(pixels: np.ndarray, width: float) -> tuple[str, float]:
    """Returns the image as wide as its frames are, and its height."""
    height = min(width * pixels.shape[0] / pixels.shape[1], _TALLEST)
    uri = pages.data_uri(from_array(pixels).convert("RGB"))
    return (
        f'<image href="{uri}" x="{_GUTTER}" y="0" width="{width:.1f}" height="{height:.1f}" '
        'preserveAspectRatio="none"/>'
    ), height


def _shapes(path: Path | None, rows: Sequence[int], top: float, step: float) -> set[str]:
    """Returns the frames of every character as boxes, and lines from peak to peak."""
    shapes, before = set(), None
    for number, first, last, peak in path or ():
        y = top + rows.index(number) * _ROW
        shapes.add(
            f'<rect x="{_GUTTER + first * step - 1:.1f}" y="{y - 1:.1f}" '
            f'width="{(last - first + 1) * step + 1:.1f}" height="{_ROW}" rx="2"/>'
        )
        here = f"{_GUTTER + (peak + 0.5) * step:.1f},{y + _ROW / 2 - 1:.1f}"
        if before:
            shapes.add(f'<polyline points="{before} {here}"/>')
        before = here
    return shapes
