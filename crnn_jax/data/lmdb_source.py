"""Sets in LMDB, as deep-text-recognition-benchmark and its successors lay them out.

Keys, counted from 1: `num-samples`, `image-%09d`, `label-%09d` and, where words are known,
`lexicon-%09d` with words between blanks (of the first CRNN's tools).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax.data import files_of_rows, images, lmdb_files
from crnn_jax.data.lmdb_files import LMDB_FILE
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, ImageError

if TYPE_CHECKING:
    import lmdb

_COUNT = b"num-samples"


def open_lmdb(spec: Spec) -> _LmdbSource:
    """Opens a folder that holds data.mdb.

    Raises:
      DataError: no such folder, or one that is cut short, damaged, or of another layout.
    """
    path = files_of_rows.existing("lmdb", spec.location)
    if not (path / LMDB_FILE).is_file():
        raise DataError(f"lmdb:{spec.location} has no {LMDB_FILE}: give the folder that holds it")
    return _LmdbSource(path)


class _LmdbSource:
    """The rows of one environment; read without a lock, so nothing is written beside the data."""

    def __init__(self, folder: Path):
        self.name = folder.name or str(folder)
        self._folder = folder
        self._real = os.path.realpath(folder)  # asked for once: reading a row is quicker than this
        lmdb_files.environment(self._real, fresh=True)
        self._count = self._read_count()

    def _read_count(self) -> int:
        value = self._get(_COUNT)
        if value is None:
            found = self._environment.stat()["entries"]
            raise DataError(
                f"{self._folder} has no key 'num-samples' among its {found:,}: it is of another "
                "layout, or writing it was broken off; keys are num-samples, image-000000001, "
                "label-000000001 and so on"
            )
        text = value.decode("ascii", "replace")
        if not text.isdigit() or not int(text):
            raise DataError(
                f"{self._folder}: num-samples is {text[:40]!r}: write the number of rows there"
            )
        for key in (b"image-%09d", b"label-%09d"):
            if self._get(key % int(text)) is None:
                raise DataError(
                    f"{self._folder}: num-samples is {text}, and {(key % int(text)).decode()} is "
                    "missing: write the number of rows that are there"
                )
        return int(text)

    @property
    def _environment(self) -> lmdb.Environment:
        return lmdb_files.environment(self._real)

    def _get(self, key: bytes) -> bytes | None:
        import lmdb

        try:
            with self._environment.begin() as reader:
                return reader.get(key)
        except lmdb.Error as error:
            raise DataError(
                f"{self._folder}: {error}: the file is damaged, copy it again"
            ) from None

    def __len__(self) -> int:
        return self._count

    def key(self, i: int) -> str:
        return f"image-{self._number(i):09d}"

    def _number(self, i: int) -> int:
        if not 0 <= i < self._count:
            raise IndexError(f"row {i} of {self._count}")
        return i + 1

    def label(self, i: int) -> str:
        key = b"label-%09d" % self._number(i)
        value = self._get(key)
        if value is None:
            raise DataError(f"{self._folder}: {key.decode()} is missing: write it, or the set anew")
        return self._decode(key, value)

    def lexicon(self, i: int) -> tuple[str, ...]:
        key = b"lexicon-%09d" % self._number(i)
        return tuple(self._decode(key, self._get(key) or b"").split())

    def _decode(self, key: bytes, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._folder}: {key.decode()} is not UTF-8 (byte 0x{value[error.start]:02x}): "
                "write it as UTF-8"
            ) from None

    def image_bytes(self, i: int) -> bytes:
        value = self._get(self.key(i).encode())
        if value is None:
            raise ImageError(f"{self.where(i)} is missing")
        return value

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self.image_bytes(i))

    def where(self, i: int) -> str:
        return f"{self.name} {self.key(i)}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        return files_of_rows.fingerprint(self, rows, self._num_bytes)

    def _num_bytes(self, i: int) -> int:
        with self._environment.begin(buffers=True) as reader:
            value: Any = reader.get(self.key(i).encode())
            return -1 if value is None else len(value)
