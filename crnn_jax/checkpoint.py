"""Checkpoints of a run's state, through Orbax; the only module that knows Orbax.

Saving is asynchronous: the state is copied to the host at once and written in the background, into
a temporary folder that is renamed when complete. A run that is killed at any moment finds the last
complete checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import logging
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from crnn_jax import processes
from crnn_jax.errors import UnavailableError, UserError
from crnn_jax.step import TrainState, begin_averages

FOLDER = "checkpoints"
_LOG = logging.getLogger("crnn_jax")
_SCORE = "score"
_SPARE = 1.5  # what must be free before a checkpoint is begun, in times of its size
_SETTLE = 0.5  # seconds for reads that are under way when one fails
# In an error of Orbax or its storage: what says nothing about the checkpoint.
_ELSEWHERE = (
    "RESOURCE_EXHAUSTED", "out of memory",
    *(os.strerror(n) for n in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
                               errno.EACCES, errno.ETIMEDOUT)),
)  # fmt: skip
_MOST_REASON = 120  # characters of an error of Orbax, whose end is about its inner life


def has_checkpoint(workdir: str | pathlib.Path) -> bool:
    """Returns whether a complete checkpoint of a run is there, damaged or not."""
    folder = pathlib.Path(workdir) / FOLDER
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def newest_kept(keep: int) -> int:
    """Returns how many of the newest checkpoints of a run with `config.keep_checkpoints` stay."""
    return max(keep, 2)


class Checkpointer:
    """Saves and restores whole states in `workdir/checkpoints`.

    The best and the `keep` latest stay; at least two, so that there is one to fall back on.
    """

    def __init__(self, workdir: str | pathlib.Path, read_only: bool = False, keep: int = 2):
        # Orbax narrates every step, and logs whatever it raises, too.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        folder = (pathlib.Path(workdir) / FOLDER).absolute()
        self._folder = folder
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(newest_kept(keep)),
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[_SCORE],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=lambda metrics: metrics[_SCORE],
            create=not read_only,
            read_only=read_only,
            enable_async_checkpointing=not read_only,
        )
        # A checkpoint that is being written anew, under its step; see `save`.
        self._replaced = folder.parent / "replaced_checkpoint"
        if not read_only:
            self._put_back()
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        try:
            return ocp.CheckpointManager(self._folder, options=self._options)
        except (OSError, ValueError) as error:  # ValueError: the scores are not JSON
            raise UserError(
                f"{self._folder}: the checkpoints cannot be opened ({error}); restore the folder, "
                "or start in another --workdir"
            ) from error

    def save(
        self, step: int, state: Any, score: float | None = None, replace: bool = False
    ) -> None:
        """Starts saving a state; returns once it is copied, before it is written.

        Args:
          step: its name.
          state: a pytree of arrays.
          score: on the first validation set, if it was just evaluated (higher is better).
          replace: whether a step that is already saved is saved anew; else it is left alone.

        Raises:
          UserError: when this or the last state cannot be written, as on a full disk.
        """
        is_there = step in self._manager.all_steps()
        if is_there and not replace:
            return
        self._check_space(sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        if is_there:
            self._move(step, self._replaced / str(step))
        metrics = None if score is None else {_SCORE: float(score)}
        with self._writing():
            saved = self._manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)
        if not saved:
            raise UserError(
                f"{self._folder}: the checkpoint of step {step} is not written, since there is one "
                f"of step {self.latest_step()}: delete later ones, or start in another --workdir"
            )
        if is_there:
            self.wait()
            self._put_back()

    def _put_back(self) -> None:
        """Puts a checkpoint back that was to be written anew and is not; else removes the old."""
        if processes.is_main() and self._replaced.is_dir():
            for old in self._replaced.iterdir():
                if not (self._folder / old.name).exists():
                    old.rename(self._folder / old.name)
            shutil.rmtree(self._replaced)
        processes.collect(None)

    def _move(self, step: int, target: pathlib.Path) -> None:
        """Moves a checkpoint out of the folder, whose processes have all agreed on that."""
        self.close()
        processes.collect(None)
        if processes.is_main():
            target.parent.mkdir(exist_ok=True)
            (self._folder / str(step)).rename(target)
        processes.collect(None)
        # The manager has judged by the newest one what checkpoints are made of.
        self._manager = self._open()

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < size * _SPARE:
            raise UserError(
                f"{self._folder}: the disk has {free / 1e6:.0f} MB left, and a checkpoint of "
                f"{size / 1e6:.0f} MB needs more; the last complete one is untouched: free space, "
                "and start the same command again"
            )

    def wait(self) -> None:
        """Blocks until everything is written; raises a UserError when it cannot be."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises whatever its storage layers raise
            # Writes of other arrays are still under way, and each would end in a traceback.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            reason = " ".join(str(error).split())
            reason = reason[max(reason.find("Failed to"), 0) :][:_MOST_REASON]
            raise UserError(
                f"{self._folder}: a checkpoint cannot be written ({reason}); the last complete one "
                "is untouched: free space on the disk, or mend the folder, and start the same "
                "command again"
            ) from error

    def close(self) -> None:
        """Waits and lets go of the folder; raises a UserError when not all can be written."""
        with self._writing():
            self._manager.close()

    def latest_step(self) -> int | None:
        """Returns the newest complete checkpoint's step, or None."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the best-scoring checkpoint's step; the newest when none has a score."""
        best = self._manager.best_step()
        return self.latest_step() if best is None else best

    def has_score(self, step: int) -> bool:
        """Returns whether the checkpoint of a step was saved with its score."""
        return _SCORE in (self._manager.metrics(step) or {})

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints, oldest first."""
        self.wait()
        return sorted(self._manager.all_steps())

    def set_aside(self, step: int) -> None:
        """Moves a damaged checkpoint to `workdir/damaged_checkpoints`; a warning says so."""
        damaged = self._folder.parent / "damaged_checkpoints"
        _LOG.warning(
            "the checkpoint of step %d is damaged: it is moved to %s, and the one before it is "
            "used",
            step, damaged,
        )  # fmt: skip
        self._move(step, damaged / f"{step}_{time.time_ns()}")

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints beyond a step, from which the run goes on."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def restore(self, step: int, abstract_state: Any) -> Any:
        """Returns the state saved at `step`.

        Args:
          step: as returned by `latest_step` or `best_step`.
          abstract_state: tree of the state's shapes, as `jax.eval_shape` gives it, or of arrays.

        Raises:
          UserError: when the files cannot be read or hold another structure.
          UnavailableError: when that says nothing about the checkpoint.
        """
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract_state
        )
        with _muted():
            try:
                return self._manager.restore(step, args=ocp.args.StandardRestore(target))
            except Exception as error:  # Orbax raises whatever its storage layers raise
                told = " ".join(str(error).split())
                elsewhere = isinstance(error, MemoryError) or any(s in told for s in _ELSEWHERE)
                reason = told[:_MOST_REASON]
            # The reads of other arrays are still under way; each ends in a traceback of its own.
            time.sleep(_SETTLE)
            gc.collect()
        if not (self._folder / str(step)).is_dir():
            raise UnavailableError(
                f"{self._folder / str(step)}: the checkpoint is gone, as where a run that is under "
                "way has saved a better one; start the command again"
            )
        if elsewhere:
            raise UnavailableError(
                f"{self._folder / str(step)}: the checkpoint cannot be read now ({reason}...): "
                "nothing was changed; free memory, or look after the disk, and start the same "
                "command again"
            )
        raise UserError(
            f"{self._folder / str(step)}: the checkpoint is damaged or of another network "
            f"({reason}...); delete that folder to go on from the one before, or start in another "
            "--workdir"
        )


def restore_state(checkpoints: Checkpointer, step: int, shapes: TrainState) -> TrainState:
    """Returns a run's state, see `Checkpointer.restore`.

    A run of an earlier version kept the average of its weights alone: the average of its batch
    statistics begins at those that it had.
    """
    try:
        return checkpoints.restore(step, shapes)
    except UserError as error:
        if not shapes.ema or isinstance(error, UnavailableError):
            raise
        try:
            state = checkpoints.restore(step, shapes.replace(ema=shapes.ema["params"]))
        except UserError:  # it is damaged
            raise error from None
    return state.replace(ema=begin_averages(state.ema, state.batch_stats))


def restore_newest(
    checkpointers: Sequence[Checkpointer], abstract_state: Any
) -> tuple[int, list[Any]] | None:
    """Returns the newest step that all runs have and can read, and their states there.

    None when some have none and the others their first. Damaged ones are set aside, and those
    beyond the step, which some have, are deleted: Orbax saves no step below its latest.

    Args:
      checkpointers: of the runs, which go on together.
      abstract_state: of each, see `Checkpointer.restore`.

    Raises:
      UserError: when there are checkpoints and none can be read, or no step is common to all.
      UnavailableError: when one cannot be read for now; none is set aside for that.
    """
    while True:
        found = [checkpoints.steps() for checkpoints in checkpointers]
        common = sorted(set.intersection(*map(set, found)))
        if not all(found) and max(map(len, found)) < 2:
            # Nothing was saved, or a kill came before the first checkpoint of all of them.
            for checkpoints in checkpointers:
                checkpoints.drop_after(-1)
            return None
        if not common:
            raise UserError(
                f"the replicas have no checkpoint of a common step ({found}): restore their "
                "folders, or start in another --workdir"
            )
        step, states = common[-1], []
        for checkpoints in checkpointers:
            try:
                states.append(restore_state(checkpoints, step, abstract_state))
            except UserError as error:
                if len(common) == 1 or isinstance(error, UnavailableError):
                    raise
                checkpoints.set_aside(step)
                break
        else:
            for checkpoints in checkpointers:
                checkpoints.drop_after(step)
            return step, states


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Drops what background reads print and log, so that one line can tell of a failure."""
    log = logging.getLogger("asyncio")
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    log.disabled = True
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        sys.unraisablehook, log.disabled = hook, False
