"""What benchmarks of learning share: runs of the command line, their scores, and a table."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence


def train(workdir: pathlib.Path, experiment: str, *arguments: str) -> None:
    """Trains a run, or goes on with it; a finished one is left as it is."""
    command = [sys.executable, "-m", "crnn_jax.main", f"--config={experiment}"]
    subprocess.run([*command, f"--workdir={workdir}", *arguments], check=True)


def evaluate(
    model: pathlib.Path | str, sets: Sequence[str], out: pathlib.Path | None = None
) -> dict[str, float]:
    """Returns a model's word accuracy on every SPEC: 36 characters, greedy.

    Args:
      model: a run or a bundle.
      sets: SPECs, each with a name of its own.
      out: file of the results; by default in the run's folder.
    """
    out = out or pathlib.Path(model) / "results.json"
    command = [sys.executable, "-m", "crnn_jax.evaluate", f"--model={model}", f"--out={out}"]
    data = [f"--data={spec}" for spec in sets]
    subprocess.run([*command, *data, "--protocol=36"], check=True, stdout=subprocess.DEVNULL)
    return {s["name"]: s["word_accuracy"] for s in json.loads(out.read_text())["sets"]}


def table(title: str, results: Mapping[str, Mapping[str, float]], form: str = ".3f") -> str:
    """Returns results as a Markdown table, a run to a line."""
    columns = list(next(iter(results.values())))
    lines = [f"| {title} | {' | '.join(columns)} |", f"|-|{'-|' * len(columns)}"]
    for name, row in results.items():
        lines.append(f"| {name} | {' | '.join(format(row[c], form) for c in columns)} |")
    return "\n" + "\n".join(lines)
