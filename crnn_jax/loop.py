"""The loop of training: steps, and what is logged, evaluated, saved and taken back between them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from crnn_jax import control, flops, models, parallel, types
from crnn_jax.data.training_set import TrainingSet
from crnn_jax.parallel import Layout
from crnn_jax.progress import Progress
from crnn_jax.recognizer import Recognizer
from crnn_jax.replicas import Group
from crnn_jax.signals import StopSignal
from crnn_jax.startup import Compilations, Trace
from crnn_jax.step import TrainState

_LOG = logging.getLogger("crnn_jax")

# Calls of the step that the host is ahead: enough that the device never waits. With more, a signal
# to stop and the rate that is shown would lag behind by all of them.
_MOST_UNDER_WAY = 2


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained, and how long.

    Attributes:
      config: of the run.
      workdir: its folder.
      data: what it trains on and is judged by.
      layout: its devices.
      model: its network.
      learning_rate_fn: from a step to its learning rate.
      step_fn: the compiled step, see `train.compile_train_step`.
      batches: from a step on, what the host contributes to every call of it.
      newest: returns the last saved step and the states of the replicas there.
      compilations: counts the programs that are compiled.
      total, eval_every, save_every: in steps.
    """

    config: ConfigDict
    workdir: pathlib.Path
    data: TrainingSet
    layout: Layout
    model: models.CRNN
    learning_rate_fn: Callable[[int], Any]
    step_fn: Callable[..., Any]
    batches: Callable[[int], Iterator[types.Batch | None]]
    newest: Callable[[], tuple[int, list[TrainState]]]
    compilations: Compilations
    total: int
    eval_every: int
    save_every: int

    def is_evaluated(self, step: int) -> bool:
        """Whether the run is evaluated after a step."""
        return bool(self.data.eval_sources) and (step % self.eval_every == 0 or step == self.total)


