r"""ARPA files of character n-gram models, as SRILM, KenLM and others read and write them.

    \data\
    ngram 1=39
    ngram 2=815

    \1-grams:
    -1.2041	a	-0.4437
    ...
    \end\

A line has the base-10 logarithm of a probability, the tokens, and the base-10 logarithm of a
back-off weight where it is not 0. A token is one character (a class of a charset); the blank is
written `<space>`, and read from `<space>`, `▁` and `|`, too. Special tokens are `<s>`, `</s>` and
`<unk>` (or `<UNK>`). Characters follow each other as they do in the picture: those of right-to-left
texts from left to right. Files that end in .gz are packed; packed ones are recognised when read.
"""

from __future__ import annotations

import gzip
import io
import math
import pathlib
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterator

import numpy as np

from crnn_jax import files
from crnn_jax.decode.ngram_model import (
    END,
    MAX_ORDER,
    SPECIAL,
    START,
    UNKNOWN,
    Level,
    NgramModel,
    keys_of,
)
from crnn_jax.errors import UserError

SPACE = "<space>"
MAX_NGRAMS = 10_000_000
_SPACES = (SPACE, "▁", "|")
_ALIASES = {"<UNK>": UNKNOWN}
_LONGEST_LINE = 1024  # bytes
_HEADER_LINES = 100  # before \data\
_LOG10 = math.log(10)
_NEVER = -99.0  # log10 of no probability, by convention
_DATA, _FINISH = "\\data\\", "\\end\\"


def write(path: str | pathlib.Path, model: NgramModel) -> None:
    """Writes a model, packed where the name ends in .gz; whole or not at all.

    Raises:
      UserError: a character of the model cannot be a token; or the file cannot be written.
    """
    names = [_name(token) for token in model.tokens]
    lines = [_DATA]
    lines += [f"ngram {n}={count}" for n, count in enumerate(model.counts, start=1)]
    grams = [""]
    for n, level in enumerate(model.levels, start=1):
        lines += ["", f"\\{n}-grams:"]
        before = zip(level.parent.tolist(), level.symbol.tolist(), strict=True)
        grams = [f"{grams[p]} {names[s]}" if n > 1 else names[s] for p, s in before]
        p = np.maximum(level.log_prob / _LOG10, _NEVER).tolist()
        weights = (level.back_off / _LOG10).tolist()
        for i, (gram, value, weight) in enumerate(zip(grams, p, weights, strict=True)):
            if n > 1 or model.listed[i]:
                back_off = f"\t{weight:.7g}" if weight else ""
                lines.append(f"{value:.7g}\t{gram}{back_off}")
    data = ("\n".join([*lines, "", _FINISH]) + "\n").encode()
    if pathlib.Path(path).suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # the same model gives the same bytes
    try:
        files.write_bytes(path, data)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _name(token: str) -> str:
    """Returns a token as it stands in a file."""
    if token == " ":
        return SPACE
    if re.search(r"[\0-\x20]", token) or token == SPACE:
        raise UserError(
            f"the character {token!r} cannot be a token of an ARPA file: take it out of the charset"
        )
    return token


def is_arpa(path: str | pathlib.Path) -> bool:
    """Returns whether a file looks like an ARPA file, packed or not, by its first lines.

    Raises:
      UserError: it cannot be read.
    """
    lines = _Lines(path)
    try:
        return any(line == _DATA for _, line in zip(range(_HEADER_LINES), lines, strict=False))
    except _Unreadable:
        return False


def read(path: str | pathlib.Path, classes: Collection[str] = ()) -> NgramModel:
    """Reads a model.

    Args:
      path: of the file.
      classes: of the charset that it is for; what is among them stands for itself: `|` and `▁`,
        and classes of several letters.

    Raises:
      UserError: it cannot be read, is malformed (the line is named), is a model of words, or holds
        more than MAX_NGRAMS n-grams.
    """
    return _Reader(path, classes).read()


class _Unreadable(UserError):
    """A line is too long, or no text."""


