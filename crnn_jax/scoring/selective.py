"""Accepting only sure readings: errors against coverage, thresholds for a wanted error rate.

A threshold t accepts the rows of confidence >= t. Its risk is the share of them that is wrong, its
coverage the share of all rows that is accepted.

Sources: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (NeurIPS 2017);
Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation (ICLR 2019), for the area and its
excess; Clopper and Pearson, Biometrika 26 (1934); Angelopoulos, Bates, Candès, Jordan and Lei,
Learn then Test (Annals of Applied Statistics 19, 2025), for risk control by tests in a fixed
order; Wiens, Pharmaceutical Statistics 2 (2003), for the fallback procedure, their order here.
"""

from __future__ import annotations

import dataclasses
import decimal
import math
from typing import Any

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.scoring.reliability import check_rows

DELTA = 0.05
_PER_DECADE = 20  # thresholds tested for each factor of ten of 1 - threshold
_EARLY = 0.25  # share of delta for tests from a decade above 1 - error rate on


@dataclasses.dataclass(frozen=True)
class RiskCoverage:
    """What every possible threshold accepts, from the highest confidence down.

    Attributes:
      thresholds: (K,), the confidences that occur, each once.
      accepted: (K,), rows of at least that confidence.
      errors: (K,), those of them that are wrong.
      rows: all rows.
    """

    thresholds: np.ndarray
    accepted: np.ndarray
    errors: np.ndarray
    rows: int

    @property
    def coverage(self) -> np.ndarray:
        """Share of rows accepted, (K,)."""
        return self.accepted / self.rows

    @property
    def risk(self) -> np.ndarray:
        """Share of the accepted that is wrong, (K,)."""
        return self.errors / self.accepted

    def at(self, coverage: float) -> int | None:
        """Returns the first position that accepts so large a share; None without rows."""
        if not self.rows:
            return None
        return int(np.searchsorted(self.accepted, math.ceil(coverage * self.rows - 1e-9)))


def risk_coverage(confidences: Any, correct: Any) -> RiskCoverage:
    """Returns the risk-coverage curve; rows of equal confidence are accepted together.

    Raises:
      UserError: as `reliability.check_rows`.
    """
    confidences, correct = check_rows(confidences, correct)
    values, of_row = np.unique(-confidences, return_inverse=True)
    counts = np.bincount(of_row, minlength=len(values))
    wrong = np.bincount(of_row[~correct], minlength=len(values))
    return RiskCoverage(-values, np.cumsum(counts), np.cumsum(wrong), len(correct))


def aurc(confidences: Any, correct: Any) -> float:
    """Returns the area under the risk-coverage curve: the mean risk over all coverages k / N.

    Rows of equal confidence are as if in random order, and the value is the expectation over it.
    Lower is better; without any error it is 0. NaN without rows.

    Raises:
      UserError: as `reliability.check_rows`.
    """
    curve = risk_coverage(confidences, correct)
    if not curve.rows:
        return math.nan
    counts = np.diff(curve.accepted, prepend=0)
    share = np.diff(curve.errors, prepend=0) / counts  # of a group that is wrong
    before, wrong = curve.accepted - counts, curve.errors - share * counts
    k = np.arange(1, curve.rows + 1)
    spread = [np.repeat(x, counts) for x in (before, wrong, share)]
    return float(np.mean((spread[1] + (k - spread[0]) * spread[2]) / k))


def excess_aurc(confidences: Any, correct: Any) -> float:
    """Returns the AURC less that of the best order, in which every error comes last.

    It tells how well confidences rank, whatever the accuracy. Args, errors: as `aurc`.
    """
    confidences, correct = check_rows(confidences, correct)
    return aurc(confidences, correct) - aurc(correct.astype(float), correct)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A threshold and what it does on some rows.

    Attributes:
      value: rows of at least this confidence are accepted; None accepts none.
      accepted: rows of that confidence.
      errors: those of them that are wrong.
      rows: all rows.
    """

    value: float | None
    accepted: int
    errors: int
    rows: int

    @property
    def coverage(self) -> float:
        """Share of rows accepted; NaN without rows."""
        return self.accepted / self.rows if self.rows else math.nan

    @property
    def error_rate(self) -> float:
        """Share of the accepted that is wrong; NaN where none is accepted."""
        return self.errors / self.accepted if self.accepted else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the error rate; (0, 1) where none is accepted."""
        return clopper_pearson(self.errors, self.accepted)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, NaN where there is none."""
        more = {
            "coverage": self.coverage,
            "error_rate": self.error_rate,
            "interval": list(self.interval),
        }
        return dataclasses.asdict(self) | more


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The thresholds for a wanted error rate.

    Attributes:
      error_rate: wanted among the accepted rows, at most.
      delta: how often the guarantee may fail.
      plain: accepts most rows at no more than that error rate on the rows it was chosen on. Chosen
        for looking good there, it does a little worse on others.
      guaranteed: has at most that error rate on other rows of the same kind, with probability
        1 - delta over the choice of these rows.
    """

    error_rate: float
    delta: float
    plain: Threshold
    guaranteed: Threshold


