"""Texts to draw: English words by tempered frequency, and random strings of letters and digits.

The words are those of pyspellchecker's English frequency dictionary that consist of a-z. A text
belongs to the split "test" if a hash of its lower-cased form says so, else to "train"; so no text
of one split occurs in the other in any case, and more words reshuffle nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import importlib.resources
import json
import pathlib
import re
import string

import numpy as np

from crnn_jax.errors import DataError

SPLITS = ("train", "test")
MAX_LENGTH = 14  # letters of a dictionary word
MAX_RANDOM_LENGTH = 10
HELD_OUT = 0.05  # share of all possible texts that belongs to the test split
RANDOM_SHARE = 0.2  # share of the rows that are random strings
TEMPER = 0.3  # words are drawn with probability ~ count**TEMPER: the list spans 50 to 76 million

_CASES = (str.lower, str.lower, str.title, str.upper)  # equally likely
# Digits alone, as in prices and dates; codes; anything. Equally likely.
_ALPHABETS = (
    string.digits,
    string.digits + string.ascii_uppercase,
    string.digits + string.ascii_letters,
)


def dictionary_file() -> pathlib.Path:
    """Returns the path of pyspellchecker's dictionary, as packed as it is installed."""
    return pathlib.Path(str(importlib.resources.files("spellchecker") / "resources/en.json.gz"))


def dictionary_bytes() -> bytes:
    """Returns what is in the dictionary file."""
    path = dictionary_file()
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"pyspellchecker has no English dictionary at {path}: reinstall pyspellchecker"
        ) from error


@functools.cache
def word_counts() -> dict[str, int]:
    """Returns the words of 1 to MAX_LENGTH letters a-z, sorted, with their counts in a corpus."""
    counts = json.loads(gzip.decompress(dictionary_bytes()))
    fits = re.compile(f"[a-z]{{1,{MAX_LENGTH}}}").fullmatch
    return {word: counts[word] for word in sorted(counts) if fits(word)}


def split_of(text: str) -> str:
    """Returns the only split that may hold the text, whatever its case."""
    digest = hashlib.blake2b(text.lower().encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") < HELD_OUT * 2**64 else "train"


@dataclasses.dataclass(frozen=True)
class TextSampler:
    """Draws texts of one split.

    Attributes:
      split: "train" or "test".
      random_share: probability that a text is a random string rather than a word.
    """

    split: str
    random_share: float = RANDOM_SHARE

    @functools.cached_property
    def words(self) -> list[str]:
        """The dictionary words of the split, sorted."""
        return [word for word in word_counts() if split_of(word) == self.split]

    @functools.cached_property
    def _cumulative(self) -> np.ndarray:
        """Returns P(index of the drawn word <= i) for each word."""
        counts = word_counts()
        total = np.cumsum(np.array([counts[word] for word in self.words], np.float64) ** TEMPER)
        return total / total[-1]

    def __call__(self, rng: np.random.Generator) -> str:
        """Returns one text over 0-9A-Za-z, a function of the generator's state alone."""
        if rng.random() < self.random_share:
            return self._random_string(rng)
        index = np.searchsorted(self._cumulative, rng.random(), side="right")
        case = _CASES[rng.integers(len(_CASES))]
        return case(self.words[index])

    def _random_string(self, rng: np.random.Generator) -> str:
        alphabet = _ALPHABETS[rng.integers(len(_ALPHABETS))]
        while True:  # the length is drawn anew too: a split may hold no text of one character
            letters = rng.integers(len(alphabet), size=rng.integers(1, MAX_RANDOM_LENGTH + 1))
            text = "".join(alphabet[i] for i in letters)
            if split_of(text) == self.split:
                return text
