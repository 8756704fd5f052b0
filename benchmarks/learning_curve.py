"""How does accuracy grow with images and with time? Of finished or running runs.

    python benchmarks/learning_curve.py runs/tiny_latin runs/small94 --out=curve.png

Draws the word accuracy of every evaluation of a run on its validation sets, against the images seen
and against the hours of training (both logarithmic), and prints it. Hours are those of the run on
the machine that it had, pauses between its pieces left out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from crnn_jax import metric_lines


class Point(NamedTuple):
    """An evaluation: images seen, hours trained, word accuracy by set."""

    images: int
    hours: float
    accuracy: dict[str, float]


def points(run: pathlib.Path) -> list[Point]:
    """Returns the evaluations of a run."""
    batch = json.loads((run / "config.json").read_text())["batch_size"]
    return [
        Point(
            line["step"] * batch,
            line["seconds"] / 3600,
            {name: scores["word_accuracy"] for name, scores in line["eval"].items()},
        )
        for line in metric_lines.read(run)
        if "eval" in line
    ]


def draw(curves: dict[str, list[Point]], sets: list[str], out: pathlib.Path) -> None:
    """Draws a panel for images and one for hours; a colour for every run, a dash for every set."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    dashes = ("-", "--", ":", "-.")
    for colour, (name, curve) in enumerate(curves.items()):
        for number, of in enumerate(sets):
            ys = [100 * p.accuracy[of] for p in curve if of in p.accuracy]
            for axis, xs in zip(
                axes, ([p.images for p in curve], [p.hours for p in curve]), strict=True
            ):
                style = {"color": f"C{colour}", "linestyle": dashes[number % len(dashes)]}
                axis.plot(xs[: len(ys)], ys, marker=".", label=f"{name}, {of}", **style)
    for axis, title in zip(axes, ("images seen", "hours of training"), strict=True):
        axis.set_xscale("log")
        axis.set_xlabel(title)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("word accuracy, %")
    axes[1].xaxis.set_major_formatter("{x:g}")
    axes[1].xaxis.set_minor_formatter("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--set", action="append", help="to show; default: all")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.png")
    args = parser.parse_args()
    curves = {run.name: points(run) for run in args.runs}
    known = dict.fromkeys(of for curve in curves.values() for p in curve for of in p.accuracy)
    sets = args.set or list(known)
    for name, curve in curves.items():
        print(f"\n| {name}: images | hours | {' | '.join(sets)} |\n|-|-|{'-|' * len(sets)}")
        for p in curve:
            cells = (f"{100 * p.accuracy[of]:.1f}" if of in p.accuracy else "" for of in sets)
            print(f"| {p.images:,} | {p.hours:.2f} | {' | '.join(cells)} |")
    draw(curves, sets, args.out)


if __name__ == "__main__":
    main()
