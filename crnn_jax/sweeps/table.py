"""The table of a sweep: mean and deviation over seeds, differences to the first cell, costs."""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.scoring import significance
from crnn_jax.scoring.readings_files import open_readings
from crnn_jax.scoring.results import Row
from crnn_jax.scoring.significance import Interval, RowScores
from crnn_jax.sweeps.runs import FIGURES, Figures, Run, Sweep, readings_file

_LOG = logging.getLogger("crnn_jax")

ALL = "all images"  # of all sets together


@dataclasses.dataclass(frozen=True)
class Line:
    """What came out of a cell.

    Attributes:
      cell: its name.
      seeds: of its finished runs.
      accuracies: word accuracy of every set, and of ALL, a number per seed.
      interval: 95 %, of the mean word accuracy of ALL over its images and, of several, seeds.
      difference: of that to the baseline, and its interval; None for the baseline itself, and
        where no run of that is done.
      costs: of its runs, seed by seed.
    """

    cell: str
    seeds: tuple[int, ...]
    accuracies: dict[str, tuple[float, ...]]
    interval: Interval
    difference: tuple[float, Interval] | None
    costs: tuple[Figures, ...]

    def cost(self, name: str) -> float:
        """Mean over seeds of one of the numbers of `Figures`."""
        return statistics.fmean(getattr(cost, name) for cost in self.costs)

    def mean(self, of: str) -> float:
        """Mean word accuracy of a set over seeds."""
        return statistics.fmean(self.accuracies[of])

    def deviation(self, of: str) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        found = self.accuracies[of]
        return statistics.stdev(found) if len(found) > 1 else None


@dataclasses.dataclass(frozen=True)
class Table:
    """The lines of a sweep, the baseline first, and what the runs were judged by."""

    baseline: str  # the cell that the others are compared with
    question: str
    protocol: str
    sets: dict[str, int]  # to the images compared
    lines: tuple[Line, ...]
    missing: tuple[str, ...]  # runs that are not done
    damaged: tuple[str, ...]  # those that are, and cannot be read


def collect(sweep: Sweep, baseline: str = "") -> Table | None:
    """Returns the table of what is done; None where nothing is.

    A run whose readings are damaged is told and left out.

    Args:
      sweep: its runs.
      baseline: the cell that the others are compared with; empty: the first.

    Raises:
      UserError: no cell of that name; runs that were judged by other images than the first one.
    """
    baseline = sweep.baseline(baseline)
    costs, read = dict[Run, Figures](), dict[Run, dict[str, list[Row]]]()
    for run in sweep.runs:
        if (found := run.figures) is None:
            continue
        costs[run] = found
        try:
            read[run] = _readings(run, found.sets)
        except UserError as error:
            _LOG.warning(
                "%s is left out: %s, or delete %s and run the sweep again, which judges it anew",
                run.name, error, run.folder / FIGURES,
            )  # fmt: skip
    done = list(read)
    missing = tuple(run.name for run in sweep.runs if run not in costs)
    damaged = tuple(run.name for run in costs if run not in read)
    if not done:
        return None
    protocol = costs[done[0]].protocol
    _check_alike({run: (costs[run].protocol, read[run]) for run in done})
    scores = {run: _scores(readings, protocol) for run, readings in read.items()}
    sets = {name: int(s.compared.sum()) for name, s in scores[done[0]].items()}
    if empty := [name for name, count in sets.items() if not count]:
        raise UserError(
            f"no label of {empty[0]} counts by protocol {protocol}: judge by config.protocol=exact"
        )
    by_cell = {cell.name: [run for run in done if run.cell == cell] for cell in sweep.cells}
    base = by_cell.pop(baseline)
    lines = [_line(base, [], scores, costs)] if base else []
    lines += [_line(runs, base, scores, costs) for runs in by_cell.values() if runs]
    return Table(baseline, sweep.question, protocol, sets, tuple(lines), missing, damaged)


def scores_of(run: Run, protocol: str) -> dict[str, RowScores]:
    """Returns the scores of a finished run's readings, by set; for `significance.paired_test`."""
    assert run.figures is not None, f"{run.name} is not finished"
    return _scores(_readings(run, run.figures.sets), protocol)


def _scores(readings: Mapping[str, Sequence[Row]], protocol: str) -> dict[str, RowScores]:
    return {name: significance.score_rows(rows, protocol) for name, rows in readings.items()}


