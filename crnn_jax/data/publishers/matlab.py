"""Structure arrays of texts in MATLAB's files, a field at a time.

`scipy.io.loadmat` makes an array of every text: the 3 million lexicon words of IIIT5K's test part
take it 10 s and 1.8 GB. Here fields that are not asked for are stepped over.

Source: MathWorks, MAT-File Format, "Level 5 MAT-File Format" (versions 5 to 7.2).
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from crnn_jax.errors import DataError

Value = str | tuple[str, ...]  # a text, or a cell array of texts

_HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_CELL, _STRUCT, _CHAR = 1, 2, 4  # classes of arrays
_CODECS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
# Tags of a text without a name: matrix; 8 bytes of flags; 8 bytes of sides; no byte of a name.
_PLAIN = (_MATRIX, 6, 8, 5, 8, 1, 0)
_WIDE = (4, 17, 18)  # types whose bytes stand in the file's order
_MOST_BYTES = 1 << 30  # of one variable
_MOST_DIMENSIONS = 32


class _Element(NamedTuple):
    type: int
    data: memoryview
    stop: int  # where the next one begins


class _Array(NamedTuple):
    kind: int
    size: int  # elements
    name: str
    rest: memoryview  # what follows the name


def read_structs(
    data: bytes, variable: str, fields: tuple[str, ...]
) -> Iterator[tuple[Value, ...]]:
    """Yields fields of the elements of a structure array, in order.

    Raises:
      DataError: of another format, cut short, or without the variable or a field; whoever calls
        puts the file's name in front.
    """
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise DataError("is not a MATLAB file of version 5 to 7: copy it again")
    order = "<" if data[126:128] == b"IM" else ">"
    if struct.unpack_from(order + "H", data, 124)[0] != 0x0100:
        raise DataError("is a MATLAB file of version 7.3: save it in MATLAB with save(..., '-v7')")
    reader, names = _Reader(order), []
    for element in reader.elements(memoryview(data)[_HEADER:]):
        found = reader.variable(element)
        if found is not None and found.name == variable:
            return reader.rows(found, fields)
        names += [found.name] if found is not None and found.name else []
    raise DataError(f"has no variable {variable!r} but {', '.join(names) or 'none at all'}")


class _Reader:
    """Reads elements in one order of bytes, '<' or '>'."""

    def __init__(self, order: str):
        self._pair = struct.Struct(order + "II")
        self._text_head = struct.Struct(order + "14I")
        self._order = order
        self._ending = "-le" if order == "<" else "-be"

    def elements(self, data: memoryview) -> Iterator[_Element]:
        start = 0
        while start < len(data):
            if start + 8 > len(data):
                raise DataError("is cut short: copy it again")
            kind, size = self._pair.unpack_from(data, start)
            if kind >> 16:  # the size, type and up to four bytes of data in one tag
                kind, size, begin, stop = kind & 0xFFFF, kind >> 16, start + 4, start + 8
                if size > 4:
                    raise DataError("is damaged: copy it again")
            else:
                begin = start + 8
                stop = begin + (size if kind == _COMPRESSED else -(-size // 8) * 8)
            if begin + size > len(data):
                raise DataError("is cut short: copy it again")
            yield _Element(kind, data[begin : begin + size], stop)
            start = stop

    def variable(self, element: _Element) -> _Array | None:
        """Returns the array of an element of the file; None for other elements."""
        if element.type == _COMPRESSED:
            inflater = zlib.decompressobj()
            try:
                plain = inflater.decompress(element.data, _MOST_BYTES)
            except zlib.error as error:
                raise DataError(f"is damaged ({error}): copy it again") from None
            if not inflater.eof:
                raise DataError("is cut short, or holds more than a gigabyte: copy it again")
            element = next(self.elements(memoryview(plain)), element)
        return self._array(element) if element.type == _MATRIX else None

    def _array(self, element: _Element) -> _Array:
        if not element.data:
            return _Array(_CHAR, 0, "", element.data)  # an empty array is often written so
        parts = self.elements(element.data)
        try:
            flags, dimensions, name = next(parts), next(parts), next(parts)
            (bits,) = struct.unpack_from(self._order + "I", flags.data)
            count = len(dimensions.data) // 4
            if count > _MOST_DIMENSIONS:
                raise ValueError
            sides = struct.unpack_from(f"{self._order}{count}i", dimensions.data)
        except (StopIteration, struct.error, ValueError):
            raise DataError("is damaged: copy it again") from None
        name_text = bytes(name.data).decode("latin-1")
        return _Array(bits & 0xFF, math.prod(sides), name_text, element.data[name.stop :])

    def rows(self, array: _Array, fields: tuple[str, ...]) -> Iterator[tuple[Value, ...]]:
        if array.kind != _STRUCT:
            raise DataError(f"holds no structure array in {array.name!r}")
        parts = self.elements(array.rest)
        length, joined = next(parts, None), next(parts, None)
        if length is None or joined is None or len(length.data) < 4:
            raise DataError("is damaged: copy it again")
        (width,) = struct.unpack_from(self._order + "i", length.data)
        raw = bytes(joined.data)
        names = [
            raw[start : start + width].split(b"\0")[0].decode("latin-1")
            for start in range(0, len(raw), max(width, 1))
        ]
        for field in fields:
            if field not in names:
                raise DataError(
                    f"has no field {field!r} in {array.name!r}, whose fields are {', '.join(names)}"
                )
        return self._rows(parts, array.size, [names.index(field) for field in fields], len(names))

    def _rows(
        self, parts: Iterator[_Element], count: int, places: list[int], width: int
    ) -> Iterator[tuple[Value, ...]]:
        for row in range(count):
            cells = list(itertools.islice(parts, width))
            if len(cells) < width:
                raise DataError("is cut short: copy it again")
            try:
                yield tuple(self._value(cells[place]) for place in places)
            except ValueError as error:
                raise DataError(f"row {row + 1}: {error}") from None

    def _value(self, element: _Element) -> Value:
        """Returns a text or a tuple of texts; raises a ValueError for any other array."""
        array = self._array(element)
        if array.kind == _CELL:
            return tuple(self._texts(array.rest))
        return self._text(array)

    def _texts(self, data: memoryview) -> Iterator[str]:
        """Yields the texts of the arrays that follow one another in a cell array."""
        start, head, stop = 0, self._text_head, len(data)
        while start < stop:
            # All but the empty ones begin alike; they are read at once, as there are millions.
            if start + head.size <= stop:
                a, total, b, c, flags, _, d, e, _, _, f, g, kind, size = head.unpack_from(
                    data, start
                )
                begin, after = start + head.size, start + 8 + total
                if kind >> 16:
                    kind, size, begin = kind & 0xFFFF, kind >> 16, begin - 4
                plain = (a, b, c, d, e, f, g) == _PLAIN and flags & 0xFF == _CHAR
                if plain and kind in _CODECS and begin + size <= after <= stop:
                    yield self._decode(data[begin : begin + size], kind)
                    start = after
                    continue
            element = next(self.elements(data[start:]))
            yield self._text(self._array(element))
            start += element.stop

    def _text(self, array: _Array) -> str:
        part = next(self.elements(array.rest), None)
        if not array.size or part is None:
            return ""
        if array.kind != _CHAR or part.type not in _CODECS:
            raise ValueError("is no text but an array of another class")
        return self._decode(part.data, part.type)

    def _decode(self, data: memoryview, kind: int) -> str:
        return str(data, _CODECS[kind] + (self._ending if kind in _WIDE else ""))
