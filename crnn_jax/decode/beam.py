"""CTC prefix beam search, compiled, over batches and on any device."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from crnn_jax import types
from crnn_jax.ctc.forward import string_log_probabilities
from crnn_jax.decode.greedy import Decoded, best_path
from crnn_jax.errors import UserError

_NEVER = -1e30  # log of no probability; finite, so that differences are, too
_UNLIKELIEST = -1e29
_DEAD = -9  # length of a place of the beam that holds no string: no other's plus or minus one


@dataclasses.dataclass(frozen=True)
class BeamOptions:
    """How to search; static.

    Attributes:
      width: strings kept from frame to frame.
      top: characters considered per frame, its most likely ones; 0 considers all.
      prune: a class this many nats below the frame's best is not considered there; inf considers
        all.
      nbest: strings returned per row, at most `width`.
      insertion_bonus: nats added per character.
      alpha: weight of the language model's log-probability.

    Raises:
      UserError: for a value that is out of range.
    """

    width: int = 16
    top: int = 8
    prune: float = -math.log(1e-4)
    nbest: int = 4
    insertion_bonus: float = 0.0
    alpha: float = 0.0

    def __post_init__(self) -> None:
        if not (self.width >= 1 and self.top >= 0 and self.prune >= 0):
            raise UserError(f"{self}: width is at least 1, top and prune are at least 0")
        if not 1 <= self.nbest <= self.width:
            raise UserError(f"{self}: nbest is 1 to width, which is {self.width}")


class LanguageModel(Protocol):
    """Scores characters by those before them: a pytree of arrays with pure functions.

    What it has to know of a prefix is a number, the prefix's state.
    """

    def start(self) -> Int[Array, ""]:
        """Returns the state of the empty prefix."""

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns log p(class | state) in nats and the state after it; shapes broadcast."""

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns log p(the string ends | state) in nats."""


class Ngrams(NamedTuple):
    """A character n-gram model written out: backing off is done when the table is made.

    Attributes:
      log_probs: (S, K), of each class after each state; that of the blank is not read.
      following: (S, K), the state after it.
      ends: (S,), log p(the string ends).
      first: state of the empty prefix.
    """

    log_probs: Float[Array, "S K"]
    following: Int[Array, "S K"]
    ends: Float[Array, " S"]
    first: Int[Array, ""]

    def start(self) -> Int[Array, ""]:
        """Returns the state of the empty prefix."""
        return self.first

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns log p(class | state) and the state after it."""
        return self.log_probs[states, ids], self.following[states, ids]

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns log p(the string ends | state)."""
        return self.ends[states]


class NBest(NamedTuple):
    """The best strings of each row, best first.

    Where fewer than N were found, the rest are empty strings with a score of -inf.
    """

    ids: Int[Array, "B N T"]  # left-justified, padded with 0
    lengths: Int[Array, "B N"]
    log_probability: Float[Array, "B N"]  # of the string, by the CTC forward score
    score: Float[Array, "B N"]  # ranked by it: log-probability, weighted model and bonuses


class _Beam(NamedTuple):
    """The strings kept after a frame, best first; W places.

    Scores are logarithms of sums over the paths considered, language model and bonuses included,
    up to a number that is common to a row.
    """

    blank: Float[Array, "B W"]  # paths that end in a blank
    char: Float[Array, "B W"]  # paths that end in the last character
    total: Float[Array, "B W"]  # both
    last: Int[Array, "B W"]  # the last character; 0 of the empty string, -1 of a dead place
    lengths: Int[Array, "B W"]
    strings: Int[Array, "B P W"]  # packed
    states: Int[Array, "B W"]  # of the language model


class _Frame(NamedTuple):
    """A frame of each row: the classes considered in it."""

    blank: Float[Array, " B"]  # logit
    char: Float[Array, "B C"]  # logits, -inf of a class that is not considered
    ids: Int[Array, "B C"]


@dataclasses.dataclass(frozen=True)
class _Packing:
    """Strings as few integers, so that they are cheap to keep and to compare; static.

    A string takes P numbers of 32 bits, each with `per` characters; what is beyond it is 0. Equal
    numbers are equal strings: there are no hashes, hence no collisions.

    Attributes:
      bits: of a character.
      per: characters per number.
    """

    bits: int
    per: int

    @classmethod
    def of(cls, classes: int) -> _Packing:
        """Returns the packing for so many classes."""
        bits = max((classes - 1).bit_length(), 1)
        return cls(bits, 31 // bits)

    def words(self, length: int) -> int:
        """Returns P for strings of at most `length` characters."""
        return -(-length // self.per)

    def put(
        self, strings: Int[Array, "B P W"], at: Int[Array, "B W"], ids: Int[Array, "B W"]
    ) -> Int[Array, "B P W"]:
        """Returns strings with class ids (or 0, which changes nothing) added at free positions."""
        here = jnp.arange(strings.shape[1])[None, :, None] == (at // self.per)[:, None, :]
        return strings + jnp.where(here, (ids << at % self.per * self.bits)[:, None, :], 0)

    def children(self, beam: _Beam) -> Bool[Array, "B W W"]:
        """Returns [i, j]: string i is string j with one more character."""
        shorter = self.put(beam.strings, beam.lengths - 1, -jnp.maximum(beam.last, 0))
        found = beam.lengths[:, :, None] == beam.lengths[:, None, :] + 1
        for word in range(beam.strings.shape[1]):
            found &= shorter[:, word, :, None] == beam.strings[:, word, None, :]
        return found

    def unpack(self, strings: Int[Array, "B P N"], length: int) -> Int[Array, "B N L"]:
        """Returns strings as class ids, padded with 0 to `length`."""
        at = jnp.arange(length)
        words = jnp.take(strings, at // self.per, axis=1)
        ids = (words >> (at % self.per * self.bits)[None, :, None]) & ((1 << self.bits) - 1)
        return jnp.moveaxis(ids, 1, 2)


def beam(logits: types.Logits, frames: types.FrameCounts) -> Decoded:
    """Reads a batch by prefix beam search at the default options, without a language model.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames.
    """
    found = nbest(logits, frames)
    return Decoded(found.ids[:, 0], found.lengths[:, 0], found.log_probability[:, 0])


def nbest(
    logits: types.Logits,
    frames: types.FrameCounts,
    options: BeamOptions = BeamOptions(),
    model: LanguageModel | None = None,
) -> NBest:
    """Returns the best strings of each row with their exact probabilities.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      options: of the search; static.
      model: of the language; None goes without.
    """
    real = jnp.arange(logits.shape[1])[None, :] < frames[:, None]
    logits = jnp.where(real[:, :, None], logits, 0).astype(jnp.float32)
    found = _search(logits, real, options, model)
    score = found.total
    if model is not None:
        score += options.alpha * model.end(found.states)
    score, order = jax.lax.top_k(score, options.nbest)
    packing = _Packing.of(logits.shape[2])
    packed = jnp.take_along_axis(found.strings, order[:, None, :], axis=2)
    ids = packing.unpack(packed, logits.shape[1])
    lengths = jnp.take_along_axis(found.lengths, order, axis=1)
    alive = score > _UNLIKELIEST

    # The greedy reading stands by: the search may have lost it, and must not end up below it.
    best, best_length = best_path(logits, frames)
    known = jnp.any(jnp.all(ids == best[:, None], axis=2) & alive, axis=1)
    ids = jnp.concatenate([jnp.where(alive[:, :, None], ids, 0), best[:, None]], axis=1)
    lengths = jnp.concatenate([jnp.where(alive, lengths, 0), best_length[:, None]], axis=1)
    alive = jnp.concatenate([alive, ~known[:, None]], axis=1)

    exact = string_log_probabilities(logits, frames, ids, lengths, alive)
    score = exact + options.insertion_bonus * lengths
    if model is not None:
        score += options.alpha * string_score(model, ids, lengths)
    score, order = jax.lax.top_k(score, options.nbest)
    kept = score > -jnp.inf
    return NBest(
        jnp.where(kept[:, :, None], jnp.take_along_axis(ids, order[:, :, None], axis=1), 0),
        jnp.where(kept, jnp.take_along_axis(lengths, order, axis=1), 0),
        jnp.take_along_axis(exact, order, axis=1),
        score,
    )


def string_score(
    model: LanguageModel, ids: Int[Array, "*S L"], lengths: Int[Array, "*S"]
) -> Float[Array, "*S"]:
    """Returns log p(string) in nats by a language model, its end included."""

    def step(carry, column):
        total, state = carry
        position, id_ = column
        score, after = model.score(state, id_)
        real = position < lengths
        return (jnp.where(real, total + score, total), jnp.where(real, after, state)), None

    start = jnp.zeros(lengths.shape), jnp.broadcast_to(model.start(), lengths.shape)
    columns = jnp.arange(ids.shape[-1]), jnp.moveaxis(ids, -1, 0)
    (total, state), _ = jax.lax.scan(step, start, columns)
    return total + model.end(state)


def _search(
    logits: Float[Array, "B T K"],
    real: Bool[Array, "B T"],
    options: BeamOptions,
    model: LanguageModel | None,
) -> _Beam:
    """Returns the beam after the last frame of each row.

    A path takes one class from each frame, so logits need not be normalised to be compared. A frame
    in which only the blank is considered changes no order and no string: it closes the last
    character, that is all. Such frames are left out, and the next one is told.
    """
    batch, steps, classes = logits.shape
    best = jnp.max(logits, axis=2, keepdims=True)
    considered = logits >= best - options.prune
    used = jnp.any(considered[:, :, 1:], axis=2) & real
    logits = jnp.where(considered, jnp.maximum(logits, _NEVER), _NEVER)
    order = jnp.argsort(~used, axis=1, stable=True)
    counts = jnp.sum(used, axis=1, dtype=jnp.int32)
    gap = jnp.diff(order, axis=1, prepend=-1) > 1
    top = min(options.top or classes, classes - 1)
    packing = _Packing.of(classes)

    def step(s, state):
        t = jax.lax.dynamic_index_in_dim(order, s, axis=1)
        now = jnp.take_along_axis(logits, t[:, :, None], axis=1)[:, 0]
        closed = jax.lax.dynamic_index_in_dim(gap, s, axis=1)
        state = state._replace(
            blank=jnp.where(closed, state.total, state.blank),
            char=jnp.where(closed, _NEVER, state.char),
        )
        char, ids = jax.lax.top_k(now[:, 1:], top)
        # A row that is done sees a certain blank: its beam stays as it is.
        done = s >= counts
        frame = _Frame(
            jnp.where(done, 0.0, now[:, 0]), jnp.where(done[:, None], _NEVER, char), ids + 1
        )
        return _advance(state, frame, packing, options, model)

    start = _start(batch, packing.words(steps), options.width, model)
    return jax.lax.fori_loop(0, jnp.max(counts, initial=0), step, start)


def _start(batch: int, words: int, width: int, model: LanguageModel | None) -> _Beam:
    """Returns the beam before the first frame: the empty string."""
    first = jnp.broadcast_to(jnp.arange(width) == 0, (batch, width))
    certain = jnp.where(first, 0.0, _NEVER)
    return _Beam(
        blank=certain,
        char=jnp.full((batch, width), _NEVER),
        total=certain,
        last=jnp.where(first, 0, -1),
        lengths=jnp.where(first, 0, _DEAD),
        strings=jnp.zeros((batch, words, width), jnp.int32),
        states=jnp.broadcast_to(0 if model is None else model.start(), (batch, width)),
    )


def _either(a: Float[Array, "*S"], b: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Returns log(exp a + exp b) of finite numbers, in a form that a CPU vectorises."""
    return jnp.maximum(a, b) + jnp.log(1 + jnp.exp(-jnp.abs(a - b)))


