"""Training: the one loop."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from crnn_jax import control, durations, evaluate, models, optim, types, writers
from crnn_jax import workdir as workdir_lib
from crnn_jax.charset import Charset
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.data.feeds import Feed
from crnn_jax.data.pipeline import train_batches
from crnn_jax.data.training_set import TrainingSet, open_training_set
from crnn_jax.recognizer import Recognizer, default_protocol, preprocess_of
from crnn_jax.signals import StopSignal
from crnn_jax.step import TrainState, create_train_state, train_step
from crnn_jax.validation import validate

_LOG = logging.getLogger("crnn_jax")


def build(config: ConfigDict, num_classes: int, warmup: int, total: int) -> tuple[Any, Any, Any]:
    """Returns the network, the optimizer and the learning-rate function of a config."""
    data = config.data
    narrowest = data.width if data.fit == "squash" else data.min_width
    model = models.build_model(config.model, num_classes, data.height, narrowest)
    learning_rate_fn = optim.create_learning_rate_fn(config, warmup, total)
    return model, optim.create_optimizer(config, learning_rate_fn), learning_rate_fn


def abstract_state(config: ConfigDict, charset: Charset) -> tuple[models.CRNN, TrainState]:
    """Returns the network and the shapes of a run's state, to restore a checkpoint into."""
    model, tx, _ = build(config, charset.num_classes, warmup=0, total=1)
    return model, jax.eval_shape(lambda: create_train_state(config, model, tx))


def compile_train_step(
    model: models.CRNN,
    tx: optax.GradientTransformation,
    config: ConfigDict,
    feed: Feed | None = None,
) -> Callable[..., Any]:
    """Returns the jitted step of (state, loaded batch, arrays of the feed).

    With a feed the batch is put together, and rendered text drawn, in the same program. The step
    consumes (donates) the state that it is given.
    """

    def step(state: TrainState, loaded: types.Batch | None, assets: Any = ()) -> Any:
        batch = loaded if feed is None else feed(assets, state.step, loaded)
        return train_step(state, batch, model=model, tx=tx, config=config)

    return jax.jit(step, donate_argnums=0)


def loaded_batches(
    data: TrainingSet, config: ConfigDict, start: int, stop: int
) -> Iterator[types.Batch | None]:
    """Yields what the host contributes to every step: a batch on its way to the device, or None."""
    if data.index is None:
        return itertools.repeat(None)
    workers = config.data.workers
    return to_device(
        train_batches(
            data.index, data.plan, data.preprocess, start, stop, data.label_length, workers=workers
        )
    )


def to_device(batches: Iterator[types.Batch]) -> Iterator[types.Batch]:
    """Sends each batch to the device while the one before it is being computed on."""
    ahead = None
    for batch in batches:
        ahead, ready = jax.device_put(batch), ahead
        if ready is not None:
            yield ready
    if ahead is not None:
        yield ahead


def evaluate_all(
    recognizer: Recognizer,
    data: TrainingSet,
    config: ConfigDict,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, evaluate.Result] | None:
    """Evaluates on every validation set of the run; None when interrupted."""
    protocol = config.protocol or default_protocol(recognizer.charset)
    results = {}
    for source in data.eval_sources:
        result = evaluate.evaluate_source(
            recognizer,
            source,
            protocol,
            batch_size=config.eval_batch_size,
            progress=False,
            interrupted=interrupted,
        )
        if result is None:
            return None
        results[source.name] = result
    return results


