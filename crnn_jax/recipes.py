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
    augment: str  # preset for the labelled images


_TIERS = (
    _Tier(300, 32, 3e-4, "encoder=0.1", 40, 0.5, 0.98, 3, ""),
    _Tier(3_000, 32, 1e-3, "encoder=0.3", 20, 0.3, 0.99, 4, ""),
    _Tier(30_000, 64, 1e-3, "", 10, 0.2, 0.999, 5, "document"),
    _Tier(float("inf"), 64, 1e-3, "", 5, 0.1, 0.999, 5, ""),
)
_FEWEST_EXAMPLES = 3_000  # the warm-up and the average need about a hundred steps


def recipe(rows: int, replay: float | None = None) -> dict[str, Any]:
    """Returns config keys and values that suit fine-tuning on so many labelled rows.

    Four tiers, below 300, 3,000 and 30,000 rows and above. What changes between them, and why:

    - optimizer.groups: what a stroke looks like is learnt from far more images than a small set
      has, so the encoder is slowed down, the more the fewer rows there are. The recurrence and the
      classifier learn at the full rate: new words and characters need it.
    - optimizer.learning_rate: half of what the same network is trained with from scratch, less for
      a handful of rows: the higher it is, the more is forgotten on the way.
    - total_examples: 40 passes over few rows to 5 over many, rendered text of the replay (see
      `replay_share`) on top; at least 3,000, for the warm-up and the average to mean something.
    - warmup_percent 10: the optimizer's averages of squares begin empty, and its first steps would
      be the largest.
    - ema: readings of a network that sees few rows jump from step to step; the average of the last
      fifty to thousand steps does not.
    - data.augment: some thousand rows are learnt by heart in ten passes unless they look otherwise
      each time (docs/finetuning.md). Fewer were read no better for it, more were not tried.
    - stop_patience: few rows are learnt by heart early, and the best checkpoint is kept anyway.
      Evaluations are 20 in a run, so that there is something to be patient about.

    Measured once each, from the quickstart model, on IIIT5K words (400 held out; 67 % before): with
    1,600 rows in 8,000 examples a free encoder reaches 79 % of them and reads 2.3 points less of
    rendered words than before, factor 0.3 78 % and 1.0, factor 0.1 76 % and 1.0, a third of the
    rate 75 % and 0.6. A hundred rows (4,000 examples) gave nothing beyond the error of 2.4 points,
    whatever was frozen. Without replay, at the rate 1e-3, they cost 8 points of rendered words and
    7 of Street View Text; with half of it, at 3e-4, at most 1 and 2 to 4.

    Args:
      rows: labelled rows to train on.
      replay: share of rendered text in a batch; None: `replay_share(rows)`.

    Raises:
      UserError: for no rows, or a share that is none.
    """
    tier = _tier(rows)
    replay = tier.replay if replay is None else replay
    if not 0 <= replay < 1:
        raise UserError(f"replay={replay}: give a share of the batch, from 0 to below 1")
    examples = rows * tier.passes / (1 - replay)
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
        "data.augment": tier.augment,
    }


def replay_share(rows: int) -> float:
    """Returns the share of a batch that should be rendered text, so that old skills stay.

    It is a weight in `config.data.train`: 0.5 for a handful of rows, which say little about text in
    general, down to 0.1 for very many.
    """
    return _tier(rows).replay


def apply_recipe(config: ConfigDict, rows: int, replay: float | None = None) -> dict[str, Any]:
    """Sets the knobs of `recipe` in a config, in place, and returns them."""
    chosen = recipe(rows, replay)
    config_lib.apply_overrides(config, [(key, str(value)) for key, value in chosen.items()])
    return chosen


def describe(rows: int, replay: float | None = None) -> str:
    """Returns the recipe as a line for people; arguments as for `recipe`."""
    told = ", ".join(f"{key}={value!r}" for key, value in recipe(rows, replay).items())
    share = replay_share(rows) if replay is None else replay
    return f"recipe for {rows} rows, where nothing else is given: {told}, replay={share:g}"


def _tier(rows: int) -> _Tier:
    if rows < 1:
        raise UserError(f"a recipe for {rows} rows: fine-tuning needs at least one labelled row")
    return next(tier for tier in _TIERS if rows < tier.rows)
