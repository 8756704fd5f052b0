"""Faces: opening font files and drawing their characters.

TTF, OTF, TTC (all faces), WOFF and WOFF2 are read. Whatever is wrong with a file ends in a
`FaceError` with its reason, so that one broken font does not stop a run.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import pathlib
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
from fontTools import ttLib
from PIL import ImageFont

from crnn_jax.synth import seven_segment
from crnn_jax.synth.atlas import EM
from crnn_jax.synth.distance import OVERSAMPLING
from crnn_jax.synth.font_files import SEVEN_SEGMENT

PIXELS = EM * OVERSAMPLING  # per em of a drawing

_MOST_BYTES = 128 << 20
_MOST_FACES = 64  # of a collection
_LARGEST_INK = 4  # ems in either direction

logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # of what FreeType repairs


class FaceError(Exception):
    """A face that cannot be used; the message is the reason."""


class Face:
    """One face of a font file, ready to be drawn.

    Attributes:
      name: as the font calls itself.
      units: font units per em.
      font: the tables.
    """

    def __init__(self, data: bytes, index: int, stem: str):
        self.font = ttLib.TTFont(io.BytesIO(data), fontNumber=index, lazy=True)
        if self.font.flavor:  # FreeType may lack WOFF
            plain = io.BytesIO()
            self.font.flavor = None
            self.font.save(plain)
            data, index = plain.getvalue(), 0
            self.font = ttLib.TTFont(io.BytesIO(data), lazy=True)
        if not {"glyf", "CFF ", "CFF2"} & set(self.font.keys()):
            raise FaceError("it has no outlines (a bitmap or colour font)")
        self._cmap = self.font.getBestCmap()
        if not self._cmap:
            raise FaceError("it does not say which glyph is which Unicode character")
        self.units = self.font["head"].unitsPerEm
        if not 16 <= self.units <= 16384:
            raise FaceError(f"it has {self.units} units per em, 16 to 16384 are possible")
        self._widths = self.font["hmtx"].metrics
        self.name = _full_name(self.font) or stem
        self._pillow = ImageFont.truetype(
            io.BytesIO(data), PIXELS, index, layout_engine=ImageFont.Layout.BASIC
        )

    def glyph(self, char: str) -> str | None:
        """Returns the glyph's name, or None when the face has none for the character."""
        name = self._cmap.get(ord(char))
        return None if name == ".notdef" else name

    def advance(self, char: str) -> float:
        """Returns the advance of a character that the face has, in em."""
        return float(self._widths[self._cmap[ord(char)]][0]) / self.units

    def draw(self, char: str) -> tuple[np.ndarray, int, int] | None:
        """Returns coverage uint8 [h, w], trimmed, with the left and top of its first pixel.

        They count pixels, PIXELS per em, from the pen on the baseline, downwards. None stands for
        a character that the face lacks or that has no ink of its own, and for ink too large to be
        a letter.
        """
        if self.glyph(char) is None or unicodedata.category(char)[0] in "MCZ":
            return None
        left, top, right, bottom = self._pillow.getbbox(char, anchor="ls")
        if not 0 < max(right - left, bottom - top) <= _LARGEST_INK * PIXELS:
            return None
        if max(map(abs, (left, top, right, bottom))) > 2 * _LARGEST_INK * PIXELS:
            return None
        mask, (left, top) = self._pillow.getmask2(char, mode="L", anchor="ls")
        if 0 in mask.size:
            return None
        pixels = np.frombuffer(bytes(mask), np.uint8).reshape(mask.size[::-1])
        rows, columns = (np.flatnonzero(np.any(pixels, axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        trimmed = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return trimmed, int(left + columns[0]), int(top + rows[0])


def open_faces(path: str) -> Iterator[Face | FaceError]:
    """Yields the faces of a font file; a FaceError instead of one that cannot be opened."""
    stem = pathlib.Path(path).stem
    try:
        data = _read(path)
        count = 1
        if data[:4] == b"ttcf":
            count = int.from_bytes(data[8:12], "big")
            if not 1 <= count <= _MOST_FACES:
                raise FaceError(f"it claims to hold {count} faces, 1 to {_MOST_FACES} are possible")
    except FaceError as error:
        yield error
        return
    for index in range(count):
        try:
            yield Face(data, index, stem)
        except FaceError as error:
            yield error
        except Exception as error:  # fontTools fails on broken files in any way there is
            yield FaceError(_reason(data, error))


def _read(path: str) -> bytes:
    if path == SEVEN_SEGMENT:
        return seven_segment.font_bytes()
    try:
        size = pathlib.Path(path).stat().st_size
        if not 0 < size <= _MOST_BYTES:
            raise FaceError(f"it has {size} bytes, 1 to {_MOST_BYTES} are possible")
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise FaceError(f"it cannot be read ({error.strerror})") from None


def _reason(data: bytes, error: Exception) -> str:
    if data[:4] == b"wOF2" and importlib.util.find_spec("brotli") is None:
        return "WOFF2 needs a package: pip install 'crnn_jax[fonts]'"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"it is damaged or no font ({text:.80})"


def _full_name(font: Any) -> str:
    if "name" not in font:
        return ""
    return (font["name"].getDebugName(4) or font["name"].getDebugName(1) or "").strip()
