"""Pair kerning from the GPOS table of a font, else from its kern table."""

from __future__ import annotations

from typing import Any

import numpy as np


def kerning(font: Any, glyphs: list[str | None]) -> np.ndarray:
    """Returns what is added to the advance of the first of two glyphs, float32 [A, A], font units.

    Args:
      font: a fontTools font.
      glyphs: names of the glyphs; None for characters that the face lacks, which do not kern.
    """
    index: dict[str, list[int]] = {}  # several characters may share a glyph
    for i, name in enumerate(glyphs):
        if name is not None:
            index.setdefault(name, []).append(i)
    values = np.zeros((len(index), len(index)), np.float32)
    names = {name: row for row, name in enumerate(index)}
    lookups = _kern_lookups(font) if "GPOS" in font else []
    if lookups:
        for lookup in lookups:
            values += _pairs(lookup, names)
    elif "kern" in font:
        _legacy(font["kern"], names, values)
    kern = np.zeros((len(glyphs), len(glyphs)), np.float32)
    rows = np.array([names.get(name, -1) if name is not None else -1 for name in glyphs])
    has = np.flatnonzero(rows >= 0)
    kern[np.ix_(has, has)] = values[np.ix_(rows[has], rows[has])]
    return kern


def _kern_lookups(font: Any) -> list[Any]:
    """Returns the pair lookups of the feature "kern" for Latin text in its default language."""
    table = font["GPOS"].table
    if not (table.ScriptList and table.FeatureList and table.LookupList):
        return []
    scripts = {record.ScriptTag: record.Script for record in table.ScriptList.ScriptRecord}
    script = scripts.get("latn") or scripts.get("DFLT")
    if script is None or script.DefaultLangSys is None:
        return []
    features = [table.FeatureList.FeatureRecord[i] for i in script.DefaultLangSys.FeatureIndex]
    wanted = sorted(
        {i for f in features if f.FeatureTag == "kern" for i in f.Feature.LookupListIndex}
    )
    return [table.LookupList.Lookup[i] for i in wanted]


def _pairs(lookup: Any, names: dict[str, int]) -> np.ndarray:
    """Returns the values of one lookup: per pair, those of the first subtable that has it."""
    values = np.zeros((len(names), len(names)), np.float32)
    decided = np.zeros(values.shape, bool)
    for subtable in lookup.SubTable:
        table = subtable.ExtSubTable if subtable.LookupType == 9 else subtable
        if table.LookupType != 2:
            continue
        found = np.zeros_like(values)
        has = np.zeros_like(decided)
        if table.Format == 1:
            for first, pair_set in zip(table.Coverage.glyphs, table.PairSet, strict=True):
                row = names.get(first)
                if row is None:
                    continue
                for record in pair_set.PairValueRecord:
                    column = names.get(record.SecondGlyph)
                    if column is not None:
                        has[row, column] = True
                        found[row, column] = _x_advance(record.Value1)
        else:
            covered = set(table.Coverage.glyphs)
            rows = [
                (i, table.ClassDef1.classDefs.get(n, 0)) for n, i in names.items() if n in covered
            ]
            second = np.zeros(len(names), int)
            for name, i in names.items():
                second[i] = table.ClassDef2.classDefs.get(name, 0)
            for row, first in rows:
                records = table.Class1Record[first].Class2Record
                advances = np.array([_x_advance(record.Value1) for record in records], np.float32)
                found[row], has[row] = advances[second], True
        take = has & ~decided
        values[take] = found[take]
        decided |= has
    return values


def _x_advance(value: Any) -> float:
    return float(getattr(value, "XAdvance", 0) or 0) if value is not None else 0.0


def _legacy(table: Any, names: dict[str, int], values: np.ndarray) -> None:
    """Adds the horizontal subtables of a kern table."""
    for subtable in table.kernTables:
        if getattr(subtable, "kernTable", None) and getattr(subtable, "coverage", 1) & 1:
            for (first, second), value in subtable.kernTable.items():
                if first in names and second in names:
                    values[names[first], names[second]] += value
