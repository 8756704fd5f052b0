"""The picture of a sweep: a dot for every cell, with its interval."""

from __future__ import annotations

import os

from crnn_jax import figures
from crnn_jax.sweeps.table import ALL, Table

_LINE = 0.34  # inches of a cell
_LONGEST = 48  # characters of its name


def save(path: str | os.PathLike[str], table: Table) -> None:
    """Draws word accuracy of all images with 95 % intervals, and every seed as a mark."""
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and opens no window

    lines = table.lines
    figure = Figure(figsize=(8, 1.4 + _LINE * len(lines)), layout="constrained", dpi=110)
    axis = figure.subplots()
    for y, line in enumerate(lines):
        mean = 100 * line.mean(ALL)
        low, high = (100 * end for end in line.interval)
        axis.errorbar(
            mean, y, xerr=[[max(0, mean - low)], [max(0, high - mean)]],
            fmt="o", color="C1" if line.cell == table.baseline else "C0", capsize=3,
        )  # fmt: skip
        seeds = [100 * value for value in line.accuracies[ALL]]
        axis.plot(seeds, [y] * len(seeds), "|", color="0.4", markersize=9)
    if lines[0].cell == table.baseline:  # it may have no run yet
        axis.axvline(100 * lines[0].mean(ALL), color="C1", linewidth=0.8, linestyle="--")
    axis.set_yticks(range(len(lines)), [figures.literal(_short(line.cell)) for line in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("word accuracy, %, with 95 % intervals over images and seeds; |: single seeds")
    axis.set_title(figures.literal(table.question), fontsize=10, loc="left", wrap=True)
    figures.write(path, figure)


def _short(name: str) -> str:
    """Cuts a name in its middle: those of a grid differ at their ends."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}"
