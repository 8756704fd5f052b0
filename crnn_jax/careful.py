"""A second look: what is unsure is read again in other views of the image; the surest counts.

A word whose letters touch the border of its picture is read better with some room around it, narrow
letters when they are stretched. A word on a slope fills its picture from corner to corner, so its
letters are small once the picture is brought to the network's height: the picture's columns are
moved up and down until a text of some slope lies level, and what is above and below it then is cut
off. Signs seen from the side have that shape, their strokes stay upright. And what is much higher
than wide may be a line that goes up or down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.data.images import LEAST_LEVEL, level_share, margin_pixels, size_of
from crnn_jax.errors import DataError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer

T = TypeVar("T")

SURE = 0.7  # confidence from which an image is read once
SURER = 0.1  # by which another view must be surer than the image as it is
_SLOPES = (-28, -19, -10, 10, 19, 28)  # degrees; positive ones fall to the right
_TALL = 1.3  # times as high as wide is what may be a line that goes up or down
_WAITING = 4  # batches' worth of unsure images that are read again together


class View(NamedTuple):
    """A way of looking at an image, as `Preprocess` takes it."""

    rotation: int = 0
    slope: int = 0
    stretch: float = 1.0
    margin: float = 0.0


def views_of(width: int, height: int) -> list[View]:
    """Returns the views of an image that are tried: slopes where a line of text is left, level."""
    views = [View(margin=0.1), View(stretch=1.3)]
    for degrees in _SLOPES:
        if level_share(width, height, degrees) >= LEAST_LEVEL:
            views.append(View(slope=degrees))
    if height > _TALL * width:
        views += [View(rotation=90), View(rotation=270)]
    return views


@dataclasses.dataclass(frozen=True)
class Careful:
    """A model that looks twice at what it is not sure of.

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
            pairs: Iterable[tuple[Any, T]], loaded: Callable[..., Any]
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

        def load_view(pair: tuple[View, T]) -> Any:
            image, rotation = load(pair[1])
            view = pair[0]._replace(rotation=(rotation + pair[0].rotation) % 360)
            return self.model.preprocess(image, **view._asdict())

        def again(unsure: dict[int, Reading]) -> Iterator[tuple[int, Reading | DataError]]:
            """Yields the readings of items that have been read as they are."""
            owners, pairs = [], []
            for position in unsure:
                item = found.pop(position)
                for view in views_of(*sizes[position]):
                    owners.append(position)
                    pairs.append((view, item))
            best: dict[int, Reading] = {}
            for place, reading in read(pairs, load_view):
                owner = owners[place]
                if isinstance(reading, Reading) and _surer(reading, best.get(owner)):
                    best[owner] = _seen(reading, pairs[place][0], *sizes[owner])
            for position, plain in unsure.items():
                del sizes[position]
                other = best.get(position, plain)
                yield position, other if other.confidence > plain.confidence + SURER else plain

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


def _seen(reading: Reading, view: View, width: int, height: int) -> Reading:
    """Returns the reading of a view with its places as shares of the image's own width."""
    reading = dataclasses.replace(reading, rotation=view.rotation, slope=view.slope)
    if not view.margin:
        return reading
    beside = margin_pixels(height, view.margin)

    def place(x: float) -> float:
        return float(np.clip((x * (width + 2 * beside) - beside) / width, 0.0, 1.0))

    moved = tuple(c._replace(x0=place(c.x0), x1=place(c.x1)) for c in reading.characters)
    return dataclasses.replace(reading, characters=moved)
