"""The search of the beam decoder: what is kept after each frame, and why.

Prefix search with a beam (Graves et al., 2006, section 3.2; Hannun et al., 2014, arXiv:1408.2873,
algorithm 1), a batch at a time, in logarithms.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from crnn_jax.decode.language import LanguageModel, States
from crnn_jax.errors import UserError

_NEVER = -1e30  # log of no probability; finite, so that differences are, too
UNLIKELIEST = -1e29
_DEAD = -9  # length of a place of the beam that holds no string: no other's plus or minus one
_ROWS = 16  # that a CPU searches at a time


@dataclasses.dataclass(frozen=True)
class BeamOptions:
    """How to search; static.

    Attributes:
      width: strings kept from frame to frame.
      top: characters considered per frame, its most likely ones; 0 considers all.
      prune: a class this many nats below the frame's best is not considered there; inf considers
        all.
      nbest: strings returned per row, at most `width`.

    Raises:
      UserError: for a value that is out of range.
    """

    width: int = 16
    top: int = 8
    prune: float = -math.log(1e-4)
    nbest: int = 4

    def __post_init__(self) -> None:
        if not (self.width >= 1 and self.top >= 0 and self.prune >= 0):
            raise UserError(f"{self}: width is at least 1, top and prune are at least 0")
        if not 1 <= self.nbest <= self.width:
            raise UserError(f"{self}: nbest is 1 to width, which is {self.width}")


@dataclasses.dataclass(frozen=True)
class Packing:
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
    def of(cls, classes: int) -> Packing:
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

    def children(self, beam: Beam) -> Bool[Array, "B W W"]:
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


class Beam(NamedTuple):
    """The strings kept after a frame, best first; W places.

    Scores are logarithms of sums over the paths considered, the language model's included, up to a
    number that is common to a row.
    """

    blank: Float[Array, "B W"]  # paths that end in a blank
    char: Float[Array, "B W"]  # paths that end in the last character
    total: Float[Array, "B W"]  # both
    last: Int[Array, "B W"]  # the last character; 0 of the empty string, -1 of a dead place
    lengths: Int[Array, "B W"]
    strings: Int[Array, "B P W"]  # packed
    states: States  # of the language model, (B, W); empty where there is none


class _Frame(NamedTuple):
    """A frame of each row: the classes considered in it."""

    blank: Float[Array, " B"]  # logit
    char: Float[Array, "B C"]  # logits, -inf of a class that is not considered
    ids: Int[Array, "B C"]


class _Queue(NamedTuple):
    """The frames of each row that are not skipped come first."""

    logits: Float[Array, "B T K"]  # of all frames
    order: Int[Array, "B T"]  # frames to be taken
    gap: Bool[Array, "B T"]  # whether frames were skipped before
    counts: Int[Array, " B"]  # frames that are not skipped

    def take(self, s: Int[Array, ""], beam: Beam, top: int) -> tuple[Beam, _Frame]:
        """Returns the beam before frame `s` of those to be taken, and that frame."""
        t = jax.lax.dynamic_index_in_dim(self.order, s, axis=1)
        now = jnp.take_along_axis(self.logits, t[:, :, None], axis=1)[:, 0]
        closed = jax.lax.dynamic_index_in_dim(self.gap, s, axis=1)
        beam = beam._replace(
            blank=jnp.where(closed, beam.total, beam.blank),
            char=jnp.where(closed, _NEVER, beam.char),
        )
        classes = now.shape[1] - 1
        char, ids = jax.lax.top_k(now[:, 1:], min(top or classes, classes))
        # A row that is done sees a certain blank: its beam stays as it is.
        done = s >= self.counts
        blank = jnp.where(done, 0.0, now[:, 0])
        return beam, _Frame(blank, jnp.where(done[:, None], _NEVER, char), ids + 1)


def search(
    logits: Float[Array, "B T K"],
    real: Bool[Array, "B T"],
    options: BeamOptions,
    model: LanguageModel | None,
) -> Beam:
    """Returns the beam after the last frame of each row.

    A path takes one class from each frame, so logits need not be normalised to be compared. A frame
    in which only the blank is considered changes no order and no string: it closes the last
    character, that is all. Such frames are left out, and the next one is told. What is left differs
    much from row to row: a CPU takes those together that have about as many. It does so in one
    loop, for every further one would be compiled.
    """
    batch, steps, classes = logits.shape
    best = jnp.max(logits, axis=2, keepdims=True)
    considered = logits >= best - options.prune
    used = jnp.any(considered[:, :, 1:], axis=2) & real
    counts = jnp.sum(used, axis=1, dtype=jnp.int32)
    rank = jnp.argsort(-counts, stable=True)
    logits = jnp.where(considered, jnp.maximum(logits, _NEVER), _NEVER)[rank]
    counts, order = counts[rank], jnp.argsort(~used[rank], axis=1, stable=True)
    queue = _Queue(logits, order, jnp.diff(order, axis=1, prepend=-1) > 1, counts)
    packing = Packing.of(classes)
    together = min(batch, _ROWS) if jax.default_backend() == "cpu" else batch

    def search_rows(rows: _Queue) -> Beam:
        def step(s: Int[Array, ""], beam: Beam) -> Beam:
            return _advance(*rows.take(s, beam, options.top), packing, model)

        beam = _start(together, packing.words(steps), options.width, model)
        return jax.lax.fori_loop(0, jnp.max(rows.counts, initial=0), step, beam)

    if together == batch:
        beam = search_rows(queue)
    else:
        parts = jax.lax.map(search_rows, jax.tree.map(lambda x: _in_parts(x, together), queue))
        beam = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:batch], parts)
    back = jnp.argsort(rank)
    return jax.tree.map(lambda x: x[back], beam)


def _in_parts(rows: Shaped[Array, "B ..."], size: int) -> Shaped[Array, "N R ..."]:
    """Returns rows in parts of `size`, the last one filled up with zeros."""
    lacking = -len(rows) % size
    rows = jnp.pad(rows, ((0, lacking),) + ((0, 0),) * (rows.ndim - 1))
    return rows.reshape(-1, size, *rows.shape[1:])


def _start(batch: int, words: int, width: int, model: LanguageModel | None) -> Beam:
    """Returns the beam before the first frame: the empty string."""
    first = jnp.broadcast_to(jnp.arange(width) == 0, (batch, width))
    certain = jnp.where(first, 0.0, _NEVER)
    states = () if model is None else model.start()
    return Beam(
        blank=certain,
        char=jnp.full((batch, width), _NEVER),
        total=certain,
        last=jnp.where(first, 0, -1),
        lengths=jnp.where(first, 0, _DEAD),
        strings=jnp.zeros((batch, words, width), jnp.int32),
        states=jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, width)), states),
    )


def _either(a: Float[Array, "*S"], b: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Returns log(exp a + exp b) of finite numbers, in a form that a CPU vectorises."""
    return jnp.maximum(a, b) + jnp.log(1 + jnp.exp(-jnp.abs(a - b)))


