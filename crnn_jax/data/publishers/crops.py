"""Words as rectangles of photographs, cut out as they are read."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from crnn_jax.data import files_of_rows, images
from crnn_jax.errors import DataError, ImageError

_HELD_PIXELS = 16_000_000  # larger photographs are not kept for the next word


class Crop(NamedTuple):
    """A word: photograph, number in it from 0, (x, y, width, height) in pixels, text, lexicon."""

    photograph: str
    number: int
    box: tuple[float, float, float, float]
    label: str
    lexicon: tuple[str, ...] = ()


def open_crops(
    path: Path, read: Callable[[bytes, Path], list[Crop]], name: str | None = None
) -> _CropsSource:
    """Opens an annotation file.

    Args:
      path: the file, which photographs are relative to.
      read: from its bytes and path to its words; a function of a module, so that it pickles.
      name: of the set; the folder of the file when None.

    Raises:
      DataError: as `read` does; a file that cannot be read, or has no words.
    """
    return _CropsSource(path, read, name or path.parent.name or str(path.parent))


class _CropsSource:
    """The words of an annotation file, in its order; images are lossless PNGs of their rectangles.

    Keys are PHOTOGRAPH#NUMBER. Rectangles are those of the pixels as stored, EXIF rotation ignored,
    rounded outwards and clamped to the photograph. One without a pixel in it stays a row, as does
    one of a missing photograph: reading it raises an ImageError.
    """

    def __init__(self, path: Path, read: Callable[[bytes, Path], list[Crop]], name: str):
        self.name = name
        self._path, self._read = path, read
        self._digest = ""
        if not self._rows:
            raise DataError(f"{path} has no tagged rectangles: copy it again")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_rows"}

    @functools.cached_property
    def _rows(self) -> list[Crop]:
        data = files_of_rows.read_list(self._path)
        now = files_of_rows.bytes_digest(data)
        self._digest = files_of_rows.check_unchanged(self._digest, now, self._path)
        return self._read(data, self._path)

    def _file(self, i: int) -> Path:
        return self._path.parent / self._rows[i].photograph

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, i: int) -> str:
        return f"{self._rows[i].photograph}#{self._rows[i].number}"

    def label(self, i: int) -> str:
        return self._rows[i].label

    def lexicon(self, i: int) -> tuple[str, ...]:
        return self._rows[i].lexicon

    def image_bytes(self, i: int) -> bytes:
        left, top, right, bottom = self._bounds(i)
        try:
            pixels = _photograph(self._file(i))
        except ImageError as error:
            raise ImageError(f"{self.where(i)}: {error}") from error
        file = io.BytesIO()
        pixels.crop((left, top, right, bottom)).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def image_size(self, i: int) -> tuple[int, int]:
        left, top, right, bottom = self._bounds(i)
        return right - left, bottom - top

    def _bounds(self, i: int) -> tuple[int, int, int, int]:
        """Returns left, top, right and bottom within the photograph."""
        try:
            size = images.image_size(self._file(i), upright=False)
        except ImageError as error:
            raise ImageError(f"{self.where(i)}: {error}") from error
        x, y, width, height = self._rows[i].box
        left, top = max(math.floor(x), 0), max(math.floor(y), 0)
        right, bottom = min(math.ceil(x + width), size[0]), min(math.ceil(y + height), size[1])
        if right <= left or bottom <= top:
            raise ImageError(
                f"{self.where(i)}: a rectangle of {width:g} x {height:g} pixels at {x:g}, {y:g} "
                f"has none of the photograph's {size[0]} x {size[1]}: mend the annotation"
            )
        return left, top, right, bottom

    def where(self, i: int) -> str:
        return f"{self._path.name} rectangle {self.key(i)}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        return files_of_rows.fingerprint(
            self,
            rows,
            lambda i: files_of_rows.file_size(self._file(i)),
            lambda i: f"{self.key(i)} {self._rows[i].box}",
        )


def _photograph(path: Path) -> Image.Image:
    """Returns a photograph's pixels; the last few are kept, as neighbours share a photograph."""
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"{path}: the image cannot be opened ({error.strerror})") from error
    width, height = images.image_size(path, upright=False)
    decode = _decode if width * height <= _HELD_PIXELS else _decode.__wrapped__
    return decode(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _decode(path: Path, size: int, changed: int) -> Image.Image:
    del size, changed  # they belong to the cache's key alone
    return images.stored_image(path)
