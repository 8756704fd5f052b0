"""Deterministic automata as lists of moves: how they are made, trimmed and minimised."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)
Moves = list[dict[int, int]]  # for each state label -> next state; a label that lacks is refused


class Dfa(NamedTuple):
    """A deterministic automaton; state 0 is the start.

    Attributes:
      moves: for each state label -> next state.
      accepting: for each state whether a string may end there.
    """

    moves: Moves
    accepting: list[bool]

    def accepts(self, labels: Iterable[int]) -> bool:
        """Returns whether a string of labels is in the language."""
        state = 0
        for label in labels:
            target = self.moves[state].get(label)
            if target is None:
                return False
            state = target
        return self.accepting[state]


class Explored(NamedTuple):
    """States in the order in which they were found, breadth first.

    Attributes:
      keys: what each state stands for.
      moves: for each state label -> next state.
      depths: labels on the shortest way to each state.
    """

    keys: list
    moves: Moves
    depths: list[int]


def explore(
    start: Key, moves_of: Callable[[Key, int], Mapping[int, Key]], most: int
) -> Explored | None:
    """Numbers all states that a start leads to.

    Args:
      start: what state 0 stands for.
      moves_of: label -> next state, of a state and its depth.
      most: states; None is returned when there are more.
    """
    ids, keys, depths = {start: 0}, [start], [0]
    moves: Moves = []
    for state, key in enumerate(keys):  # which grows
        row = {}
        for label, target in moves_of(key, depths[state]).items():
            if target not in ids:
                ids[target] = len(keys)
                keys.append(target)
                depths.append(depths[state] + 1)
            row[label] = ids[target]
        moves.append(row)
        if len(keys) > most:
            return None
    return Explored(keys, moves, depths)


def trimmed(dfa: Dfa) -> Dfa:
    """Returns the automaton without states that no accepted string passes; the start stays."""
    sources: list[list[int]] = [[] for _ in dfa.moves]
    for state, row in enumerate(dfa.moves):
        for target in row.values():
            sources[target].append(state)
    accepting = [state for state, ends in enumerate(dfa.accepting) if ends]
    alive = _reached([0], [list(row.values()) for row in dfa.moves]) & _reached(accepting, sources)
    kept = [0, *sorted(alive - {0})]
    ids = {state: i for i, state in enumerate(kept)}
    moves = [
        {label: ids[t] for label, t in dfa.moves[state].items() if t in alive} for state in kept
    ]
    return Dfa(moves, [dfa.accepting[state] for state in kept])


def _reached(starts: Iterable[int], targets: Sequence[Iterable[int]]) -> set[int]:
    found = set(starts)
    stack = list(found)
    while stack:
        new = set(targets[stack.pop()]) - found
        found |= new
        stack.extend(new)
    return found


def minimised(dfa: Dfa) -> Dfa:
    """Returns the smallest automaton of the same language.

    Hopcroft's partition refinement (1971). Missing moves lead to a state of its own that is never
    a splitter: it is the one block that may be left out of the work, the others tell as much.
    """
    dfa = trimmed(dfa)
    blocks = _partition(dfa)
    home = {state: number for number, block in enumerate(blocks) for state in block}
    order = list(dict.fromkeys([home[0], *(home[state] for state in range(len(dfa.moves)))]))
    ids = {block: i for i, block in enumerate(order)}
    first = [min(blocks[block]) for block in order]
    moves = [{a: ids[home[t]] for a, t in dfa.moves[state].items()} for state in first]
    return Dfa(moves, [dfa.accepting[state] for state in first])


def _partition(dfa: Dfa) -> list[set[int]]:
    """Returns the states in blocks of those that accept the same strings."""
    entering: list[list[tuple[int, int]]] = [[] for _ in dfa.moves]
    for state, row in enumerate(dfa.moves):
        for label, target in row.items():
            entering[target].append((label, state))
    states = range(len(dfa.moves))
    ends = {state for state in states if dfa.accepting[state]}
    blocks = [block for block in (ends, set(states) - ends) if block]
    home = [int(state not in blocks[0]) for state in states]
    work = set(range(len(blocks)))
    while work:
        leading: dict[int, set[int]] = {}  # label -> states that lead into the splitter
        for target in blocks[work.pop()]:
            for label, state in entering[target]:
                leading.setdefault(label, set()).add(state)
        for found in leading.values():
            for number, part in _by_block(found, home).items():
                rest = blocks[number]
                if len(part) == len(rest):
                    continue
                rest -= part
                for state in part:
                    home[state] = len(blocks)
                smaller = len(blocks) if len(part) <= len(rest) else number
                work.add(len(blocks) if number in work else smaller)
                blocks.append(part)
    return blocks


def _by_block(states: Iterable[int], home: Sequence[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for state in states:
        found.setdefault(home[state], set()).add(state)
    return found
