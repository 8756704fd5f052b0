"""Sets of image files without a list: `names:`, labels as file names; `pairs:`, as text files.

Both read the names of a folder when they are made, so that a mistake shows at once, and pickle as
a path.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.data import files_of_rows, images
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError
from crnn_jax.runtime import SUFFIXES

TEXT_SUFFIX = ".gt.txt"
_VARIANTS = ("", ".bin", ".nrm")  # Calamari and kraken name prepared images so
_LOG = logging.getLogger("crnn_jax")


def open_names(spec: Spec) -> _FolderSource:
    """Opens a folder of images whose names are their labels.

    Raises:
      DataError: no such folder, or no images in it.
    """
    return _NamesSource(_folder(spec), spec.strip or "")


def open_pairs(spec: Spec) -> _FolderSource:
    """Opens a folder of images with their labels in files beside them, NAME.png and NAME.gt.txt.

    Raises:
      DataError: no such folder, or no pair in it.
    """
    return _PairsSource(_folder(spec))


def _folder(spec: Spec) -> Path:
    path = files_of_rows.existing(spec.kind, spec.location)
    if not path.is_dir():
        raise DataError(f"{spec.kind}:{spec.location} is a file: give the folder of the images")
    return path


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


class _FolderSource:
    """The images of a folder, in order of their names."""

    def __init__(self, folder: Path):
        self.name = folder.name or str(folder)
        self._folder = folder
        self._digest = ""
        len(self)  # reads the folder

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_rows"}

    @functools.cached_property
    def _rows(self) -> list[tuple[str, str]]:
        """Image file and label of every row."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())
        except OSError as error:
            raise DataError(f"{self._folder} cannot be read ({error.strerror})") from error
        names = [name for name in names if not name.startswith(".")]  # ._NAME.png of macOS
        rows = self._find(names)
        for file, _ in rows:
            if not files_of_rows.is_utf8(file):
                raise DataError(f"a file name in {self._folder} is not UTF-8, {file!a}: rename it")
        now = files_of_rows.digest(map("\0".join, rows))
        self._digest = files_of_rows.check_unchanged(self._digest, now, self._folder)
        return rows

    def _find(self, names: list[str]) -> list[tuple[str, str]]:
        """Returns image file and label of every row, from the names of all files."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, i: int) -> str:
        return self._rows[i][0]

    def label(self, i: int) -> str:
        return self._rows[i][1]

    def lexicon(self, i: int) -> tuple[str, ...]:
        return ()

    def image_bytes(self, i: int) -> bytes:
        return files_of_rows.read_image(self._folder / self.key(i), self.where(i))

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self._folder / self.key(i))

    def where(self, i: int) -> str:
        return f"{self.name}/{self.key(i)}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        return files_of_rows.fingerprint(
            self, rows, lambda i: files_of_rows.file_size(self._folder / self.key(i))
        )


class _NamesSource(_FolderSource):
    """Images whose labels are their names without suffix, and without what `strip` finds there."""

    def __init__(self, folder: Path, strip: str):
        self._strip = strip
        super().__init__(folder)

    def _find(self, names: list[str]) -> list[tuple[str, str]]:
        files = [name for name in names if _is_image(name)]
        if not files:
            raise DataError(f"{self._folder} holds no images ({' '.join(SUFFIXES)})")
        stems = [Path(file).stem for file in files]
        if self._strip:
            stems = [re.sub(self._strip, "", stem) for stem in stems]
        return list(zip(files, stems, strict=True))


class _PairsSource(_FolderSource):
    """Images with their labels in NAME.gt.txt, as Tesseract, OCRopus, kraken and Calamari do."""

    def _find(self, names: list[str]) -> list[tuple[str, str]]:
        # By name with a small suffix: cameras write NAME.JPG.
        images = {Path(n).stem + Path(n).suffix.lower(): n for n in names if _is_image(n)}
        texts = [name for name in names if name.endswith(TEXT_SUFFIX)]
        rows, without_image, used = [], [], set()
        for name in texts:
            stem = name.removesuffix(TEXT_SUFFIX)
            found = [f for v in _VARIANTS for s in SUFFIXES if (f := stem + v + s) in images]
            used.update(found)
            if found:
                rows.append((images[found[0]], self._text(name)))
            else:
                without_image.append(name)
        if not rows:
            raise DataError(
                f"{self._folder} holds no pair of an image and a text ({len(images):,} images, "
                f"{len(texts):,} texts): write NAME.png and NAME{TEXT_SUFFIX}"
            )
        without_text = [name for file, name in images.items() if file not in used]
        for names, what in (without_image, "text(s) without an image"), (
            without_text, "image(s) without a text",
        ):  # fmt: skip
            if names:
                _LOG.warning(
                    "%s: %d %s are left out, the first is %s",
                    self._folder, len(names), what, names[0],
                )  # fmt: skip
        return rows

    def _text(self, name: str) -> str:
        path = self._folder / name
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8: save it as UTF-8") from None
        text = text.rstrip("\r\n")
        if len(text.splitlines()) > 1 or "\0" in text:
            raise DataError(
                f"{path} holds several lines: cut the image into lines, a text for each"
            )
        return text
