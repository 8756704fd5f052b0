"""How far a run is: a bar on a terminal, log lines elsewhere, and honest rates."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

_LOG = logging.getLogger("crnn_jax")


class Progress:
    """Counts steps and the time they take; evaluation and checkpoints are left out of the rate.

    Args:
      start: steps done before this call of the run.
      total: steps of the run.
      batch_size: images per step.
    """

    def __init__(self, start: int, total: int, batch_size: int):
        self._batch_size = batch_size
        self._done, self._total = start, total
        self._began = self._mark = time.perf_counter()
        self._away = 0.0  # seconds spent elsewhere since the mark
        self._marked_step = start
        self._bar = tqdm(
            total=total * batch_size,
            initial=start * batch_size,
            unit="img",
            unit_scale=True,
            desc="training",
            disable=None,  # shown on a terminal alone
            dynamic_ncols=True,
        )

    def first_step(self) -> None:
        """Says how long the first step took: it was compiled in it."""
        seconds = time.perf_counter() - self._began
        _LOG.info("first step done after %.1f s (compilation included)", seconds)
        self._mark, self._away, self._marked_step = time.perf_counter(), 0.0, self._done + 1

    def update(self) -> None:
        """Counts a step."""
        self._done += 1
        self._bar.update(self._batch_size)

    def rewind(self, step: int) -> None:
        """Goes back to a step."""
        self.rate()
        self._bar.update((step - self._done) * self._batch_size)
        self._done = self._marked_step = step

    def rate(self) -> float:
        """Returns images per second of training since the last call (NaN before a step is done)."""
        now = time.perf_counter()
        seconds = now - self._mark - self._away
        images = (self._done - self._marked_step) * self._batch_size
        self._mark, self._away, self._marked_step = now, 0.0, self._done
        return images / seconds if images and seconds > 0 else float("nan")

    def show(self, step: int, loss: float, rate: float) -> None:
        """Shows the loss beside the bar, or logs a line where there is no terminal."""
        self._bar.set_postfix_str(f"loss {loss:.3f}")
        if self._bar.disable:
            left = (self._total - step) * self._batch_size / rate if rate > 0 else float("nan")
            eta = f"{left // 60:.0f}:{left % 60:02.0f}" if left == left else "?"
            _LOG.info(
                "step %d of %d  loss %.3f  %.0f images/s  ETA %s",
                step, self._total, loss, rate, eta,
            )  # fmt: skip

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps what happens inside out of the rate."""
        start = time.perf_counter()
        yield
        self._away += time.perf_counter() - start

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


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
