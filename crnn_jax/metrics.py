"""Recognition metrics as sums and counts, and the protocols under which texts are compared."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from rapidfuzz.distance import Levenshtein

from crnn_jax.charset import fold_case
from crnn_jax.errors import unknown_name

_NOT_36 = re.compile("[^0-9a-z]+")
_NOT_62 = re.compile("[^0-9A-Za-z]+")
_NOT_94 = re.compile("[^!-~]+")


def _exact(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _keep_36(text: str) -> str:
    return _NOT_36.sub("", _exact(text).lower())


def _keep_62(text: str) -> str:
    return _NOT_62.sub("", _exact(text))


def _keep_94(text: str) -> str:
    return _NOT_94.sub("", _exact(text))


PROTOCOLS: dict[str, Callable[[str], str]] = {
    "36": _keep_36,
    "62": _keep_62,
    "94": _keep_94,
    "exact": _exact,
    "fold": fold_case,
}


def apply_protocol(text: str, protocol: str) -> str:
    """Returns what a protocol compares of a label or a reading.

    Args:
      text: any text; it is brought to Unicode NFC first.
      protocol: `36` lower-cases and keeps [0-9a-z], `62` keeps [0-9A-Za-z], `94` keeps printable
        ASCII without the space, `exact` keeps everything, `fold` everything in lower case.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol](text)


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Returns the Levenshtein distance of two texts, or of two lists of words or class ids."""
    return Levenshtein.distance(a, b)


def kept(label: str, reading: str) -> str:
    """Returns the characters of a label that were read right, in their order.

    Those are the ones that an alignment with fewest edits keeps; where several have as few, it is
    one of them, always the same.
    """
    return "".join(part for part, _, equal in differences(label, reading) if equal)


def differences(label: str, reading: str) -> list[tuple[str, str, bool]]:
    """Returns the parts of both texts, and whether they are equal, in an alignment as in `kept`."""
    return [
        (
            label[block.src_start : block.src_end],
            reading[block.dest_start : block.dest_end],
            block.tag == "equal",
        )
        for block in Levenshtein.opcodes(label, reading)
    ]


def one_minus_ned(label: str, reading: str) -> float:
    """Returns 1 - distance / length of the longer text; 1 when both are empty."""
    longest = max(len(label), len(reading))
    return 1.0 - edit_distance(label, reading) / longest if longest else 1.0


# 1-NED is summed in whole units of this size, so that sums do not depend on the order of rows.
_UNIT = 2**60


@dataclass
class RecognitionMetrics:
    """Running sums over (label, reading) rows; parts merged equal the whole, to the last bit.

    Attributes:
      protocol: how both texts are prepared, a name in PROTOCOLS.
      count: rows compared.
      skipped: rows left out because their label is empty under the protocol; report them.
      correct: rows read without an error.
      distance: edit distance, in characters, and label_length, the characters of the labels.
      word_distance: edit distance, in words, and label_words, the words of the labels.
    """

    protocol: str = "exact"
    count: int = 0
    skipped: int = 0
    correct: int = 0
    distance: int = 0
    label_length: int = 0
    word_distance: int = 0
    label_words: int = 0
    similarity: int = 0  # sum of 1-NED, in units of 1 / _UNIT

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise unknown_name("protocol", self.protocol, PROTOCOLS)

    def update(self, label: str, reading: str) -> None:
        """Adds a row. An image that could not be read counts with the reading ''."""
        label = apply_protocol(label, self.protocol)
        reading = apply_protocol(reading, self.protocol)
        if not label:
            self.skipped += 1
            return
        label_words = label.split()
        self.count += 1
        self.correct += label == reading
        self.distance += edit_distance(label, reading)
        self.label_length += len(label)
        self.word_distance += edit_distance(label_words, reading.split())
        self.label_words += len(label_words)
        self.similarity += round(one_minus_ned(label, reading) * _UNIT)

    def merge(self, other: RecognitionMetrics) -> RecognitionMetrics:
        """Adds the rows of another one, of the same protocol, to this one and returns it."""
        if self.protocol != other.protocol:
            raise ValueError(f"cannot merge protocol {self.protocol!r} with {other.protocol!r}")
        for field in fields(self):
            if field.name != "protocol":
                total = getattr(self, field.name) + getattr(other, field.name)
                setattr(self, field.name, total)
        return self

    def compute(self) -> dict[str, int | float]:
        """Returns count, word_accuracy, cer, wer and one_minus_ned as fractions, not percent.

        CER and WER are summed distances over summed label lengths, so they may exceed 1. Word
        accuracy is of whole labels; WER is over the words that whitespace separates, of which
        protocols 36, 62 and 94 leave one per label. Fractions of nothing are NaN.
        """
        return {
            "count": self.count,
            "word_accuracy": _fraction(self.correct, self.count),
            "cer": _fraction(self.distance, self.label_length),
            "wer": _fraction(self.word_distance, self.label_words),
            "one_minus_ned": _fraction(self.similarity, self.count * _UNIT),
        }


def wilson_interval(
    successes: int | np.integer, n: int | np.integer, z: float = 1.96
) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion, such as an accuracy.

    Args:
      successes: rows that are right.
      n: all rows; with none the interval is (0, 1).
      z: normal quantile; 1.96 gives 95 %.

    Source: Wilson, JASA 22 (1927).
    """
    successes, n = int(successes), int(n)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n}: need 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends are exact in theory where all or none are right; rounding would miss them.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def _fraction(total: int, count: int) -> float:
    return total / count if count else math.nan
