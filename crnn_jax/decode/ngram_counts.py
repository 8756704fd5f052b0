"""How often strings of symbols occur in texts: what a language model is estimated from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64
from tqdm import tqdm

from crnn_jax.charset import Charset
from crnn_jax.decode.ngram_model import END, MAX_ORDER, SPECIAL, START
from crnn_jax.errors import UserError

NOTHING = -1  # symbol behind the end of a text
_CHUNK = 1 << 22  # symbols that are sorted at a time
_BITS = 62  # of a packed number


class Counts(NamedTuple):
    """How often each string of N symbols occurs, from every place of the texts on.

    Strings that begin less than N symbols before the end of their text are filled up with -1.
    """

    windows: Int32[np.ndarray, "M N"]  # all different, in lexicographic order
    counts: Int64[np.ndarray, " M"]

    def shortened(self, order: int) -> Counts:
        """Returns the counts of the strings of `order` symbols, at most N."""
        windows = self.windows[:, :order]
        first = np.flatnonzero(differs(windows).any(axis=1))
        return Counts(windows[first], np.add.reduceat(self.counts, first))


def whole_counts(counts: Iterable[int | float]) -> Int64[np.ndarray, " M"]:
    """Returns counts as whole numbers, which the discounts are made for.

    Where there are fractions, all are divided by the smallest, and rounded. None is above 2**40,
    so that their sums stay exact.
    """
    values = np.array(list(counts), np.float64)
    if len(values) and (values != np.round(values)).any():
        values = values / values.min()
    return np.maximum(np.round(np.minimum(values, 2.0**40)), 1).astype(np.int64)


def count(texts: Iterable[tuple[str, int | float]], charset: Charset, order: int) -> Counts:
    """Counts what texts hold.

    Args:
      texts, charset, order: as of `kneser_ney.train`, which says what is left out.

    Raises:
      UserError: an order out of range, or no text has a character of the charset.
    """
    if not 1 <= order <= MAX_ORDER:
        raise UserError(f"order {order} of a language model: 1 to {MAX_ORDER} characters")
    pairs = list(texts)
    numbers = whole_counts(number for _, number in pairs)
    packing = _Packing(len(charset.classes) + len(SPECIAL), order)
    found = packing.empty()
    sizes = np.cumsum([len(text) + 2 for text, _ in pairs])
    bounds = [0, *(np.flatnonzero(np.diff(sizes // _CHUNK)) + 1).tolist(), len(pairs)]
    # On a terminal alone.
    with tqdm(total=len(pairs), desc="counting", unit="text", delay=3, disable=None) as bar:
        for start, stop in itertools.pairwise(bounds):
            ids, lengths = encode_all([text for text, _ in pairs[start:stop]], charset)
            some = lengths > 0
            if some.any():
                counted = packing.pack(ids, lengths[some], numbers[start:stop][some])
                found = _add_up(*counted, *found)
            bar.update(stop - start)
    if not found[1].size:
        raise UserError(
            "no text has a character of the charset "
            f"({len(charset.classes)} characters): give texts in its characters, one per line"
        )
    return Counts(packing.unpack(found[0]), found[1])


def encode_all(
    texts: Sequence[str], charset: Charset
) -> tuple[Int32[np.ndarray, " I"], Int64[np.ndarray, " T"]]:
    """Returns the class ids of texts, one behind the other, and how many each of them has.

    They are those of `Charset.encode_known`, of many texts at once where a character is a class.
    """
    simple = not charset.right_to_left and all(
        len(name) == 1 and name != "\n" for name in charset.classes
    )
    joined = "\n".join(texts)
    if not simple or joined.count("\n") != len(texts) - 1:
        encoded = [charset.encode_known(text) for text in texts]
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        return np.array(list(itertools.chain.from_iterable(encoded)), np.int32), lengths
    # A line break neither joins what is beside it nor is changed by it.
    code_points = charset.normalise(joined).encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(code_points, np.uint32)
    table = np.zeros(0x110000, np.int32)
    table[[ord(name) for name in charset.classes]] = np.arange(1, len(charset.classes) + 1)
    ids, owner = table[points], np.cumsum(points == ord("\n"))
    return ids[ids > 0], np.bincount(owner[ids > 0], minlength=len(texts))


class _Packing:
    """Strings of N symbols as few numbers that sort as they do."""

    def __init__(self, vocabulary: int, order: int):
        self._bits = vocabulary.bit_length()  # of a symbol + 1
        self._per = _BITS // self._bits
        self._order = order

    def empty(self) -> tuple[Int64[np.ndarray, "P 0"], Int64[np.ndarray, " 0"]]:
        """Returns no strings, and their counts."""
        return np.zeros((-(-self._order // self._per), 0), np.int64), np.zeros(0, np.int64)

    def pack(
        self,
        ids: Int32[np.ndarray, " I"],
        lengths: Int64[np.ndarray, " T"],
        counts: Int64[np.ndarray, " T"],
    ) -> tuple[Int64[np.ndarray, "P M"], Int64[np.ndarray, " M"]]:
        """Returns the strings from every place of texts on, and their counts.

        Args:
          ids: class ids of the texts, one behind the other.
          lengths: of the texts.
          counts: of the texts.
        """
        lengths = lengths + 2
        ends = np.cumsum(lengths)
        stop = np.repeat(ends, lengths)
        within = np.ones(len(stop), bool)
        within[ends - lengths] = within[ends - 1] = False
        symbols = np.full(len(stop), START, np.int64)
        symbols[ends - 1] = END
        symbols[within] = ids + len(SPECIAL) - 1  # class ids begin at 1
        place = np.arange(len(symbols))
        packed = np.zeros((-(-self._order // self._per), len(symbols)), np.int64)
        for n in range(self._order):
            at = np.minimum(place + n, len(symbols) - 1)
            digit = np.where(place + n < stop, symbols[at] + 1, 0)
            packed[n // self._per] |= digit << self._shift(n)
        return _add_up(packed, np.repeat(counts, lengths))

    def unpack(self, packed: Int64[np.ndarray, "P M"]) -> Int32[np.ndarray, "M N"]:
        """Returns the symbols of strings."""
        mask = (1 << self._bits) - 1
        columns = [
            ((packed[n // self._per] >> self._shift(n)) & mask) - 1 for n in range(self._order)
        ]
        return np.stack(columns, axis=1).astype(np.int32)

    def _shift(self, n: int) -> int:
        return (self._per - 1 - n % self._per) * self._bits


def _add_up(
    keys: Int64[np.ndarray, "P M"],
    counts: Int64[np.ndarray, " M"],
    other_keys: Int64[np.ndarray, "P N"] | None = None,
    other_counts: Int64[np.ndarray, " N"] | None = None,
) -> tuple[Int64[np.ndarray, "P D"], Int64[np.ndarray, " D"]]:
    """Returns all different keys, of both kinds, in order, with the sums of their counts."""
    if other_keys is not None:
        keys = np.concatenate([keys, other_keys], axis=1)
        counts = np.concatenate([counts, other_counts])
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    keys, counts = keys[:, order], counts[order]
    first = np.flatnonzero(differs(keys.T).any(axis=1))
    return keys[:, first], np.add.reduceat(counts, first)


def differs(rows: np.ndarray) -> Bool[np.ndarray, "M N"]:
    """Returns where rows differ from the row before; the first row differs everywhere."""
    found = np.ones(rows.shape, bool)
    np.not_equal(rows[1:], rows[:-1], out=found[1:])
    return found
