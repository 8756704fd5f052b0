"""What a second training did to every character: recall before and after, on the same set."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

from crnn_jax import files, metrics
from crnn_jax.charset import Charset
from crnn_jax.errors import UserError
from crnn_jax.evaluate import Result


@dataclasses.dataclass(frozen=True)
class Change:
    """Occurrences of a character, or of a group of them, in the labels of a set.

    Attributes:
      name: the character, or what the group is.
      count: its occurrences.
      before, after: those that were read right.
    """

    name: str
    count: int
    before: int
    after: int

    @property
    def difference(self) -> float:
        """Recall after minus recall before."""
        return (self.after - self.before) / self.count if self.count else 0.0

    def cells(self) -> tuple[str, str, str, str, str]:
        """Returns name, count, recall before, recall after and the difference."""
        if not self.count:
            return self.name, "0", "-", "-", "-"
        before, after = (f"{right / self.count:.4f}" for right in (self.before, self.after))
        return self.name, str(self.count), before, after, f"{self.difference:+.4f}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Changes of every character of a set, by character, and of groups and all of them together."""

    characters: tuple[Change, ...]
    groups: tuple[Change, ...]
    total: Change

    def table(self, rows: int = 10) -> str:
        """Returns text tables: groups and total, the worst changes, the most frequent characters.

        Args:
          rows: most characters in each. The worst are those with most occurrences lost, so that a
            character that was seen once does not come first.
        """
        worst = sorted(self.characters, key=lambda c: (c.after - c.before, c.name))
        frequent = sorted(self.characters, key=lambda c: (-c.count, c.name))
        parts = [
            ("all", [*self.groups, self.total]),
            ("most occurrences lost", [c for c in worst if c.after < c.before][:rows]),
            ("most frequent", frequent[:rows]),
        ]
        width = max([len("most occurrences lost"), *(len(c.name) for c in self.groups)])
        lines = []
        for title, changes in parts:
            head = f"{title:<{width}} {'count':>7} {'before':>7} {'after':>7} {'change':>8}"
            lines += ["", head, "-" * len(head)]
            for change in changes:
                shown = (
                    change
                    if title == "all"
                    else dataclasses.replace(change, name=_visible(change.name))
                )
                name, count, before, after, difference = shown.cells()
                lines.append(f"{name:<{width}} {count:>7} {before:>7} {after:>7} {difference:>8}")
            if not changes:
                lines.append("none")
        return "\n".join(lines[1:])

    def write_tsv(self, path: str | os.PathLike[str]) -> None:
        """Writes character, count, recall before and after and the difference of every character.

        Characters come first, the most frequent ahead, then the groups and the total. A character
        that a table cannot show (a space, a mark) is written as its code points.

        Raises:
          UserError: when the file cannot be written.
        """
        frequent = sorted(self.characters, key=lambda c: (-c.count, c.name))
        lines = ["character\tcount\tbefore\tafter\tchange\n"]
        for change in frequent:
            lines.append("\t".join((_visible(change.name), *change.cells()[1:])) + "\n")
        lines += ["\t".join(change.cells()) + "\n" for change in (*self.groups, self.total)]
        try:
            files.write_text(path, "".join(lines))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); give another path"
            ) from None


def compare(
    before: Result, after: Result, old: Charset | None = None, protocol: str = "exact"
) -> Comparison:
    """Compares two evaluations of the same set, character by character.

    Every occurrence of a character in a label counts, under the protocol; it is read right where
    the alignment of label and reading with fewest edits keeps it.

    Args:
      before, after: evaluations of the two models.
      old: charset of the model of before; given it, its characters and the new ones are groups.
      protocol: how texts are prepared, a name of `crnn_jax.metrics.PROTOCOLS`.

    Raises:
      UserError: when the rows are not those of the same set.
    """
    _check_same_rows(before, after)
    counts: Counter[str] = Counter()
    for row in before.rows:
        counts.update(metrics.apply_protocol(row.label, protocol))
    right = [_right(result, protocol) for result in (before, after)]
    characters = tuple(
        Change(char, counts[char], right[0][char], right[1][char]) for char in sorted(counts)
    )
    groups: tuple[Change, ...] = ()
    if old is not None:
        known = set("".join(old.classes))  # a class may be several characters long
        groups = (
            _sum("characters of the old charset", characters, lambda char: char in known),
            _sum("new characters", characters, lambda char: char not in known),
        )
    return Comparison(characters, groups, _sum("all characters", characters, lambda char: True))


def _right(result: Result, protocol: str) -> Counter[str]:
    """Returns how often each character was read right."""
    right: Counter[str] = Counter()
    for row in result.rows:
        label = metrics.apply_protocol(row.label, protocol)
        right.update(metrics.kept(label, metrics.apply_protocol(row.reading, protocol)))
    return right


def _sum(name: str, changes: Iterable[Change], chosen: Callable[[str], bool]) -> Change:
    parts = [change for change in changes if chosen(change.name)]
    return Change(
        name,
        sum(part.count for part in parts),
        sum(part.before for part in parts),
        sum(part.after for part in parts),
    )


def _check_same_rows(before: Result, after: Result) -> None:
    there, here = ([(row.key, row.label) for row in result.rows] for result in (before, after))
    if there == here:
        return
    if len(there) != len(here):
        fault = f"{len(there)} rows and {len(here)}"
    else:
        row = next(i for i, pair in enumerate(zip(there, here, strict=True)) if pair[0] != pair[1])
        fault = f"row {row} is {there[row]!r:.80} and {here[row]!r:.80}"
    raise UserError(
        f"the evaluations of {before.name} and {after.name} are not of the same rows ({fault}): "
        "evaluate both models on one SPEC"
    )


def _visible(char: str) -> str:
    """Returns a character, or its code points where it shows nothing of its own."""
    kind = unicodedata.category(char[0])[0]
    return char if kind in "LNPS" else " ".join(f"U+{ord(c):04X}" for c in char)
