"""Language models over characters, as compiled decoders ask them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

States = Any  # a tree of integer arrays of one shape


@runtime_checkable
class LanguageModel(Protocol):
    """Scores characters by those before them: a pytree of arrays with pure functions.

    Anything that adds up over the characters of a string is one: an n-gram model, a bonus for every
    character, an automaton that forbids some. What it has to know of a prefix is the prefix's
    state, an integer or a tree of them.
    """

    def start(self) -> States:
        """Returns the state of the empty prefix, scalars."""

    def score(self, states: States, ids: Int[Array, "..."]) -> tuple[Float[Array, "..."], States]:
        """Returns log p(class | state) in nats and the state after it; shapes broadcast."""

    def end(self, states: States) -> Float[Array, "..."]:
        """Returns log p(the string ends | state) in nats."""


class Ngrams(NamedTuple):
    """A character n-gram model written out: backing off is done when the table is made.

    Attributes:
      log_probs: (S, C), of each column after each state.
      following: (S, C), the state after it.
      ends: (S,), log p(the string ends).
      first: state of the empty prefix.
      columns: (K,), of each class; several may share one, as both cases of a letter do. That of
        the blank is not read.
    """

    log_probs: Float[Array, "S C"]
    following: Int[Array, "S C"]
    ends: Float[Array, " S"]
    first: Int[Array, ""]
    columns: Int[Array, " K"]

    def start(self) -> Int[Array, ""]:
        """Returns the state of the empty prefix."""
        return self.first

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns log p(class | state) and the state after it."""
        columns = self.columns[ids]
        return self.log_probs[states, columns], self.following[states, columns]

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns log p(the string ends | state)."""
        return self.ends[states]


class Weighted(NamedTuple):
    """A language model that counts more or less, and a bonus for every character.

    Attributes:
      model: the language model.
      weight: of its log-probabilities; with 0 they do not count, not even those of -inf.
      bonus: nats added per character.
    """

    model: LanguageModel
    weight: Float[Array, ""] | float = 1.0
    bonus: Float[Array, ""] | float = 0.0

    def start(self) -> States:
        """Returns the model's."""
        return self.model.start()

    def score(self, states: States, ids: Int[Array, "..."]) -> tuple[Float[Array, "..."], States]:
        """Returns the weighted score with the bonus, and the model's state."""
        score, after = self.model.score(states, ids)
        return self._times(score) + self.bonus, after

    def end(self, states: States) -> Float[Array, "..."]:
        """Returns the weighted score."""
        return self._times(self.model.end(states))

    def _times(self, score: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(self.weight == 0, 0.0, self.weight * score)


class Bonus(NamedTuple):
    """Nats for every character: above 0 long strings gain, below 0 short ones.

    Attributes:
      nats: per character.
    """

    nats: Float[Array, ""] | float

    def start(self) -> Int[Array, ""]:
        """Returns the only state."""
        return jnp.int32(0)

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns the bonus."""
        states, _ = jnp.broadcast_arrays(states, ids)
        return jnp.full(states.shape, self.nats, jnp.float32), states

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns 0."""
        return jnp.zeros(states.shape)


class Both(NamedTuple):
    """The sum of two language models."""

    first: LanguageModel
    second: LanguageModel

    def start(self) -> States:
        """Returns the states of both."""
        return self.first.start(), self.second.start()

    def score(self, states: States, ids: Int[Array, "..."]) -> tuple[Float[Array, "..."], States]:
        """Returns the sum of both scores, and both states."""
        a, after_a = self.first.score(states[0], ids)
        b, after_b = self.second.score(states[1], ids)
        return a + b, (after_a, after_b)

    def end(self, states: States) -> Float[Array, "..."]:
        """Returns the sum of both."""
        return self.first.end(states[0]) + self.second.end(states[1])


def string_score(
    model: LanguageModel, ids: Int[Array, "*S L"], lengths: Int[Array, "*S"]
) -> Float[Array, "*S"]:
    """Returns log p(string) in nats by a language model, its end included."""

    def step(carry, column):
        total, states = carry
        position, id_ = column
        score, after = model.score(states, id_)
        real = position < lengths
        states = jax.tree.map(lambda new, old: jnp.where(real, new, old), after, states)
        return (jnp.where(real, total + score, total), states), None

    first = jax.tree.map(lambda x: jnp.broadcast_to(x, lengths.shape), model.start())
    columns = jnp.arange(ids.shape[-1]), jnp.moveaxis(ids, -1, 0)
    (total, states), _ = jax.lax.scan(step, (jnp.zeros(lengths.shape), first), columns)
    return total + model.end(states)
