"""Settings for fine-tuning, by how many labelled rows there are."""

from __future__ import annotations

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax.errors import UserError


class _Tier(NamedTuple):
    rows: float  # the tier is for fewer than these
    batch_size: int
    learning_rate: float
    groups: str
    passes: int  # over the labelled rows
    replay: float  # share of rendered text in a batch
    ema: float
    stop_patience: int


_TIERS = (
    _Tier(300, 32, 5e-4, "encoder=0", 40, 0.5, 0.98, 3),
    _Tier(3_000, 32, 5e-4, "encoder=0.1", 20, 0.3, 0.99, 4),
    _Tier(30_000, 64, 1e-3, "encoder=0.3", 10, 0.2, 0.999, 5),
    _Tier(float("inf"), 64, 1e-3, "", 5, 0.1, 0.999, 5),
)
_FEWEST_EXAMPLES = 3_000  # the warm-up and the average need about a hundred steps


def recipe(rows: int) -> dict[str, Any]:
    """Returns config keys and values that suit fine-tuning on so many labelled rows.

    Four tiers, below 300, 3,000 and 30,000 rows and above. What changes between them, and why:

    - optimizer.groups: what a stroke looks like is learnt from far more images than a small set
      has, and it is what overfits first, so the encoder is frozen, then slow, then free. The
      recurrence and the classifier learn at the full rate: new fonts, words and characters need it.
    - optimizer.learning_rate: a quarter to a half of what the same network is trained with from
      scratch; above it, what was learnt is gone before the warm-up ends.
    - total_examples: 40 passes over few rows to 5 over many, rendered text of the replay (see
      `replay_share`) on top; at least 3,000, for the warm-up and the average to mean something.
    - warmup_percent 10: the optimizer's averages of squares begin empty, and its first steps would
      be the largest.
    - ema: readings of a network that sees few rows jump from step to step; the average of the last
      fifty to thousand steps does not.
    - stop_patience: few rows are learnt by heart early, and the best checkpoint is kept anyway.
      Evaluations are 20 in a run, so that there is something to be patient about.

    Args:
      rows: labelled rows to train on.

    Raises:
      UserError: for no rows.
    """
    tier = _tier(rows)
    examples = rows * tier.passes / (1 - tier.replay)
    return {
        "batch_size": tier.batch_size,
        "optimizer.learning_rate": tier.learning_rate,
        "optimizer.groups": tier.groups,
        "total_examples": max(round(examples), _FEWEST_EXAMPLES),
        "warmup_percent": 10.0,
        "eval_every_percent": 5.0,
        "schedule": "cosine",
        "ema": tier.ema,
        "stop_patience": tier.stop_patience,
    }


def replay_share(rows: int) -> float:
    """Returns the share of a batch that should be rendered text, so that old skills stay.

    It is a weight in `config.data.train`: 0.5 for a handful of rows, which say little about text in
    general, down to 0.1 for very many.
    """
    return _tier(rows).replay


def apply_recipe(config: ConfigDict, rows: int) -> dict[str, Any]:
    """Sets the knobs of `recipe(rows)` in a config, in place, and returns them."""
    chosen = recipe(rows)
    config_lib.apply_overrides(config, [(key, str(value)) for key, value in chosen.items()])
    return chosen


def describe(rows: int) -> str:
    """Returns the recipe as a line for people."""
    told = ", ".join(f"{key}={value!r}" for key, value in recipe(rows).items())
    return f"recipe for {rows} rows: {told}, replay={replay_share(rows)}"


def _tier(rows: int) -> _Tier:
    if rows < 1:
        raise UserError(f"a recipe for {rows} rows: fine-tuning needs at least one labelled row")
    return next(tier for tier in _TIERS if rows < tier.rows)
