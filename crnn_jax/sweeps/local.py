"""Runs a sweep on this machine: runs side by side, each with cores, or a GPU, of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from crnn_jax import cli, slots
from crnn_jax.signals import StopSignal
from crnn_jax.sweeps.runs import LOG, Run, Sweep

_LOG = logging.getLogger("crnn_jax")
_POLL = 0.5  # seconds
_FIRST_GUESS = 1.5e9  # bytes that a run needs, before one has shown what it does
_SPARE = 1.25  # times that must be free for another


@dataclasses.dataclass
class Job:
    """A run under way in a process of its own."""

    run: Run
    slot: int
    process: subprocess.Popen


@dataclasses.dataclass
class State:
    """Where the runs of a sweep are; those in no list wait."""

    done: list[Run]
    failed: list[Run]
    jobs: list[Job]
    waiting: list[Run]
    note: str = ""


def launch(sweep: Sweep, jobs: int, show: Callable[[State], None]) -> State:
    """Runs what is missing of a sweep, and returns how it ended.

    A run that fails stops nothing else. A signal is passed on: runs save what they have done, and
    the same sweep goes on with them.

    Args:
      sweep: to run.
      jobs: most runs side by side; 0: `slots.default_jobs`. Memory may allow fewer.
      show: is called with the state, twice a second.
    """
    gpus, cores = slots.available_gpus(), slots.available_cores()
    runs = sweep.runs
    done = {run for run in runs if run.is_done}
    state = State(
        [run for run in runs if run in done], [], [], [run for run in runs if run not in done]
    )
    # A sweep of fewer runs than cores gives them more each. Not by what is left of it: a run that
    # goes on has as many cores as it began with, or it would add up in another order (where they
    # do not divide evenly, slots differ by one).
    count = min(jobs or slots.default_jobs(gpus, cores), len(runs))
    with StopSignal() as stop:
        try:
            while (state.waiting or state.jobs) and not stop.requested:
                _collect(state)
                free = [s for s in range(count) if s not in {job.slot for job in state.jobs}]
                if state.waiting and free and _fits(state):
                    run = state.waiting.pop(0)
                    sweep.prepare(run)
                    process = _start(run, free[0], count, gpus, cores)
                    state.jobs.append(Job(run, free[0], process))
                show(state)
                time.sleep(_POLL)
        finally:
            for job in state.jobs:
                job.process.send_signal(signal.SIGTERM)
            for job in state.jobs:
                job.process.wait()
            _collect(state, stopped=True)
            show(state)
    if stop.requested and state.waiting:
        _LOG.warning(
            "stopped; %d of %d runs done; the same command goes on", len(state.done), len(runs)
        )
    return state


def _collect(state: State, stopped: bool = False) -> None:
    """Sorts the runs that have ended into done and failed."""
    for job in list(state.jobs):
        if job.process.poll() is None:
            continue
        state.jobs.remove(job)
        if job.process.returncode == cli.DONE and job.run.is_done:
            state.done.append(job.run)
        elif stopped:
            state.waiting.append(job.run)
        else:
            if job.process.returncode < 0:
                _tell_signal(job)
            state.failed.append(job.run)


def _tell_signal(job: Job) -> None:
    """Ends the log of a run with what has ended it, of which the run itself could say nothing."""
    number = -job.process.returncode
    known = {found.value: found.name for found in signal.Signals}  # others are of real time
    reason = f"ended by {known.get(number, f'signal {number}')}"
    if number == signal.SIGKILL:
        reason += ", as the system does when memory runs out: try fewer --jobs"
    with (
        contextlib.suppress(OSError),  # of a full disk: the other runs go on
        open(job.run.folder / LOG, "a", encoding="utf-8") as log,
    ):
        log.write(f"\n{reason}; the same command goes on with it\n")


def _start(
    run: Run, slot: int, count: int, gpus: Sequence[str], cores: Sequence[int]
) -> subprocess.Popen:
    """Starts the worker of a run, with its share of the cores and the GPU of its slot."""
    variables, own = slots.share(slot, count, gpus, cores)
    command = [sys.executable, "-m", "crnn_jax.sweeps.work", str(run.folder)]
    with open(run.folder / LOG, "ab") as log:
        return subprocess.Popen(
            [*command, f"--cores={','.join(map(str, own))}", f"--parent={os.getpid()}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **variables},
            start_new_session=True,  # Ctrl-C is ours to pass on
        )


def _fits(state: State) -> bool:
    """Says whether there is memory for one more run; the first one is always tried."""
    if not state.jobs:
        return True
    peaks = [slots.kernel_bytes(f"/proc/{job.process.pid}/status", "VmHWM") for job in state.jobs]
    known = [peak for peak in peaks if peak is not None]
    free = slots.free_memory()
    if len(known) < len(peaks):
        return True
    # What those under way will still take, and one more.
    need = max(_FIRST_GUESS, *known)
    fits = free > _SPARE * need + sum(max(0, need - peak) for peak in known)
    state.note = "" if fits else f"{free / 1e9:.1f} GB free: no memory for another run"
    return fits
