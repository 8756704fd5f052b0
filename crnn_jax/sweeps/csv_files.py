"""A sweep's numbers for programs: a line per cell, and a line per run with its knobs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.scoring.significance import Interval
from crnn_jax.sweeps.runs import Sweep
from crnn_jax.sweeps.table import ALL, Table

_COSTS = ("parameters", "megaflops", "images_per_second", "minutes")


def of_cells(table: Table) -> str:
    """Returns the table, a line per cell; shares are numbers from 0 to 1."""
    rows = []
    for line in table.lines:
        row: dict[str, Any] = {"cell": line.cell, "seeds": len(line.seeds)}
        for name in line.accuracies:
            row |= {name: line.mean(name), f"{name} std": line.deviation(name)}
        row |= {f"{ALL} low": line.interval.low, f"{ALL} high": line.interval.high}
        value, ends = line.difference or (None, Interval(np.nan, np.nan))
        row |= {"difference": value, "difference low": ends.low, "difference high": ends.high}
        rows.append(row | {name: line.cost(name) for name in _COSTS})
    return _written(rows)


def of_runs(sweep: Sweep, table: Table) -> str:
    """Returns a line per finished run: cell, seed, the knobs that vary, accuracies, costs.

    Args:
      sweep: its runs.
      table: what came out of them.
    """
    knobs = [config_lib.flatten(config) for config in sweep.configs]
    varied = [key for key in knobs[0] if any(own[key] != knobs[0][key] for own in knobs)]
    of_cell = {cell.name: own for cell, own in zip(sweep.cells, knobs, strict=True)}
    rows = []
    for line in table.lines:
        for number, seed in enumerate(line.seeds):
            row: dict[str, Any] = {"cell": line.cell, "seed": seed}
            row |= {key: of_cell[line.cell][key] for key in varied}
            row |= {name: accuracies[number] for name, accuracies in line.accuracies.items()}
            rows.append(row | {name: getattr(line.costs[number], name) for name in _COSTS})
    return _written(rows)


def _written(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value != value else value for key, value in row.items()})
    return out.getvalue()
