"""What goes wrong when the model reads: characters confused, lost and added, and where."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence

from crnn_jax.reporting.sets import Pair
from crnn_jax.scoring.edits import KINDS, NOTHING, edits

PLACES = ("first", "second", "inner", "last but one", "last")
_FEWEST = 4  # characters of a label whose places are told apart


@dataclasses.dataclass(frozen=True)
class Slips:
    """The edits of many readings.

    Attributes:
      counts: by (label, reading) character.
      kinds: by kind of edit.
      pairs: the readings in which a (label, reading) edit occurs, the most confident first.
      characters: occurrences in the labels.
      places: by PLACES, (lost or replaced characters, characters), of labels of some length.
      repeats: neighbours in the labels that are equal.
      spaces: in the labels.
      cased: letters in the labels that have another case.
    """

    counts: Counter[tuple[str, str]]
    kinds: Counter[str]
    pairs: dict[tuple[str, str], list[Pair]]
    characters: Counter[str]
    places: dict[str, tuple[int, int]]
    repeats: int
    spaces: int
    cased: int

    @property
    def total(self) -> int:
        """Edits in all."""
        return sum(self.counts.values())


def count(pairs: Sequence[Pair], doubtful: Container[tuple[int, int]] = ()) -> Slips:
    """Counts the edits of readings.

    Args:
      pairs: the readings.
      doubtful: (set, row) of labels that are likely wrong: they count, and come last as examples.
    """
    counts: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    seen: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    characters: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    all_of: Counter[str] = Counter()
    repeats = 0
    for pair in sorted(pairs, key=lambda p: ((p.set, p.row) in doubtful, -p.confidence)):
        characters.update(pair.label)
        repeats += sum(map(str.__eq__, pair.label, pair.label[1:]))
        found = edits(pair.label, pair.reading)
        counts.update((edit.label, edit.reading) for edit in found)
        kinds.update(edit.kind for edit in found)
        for key in dict.fromkeys((edit.label, edit.reading) for edit in found):
            seen[key].append(pair)
        if len(pair.label) >= _FEWEST:
            all_of.update(_place(i, pair.label) for i in range(len(pair.label)))
            wrong.update(_place(edit.at, pair.label) for edit in found if edit.label)
    return Slips(
        counts,
        kinds,
        dict(seen),
        characters,
        {place: (wrong[place], all_of[place]) for place in PLACES},
        repeats,
        characters[" "],
        sum(n for char, n in characters.items() if char.lower() != char.upper()),
    )


def _place(at: int, label: str) -> str:
    from_end = len(label) - 1 - at
    if at < 2 and at <= from_end:
        return PLACES[at]
    return PLACES[-1 - from_end] if from_end < 2 else "inner"


def matrix(slips: Slips, most: int) -> tuple[list[str], list[list[int]]]:
    """Returns the characters that are confused most, and how often each is read as each.

    Args:
      slips: of readings.
      most: characters in it; NOTHING is the last where anything was lost or added.

    Returns:
      Characters and counts[label][reading] of what was read wrong.
    """
    part: Counter[str] = Counter()
    for (old, new), number in slips.counts.items():
        part.update({old: number, new: number})
    lost = part.pop(NOTHING, 0)
    chosen = sorted(char for char, _ in part.most_common(most)) + ([NOTHING] if lost else [])
    return chosen, [[slips.counts[old, new] for new in chosen] for old in chosen]


def instructive(pairs: Sequence[Pair], most: int) -> Iterator[tuple[str, Pair]]:
    """Yields (what happened, reading) of wrong readings, each of another kind where there are.

    Of every kind the clearest comes first: fewest edits, then the surest.
    """
    by_kind: dict[str, list[tuple[int, float, Pair]]] = defaultdict(list)
    for pair in pairs:
        found = edits(pair.label, pair.reading)
        for kind in {edit.kind for edit in found}:
            by_kind[kind].append((len(found), -pair.confidence, pair))
    queues = [
        (kind, sorted(by_kind[kind], key=lambda entry: entry[:2]))
        for kind in KINDS
        if by_kind[kind]
    ]
    used: set[tuple[int, int]] = set()
    while queues and len(used) < most:
        left = []
        for kind, queue in queues:
            while queue and (queue[0][2].set, queue[0][2].row) in used:
                queue.pop(0)
            if queue and len(used) < most:
                pair = queue.pop(0)[2]
                used.add((pair.set, pair.row))
                yield KINDS[kind], pair
                left.append((kind, queue))
        queues = left
