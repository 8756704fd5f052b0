"""Reading with a lexicon: the word with the best CTC score among those that it may be.

As in section 2.3.2 of the paper (Shi et al., 2015): every word of a small lexicon is scored, of a
large one those within an edit distance of the reading without it. Where the paper walks a BK-tree,
words are sorted out here by length and by letters first, all at once, and the distances of the
others are computed by the bit-parallel routine of rapidfuzz.
"""

from __future__ import annotations

import copy
import functools
import logging
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int64
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.ctc.score import score_strings
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.greedy import best_path
from crnn_jax.decode.words import encoded_words, load_words
from crnn_jax.errors import UserError

_LOG = logging.getLogger("crnn_jax")

DISTANCE = 3  # edits between the reading and the words that are scored
SMALL = 2_000  # words that are all scored
FEWEST = 64  # words of a large lexicon that are scored; as many twice, four times ...: few shapes
Ids = Sequence[int] | np.ndarray  # class ids of a reading
_WIDENED = 8_192  # of words further away than asked for, as many: there may be 70,000 of 90,000
_BITS = 64  # of a mask
_COLUMNS = 8  # and their letters a multiple of it
_MOST = 4_096  # words in one call, for the memory


class Frames(NamedTuple):
    """What is known of a batch before any word is scored."""

    log_probs: Float[Array, "B T K"]
    counts: types.FrameCounts
    ids: types.Labels  # readings without a lexicon
    lengths: types.LabelLengths


def frames_of(logits: types.Logits, frames: types.FrameCounts, _: tuple = ()) -> Frames:
    """Returns the posteriors of a batch's frames, and its best paths."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return Frames(log_probs, frames, *best_path(logits, frames))


class LexiconDecoder:
    """Reads the word of a lexicon, or of those that come with an image, that scores best.

    Args:
      lexicon: of all images; None: each has words of its own.
      count: of words that are returned, at most.
      distance: see `Lexicon.near`.
    """

    on_device = staticmethod(frames_of)
    tables = ()

    def __init__(self, lexicon: Lexicon | None = None, count: int = 5, distance: int = DISTANCE):
        self._lexicon, self._count, self._distance = lexicon, count, distance
        self._allowed: np.ndarray | None = None

    def within(self, allowed: Bool[np.ndarray, " K"]) -> LexiconDecoder:
        """Returns a decoder of the words of allowed classes alone; of all where there is none."""
        lexicon = self._lexicon and self._lexicon.within(allowed)
        if self._lexicon and not lexicon:
            _LOG.warning(
                "no word of the lexicon has allowed characters alone, and none will be read: allow "
                "more of them, or give other words"
            )
            return self
        found = LexiconDecoder(lexicon, self._count, self._distance)
        found._allowed = allowed
        return found

    def read(
        self, found: Frames, row: int, charset: Charset, words: Sequence[str]
    ) -> list[Candidate]:
        """Returns the words that score best; see `crnn_jax.decode.Decoder`.

        Raises:
          UserError: neither the decoder nor the image has words.
        """
        lexicon = self._lexicon
        if lexicon is None:
            lexicon = _own_lexicon(tuple(words), charset)
            if lexicon is not None and self._allowed is not None:
                lexicon = lexicon.within(self._allowed)
        if lexicon is None:
            return []
        ids = np.asarray(found.ids[row, : found.lengths[row]])
        log_probs, frames = np.asarray(found.log_probs[row]), int(found.counts[row])
        return lexicon.best(log_probs, frames, ids, self._count, self._distance)


@functools.lru_cache(maxsize=64)  # the words of a photograph share its lexicon
def _own_lexicon(words: tuple[str, ...], charset: Charset) -> Lexicon | None:
    """Returns the lexicon of an image's words; None where the model can spell none of them."""
    try:
        return Lexicon(words, charset, "the image's own lexicon")
    except UserError:
        if not any(map(str.strip, words)):
            raise
        # Other images have words that it can spell.
        _LOG.warning(
            "an image's own words, %.60r, have none of the model's characters: nothing is read",
            ", ".join(words),
        )
        return None


