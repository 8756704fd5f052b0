"""Deterministic automata of the texts that can be drawn: one path per text that matches."""

from __future__ import annotations

from collections.abc import Hashable

from crnn_jax.automata.dfa import explore
from crnn_jax.automata.nfa import Nfa, alphabet, matching
from crnn_jax.automata.regex import too_intricate

_MAX_STATES = 30_000
_SPACE = ("space",)  # no expression


def automaton(
    pattern: str, characters: dict[str, int], longest: int
) -> tuple[list[dict[int, int]], list[int], list[int], list[list[int]]]:
    """Returns a deterministic automaton as far as `longest` characters reach.

    Returns:
      For each state class of characters -> next state; the accepting states; each state's distance
      from state 0, the start; the glyphs of each class of characters.
    """
    nfa = Nfa(pattern, longest)
    sets: dict[Hashable, set[str]] = {_SPACE: {" "}}
    sets |= {atom: matching(atom, characters) for atom in nfa.atoms()}
    groups, fits = alphabet(characters, sets)
    space = next(iter(fits[_SPACE]), -1)

    def moves_of(key: tuple[frozenset[int], bool], depth: int) -> dict:
        states, after_space = key
        if depth == longest:
            return {}
        return {
            group: (nfa.closure(reached), group == space)
            for group, reached in sorted(nfa.after(states, fits).items())
            if not (after_space and group == space)
        }

    start = (nfa.closure({0}), True)  # True: a space may neither come next nor have ended it
    found = explore(start, moves_of, _MAX_STATES)
    if found is None:
        raise too_intricate(pattern)
    accepting = [
        i for i, (states, blank) in enumerate(found.keys) if nfa.end in states and not blank
    ]
    return found.moves, accepting, found.depths, [[characters[c] for c in g] for g in groups]
