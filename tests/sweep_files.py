"""Sweeps for tests: an experiment's file, and runs that look finished."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

EXPERIMENT = '''"""Does it matter?

More about it.
"""
from crnn_jax import cli

def get_config(arg=""):
    return cli.load_experiment("quickstart:smoke", {knobs})

def sweep(add):
    {body}
'''
TWO_CELLS = 'add("base"); add("GRU", {"model.recurrence": "gru"}); add.seeds(2)'
FIGURES = {
    "protocol": "36",
    "sets": [],
    "parameters": 1_000_000,
    "megaflops": 128.0,
    "images_per_second": 200.0,
    "minutes": 2.0,
}


def write_experiment(
    folder: pathlib.Path, body: str = TWO_CELLS, knobs: Sequence[tuple[str, str]] = ()
) -> str:
    """Writes an experiment with a sweep and returns its path."""
    path = folder / "mine.py"
    text = EXPERIMENT.replace("{body}", body).replace("{knobs}", repr(list(knobs)))
    path.write_text(text, encoding="utf-8")
    return str(path)


def finish(
    run: pathlib.Path, readings: Mapping[str, Sequence[tuple[str, str]]], minutes: float = 2.0
) -> None:
    """Makes a folder look like a run that is done, from (label, reading) of every set."""
    run.mkdir(parents=True, exist_ok=True)
    for name, rows in readings.items():
        lines = [f"{i}.png\t{label}\t{read}\t0.500000\n" for i, (label, read) in enumerate(rows)]
        (run / f"readings_{name}.tsv").write_text("".join(lines), encoding="utf-8")
    figures = FIGURES | {"sets": list(readings), "minutes": float(minutes)}
    (run / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
