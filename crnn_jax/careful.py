"""A second look: what is unsure is read again in other views of the image; the surest counts.

Which views there are, and why, stands in `runtime`: exported models look again, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.data.images import size_of
from crnn_jax.errors import DataError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer
from crnn_jax.runtime import AS_IT_IS, SURE, View, other_views, surest, turned_size

T = TypeVar("T")

_WAITING = 4  # batches' worth of unsure images that are read again together


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
    def preprocess(image: Any, view: View = AS_IT_IS) -> tuple[Any, View]:
        """Returns the arguments of the model's own preprocessing; the view may be a turn alone."""
        return image, view

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
            image, turned = load(pair[1])
            sizes[pair[0]] = turned_size(*size_of(image), turned.rotation)
            return self.model.preprocess(image, view=turned)

        def load_view(pair: tuple[View, T]) -> Any:
            image, turned = load(pair[1])
            return self.model.preprocess(image, view=pair[0].turned(turned.rotation))

        def again(unsure: dict[int, Reading]) -> Iterator[tuple[int, Reading | DataError]]:
            """Yields the readings of items that have been read as they are."""
            owners, pairs = [], []
            for position in unsure:
                item = found.pop(position)
                for view in other_views(*sizes[position]):
                    owners.append(position)
                    pairs.append((view, item))
            others: dict[int, list[Reading]] = {position: [] for position in unsure}
            for place, reading in read(pairs, load_view):
                owner, view = owners[place], pairs[place][0]
                if isinstance(reading, Reading):
                    size = turned_size(*sizes[owner], view.rotation)
                    others[owner].append(in_image(reading, view, *size))
            for position, plain in unsure.items():
                del sizes[position]
                yield position, surest(plain, others[position])

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


def in_image(reading: Reading, view: View, width: int, height: int) -> Reading:
    """Returns the reading of a view with its places as shares of the (turned) image's own width."""
    ends = [(c.x0, c.x1) for c in reading.characters]
    places = view.across(np.array(ends).reshape(-1, 2), width, height).tolist()
    moved = tuple(
        c._replace(x0=x0, x1=x1) for c, (x0, x1) in zip(reading.characters, places, strict=True)
    )
    return dataclasses.replace(reading, rotation=view.rotation, slope=view.slope, characters=moved)
