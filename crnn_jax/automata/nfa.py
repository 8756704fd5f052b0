"""Automata of regular expressions: Thompson's construction, and what no expression tells apart."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from crnn_jax.automata.regex import Parser, too_intricate

_MAX_PARTS = 20_000


class Alphabet(NamedTuple):
    """Characters in groups, such that an automaton has to know only the group.

    Attributes:
      groups: of characters, in the order of their first ones.
      fits: name of a set of characters -> the groups that make it up.
    """

    groups: list[list[str]]
    fits: dict[Hashable, set[int]]


def alphabet(characters: Iterable[str], sets: Mapping[Any, Collection[str]]) -> Alphabet:
    """Returns the characters in groups that no set of characters tells apart."""
    groups: dict[tuple[bool, ...], list[str]] = {}
    for char in sorted(characters):
        groups.setdefault(tuple(char in held for held in sets.values()), []).append(char)
    fits = {
        name: {group for group, told in enumerate(groups) if told[at]}
        for at, name in enumerate(sets)
    }
    return Alphabet(list(groups.values()), fits)


def matching(
    atom: str,
    characters: Iterable[str],
    writings: Callable[[str], Iterable[str]] = lambda char: (char,),
) -> set[str]:
    """Returns the characters that an expression of one character matches.

    Args:
      atom: the expression, as `Parser` gives them.
      characters: to choose from.
      writings: as which a character may stand in the text; one that matches is enough.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about syntax that may change one day
        matches = re.compile(atom).fullmatch
    return {char for char in characters if any(map(matches, writings(char)))}


class Nfa:
    """Automaton of Thompson's construction; state 0 is the start, `end` the only final one.

    Args:
      pattern: regular expression.
      longest: repeats that only longer texts need are left out; None leaves none out.

    Attributes:
      moves: state -> expression of one character, next state.
      end: the final state.

    Raises:
      UserError: the pattern is none, uses what automata cannot do, or has too many parts.
    """

    def __init__(self, pattern: str, longest: int | None = None) -> None:
        self.moves: dict[int, tuple[str, int]] = {}
        self._free: list[list[int]] = [[]]  # state -> states reached without a character
        self._longest = longest
        self._pattern = pattern
        try:
            self.end = self._add(Parser(pattern).tree(), 0)
        except RecursionError:
            raise too_intricate(pattern) from None

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

    def after(
        self, states: Iterable[int], fits: Mapping[Hashable, Iterable[int]]
    ) -> dict[int, set[int]]:
        """Returns group of characters -> the states that one of them leads to, not closed.

        Args:
          states: where it starts from.
          fits: expression of one character -> its groups, see `Alphabet`.
        """
        reached: dict[int, set[int]] = {}
        for state in states:
            if state in self.moves:
                atom, target = self.moves[state]
                for group in fits[atom]:
                    reached.setdefault(group, set()).add(target)
        return reached

    def lacking(self, empty: Collection[str]) -> list[str]:
        """Returns those of some expressions that stand on the way to the end with fewest of them.

        Args:
          empty: expressions that match no character there is.
        """
        lacks: dict[int, tuple[str, ...]] = {}
        # Ways, as their state and those of them on it: with as many of them, and with one more.
        now: list[tuple[int, tuple[str, ...]]] = [(0, ())]
        later: list[tuple[int, tuple[str, ...]]] = []
        while self.end not in lacks:
            if not now:
                now, later = later, []
            state, before = now.pop()
            if state in lacks:
                continue
            lacks[state] = before
            now.extend((target, before) for target in self._free[state])
            if state in self.moves:
                atom, target = self.moves[state]
                passed = before if atom in before or atom not in empty else (*before, atom)
                (later if atom in empty else now).append((target, passed))
        return list(lacks[self.end])

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
        for _ in range(self._at_most(low, 1)):  # more never fit, unless they are empty
            at = self._add(part, at)
        if high is None:
            loop = self._state(at)
            self._free[self._add(part, loop)].append(loop)
            return self._state(loop)
        ends = [at]
        for _ in range(self._at_most(high - low)):
            ends.append(self._add(part, self._state(ends[-1])))
        return self._state(*ends)

    def _at_most(self, repeats: int, more: int = 0) -> int:
        return repeats if self._longest is None else min(repeats, self._longest + more)
