"""A picture of a report: accuracy by set and by length, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax import figures
from crnn_jax.metrics import wilson_interval
from crnn_jax.scoring.breakdown import Group, order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from crnn_jax.scoring.report import Report

_MOST = 20  # sets in a picture; more cannot be told apart


def save_plot(path: str, report: Report) -> None:
    """Writes the picture as PNG: left every set, right the length of labels over all sets."""
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and opens no window

    names = [result.name for result in report.systems[0].results][:_MOST]
    figure = Figure(figsize=(5 + 0.7 * len(names) * len(report.systems) ** 0.5, 4), dpi=120)
    left, right = figure.subplots(
        1, 2, sharey=True, width_ratios=[max(len(names), 2), len(order("label_length"))]
    )
    for number, system in enumerate(report.systems):
        shift = (number - (len(report.systems) - 1) / 2) * 0.8 / len(report.systems)
        groups = [one.groups["label_length"] for one in report.of(system.name)]
        of_length = [
            [g for some in groups for g in some if g.name == name] for name in order("label_length")
        ]
        _points(left, shift, system.name, groups[:_MOST])
        _points(right, shift, system.name, of_length)
    _label(left, names, "set", turned=len(names) > 1)
    _label(right, order("label_length"), "characters of the label, all sets")
    left.set_ylabel(f"word accuracy, protocol {report.protocol}")
    if len(report.systems) > 1:
        left.legend(frameon=False, fontsize="small")
    title = f"{report.names[:60]}: word accuracy, 95 % Wilson intervals"
    figure.suptitle(figures.literal(title), fontsize="medium")
    figure.tight_layout()
    figures.write(path, figure)


def _points(axes: Axes, shift: float, name: str, places: Sequence[Sequence[Group]]) -> None:
    """Draws the accuracy of each place's groups together; a place without rows stays empty."""
    pairs = [(sum(g.correct for g in some), sum(g.count for g in some)) for some in places]
    some = [(place, right, count) for place, (right, count) in enumerate(pairs) if count]
    values = [right / count for _, right, count in some]
    bounds = [wilson_interval(right, count) for _, right, count in some]
    errors = [
        [value - low for value, (low, _) in zip(values, bounds, strict=True)],
        [high - value for value, (_, high) in zip(values, bounds, strict=True)],
    ]
    xs = [place + shift for place, _, _ in some]
    axes.errorbar(xs, values, errors, fmt="o", markersize=4, capsize=3, label=figures.literal(name))


def _label(axes: Axes, names: Sequence[str], what: str, turned: bool = False) -> None:
    axes.set_xticks(
        range(len(names)),
        [figures.literal(name) for name in names],
        rotation=45 if turned else 0,
        ha="right" if turned else "center",
    )
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(-0.02, 1.02)  # points at the ends are seen whole
    axes.set_xlabel(what)
    axes.grid(axis="y", alpha=0.3)
