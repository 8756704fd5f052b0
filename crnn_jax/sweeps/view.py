"""What a sweep shows while it runs: a table that renews itself, or lines where nobody looks."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from crnn_jax.progress import duration
from crnn_jax.slurm import DONE, FAILED, RUNNING, WAITING
from crnn_jax.sweeps.runs import Run, Sweep

_LOG = logging.getLogger("crnn_jax")
_EVERY = 60.0  # seconds between lines


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
        if self._live:
            self._live.update(self._table(states, note), refresh=True)
            return
        for run in self._sweep.runs:
            state = states[run.name]
            if state not in (WAITING, self._before.get(run.name)):
                last = f": {run.last_line()}; its log is {run.folder}" if state == FAILED else ""
                _LOG.info("%s: %s%s", run.name, state, last)
        self._before = states
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            _LOG.info("%s%s", self.summary(states), f"; {note}" if note else "")

    def summary(self, states: Mapping[str, str]) -> str:
        """Returns how many runs are done, and the time that is left."""
        count = {state: list(states.values()).count(state) for state in (DONE, FAILED, RUNNING)}
        failed = f", {count[FAILED]} failed" if count[FAILED] else ""
        left = self._left(states)
        eta = "" if left is None else f", about {duration(left)} left"
        return f"{count[DONE]} of {len(states)} runs done{failed}, {count[RUNNING]} under way{eta}"

    def _left(self, states: Mapping[str, str]) -> float | None:
        """Returns the seconds that are left, from what the steps so far have taken.

        None before any, and where a run that is left is given in passes over data.
        """
        steps, seconds, rest = 0, 0.0, 0
        for run in self._sweep.runs:
            state, progress = states[run.name], run.progress()
            steps, seconds = steps + progress.step, seconds + progress.seconds
            if state in (WAITING, RUNNING):
                total = self._totals[run.cell.name]
                if total is None:
                    return None
                rest += max(0, total - progress.step)
        return rest * seconds / steps / self._jobs if steps else None

    def _table(self, states: Mapping[str, str], note: str) -> Any:
        from rich.table import Table

        caption = self.summary(states) + (f"; {note}" if note else "")
        table = Table(title=self._sweep.question, caption=caption, title_justify="left")
        for name in ("cell", "seed", "", "steps", "images/s", "left"):
            table.add_column(name, justify="left" if name in ("cell", "") else "right")
        for run in self._sweep.runs:
            state = states[run.name]
            if state == WAITING and len(states) > 30:
                continue
            table.add_row(run.cell.name, str(run.seed), _painted(state), *self._cells(run, state))
        return table

    def _cells(self, run: Run, state: str) -> tuple[str, str, str]:
        if state not in (RUNNING, DONE):
            return "", "", ""
        progress, total = run.progress(), self._totals[run.cell.name]
        rate = f"{progress.rate:,.0f}" if progress.rate else ""
        left = ""
        if total is None:
            return f"{progress.step:,}", rate, left
        if state == RUNNING and progress.rate and progress.batch:
            left = duration((total - progress.step) * progress.batch / progress.rate)
        return f"{progress.step:,} / {total:,}", rate, left


def _painted(state: str) -> str:
    colour = {RUNNING: "cyan", DONE: "green", FAILED: "red"}.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def of_local(state: Any) -> dict[str, str]:
    """Returns the states of runs on this machine, by their names."""
    return (
        dict.fromkeys((run.name for run in state.done), DONE)
        | dict.fromkeys((run.name for run in state.failed), FAILED)
        | dict.fromkeys((job.run.name for job in state.jobs), RUNNING)
    )
