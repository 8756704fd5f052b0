"""How long a sweep will take, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

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

    configs = [cli.load_experiment(sweep.experiment, cell.overrides(0)) for cell in sweep.cells]
    cost = dry_run.measure(configs[0])
    per_flop = None
    lines, total = [], 0.0
    for cell, config in zip(sweep.cells, configs, strict=True):
        steps = total_steps(config) or cost.steps
        model, _, _ = train.build(config, cost.classes, warmup=0, total=1)
        work = flops.per_image(config, model, cost.width) * config.batch_size * steps
        per_flop = per_flop or (cost.seconds - cost.compiling) / work
        seconds = per_flop * work + cost.compiling
        for seed in range(sweep.seeds):
            run = next(r for r in sweep.runs if r.cell is cell and r.seed == seed)
            left = 0.0 if run.is_done else seconds
            total += left
            state = "done" if run.is_done else f"about {progress.duration(left)}"
            lines.append((run.name, f"{steps:,} steps", state))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) for line in lines]
    count = sum("about" in line[2] for line in lines)
    told.append(f"{count} runs, {jobs} side by side: about {progress.duration(total / jobs)}")
    return "\n".join(_strip(told))


def _strip(lines: Sequence[str]) -> list[str]:
    return [line.rstrip() for line in lines]
