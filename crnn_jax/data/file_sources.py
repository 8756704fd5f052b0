"""Sets of image files: `tsv:` with a labels file, `names:` with labels as file names.

Both open completely when they are made, so that a mistake shows at once, and pickle as a path.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.data import images
from crnn_jax.errors import DataError, ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def open_tsv(location: str) -> _TsvSource:
    """Opens DIR/labels.tsv, DIR (then its labels.tsv) or another labels file.

    Raises:
      DataError: no such file, or a row that does not parse, by its number.
    """
    path = _existing("tsv", location)
    if path.is_dir():
        path = path / "labels.tsv"
        if not path.is_file():
            raise DataError(
                f"tsv:{location} is a folder without labels.tsv: give the labels file, or "
                f"names:{location} if the file names are the labels"
            )
    return _TsvSource(path)


def open_names(location: str) -> _NamesSource:
    """Opens a folder of images.

    Raises:
      DataError: no such folder, or no images in it.
    """
    path = _existing("names", location)
    if not path.is_dir():
        raise DataError(f"names:{location} is a file: give the folder of the images")
    return _NamesSource(path)


class _TsvSource:
    """A labels file: per line a file name, TAB, label, optionally TAB and words joined by `|`.

    UTF-8 without any quoting; a byte-order mark, Windows line ends and blank lines do not matter.
    Images lie beside the labels file or in `images/`. A row whose image is missing stays a row.
    """

    def __init__(self, path: Path):
        self.name = path.parent.name or str(path.parent)
        self._path = path
        self._digest = ""
        self._digest = self._table.digest

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_path": self._path, "_digest": self._digest}

    @cached_property
    def _table(self) -> _Table:
        table = _Table(self._path)
        _check_unchanged(self._digest, table.digest, self._path)
        return table

    def __len__(self) -> int:
        return len(self._table.numbers)

    def key(self, i: int) -> str:
        return self._table.columns(i)[0]

    def label(self, i: int) -> str:
        return self._table.columns(i)[1]

    def lexicon(self, i: int) -> tuple[str, ...]:
        words = self._table.columns(i)[2:]
        return tuple(word for word in words[0].split("|") if word) if words else ()

    def image_bytes(self, i: int) -> bytes:
        return _read_image(self._image_path(i), self.where(i))

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self._image_path(i))

    def where(self, i: int) -> str:
        return f"{self._path.name} row {self._table.numbers[i]} ({self.key(i)})"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        rows = range(len(self)) if rows is None else rows
        return fingerprint_rows((self.key(i), self.label(i), self._num_bytes(i)) for i in rows)

    def _image_path(self, i: int) -> Path:
        folder = self._path.parent
        if self._table.in_images[i]:
            folder = folder / "images"
        return folder / self.key(i)

    def _num_bytes(self, i: int) -> int:
        return _file_size(self._image_path(i))


class _Table:
    """The checked lines of a labels file, kept as one block of bytes: compact for many millions."""

    def __init__(self, path: Path):
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        self.digest = hashlib.blake2b(self._data, digest_size=16).hexdigest()
        offset = 3 if self._data.startswith(b"\xef\xbb\xbf") else 0
        bounds, numbers, in_images = [], [], []
        for number, line in enumerate(self._data[offset:].splitlines(keepends=True), start=1):
            content = line.rstrip(b"\r\n")
            if content.strip():
                key = _check_row(content, f"{path} row {number}")
                beside = os.path.isfile(os.path.join(path.parent, key))
                bounds.append((offset, offset + len(content)))
                numbers.append(number)
                in_images.append(
                    not beside and os.path.isfile(os.path.join(path.parent, "images", key))
                )
            offset += len(line)
        if not numbers:
            raise DataError(f"{path} has no rows: write lines of file name, TAB, label")
        self._bounds = np.array(bounds, np.int64)
        self.numbers = np.array(numbers, np.int32)  # of the lines, counted from 1
        self.in_images = np.array(in_images, bool)

    def columns(self, i: int) -> list[str]:
        start, stop = self._bounds[i]
        return self._data[start:stop].decode("utf-8").split("\t")


def _check_row(content: bytes, where: str) -> str:
    """Returns the file name of a labels file's row, or raises a DataError that says where."""
    try:
        columns = content.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start + 1}): "
            "save the file as UTF-8"
        ) from error
    if b"\0" in content:
        raise DataError(f"{where} holds NUL bytes, as UTF-16 files do: save the file as UTF-8")
    if not 2 <= len(columns) <= 3 or not columns[0]:
        found = f"{len(columns)} column(s)" if columns[0] else "no file name"
        text = "\t".join(columns)
        raise DataError(
            f"{where} has {found} in {text[:60]!r}: write file name, TAB, label "
            "and, if wanted, TAB, lexicon words joined by '|'"
        )
    return columns[0]


class _NamesSource:
    """A folder of images, in order of their names; the label is the file name's stem."""

    def __init__(self, folder: Path):
        self.name = folder.name or str(folder)
        self._folder = folder
        self._digest = ""
        self._digest = _digest(self._files)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_folder": self._folder, "_digest": self._digest}

    @cached_property
    def _files(self) -> list[str]:
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())
        except OSError as error:
            raise DataError(f"{self._folder} cannot be read ({error.strerror})") from error
        # macOS leaves ._NAME.png beside NAME.png
        files = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        if not files:
            raise DataError(f"{self._folder} holds no images ({' '.join(SUFFIXES)})")
        for file in files:
            if not _is_utf8(file):
                raise DataError(f"a file name in {self._folder} is not UTF-8, {file!a}: rename it")
        _check_unchanged(self._digest, _digest(files), self._folder)
        return files

    def __len__(self) -> int:
        return len(self._files)

    def key(self, i: int) -> str:
        return self._files[i]

    def label(self, i: int) -> str:
        return Path(self._files[i]).stem

    def lexicon(self, i: int) -> tuple[str, ...]:
        return ()

    def image_bytes(self, i: int) -> bytes:
        return _read_image(self._folder / self.key(i), self.where(i))

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self._folder / self.key(i))

    def where(self, i: int) -> str:
        return f"{self.name}/{self.key(i)}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        rows = range(len(self)) if rows is None else rows
        return fingerprint_rows(
            (self.key(i), self.label(i), _file_size(self._folder / self.key(i))) for i in rows
        )


def _existing(kind: str, location: str) -> Path:
    path = Path(os.path.abspath(os.path.expanduser(location)))
    if not path.exists():
        parent = path.parent
        siblings = os.listdir(parent) if parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"{kind}:{location} does not exist: {hint}looked for {path}")
    return path


def _check_unchanged(opened: str, now: str, path: Path) -> None:
    """Raises if a source that was unpickled finds other rows than it had when it was opened."""
    if opened and opened != now:
        raise DataError(f"{path} has changed since it was opened: start again")


def _read_image(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{where}: the image file is missing, looked for {path}") from error
    except OSError as error:
        raise ImageError(f"{where}: {path} cannot be read ({error.strerror})") from error


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def fingerprint_rows(rows: Iterable[tuple[str, str, int]]) -> str:
    """Returns a hash of (key, label, bytes of the image file) of every row, in order."""
    return _digest(f"{key}\0{label}\0{num_bytes}" for key, label, num_bytes in rows)


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8") + b"\n")
    return digest.hexdigest()


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
