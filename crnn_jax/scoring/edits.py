"""Edits between a label and its reading: single characters replaced, lost or added, by kind.

Label and reading are aligned with fewest edits, see `crnn_jax.metrics.differences`. Of a doubled
letter any half may be the one that the alignment takes for lost.
"""

from __future__ import annotations

import dataclasses

from crnn_jax import metrics

NOTHING = ""  # in place of a character: what is lost was read as it, what is added was it


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
