"""What a run writes while it trains: metrics.jsonl, TensorBoard events, pictures."""

from __future__ import annotations

import functools
import json
import logging
import math
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from crnn_jax import evaluate, files, metric_lines, pictures
from crnn_jax.data.images import Preprocess
from crnn_jax.data.sources import Source
from crnn_jax.errors import UserError
from crnn_jax.metric_lines import METRICS_FILE
from crnn_jax.progress import Pace

_LOG = logging.getLogger("crnn_jax")

_BLANK_SHARE = 0.99  # of readings that are empty: the network says nothing yet
_BLANK_IMAGES = 150_000  # images after which that is no longer the usual start of CTC training


@functools.cache
def _summary_writer() -> type:
    """Returns TensorBoard's writer, without PyTorch, which tensorboardX loads where it finds it.

    That would take seconds, and memory; it is of use for tensors alone, and none are written.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # says that there is none
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


class MetricWriter:
    """Writes a run's metrics; lines beyond the step from which it goes on are cut off first.

    Of several processes only one writes; in the others this does nothing.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        start: int,
        images: Callable[[int], int],
        active: bool = True,
        name: str = "",
    ):
        """Args:
        workdir: of the run.
        start: step from which it goes on.
        images: gives the images of all steps before a step.
        active: whether to write at all.
        name: before what is said, where there are several.
        """
        self._workdir = workdir
        self._images = images
        self._active = active
        self._name = f"{name}: " if name else ""
        self._file: IO[str] | None = None
        self._events: Any = None
        self._before = self._open(start)
        self._began = time.perf_counter()
        self._blank: str = ""  # what was last said of empty readings

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, earlier calls included."""
        return self._before + time.perf_counter() - self._began

    def _open(self, step: int) -> float:
        """Opens what is known up to a step, to append; returns the run's seconds up to there."""
        if not self._active:
            return 0.0
        if self._events:
            self._events.close()
        self._events = _summary_writer()(str(self._workdir / "tensorboard"), purge_step=step + 1)
        lines = cut_metrics(self._workdir, step)
        self._file = open(self._workdir / METRICS_FILE, "a", encoding="utf-8")  # noqa: SIM115
        evaluated = any(line["step"] == step and "eval" in line for line in lines)
        self._evaluated = step if evaluated else -1
        return lines[-1]["seconds"] if lines else 0.0

    def _write(self, line: dict[str, Any]) -> None:
        assert self._file is not None  # only the process that opened it writes
        line |= {"seconds": round(self.seconds, 2)}
        try:
            self._file.write(json.dumps(files.finite(line)) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._workdir / METRICS_FILE}: cannot be written ({error.strerror}); the last "
                "checkpoint is untouched: free space on the disk, and start the same command again"
            ) from error

    def rewind(self, step: int) -> None:
        """Removes the lines of steps beyond `step`, from where the run goes on once more."""
        if self._file:
            self._file.close()
        self._open(step)

    def write_train(
        self, step: int, sums: dict[str, Any], learning_rate: float, pace: Pace
    ) -> None:
        """Writes a log line.

        Args:
          step: its step.
          sums: since the line before, see `crnn_jax.step.SUMS`.
          learning_rate: of the step.
          pace: since the line before.
        """
        if not self._active:
            return
        sums = {name: float(value) for name, value in sums.items()}
        rows = max(sums["rows"], 1.0)
        images = self._images(step) - self._images(step - round(sums["steps"]))
        scalars = {
            "loss": sums["loss"] / max(sums["loss_weight"], 1.0),
            "grad_norm": sums["grad_norm"] / max(sums["steps"], 1.0),
            "learning_rate": learning_rate,
            "empty_readings": sums["empty_readings"] / rows,
            "infeasible": sums["infeasible"],
            "unreadable": images - sums["rows"],
            "skipped_updates": sums["skipped"],
            "images_per_second": round(pace.images_per_second, 1),
            "waiting": round(pace.waiting, 4),
        }
        if pace.utilisation is not None:
            scalars["utilisation"] = round(pace.utilisation, 4)
        self._write({"step": step, **scalars})
        for name, value in scalars.items():
            if math.isfinite(value):  # the pace is not, before a step has been timed
                self._events.add_scalar(f"train/{name}", value, step)
        self._watch_blanks(step, scalars["empty_readings"])

    def _watch_blanks(self, step: int, share: float) -> None:
        """Explains empty readings: usual at first, a sign of trouble when they last."""
        if share < _BLANK_SHARE:
            if self._blank:
                _LOG.info("%sstep %d: the network has begun to read", self._name, step)
                self._blank = ""
        elif not self._blank:
            self._blank = "usual"
            _LOG.info(
                "%sstep %d: all readings are empty; usual early in CTC training, the network first "
                "learns that most frames are blank",
                self._name, step,
            )  # fmt: skip
        elif self._blank == "usual" and self._images(step) >= _BLANK_IMAGES:
            self._blank = "warned"
            _LOG.warning(
                "%sstep %d: all readings are still empty after %d images; try a lower learning "
                "rate or a longer warm-up, check that labels match their images, and start with "
                "short words",
                self._name, step, self._images(step),
            )  # fmt: skip

    def write_eval(
        self,
        step: int,
        results: dict[str, evaluate.Result],
        sources: list[Source],
        preprocess: Preprocess,
        protocol: str,
        images: int,
    ) -> None:
        """Writes an evaluation by a protocol, and a picture of the first readings of every set."""
        if not self._active:
            return
        if step != self._evaluated:  # a kill may have come between it and its checkpoint
            self._evaluated = step
            self._write({"step": step, "eval": {k: r.metrics for k, r in results.items()}})
        for source in sources:
            result = results[source.name]
            for name, value in result.metrics.items():
                if value is not None:
                    self._events.add_scalar(f"eval/{source.name}/{name}", value, step)
            m = result.metrics
            _LOG.info(
                "%sstep %d  %s: word accuracy %.4f, CER %.4f on %d images",
                self._name, step, source.name, m["word_accuracy"], m["cer"], m["count"],
            )  # fmt: skip
            if images:
                name = source.name.replace("/", "_")
                path = self._workdir / "pictures" / f"{name}_{step:08d}.png"
                rows = result.rows[:images]
                pictures.save_readings(path, source, rows, preprocess, protocol)

    def close(self) -> None:
        """Flushes and closes everything."""
        if self._file is not None:
            self._file.close()
            self._events.close()


def cut_metrics(folder: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """Removes the lines of steps beyond `step`, and what is damaged, as a line cut by a kill.

    Returns:
      The lines that are left.
    """
    kept = [line for line in metric_lines.read(folder) if line["step"] <= step]
    if (folder / METRICS_FILE).is_file():
        files.write_text(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def warn_if_accelerator_idle() -> None:
    """Warns when the machine has a GPU that JAX does not use."""
    import jax

    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        _LOG.warning(
            "this machine has an NVIDIA GPU, but JAX runs on the CPU: install the CUDA build, "
            "as in pip install 'crnn_jax[cuda12]'"
        )
