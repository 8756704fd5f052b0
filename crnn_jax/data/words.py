"""Texts to draw: words by tempered frequency, and random strings of letters and digits.

The words are those of pyspellchecker's frequency dictionaries that consist of letters, of the
English one those of a-z. A text belongs to the split "test" if a hash of its lower-cased form says
so, else to "train"; so no text of one split occurs in the other in any case, and more words
reshuffle nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import importlib.resources
import json
import math
import pathlib
import re
import string
import unicodedata

import numpy as np

from crnn_jax.errors import DataError, UserError, unknown_name

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

# Languages whose words the charset `latin` can write, each with the name of its dictionary.
LANGUAGES = {
    "english": "en",
    "german": "de",
    "french": "fr",
    "spanish": "es",
    "portuguese": "pt",
    "italian": "it",
    "dutch": "nl",
}
ENGLISH = "english"


def parse_languages(text: str, where: str) -> dict[str, float]:
    """Parses languages joined by `|`, as `english|german` or `3*english|german|french`.

    Args:
      text: as given.
      where: the knob or option that it is of, for messages.

    Returns:
      What share of the words are of which language; of sum 1.

    Raises:
      UserError: an unknown language, one given twice, or a weight that is not above 0.
    """
    weights: dict[str, float] = {}
    for part in text.split("|"):
        weight, star, name = part.rpartition("*")
        name = name.strip()
        if name not in LANGUAGES:
            raise unknown_name(f"language of words ({where})", name, LANGUAGES)
        if name in weights:
            raise UserError(f"{where}={text}: {name} is given twice; keep one, as in 2*{name}")
        try:
            weights[name] = float(weight) if star else 1.0
        except ValueError:
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise UserError(
                f"{where}={text}: {weight.strip()!r} is not a weight: write a number above 0, as "
                f"in 2*{name}"
            )
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def dictionary_file(language: str = ENGLISH) -> pathlib.Path:
    """Returns the path of pyspellchecker's dictionary, as packed as it is installed."""
    name = f"resources/{LANGUAGES[language]}.json.gz"
    return pathlib.Path(str(importlib.resources.files("spellchecker") / name))


def dictionary_bytes(language: str = ENGLISH) -> bytes:
    """Returns what is in the dictionary file."""
    path = dictionary_file(language)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"pyspellchecker has no {language.title()} dictionary at {path}: reinstall "
            "pyspellchecker"
        ) from error


def word_counts(language: str = ENGLISH) -> dict[str, int]:
    """Returns the words of 1 to MAX_LENGTH letters, sorted, with their counts in a corpus.

    They are in lower case and NFC. English ones consist of a-z.
    """
    return _word_counts(language)


@functools.cache  # by what is asked for, however it is asked
def _word_counts(language: str) -> dict[str, int]:
    counts = json.loads(gzip.decompress(dictionary_bytes(language)))
    letters = "a-z" if language == ENGLISH else r"^\W\d_"
    fits = re.compile(f"[{letters}]{{1,{MAX_LENGTH}}}").fullmatch
    words = {unicodedata.normalize("NFC", word.lower()): n for word, n in counts.items()}
    return {word: words[word] for word in sorted(words) if fits(word)}


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
