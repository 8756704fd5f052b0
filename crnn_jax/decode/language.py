"""Language models over characters, as compiled decoders ask them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@runtime_checkable
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
