"""Training: the state, the pure step, and the one loop."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax import durations, evaluate, models, optim, types, writers
from crnn_jax import workdir as workdir_lib
from crnn_jax.charset import Charset
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.ctc.loss import ctc_loss, loss_and_weight
from crnn_jax.data.feeds import Feed
from crnn_jax.data.pipeline import train_batches
from crnn_jax.data.training_set import TrainingSet, open_training_set
from crnn_jax.keys import named_key
from crnn_jax.recognizer import Recognizer, default_protocol, preprocess_of
from crnn_jax.signals import StopSignal

_LOG = logging.getLogger("crnn_jax")

# Sums that a step adds to; a log line is their quotients.
SUMS = ("loss", "loss_weight", "rows", "infeasible", "empty_readings", "grad_norm", "steps")


@flax.struct.dataclass
class TrainState:
    """Everything that decides what the next step does; no functions, no random state.

    Fields hold arrays, or whatever a tree map made of them.
    """

    step: Any  # int32
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any  # moving average of params; empty when it is off
    skipped: Any  # int32; updates left out because a gradient was not finite
    sums: dict[str, Any]  # float32; since the last log line, see SUMS

    def eval_variables(self) -> types.Variables:
        """Returns the variables that evaluation and prediction use."""
        return {"params": self.ema or self.params, "batch_stats": self.batch_stats}


def create_train_state(
    config: ConfigDict, model: models.CRNN, tx: optax.GradientTransformation
) -> TrainState:
    """Returns the state of step 0; jit it, so that weights are born on the device."""
    data = config.data
    images = jnp.zeros((1, data.height, data.width, data.channels), jnp.uint8)
    widths = jnp.full((1,), data.width, jnp.int32)
    variables = model.init(named_key(config.seed, "init", 0), images, widths)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        ema=jax.tree.map(jnp.copy, params) if config.ema else {},
        skipped=jnp.zeros((), jnp.int32),
        sums={name: jnp.zeros(()) for name in SUMS},
    )


def train_step(
    state: TrainState,
    batch: types.Batch,
    *,
    model: models.CRNN,
    tx: optax.GradientTransformation,
    config: ConfigDict,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One update; pure, the same for loaded and rendered batches.

    A step whose gradient is not finite changes nothing but its own count.

    Args:
      state: before the step.
      batch: images, widths, labels; rows of width 0 take part in nothing.
      model, tx, config: static.

    Returns:
      The state after the step, and the sums since the last log line (a copy that outlives the
      state's donation).
    """

    def loss_fn(params: Any) -> Any:
        (logits, frames), updated = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch.images,
            batch.widths,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": named_key(config.seed, "dropout", state.step)},
        )
        losses, feasible = ctc_loss(logits, frames, batch.labels, batch.label_lengths)
        total, weight = loss_and_weight(losses, feasible, batch.label_lengths, config.loss)
        padded = jnp.arange(logits.shape[1])[None, :] >= frames[:, None]
        empty = jnp.all((jnp.argmax(logits, -1) == 0) | padded, axis=1)
        seen = batch.widths > 0
        sums = {
            "loss": total,
            "loss_weight": weight,
            "rows": jnp.sum(seen),
            "infeasible": jnp.sum(seen & ~feasible),
            "empty_readings": jnp.sum(seen & empty),
        }
        return total / jnp.maximum(weight, 1.0), (updated.get("batch_stats", {}), sums)

    grads, (batch_stats, sums) = jax.grad(loss_fn, has_aux=True)(state.params)
    sums |= {"grad_norm": optax.tree.norm(grads), "steps": jnp.ones(())}
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if config.ema:
        # A warm-up of the decay, so that the average is not held back by the initial weights.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)

    finite = jnp.isfinite(sums["grad_norm"]) & jnp.isfinite(sums["loss"])
    new = (params, batch_stats, opt_state, ema)
    old = (state.params, state.batch_stats, state.opt_state, state.ema)
    params, batch_stats, opt_state, ema = jax.tree.map(
        lambda n, o: jnp.where(finite, n, o), new, old
    )
    kept = jnp.where(state.step % config.log_every_steps == 0, 0.0, 1.0)
    total = {
        name: kept * state.sums[name] + jnp.where(finite, sums[name], 0.0).astype(jnp.float32)
        for name in SUMS
    }
    state = TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=ema,
        skipped=state.skipped + ~finite,
        sums=total,
    )
    return state, total | {"skipped": state.skipped.astype(jnp.float32)}


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
    recognizer: Recognizer, data: TrainingSet, config: ConfigDict
) -> dict[str, evaluate.Result]:
    """Evaluates on every validation set of the run."""
    protocol = config.protocol or default_protocol(recognizer.charset)
    return {
        source.name: evaluate.evaluate_source(
            recognizer, source, protocol, batch_size=config.eval_batch_size, progress=False
        )
        for source in data.eval_sources
    }


