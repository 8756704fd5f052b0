"""Reliability: confidences against the share of rows that is right, in bins and as one number.

A confidence is calibrated if, of the rows that have confidence p, a share p is right. Calibration
errors compare the two in bins. What chance does to them is in `calibration`.

Sources: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), for the expected
calibration error; Nguyen and O'Connor (EMNLP 2015) and Roelofs et al., Mitigating Bias in
Calibration Error Estimation (AISTATS 2022), for bins of equal mass; Brier, Monthly Weather Review
78 (1950).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from crnn_jax.errors import UserError, unknown_name
from crnn_jax.metrics import wilson_interval

BINS = 10  # a hundred rows each where a set has a thousand; the floor grows with the square root
KINDS = ("mass", "width")
# A forward score in float32 cannot tell a confidence from 0 or 1 any better than this.
SMALLEST = 1e-6


def check_rows(confidences: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns confidences (N,) as float64 and whether each row is right (N,) as bool.

    Raises:
      UserError: different lengths, a confidence that is NaN or outside [0, 1], a row that is
        neither right nor wrong.
    """
    confidences = np.asarray(confidences, np.float64)
    outcomes = np.asarray(correct)
    if confidences.ndim != 1 or confidences.shape != outcomes.shape:
        raise UserError(
            f"confidences {confidences.shape} and correct {outcomes.shape}: give two lists of one "
            "length, a row each"
        )
    inside = (confidences >= 0) & (confidences <= 1)  # NaN is not
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise UserError(
            f"confidence {confidences[row]} of row {row}: a confidence is a probability, from 0 to "
            "1; leave rows without one out"
        )
    if not np.isin(outcomes, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(outcomes, (0, 1)))[0])
        raise UserError(f"correct is {outcomes[row]!r} in row {row}: give True or False")
    return confidences, outcomes.astype(bool)


@dataclasses.dataclass(frozen=True)
class Bin:
    """Rows of similar confidence.

    Attributes:
      low, high: least and greatest confidence of its rows.
      count: rows, at least one.
      confidence: their mean confidence.
      correct: rows that are right.
    """

    low: float
    high: float
    count: int
    confidence: float
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.count)

    @property
    def gap(self) -> float:
        """Mean confidence less accuracy: above 0 where the confidence promises too much."""
        return self.confidence - self.accuracy

    def to_json(self) -> dict[str, Any]:
        """Returns the bin with its accuracy and interval."""
        more = {"accuracy": self.accuracy, "interval": list(self.interval)}
        return dataclasses.asdict(self) | more


def reliability_bins(
    confidences: Any, correct: Any, bins: int = BINS, kind: str = "mass"
) -> tuple[Bin, ...]:
    """Returns the bins that hold rows, lowest confidence first.

    Args:
      confidences: (N,), from 0 to 1.
      correct: (N,), whether the row is right.
      bins: most bins.
      kind: `mass` gives every bin as many rows, but rows of one confidence share a bin, so that the
        order of rows does not matter; `width` cuts [0, 1] into equal parts, a row on the border
        belongs to the upper one.

    Raises:
      UserError: as `check_rows`; another kind.
    """
    confidences, correct = check_rows(confidences, correct)
    order, starts = layout(confidences, bins, kind)
    counts, sums = _sums(confidences[order], starts)
    _, right = _sums(correct[order], starts)
    stops = starts + counts - 1
    values = confidences[order]
    return tuple(
        Bin(float(values[a]), float(values[b]), int(n), float(total / n), int(k))
        for a, b, n, total, k in zip(starts, stops, counts, sums, right, strict=True)
    )


def calibration_error(
    confidences: Any, correct: Any, bins: int = BINS, kind: str = "mass"
) -> float:
    """Returns the expected calibration error (ECE): the mean of abs(confidence - accuracy).

    The ECE that this project reports has bins of equal mass. A recogniser's confidences crowd near
    1, so that most bins of equal width hold a handful of rows, whose accuracy is chance: their ECE
    is biased up and jumps from set to set (Roelofs et al.). NaN without rows.

    Args and errors: as `reliability_bins`.
    """
    confidences, correct = check_rows(confidences, correct)
    order, starts = layout(confidences, bins, kind)
    return float(ece_of((confidences - correct)[None, order], starts)[0])


def max_calibration_error(
    confidences: Any, correct: Any, bins: int = BINS, kind: str = "mass"
) -> float:
    """Returns the greatest abs(confidence - accuracy) of a bin; NaN without rows.

    Args and errors: as `reliability_bins`.
    """
    found = reliability_bins(confidences, correct, bins, kind)
    return max((abs(b.gap) for b in found), default=math.nan)


def brier_score(confidences: Any, correct: Any) -> float:
    """Returns the mean squared difference of confidence and outcome; NaN without rows."""
    confidences, correct = check_rows(confidences, correct)
    return float(np.mean((confidences - correct) ** 2)) if len(correct) else math.nan


def log_loss(confidences: Any, correct: Any) -> float:
    """Returns the mean -log p(what happened) in nats; NaN without rows.

    A confidence counts as at least 1e-6 and at most 1 - 1e-6: one wrong row of confidence 1, which
    float32 rounds to, would make it infinite.
    """
    confidences, correct = check_rows(confidences, correct)
    if not len(correct):
        return math.nan
    p = np.clip(confidences, SMALLEST, 1 - SMALLEST)
    return float(-np.mean(np.log(np.where(correct, p, 1 - p))))


def layout(confidences: np.ndarray, bins: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns an order of the rows (N,), by confidence, and where in it each bin starts."""
    if kind not in KINDS:
        raise unknown_name("kind of bins", kind, KINDS)
    if bins < 1:
        raise UserError(f"{bins} bins: give at least 1")
    order = np.argsort(confidences, kind="stable")
    values = confidences[order]
    if not len(values):
        return order, np.zeros(0, np.int64)
    if kind == "width":
        number = np.minimum((values * bins).astype(np.int64), bins - 1)
        return order, np.flatnonzero(np.diff(number, prepend=-1))
    wanted = np.round(np.arange(min(bins, len(values))) * len(values) / bins).astype(np.int64)
    if bins > len(values):
        wanted = np.arange(len(values))
    # A border within equal confidences moves to their beginning.
    return order, np.unique(np.searchsorted(values, values[wanted], side="left"))


def _sums(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of each bin and the sum of their values."""
    counts = np.diff(starts, append=len(values))
    if not len(starts):
        return counts[:0], values[:0]
    return counts, np.add.reduceat(values.astype(np.float64), starts)


def ece_of(differences: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the ECE (S,) of confidence less outcome, (S, N) in the order that `layout` gives."""
    if not len(starts):
        return np.full(len(differences), math.nan)
    sums = np.add.reduceat(differences, starts, axis=1)
    return np.abs(sums).sum(axis=1) / differences.shape[1]
