"""MJSynth (Synth90k) as its publishers distribute it: a folder or a tar, with annotation files.

A row of `annotation_train.txt` is `./2425/1/115_Lube_45484.jpg 45484`: the label is the part of the
file's name between the underscores. Source: Jaderberg et al., Synthetic Data and Artificial Neural
Networks for Natural Scene Text Recognition, 2014, and the readme of the data.
"""

from __future__ import annotations

import array
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.data import files_of_rows, images
from crnn_jax.data.spec import Spec
from crnn_jax.data.tar_index import TarIndex
from crnn_jax.errors import DataError, one_of

PARTS = ("train", "val", "test")


def open_mjsynth(spec: Spec) -> _MjsynthSource:
    """Opens one part (`part=`, by default train) of a folder or an uncompressed tar.

    Raises:
      DataError: no such path, no annotation in it, a row that does not parse, a tar cut short.
      UserError: an unknown part.
    """
    path = files_of_rows.existing("mjsynth", spec.location)
    return _MjsynthSource(path, one_of("part of MJSynth", spec.part, PARTS))


class _MjsynthSource:
    """The rows of an annotation file, in its order; keys are the paths there.

    Nine million rows are a block of text and two arrays.
    """

    def __init__(self, path: Path, part: str):
        self.name = f"mjsynth_{part}"
        self._path, self._annotation = path, f"annotation_{part}.txt"
        self._digest = ""
        len(self)  # reads the annotation

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_rows", "_tar")}

    @functools.cached_property
    def _tar(self) -> TarIndex | None:
        return TarIndex(self._path, self._annotation) if self._path.is_file() else None

    @functools.cached_property
    def _rows(self) -> _Annotation:
        where = f"{self._path}/{self._annotation}"
        try:
            data = (
                self._tar.read(self._annotation)
                if self._tar
                else (self._path / self._annotation).read_bytes()
            )
        except OSError as error:
            raise DataError(
                f"{where} cannot be read ({error.strerror}): give the folder that holds it"
            ) from None
        rows = _Annotation(data, where)
        digest = files_of_rows.bytes_digest(data)
        self._digest = files_of_rows.check_unchanged(self._digest, digest, self._path)
        return rows

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, i: int) -> str:
        return self._rows.file(i)

    def label(self, i: int) -> str:
        return self.key(i).rsplit("/", 1)[-1].split("_")[1]

    def lexicon(self, i: int) -> tuple[str, ...]:
        return ()

    def image_bytes(self, i: int) -> bytes:
        if self._tar:
            return self._tar.read(self.key(i))
        return files_of_rows.read_image(self._path / self.key(i), self.where(i))

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self.image_bytes(i) if self._tar else self._path / self.key(i))

    def where(self, i: int) -> str:
        return f"{self._annotation} row {self._rows.numbers[i]} ({self.key(i)})"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        # Sizes of nine million files would take minutes to ask for: the names are all there is.
        return files_of_rows.fingerprint(self, rows, lambda i: 0)


class _Annotation:
    """The checked rows of an annotation file: its bytes, and where the file names lie in them."""

    _ROW = re.compile(rb"(?:\./)?((?:[^/\s]+/)*[^/\s_]+_[^/\s_]+_[0-9]+\.[A-Za-z]+)(?: [0-9]+)?\s*")

    def __init__(self, data: bytes, where: str):
        bounds, numbers, offset = array.array("q"), array.array("l"), 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            match = self._ROW.fullmatch(line)
            if match:
                bounds.extend((offset + match.start(1), offset + match.end(1)))
                numbers.append(number)
            elif line.strip():
                raise DataError(
                    f"{where} row {number} is {line.strip()[:60]!r}: expected FOLDER/N_WORD_N.jpg "
                    "and a number, as in './2425/1/115_Lube_45484.jpg 45484'"
                )
            offset += len(line)
        if not numbers:
            raise DataError(f"{where} has no rows: copy it again")
        self._data, self._bounds, self.numbers = data, bounds, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def file(self, i: int) -> str:
        """Returns a row's file name, without the dot in front."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return self._data[self._bounds[2 * i] : self._bounds[2 * i + 1]].decode("ascii", "replace")
