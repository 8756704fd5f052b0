"""Means over models, over sets and over images, with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.scoring import significance
from crnn_jax.scoring.significance import Interval, RowScores

OVER_SETS, OVER_IMAGES = "mean over sets", "mean over images"


@dataclasses.dataclass(frozen=True)
class Summary:
    """A metric's mean over models, over sets or over images, with its interval.

    Attributes:
      system: the model, or how many of them.
      over: a set's name, OVER_SETS or OVER_IMAGES.
      sets, count: how many sets and images.
      word_accuracy, cer: means over the models.
      deviation: standard deviation of the models' word accuracies; None for one model.
      intervals: 95 %, by metric.
    """

    system: str
    over: str
    sets: int
    count: int
    word_accuracy: float
    cer: float
    deviation: float | None
    intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return dataclasses.asdict(self)


def summarise(
    system: str, names: Sequence[str], scores: Sequence[Sequence[RowScores]], resamples: int
) -> tuple[list[Summary], list[Summary]]:
    """Returns the summary of every set and, of several, those over sets and over images.

    Args:
      system: its name.
      names: of the sets.
      scores: per set, of the models.
      resamples: how many.
    """
    # (sets, models) each; a set without a row that counts is in no mean.
    count, correct, distance, characters = (
        np.array([[function(one.where(one.compared)) for one in models] for models in scores])
        for function in (
            lambda kept: len(kept.correct),
            lambda kept: kept.correct.sum(),
            lambda kept: kept.distance.sum(),
            lambda kept: kept.length.sum(),
        )
    )
    sums = [
        significance.bootstrap(one, name, resamples)
        for name, one in zip(names, scores, strict=True)
    ]

    def summary(over: str, rows: np.ndarray, accuracies, cers, replicates) -> Summary:
        models = len(accuracies)
        deviation = float(np.std(accuracies, ddof=1)) if models > 1 else None
        means = float(np.mean(accuracies)), float(np.mean(cers))
        total = int(count[rows, 0].sum())
        return Summary(system, over, len(rows), total, *means, deviation, replicates.intervals())

    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy, cer = correct / count, distance / characters
    every = [
        summary(name, np.array([s]), accuracy[s], cer[s], sums[s].metrics())
        for s, name in enumerate(names)
    ]
    some = np.flatnonzero(count[:, 0])
    if len(some) < 2:
        return every, []
    kept = [sums[s] for s in some]
    return every, [
        summary(
            OVER_SETS, some, accuracy[some].mean(0), cer[some].mean(0),
            significance.mean_of_sets(kept),
        ),
        summary(
            OVER_IMAGES, some, correct.sum(0) / count.sum(0), distance.sum(0) / characters.sum(0),
            significance.mean_of_images(kept),
        ),
    ]  # fmt: skip
