"""How sure a result is: intervals over images (bootstrap) and seeds (t), and paired tests.

A resample of rows is drawn as counts of the distinct rows (a multinomial), which is the same
distribution as drawing row after row and costs by the distinct rows, of which there are few.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 13.3 and 15.4;
McNemar, Psychometrika 12 (1947), in its exact form.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crnn_jax import metrics

if TYPE_CHECKING:
    from crnn_jax.scoring.results import Row

RESAMPLES = 2000
_SEED = 20150721
_CELLS = 20_000_000  # of the largest array, so that a set of any size fits into memory


@dataclasses.dataclass(frozen=True)
class RowScores:
    """What every row of a set is worth, all rows (N,) in the set's order.

    Attributes:
      compared: whether it counts: its label is not empty under the protocol.
      correct: 1 for a reading without an error, else 0.
      distance: edits between label and reading, in characters.
      length: characters of the label.
    """

    compared: np.ndarray
    correct: np.ndarray
    distance: np.ndarray
    length: np.ndarray

    def where(self, mask: np.ndarray) -> RowScores:
        """Returns the rows of a mask (N,)."""
        return RowScores(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))


def score_rows(rows: Sequence[Row], protocol: str) -> RowScores:
    """Scores every row alone, as `metrics.RecognitionMetrics` sums them."""
    texts = [
        (metrics.apply_protocol(row.label, protocol), metrics.apply_protocol(row.reading, protocol))
        for row in rows
    ]
    numbers = [(len(a) > 0, a == b, metrics.edit_distance(a, b), len(a)) for a, b in texts]
    columns = np.array(numbers, np.int64).reshape(-1, 4).T
    return RowScores(columns[0] > 0, *columns[1:])


def join(parts: Sequence[RowScores]) -> RowScores:
    """Returns the rows of all parts, one after the other."""
    names = [f.name for f in dataclasses.fields(RowScores)]
    return RowScores(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


class Interval(NamedTuple):
    """A 95 % interval; NaN where nothing was compared."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Replicates:
    """Metrics of the resamples of a set, (R,) each."""

    word_accuracy: np.ndarray
    cer: np.ndarray

    def intervals(self) -> dict[str, Interval]:
        """Returns the interval of each, by its name."""
        return {f.name: interval(getattr(self, f.name)) for f in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class ResampledSums:
    """Sums over each resample of a set, (R,), means over the models drawn.

    Attributes:
      correct: rows read right.
      distance: edits.
      characters: of the labels.
      rows: of the set, the same in every resample.
    """

    correct: np.ndarray
    distance: np.ndarray
    characters: np.ndarray
    rows: int | np.integer

    def metrics(self) -> Replicates:
        """Returns the metrics of every resample."""
        return Replicates(
            _fractions(self.correct, self.rows), _fractions(self.distance, self.characters)
        )


def interval(values: np.ndarray) -> Interval:
    """Returns the percentile interval of the replicates (R,) of a metric."""
    if np.isnan(values).any():
        return Interval(np.nan, np.nan)
    return Interval(*np.quantile(values, [0.025, 0.975]).tolist())


def bootstrap(
    models: Sequence[RowScores], name: str = "", resamples: int = RESAMPLES
) -> ResampledSums:
    """Returns a set resampled: over its images, and over models if there are several.

    Each resample draws images, the same ones for all models, and adds what the mean over models
    may be off by, as Student's t has it. Resample i weighs the models alike in every set, so that
    means over sets may be made of it. One model tells nothing of others: then it is images alone.

    Args:
      models: scores of the same rows by one model, or by models that differ in their seed.
      name: of the set: sets of different names are drawn independently.
      resamples: how many.
    """
    mask = models[0].compared
    count = len(models)
    columns = [m.correct[mask] for m in models] + [m.distance[mask] for m in models]
    sums = _resampled_sums([*columns, models[0].length[mask]], name, resamples)
    rng = np.random.default_rng([_SEED, count])
    weights = _weights(rng, [sums[:, :count].mean(0)], resamples)
    correct = (weights * sums[:, :count]).sum(1).clip(0, mask.sum())
    distance = (weights * sums[:, count:-1]).sum(1).clip(0)
    return ResampledSums(correct, distance, sums[:, -1], int(mask.sum()))


def _weights(rng: np.random.Generator, groups: Sequence[np.ndarray], resamples: int) -> np.ndarray:
    """Returns weights (R or 1, M) of models: their groups' means, and the errors around these.

    Models drawn with replacement, as images are, would understate that error: of three seeds its
    variance by a third, and the tails of the distribution by more.

    Args:
      rng: draws the errors, as Student's t has them.
      groups: accuracies of the models of every group; one model has no error that is known.
      resamples: how many.
    """
    counts = [len(group) for group in groups]
    means = np.concatenate([np.full(count, 1 / count) for count in counts])
    if 1 in counts:
        return means[None]
    degrees = _welch_degrees(groups)
    student = np.sqrt(rng.chisquare(degrees, (resamples, 1)) / degrees)
    errors = []
    for count in counts:
        noise = rng.standard_normal((resamples, count))
        noise -= noise.mean(axis=1, keepdims=True)
        errors.append(noise / np.sqrt(count * (count - 1)))
    return means + np.concatenate(errors, axis=1) / student


def _welch_degrees(groups: Sequence[np.ndarray]) -> float:
    """Returns the degrees of freedom of a sum of means (Welch, Biometrika 34, 1947)."""
    own = np.array([len(group) - 1.0 for group in groups])
    errors = np.array([group.var(ddof=1) / len(group) for group in groups])
    return float(errors.sum() ** 2 / (errors**2 / own).sum() if errors.any() else own.sum())


def mean_of_sets(sets: Sequence[ResampledSums]) -> Replicates:
    """Returns the replicates of the mean over sets, in which every set has the same weight."""
    return Replicates(
        np.mean([s.metrics().word_accuracy for s in sets], axis=0),
        np.mean([s.metrics().cer for s in sets], axis=0),
    )


def mean_of_images(sets: Sequence[ResampledSums]) -> Replicates:
    """Returns the replicates over the images of all sets, each image with the same weight."""
    return ResampledSums(
        *(np.sum([getattr(s, f.name) for s in sets], axis=0) for f in dataclasses.fields(sets[0]))
    ).metrics()


def mcnemar(only_a: int, only_b: int) -> float:
    """Returns the p-value, two-sided and exact, that two models are equally often right alone.

    Args:
      only_a: rows that only the first reads right.
      only_b: rows that only the second reads right.
    """
    from scipy.stats import binomtest  # takes a second to import

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


@dataclasses.dataclass(frozen=True)
class Difference:
    """A metric of two models on the same rows: b - a, its interval and its p-value."""

    a: float
    b: float
    interval: Interval
    p: float

    @property
    def difference(self) -> float:
        """Returns b - a."""
        return self.b - self.a

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return dataclasses.asdict(self) | {"difference": self.difference}


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Two models on the same rows.

    Attributes:
      count: rows compared.
      only_a, only_b: rows that only the one reads right.
      word_accuracy: its difference; p by McNemar's exact test.
      cer: its difference; p by the bootstrap.
    """

    count: int
    only_a: int
    only_b: int
    word_accuracy: Difference
    cer: Difference

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return own | {"word_accuracy": self.word_accuracy.to_json(), "cer": self.cer.to_json()}


def paired_test(
    a: RowScores, b: RowScores, name: str = "", resamples: int = RESAMPLES
) -> PairedTest | None:
    """Tests two models on the same rows, in the same order.

    Args:
      a, b: scores of both; rows that do not count are left out.
      name: of the set.
      resamples: of the rows, for the intervals of the differences and the p-value of the CER.

    Returns:
      A PairedTest; None where no row counts.
    """
    mask = a.compared
    a, b = a.where(mask), b.where(mask)
    rows, characters = len(a.correct), int(a.length.sum())
    if not rows:
        return None
    only_a, only_b = int((a.correct > b.correct).sum()), int((b.correct > a.correct).sum())
    sums = _resampled_sums(
        [b.correct - a.correct, b.distance - a.distance, a.length], name, resamples
    )
    accuracies, cers = sums[:, 0] / rows, sums[:, 1] / sums[:, 2]
    return PairedTest(
        rows,
        only_a,
        only_b,
        Difference(
            int(a.correct.sum()) / rows,
            int(b.correct.sum()) / rows,
            interval(accuracies),
            mcnemar(only_a, only_b),
        ),
        Difference(
            int(a.distance.sum()) / characters,
            int(b.distance.sum()) / characters,
            interval(cers),
            _p_value(cers),
        ),
    )


def difference_of_groups(
    a: Sequence[RowScores], b: Sequence[RowScores], name: str = "", resamples: int = RESAMPLES
) -> tuple[float, Interval]:
    """Returns mean word accuracy of models b minus that of models a, with its interval.

    Each resample draws images, the same ones for all models, and adds what the two means may be
    off by, as Welch's t has it: models of equal seeds are no pairs where their networks differ.
    One model in a group tells nothing of others: then the interval is over images alone.

    Args:
      a, b: scores of the same rows by models of two kinds, which differ in their seeds.
      name: of the rows, as for `bootstrap`.
      resamples: how many.
    """
    mask = a[0].compared
    columns = [model.correct[mask] for model in (*a, *b)]
    sums = _resampled_sums(columns, name, resamples)
    accuracies = np.array([column.mean() for column in columns])
    groups = accuracies[: len(a)], accuracies[len(a) :]
    rng = np.random.default_rng([_SEED, len(a), len(b)])
    weighted = _weights(rng, groups, resamples) * sums
    means = weighted[:, : len(a)].sum(1), weighted[:, len(a) :].sum(1)
    difference = _fractions(means[1] - means[0], mask.sum())
    # What Welch's t adds knows no bounds; accuracies lie from 0 to 1.
    return float(groups[1].mean() - groups[0].mean()), interval(np.clip(difference, -1.0, 1.0))


def _p_value(differences: np.ndarray) -> float:
    """Returns twice the smaller share of replicates on one side of zero, never 0."""
    sides = [(np.sum(differences <= 0) + 1), (np.sum(differences >= 0) + 1)]
    return min(1.0, 2.0 * float(min(sides)) / (len(differences) + 1))


def _resampled_sums(columns: Sequence[np.ndarray], name: str, resamples: int) -> np.ndarray:
    """Returns the sums of C columns (N,) over each of R resamples of the rows, (R, C)."""
    table, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    rows = int(counts.sum())
    sums = np.zeros((resamples, len(columns)), np.int64)
    if not rows:
        return sums
    rng = np.random.default_rng([_SEED, zlib.crc32(name.encode())])
    step = max(1, _CELLS // len(counts))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        sums[start : start + size] = rng.multinomial(rows, counts / rows, size=size) @ table
    return sums


def _fractions(sums: np.ndarray, totals: np.ndarray | np.integer | int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # nothing compared is NaN, as in the metrics
        return sums / np.broadcast_to(totals, sums.shape)