def _readings(run: Run, sets: Sequence[str]) -> dict[str, list[Row]]:
    """Returns what a finished run has read, by set; a damaged file is a UserError."""
    found = {}
    for name in sets:
        rows = open_readings(f"{readings_file(run.folder, name)}:crnn_jax").rows
        found[name] = [Row(r.key, r.label or "", r.text, r.confidence or 0.0) for r in rows]
    return found


def _check_alike(read: Mapping[Run, tuple[str, Mapping[str, Sequence[Row]]]]) -> None:
    """Raises UserError where runs were not judged by the same protocol and the same images."""

    def judged(run: Run) -> Any:
        protocol, readings = read[run]
        images = {name: [(row.key, row.label) for row in rows] for name, rows in readings.items()}
        return protocol, images

    first, *others = read
    expected = judged(first)
    for run in others:
        if judged(run) != expected:
            raise UserError(
                f"{run.folder} was judged by other images, or by another protocol, than "
                f"{first.folder}: delete {FIGURES} in whichever is out of date and run the sweep "
                "again, which judges it anew"
            )


def _line(
    runs: Sequence[Run],
    baseline: Sequence[Run],
    scores: Mapping[Run, dict[str, RowScores]],
    costs: Mapping[Run, Figures],
) -> Line:
    names = list(scores[runs[0]])
    joined = {run: significance.join(list(scores[run].values())) for run in [*runs, *baseline]}
    accuracies = {name: tuple(_accuracy(scores[run][name]) for run in runs) for name in names} | {
        ALL: tuple(_accuracy(joined[run]) for run in runs)
    }
    own = [joined[run] for run in runs]
    difference = None
    if baseline:
        difference = significance.difference_of_groups([joined[run] for run in baseline], own)
    return Line(
        runs[0].cell.name,
        tuple(run.seed for run in runs),
        accuracies,
        significance.bootstrap(own).metrics().intervals()["word_accuracy"],
        difference,
        tuple(costs[run] for run in runs),
    )


def _accuracy(scores: RowScores) -> float:
    return float(np.mean(scores.correct[scores.compared]))


def to_markdown(table: Table) -> str:
    """Returns the table for people."""
    sets = list(table.sets)
    columns = [*sets, ALL] if len(sets) > 1 else sets
    head = ["", *columns, "difference", "M weights", "MFLOP", "images/s", "minutes"]
    lines = [f"| {' | '.join(head)} |", f"|{'-|' * len(head)}"]
    judged = columns[-1]
    for line in table.lines:
        cells = [line.cell.replace("|", "\\|"), *(_told(line, of) for of in columns)]
        if line.difference is None:
            cells.append("baseline" if line.cell == table.baseline else "")
        else:
            value, (low, high) = line.difference
            cells.append(f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        cells += [
            f"{line.cost('parameters') / 1e6:.2f}",
            f"{line.cost('megaflops'):,.0f}",
            f"{line.cost('images_per_second'):,.0f}",
            f"{line.cost('minutes'):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    images = ", ".join(f"{name} ({count:,})" for name, count in table.sets.items())
    notes = [
        f"Word accuracy in %, protocol {table.protocol}, of {images}; {_seeds(table)}"
        f"{_differences(table, judged)} MFLOP: of reading one image of the widest kind; minutes: "
        "of training, evaluations included, which images/s are of, too."
    ]
    for what, names in (("Not done yet", table.missing), ("Damaged", table.damaged)):
        if names:
            notes.append(f"{what}: {'; '.join(names)}.")
    return "\n".join([table.question, "", *lines, "", *notes]) + "\n"


def _seeds(table: Table) -> str:
    counts = sorted({len(line.seeds) for line in table.lines})
    if counts == [1]:
        return "one seed each."
    number = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"mean +- standard deviation over {number} seeds."


def _differences(table: Table, judged: str) -> str:
    if all(line.difference is None for line in table.lines):
        return ""
    over = "images (bootstrap, the same images in both)"
    alone = "which says nothing about other seeds"
    counts = {len(line.seeds) for line in table.lines}
    if counts == {1}:
        over = f"{over} alone, {alone}"
    else:
        over = f"{over} and seeds (Welch's t)"
        over += f"; over images alone where a cell has one seed, {alone}" if 1 in counts else ""
    differences = f"Differences are those of `{judged}` to `{table.baseline}`"
    return f" {differences}, with 95 % intervals over {over}."


def _told(line: Line, of: str) -> str:
    deviation = line.deviation(of)
    return f"{100 * line.mean(of):.1f}" + (
        "" if deviation is None else f" +- {100 * deviation:.1f}"
    )