class _Lines:
    """The lines of a file, stripped; counts them."""

    def __init__(self, path: str | pathlib.Path):
        self.path = path
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        try:
            with open(self.path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                if packed:
                    with gzip.open(file) as unpacked:
                        yield from self._decoded(unpacked)
                else:
                    yield from self._decoded(file)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise UserError(f"{self.path}: a damaged .gz file; fetch or write it again") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _decoded(self, file: io.BufferedIOBase) -> Iterator[str]:
        while line := file.readline(_LONGEST_LINE + 1):
            self.number += 1
            if len(line) > _LONGEST_LINE:
                raise _Unreadable(f"{self.where()}: longer than {_LONGEST_LINE} bytes")
            try:
                text = line.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise _Unreadable(f"{self.where()}: not UTF-8; save the file as UTF-8") from None
            yield text.strip(" \t\r\n")

    def where(self) -> str:
        """Returns the place of the last line, for messages."""
        return f"{self.path}, line {self.number}"


class _Reader:
    """Reads one file, line by line."""

    def __init__(self, path: str | pathlib.Path, classes: Collection[str]):
        self._lines = _Lines(path)
        self._iterator = iter(self._lines)
        self._classes = classes
        self._symbols = {token: i for i, token in enumerate(SPECIAL)} | _ALIASES
        self._tokens = list(SPECIAL)

    def read(self) -> NgramModel:
        counts = self._header()
        levels: list[Level] = []
        places = {"": 0}
        for n, count in enumerate(counts, start=1):
            if n > 1:
                self._expect(f"\\{n}-grams:")
            level, places = self._section(n, count, places, n == len(counts))
            levels.append(level)
        self._expect(_FINISH)
        return _sorted(self._tokens, levels)

    def _mistake(self, text: str) -> UserError:
        return UserError(f"{self._lines.where()}: {text}")

    def _next(self, wanted: str) -> str:
        """Returns the next line that is not empty."""
        for line in self._iterator:
            if line:
                return line
        raise UserError(
            f"{self._lines.path}: ends after line {self._lines.number}, before {wanted}; it is cut "
            "off or no ARPA file: fetch or write it again"
        )

    def _expect(self, wanted: str) -> None:
        line = self._next(wanted)
        if line != wanted:
            raise self._mistake(f"{line!r:.60} where {wanted} should be; the counts do not fit")

    def _header(self) -> list[int]:
        """Returns the number of n-grams of each length."""
        while self._next(_DATA) != _DATA:
            if self._lines.number > _HEADER_LINES:
                raise self._mistake(f"no {_DATA} up to here: not an ARPA file")
        counts: list[int] = []
        while (line := self._next("\\1-grams:")) != "\\1-grams:":
            match = re.fullmatch(r"ngram\s+(\d{1,4})\s*=\s*(\d{1,15})", line)
            if not match or int(match[1]) != len(counts) + 1:
                raise self._mistake(f"{line!r:.60} where ngram {len(counts) + 1}=COUNT should be")
            counts.append(int(match[2]))
        if not 1 <= len(counts) <= MAX_ORDER:
            raise self._mistake(f"a model of order {len(counts)}: 1 to {MAX_ORDER} can be read")
        if sum(counts) > MAX_NGRAMS:
            raise self._mistake(
                f"{sum(counts):,} n-grams, more than {MAX_NGRAMS:,}: write a model of a lower "
                "order, or prune it"
            )
        return counts

    def _section(
        self, n: int, count: int, above: dict[str, int], last: bool
    ) -> tuple[Level, dict[str, int]]:
        """Reads the n-grams of n tokens.

        Args:
          n: their length.
          count: how many there are.
          above: the places of those that are one shorter, by their tokens.
          last: whether these are the longest.
        """
        places: dict[str, int] = {}
        parents: list[int] = []
        symbols: list[int] = []
        values: list[float] = []
        weights: list[float] = []
        for _ in range(count):
            line = self._next(f"the last of {count} {n}-grams")
            fields = re.split("[ \t]+", line)
            if not n + 1 <= len(fields) <= n + 2:
                what = "a probability, " + ("a token" if n == 1 else f"{n} tokens")
                raise self._mistake(
                    f"{line!r:.60}: {what} and perhaps a back-off weight belong here"
                )
            value, weight = self._numbers(fields, n, last)
            *history, token = fields[1 : n + 1]
            before = " ".join(history)
            gram = f"{before} {token}" if history else token
            if n == 1 and token not in self._symbols:
                self._add_token(token)
            if token not in self._symbols:
                raise self._mistake(f"{token!r:.40} is not among the 1-grams")
            if before not in above:
                raise self._mistake(f"{before!r:.60} begins an n-gram and is not listed itself")
            if gram in places:
                raise self._mistake(f"{gram!r:.60} is listed twice")
            places[gram] = len(values)
            parents.append(above[before])
            symbols.append(self._symbols[token])
            values.append(value)
            weights.append(weight)
        if n == 1:
            return self._unigrams(symbols, values, weights)
        columns = np.array(parents, np.int64), np.array(symbols, np.int32)
        return Level(*columns, np.array(values), np.array(weights)), places

    def _numbers(self, fields: list[str], n: int, last: bool) -> tuple[float, float]:
        """Returns a line's log-probability and log back-off weight in nats."""
        try:
            value = float(fields[0])
            weight = float(fields[n + 1]) if len(fields) == n + 2 else 0.0
        except ValueError:
            wrong = fields[0] if len(fields) == n + 1 else f"{fields[0]} or {fields[n + 1]}"
            raise self._mistake(
                f"{wrong!r:.60} is no number (tokens are single characters)"
            ) from None
        if not value <= 1e-5:
            raise self._mistake(f"{fields[0]!r:.40} is the logarithm of no probability: at most 0")
        if not math.isfinite(weight) or (last and weight):
            most = " of the longest n-grams, which have none" if last else ": a number"
            raise self._mistake(f"{fields[n + 1]!r:.40} is no back-off weight{most}")
        return min(max(value, _NEVER), 0.0) * _LOG10, weight * _LOG10

    def _add_token(self, token: str) -> None:
        """Numbers a token, which is to be a character."""
        marked = any(unicodedata.category(c) in ("Mn", "Mc", "Me", "Cf") for c in token)
        if len(token) > 1 and token != SPACE and token not in self._classes and not marked:
            raise self._mistake(
                f"{token!r:.40} is a word: the model must be one of characters; train it on texts "
                f"with a blank after every character, {SPACE} for the blank itself"
            )
        self._symbols[token] = len(self._tokens)
        self._tokens.append(token)

    def _unigrams(
        self, symbols: list[int], values: list[float], weights: list[float]
    ) -> tuple[Level, dict[str, int]]:
        """Returns the 1-grams in the order of their symbols, and the places of these."""
        for symbol in (START, END):
            if symbol not in symbols:
                raise self._mistake(f"the 1-grams lack {SPECIAL[symbol]}: train the model on lines")
        if len(set(symbols)) < len(symbols):
            raise self._mistake(f"the 1-grams have {SPECIAL[UNKNOWN]} twice")
        size = len(self._tokens)
        log_prob, back_off = np.full(size, -np.inf), np.zeros(size)
        log_prob[symbols], back_off[symbols] = values, weights
        log_prob[START] = -np.inf
        level = Level(np.zeros(size, np.int64), np.arange(size, dtype=np.int32), log_prob, back_off)
        places = dict(self._symbols)
        blank = next((t for t in _SPACES if t in self._symbols and t not in self._classes), None)
        if blank:
            self._tokens[self._symbols[blank]] = " "
        return level, places


def _sorted(tokens: list[str], levels: list[Level]) -> NgramModel:
    """Returns the model of levels in the order of a file."""
    places = levels[0].symbol.astype(np.int64)
    done = [levels[0]]
    for level in levels[1:]:
        level = level._replace(parent=places[level.parent])
        order = np.argsort(keys_of(level.parent, level.symbol, len(tokens)))
        done.append(Level(*(column[order] for column in level)))
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
    return NgramModel(tuple(tokens), tuple(done))