def train_and_evaluate(
    config: ConfigDict, workdir: str | pathlib.Path
) -> tuple[TrainState, dict[str, Any] | None]:
    """Trains what a config describes, evaluates as it goes, and goes on where a run has stopped.

    Args:
      config: from an experiment.
      workdir: of the run; created when missing.

    Returns:
      The final state and the summary (None when a signal stopped the run early: it is saved, and
      the same call goes on).

    Raises:
      UserError: for anything in the config, the data or the workdir that the user can mend.
    """
    config_lib.validate(config)
    writers.warn_if_accelerator_idle()
    data = open_training_set(config, preprocess_of(config))
    total, warmup, eval_every, save_every = durations.lengths(config, data.steps_per_epoch)
    model, tx, learning_rate_fn = build(config, data.charset.num_classes, warmup, total)

    run = workdir_lib.Workdir(workdir)
    run.prepare(config, data)
    create = functools.partial(create_train_state, config, model, tx)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(contextlib.closing(Checkpointer(run.path)))
        start = checkpoints.latest_step() or 0
        if start:
            state = checkpoints.restore(start, jax.eval_shape(create))
            _LOG.info("resuming %s at step %d of %d", run.path, start, total)
        else:
            state = jax.jit(create)()
        step_fn = compile_train_step(model, tx, config, data.feed)
        assets = jax.device_put(data.assets)
        recognizer = Recognizer(
            model, state.eval_variables(), data.charset, data.preprocess, run.path.name
        )
        results: dict[str, evaluate.Result] = {}
        pending: tuple[int, Any] | None = None  # metrics are fetched while the next step runs
        batches = loaded_batches(data, config, start, total)
        writer = writers.MetricWriter(run.path, start, total, config.batch_size)
        stack.enter_context(contextlib.closing(writer))
        stop = stack.enter_context(StopSignal())

        def log_pending() -> None:
            nonlocal pending
            if pending is not None:
                step, sums = pending
                writer.write_train(step, jax.device_get(sums), float(learning_rate_fn(step - 1)))
                pending = None

        for step in range(start + 1, total + 1):
            state, sums = step_fn(state, next(batches), assets)
            log_pending()
            if step == start + 1:
                jax.block_until_ready(sums)
                writer.progress.first_step()
            writer.progress.update()
            if step % config.log_every_steps == 0 or step == total:
                pending = step, sums
            evaluating = data.eval_sources and (step % eval_every == 0 or step == total)
            if not (evaluating or step % save_every == 0 or step == total or stop.requested):
                continue
            log_pending()  # a line that belongs to a checkpoint is on disk before it
            score = None
            if evaluating:
                with writer.progress.paused():
                    trained = recognizer.with_variables(state.eval_variables())
                    results = evaluate_all(trained, data, config)
                    writer.write_eval(
                        step, results, data.eval_sources, data.preprocess, config.grid_images
                    )
                first = next(iter(results.values())).metrics
                score = first["word_accuracy"] if first["count"] else None
            checkpoints.save(step, state, score)
            if stop.requested and step < total:
                _LOG.warning(
                    "stopped by %s at step %d of %d; saving, the same command goes on",
                    stop.requested, step, total,
                )  # fmt: skip
                return state, None
        checkpoints.wait()
        if not results and data.eval_sources:  # everything was done before this call
            results = evaluate_all(recognizer, data, config)
        done = max(start, total)
        images = done * config.batch_size
        return state, run.summarise(done, writer.seconds, images, state.params, results)
