"""Automata of lists of words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from crnn_jax.automata.dfa import Dfa, explore, minimised

Word = tuple[int, ...]
_State = tuple[bool, tuple[tuple[int, int], ...]]  # whether a word ends, and the moves by label


def acyclic(words: Iterable[Word]) -> Dfa:
    """Returns the smallest automaton of some words, in which what they end in is shared.

    Words are added in order: a state that no later word can pass is complete, and is looked up
    among those there are (Daciuk et al., 2000, "Incremental construction of minimal acyclic
    finite-state automata", algorithm 1).
    """
    ids: dict[_State, int] = {}
    path: list[tuple[bool, list[tuple[int, int]]]] = [(False, [])]  # states of the last word
    previous: Word = ()

    def close(depth: int) -> None:
        while len(path) > depth + 1:
            ends, moves = path.pop()
            state = ids.setdefault((ends, tuple(moves)), len(ids))
            path[-1][1].append((previous[len(path) - 1], state))

    for word in sorted(set(words)):
        shared = 0
        while shared < len(previous) and previous[shared] == word[shared]:
            shared += 1  # sorted: the word before is no longer than what it shares, or differs
        close(shared)
        path.extend((False, []) for _ in word[shared:])
        path[-1] = (True, path[-1][1])
        previous = word
    close(0)
    ends, moves = path[0]
    # The start is no state that others lead to: those have no words as long as its longest.
    states = [(ends, tuple(moves)), *ids]
    return Dfa(
        [{label: state + 1 for label, state in moves} for _, moves in states],
        [ends for ends, _ in states],
    )


def then_any(dfa: Dfa, labels: Collection[int]) -> Dfa:
    """Returns the smallest automaton of a language's strings, each with any number of labels after.

    Args:
      dfa: of the language; the labels may occur in it, too.
      labels: that may follow.
    """
    outside = len(dfa.moves)

    def moves_of(key: tuple[int, bool], _: int) -> dict[int, tuple[int, bool]]:
        state, complete = key  # in the language; whether it was complete before labels of the end
        own = dfa.moves[state] if state < outside else {}
        complete |= state < outside and dfa.accepting[state]
        found = {label: (target, False) for label, target in own.items()}
        for label in sorted(labels) if complete else ():
            found[label] = (own.get(label, outside), True)
        return found

    found = explore((0, False), moves_of, 2 * outside + 1)
    assert found is not None  # there are no more pairs
    accepting = [
        complete or (state < outside and dfa.accepting[state]) for state, complete in found.keys
    ]
    return minimised(Dfa(found.moves, accepting))
