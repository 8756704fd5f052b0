"""The tables of a report, each made once for text and for Markdown."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crnn_jax.scoring import published
from crnn_jax.scoring.benchmark_sets import recognise
from crnn_jax.scoring.breakdown import TITLES, order

if TYPE_CHECKING:
    from crnn_jax.scoring.report import Comparison, Report
    from crnn_jax.scoring.results import Result
    from crnn_jax.scoring.significance import Interval


@dataclasses.dataclass(frozen=True)
class Section:
    """A table with a title, and lines below it."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Returns it with aligned columns: numbers to the right, words to the left."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[c]) for line in lines) for c in range(len(self.head))]
        sides = [str.rjust if number else str.ljust for number in self._numbers()]
        shown = [
            "  ".join(
                side(*cell)
                for side, cell in zip(sides, zip(line, widths, strict=True), strict=True)
            )
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        table = [line.rstrip() for line in (shown[0], rule, *shown[1:])]
        return "\n".join([self.title, "", *table, *self.notes])

    def markdown(self) -> str:
        """Returns it as a Markdown table."""
        lines = [self.head, *self.rows]
        cells = ["| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines]
        rule = "".join("|-:" if number else "|-" for number in self._numbers()) + "|"
        notes = [f"- {note}" for note in self.notes]
        blocks = [f"## {self.title}", "\n".join([cells[0], rule, *cells[1:]])]
        return "\n\n".join(blocks + (["\n".join(notes)] if notes else []))

    def _numbers(self) -> list[bool]:
        """Returns whether a column holds numbers, by its cells; the first never does."""
        columns = list(zip(*self.rows, strict=True))[1:] or [()] * (len(self.head) - 1)
        return [False, *(all(re.match(r"[-+<\d]|$", cell) for cell in c) for c in columns)]


def remarks(result: Result) -> Iterator[str]:
    """Yields what has to be known with a set's numbers."""
    if count := result.metrics["unreadable"]:
        told = f"{count} unreadable images, counted as wrong"
        first = next((row for row in result.rows if row.error), None)
        yield f"{told}; the first: {first.key}: {first.error}" if first else told
    if count := result.metrics["skipped"]:
        yield f"{count} rows left out, their labels are empty under the protocol"
    found = recognise(result.name, len(result.rows))
    if found and found.remark():
        yield found.remark()


def _rounded(value: float | None) -> str:
    """Returns a fraction in percent as tables of papers have it."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _percent(value: float | None, interval: Interval | None = None, sign: str = "") -> str:
    """Returns a fraction in percent, with its interval."""
    if value is None or value != value:  # nothing was compared
        return "-"
    shown = f"{100 * value:{sign}.2f}"
    if interval is None:
        return shown
    return f"{shown} [{100 * interval.low:{sign}.2f}, {100 * interval.high:{sign}.2f}]"


def results_section(report: Report) -> Section:
    """Returns every system on every set, and its means."""
    rows, notes = [], []
    for one in report.sets:
        m = one.result.metrics
        rows.append((
            one.result.name, one.system, str(m["count"]),
            _percent(m["word_accuracy"], one.wilson()),
            _percent(m["cer"], one.intervals["cer"]), _percent(m["one_minus_ned"]),
        ))  # fmt: skip
        if one.system == report.systems[0].name:
            notes += [f"{one.result.name}: {remark}" for remark in remarks(one.result)]
    for s in report.averages:
        accuracy = _percent(s.word_accuracy, s.intervals["word_accuracy"])
        cer = _percent(s.cer, s.intervals["cer"])
        rows.append((s.over, s.system, str(s.count), accuracy, cer, ""))
    head = ("set", "model", "images", "word accuracy, %", "CER, %", "1-NED, %")
    notes += [
        f"{s.name}: {len(s.matching.missing)} rows without a reading count as wrong"
        for s in report.systems
        if s.matching and s.matching.missing
    ]
    notes.append(
        f"intervals: Wilson for the word accuracy of a set, else percentile bootstrap over images, "
        f"{report.resamples} resamples"
    )
    return Section("Results", head, rows, tuple(notes))


def over_models_sections(report: Report) -> Iterator[Section]:
    """Yields the means over models, where there are several."""
    if not report.over_models:
        return
    rows = [
        (
            s.over, str(s.count), _percent(s.word_accuracy, s.intervals["word_accuracy"]),
            _percent(s.deviation), _percent(s.cer, s.intervals["cer"]),
        )
        for s in report.over_models
    ]  # fmt: skip
    head = ("set", "images", "word accuracy, %", "deviation", "CER, %")
    note = "intervals: bootstrap over images, Student's t over models that differ in their seed"
    yield Section(report.over_models[0].system.capitalize(), head, rows, (note,))


def comparison_sections(report: Report) -> Iterator[Section]:
    """Yields the paired tests, where there are any."""
    if not report.tests:
        return
    rows = [row for test in report.tests for row in _test_rows(test, report.resamples)]
    head = (
        "set",
        "a",
        "b",
        "rows",
        "metric",
        "a, %",
        "b, %",
        "b - a",
        "p",
        "right: only a",
        "only b",
    )
    notes = ["p: McNemar's exact test for word accuracy, bootstrap for CER; intervals: bootstrap"]
    left = {(t.over, t.a, t.b): t.left_out for t in report.tests if t.left_out}
    notes += [
        f"{over}, {a} and {b}: {n} rows left out, which one of the two has not read"
        for (over, a, b), n in left.items()
    ]
    yield Section("Paired tests", head, rows, tuple(notes))


def _test_rows(one: Comparison, resamples: int) -> Iterator[tuple[str, ...]]:
    test = one.test
    for name, metric in (("word accuracy", test.word_accuracy), ("CER", test.cer)):
        p = _p_value(metric.p, 2 / (resamples + 1))
        alone = ("", "") if metric is test.cer else (str(test.only_a), str(test.only_b))
        yield (
            one.over, one.a, one.b, str(test.count), name, _percent(metric.a), _percent(metric.b),
            _percent(metric.difference, metric.interval, "+"), p, *alone,
        )  # fmt: skip


def _p_value(p: float, least: float) -> str:
    """Returns a p-value; the least that so many resamples can say is a bound."""
    return f"<{1.001 * p:.2g}" if p == least else f"{p:.2g}"


def breakdown_sections(report: Report) -> Iterator[Section]:
    """Yields a table per system and kind of group."""
    for system in report.systems:
        sets = report.of(system.name)
        whose = f", {system.name}" if len(report.systems) > 1 else ""
        for kind, what in TITLES.items():
            found = [{g.name: g for g in one.groups[kind]} for one in sets]
            rows = []
            for name in order(kind):
                cells = [
                    f"{_percent(g.correct / g.count)} ({g.count})"
                    if (g := groups.get(name))
                    else ""
                    for groups in found
                ]
                if any(cells):
                    rows.append((name, *cells))
            head = (what, *(one.result.name for one in sets))
            title = f"Word accuracy by {kind.replace('_', ' ')}, %{whose}"
            yield Section(title, head, rows, ("in brackets: images",))


def published_sections(report: Report) -> Iterator[Section]:
    """Yields the published rows with this evaluation above them, where they are asked for."""
    if not report.published:
        return
    sets = report.recognised()
    rows = []
    for system in report.systems:
        own = [
            one.result.metrics["word_accuracy"] for one in report.of(system.name) if one.benchmark
        ]
        rows.append((f"{system.name} (this evaluation)", "", "", *(_rounded(a) for a in own), ""))
    for row in published.rows_for(sets):
        cells = (row.cell(one) for one in sets)
        source = ", ".join(filter(None, (row.source, row.note)))
        rows.append((row.title, row.trained_on, row.params, *cells, source))
    head = ("word accuracy, %", "trained on", "params", *(one.variant for one in sets), "source")
    notes = [one.remark() for one in sets if not one.complete]
    if not sets:
        notes.append("none of the sets goes by the name of a public test set")
    yield Section(f"Published, protocol {published.PROTOCOL}", head, rows, tuple(notes))
