"""Text that climbs or falls: what is unsure is read again from images straightened in several ways.

A word on a slope fills its picture from corner to corner, so its letters are small once the picture
is brought to the network's height. The picture's columns are moved up and down instead until a text
of some slope lies level, and what is above and below it then is cut off: signs seen from the side
have that shape, their strokes stay upright. Places along the width do not change.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from crnn_jax.charset import Charset
from crnn_jax.data.images import LEAST_LEVEL, size_of
from crnn_jax.errors import DataError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer

T = TypeVar("T")

DEGREES = (-28, -19, -10, 10, 19, 28)  # that are tried; positive ones fall to the right
SURE = 0.7  # confidence from which an image is read once
MARGIN = 0.2  # by which a straightened image must be surer than the image as it is
_WAITING = 4  # batches' worth of unsure images that are read again together


def slopes_of(width: int, height: int) -> list[int]:
    """Returns the degrees to try for an image: where a line of text is left, once it is level."""
    return [
        degrees
        for degrees in DEGREES
        if height - abs(math.tan(math.radians(degrees))) * width >= LEAST_LEVEL * height
    ]


@dataclasses.dataclass(frozen=True)
class OnSlopes:
    """A model that reads text on slopes, too.

    Attributes:
      model: a recogniser, or several that vote; in windows, if it is to read long lines so.
    """

    model: Any

    @property
    def name(self) -> str:
        """Of the model, for tables."""
        return self.model.name

    @property
    def charset(self) -> Charset:
        """Characters of the model."""
        return self.model.charset

    @staticmethod
    def preprocess(image: Any, rotation: int = 0) -> tuple[Any, int]:
        """Returns the arguments of the model's own preprocessing."""
        return image, rotation

    read = Recognizer.read  # all that it asks for are `stream` and `preprocess`

    def stream(
        self,
        items: Iterable[T],
        load: Callable[[T], Any],
        batch_size: int = 32,
        decoder: Any = "greedy",
        label: Callable[[T], str] | None = None,
        words: Callable[[T], Sequence[str]] | None = None,
        characters: bool = False,
    ) -> Iterator[tuple[int, Reading | DataError]]:
        """Yields the surest readings of items, see `Recognizer.stream`.

        Args:
          items: what to read; those that wait to be read again are held.
          load: of an item, what `preprocess` returns.
          batch_size: most images per step.
          decoder: as of the model.
          label: the true text of an item, where it is known, for the loss.
          words: that an item is known to be among.
          characters: whether readings have their characters.
        """
        found: dict[int, T] = {}  # items under way
        sizes: dict[int, tuple[int, int]] = {}  # noted by the threads that load

        def noted() -> Iterator[tuple[int, T]]:
            for position, item in enumerate(items):
                found[position] = item
                yield position, item

        def read(
            pairs: Iterable[tuple[int, T]], loaded: Callable[..., Any]
        ) -> Iterator[tuple[int, Reading | DataError]]:
            return self.model.stream(
                pairs,
                loaded,
                batch_size,
                decoder,
                label=None if label is None else lambda pair: label(pair[1]),
                words=None if words is None else lambda pair: words(pair[1]),
                characters=characters,
            )

        def load_whole(pair: tuple[int, T]) -> Any:
            image, rotation = load(pair[1])
            width, height = size_of(image)
            sizes[pair[0]] = (height, width) if rotation in (90, 270) else (width, height)
            return self.model.preprocess(image, rotation=rotation)

        def load_level(pair: tuple[int, T]) -> Any:
            image, rotation = load(pair[1])
            return self.model.preprocess(image, rotation=rotation, slope=pair[0])

        def again(unsure: dict[int, Reading]) -> Iterator[tuple[int, Reading | DataError]]:
            """Yields the readings of items that have been read as they are."""
            owners, pairs = [], []
            for position in unsure:
                item = found.pop(position)
                for degrees in slopes_of(*sizes.pop(position)):
                    owners.append(position)
                    pairs.append((degrees, item))
            best: dict[int, Reading] = {}
            for place, reading in read(pairs, load_level):
                owner = owners[place]
                if isinstance(reading, Reading) and _surer(reading, best.get(owner)):
                    best[owner] = dataclasses.replace(reading, slope=pairs[place][0])
            for position, plain in unsure.items():
                level = best.get(position, plain)
                yield position, level if level.confidence > plain.confidence + MARGIN else plain

        unsure: dict[int, Reading] = {}
        for position, reading in read(noted(), load_whole):
            if isinstance(reading, DataError) or reading.confidence >= SURE:
                found.pop(position)
                sizes.pop(position, None)
                yield position, reading
                continue
            unsure[position] = reading
            if len(unsure) == _WAITING * batch_size:
                yield from again(unsure)
                unsure = {}
        yield from again(unsure)


def _surer(reading: Reading, other: Reading | None) -> bool:
    """Returns whether a reading says something, and more surely than another."""
    return bool(reading.text) and (other is None or reading.confidence > other.confidence)
