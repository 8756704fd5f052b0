"""Sets of image files that a file lists: `tsv:`, `csv:`, `jsonl:`, `doctr:`, `paddle:`,
`icdar:`.

A source reads its list when it is made, so that a mistake shows at once, and pickles as a path.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data import files_of_rows, images, label_lists
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError

_SEPARATOR = "\0"  # in no text of a list


class _Form(NamedTuple):
    """How one kind of list is read.

    Attributes:
      read: from the text of the list to its rows.
      file: name of the list in a folder that is given instead.
    """

    read: Callable[..., Iterator[label_lists.Row]]
    file: str


FORMS: dict[str, _Form] = {
    "tsv": _Form(label_lists.read_tsv, "labels.tsv"),
    "csv": _Form(label_lists.read_csv, "labels.csv"),
    "jsonl": _Form(label_lists.read_jsonl, "metadata.jsonl"),
    "doctr": _Form(label_lists.read_doctr, "labels.json"),
    "paddle": _Form(label_lists.read_paddle, "rec_gt.txt"),
    "icdar": _Form(label_lists.read_icdar, "gt.txt"),
}


def open_listed(spec: Spec) -> _ListedSource:
    """Opens the list that a SPEC names, or the one that its kind expects in a folder.

    Raises:
      DataError: no such file, or a row that does not parse, by its number.
    """
    path = files_of_rows.existing(spec.kind, spec.location)
    if path.is_dir():
        file = FORMS[spec.kind].file
        if not (path / file).is_file():
            other = " (or names:FOLDER if the file names are the labels)"
            raise DataError(
                f"{spec.kind}:{spec.location} is a folder without {file}: give the file of the "
                f"labels{other if spec.kind == 'tsv' else ''}"
            )
        path = path / file
    fields = {"image": spec.image, "text": spec.text}
    return open_list(
        path,
        FORMS[spec.kind].read,
        files_of_rows.existing("root=", spec.root) if spec.root else None,
        {name: value for name, value in fields.items() if value is not None},
    )


def open_list(
    path: Path,
    read: Callable[..., Iterator[label_lists.Row]],
    root: Path | None = None,
    fields: dict[str, str] | None = None,
    name: str | None = None,
) -> _ListedSource:
    """Opens a list of any form.

    Args:
      path: the list.
      read: from its bytes to its rows; a function of a module, so that it pickles.
      root: folder of the images; None looks beside the list, and there in `images/`.
      fields: further arguments of `read`, names of columns for instance.
      name: of the set; the folder of the list when None.

    Raises:
      DataError: as `read` does; a list that cannot be read, or has no rows.
    """
    name = name or path.parent.name or str(path.parent)
    return _ListedSource(path, read, root, fields or {}, name)


class _ListedSource:
    """A list of image files and their labels.

    UTF-8; a byte-order mark, Windows line ends and blank lines do not matter. Images lie where the
    list says, from `root` or else from the folder of the list or its `images/` on. A row whose
    image is missing stays a row.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[..., Iterator[label_lists.Row]],
        root: Path | None,
        fields: dict[str, str],
        name: str,
    ):
        self.name = name
        self._path, self._read, self._root, self._fields = path, read, root, fields
        self._digest = ""
        len(self)  # reads the list

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_table"}

    @functools.cached_property
    def _table(self) -> _Table:
        folders = [self._root] if self._root else [self._path.parent, self._path.parent / "images"]
        table = _Table(self._path, self._read, self._fields, folders)
        self._digest = files_of_rows.check_unchanged(self._digest, table.digest, self._path)
        return table

    def __len__(self) -> int:
        return len(self._table.numbers)

    def key(self, i: int) -> str:
        return self._table.texts(i)[0]

    def label(self, i: int) -> str:
        return self._table.texts(i)[1]

    def lexicon(self, i: int) -> tuple[str, ...]:
        return tuple(self._table.texts(i)[2:])

    def image_bytes(self, i: int) -> bytes:
        return files_of_rows.read_image(self._table.image_path(i), self.where(i))

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self._table.image_path(i))

    def where(self, i: int) -> str:
        return f"{self._path.name} row {self._table.numbers[i]} ({self.key(i)})"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        return files_of_rows.fingerprint(
            self, rows, lambda i: files_of_rows.file_size(self._table.image_path(i))
        )


def _check_order(row: label_lists.Row, path: Path, folders: list[Path]) -> None:
    """Refuses a list whose labels are the files of its images."""
    if any(os.path.isfile(folder / row.image) for folder in folders):
        return
    if row.label and any(os.path.isfile(folder / row.label) for folder in folders):
        raise DataError(
            f"{path} row {row.number} has the text {row.image!r} where its image is expected, and "
            f"the image {row.label!r} where its text is: exchange the two columns, or read them as "
            "they are with csv: and image=2,text=1"
        )


class _Table:
    """The checked rows of a list, kept as one block of bytes: compact for many millions."""

    def __init__(
        self,
        path: Path,
        read: Callable[..., Iterator[label_lists.Row]],
        fields: dict[str, str],
        folders: list[Path],
    ):
        data = files_of_rows.read_list(path)
        self.digest = files_of_rows.bytes_digest(data)
        self._folders = folders
        block, ends, numbers, places = bytearray(), [], [], []
        for row in read(data, path, **fields):
            texts = row.image, row.label, *row.lexicon
            if _SEPARATOR in "".join(texts) or not all(map(files_of_rows.is_utf8, texts)):
                raise DataError(
                    f"{path} row {row.number} holds a character that no text has, NUL or half a "
                    "surrogate pair: take it out"
                )
            block += _SEPARATOR.join(texts).encode()
            ends.append(len(block))
            numbers.append(row.number)
            beside = len(folders) == 1 or os.path.isfile(folders[0] / row.image)
            places.append(0 if beside else int(os.path.isfile(folders[1] / row.image)))
            if len(ends) == 1:
                _check_order(row, path, folders)
        if not ends:
            raise DataError(f"{path} has no rows: {label_lists.EMPTY.get(read, 'copy it again')}")
        self._block = bytes(block)
        self._bounds = np.array([0, *ends], np.int64)
        self.numbers = np.array(numbers, np.int32)  # of the lines, counted from 1
        self._places = np.array(places, np.int8)  # which of the folders

    def texts(self, i: int) -> list[str]:
        """Returns image, label and lexicon words of a row."""
        start, stop = self._bounds[i : i + 2]
        return self._block[start:stop].decode().split(_SEPARATOR)

    def image_path(self, i: int) -> Path:
        return self._folders[self._places[i]] / self.texts(i)[0]
