"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from typing import Any

import jax
import optax

from crnn_jax.errors import unknown_name


def create_learning_rate_fn(config: Any, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear warm-up, then the schedule of the config.

    Args:
      config: the run's config (`optimizer.learning_rate`, `schedule`).
      warmup_steps: length of the warm-up; the rate reaches its peak at its end.
      total_steps: length of the run; `cosine` (Loshchilov and Hutter, 2017) ends there at 0.
    """
    peak = config.optimizer.learning_rate
    rest = max(total_steps - warmup_steps, 1)
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
    }
    if config.schedule not in after:
        raise unknown_name("schedule", config.schedule, after)
    if warmup_steps == 0:
        return after[config.schedule]()
    # From 1/n rather than 0, so that the first step already learns.
    ramp = optax.linear_schedule(peak / warmup_steps, peak, warmup_steps - 1 or 1)
    return optax.join_schedules([ramp, after[config.schedule]()], [warmup_steps])


def _decayed(params: Any) -> Any:
    """True for kernels: biases and norms carry no weight decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "kernel" in jax.tree_util.keystr(path[-1:]), params
    )


OPTIMIZERS = {
    # Zeiler, 2012; the paper trains with rho 0.9 and no rate to tune (learning_rate = 1).
    "adadelta": lambda rate, o: optax.adadelta(rate, rho=o.rho, eps=o.epsilon),
    "adam": lambda rate, o: optax.adam(rate, o.beta1, o.beta2, o.epsilon),
    "adamw": lambda rate, o: optax.adamw(
        rate, o.beta1, o.beta2, o.epsilon, weight_decay=o.weight_decay, mask=_decayed
    ),
    "lion": lambda rate, o: optax.lion(
        rate, o.beta1, o.beta2, weight_decay=o.weight_decay, mask=_decayed
    ),
    "rmsprop": lambda rate, o: optax.rmsprop(rate, decay=o.rho, eps=o.epsilon, momentum=o.momentum),
    "sgd": lambda rate, o: optax.sgd(rate, momentum=o.momentum, nesterov=True),
}


def create_optimizer(config: Any, learning_rate_fn: optax.Schedule) -> optax.GradientTransformation:
    """Returns the config's optimizer behind gradient clipping by global norm."""
    options = config.optimizer
    if options.name not in OPTIMIZERS:
        raise unknown_name("optimizer", options.name, OPTIMIZERS)
    optimizer = OPTIMIZERS[options.name](learning_rate_fn, options)
    if config.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer
