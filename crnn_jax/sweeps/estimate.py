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


def together(each: Sequence[float], jobs: int) -> float:
    """Returns how long runs take side by side: never less than the longest of them."""
    return max(sum(each) / min(jobs, len(each)), *each) if each else 0.0


def describe(sweep: Sweep, jobs: int) -> str:
    """Returns the runs of a sweep with their estimated times, a line each.

    The first cell's step is compiled and timed; the others are taken to be as much slower as they
    have more arithmetic. Evaluations are left out, and so is what runs lose side by side.

    Args:
      sweep: what is to run.
      jobs: most runs side by side.
    """
    from crnn_jax import dry_run, flops, train
    from crnn_jax.recognizer import preprocess_of

    first = sweep.configs[0]
    cost = dry_run.measure(first)
    passes = {}  # images of a pass over data, by SPEC
    if total_steps(first) is None:
        passes[first.data.train] = cost.steps * first.batch_size / first.total_epochs
    per_flop = None
    lines, left = [], []
    for cell, config in zip(sweep.cells, sweep.configs, strict=True):
        steps = cost.steps if config is first else _steps(config, passes)
        model, _, _ = train.build(config, cost.classes, warmup=0, total=1)
        width = preprocess_of(config).widest
        work = flops.per_image(config, model, width) * config.batch_size * steps
        per_flop = per_flop or (cost.seconds - cost.compiling) / work
        seconds = per_flop * work + cost.compiling
        for run in (run for run in sweep.runs if run.cell is cell):
            left += [] if run.is_done else [seconds]
            state = "done" if run.is_done else f"about {progress.duration(seconds)}"
            lines.append((run.name, f"{steps:,} steps", state))
    beside = min(jobs, len(left))
    time = progress.duration(together(left, jobs))
    return "\n".join(
        [*cli.aligned(lines), f"{len(left)} runs, {beside} side by side: about {time}"]
    )


def _steps(config: ConfigDict, passes: dict[str, float]) -> int:
    """Returns the steps of a run.

    Args:
      config: of the run.
      passes: images of a pass over data, by SPEC; data that are not there are opened.

    Raises:
      UserError: for epochs of data without end, or data that cannot be read.
    """
    if (steps := total_steps(config)) is not None:
        return steps
    data = config.data.train
    if data not in passes:
        from crnn_jax import dry_run

        if (per_epoch := dry_run.open_data(config).steps_per_epoch) is None:
            return durations.steps(config, "total", None)  # which says what is wrong
        passes[data] = per_epoch * config.batch_size
    return durations.steps(config, "total", max(1, round(passes[data] / config.batch_size)))
