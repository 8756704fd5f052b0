"""Whether confidences mean what they say: all figures, and what chance alone gives of them.

The calibration error is never 0 for finitely many rows. So it comes with its noise floor, what
confidences that mean exactly what they say show on as many rows, and with an interval.

Sources: Bröcker and Smith, Increasing the Reliability of Reliability Diagrams (Weather and
Forecasting 22, 2007), for the floor by simulation; Efron and Tibshirani, An Introduction to the
Bootstrap (1993), for the mirrored interval.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from crnn_jax.scoring.reliability import (
    BINS,
    KINDS,
    Bin,
    brier_score,
    calibration_error,
    check_rows,
    ece_of,
    layout,
    log_loss,
    max_calibration_error,
    reliability_bins,
)

__all__ = [
    "BINS", "KINDS", "Bin", "Floor", "Summary", "brier_score", "calibration_error", "check_rows",
    "ece_interval", "log_loss", "max_calibration_error", "noise_floor", "reliability_bins",
    "summarise",
]  # fmt: skip

SIMULATIONS = RESAMPLES = 1000
_SEED = 20170706
_CELLS = 10_000_000  # of the largest array, so that a set of any size fits into memory


@dataclasses.dataclass(frozen=True)
class Floor:
    """What the ECE of perfectly calibrated confidences would be for these rows.

    Attributes:
      mean: on average.
      high: in 95 % of cases at most.
      p: how often it would be at least that of the rows; small where they are not calibrated.
    """

    mean: float
    high: float
    p: float


def noise_floor(
    confidences: Any,
    correct: Any,
    bins: int = BINS,
    kind: str = "mass",
    simulations: int = SIMULATIONS,
) -> Floor:
    """Simulates rows that are right with the probability that their confidence says.

    Args and errors: as `reliability_bins`; `simulations` says how many times.
    """
    confidences, correct = check_rows(confidences, correct)
    if not len(confidences):
        return Floor(math.nan, math.nan, math.nan)
    order, starts = layout(confidences, bins, kind)
    values = confidences[order]
    rng = np.random.default_rng(_SEED)
    parts, at_once = [], max(1, _CELLS // len(values))
    for first in range(0, simulations, at_once):
        size = min(at_once, simulations - first), len(values)
        parts.append(ece_of(values - (rng.random(size) < values), starts))
    found = np.concatenate(parts)
    own = ece_of((confidences - correct)[None, order], starts)[0]
    p = (1 + np.sum(found >= own - 1e-12)) / (1 + simulations)
    return Floor(float(found.mean()), float(np.quantile(found, 0.95)), float(p))


def ece_interval(
    confidences: Any,
    correct: Any,
    groups: Sequence[Hashable] | None = None,
    bins: int = BINS,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Returns a 95 % bootstrap interval of the ECE with bins of equal mass; NaN without rows.

    The resamples' ECE is above that of the rows by about as much as theirs is above the truth, so
    the interval is the mirrored one (basic bootstrap). It begins at 0 where the rows are what
    calibrated confidences may well show (`noise_floor`, 95 %), which no resample can be. Of
    500 and of 1,500 simulated rows with true errors of 0 to 0.14 it held the true one in 84 to 97 %
    of cases.

    Args:
      confidences: (N,), from 0 to 1.
      correct: (N,), whether the row is right.
      groups: (N,), of the rows, words of one photograph for instance; groups are drawn whole.
      bins: most bins.
      resamples: how many.

    Raises:
      UserError: as `check_rows`.
    """
    confidences, correct = check_rows(confidences, correct)
    if not len(correct):
        return math.nan, math.nan
    of_row = np.arange(len(correct))
    if groups is not None:
        numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        of_row = np.array([numbers[group] for group in groups])
    order = np.argsort(confidences, kind="stable")
    values, outcomes, of_row = confidences[order], correct[order], of_row[order]
    rng = np.random.default_rng(_SEED)
    count = int(of_row.max()) + 1
    found = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[of_row]
        drawn = np.repeat(values, times), np.repeat(outcomes, times)
        found.append(calibration_error(*drawn, bins))
    own = calibration_error(confidences, correct, bins)
    low, high = np.quantile(found, [0.025, 0.975])
    chance = own <= noise_floor(confidences, correct, bins).high
    return 0.0 if chance else max(0.0, float(2 * own - high)), max(own, float(2 * own - low))


@dataclasses.dataclass(frozen=True)
class Summary:
    """How far the confidences of some rows can be believed.

    Attributes:
      rows: how many.
      accuracy: share that is right; `confidence`, the mean of what was promised.
      ece: with bins of equal mass, and `floor`, what chance gives of it.
      ece_width: with bins of equal width, as older papers report it.
      mce: maximum calibration error, bins of equal mass.
      brier, log_loss: proper scores, which reward sharp confidences, too.
    """

    rows: int
    accuracy: float
    confidence: float
    ece: float
    floor: Floor
    ece_width: float
    mce: float
    brier: float
    log_loss: float

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self)


def summarise(confidences: Any, correct: Any, bins: int = BINS) -> Summary:
    """Returns all figures of some rows; NaN without any.

    Raises:
      UserError: as `check_rows`.
    """
    confidences, correct = check_rows(confidences, correct)
    rows = len(correct)
    return Summary(
        rows,
        float(correct.mean()) if rows else math.nan,
        float(confidences.mean()) if rows else math.nan,
        calibration_error(confidences, correct, bins),
        noise_floor(confidences, correct, bins),
        calibration_error(confidences, correct, bins, "width"),
        max_calibration_error(confidences, correct, bins),
        brier_score(confidences, correct),
        log_loss(confidences, correct),
    )
