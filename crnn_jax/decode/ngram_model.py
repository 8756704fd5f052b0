"""Character n-gram models with back-off, as ARPA files hold them.

The n-grams of each length are the nodes of one level of a trie: a node is its parent (all but the
last symbol, a node of the level above) and its symbol. The probability of symbol w after history h
is that of the n-gram hw where it is listed, else the back-off weight of h times the probability
of w after h without its first symbol (Katz, IEEE Trans. ASSP 35, 1987). An n-gram that is not
listed has a back-off weight of 1.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64

from crnn_jax.charset import Charset, fold_case
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.decode.language import Ngrams

END, START, UNKNOWN = 0, 1, 2  # symbols; characters follow
SPECIAL = ("</s>", "<s>", "<unk>")
MAX_ORDER = 10
FLOOR = math.log(1e-7)  # of a character that the model does not know, where it has no <unk>
_POSITIONS = 1 << 20  # scored at a time, for the memory


class Level(NamedTuple):
    """The n-grams of one length, sorted by parent, then symbol.

    Level 1 has every symbol in its place, those with no probability at -inf.
    """

    parent: Int64[np.ndarray, " N"]  # place in the level above; 0 in level 1
    symbol: Int32[np.ndarray, " N"]
    log_prob: Float64[np.ndarray, " N"]  # nats
    back_off: Float64[np.ndarray, " N"]  # nats


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A character n-gram model.

    Attributes:
      tokens: of the symbols: SPECIAL, then characters (classes of a charset).
      levels: n-grams of 1, 2, ... symbols.
    """

    tokens: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)

    @property
    def counts(self) -> list[int]:
        """Number of n-grams of each length."""
        first = int(np.count_nonzero(self.listed))
        return [first, *(len(level.symbol) for level in self.levels[1:])]

    @functools.cached_property
    def listed(self) -> np.ndarray:
        """Which symbols are listed as unigrams: bool (V,). The start has no probability."""
        listed = np.isfinite(self.levels[0].log_prob)
        listed[START] = True
        return listed

    @functools.cached_property
    def unigrams(self) -> Float64[np.ndarray, " V"]:
        """Log-probabilities of the symbols in nats, with a floor for what is not known."""
        found = self.levels[0].log_prob.copy()
        if not np.isfinite(found[UNKNOWN]):
            found[UNKNOWN] = FLOOR
        return found

    @functools.cached_property
    def _keys(self) -> list[np.ndarray]:
        return [keys_of(level.parent, level.symbol, len(self.tokens)) for level in self.levels]

    def truncated(self, order: int) -> NgramModel:
        """Returns the model without the n-grams that are longer than `order`."""
        if order >= self.order:
            return self
        *rest, last = self.levels[:order]
        last = last._replace(back_off=np.zeros_like(last.back_off))
        return NgramModel(self.tokens, (*rest, last))

    def symbols_of(self, charset: Charset) -> Int32[np.ndarray, " K"]:
        """Returns the symbol of each class id; UNKNOWN of the blank and of what the model lacks.

        A class that the model lacks is what it is in the other case, or else without its marks: "A"
        is "a" where the model has small letters alone, and "É" "é", or "e".
        """
        characters = self.tokens[len(SPECIAL) :]
        exact = {token: at for at, token in enumerate(characters, len(SPECIAL))}
        known = {fold_case(token): at for token, at in exact.items()} | exact
        ways = (
            (known.get(way) for way in (name, fold_case(name), _unmarked(fold_case(name))))
            for name in charset.classes
        )
        found = [next((at for at in way if at is not None), UNKNOWN) for way in ways]
        return np.array([UNKNOWN, *found], np.int32)

    def find(self, n: int, parents: np.ndarray, symbols: np.ndarray) -> Int64[np.ndarray, " M"]:
        """Returns the places of n-grams in their level, -1 of those that are not listed.

        Args:
          n: their length.
          parents: places of all but their last symbol; -1 is listed nowhere.
          symbols: the last ones.
        """
        return find(self._keys[n - 1], parents, symbols, len(self.tokens))

    def log_probability(
        self, texts: Sequence[Sequence[int] | np.ndarray]
    ) -> Float64[np.ndarray, " M"]:
        """Returns log p(text) in nats of texts in symbols, their ends included."""
        totals = np.zeros(len(texts))
        first = size = 0
        for i, text in enumerate(texts):
            size += len(text) + 2
            if size >= _POSITIONS or i == len(texts) - 1:
                totals[first : i + 1] = self._score(texts[first : i + 1])
                first, size = i + 1, 0
        return totals

    def _score(self, texts: Sequence[Sequence[int] | np.ndarray]) -> Float64[np.ndarray, " M"]:
        symbols = np.concatenate([[START, *text, END] for text in texts]).astype(np.int64)
        lengths = np.array([len(text) + 2 for text in texts])
        start = np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = np.arange(len(symbols))
        # nodes[i]: the n-gram of n symbols that ends at i; -1 where it is not listed.
        nodes = symbols.copy()
        scores = self.unigrams[symbols]
        for n in range(2, self.order + 1):
            before = np.roll(nodes, 1)
            before[place - n + 1 < start] = -1  # it would begin in another text
            nodes = self.find(n, before, symbols)
            known, found = before >= 0, nodes >= 0
            scores[known] += self.levels[n - 2].back_off[before[known]]
            scores[found] = self.levels[n - 1].log_prob[nodes[found]]
        scores[place == start] = 0.0
        return np.add.reduceat(scores, (np.cumsum(lengths) - lengths))

    def perplexity(self, texts: Iterable[str] | dict[str, int | float], charset: Charset) -> float:
        """Returns the perplexity per character, the end of each text counted as one.

        Args:
          texts: may come with their counts. Characters outside the charset are left out of them.
          charset: whose classes the characters are.

        Raises:
          UserError: there is no text.
        """
        weights = texts if isinstance(texts, dict) else Counter(texts)
        symbols = self.symbols_of(charset)
        encoded = [symbols[np.array(charset.encode_known(t), np.int64)] for t in weights]
        if not encoded:
            raise UserError("no text to measure a perplexity on: give one at least")
        counts = np.array(list(weights.values()), np.float64)
        lengths = np.array([len(text) + 1 for text in encoded])
        return float(np.exp(-(counts @ self.log_probability(encoded)) / (counts @ lengths)))

    def tables(self, charset: Charset) -> Ngrams:
        """Returns the model as the beam search asks it; see `crnn_jax.decode.ngram_tables`.

        Raises:
          UserError: it would be too large, or knows none of the charset's characters.
        """
        from crnn_jax.decode.ngram_tables import build_tables

        return build_tables(self, charset)


def _unmarked(character: str) -> str:
    """Returns a character without its accents, which are characters of their own in NFD."""
    points = unicodedata.normalize("NFD", character)
    return "".join(point for point in points if not unicodedata.combining(point))


def keys_of(parents: np.ndarray, symbols: np.ndarray, vocabulary: int) -> Int64[np.ndarray, " N"]:
    """Returns a number for each n-gram of a level, ascending where parents and symbols do."""
    return parents.astype(np.int64) * vocabulary + symbols


def find(
    keys: Int64[np.ndarray, " N"], parents: np.ndarray, symbols: np.ndarray, vocabulary: int
) -> Int64[np.ndarray, " M"]:
    """Returns where n-grams are among the keys of their level; -1 of those that are not."""
    if not len(keys):
        return np.full(len(symbols), -1)
    wanted = keys_of(parents, symbols, vocabulary)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[at] == wanted) & (parents >= 0), at, -1)
