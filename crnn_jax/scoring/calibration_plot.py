"""A picture of a calibration: reliability before and after, and errors against coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crnn_jax import figures
from crnn_jax.scoring.calibration_report import CalibrationReport, Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_calibration_plot(path: str, report: CalibrationReport) -> None:
    """Writes the picture as PNG: two reliability diagrams and the risk-coverage curves."""
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and opens no window

    figure = Figure(figsize=(13, 4.6), dpi=110)
    raw, calibrated, risk = figure.subplots(1, 3)
    _reliability(raw, report.before, "raw (temperature 1)", "C1")
    _reliability(
        calibrated, report.after, f"calibrated (temperature {report.temperature:.3f})", "C0"
    )
    _risk_coverage(risk, report)
    title = (
        f"{report.model[:40]} on {', '.join(report.checked.sets)[:70]}: "
        f"{report.checked.rows:,} readings, {100 * report.checked.accuracy:.1f} % right"
    )
    figure.suptitle(figures.literal(title), fontsize="medium")
    figure.tight_layout()
    figures.write(path, figure)


def _reliability(axes: Axes, side: Side, title: str, colour: str) -> None:
    """Draws accuracy against confidence with intervals, and below how many rows are where."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="confidence = share right")
    xs = [b.confidence for b in side.bins]
    ys = [b.accuracy for b in side.bins]
    errors = [
        [max(0.0, b.accuracy - b.interval[0]) for b in side.bins],
        [max(0.0, b.interval[1] - b.accuracy) for b in side.bins],
    ]
    axes.errorbar(
        xs, ys, errors, fmt="o-", color=colour, markersize=4, capsize=3, linewidth=1,
        label="bins of equal mass, 95 % Wilson",
    )  # fmt: skip
    counts, edges = np.histogram(side.confidences, bins=20, range=(0, 1))
    axes.bar(
        edges[:-1], 0.25 * counts / max(counts.max(), 1), width=0.05, align="edge", color=colour,
        alpha=0.2, label="rows",
    )  # fmt: skip
    low, high = side.interval
    axes.set_title(
        f"{title}\nECE {side.summary.ece:.4f} ({low:.4f} to {high:.4f}), "
        f"by chance {side.summary.floor.mean:.4f}",
        fontsize="small",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share of readings right")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="x-small", loc="upper left")


def _risk_coverage(axes: Axes, report: CalibrationReport) -> None:
    for side, name, colour in ((report.before, "raw", "C1"), (report.after, "calibrated", "C0")):
        axes.step(
            side.curve.coverage, side.curve.risk, where="post", color=colour, linewidth=1,
            label=f"{name}, area {side.aurc:.4f}",
        )  # fmt: skip
    rows = len(report.correct)
    wrong = int(rows - report.correct.sum())
    k = np.arange(1, rows + 1)
    best = np.maximum(0, k - (rows - wrong)) / k
    axes.plot(k / rows, best, color="0.6", linewidth=1, linestyle=":", label="best order")
    for number, check in enumerate(report.thresholds):
        rate = f"{100 * check.chosen.error_rate:.6g} %"
        for name, found, marker, size, fill in (  # of one point, one is around the other
            ("plain", check.plain, "o", 5, "full"),
            ("guaranteed", check.guaranteed, "s", 9, "none"),
        ):  # fmt: skip
            if found.accepted:
                axes.plot(
                    found.coverage, found.error_rate, marker, color=f"C{number + 2}",
                    markersize=size, fillstyle=fill,
                    clip_on=False, label=f"{name} threshold for {rate}",
                )  # fmt: skip
    axes.set(
        xlim=(0, 1), ylim=(0, None), xlabel="share of readings accepted",
        ylabel="share of the accepted that is wrong",
    )  # fmt: skip
    axes.set_title("errors against coverage", fontsize="small")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="x-small", loc="upper left")
