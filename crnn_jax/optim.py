"""Optimizers, learning-rate schedules and rates of parameter groups, by name."""

from __future__ import annotations

import re
from typing import Any

import jax
import optax

from crnn_jax.errors import UserError, unknown_name

_ONE_CYCLE_START, _ONE_CYCLE_END = 1 / 25, 1e-4  # of the peak; Smith and Topin, 2018

# After the warm-up, of the peak, the steps that are left and the config.
SCHEDULES = {
    "constant": lambda peak, rest, c: optax.constant_schedule(peak),
    "cosine": lambda peak, rest, c: optax.cosine_decay_schedule(peak, rest),
    "one_cycle": lambda peak, rest, c: optax.cosine_decay_schedule(
        peak, rest, alpha=_ONE_CYCLE_END
    ),
    "step": lambda peak, rest, c: optax.exponential_decay(
        peak, max(round(rest * c.step_percent / 100), 1), c.step_factor, staircase=True
    ),
    "plateau": lambda peak, rest, c: optax.constant_schedule(peak),
}


def create_learning_rate_fn(config: Any, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: a warm-up, then the schedule of the config.

    The factor that a plateau or a roll-back sets is part of the state, not of this function.

    Args:
      config: the run's config (`optimizer.learning_rate`, `schedule` and the knobs after it).
      warmup_steps: length of the warm-up; the rate reaches its peak at its end.
      total_steps: length of the run; `cosine` (Loshchilov and Hutter, 2017) ends there at 0.
    """
    peak = config.optimizer.learning_rate
    rest = max(total_steps - warmup_steps, 1)
    if config.schedule not in SCHEDULES:
        raise unknown_name("schedule", config.schedule, SCHEDULES)
    after = SCHEDULES[config.schedule](peak, rest, config)
    if warmup_steps == 0:
        return after
    if config.schedule == "one_cycle":
        ramp = optax.cosine_decay_schedule(peak, warmup_steps, alpha=_ONE_CYCLE_START)
        rise = lambda step: ramp(warmup_steps - step)  # noqa: E731
    else:
        # From 1/n rather than 0, so that the first step already learns.
        rise = optax.linear_schedule(peak / warmup_steps, peak, warmup_steps - 1 or 1)
    return optax.join_schedules([rise, after], [warmup_steps])


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
    """Returns the config's optimizer between clipping by global norm and the groups' factors.

    Gradients of frozen parameters (factor 0) count for nothing, not even for the norm.
    """
    options = config.optimizer
    if options.name not in OPTIMIZERS:
        raise unknown_name("optimizer", options.name, OPTIMIZERS)
    parts = [OPTIMIZERS[options.name](learning_rate_fn, options)]
    if config.clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    groups = parse_groups(options.groups)
    if groups:
        parts.insert(0, _scaled(groups, lambda factor: float(factor > 0)))
        parts.append(_scaled(groups, lambda factor: factor))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def parse_groups(text: str) -> list[tuple[re.Pattern[str], float]]:
    """Parses `REGEX=FACTOR ...`, separated by spaces; raises a UserError that says how."""
    groups = []
    for item in text.split():
        pattern, _, factor = item.rpartition("=")
        try:
            groups.append((re.compile(pattern), float(factor)))
        except (ValueError, re.error) as error:
            raise UserError(
                f"config.optimizer.groups holds {item!r} ({error}): give REGEX=FACTOR, separated "
                "by spaces, as in 'encoder=0.1 classifier=1'; 0 freezes"
            ) from None
        if not pattern or not 0 <= groups[-1][1] < float("inf"):
            raise UserError(
                f"config.optimizer.groups holds {item!r}: give a regular expression and a factor "
                "of the learning rate, 0 or above"
            )
    return groups


def group_factors(params: Any, groups: list[tuple[re.Pattern[str], float]]) -> Any:
    """Returns the factor of every parameter: of the first group whose regex is found in its path.

    Args:
      params: a tree; the path of a leaf is like `encoder/conv_1/kernel`.
      groups: from `parse_groups`; 1 for parameters in none of them.

    Raises:
      UserError: for a group that holds no parameter.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]
    for pattern, _ in groups:
        if not any(map(pattern.search, names)):
            tops = sorted({name.partition("/")[0] for name in names})
            raise UserError(
                f"config.optimizer.groups: no parameter matches {pattern.pattern!r}; their paths "
                f"begin with {', '.join(tops)}"
            )
    factors = [
        next((factor for pattern, factor in groups if pattern.search(name)), 1.0) for name in names
    ]
    return jax.tree.unflatten(treedef, factors)


def _scaled(groups: Any, of_factor: Any) -> optax.GradientTransformation:
    """Returns a transformation that multiplies each update by a number of its group."""

    def init(params: Any) -> optax.EmptyState:
        group_factors(params, groups)  # complains of a group without parameters
        return optax.EmptyState()

    def scale(updates: Any, state: Any, params: Any) -> Any:
        factors = jax.tree.map(of_factor, group_factors(params, groups))
        return jax.tree.map(lambda update, factor: update * factor, updates, factors), state

    return optax.GradientTransformation(init, scale)
