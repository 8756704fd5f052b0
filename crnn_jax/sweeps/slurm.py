"""Runs a sweep as a job array of SLURM: what is preempted is saved, and goes on exactly."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping

from crnn_jax import slurm
from crnn_jax.sweeps import work
from crnn_jax.sweeps.runs import LOG, Run, Sweep

_FOLDER = "slurm"  # of a sweep: what is known of its jobs


def launch(sweep: Sweep, jobs: int, show: Callable[[Mapping[str, str]], None]) -> bool:
    """Submits what is missing and not queued yet, and waits; returns whether all runs are done.

    Args:
      sweep: to run; its folder lies where the nodes see it.
      jobs: most of its jobs at a time; 0: as many as the cluster takes.
      show: is called with the states of the runs.

    Raises:
      UserError: when submitit or SLURM is missing, or refuses the jobs.
    """
    for run in sweep.runs:
        if not run.is_done:
            sweep.prepare(run)
    return slurm.launch(
        f"sweep_{sweep.folder.name}",
        sweep.folder / _FOLDER,
        [_task(run) for run in sweep.runs],
        sweep.needs,
        jobs,
        show,
    )


def check_idle(sweep: Sweep) -> None:
    """Checks that no job of a sweep is queued or runs; raises as `slurm.check_idle`."""
    slurm.check_idle(sweep.folder / _FOLDER)


def _work(folder: str) -> int:
    sys.argv = [work.__file__, folder]  # as which `run.json` names the command that goes on
    return work.work(folder)


def _task(run: Run) -> slurm.Task:
    folder = run.folder.resolve()
    return slurm.Task(
        run.name, functools.partial(_work, str(folder)), folder / LOG, lambda: run.is_done
    )