def _advance(
    beam: Beam,
    frame: _Frame,
    packing: Packing,
    model: LanguageModel | None,
) -> Beam:
    """Returns the beam after one more frame.

    The candidates are the strings of the beam, and each of them with one of the considered classes
    after it. Of these, one that spells a string of the beam is added to that one.
    """
    (batch, width), top = beam.last.shape, frame.ids.shape[1]
    rows = jnp.arange(batch)[:, None]
    same = frame.ids[:, None, :] == beam.last[:, :, None]
    # After its own kind a character is a new one only across a blank.
    base = jnp.where(same, beam.blank[:, :, None], beam.total[:, :, None])
    longer = base + frame.char[:, None, :]
    if model is not None:
        states = jax.tree.map(lambda x: x[:, :, None], beam.states)
        score, after = model.score(states, frame.ids[:, None, :])
        longer += score
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
    joining = jnp.max(jnp.where(child, base, _NEVER), axis=2)
    if model is not None:
        place_of_parent = jnp.maximum(parent, 0)
        states = jax.tree.map(
            lambda x: jnp.take_along_axis(x, place_of_parent, axis=1), beam.states
        )
        joining += model.score(states, jnp.maximum(beam.last, 0))[0]
    char = jnp.maximum(_either(beam.char, joining) + own, _NEVER)
    longer = longer.at[rows, place].set(_NEVER, mode="drop")
    blank = jnp.maximum(beam.total + frame.blank[:, None], _NEVER)

    candidates = jnp.concatenate([_either(blank, char), longer], axis=1)
    total, chosen = jax.lax.top_k(candidates, width)
    grown, longer = chosen >= width, jnp.maximum(chosen - width, 0)
    source = jnp.where(grown, longer // top, chosen)
    added = jnp.take_along_axis(frame.ids, longer % top, axis=1)
    alive = total > UNLIKELIEST

    def of(values: Array) -> Array:
        return jnp.take_along_axis(values, source, axis=1)

    states = jax.tree.map(of, beam.states)
    if model is not None:
        states = jax.tree.map(
            lambda old, new: jnp.where(
                grown, jnp.take_along_axis(new.reshape(batch, width * top), longer, axis=1), old
            ),
            states,
            after,
        )
    lengths = of(beam.lengths)
    strings = jnp.take_along_axis(beam.strings, source[:, None, :], axis=2)
    return Beam(
        blank=jnp.where(grown, _NEVER, of(blank)),
        char=jnp.where(grown, total, of(char)),
        total=total,
        last=jnp.where(alive, jnp.where(grown, added, of(beam.last)), -1),
        lengths=jnp.where(alive, lengths + grown, _DEAD),
        strings=packing.put(strings, lengths, jnp.where(grown, added, 0)),
        states=states,
    )
