"""What a temperature did to a model's confidences, measured on rows that had no part in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from crnn_jax.calibration_file import Figures
from crnn_jax.scoring import calibration, selective
from crnn_jax.scoring.calibration import Bin, Summary, ece_interval, summarise
from crnn_jax.scoring.selective import RiskCoverage, Threshold, Thresholds
from crnn_jax.scoring.temperature import TEMPERATURES, Posteriors, fit_temperature

COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1)
_SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Rows:
    """What was read in some sets, one after the other.

    Attributes:
      names: of the sets, with what was taken of them.
      posteriors: of the rows that count.
      groups: (N,), of those rows; the bootstrap draws groups whole.
    """

    names: tuple[str, ...]
    posteriors: Posteriors
    groups: tuple[Hashable, ...]


@dataclasses.dataclass(frozen=True)
class Fold:
    """Rows that choose a temperature and thresholds, and others that these are checked on.

    Attributes:
      fitted, checked: what was read in them.
      temperature: that the first ones gave.
    """

    fitted: Posteriors
    checked: Posteriors
    temperature: float


@dataclasses.dataclass(frozen=True)
class Side:
    """Confidences of the checked rows, raw or calibrated.

    Attributes:
      confidences: (N,).
      summary: all figures.
      interval: of the ECE, 95 %.
      bins: of equal mass.
      curve: errors against coverage.
      aurc: the area under it, and `excess` that above the best order's.
    """

    confidences: np.ndarray
    summary: Summary
    interval: tuple[float, float]
    bins: tuple[Bin, ...]
    curve: RiskCoverage
    aurc: float
    excess: float

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; of the curve what `COVERAGES` names."""
        return {
            **self.summary.to_json(),
            "ece_interval": list(self.interval),
            "aurc": self.aurc,
            "excess_aurc": self.excess,
            "bins": [b.to_json() for b in self.bins],
            "risk_coverage": [
                {
                    "threshold": float(self.curve.thresholds[i]),
                    "coverage": float(self.curve.coverage[i]),
                    "risk": float(self.curve.risk[i]),
                }
                for i in map(self.curve.at, COVERAGES)
            ],
        }


@dataclasses.dataclass(frozen=True)
class Check:
    """A wanted error rate: thresholds, and what such thresholds do on rows not used for them.

    Attributes:
      chosen: on all fitted rows.
      plain, guaranteed: accepted, errors and rows, summed over the folds, each of which has its
        own thresholds.
    """

    chosen: Thresholds
    plain: Threshold
    guaranteed: Threshold

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "error_rate": self.chosen.error_rate,
            "delta": self.chosen.delta,
            **{
                name: {
                    "fitted": getattr(self.chosen, name).to_json(),
                    "checked": getattr(self, name).to_json(),
                    "verdict": verdict(getattr(self, name), self.chosen.error_rate),
                }
                for name in ("plain", "guaranteed")
            },
        }


@dataclasses.dataclass(frozen=True)
class CalibrationReport:
    """All that the command says.

    Attributes:
      model: its name.
      protocol: by which readings are right or wrong.
      temperature: of all fitted rows.
      fitted, checked: names of the sets, and figures before and after.
      before, after: the checked rows at temperature 1 and at that of their fold.
      correct: of those rows.
      thresholds: for each wanted error rate.
      remarks: what a person should know about the rows.
    """

    model: str
    protocol: str
    temperature: float
    fitted: Figures
    checked: Figures
    before: Side
    after: Side
    correct: np.ndarray
    thresholds: tuple[Check, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for `--out`."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "temperature": self.temperature,
            "fitted": dataclasses.asdict(self.fitted),
            "checked": dataclasses.asdict(self.checked),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "thresholds": [check.to_json() for check in self.thresholds],
            "remarks": list(self.remarks),
        }


