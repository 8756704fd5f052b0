"""Runs tasks as a job array of SLURM, through submitit; needs the extra `slurm`.

A job that reaches its time limit, or is preempted, is told to stop, is queued again and goes on.
Jobs outlive the command that submitted them: the same command looks at them again.
"""

from __future__ import annotations

import dataclasses
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

_LOG = logging.getLogger("crnn_jax")
_POLL = 2.0  # seconds
_GRACE = 20.0  # seconds in which a file may become visible after its job has ended
_ANSWER = 60.0  # seconds that squeue may take
_PATIENCE = 600.0  # seconds for which it may fail, as while its controller is started anew
_NOTICE = 90  # seconds before its time limit at which a job is told
_GOES_ON = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING")

LAUNCHERS = LOCAL, SLURM = ("local", "slurm")
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

Show = Callable[[Mapping[str, str]], None]


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a job may use of a cluster: minutes, cores, GPUs, memory, partition."""

    minutes: int = 60
    cpus: int = 2
    gpus: int = 0
    memory_gb: int = 8
    partition: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a job does.

    Attributes:
      name: tells it from the others, also when they are looked at again.
      call: does it, or goes on with it; returns an exit code, and is pickled. SIGTERM is to stop
        it where it can go on.
      log: file for what it prints.
      is_done: whether there is nothing left to do.
    """

    name: str
    call: Callable[[], int]
    log: pathlib.Path
    is_done: Callable[[], bool]