def train_and_evaluate(
    config: ConfigDict, workdir: str | pathlib.Path
) -> tuple[TrainState, dict[str, Any] | None]:
    """Trains what a config describes, evaluates as it goes, and goes on where a run has stopped.

    Args:
      config: from an experiment.
      workdir: of the run; created when missing.

    Returns:
      The final state and the summary. The summary is None when a signal stopped the run early (it
      is saved, and the same call goes on), or when gradients were not finite time and again.

    Raises:
      UserError: for anything in the config, the data or the workdir that the user can mend.
    """
    validate(config)
    writers.warn_if_accelerator_idle()
    data = open_training_set(config, preprocess_of(config))
    total, warmup, eval_every, save_every = durations.lengths(config, data.steps_per_epoch)
    model, tx, learning_rate_fn = build(config, data.charset.num_classes, warmup, total)
    create = jax.jit(functools.partial(create_train_state, config, model, tx))
    shapes = jax.eval_shape(create)  # complains of knobs that do not fit the network

    run = workdir_lib.Workdir(workdir)
    run.prepare(config, data)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(contextlib.closing(Checkpointer(run.path)))

        def newest() -> tuple[int, TrainState]:
            """Returns the last state that was saved, else the first, and its step."""
            return checkpoints.restore_latest(shapes) or (0, create())

        step, state = newest()
        if step:
            _LOG.info("resuming %s at step %d of %d", run.path, step, total)
        step_fn = compile_train_step(model, tx, config, data.feed)
        assets = jax.device_put(data.assets)
        recognizer = Recognizer(
            model, state.eval_variables(), data.charset, data.preprocess, run.path.name
        )
        results: dict[str, evaluate.Result] | None = None
        pending: tuple[int, Any] | None = None  # metrics are fetched while the next step runs
        batches = loaded_batches(data, config, step, total)
        writer = writers.MetricWriter(run.path, step, total, config.batch_size)
        stack.enter_context(contextlib.closing(writer))
        stop = stack.enter_context(StopSignal())

        def log_pending() -> bool:
            """Writes the last log line; returns whether too many updates were left out."""
            nonlocal pending
            if pending is None:
                return False
            at, sums = pending
            pending, sums = None, jax.device_get(sums)
            writer.write_train(at, sums, float(learning_rate_fn(at - 1)) * float(sums["rate"]))
            return bool(sums["streak"] >= config.most_skipped)

        def is_evaluated(at: int) -> bool:
            return bool(data.eval_sources) and (at % eval_every == 0 or at == total)

        def evaluate_and_save(replace: bool = False) -> None:
            """Evaluates where that is due, judges the run by it, and saves the state."""
            nonlocal state, results, early
            score = None
            if is_evaluated(step) and not stop.requested:
                trained = recognizer.with_variables(state.eval_variables())
                with writer.progress.paused():
                    results = evaluate_all(trained, data, config, lambda: bool(stop.requested))
                    if results is not None:
                        writer.write_eval(
                            step, results, data.eval_sources, data.preprocess, config.grid_images
                        )
                        first = next(iter(results.values())).metrics
                        score = first["word_accuracy"] if first["count"] else None
                        state = control.judge(state, score, config)
                        early = control.exhausted(state, config)
            if not int(state.streak):  # else the checkpoint before is the last good one
                checkpoints.save(step, state, score, replace)

        early = control.exhausted(state, config)
        if is_evaluated(step) and step and not writer.has_evaluation(step):
            evaluate_and_save(replace=True)  # what a signal had cut short
        first_step = step + 1
        while step < total and not stop.requested and not early:
            step += 1
            state, sums = step_fn(state, next(batches), assets)
            failing = log_pending()
            if step == first_step:
                jax.block_until_ready(sums)
                writer.progress.first_step()
            writer.progress.update()
            if step % config.log_every_steps == 0 or step == total:
                pending = step, sums
            if is_evaluated(step) or step % save_every == 0 or step == total or stop.requested:
                failing |= log_pending()  # a line that belongs to a checkpoint is on disk before it
                if not failing:
                    evaluate_and_save()
            if failing:
                pending = None
                good, restored = newest()
                if int(state.rollbacks):
                    _LOG.error(control.report(step, good, config))
                    return restored, None
                _LOG.warning(control.warning(step, good, config))
                step, state = good, control.roll_back(restored)
                batches = loaded_batches(data, config, step, total)
                writer.rewind(step)
        if stop.requested and not early and (step < total or not results):
            _LOG.warning(
                "stopped by %s at step %d of %d; saving, the same command goes on",
                stop.requested, step, total,
            )  # fmt: skip
            return state, None
        checkpoints.wait()
        if not results and data.eval_sources:  # everything was done before this call
            results = evaluate_all(recognizer.with_variables(state.eval_variables()), data, config)
        if early:
            _LOG.info(control.early_end(step, config))
        images = step * config.batch_size
        return state, run.summarise(step, writer.seconds, images, state.params, results or {})
