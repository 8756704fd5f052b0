"""Comparing the rows that two readings of the same images wrote."""

from __future__ import annotations

import pytest


def assert_same_rows(rows: list[str], expected: list[str]) -> None:
    """Tab-separated rows are equal, but for the last of a confidence's six digits.

    Processes with other numbers of threads sum in another order, and round otherwise.
    """
    assert [_without_confidence(row) for row in rows] == [_without_confidence(x) for x in expected]
    confidences = [float(row.split("\t")[2] or "nan") for row in expected]
    found = [float(row.split("\t")[2] or "nan") for row in rows]
    assert found == pytest.approx(confidences, abs=2e-6, nan_ok=True)


def _without_confidence(row: str) -> list[str]:
    fields = row.split("\t")
    return [*fields[:2], *fields[3:]]