def threshold_for(
    confidences: Any, correct: Any, error_rate: float, delta: float = DELTA
) -> Thresholds:
    """Returns the threshold for a wanted error rate among accepted rows, plain and guaranteed.

    The guarantee asks that rows are independent (words of one photograph are not quite), that later
    rows come from the same source, and that nothing else was chosen on these rows. It asks nothing
    of the confidences: bad ones accept few rows. It is Learn then Test: of a list of thresholds
    that does not depend on the rows, each is the hypothesis "its error rate is above the wanted
    one", tested by the exact binomial (the Clopper-Pearson bound), from high to low until one
    cannot be refused. The list goes by twentieths of a decade of 1 - threshold. Three quarters of
    delta begin at the threshold 1 - error_rate, which fits where confidences are calibrated, and a
    quarter ten times nearer to 1; what is not lost on the way is carried on (fallback procedure).

    Args:
      confidences: (N,), from 0 to 1.
      correct: (N,), whether the row is right.
      error_rate: wanted, above 0 and below 1.
      delta: how often the guarantee may fail, above 0 and below 1.

    Raises:
      UserError: as `reliability.check_rows`; an error rate or delta out of range.
    """
    for name, value in (("error rate", error_rate), ("delta", delta)):
        if not 0 < value < 1:
            raise UserError(f"{name} {value}: give a share above 0 and below 1, as in 0.01")
    confidences, correct = check_rows(confidences, correct)
    curve = risk_coverage(confidences, correct)
    good = np.flatnonzero(curve.errors <= error_rate * curve.accepted * (1 + 1e-12))
    plain = float(curve.thresholds[good[-1]]) if len(good) else None
    guaranteed = _guaranteed(confidences, correct, error_rate, delta)
    return Thresholds(
        error_rate,
        delta,
        apply_threshold(confidences, correct, plain),
        apply_threshold(confidences, correct, guaranteed),
    )


def apply_threshold(confidences: Any, correct: Any, value: float | None) -> Threshold:
    """Returns what a threshold does on rows, others than those that it was chosen on, say.

    Raises:
      UserError: as `reliability.check_rows`.
    """
    confidences, correct = check_rows(confidences, correct)
    taken = confidences >= (math.inf if value is None else value)
    return Threshold(value, int(taken.sum()), int((taken & ~correct).sum()), len(correct))


def shown(value: float, decimals: int) -> str:
    """Returns a threshold in digits that accept what it accepts: rounded down, and not to 1 or 0.

    Args:
      value: from 0 to 1.
      decimals: at least; near 0 and 1 they are as many as show two digits of the distance.
    """
    near = min(value, 1 - value)
    if near > 0:
        decimals = max(decimals, 1 - math.floor(math.log10(near)))
    # Of the shortest digits of the number: those of 0.99 itself begin with 0.98999.
    exact = decimal.Decimal(repr(float(value)))
    return f"{exact.quantize(decimal.Decimal(1).scaleb(-decimals), decimal.ROUND_FLOOR):f}"


def rows_needed(error_rate: float, delta: float = DELTA) -> int:
    """Returns how many accepted rows, none of them wrong, a guaranteed threshold takes at least."""
    return math.ceil(math.log((1 - _EARLY) * delta) / math.log1p(-error_rate))


def clopper_pearson(errors: int, n: int, delta: float = 0.05) -> tuple[float, float]:
    """Returns the exact interval of a proportion, two-sided; (0, 1) of nothing.

    Args:
      errors: of `n` rows.
      n: rows.
      delta: how often it may miss, at most; half of that on each side.
    """
    from scipy.special import betaincinv  # a third of a second to import

    low = float(betaincinv(errors, n - errors + 1, delta / 2)) if errors else 0.0
    high = float(betaincinv(errors + 1, n - errors, 1 - delta / 2)) if errors < n else 1.0
    return low, high


def _guaranteed(
    confidences: np.ndarray, correct: np.ndarray, error_rate: float, delta: float
) -> float | None:
    """Returns the lowest threshold whose error rate is shown to be as wanted; None if none is."""
    from scipy.special import bdtr

    last = math.floor(-_PER_DECADE * math.log10(error_rate))
    # Position 0 is the threshold 1 - error_rate; the last one, 0, accepts every row.
    positions = np.arange(-_PER_DECADE, last + 1)
    tested = np.append(1 - error_rate * 10 ** (positions / _PER_DECADE), 0.0)
    order = np.sort(confidences)
    wrong = np.sort(confidences[~correct])
    accepted = len(order) - np.searchsorted(order, tested)
    errors = len(wrong) - np.searchsorted(wrong, tested)
    # p(so few errors or fewer), were the error rate just the wanted one
    p = bdtr(errors.astype(np.float64), np.maximum(accepted, 1), error_rate)
    p[accepted == 0] = 1.0
    own = {0: _EARLY, _PER_DECADE: 1 - _EARLY}  # shares of delta, by index
    found, level = None, 0.0
    for i, threshold in enumerate(tested.tolist()):
        level += own.get(i, 0.0) * delta
        if p[i] <= level:
            found = max(threshold, 0.0)
        else:
            level = 0.0
    return found
