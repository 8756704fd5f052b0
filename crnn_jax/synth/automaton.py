"""Deterministic automata of regular expressions: one path per text that matches.

Thompson's construction, then the sets of states that can be reached together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from crnn_jax.errors import UserError
from crnn_jax.synth.regex import Parser

_MAX_PARTS, _MAX_STATES = 20_000, 30_000


def too_intricate(pattern: str) -> UserError:
    """Returns the error for patterns whose tables would not fit."""
    shown = pattern if len(pattern) <= 60 else pattern[:57] + "..."
    return UserError(
        f"pattern {shown!r} is too intricate for tables: shorten its repeats, and let neighbouring "
        "parts share no characters ([^-]+-.+ rather than .+-.+)"
    )


def automaton(
    pattern: str, characters: dict[str, int], longest: int
) -> tuple[list[dict[int, int]], list[int], list[int], list[list[int]]]:
    """Returns a deterministic automaton as far as `longest` characters reach.

    Returns:
      For each state class of characters -> next state; the accepting states; each state's distance
      from state 0, the start; the glyphs of each class of characters.
    """
    nfa = _Nfa(Parser(pattern).tree(), longest, pattern)
    members = {atom: _matching(atom, characters) for atom in nfa.atoms()}
    groups: dict[tuple, list[str]] = {}  # characters that no atom tells apart
    for char in sorted(characters):
        told = (char == " ", *(char in held for held in members.values()))
        groups.setdefault(told, []).append(char)
    fits = [{i for i, told in enumerate(groups) if told[j]} for j in range(1, len(members) + 1)]
    classes_of = dict(zip(members, fits, strict=True))
    space = next((i for i, told in enumerate(groups) if told[0]), -1)

    start = (nfa.closure({0}), True)  # True: a space may neither come next nor have ended it
    ids, queue, depth = {start: 0}, [start], [0]
    moves: list[dict[int, int]] = []
    for states, after_space in queue:  # which grows
        moves.append({})
        reached: dict[int, set[int]] = {}
        for state in states:
            for index in classes_of[nfa.moves[state][0]] if state in nfa.moves else ():
                reached.setdefault(index, set()).add(nfa.moves[state][1])
        if depth[len(moves) - 1] == longest:
            continue
        for index in sorted(reached):
            if index == space and after_space:
                continue
            key = (nfa.closure(reached[index]), index == space)
            if key not in ids:
                ids[key] = len(queue)
                queue.append(key)
                depth.append(depth[len(moves) - 1] + 1)
            moves[-1][index] = ids[key]
        if len(queue) > _MAX_STATES:
            raise too_intricate(pattern)
    accepting = [i for i, (states, blank) in enumerate(queue) if nfa.end in states and not blank]
    return moves, accepting, depth, [[characters[c] for c in group] for group in groups.values()]


def _matching(atom: str, characters: Iterable[str]) -> set[str]:
    matches = re.compile(atom).fullmatch
    return {char for char in characters if matches(char)}


class _Nfa:
    """Automaton of Thompson's construction; state 0 is the start, `end` the only final one."""

    def __init__(self, tree: tuple, longest: int, pattern: str) -> None:
        self.moves: dict[int, tuple[str, int]] = {}  # state -> atom, next state
        self._free: list[list[int]] = [[]]  # state -> states reached without a character
        self._longest = longest
        self._pattern = pattern
        self.end = self._add(tree, 0)

    def atoms(self) -> list[str]:
        """Returns the expressions of one character, each once."""
        return list(dict.fromkeys(atom for atom, _ in self.moves.values()))

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """Returns the states and all that they reach without a character."""
        found, stack = set(states), list(states)
        while stack:
            new = [state for state in self._free[stack.pop()] if state not in found]
            found.update(new)
            stack.extend(new)
        return frozenset(found)

    def _state(self, *sources: int) -> int:
        if len(self._free) >= _MAX_PARTS:
            raise too_intricate(self._pattern)
        self._free.append([])
        for source in sources:
            self._free[source].append(len(self._free) - 1)
        return len(self._free) - 1

    def _add(self, tree: tuple, at: int) -> int:
        """Adds what a tree matches from a state on; returns the state where that ends."""
        kind, *parts = tree
        if kind == "atom":
            at = self._state(at)  # several trees may begin at one state, a state has one move
            end = self._state()
            self.moves[at] = (parts[0], end)
            return end
        if kind == "all":
            for part in parts:
                at = self._add(part, at)
            return at
        if kind == "any":
            return self._state(*[self._add(part, self._state(at)) for part in parts])
        part, low, high = parts
        for _ in range(min(low, self._longest + 1)):  # more never fit, unless they are empty
            at = self._add(part, at)
        if high is None:
            loop = self._state(at)
            self._free[self._add(part, loop)].append(loop)
            return self._state(loop)
        ends = [at]
        for _ in range(min(high - low, self._longest)):
            ends.append(self._add(part, self._state(ends[-1])))
        return self._state(*ends)
