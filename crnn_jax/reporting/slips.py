"""What goes wrong when the model reads: characters confused, lost and added, and where.

Label and reading are aligned with fewest edits, see `crnn_jax.metrics.differences`. Of a doubled
letter any half may be the one that the alignment takes for lost.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence

from crnn_jax import metrics
from crnn_jax.reporting.sets import Pair

NOTHING = ""  # in place of a character: what is lost was read as it, what is added was it
PLACES = ("first", "second", "inner", "last but one", "last")
_FEWEST = 4  # characters of a label whose places are told apart


@dataclasses.dataclass(frozen=True)
class Edit:
    """One character that was read otherwise.

    Attributes:
      label, reading: the character in either, NOTHING where it is added or lost.
      at: its place in the label; of an added one, that of the character before which it stands.
      kind: a key of KINDS.
    """

    label: str
    reading: str
    at: int
    kind: str


# Kinds of edits, the telling ones first, each with what it is called.
KINDS = {
    "dropped_repeat": "half of a doubled character lost",
    "added_repeat": "a character doubled that stands once",
    "lost_space": "space lost",
    "added_space": "space added",
    "case": "capital for small letter, or small for capital",
    "lost_first": "first character lost",
    "lost_last": "last character lost",
    "replaced": "one character for another",
    "lost": "character lost",
    "added": "character added",
}


def edits(label: str, reading: str) -> list[Edit]:
    """Returns what was read otherwise, in the order of the label."""
    found, at, place = [], 0, 0  # in the label, in the reading
    for old, new, equal in metrics.differences(label, reading):
        if not equal:
            for i in range(max(len(old), len(new))):
                a, b = old[i : i + 1], new[i : i + 1]
                spot = at + min(i, len(old))
                found.append(Edit(a, b, spot, _kind(label, reading, a, b, spot, place + i)))
        at, place = at + len(old), place + len(new)
    return found


def _kind(label: str, reading: str, old: str, new: str, at: int, place: int) -> str:
    """Returns the kind of an edit at a place of the label and a place of the reading."""
    if old and new:
        return "case" if old.lower() == new.lower() else "replaced"
    if old:
        if old == " ":
            return "lost_space"
        if old in (label[at - 1 : at], label[at + 1 : at + 2]):
            return "dropped_repeat"
        return "lost_first" if at == 0 else "lost_last" if at == len(label) - 1 else "lost"
    if new == " ":
        return "added_space"
    beside = (reading[place - 1 : place] if place else "", reading[place + 1 : place + 2])
    return "added_repeat" if new in beside else "added"


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
    wrong, all_of = Counter(), Counter()
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
