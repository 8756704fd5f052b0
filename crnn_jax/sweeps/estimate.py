"""How long a sweep will take, before it runs."""

from __future__ import annotations

from ml_collections import ConfigDict

from crnn_jax import cli, durations, progress
from crnn_jax.errors import UserError
from crnn_jax.sweeps.runs import Sweep


def total_steps(config: ConfigDict) -> int | None:
    """Returns the length of a run in steps; None where it is given in passes over data."""
    try:
        return durations.steps(config, "total", None)
    except UserError:
        return None


def describe(sweep: Sweep, jobs: int) -> str:
    """Returns the runs of a sweep with their estimated times, a line each.

    The first cell's step is compiled and timed; the others are taken to be as much slower as they
    have more arithmetic. Evaluations are left out, and so is what runs lose side by side.

    Args:
      sweep: what is to run.
      jobs: runs side by side.
    """
    from crnn_jax import dry_run, flops, train
    from crnn_jax.recognizer import preprocess_of

    cost = dry_run.measure(sweep.configs[0])
    per_flop = None
    lines, left = [], []
    for cell, config in zip(sweep.cells, sweep.configs, strict=True):
        steps = total_steps(config) or cost.steps
        model, _, _ = train.build(config, cost.classes, warmup=0, total=1)
        width = preprocess_of(config).widest
        work = flops.per_image(config, model, width) * config.batch_size * steps
        per_flop = per_flop or (cost.seconds - cost.compiling) / work
        seconds = per_flop * work + cost.compiling
        for run in (run for run in sweep.runs if run.cell is cell):
            left += [] if run.is_done else [seconds]
            state = "done" if run.is_done else f"about {progress.duration(seconds)}"
            lines.append((run.name, f"{steps:,} steps", state))
    total = f"{len(left)} runs, {jobs} side by side: about {progress.duration(sum(left) / jobs)}"
    return "\n".join([*cli.aligned(lines), total])