def _advance(
    beam: _Beam,
    frame: _Frame,
    packing: _Packing,
    options: BeamOptions,
    model: LanguageModel | None,
) -> _Beam:
    """Returns the beam after one more frame.

    The candidates are the strings of the beam, and each of them with one of the considered classes
    after it. Of these, one that spells a string of the beam is added to that one.
    """
    batch, width = beam.last.shape
    top = frame.ids.shape[1]
    rows = jnp.arange(batch)[:, None]
    same = frame.ids[:, None, :] == beam.last[:, :, None]
    # After its own kind a character is a new one only across a blank.
    base = jnp.where(same, beam.blank[:, :, None], beam.total[:, :, None])
    longer = base + (frame.char[:, None, :] + options.insertion_bonus)
    after = None
    if model is not None:
        score, after = model.score(beam.states[:, :, None], frame.ids[:, None, :])
        longer += options.alpha * score
    longer = jnp.maximum(longer, _NEVER).reshape(batch, width * top)

    child = packing.children(beam)
    parent = jnp.max(jnp.where(child, jnp.arange(width)[None, None, :], -1), axis=2)
    column = jnp.max(jnp.where(same, jnp.arange(top)[None, None, :], -1), axis=2)
    merged = (parent >= 0) & (column >= 0)
    place = jnp.where(merged, parent * top + column, width * top)
    # Maxima of one number, not gathers: exponentials in a loop with a gather are not vectorised.
    own = jnp.max(jnp.where(same, frame.char[:, None, :], _NEVER), axis=2)
    doubled = beam.last[:, :, None] == beam.last[:, None, :]
    base = jnp.where(doubled, beam.blank[:, None, :], beam.total[:, None, :])
    joining = jnp.max(jnp.where(child, base, _NEVER), axis=2) + options.insertion_bonus
    if model is not None:
        state = jnp.take_along_axis(beam.states, jnp.maximum(parent, 0), axis=1)
        joining += options.alpha * model.score(state, jnp.maximum(beam.last, 0))[0]
    char = jnp.maximum(_either(beam.char, joining) + own, _NEVER)
    longer = longer.at[rows, place].set(_NEVER, mode="drop")
    blank = jnp.maximum(beam.total + frame.blank[:, None], _NEVER)

    candidates = jnp.concatenate([_either(blank, char), longer], axis=1)
    total, chosen = jax.lax.top_k(candidates, width)
    grown, longer = chosen >= width, jnp.maximum(chosen - width, 0)
    source = jnp.where(grown, longer // top, chosen)
    added = jnp.take_along_axis(frame.ids, longer % top, axis=1)
    alive = total > _UNLIKELIEST

    def of(values: Array) -> Array:
        return jnp.take_along_axis(values, source, axis=1)

    states = of(beam.states)
    if after is not None:
        new = jnp.take_along_axis(after.reshape(batch, width * top), longer, axis=1)
        states = jnp.where(grown, new, states)
    lengths = of(beam.lengths)
    strings = jnp.take_along_axis(beam.strings, source[:, None, :], axis=2)
    return _Beam(
        blank=jnp.where(grown, _NEVER, of(blank)),
        char=jnp.where(grown, total, of(char)),
        total=total,
        last=jnp.where(alive, jnp.where(grown, added, of(beam.last)), -1),
        lengths=jnp.where(alive, lengths + grown, _DEAD),
        strings=packing.put(strings, lengths, jnp.where(grown, added, 0)),
        states=states,
    )
