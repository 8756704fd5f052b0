"""How long a run is and how often it does what: durations in steps, epochs, examples or percent."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from crnn_jax.errors import UserError

_LOG = logging.getLogger("crnn_jax")
# Units in which a duration may be given, as in `total_steps` or `total_epochs`.
UNITS = ("steps", "epochs", "examples")
DURATIONS = ("total", "warmup", "eval_every", "checkpoint_every")


def units_of(config: Any, name: str) -> list[str]:
    """Returns the knobs that can give a duration, one per unit."""
    return [key for unit in (*UNITS, "percent") if (key := f"{name}_{unit}") in config]


def given_duration(config: ConfigDict, name: str) -> tuple[str, int | float]:
    """Returns the one knob that gives a duration, and its value."""
    units = units_of(config, name)
    given = [key for key in units if config[key] is not None]
    if len(given) != 1:
        have = " and ".join(given) or "nothing"
        raise UserError(f"config gives {have} for {name}: give exactly one of {', '.join(units)}")
    value = config[given[0]]
    if value < 0 or (value == 0 and name != "warmup"):
        raise UserError(f"config.{given[0]} is {value}: give a positive number")
    return given[0], value


def steps(
    config: ConfigDict, name: str, steps_per_epoch: int | None, total: int | None = None
) -> int:
    """Returns a duration in steps, whatever unit it is given in; at least 1 (a warm-up: 0).

    Args:
      config: the config.
      name: as in "total" or "eval_every".
      steps_per_epoch: of the training data; None where it has no end.
      total: steps of the run, for durations in percent.

    Raises:
      UserError: when it is given in no unit, in several, or in epochs of data without end.
    """
    key, value = given_duration(config, name)
    unit = key.rpartition("_")[2]
    if unit == "epochs":
        if steps_per_epoch is None:
            raise UserError(
                f"config.{key} is {value}, but rendered text has no epochs: give config.{name}"
                f"_steps or config.{name}_examples, or the SPEC a limit="
            )
        value *= steps_per_epoch
    elif unit == "examples":
        value /= config.batch_size
    elif unit == "percent":
        value = (total or 0) * value / 100
    return max(round(value), 0 if name == "warmup" else 1)


class Lengths(NamedTuple):
    """The durations of a run, in steps."""

    total: int
    warmup: int
    eval_every: int
    checkpoint_every: int


def lengths(config: ConfigDict, steps_per_epoch: int | None) -> Lengths:
    """Returns all durations in steps, see `steps`.

    Raises:
      UserError: also for intervals that are no multiples of `config.steps_per_dispatch`.
    """
    total = steps(config, "total", steps_per_epoch)
    others = (steps(config, name, steps_per_epoch, total) for name in Lengths._fields[1:])
    found = Lengths(total, *others)
    _check_dispatches(config, found)
    if found.warmup > total:
        _LOG.warning(
            "the warm-up of %d steps is longer than the run of %d: config.optimizer.learning_rate "
            "is never reached; shorten config.warmup_*, or train longer",
            found.warmup, total,
        )  # fmt: skip
    return found


def _check_dispatches(config: Any, lengths: Lengths) -> None:
    """Raises a UserError where something is due in the middle of a program call."""
    each = config.steps_per_dispatch
    due = {
        "the run's length": lengths.total,
        "the interval of evaluations": lengths.eval_every,
        "the interval of checkpoints": lengths.checkpoint_every,
        "config.log_every_steps": config.log_every_steps,
    }
    for name, steps in due.items():
        if steps % each:
            raise UserError(
                f"config.steps_per_dispatch is {each}, and {name} {steps} steps: give multiples "
                f"of {each}"
            )
