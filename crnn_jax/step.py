"""The state of a run and the pure step from one state to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from crnn_jax import models, types
from crnn_jax.ctc.loss import ctc_loss, loss_and_weight
from crnn_jax.keys import named_key
from crnn_jax.models.crnn import AUXILIARY
from crnn_jax.parallel import ALONE, Axis

# Sums that a step adds to; a log line is their quotients.
_SUMS_OF_ROWS = ("loss", "loss_weight", "rows", "infeasible", "empty_readings")
SUMS = (*_SUMS_OF_ROWS, "grad_norm", "steps")


class TrainState(flax.struct.PyTreeNode):
    """Everything that decides what the next step does; no functions, no random state.

    Fields hold arrays, or whatever a tree map made of them.
    """

    step: Any  # int32
    seed: Any  # uint32; of everything that is random in the run
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any  # moving averages of params and batch_stats, as variables; empty when it is off
    rate: Any  # float32; factor on the learning rate, lowered on plateaus and after a roll-back
    best: Any  # float32; best score of an evaluation so far, -1 before the first
    stale: Any  # int32; evaluations since then
    rollbacks: Any  # int32; returns to an earlier checkpoint because too many were left out
    skipped: Any  # int32; updates left out because a gradient was not finite
    streak: Any  # int32; those without a good one in between
    sums: dict[str, Any]  # float32; since the last log line, see SUMS

    def eval_variables(self) -> types.Variables:
        """Returns the variables that evaluation and prediction use."""
        # Averaged weights have activations of their own, which the statistics of others misjudge.
        return self.ema or {"params": self.params, "batch_stats": self.batch_stats}


def create_train_state(
    config: ConfigDict, model: models.CRNN, tx: optax.GradientTransformation, seed: Any = None
) -> TrainState:
    """Returns the state of step 0; jit it, so that weights are born on the device.

    Args:
      config: of the run.
      model, tx: static.
      seed: instead of the config's, as a replica has it.
    """
    seed = jnp.uint32(np.uint32(config.seed) if seed is None else seed)
    data = config.data
    images = jnp.zeros((1, data.height, data.width, data.channels), jnp.uint8)
    widths = jnp.full((1,), data.width, jnp.int32)
    variables = model.init(named_key(seed, "init", 0), images, widths)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=seed,
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        ema=begin_averages(params, batch_stats) if config.ema else {},
        rate=jnp.ones(()),
        best=-jnp.ones(()),
        stale=jnp.zeros((), jnp.int32),
        rollbacks=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        streak=jnp.zeros((), jnp.int32),
        sums={name: jnp.zeros(()) for name in SUMS},
    )


def begin_averages(params: Any, batch_stats: Any) -> types.Variables:
    """Returns averages that begin with copies of these, which outlive their donation."""
    return jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats})


def train_step(
    state: TrainState,
    batch: types.Batch,
    *,
    model: models.CRNN,
    tx: optax.GradientTransformation,
    config: ConfigDict,
    axis: Axis = ALONE,
) -> TrainState:
    """One update; pure, the same for loaded and rendered batches.

    A step whose gradient is not finite changes nothing but its own count.

    Args:
      state: before the step.
      batch: images, widths, labels; rows of width 0 take part in nothing. With several devices
        those of this one.
      model, tx, config: static.
      axis: the devices that share the batch; the model's batch statistics cross them, too.
    Returns:
      The state after the step.
    """
    grads, batch_stats, sums = _gradients(state, batch, model, config, axis)
    sums |= {"grad_norm": optax.tree.norm(grads), "steps": jnp.ones(())}
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    updates = jax.tree.map(lambda update: state.rate * update, updates)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if config.ema:
        # A warm-up of the decay, so that the average is not held back by the initial weights.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        latest = {"params": params, "batch_stats": batch_stats}
        ema = jax.tree.map(lambda e, x: decay * e + (1 - decay) * x, ema, latest)

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
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=ema,
        skipped=state.skipped + ~finite,
        streak=jnp.where(finite, 0, state.streak + 1),
        sums=total,
    )


def report(state: TrainState) -> dict[str, Float[Array, ""]]:
    """Returns the sums since the last log line, and what the run's course has been.

    Returned beside the state by one program these are copies, which outlive its donation.
    """
    counts = {name: getattr(state, name) for name in ("skipped", "streak", "rate")}
    return state.sums | {name: count.astype(jnp.float32) for name, count in counts.items()}


def _gradients(
    state: TrainState, batch: types.Batch, model: models.CRNN, config: ConfigDict, axis: Axis
) -> tuple[Any, Any, dict[str, Any]]:
    """Returns the gradient of the mean loss, the new batch statistics and the step's sums.

    All are those of the rows of all devices.

    With `config.accumulate` the batch is computed part after part. The gradient is then that of
    the whole batch, but for batch statistics, which are those of each part.
    """
    count = config.accumulate

    def loss_fn(params: Any, batch_stats: Any, part: types.Batch, number: Any) -> Any:
        (logits, frames), updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            part.images,
            part.widths,
            train=True,
            mutable=["batch_stats", AUXILIARY],
            rngs={"dropout": named_key(state.seed, "dropout", state.step * count + number)},
        )
        losses, feasible = ctc_loss(logits, frames, part.labels, part.label_lengths)
        total, weight = loss_and_weight(losses, feasible, part.label_lengths, config.loss)
        goal = total
        for logits_before in updated.get(AUXILIARY, {}).get("logits", ()):
            early, _ = ctc_loss(logits_before, frames, part.labels, part.label_lengths)
            early, _ = loss_and_weight(early, feasible, part.label_lengths, config.loss)
            goal += config.model.auxiliary * early
        padded = jnp.arange(logits.shape[1])[None, :] >= frames[:, None]
        empty = jnp.all((jnp.argmax(logits, -1) == 0) | padded, axis=1)
        seen = part.widths > 0
        sums = {
            "loss": total,
            "loss_weight": weight,
            "rows": jnp.sum(seen),
            "infeasible": jnp.sum(seen & ~feasible),
            "empty_readings": jnp.sum(seen & empty),
        }
        sums = {name: value.astype(jnp.float32) for name, value in sums.items()}
        return goal, (updated.get("batch_stats", {}), sums)

    def add(done: Any, part: tuple[types.Batch, Any]) -> Any:
        grads, batch_stats, sums = done
        more, (batch_stats, counted) = jax.grad(loss_fn, has_aux=True)(
            state.params, batch_stats, *part
        )
        return jax.tree.map(jnp.add, grads, more), batch_stats, jax.tree.map(jnp.add, sums, counted)

    nothing = jax.tree.map(jnp.zeros_like, state.params)
    sums = {name: jnp.zeros(()) for name in _SUMS_OF_ROWS}
    # Every part gets rows from all over the batch, so that it is spread over the same devices.
    # Batches by columns may leave a device rows that do not split; zeros are rows without a width.
    rest = -len(batch.widths) % count
    batch = jax.tree.map(lambda x: jnp.pad(x, [(0, rest), *[(0, 0)] * (x.ndim - 1)]), batch)
    parts = jax.tree.map(lambda x: jnp.stack([x[i::count] for i in range(count)]), batch)
    grads, batch_stats, sums = fold(add, (nothing, state.batch_stats, sums), parts, count)
    grads, sums = axis.sum((grads, sums))
    weight = jnp.maximum(sums["loss_weight"], 1.0)
    return jax.tree.map(lambda grad: grad / weight, grads), batch_stats, sums


def fold(function: Callable[[Any, Any], Any], carry: Any, parts: Any, count: int) -> Any:
    """Returns `carry` after `function(carry, (part, number))` for every part in turn.

    A loop, which needs the memory of one part alone and is compiled once.

    Args:
      function: pure.
      carry: arrays whose shapes the function keeps.
      parts: arrays with a leading axis of `count`; None where there are none.
      count: of the parts.
    """
    if count == 1:
        return function(carry, (jax.tree.map(lambda x: x[0], parts), jnp.int32(0)))
    return jax.lax.scan(
        lambda done, part: (function(done, part), None), carry, (parts, jnp.arange(count))
    )[0]
