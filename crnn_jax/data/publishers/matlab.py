"""Structure arrays of texts in MATLAB's files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from crnn_jax.errors import DataError

Value = str | tuple[str, ...]  # a text, or a cell array of texts


def read_structs(
    data: bytes, variable: str, fields: tuple[str, ...]
) -> Iterator[tuple[Value, ...]]:
    """Yields fields of the elements of a structure array, in order.

    SciPy reads the whole variable: the 3 million lexicon words of IIIT5K's test part take seconds,
    and more than a gigabyte while they are read.

    Raises:
      DataError: of another format, cut short, or without the variable or a field; whoever calls
        puts the file's name in front.
    """
    from scipy import io as scipy_io

    try:
        content = scipy_io.loadmat(io.BytesIO(data), variable_names=[variable])
        names = [name for name, *_ in scipy_io.whosmat(io.BytesIO(data))]
    except NotImplementedError:
        raise DataError(
            "is a MATLAB file of version 7.3: save it in MATLAB with save(..., '-v7')"
        ) from None
    except Exception as error:  # a damaged file makes the reader raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"is damaged, cut short or no MATLAB file of version 5 to 7 ({reason}): copy it again"
        ) from None
    if variable not in content:
        found = ", ".join(names) or "none at all"
        raise DataError(f"has no variable {variable!r} but {found}")
    array = content[variable]
    if array.dtype.names is None:
        raise DataError(f"holds no structure array in {variable!r}")
    for field in fields:
        if field not in array.dtype.names:
            raise DataError(
                f"has no field {field!r} in {variable!r}, whose fields are "
                f"{', '.join(array.dtype.names)}"
            )
    return _rows(array.ravel(), fields)


def _rows(records: Any, fields: tuple[str, ...]) -> Iterator[tuple[Value, ...]]:
    for number, record in enumerate(records, start=1):
        try:
            yield tuple(_value(record[field]) for field in fields)
        except ValueError as error:
            raise DataError(f"row {number}: {error}") from None


def _value(array: Any) -> Value:
    """Returns a text or a tuple of texts; raises a ValueError for any other array."""
    if getattr(array, "dtype", None) == np.dtype(object):
        return tuple(_text(cell) for cell in array.ravel())
    return _text(array)


def _text(array: Any) -> str:
    if not getattr(array, "size", 0):
        return ""
    if array.dtype.kind != "U" or array.size != 1:
        raise ValueError("is no text but an array of another class")
    return str(array.item())
