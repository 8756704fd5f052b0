"""What a sweep shows while it runs: a table that renews itself, or lines where nobody looks."""

from __future__ import annotations

import collections
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from crnn_jax.progress import duration
from crnn_jax.slurm import DONE, FAILED, RUNNING, WAITING
from crnn_jax.sweeps.estimate import together
from crnn_jax.sweeps.runs import LOG, Progress, Run, Sweep

_LOG = logging.getLogger("crnn_jax")
_EVERY = 60.0  # seconds between lines
_REDRAW = 2.0  # seconds between tables in which no run has another state
_MOST_ROWS = 30  # of a table of all runs
_AROUND = 8  # lines of the screen around the rows
_ALL = ""  # cells together; every cell has a name


class View:
    """Shows the states of runs; a context manager.

    Args:
      sweep: whose runs they are.
      total_steps: of each run, by cell's name; None where that is not known.
      jobs: runs side by side.
    """

    def __init__(self, sweep: Sweep, total_steps: Mapping[str, int | None], jobs: int):
        self._sweep, self._totals, self._jobs = sweep, total_steps, jobs
        self._before: dict[str, str] = {}
        self._done: dict[str, Progress] = {}  # what does not change any more
        self._said = 0.0
        self._live: Any = None

    def __enter__(self) -> View:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live:
            self._live.__exit__(*error)

    def update(self, states: Mapping[str, str], note: str = "") -> None:
        """Shows the states of runs by their names; those that are left out wait."""
        states = {run.name: states.get(run.name, WAITING) for run in self._sweep.runs}
        for run in self._sweep.runs:
            state = states[run.name]
            if state in (WAITING, self._before.get(run.name)):
                continue
            if state == FAILED:
                _LOG.warning("%s", _failure(run))
            elif not self._live:
                _LOG.info("%s: %s", run.name, state)
        changed, self._before = states != self._before, states
        age = time.monotonic() - self._said
        if self._live and (changed or age > _REDRAW):
            self._live.update(self._picture(states, note), refresh=True)
        elif not self._live and age > _EVERY:
            _LOG.info("%s", self._headline(states, note))
        else:
            return
        self._said = time.monotonic()

    def failures(self) -> list[str]:
        """Returns a line for every run that has failed, as it was last shown."""
        return [_failure(run) for run in self._sweep.runs if self._before.get(run.name) == FAILED]

    def summary(self, states: Mapping[str, str]) -> str:
        """Returns how many runs are done, and the time that is left."""
        count = {state: list(states.values()).count(state) for state in (DONE, FAILED, RUNNING)}
        failed = f", {count[FAILED]} failed" if count[FAILED] else ""
        left = self._left(states)
        eta = "" if left is None else f", about {duration(left)} left"
        return f"{count[DONE]} of {len(states)} runs done{failed}, {count[RUNNING]} under way{eta}"

    def _headline(self, states: Mapping[str, str], note: str) -> str:
        return self.summary(states) + (f"; {note}" if note else "")

    def _left(self, states: Mapping[str, str]) -> float | None:
        """Returns the seconds that are left, from what the steps of a cell so far have taken.

        A cell without steps is taken to be as fast as the others together. None before any steps,
        and where a run that is left is given in passes over data.
        """
        steps: dict[str, int] = collections.defaultdict(int)
        seconds: dict[str, float] = collections.defaultdict(float)
        rests: list[tuple[str, int]] = []
        for run in self._sweep.runs:
            state, progress = states[run.name], self._progress(run, states[run.name])
            for cell in (run.cell.name, _ALL):
                steps[cell] += progress.step
                seconds[cell] += progress.seconds
            if state in (WAITING, RUNNING):
                total = self._totals[run.cell.name]
                if total is None:
                    return None
                rests.append((run.cell.name, max(0, total - progress.step)))
        if not steps[_ALL]:
            return None
        of = {cell: cell if steps[cell] else _ALL for cell, _ in rests}
        return together(
            [rest * seconds[of[cell]] / steps[of[cell]] for cell, rest in rests], self._jobs
        )

    def _progress(self, run: Run, state: str) -> Progress:
        if state != DONE:
            return run.progress()
        if run.name not in self._done:
            self._done[run.name] = run.progress()
        return self._done[run.name]

    def _picture(self, states: Mapping[str, str], note: str) -> Any:
        """Returns what a terminal shows: the lower end is cut off where the screen is too small."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text  # which, unlike a string, takes no name for markup

        runs = self._sweep.runs
        if len(runs) > min(_MOST_ROWS, self._live.console.height - _AROUND):
            runs = [run for s in (RUNNING, FAILED) for run in runs if states[run.name] == s]
        table = Table()
        table.add_column("cell", no_wrap=True)
        for name in ("seed", "", "steps", "images/s", "left"):
            table.add_column(name, justify="right" if name else "left")
        for run in runs:
            state = states[run.name]
            colour = {RUNNING: "cyan", DONE: "green", FAILED: "red"}.get(state, "")
            cells = (Text(run.cell.name), str(run.seed), Text(state, colour))
            table.add_row(*cells, *self._cells(run, state))
        head = Text(self._sweep.question, "italic"), Text(self._headline(states, note))
        return Group(*head, table)

    def _cells(self, run: Run, state: str) -> tuple[str, str, str]:
        if state not in (RUNNING, DONE):
            return "", "", ""
        progress, total = self._progress(run, state), self._totals[run.cell.name]
        rate = f"{progress.rate:,.0f}" if progress.rate else ""
        left = ""
        if total is None:
            return f"{progress.step:,}", rate, left
        if state == RUNNING and progress.rate and progress.batch:
            left = duration((total - progress.step) * progress.batch / progress.rate)
        return f"{progress.step:,} / {total:,}", rate, left


def _failure(run: Run) -> str:
    return f"{run.name}: {FAILED}: {run.last_line()}; its log is {run.folder / LOG}"


def of_local(state: Any) -> dict[str, str]:
    """Returns the states of runs on this machine, by their names."""
    return (
        dict.fromkeys((run.name for run in state.done), DONE)
        | dict.fromkeys((run.name for run in state.failed), FAILED)
        | dict.fromkeys((job.run.name for job in state.jobs), RUNNING)
    )
