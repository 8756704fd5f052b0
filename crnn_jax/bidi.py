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


def is_right_to_left(text: str) -> bool:
    """Returns whether a text holds a letter that is written from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text)


def reorder(text: str) -> str:
    """Returns a text in the order of the picture, or such a one in the order of reading.

    It is its own inverse for what people write: letters of both directions, numbers, brackets
    (mirrored, as they look) and punctuation. Exotic sequences of digits of several scripts between
    signs may come back otherwise; `changed` finds labels for which that is so. Text without
    right-to-left letters stays as it is. Combining marks stay behind their letters (rule L3).

    Raises:
      UserError: python-bidi is not installed.
    """
    if not is_right_to_left(text):
        return text
    try:
        from bidi.algorithm import get_display  # the one of its two that mirrors brackets
    except ImportError:
        raise UserError(
            "right-to-left labels need python-bidi, which is not installed: "
            "pip install 'crnn_jax[scripts]'"
        ) from None
    turned: list[str] = []
    marks: list[str] = []
    for char in get_display(text, base_dir="R"):
        if unicodedata.category(char) in ("Mn", "Me"):
            marks.append(char)
        elif marks and unicodedata.bidirectional(char) in _RIGHT_TO_LEFT:
            turned += [char, *reversed(marks)]
            marks = []
        else:
            turned += [*marks, char]
            marks = []
    return "".join(turned + marks)


def changed(texts: Iterable[str]) -> list[str]:
    """Returns the texts that do not come back when they are reordered twice."""
    return [text for text in texts if reorder(reorder(text)) != text]
