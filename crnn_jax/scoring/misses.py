"""What was misread, sorted by what went wrong: a picture to look for causes in."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax import metrics, pictures
from crnn_jax.scoring.edits import KINDS, edits
from crnn_jax.scoring.results import Result, misread

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

MOST = 100  # of every set
EMPTY, UNLIKE, TWO, MORE = (
    "nothing read", "less than half right", "two edits", "three edits or more"
)  # fmt: skip
ORDER = (EMPTY, UNLIKE, MORE, TWO, *KINDS.values())  # of the kinds in the picture


@dataclasses.dataclass(frozen=True)
class Miss:
    """A reading that is wrong: its place in the set, texts as they were compared, and its kind."""

    row: int
    label: str
    reading: str
    kind: str


def misses_of(result: Result, protocol: str) -> list[Miss]:
    """Returns the wrong readings of a set, in its order.

    Args:
      result: of the set.
      protocol: how texts are compared; rows without a label under it are left out.
    """
    return [
        Miss(i, label, reading, _kind(label, reading))
        for i, label, reading in misread(result.rows, protocol)
    ]


def _kind(label: str, reading: str) -> str:
    if not reading:
        return EMPTY
    if metrics.one_minus_ned(label, reading) < 0.5:
        return UNLIKE
    found = edits(label, reading)
    if len(found) > 1:
        return TWO if len(found) == 2 else MORE
    return KINDS[found[0].kind]


def sample(misses: Sequence[Miss], result: Result, most: int = MOST) -> list[Miss]:
    """Returns so many of the misses, sorted by kind, within one by the label.

    Which ones follows from hashes of their rows' names: no kind is preferred, and another model's
    misses of the same images are shown, too, as far as there are any.
    """

    def draw(miss: Miss) -> bytes:
        return hashlib.sha256(result.rows[miss.row].key.encode()).digest()

    chosen = sorted(misses, key=draw)[:most]
    return sorted(chosen, key=lambda miss: (ORDER.index(miss.kind), miss.label, miss.row))


def save_misses(
    path: str, sources: Sequence[Source], results: Sequence[Result], protocol: str
) -> int:
    """Writes the picture of the misses of every set as PNG; returns how many it shows.

    Args:
      path: of the picture.
      sources: the sets.
      results: what was read in each.
      protocol: as for `misses_of`.
    """
    groups: list[tuple[str, bool, list[pictures.Entry]]] = []
    shown = 0
    for source, result in zip(sources, results, strict=True):
        misses = misses_of(result, protocol)
        chosen = sample(misses, result)
        shown += len(chosen)
        told = f", {len(chosen)} of them shown" if len(chosen) < len(misses) else ""
        title = f"{result.name}: {len(misses)} of {result.metrics['count']} misread{told}"
        groups.append((title, True, []))
        for kind in ORDER:
            of_kind = [miss for miss in chosen if miss.kind == kind]
            if of_kind:
                count = sum(miss.kind == kind for miss in misses)
                entries = [
                    pictures.compared(source, miss.row, result.rows[miss.row], protocol)
                    for miss in of_kind
                ]
                groups.append((f"{kind}: {count}", False, entries))
    pictures.write(path, pictures.gallery(groups))
    return shown
