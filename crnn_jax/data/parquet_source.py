"""Sets in Parquet files, as data hubs export them: a column of encoded images, one of texts.

Labels are read when a set is opened. An image is read by decoding the whole row group around it;
groups used last are held, a bounded number of bytes for all sets and threads together. Rows in
order are read fast, shuffled ones of a large set are not: `crnn_jax.data.prepare` mends that.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.data import files_of_rows, images
from crnn_jax.data.label_lists import find_columns
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, ImageError

_HELD_BYTES = 256 << 20  # of decoded row groups
_HELD_LEAST = 2  # groups, however large: threads read on both sides of a border


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
        self._size, self._written = path.stat().st_size, path.stat().st_mtime_ns
        names = list(self._file.schema_arrow.names)
        self._columns = find_columns(names, image, text, str(path))
        if twice := [name for name in self._columns if names.count(name) > 1]:
            raise DataError(f"{path} has several columns {twice[0]!r}: leave one of them")
        self._check_types()
        len(self._labels)

    def __getstate__(self) -> dict[str, Any]:
        lazy = ("_file", "_reader", "_labels", "_keys", "_starts")
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
        if pa.types.is_dictionary(kind):  # as of texts that occur many times
            kind = kind.value_type
        if not any(
            is_kind(kind)
            for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        ):
            raise DataError(
                f"{self._path}: column {text!r} holds {kind}, not texts: give text=COLUMN"
            )
        kind = schema.field(image).type
        names = [field.name for field in kind] if pa.types.is_struct(kind) else []
        if "bytes" not in names and not any(
            is_kind(kind)
            for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
        ):
            raise DataError(
                f"{self._path}: column {image!r} holds {kind}, not encoded images: give "
                "image=COLUMN, of bytes or of a struct with a field 'bytes'"
            )

    def _column(self, name: str) -> Any:
        """Reads a column; a DataError when its pages are damaged."""
        with self._decoding(name):
            return self._file.read(columns=[name]).column(0)

    def _values(self, column: Any, name: str) -> list[Any]:
        """Returns a column's values; a DataError when a text is not UTF-8."""
        with self._decoding(name):
            return column.to_pylist()

    @contextlib.contextmanager
    def _decoding(self, name: str) -> Iterator[None]:
        try:
            yield
        except (_arrow_error(), OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self._path}: column {name!r} cannot be decoded ({_first_line(error)}): copy the "
                "file again, or save its texts as UTF-8"
            ) from None

    @functools.cached_property
    def _labels(self) -> list[str]:
        column = self._column(self._columns[1])
        if column.null_count:
            row = next(i for i, value in enumerate(column) if not value.is_valid)
            raise DataError(
                f"{self._path} row {row + 1} has no text ({column.null_count:,} such rows): write "
                "one, or leave the rows out"
            )
        return self._values(column, self._columns[1])

    @functools.cached_property
    def _keys(self) -> list[str] | None:
        """The images' paths, where every row has one."""
        kind = self._file.schema_arrow.field(self._columns[0]).type
        if "path" not in [field.name for field in getattr(kind, "fields", [])]:
            return None
        name = f"{self._columns[0]}.path"
        values = self._values(self._column(name), name)
        paths = [(value or {}).get("path") or "" for value in values]  # None: no image
        return paths if all(isinstance(path, str) and path for path in paths) else None

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Number of the first row of every row group, and of all rows."""
        metadata = self._file.metadata
        counts = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        return np.cumsum([0, *counts])

    @functools.cached_property
    def _reader(self) -> Any:
        # Of its own: pyarrow's is not made for several threads, and images are read by one at once.
        return _open_file(self._path)

    def _image(self, i: int) -> Any:
        """Returns the image column's value; raises an ImageError where its group is damaged."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        group = int(np.searchsorted(self._starts, i, side="right")) - 1
        key = self._path, self._size, self._written, self._columns[0], group
        try:
            column = _held.get(key, lambda: self._decode(group))
        except (_arrow_error(), OSError) as error:
            raise ImageError(
                f"{self.where(i)}: row group {group + 1} of the file cannot be decoded "
                f"({_first_line(error)}): copy the file again"
            ) from None
        return column[i - int(self._starts[group])].as_py()

    def _decode(self, group: int) -> Any:
        """Returns the images of a row group."""
        columns = [self._columns[0]]
        return self._reader.read_row_group(group, columns=columns, use_threads=False).column(0)

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
        size = self._path.stat().st_size
        return files_of_rows.fingerprint(self, rows, lambda i: size)


class _Held:
    """Row groups that were decoded last, of all sources together; safe for threads."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._lock, self._decoding = threading.Lock(), threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Any]) -> Any:
        """Returns the group of a key, decoded if it is not held.

        One group is decoded at a time, or every thread would fill the memory with one.
        """
        if (found := self._find(key)) is not None:
            return found
        with self._decoding:
            if (found := self._find(key)) is not None:
                return found
            group = decode()
            with self._lock:
                self._groups[key] = group
                self._bytes += group.nbytes
                while self._bytes > _HELD_BYTES and len(self._groups) > _HELD_LEAST:
                    self._bytes -= self._groups.popitem(last=False)[1].nbytes
            return group

    def _find(self, key: Hashable) -> Any:
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
            return self._groups.get(key)


_held = _Held()


def _arrow_error() -> type[Exception]:
    import pyarrow as pa

    return pa.ArrowException


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
            f"{path} is not a whole Parquet file ({_first_line(error)}): copy it again"
        ) from None
