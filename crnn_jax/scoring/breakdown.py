"""Where a model is right and where not: by length, shape, characters and doubled characters."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax import metrics
from crnn_jax.errors import DataError
from crnn_jax.scoring.significance import RowScores

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source
    from crnn_jax.scoring.results import Row

_LENGTHS = (2, 4, 6, 8, 11)  # the longest label of each group but the last
_RATIOS = (1, 2, 3, 4, 6)  # the upper ends of each group but the last
NO_IMAGE = "unreadable"


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows of a set that have something in common: how many, and how many are right."""

    name: str
    count: int
    correct: int

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return {
            "name": self.name,
            "count": self.count,
            "word_accuracy": self.correct / self.count if self.count else None,
        }


def length_group(text: str) -> str:
    """Returns the group of a text by its characters: "1-2", ..., "12+"."""
    low = 1
    for high in _LENGTHS:
        if len(text) <= high:
            return f"{low}-{high}"
        low = high + 1
    return f"{low}+"


def ratio_group(ratio: float | None) -> str:
    """Returns the group of an image by width over height: "below 1", "1-2", ..., "6+"."""
    if ratio is None:
        return NO_IMAGE
    low = 0
    for high in _RATIOS:
        if ratio < high:
            return f"{low}-{high}" if low else f"below {high}"
        low = high
    return f"{low}+"


def character_group(label: str) -> str:
    """Returns "letters", "digits", "letters and digits" or "other characters" (any of them)."""
    # Marks and joiners belong to their letters.
    text = "".join(
        char
        for char in unicodedata.normalize("NFC", label)
        if unicodedata.category(char) not in ("Mn", "Mc", "Me", "Cf") and not char.isspace()
    )
    if not text.isalnum():
        return "other characters"
    letters = any(map(str.isalpha, text))
    digits = any(char.isnumeric() and not char.isalpha() for char in text)  # not ideographs
    return "letters and digits" if letters and digits else "letters" if letters else "digits"


def doubled_group(text: str) -> str:
    """Returns whether a character stands twice in a row, which CTC reads only across a blank."""
    doubled = any(a == b for a, b in itertools.pairwise(text))
    return "a doubled character" if doubled else "none doubled"


# In the order of tables. Groups that no row is in are left out.
_ORDERS: dict[str, tuple[str, ...]] = {
    "label_length": ("1-2", "3-4", "5-6", "7-8", "9-11", "12+"),
    "aspect_ratio": ("below 1", "1-2", "2-3", "3-4", "4-6", "6+", NO_IMAGE),
    "characters": ("letters", "digits", "letters and digits", "other characters"),
    "doubled_characters": ("a doubled character", "none doubled"),
}
TITLES = {
    "label_length": "characters of the label",
    "aspect_ratio": "width / height of the image",
    "characters": "characters that the label holds",
    "doubled_characters": "twice the same character in a row",
}


def order(kind: str) -> tuple[str, ...]:
    """Returns all groups of a kind, a key of TITLES, in the order of tables."""
    return _ORDERS[kind]


def aspect_ratios(source: Source) -> list[float | None]:
    """Returns width over height of every image, from its header; None for one without."""
    return [_ratio(functools.partial(source.image_size, i)) for i in range(len(source))]


def _ratio(size: Callable[[], tuple[int, int]]) -> float | None:
    try:
        width, height = size()
    except DataError:
        return None
    return width / height


def breakdown(
    rows: Sequence[Row], scores: RowScores, ratios: Sequence[float | None], protocol: str
) -> dict[str, list[Group]]:
    """Returns the word accuracy of groups of a set's rows.

    Lengths and doubled characters are those of the label as the protocol compares it, classes of
    characters those of the label as it is.

    Args:
      rows: of the set.
      scores: of the rows; those that do not count are left out.
      ratios: width over height of the rows' images.
      protocol: a name of `crnn_jax.metrics.PROTOCOLS`.
    """
    found: dict[str, list[str]] = {name: [] for name in _ORDERS}
    for row, ratio in zip(rows, ratios, strict=True):
        text = metrics.apply_protocol(row.label, protocol)
        found["label_length"].append(length_group(text))
        found["aspect_ratio"].append(ratio_group(ratio))
        found["characters"].append(character_group(row.label))
        found["doubled_characters"].append(doubled_group(text))
    groups = {}
    for kind, order in _ORDERS.items():
        names = np.array(found[kind], object)
        masks = [(name, (names == name) & scores.compared) for name in order]
        groups[kind] = [
            Group(name, int(mask.sum()), int(scores.correct[mask].sum()))
            for name, mask in masks
            if mask.any()
        ]
    return groups
