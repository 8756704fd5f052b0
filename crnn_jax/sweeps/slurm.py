"""Runs a sweep as a job array of SLURM, through submitit; needs the extra `slurm`.

A job that reaches its time limit, or is preempted, saves its run, is queued again and goes on
exactly. Jobs outlive the command that submitted them: the same command looks at them again.
"""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from crnn_jax import cli, files
from crnn_jax.errors import UserError
from crnn_jax.signals import StopSignal
from crnn_jax.sweeps.runs import LOG, Run, Sweep
from crnn_jax.sweeps.view import DONE, FAILED, RUNNING

_LOG = logging.getLogger("crnn_jax")
_POLL = 2.0  # seconds
_GRACE = 20.0  # seconds in which a file may become visible after its job has ended
_NOTICE = 90  # seconds before its time limit at which a job is told
_GOES_ON = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING")

Show = Callable[[Mapping[str, str], str], None]


class Job:
    """What a job does; submitit pickles it."""

    def __call__(self, folder: str) -> None:
        """Runs the run of a folder; asked to stop, it saves the run and is queued again."""
        queue_again: Any = signal.getsignal(signal.SIGUSR2)  # submitit's
        asked: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            asked.append(number)
            os.kill(os.getpid(), signal.SIGTERM)  # at which training saves and stops

        signal.signal(signal.SIGUSR2, stop)
        with open(pathlib.Path(folder) / LOG, "ab") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        cli.settle_process()
        from crnn_jax.sweeps.work import work

        code = work(folder)
        if code and asked:
            queue_again(signal.SIGUSR2, None)
        if code:
            raise RuntimeError(f"{folder}: not done; see {LOG} there")

    def checkpoint(self, folder: str) -> Any:
        """Returns the job that goes on with a run."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def launch(sweep: Sweep, jobs: int, show: Show) -> bool:
    """Submits what is missing and not queued yet, and waits; returns whether all runs are done.

    Args:
      sweep: to run; its folder lies where the nodes see it.
      jobs: most of its jobs at a time; 0: as many as the cluster takes.
      show: is called with the states of the runs and a note.

    Raises:
      UserError: when submitit or SLURM is missing, or refuses the jobs.
    """
    queue = _Queue(sweep)
    missing = [run for run in sweep.runs if not run.is_done]
    queued = queue.states()
    queue.submit([run for run in missing if run.name not in queued], jobs)
    ended: dict[str, float] = {}  # when a run was first seen in no queue
    with StopSignal() as stop:
        while not stop.requested:
            states, queued, waiting = {}, queue.states(), False
            for run in sweep.runs:
                if run.is_done:
                    states[run.name] = DONE
                elif run.name in queued:
                    waiting = True
                    ended.pop(run.name, None)
                    if queued[run.name] in _GOES_ON:
                        states[run.name] = RUNNING
                elif time.monotonic() - ended.setdefault(run.name, time.monotonic()) > _GRACE:
                    states[run.name] = FAILED
                else:
                    waiting = True
            show(states, "")
            if not waiting:
                return all(run.is_done for run in sweep.runs)
            time.sleep(_POLL)
    _LOG.warning(
        "the jobs go on; the same command looks at them again, and scancel %s stops them",
        " ".join(queue.arrays()),
    )
    return False


class _Queue:
    """The jobs of a sweep, whose numbers are kept in its folder."""

    def __init__(self, sweep: Sweep):
        self._sweep = sweep
        self._folder = sweep.folder.resolve() / "slurm"
        self._file = self._folder / "jobs.json"
        self._ids: dict[str, str] = {}
        if self._file.is_file():
            self._ids = files.read_json(self._file)

    def arrays(self) -> list[str]:
        """Returns the numbers of the job arrays."""
        return list(dict.fromkeys(number.partition("_")[0] for number in self._ids.values()))

    def states(self) -> dict[str, str]:
        """Returns what SLURM calls the states of the jobs that it still knows, by run's name."""
        if not self._ids:
            return {}
        command = ["squeue", "--noheader", "--array", "--me", "--format=%i %T"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise UserError("--launcher=slurm: no squeue here; run it on a SLURM cluster") from None
        except subprocess.CalledProcessError as error:
            raise UserError(f"--launcher=slurm: squeue says {error.stderr.strip()}") from None
        known = dict(line.split() for line in done.stdout.splitlines() if line.strip())
        return {name: known[number] for name, number in self._ids.items() if number in known}

    def submit(self, runs: Sequence[Run], jobs: int) -> None:
        """Submits runs as one array."""
        if not runs:
            return
        try:
            import submitit
        except ImportError:
            raise UserError(
                "--launcher=slurm needs submitit: pip install 'crnn_jax[slurm]'"
            ) from None
        needs = self._sweep.needs
        parameters = {
            "name": f"sweep_{self._sweep.folder.name}",
            "timeout_min": needs.minutes,
            "cpus_per_task": needs.cpus,
            "mem_gb": needs.memory_gb,
            "slurm_array_parallelism": jobs or len(runs),
            "slurm_signal_delay_s": _NOTICE,
            "slurm_additional_parameters": {"requeue": True},
        }
        if needs.gpus:
            parameters["gpus_per_node"] = needs.gpus
        if needs.partition:
            parameters["slurm_partition"] = needs.partition
        for run in runs:
            self._sweep.prepare(run)
        try:
            executor = submitit.AutoExecutor(
                self._folder, cluster="slurm", slurm_max_num_timeout=1000
            )
            executor.update_parameters(**parameters)
            submitted = executor.map_array(Job(), [str(run.folder.resolve()) for run in runs])
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise UserError(f"--launcher=slurm: {' '.join(str(error).split())}") from None
        self._ids |= {run.name: job.job_id for run, job in zip(runs, submitted, strict=True)}
        files.write_json(self._file, self._ids)
        _LOG.info("%d jobs submitted; their logs lie beside the runs", len(runs))
