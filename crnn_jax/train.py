"""Training: a run from its config to its summary."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from crnn_jax import (
    control,
    durations,
    finetune,
    models,
    optim,
    parallel,
    processes,
    replicas,
    startup,
    types,
    writers,
)
from crnn_jax import workdir as workdir_lib
from crnn_jax.auditing import before_training
from crnn_jax.charset import Charset
from crnn_jax.checkpoint import has_checkpoint
from crnn_jax.data.feeds import Feed
from crnn_jax.data.pipeline import train_batches
from crnn_jax.data.training_set import TrainingSet, open_training_set
from crnn_jax.loop import Loop, Run
from crnn_jax.parallel import ALONE, Axis, Layout
from crnn_jax.progress import Progress
from crnn_jax.recognizer import network_of, preprocess_of
from crnn_jax.signals import StopSignal
from crnn_jax.step import TrainState, create_train_state, fold, report, train_step
from crnn_jax.validation import validate

_LOG = logging.getLogger("crnn_jax")


def build(
    config: ConfigDict, num_classes: int, warmup: int, total: int, axis: Axis = ALONE
) -> tuple[Any, Any, Any]:
    """Returns the network, the optimizer and the learning-rate function of a config."""
    model = network_of(config, num_classes, axis.name, training=True)
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
    feed: Feed = Feed(),  # noqa: B008 (it is immutable)
    layout: Layout | None = None,
) -> Callable[..., Any]:
    """Returns the compiled step of (state, loaded batch or None, arrays of the feed).

    The batch is put together, and rendered text drawn, in the same program; one call makes
    `config.steps_per_dispatch` steps. The state that it is given is consumed (donated). With
    several devices the arguments lie on them as `layout` puts them.
    """
    layout = layout or Layout("jit", jax.local_devices()[:1], config.replicas > 1)
    axis = layout.axis

    def step(state: TrainState, loaded: types.Batch | None, assets: Any = ()) -> Any:
        def one(state: TrainState, _: Any) -> TrainState:
            batch = feed(assets, state.step, loaded, state.seed, axis)
            return train_step(state, batch, model=model, tx=tx, config=config, axis=axis)

        def several(state: TrainState) -> Any:
            state = fold(one, state, None, config.steps_per_dispatch)
            return state, report(state)

        if config.replicas == 1:
            return several(state)
        return replicas.over(several, config.replica_axis)(state)

    return layout.compile(step)


def loaded_batches(
    data: TrainingSet, config: ConfigDict, start: int, stop: int, layout: Layout
) -> Iterator[types.Batch | None]:
    """Yields what the host contributes to every step: a batch on its way to the device, or None."""
    if data.index is None or data.plan is None:
        return itertools.repeat(None)
    batches = train_batches(
        data.index, data.plan, data.preprocess, start, stop, data.label_length,
        workers=config.data.workers,
        process_index=jax.process_index(), process_count=jax.process_count(),
    )  # fmt: skip
    return to_device(batches, layout)


def to_device(
    batches: Iterator[types.Batch], layout: Layout | None = None
) -> Iterator[types.Batch]:
    """Sends each batch to the devices (by default, one) while the one before it is computed on."""
    layout, ahead = layout or Layout(devices=jax.local_devices()[:1]), None
    for batch in batches:
        ahead, ready = layout.split(batch), ahead
        if ready is not None:
            yield ready
    if ahead is not None:
        yield ahead


def train_and_evaluate(
    config: ConfigDict, workdir: str | pathlib.Path
) -> tuple[TrainState, dict[str, Any] | None]:
    """Trains what a config describes, evaluates as it goes, and goes on where a run has stopped.

    Args:
      config: from an experiment.
      workdir: of the run; created when missing. Several processes share it.

    Returns:
      The final state (of replicas: stacked) and the summary. The summary is None when a signal
      stopped the run early (it is saved, and the same call goes on), or when gradients were not
      finite time and again.

    Raises:
      UserError: for anything in the config, the data or the workdir that the user can mend.
    """
    validate(config)
    writers.warn_if_accelerator_idle()
    startup.check(config)
    compilations = startup.Compilations()
    layout = parallel.choose_layout(config)
    workdir = pathlib.Path(workdir)
    origin, known = None, None
    folders = workdir_lib.replica_folders(workdir, config.replicas)
    begun = processes.agree(all(map(has_checkpoint, folders)))
    if config.init_from and begun:
        known = Charset.load(workdir / workdir_lib.CHARSET_FILE)  # the model itself may be gone
    elif config.init_from:
        origin = finetune.Origin(config)
        known = origin.charset
    data = open_training_set(config, preprocess_of(config), known)
    replicas.check(config, data, layout.size)
    total, warmup, eval_every, save_every = durations.lengths(config, data.steps_per_epoch)
    model, tx, learning_rate_fn = build(
        config, data.charset.num_classes, warmup, total, layout.axis
    )
    fresh = jax.jit(functools.partial(create_train_state, config, model, tx))
    # This complains of knobs that do not fit the network. Not all seeds fit JAX's default, int32.
    shapes = jax.eval_shape(fresh, np.uint32(config.seed))

    def create(seed: int) -> TrainState:
        state = fresh(np.uint32(seed))
        return origin.adapt(state, data.charset) if origin else state

    with contextlib.ExitStack() as stack:
        stack.enter_context(workdir_lib.alone(workdir, *folders))
        lineage = origin.lineage if origin else None if begun else ()
        group = stack.enter_context(
            contextlib.closing(replicas.Group(config, workdir, data, layout, lineage))
        )
        newest = functools.partial(group.newest, create, shapes)
        step, states = newest()
        if config.data.audit and not step and processes.is_main():
            before_training.look_at_images(config, data.charset, data.preprocess, workdir)
        if origin and not step:  # another process may have begun it meanwhile
            origin.read(config, data, folders)
        if step:
            _LOG.info("resuming %s at step %d of %d", workdir, step, total)
        run = Run(
            config=config,
            workdir=workdir,
            data=data,
            layout=layout,
            model=model,
            learning_rate_fn=learning_rate_fn,
            step_fn=compile_train_step(model, tx, config, data.feed, layout),
            batches=lambda start: loaded_batches(data, config, start, total, layout),
            newest=newest,
            compilations=compilations,
            total=total,
            eval_every=eval_every,
            save_every=save_every,
        )
        progress = stack.enter_context(contextlib.closing(Progress(
            step, total, lambda at: data.images_before(at) * len(group), layout.peak(model.dtype)
        )))  # fmt: skip
        trace = stack.enter_context(contextlib.closing(startup.Trace(
            workdir / "profile", step + 10 * config.steps_per_dispatch, config.profile
        )))  # fmt: skip
        stop = stack.enter_context(StopSignal())
        loop = Loop(run, group, step, states, progress, trace, stop)
        loop.train()
        if loop.failed:
            return loop.state, None
        if loop.stopping and not loop.early and (loop.step < total or not group.is_evaluated):
            _LOG.warning(
                "stopped by %s at step %d of %d; saving, the same command goes on",
                stop.requested or "a signal to another process", loop.step, total,
            )  # fmt: skip
            return loop.state, None
        states = group.split(loop.state)
        if data.eval_sources and not group.is_evaluated:  # all was done before this call
            group.evaluate(loop.recognizer, states)
        if loop.early:
            _LOG.info(control.early_end(loop.step, config))
        _LOG.info(
            "%d programs compiled or read, in %.1f s", compilations.programs, compilations.seconds
        )
        summary = group.finish(loop.step, states)
        if config.init_from:
            for folder in folders:
                finetune.finish(config, data, folder)
        return loop.state, summary
