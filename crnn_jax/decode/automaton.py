"""Automata that say what a beam search may read, as tables on the device.

A search that keeps the usual strings and characters loses some that are allowed: what is likely is
often forbidden. `CONSTRAINED` holds wider options: see `decode.trie` for what they are worth with a
lexicon. A pattern needs less: of the 221 numbers in IIIT5K (train) greedy decoding reads 55.2 %,
the search by the pattern `integer` 67.4 %, be it with 16 strings or 64, pruned or not, which loses
one reading (`benchmarks/constrained_speed.py --pattern=integer`, as there).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from crnn_jax.automata.dfa import Dfa
from crnn_jax.decode.prefix_search import BeamOptions
from crnn_jax.errors import UserError

CONSTRAINED = BeamOptions(width=64, top=16, prune=-math.log(1e-6))
LARGEST = 256 * 2**20  # bytes of a table


class Automaton(NamedTuple):
    """A language model that allows a string or forbids it: log p is 0 or -inf.

    State 0 is dead: no string that came there is allowed, whatever follows. From every other state
    there is a way to an accepting one, so that a search walks into no dead end but that of the
    frames: a row whose frames end in the middle of all strings kept has no reading. No string is
    allowed where `first` neither accepts nor leads anywhere.

    Attributes:
      following: (S, K), the state after each class; column 0, the blank's, does not count.
      accepting: (S,), whether a string may end.
      first: state of the empty string.
    """

    following: Int[Array, "S K"]
    accepting: Bool[Array, " S"]
    first: Int[Array, ""]

    @classmethod
    def of(
        cls, dfa: Dfa, classes: Sequence[Sequence[int]], num_classes: int, what: str
    ) -> Automaton:
        """Returns the tables of a trimmed automaton.

        Args:
          dfa: without states that lead nowhere, as `automata.dfa.minimised` returns them.
          classes: the class ids of each label.
          num_classes: K, the blank included.
          what: it is of, for messages.

        Raises:
          UserError: the table would be too large.
        """
        states = len(dfa.moves) + 1
        size = 4 * states * num_classes
        if size > LARGEST:
            raise UserError(
                f"{what} needs a table of {states:,} states x {num_classes:,} classes, "
                f"{size / 2**20:,.0f} MiB, and {LARGEST / 2**20:.0f} MiB is the most: give fewer "
                "words or a shorter pattern, or use a model with fewer characters"
            )
        following = np.zeros((states, num_classes), np.int32)
        for state, row in enumerate(dfa.moves, start=1):
            for label, target in row.items():
                following[state, classes[label]] = target + 1
        accepting = np.array([False, *dfa.accepting])
        return cls(jnp.asarray(following), jnp.asarray(accepting), jnp.int32(1))

    @property
    def bytes(self) -> int:
        """Size of the tables."""
        return self.following.nbytes + self.accepting.nbytes

    def start(self) -> Int[Array, ""]:
        """Returns the state of the empty string."""
        return self.first

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns 0 where a class may follow, else -inf, and the state after it."""
        after = self.following[states, ids]
        return jnp.where(after == 0, -jnp.inf, 0.0), after

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns 0 where the string may end, else -inf."""
        return jnp.where(self.accepting[states], 0.0, -jnp.inf)
