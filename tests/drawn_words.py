"""Pictures of words, drawn for tests: seeded, all different, none on disk before."""

from __future__ import annotations

import functools
import io
import pathlib
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONTS = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@functools.cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONTS / f"{name}.ttf"), size)


def draw(word: str, seed: int = 0, face: str = "DejaVuSans", size: int = 32) -> Image.Image:
    """A word in dark ink on light paper, with margins, tone and noise of its own."""
    rng = np.random.default_rng(seed)
    left, top, right, bottom = (int(n) for n in font(face, size).getbbox(word))
    margins = rng.integers(2, 9, 4).tolist()
    image = Image.new(
        "L",
        (right - left + margins[0] + margins[1], bottom - top + margins[2] + margins[3]),
        int(rng.integers(170, 240)),
    )
    ink = int(rng.integers(10, 90))
    place = (margins[0] - left, margins[2] - top)
    ImageDraw.Draw(image).text(place, word, ink, font(face, size))
    noisy = np.asarray(image, np.float32) + rng.normal(0, 4, (image.height, image.width))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def words(count: int, seed: int = 0) -> list[str]:
    """Different made-up words of 4 to 9 letters."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        letters = rng.choice(list(LETTERS), int(rng.integers(4, 10)))
        found["".join(letters.tolist())] = None
    return list(found)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_set(
    folder: pathlib.Path, rows: Iterable[tuple[str, Image.Image | bytes, str]]
) -> pathlib.Path:
    """Writes images (or bytes as they are) and labels.tsv; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, image, label in rows:
        (folder / name).write_bytes(image if isinstance(image, bytes) else png(image))
        lines.append(f"{name}\t{label}\n")
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def clean_rows(count: int = 40, seed: int = 0) -> list[tuple[str, Image.Image, str]]:
    """Rows of a set with nothing wrong: file names PHOTO_WORD.png, four words a photo."""
    drawn: Sequence[str] = words(count, seed)
    return [
        (f"{seed}{i // 4:03}_{i % 4}.png", draw(word, seed * 1000 + i), word)
        for i, word in enumerate(drawn)
    ]
