"""Sets in Parquet files, as data hubs export them: a column of encoded images, one of texts.

Labels are read when a set is opened; of the images one row group at a time is held per thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.data import files_of_rows, images
from crnn_jax.data.label_lists import find_columns
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, ImageError


def open_parquet(spec: Spec) -> _ParquetSource:
    """Opens one Parquet file.

    Raises:
      DataError: no such file, a damaged one, or one without the columns.
      UserError: pyarrow is not installed.
    """
    path = files_of_rows.existing("parquet", spec.location)
    if not path.is_file():
        raise DataError(
            f"parquet:{spec.location} is a folder: give its files, as in "
            f"parquet:{spec.location}/*.parquet"
        )
    return _ParquetSource(path, spec.image, spec.text)


class _ParquetSource:
    """The rows of a file, in order; keys are the images' paths where it has them, else numbers.

    Args:
      path: the file.
      image: its column of encoded images: bytes, or a struct with `bytes` (and `path`).
      text: its column of labels.
    """

    def __init__(self, path: Path, image: str | None, text: str | None):
        self.name = path.parent.name or str(path.parent)
        self._path = path
        self._size = path.stat().st_size
        self._columns = find_columns(list(self._file.schema_arrow.names), image, text, str(path))
        self._check_types()
        len(self._labels)

    def __getstate__(self) -> dict[str, Any]:
        lazy = ("_file", "_labels", "_keys", "_starts", "_held")
        return {key: value for key, value in self.__dict__.items() if key not in lazy}

    @functools.cached_property
    def _file(self) -> Any:
        file = _open_file(self._path)
        if self._path.stat().st_size != self._size:
            raise DataError(f"{self._path} has changed since it was opened: start again")
        return file

    def _check_types(self) -> None:
        import pyarrow as pa

        schema, (image, text) = self._file.schema_arrow, self._columns
        kind = schema.field(text).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(
                f"{self._path}: column {text!r} holds {kind}, not texts: give text=COLUMN"
            )
        kind = schema.field(image).type
        names = [field.name for field in kind] if pa.types.is_struct(kind) else []
        if "bytes" not in names and not (
            pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        ):
            raise DataError(
                f"{self._path}: column {image!r} holds {kind}, not encoded images: give "
                "image=COLUMN, of bytes or of a struct with a field 'bytes'"
            )

    @functools.cached_property
    def _labels(self) -> list[str]:
        column = self._file.read(columns=[self._columns[1]]).column(0)
        if column.null_count:
            row = next(i for i, value in enumerate(column) if not value.is_valid)
            raise DataError(
                f"{self._path} row {row + 1} has no text ({column.null_count:,} such rows): write "
                "one, or leave the rows out"
            )
        return column.to_pylist()

    @functools.cached_property
    def _keys(self) -> list[str] | None:
        """The images' paths, where every row has one."""
        kind = self._file.schema_arrow.field(self._columns[0]).type
        if "path" not in [field.name for field in getattr(kind, "fields", [])]:
            return None
        column = self._file.read(columns=[f"{self._columns[0]}.path"]).column(0)
        paths = [value["path"] for value in column.to_pylist()]
        return paths if all(paths) else None

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Number of the first row of every row group, and of all rows."""
        metadata = self._file.metadata
        counts = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        return np.cumsum([0, *counts])

    @functools.cached_property
    def _held(self) -> threading.local:
        return threading.local()

    def _image(self, i: int) -> Any:
        """Returns the image column's value, from the row group that the thread holds."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        group = int(np.searchsorted(self._starts, i, side="right")) - 1
        if getattr(self._held, "group", None) != group:
            # A reader of its own: pyarrow's is not made for several threads.
            if not hasattr(self._held, "file"):
                self._held.file = _open_file(self._path)
            self._held.column = self._held.file.read_row_group(
                group, columns=[self._columns[0]], use_threads=False
            ).column(0)
            self._held.group = group
        return self._held.column[i - int(self._starts[group])].as_py()

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def key(self, i: int) -> str:
        return self._keys[i] if self._keys else str(i + 1)

    def label(self, i: int) -> str:
        return self._labels[i]

    def lexicon(self, i: int) -> tuple[str, ...]:
        return ()

    def image_bytes(self, i: int) -> bytes:
        value = self._image(i)
        data = value.get("bytes") if isinstance(value, dict) else value
        if not data:
            raise ImageError(f"{self.where(i)}: the row holds no image bytes")
        return data

    def image_size(self, i: int) -> tuple[int, int]:
        return images.image_size(self.image_bytes(i))

    def where(self, i: int) -> str:
        return f"{self._path.name} row {i + 1}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        # The sizes of single images stand in the data alone, which would all have to be read.
        chosen = range(len(self)) if rows is None else map(int, rows)
        size = self._path.stat().st_size
        return files_of_rows.fingerprint_rows((self.key(i), self.label(i), size) for i in chosen)


def _open_file(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            "parquet: needs pyarrow, which is not installed: pip install 'crnn_jax[parquet]'"
        ) from None
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a whole Parquet file ({str(error).splitlines()[0]}): copy it again"
        ) from None