def build_report(
    model: str,
    protocol: str,
    fitted: Rows,
    checked: Rows,
    folds: Sequence[Fold],
    error_rates: Sequence[float],
    delta: float,
    remarks: Sequence[str] = (),
) -> CalibrationReport:
    """Fits the temperature to all fitted rows, and measures it, and thresholds, by folds.

    Args:
      model: its name.
      protocol: by which readings are right or wrong.
      fitted: all rows that are fitted.
      checked: the checked rows of all folds, one fold after the other.
      folds: what was held out from what.
      error_rates: wanted among accepted readings.
      delta: how often a guarantee may fail.
      remarks: to be told.

    Raises:
      UserError: as `temperature.fit_temperature`; an error rate or delta out of range.
    """
    rows, correct = fitted.posteriors, checked.posteriors.correct
    temperature = fit_temperature(rows)
    calibrated = np.concatenate([f.checked.confidences(f.temperature) for f in folds])
    raw = np.concatenate([f.checked.confidences(1.0) for f in folds])
    before, after = (_side(c, correct, checked.groups) for c in (raw, calibrated))
    own_raw, own = (rows.confidences(t) for t in (1.0, temperature))
    if len(folds) > 1:
        each = ", ".join(f"{fold.temperature:.3f}" for fold in folds)
        remarks = [*remarks, f"temperatures of the halves: {each}"]
    return CalibrationReport(
        model,
        protocol,
        temperature,
        figures(fitted.names, own_raw, own, rows.correct),
        figures(checked.names, raw, calibrated, correct),
        before,
        after,
        correct,
        tuple(_check(own, rows.correct, folds, rate, delta) for rate in error_rates),
        (*remarks, *_remarks(temperature, after)),
    )


def _check(
    confidences: np.ndarray,
    correct: np.ndarray,
    folds: Sequence[Fold],
    error_rate: float,
    delta: float,
) -> Check:
    """Chooses thresholds on all fitted rows, and on those of each fold to see what they do."""
    chosen = selective.threshold_for(confidences, correct, error_rate, delta)
    done: dict[str, list[Threshold]] = {"plain": [], "guaranteed": []}
    for fold in folds:
        of_fitted = fold.fitted.confidences(fold.temperature), fold.fitted.correct
        of_checked = fold.checked.confidences(fold.temperature), fold.checked.correct
        there = selective.threshold_for(*of_fitted, error_rate, delta)
        for name, found in done.items():
            value = getattr(there, name).value
            found.append(selective.apply_threshold(*of_checked, value))
    sums = {
        name: [sum(getattr(t, key) for t in found) for key in ("accepted", "errors", "rows")]
        for name, found in done.items()
    }
    return Check(
        chosen,
        Threshold(chosen.plain.value, *sums["plain"]),
        Threshold(chosen.guaranteed.value, *sums["guaranteed"]),
    )


def figures(
    names: Sequence[str], raw: np.ndarray, calibrated: np.ndarray, correct: np.ndarray
) -> Figures:
    """Returns what `calibration.json` says of some rows."""
    both = raw, calibrated
    return Figures(
        tuple(names),
        len(correct),
        float(correct.mean()),
        *(calibration.calibration_error(c, correct) for c in both),
        *(calibration.log_loss(c, correct) for c in both),
    )


def verdict(found: Threshold, wanted: float) -> str:
    """Returns where the interval of the error rate lies: "contains", "below", "above", "none"."""
    if not found.accepted:
        return "none"
    low, high = found.interval
    return "below" if high < wanted else "above" if low > wanted else "contains"


def _side(confidences: np.ndarray, correct: np.ndarray, groups: Sequence[Hashable]) -> Side:
    return Side(
        confidences,
        summarise(confidences, correct),
        ece_interval(confidences, correct, groups),
        calibration.reliability_bins(confidences, correct),
        selective.risk_coverage(confidences, correct),
        selective.aurc(confidences, correct),
        selective.excess_aurc(confidences, correct),
    )


def _remarks(temperature: float, after: Side) -> list[str]:
    found = []
    ends = TEMPERATURES[0], TEMPERATURES[-1]
    if not ends[0] * 1.01 < temperature < ends[1] / 1.01:
        found.append(
            f"the temperature is at an end of what is looked at ({ends[0]:g} to {ends[1]:g}): "
            "the images are hardly of the kind that the model reads"
        )
    if after.summary.floor.p < _SIGNIFICANT:
        found.append(
            "what is left of the calibration error is more than chance "
            f"(p = {after.summary.floor.p:.3f}): these rows are of another kind than those "
            "fitted, or one temperature is not enough"
        )
    return found
