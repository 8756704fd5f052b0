"""How far a run is: a bar on a terminal, log lines elsewhere, and honest rates."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tqdm import tqdm

_LOG = logging.getLogger("crnn_jax")


class Pace(NamedTuple):
    """How fast training is; NaN where no step has been timed."""

    images_per_second: float
    waiting: float  # share of the time spent waiting for data
    utilisation: float | None  # of what the devices can do; None where that is not known


class Progress:
    """Counts steps and the time they take; evaluation and checkpoints are left out of the rate.

    Args:
      start: steps done before this call of the run.
      total: steps of the run.
      images: gives the images of all steps before a step.
      peak: floating-point operations per second that the devices can do; None: not known.
    """

    def __init__(
        self, start: int, total: int, images: Callable[[int], int], peak: float | None = None
    ):
        self._images, self._peak = images, peak
        self._done, self._total = start, total
        self._began = time.perf_counter()
        self._restart(start)
        self._bar = tqdm(
            total=images(total),
            initial=images(start),
            unit="img",
            unit_scale=True,
            desc="training",
            disable=None,  # shown on a terminal alone
            dynamic_ncols=True,
        )

    def first_step(self, step: int) -> float:
        """Leaves the first step, up to `step`, out of the rate; returns the seconds it took."""
        seconds = time.perf_counter() - self._began
        self._restart(step)
        return seconds

    def _restart(self, step: int) -> None:
        self._mark, self._marked_step = time.perf_counter(), step
        self._away = self._waited = self._work = 0.0

    def update(self, steps: int = 1, work: float = 0.0) -> None:
        """Counts steps, and the floating-point operations of each image in them."""
        images = self._between(self._done, self._done + steps)
        self._done += steps
        self._work += images * work
        self._bar.update(images)

    def rewind(self, step: int) -> None:
        """Goes back to a step."""
        self._bar.update(self._between(self._done, step))
        self._done = step
        self._restart(step)

    def pace(self) -> Pace:
        """Returns how fast training has been since the last call."""
        seconds = time.perf_counter() - self._mark - self._away
        images = self._between(self._marked_step, self._done)
        waited, work = self._waited, self._work
        self._restart(self._done)
        if not images or seconds <= 0:
            return Pace(float("nan"), float("nan"), None)
        utilisation = work / seconds / self._peak if self._peak else None
        return Pace(images / seconds, min(waited / seconds, 1.0), utilisation)

    def show(self, step: int, loss: float, pace: Pace) -> None:
        """Shows the loss beside the bar, or logs a line where there is no terminal."""
        self._bar.set_postfix_str(f"loss {loss:.3f}{_use(pace)}")
        if self._bar.disable:
            line = f"step {step} of {self._total}  loss {loss:.3f}"
            _LOG.info("%s%s", line, self._told(step, pace))

    def _told(self, step: int, pace: Pace) -> str:
        """Returns how fast it goes, for a log line; nothing where no step was timed."""
        rate = pace.images_per_second
        if not rate > 0:
            return ""
        left = duration(self._between(step, self._total) / rate)
        return f"  {rate:.0f} images/s{_use(pace)}  ETA {left}"

    def _between(self, start: int, stop: int) -> int:
        """Returns the images of the steps from one to before another."""
        return self._images(stop) - self._images(start)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts what happens inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps what happens inside out of the rate."""
        start = time.perf_counter()
        yield
        self._away += time.perf_counter() - start

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


def duration(seconds: float) -> str:
    """Returns a time as minutes and seconds, 15:04, or from an hour on as 2:15:04."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}:{minutes_left:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _use(pace: Pace) -> str:
    """Returns how well the devices are used; nothing where no step was timed."""
    if not pace.images_per_second > 0:
        return ""
    used = f"  MFU {pace.utilisation:.1%}" if pace.utilisation is not None else ""
    return f"  waiting for data {100 * pace.waiting:.0f} %{used}"


class _BarAwareHandler(logging.StreamHandler):
    """Writes above a running bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def start_logging() -> None:
    """Sends the package's log lines to stderr; called by the command lines."""
    if not _LOG.handlers:
        handler = _BarAwareHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        _LOG.addHandler(handler)
        _LOG.setLevel(logging.INFO)
        _LOG.propagate = False
