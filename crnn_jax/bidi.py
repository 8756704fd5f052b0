"""Right-to-left text: the order of reading, and the order in the picture from left to right.

CTC writes what it sees from left to right. A charset with right-to-left letters therefore turns
labels into the order of the picture before they are encoded, and readings back after decoding, by
the Unicode bidirectional algorithm (UAX 9) of the library python-bidi.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from crnn_jax.errors import UserError

_RIGHT_TO_LEFT = ("R", "AL")
_DIRECTING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def is_right_to_left(text: str) -> bool:
    """Returns whether a text holds a letter that is written from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text)


def reorder(text: str) -> str:
    """Returns a text in the order of the picture, or such a one in the order of reading.

    It is its own inverse for what people write: letters of both directions, numbers, brackets
    (mirrored, as they look) and punctuation. Exotic sequences of digits of several scripts between
    signs may come back otherwise, and characters that set the direction do not come back at all;
    `changed` finds labels for which that is so. Text without right-to-left letters stays as it is.
    Combining marks (rule L3), joiners and soft hyphens stay behind their letters.

    Raises:
      UserError: python-bidi is not installed.
    """
    from crnn_jax import runtime  # late: it needs Pillow, and --help does not

    try:
        return runtime.turn(text)
    except runtime.ReadError:
        raise UserError(
            "right-to-left labels need python-bidi, which is not installed: "
            "pip install 'crnn_jax[scripts]'"
        ) from None


def changed(texts: Iterable[str]) -> list[str]:
    """Returns the texts that do not come back when they are reordered twice."""
    return [text for text in texts if reorder(reorder(text)) != text]


def sets_direction(text: str) -> bool:
    """Returns whether a text holds characters that set the direction, which are lost."""
    return any(unicodedata.bidirectional(c) in _DIRECTING for c in text)


def begins_left_to_right(text: str) -> bool:
    """Returns whether the first letter of a right-to-left text is one of the other direction.

    By rules P2 and P3 of the algorithm its line runs from left to right.
    """
    strong = (d for d in map(unicodedata.bidirectional, text) if d in ("L", *_RIGHT_TO_LEFT))
    return is_right_to_left(text) and next(strong) == "L"
