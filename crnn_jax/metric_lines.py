"""The lines of a run's metrics.jsonl, as whoever reads them takes them: damaged ones left out."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any

METRICS_FILE = "metrics.jsonl"


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's folder in order, of training and of evaluations.

    There are none where nothing was written yet. Raises OSError for a file that cannot be read.
    """
    try:
        text = (folder / METRICS_FILE).read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return parse(text.splitlines())


def parse(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Returns the lines that are whole; each has its `step` and `seconds`.

    A kill cuts the last one short, and so does whoever reads while it is written.
    """
    return [line for line in map(_parse, texts) if line]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        whole = type(line["step"]) is int and math.isfinite(line["seconds"])
        return line if whole and isinstance(line.get("eval", {}), dict) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