class _Job:
    """A job; submitit pickles it."""

    def __call__(self, call: Callable[[], int], log: pathlib.Path) -> None:
        """Does what a task says; asked to stop, it lets it stop and is queued again."""
        queue_again: Any = signal.getsignal(signal.SIGUSR2)  # submitit's
        asked: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            asked.append(number)
            os.kill(os.getpid(), signal.SIGTERM)

        def end(number: int, frame: FrameType | None) -> None:
            raise SystemExit(cli.FAILED)  # the task does not listen yet, or no longer

        signal.signal(signal.SIGUSR2, stop)
        signal.signal(signal.SIGTERM, end)
        with open(log, "ab") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        cli.settle_process()
        try:
            code = call()
        except SystemExit:
            code = cli.FAILED
        if code and asked:
            queue_again(signal.SIGUSR2, None)
        if code:
            raise RuntimeError(f"not done; see {log}")

    def checkpoint(self, *arguments: Any) -> Any:
        """Returns the job that goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def launch(
    name: str, folder: pathlib.Path, tasks: Sequence[Task], needs: Resources, jobs: int, show: Show
) -> bool:
    """Submits what is missing and not queued yet, and waits; returns whether all is done.

    Args:
      name: of the jobs, in the queue.
      folder: for the jobs' numbers and scripts; the nodes see it.
      tasks: all that there are.
      needs: of each.
      jobs: most of them at a time; 0: as many as the cluster takes.
      show: is called with the states of tasks by their names; those that are left out wait.

    Raises:
      UserError: when submitit or SLURM is missing, refuses the jobs, or is silent for minutes.
    """
    queue = _Queue(name, folder)
    ended: dict[str, float] = {}  # when a task was first seen in no queue
    with StopSignal() as stop:  # a stop between sbatch and the file of numbers would lose them
        queued = queue.states()
        queue.submit([t for t in tasks if not t.is_done() and t.name not in queued], needs, jobs)
        while not stop.requested:
            states, queued, waiting = {}, queue.states(), False
            for task in tasks:
                if task.is_done():
                    states[task.name] = DONE
                elif task.name in queued:
                    waiting = True
                    ended.pop(task.name, None)
                    if queued[task.name] in _GOES_ON:
                        states[task.name] = RUNNING
                elif time.monotonic() - ended.setdefault(task.name, time.monotonic()) > _GRACE:
                    states[task.name] = FAILED
                else:
                    waiting = True
            show(states)
            if not waiting:
                return all(task.is_done() for task in tasks)
            time.sleep(_POLL)
    _LOG.warning(
        "the jobs go on; the same command looks at them again, and scancel %s stops them",
        " ".join(queue.arrays()),
    )
    return False


def check_idle(folder: pathlib.Path) -> None:
    """Checks that none of the jobs of a folder is queued or runs: their work would be done twice.

    Raises:
      UserError: some are. Where no SLURM answers that cannot be known, and is told.
    """
    queue = _Queue("", folder)
    try:
        count = len(queue.states())
    except UserError as error:
        _LOG.warning("jobs %s may still go on: %s", " ".join(queue.arrays()), error)
        return
    if count:
        raise UserError(
            f"{count} jobs of SLURM are at it: wait for them with --launcher=slurm, or stop them, "
            f"scancel {' '.join(queue.arrays())}"
        )


def last_line(log: pathlib.Path) -> str:
    """Returns the last line of a log."""
    try:
        lines = [line for line in files.tail(log) if line.strip()]
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it wrote nothing"


class _NoAnswer(Exception):
    """SLURM does not tell of its jobs."""


def _squeue() -> dict[str, str]:
    """Returns the states of this user's jobs by their numbers; raises `_NoAnswer`."""
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ANSWER)
    except FileNotFoundError:
        raise UserError("--launcher=slurm: no squeue here; run it on a SLURM cluster") from None
    except subprocess.TimeoutExpired:
        raise _NoAnswer(f"squeue does not answer in {_ANSWER:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise _NoAnswer(f"squeue says {error.stderr.strip() or error}") from None
    return dict(line.split() for line in done.stdout.splitlines() if line.strip())


class _Queue:
    """Jobs whose numbers are kept in a folder."""

    def __init__(self, name: str, folder: pathlib.Path):
        self._name = name
        self._folder = folder.resolve()
        self._file = self._folder / "jobs.json"
        self._ids: dict[str, str] = {}
        self._last: dict[str, str] = {}  # states
        self._answered: float | None = None  # when they were told, or jobs taken
        if self._file.is_file():
            self._ids = files.read_json(self._file)

    def arrays(self) -> list[str]:
        """Returns the numbers of the job arrays."""
        return list(dict.fromkeys(number.partition("_")[0] for number in self._ids.values()))

    def states(self) -> dict[str, str]:
        """Returns what SLURM calls the states of the jobs that it still knows, by task's name.

        Where it does not answer, the last ones stay for minutes.

        Raises:
          UserError: it does not answer now, for the first time, or for too long.
        """
        if not self._ids:
            return {}
        try:
            known = _squeue()
        except _NoAnswer as error:
            if self._answered is None or time.monotonic() - self._answered > _PATIENCE:
                raise UserError(
                    f"--launcher=slurm: {error}; jobs go on, and the same command looks at them "
                    "again"
                ) from None
            return self._last
        self._answered = time.monotonic()
        self._last = {name: known[n] for name, n in self._ids.items() if n in known}
        return self._last

    def submit(self, tasks: Sequence[Task], needs: Resources, jobs: int) -> None:
        """Submits tasks as one array."""
        if not tasks:
            return
        try:
            import submitit
        except ImportError:
            raise UserError(
                "--launcher=slurm needs submitit: pip install 'crnn_jax[slurm]'"
            ) from None
        parameters = {
            "name": self._name,
            "timeout_min": needs.minutes,
            "cpus_per_task": needs.cpus,
            "mem_gb": needs.memory_gb,
            "slurm_array_parallelism": jobs or len(tasks),
            "slurm_signal_delay_s": _NOTICE,
            "slurm_additional_parameters": {"requeue": True},
        }
        if needs.gpus:
            parameters["gpus_per_node"] = needs.gpus
        if needs.partition:
            parameters["slurm_partition"] = needs.partition
        try:
            executor = submitit.AutoExecutor(
                self._folder, cluster="slurm", slurm_max_num_timeout=1000
            )
            executor.update_parameters(**parameters)
            calls, logs = [t.call for t in tasks], [t.log.resolve() for t in tasks]
            submitted = executor.map_array(_Job(), calls, logs)
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise UserError(f"--launcher=slurm: {' '.join(str(error).split())}") from None
        self._ids |= {task.name: job.job_id for task, job in zip(tasks, submitted, strict=True)}
        files.write_json(self._file, self._ids)
        self._last |= dict.fromkeys((task.name for task in tasks), "PENDING")
        self._answered = time.monotonic()
        _LOG.info("%d jobs submitted; their logs: %s", len(tasks), logs[0].parent)