class Loop:
    """Trains a run from a step on.

    Attributes:
      step: steps that are done.
      state: after them; of replicas, stacked.
      stopping: whether a signal ends this call.
      early: whether the run has ended before its last step, see `control.exhausted`.
      failed: whether gradients were not finite time and again.
    """

    def __init__(
        self,
        run: Run,
        group: Group,
        step: int,
        states: Sequence[TrainState],
        progress: Progress,
        trace: Trace,
        stop: StopSignal,
    ):
        self.step, self.state = step, group.place(states)
        self.stopping, self.failed = False, False
        self.early = control.exhausted(states[0], run.config)
        self._run, self._group = run, group
        self._progress, self._trace, self._stop = progress, trace, stop
        self._first_step = step + run.config.steps_per_dispatch
        self._assets = run.layout.replicate(run.data.assets)
        self._batches = run.batches(step)
        self._work = _Work(run.config, run.model, run.data)
        self._vote = parallel.Vote(run.layout)
        self._here = run.layout.local()  # every process evaluates its share on its own devices
        self._under_way: collections.deque[Any] = collections.deque()  # calls not waited for
        self._pending: tuple[int, Any] | None = None  # metrics are fetched while the next step runs
        group.start(step)

    def train(self) -> None:
        """Makes the steps that are left, unless something ends them before."""
        run, group = self._run, self._group
        if self.step and run.is_evaluated(self.step) and not group.has_evaluation(self.step):
            self._evaluate_and_save(replace=True)  # what a signal had cut short
        if self.step < run.total and not self.early:
            group.forget_end()
        while self.step < run.total and not (self.stopping or self.early or self.failed):
            failing = self._advance()
            self.stopping = self._vote(bool(self._stop.requested))
            if self._is_saved():
                failing += self._log_pending()  # its line is on disk before a checkpoint
                if not failing:
                    self._evaluate_and_save()
            if failing:
                self._roll_back(failing)

    def recognizer(self, state: TrainState) -> Recognizer:
        """Returns the model of a replica's state."""
        run = self._run
        variables = self._here.replicate(state.eval_variables())
        return Recognizer(
            run.model, variables, run.data.charset, run.data.preprocess, run.workdir.name,
            self._here.spread,
        )  # fmt: skip

    def _advance(self) -> list[int]:
        """Calls the step once; returns which replicas left out too many updates before it."""
        run, each = self._run, self._run.config.steps_per_dispatch
        self.step += each
        with jax.transfer_guard("disallow"):
            with self._progress.waiting():
                batch = next(self._batches)
            self.state, sums = run.step_fn(self.state, batch, self._assets)
            self._under_way.append(sums)
            if len(self._under_way) > _MOST_UNDER_WAY:
                jax.block_until_ready(self._under_way.popleft())
            failing = self._log_pending()
        self._progress.update(each, self._work(batch))
        if self.step == self._first_step:
            jax.block_until_ready(sums)
            _LOG.info(
                "first step done after %.1f s; %d programs compiled or read so far, in %.1f s",
                self._progress.first_step(self.step),
                run.compilations.programs, run.compilations.seconds,
            )  # fmt: skip
        self._trace.after(self.step, sums)
        if self.step % run.config.log_every_steps == 0 or self.step == run.total:
            # The rate is computed before the next step, behind which it would have to wait.
            self._pending = self.step, (sums, run.learning_rate_fn(self.step - 1))
        return failing

    def _is_saved(self) -> bool:
        """Whether the state is saved after this step, and evaluated where that is due."""
        run = self._run
        due = self.step % run.save_every == 0 or self.step == run.total
        return due or self.stopping or run.is_evaluated(self.step)

    def _log_pending(self) -> list[int]:
        """Writes the last log lines; returns which replicas left out too many updates."""
        if self._pending is None:
            return []
        step, found = self._pending
        self._pending, (sums, learning_rate) = None, jax.device_get(found)
        pace = self._progress.pace()
        loss, failing = self._group.log(step, sums, float(learning_rate), pace)
        self._progress.show(step, loss, pace)
        return failing

    def _evaluate_and_save(self, replace: bool = False) -> None:
        """Evaluates where that is due, judges the run by it, and saves the state."""
        group = self._group
        jax.block_until_ready(self.state.step)  # steps under way belong to the rate
        with self._progress.paused():
            states, scores = group.split(self.state), None
            group.forget_evaluation()
            if self._run.is_evaluated(self.step) and not self.stopping:
                self.stopping = not group.evaluate(
                    self.recognizer, states, lambda: bool(self._stop.requested)
                )
                if not self.stopping:
                    states, scores = group.judge(self.step, states)
                    self.state = group.place(states)
                    self.early = control.exhausted(states[0], self._run.config)
            group.save(self.step, group.split(self.state), scores, replace)

    def _roll_back(self, failing: Sequence[int]) -> None:
        """Goes on from the last checkpoint with a lower rate; gives up where that was done before.

        Args:
          failing: replicas whose gradients were not finite.
        """
        run, group = self._run, self._group
        self._pending = None
        broken = group.split(self.state)
        good, states = run.newest()
        for r, (state, before) in enumerate(zip(states, broken, strict=True)):
            states[r] = control.remember(state, before)
        self.failed = any(int(broken[r].rollbacks) for r in failing)
        if self.failed:
            _LOG.error(control.report(self.step, good, run.config))
            self.state = group.place(states)
            return
        _LOG.warning(control.warning(self.step, good, run.config))
        for r in failing:
            states[r] = control.roll_back(states[r])
        self.step, self.state = good, group.place(states)
        self._batches = run.batches(good)
        self._progress.rewind(good)
        group.start(good)


class _Work:
    """The floating-point operations of training on an image, by padded width."""

    def __init__(self, config: ConfigDict, model: models.CRNN, data: TrainingSet):
        self._needed = flops.peak(jax.devices()[0], model.dtype) is not None
        self._widest = data.preprocess.widest
        self._count = functools.cache(functools.partial(flops.per_image, config, model))

    def __call__(self, batch: types.Batch | None) -> float:
        if not self._needed:
            return 0.0
        return self._count(self._widest if batch is None else batch.images.shape[-2])
