"""Images that may lie on their side or upside down: all four ways are read, the surest counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from crnn_jax.errors import DataError
from crnn_jax.reading import Reading
from crnn_jax.runtime import DEGREES, likely_upright

T = TypeVar("T")


def stream_rotated(
    recognizer: Any,
    items: Iterable[T],
    load: Callable[[T, int], Any],
    **arguments: Any,
) -> Iterator[tuple[int, Reading | DataError]]:
    """Yields (position, reading or error) of items, each read in four ways.

    Which reading is taken says `runtime.likely_upright`.

    Args:
      recognizer: a model, or several.
      items: what to read.
      load: pixels of an item, turned by so many degrees.
      **arguments: of `Recognizer.stream`.
    """
    found: dict[int, list[Reading | DataError]] = {}
    turned = ((item, degrees) for item in items for degrees in DEGREES)
    for place, reading in recognizer.stream(turned, lambda pair: load(*pair), **arguments):
        position, number = divmod(place, len(DEGREES))
        if isinstance(reading, Reading):
            turned_by = (DEGREES[number] + reading.rotation) % 360
            reading = dataclasses.replace(reading, rotation=turned_by)
        own = found.setdefault(position, [])
        own.append(reading)
        if len(own) == len(DEGREES):
            yield position, _surest(found.pop(position))


def _surest(readings: list[Reading | DataError]) -> Reading | DataError:
    found: list[Reading] = []
    for reading in readings:
        if isinstance(reading, DataError):
            return reading
        found.append(reading)
    return likely_upright(found)
