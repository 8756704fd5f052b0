"""Which reading of a file belongs to which row of the sets; what finds no partner is told."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_jax.data.folders import SUFFIXES
from crnn_jax.errors import DataError
from crnn_jax.scoring.readings_files import FileReading, ReadingsFile

if TYPE_CHECKING:
    from crnn_jax.scoring.results import Row

_SHOWN = 3  # of many, in messages


@dataclasses.dataclass(frozen=True)
class Matching:
    """The readings of a file, by set and row.

    Attributes:
      file: where they come from.
      sets: per set, the reading of each row, None where there is none.
      missing: rows without a reading, as "set key".
      shared: how many of those have a name that several rows or readings share.
      unused: readings that belong to no row, by their keys.
    """

    file: ReadingsFile
    sets: tuple[tuple[FileReading | None, ...], ...]
    missing: tuple[str, ...]
    shared: int
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """Returns what a person should know: how many rows have a reading, and which not."""
        rows = sum(map(len, self.sets))
        found = rows - len(self.missing)
        lines = [f"{self.file.name} ({self.file.format}): {found} of {rows} rows have a reading"]
        if self.missing:
            why = f", {self.shared} of them because several share a name" if self.shared else ""
            lines.append(
                f"  {len(self.missing)} rows without a reading{why}: {_some(self.missing)}"
            )
        if self.unused:
            lines.append(f"  {len(self.unused)} readings of no row: {_some(self.unused)}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return {
            "name": self.file.name,
            "format": self.file.format,
            "rows": sum(map(len, self.sets)),
            "rows_without_reading": list(self.missing),
            "unused_readings": list(self.unused),
        }


def match(file: ReadingsFile, sets: Sequence[tuple[str, Sequence[Row]]]) -> Matching:
    """Finds the reading of every row.

    A row's reading has the same path; or else the same file name, below a folder of the set's name
    if need be; or else the same file name without the suffix of an image. A name that several rows
    or several readings have decides nothing, and where the file knows labels, they have to agree.

    Args:
      file: the readings.
      sets: names and rows of the sets.

    Raises:
      DataError: when a label of the file is not that of the row, or nothing matches at all.
    """
    rows = [(name, row) for name, members in sets for row in members]
    names = {name for name, _ in sets}
    partner: dict[int, int] = {}
    for of_row, of_reading in _levels(names):
        left = _positions([of_row(name, row) for name, row in rows])
        right = _positions([of_reading(reading) for reading in file.rows])
        used = set(partner.values())
        for key, members in left.items():
            others = right.get(key, []) if key is not None else []
            # Two sets may have a key and label in common; our files have the sets in their order.
            alone = len(members) == 1 or isinstance(key, _Labelled)
            if alone and len(members) == len(others):
                pairs = zip(members, others, strict=True)
                partner |= {i: j for i, j in pairs if i not in partner and j not in used}
    bases = {_base(reading.key) for reading in file.rows}
    if not partner:
        if any(_base(row.key) in bases for _, row in rows):
            raise DataError(
                f"{file.name}: no reading belongs to a row for certain: the file names that agree "
                "are those of several rows, or of several readings; give each a name of its own"
            )
        raise DataError(
            f"{file.name}: no reading belongs to a row; the file has {file.rows[0].key!r}, the set "
            f"{rows[0][1].key!r}: file names have to agree"
        )
    for i, j in partner.items():
        _check_label(rows[i][1], file.rows[j])
    found = iter([file.rows[partner[i]] if i in partner else None for i in range(len(rows))])
    readings = tuple(tuple(next(found) for _ in members) for _, members in sets)
    missing = [i for i in range(len(rows)) if i not in partner]
    used = set(partner.values())
    return Matching(
        file,
        readings,
        tuple(f"{rows[i][0]} {rows[i][1].key}" for i in missing),
        sum(_base(rows[i][1].key) in bases for i in missing),
        tuple(reading.key for j, reading in enumerate(file.rows) if j not in used),
    )


def _levels(names: set[str]) -> list[tuple[Any, Any]]:
    """Returns pairs of functions whose values agree for a row and its reading, the surest first."""

    def below(reading: FileReading) -> Hashable:
        folders = [part for part in _path(reading.key).parts[:-1] if part in names]
        return (folders[-1], _base(reading.key)) if folders else None

    return [
        (
            lambda name, row: _Labelled(_clean(row.key), _clean(row.label)),
            lambda r: None if r.label is None else _Labelled(_clean(r.key), _clean(r.label)),
        ),
        (lambda name, row: _clean(row.key), lambda r: _clean(r.key)),
        (lambda name, row: (name, _base(row.key)), below),
        (lambda name, row: _base(row.key), lambda r: _base(r.key)),
        (lambda name, row: _stem(row.key), lambda r: _stem(r.key)),
    ]


class _Labelled(NamedTuple):
    key: str
    label: str


def _positions(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    positions = defaultdict(list)
    for i, key in enumerate(keys):
        positions[key].append(i)
    return positions


def _path(key: str) -> PurePath:
    return PurePath(key.replace("\\", "/"))


def _base(key: str) -> str:
    return _path(key).name


def _stem(key: str) -> str:
    base = _path(key)
    return base.stem if base.suffix.lower() in SUFFIXES else base.name


def _clean(text: str) -> str:
    """Returns a text as a line of a file can hold it."""
    return re.sub(r"[^\S ]|[\x1c-\x1e]", " ", text)


def _check_label(row: Row, reading: FileReading) -> None:
    if reading.label is not None and _clean(reading.label) != _clean(row.label):
        raise DataError(
            f"{reading.where}: the label of {reading.key} is {reading.label!r:.40}, in the set "
            f"{row.label!r:.40}: give the readings of this set"
        )


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