class Lexicon:
    """Words that readings are chosen from, encoded in a charset.

    Words are encoded as `decode.words.encoded_words` does it: with 36 characters "it's" is looked
    for as "its", and read as "it's".

    Args:
      words: in any order; blank ones are left out.
      charset: of the model.
      name: for messages.

    Raises:
      UserError: no word is left.
    """

    def __init__(self, words: Iterable[str], charset: Charset, name: str = "the lexicon"):
        found = encoded_words(words, charset, name)
        ordered = sorted(found.items(), key=lambda item: len(item[0]))
        self.words = [text for _, text in ordered]  # a word as often as it has spellings
        self._small = len(set(self.words)) <= SMALL
        self._lengths = np.array([len(ids) for ids, _ in ordered], np.int32)
        self._ids = np.zeros((len(ordered), int(self._lengths[-1])), np.int32)
        for row, (ids, _) in enumerate(ordered):
            self._ids[row, : len(ids)] = ids
        self._spelled = np.array([_spelled(ids) for ids, _ in ordered], object)
        masks = np.array([_letters(ids) for ids, _ in ordered], np.uint64)
        self._once, self._twice = np.ascontiguousarray(masks.T)

    def __len__(self) -> int:
        return len(self.words)

    def within(self, allowed: Bool[np.ndarray, " K"]) -> Lexicon | None:
        """Returns the lexicon of the words that have allowed classes alone; None for no word."""
        kept = np.flatnonzero(allowed[self._ids].all(axis=1))  # behind a word's end are blanks
        if not len(kept):
            return None
        found = copy.copy(self)
        found.words = [self.words[row] for row in kept]
        found._small = len(set(found.words)) <= SMALL
        for name in ("_lengths", "_ids", "_spelled", "_once", "_twice"):
            setattr(found, name, getattr(self, name)[kept])
        return found

    @classmethod
    def load(cls, path: str | pathlib.Path, charset: Charset) -> Lexicon:
        """Reads a UTF-8 text file with a word per line.

        Raises:
          UserError: it cannot be read, or has no word.
        """
        return cls(load_words(path), charset, str(path))

    def near(self, ids: Ids, distance: int = DISTANCE) -> Int64[np.ndarray, " found"]:
        """Returns the words within an edit distance of a reading.

        Where they are fewer than `FEWEST` it is widened until they are as many, and of those at
        most the nearest `_WIDENED` are taken.

        Args:
          ids: of the reading.
          distance: in characters.
        """
        if self._small:
            return np.arange(len(self))
        asked = distance
        once, twice = _letters(ids)
        while True:
            low, high = np.searchsorted(
                self._lengths, [len(ids) - distance, len(ids) + distance + 1]
            )
            theirs, theirs_twice = self._once[low:high], self._twice[low:high]
            # An edit takes away, or brings in, one letter once.
            lacking = np.bitwise_count(once & ~theirs) + np.bitwise_count(twice & ~theirs_twice)
            more = np.bitwise_count(theirs & ~once) + np.bitwise_count(theirs_twice & ~twice)
            rows = low + np.flatnonzero((lacking <= distance) & (more <= distance))
            distances = self._distances(ids, rows, distance)
            near = rows[distances <= distance]
            if len(near) >= FEWEST or distance >= max(len(ids), self._lengths[-1]):
                if distance == asked or len(near) <= _WIDENED:
                    return near
                return np.sort(rows[np.argsort(distances, kind="stable")[:_WIDENED]])
            distance += 1

    def _distances(self, ids: Ids, rows: np.ndarray, most: int) -> np.ndarray:
        """Returns the edit distances to words; those above `most` are most + 1."""
        if not len(rows):
            return np.zeros(0, np.int64)
        return process.cdist(
            [_spelled(ids)],
            self._spelled[rows].tolist(),
            scorer=Levenshtein.distance,
            score_cutoff=most,
        )[0]

    def best(
        self,
        log_probs: np.ndarray,
        frames: int,
        ids: Ids,
        count: int = 1,
        distance: int = DISTANCE,
    ) -> list[Candidate]:
        """Returns the words with the best CTC scores, best first, of those that fit the frames.

        Args:
          log_probs: (T, K), of the classes in every frame.
          frames: real ones.
          ids: of the reading without the lexicon.
          count: of words to return, at most.
          distance: see `near`.
        """
        rows = self.near(ids, distance)
        scores = np.concatenate(
            [
                self._scores(log_probs, frames, rows[start : start + _MOST])
                for start in range(0, len(rows), _MOST)
            ]
        )
        found: dict[str, Candidate] = {}  # of a word its best spelling
        for i in np.argsort(-scores, kind="stable").tolist():
            if len(found) == count or not np.isfinite(scores[i]):
                break
            text = self.words[rows[i]]
            found.setdefault(text, Candidate(text, self._of(rows[i]), float(scores[i])))
        return list(found.values())

    def _of(self, row: np.integer) -> tuple[int, ...]:
        return tuple(self._ids[row, : self._lengths[row]].tolist())

    def _scores(self, log_probs: np.ndarray, frames: int, rows: np.ndarray) -> np.ndarray:
        size = FEWEST
        while size < len(rows):
            size *= 2
        columns = -(-int(self._lengths[rows].max()) // _COLUMNS) * _COLUMNS
        ids = np.zeros((size, columns), np.int32)
        width = min(columns, self._ids.shape[1])
        ids[: len(rows), :width] = self._ids[rows, :width]
        lengths = np.zeros(size, np.int32)
        lengths[: len(rows)] = self._lengths[rows]
        found = score_strings(log_probs, np.int32(frames), ids, lengths)
        return np.asarray(found)[: len(rows)]


def _spelled(ids: Ids) -> str:
    """Returns class ids as a text, a character each: texts are compared faster than lists."""
    return "".join(map(chr, ids))


def _letters(ids: Ids) -> tuple[np.uint64, np.uint64]:
    """Returns masks of the letters that occur, and of those that occur twice or more."""
    once = twice = 0
    for i in ids:
        bit = 1 << (int(i) % _BITS)
        twice |= once & bit
        once |= bit
    return np.uint64(once), np.uint64(twice)
