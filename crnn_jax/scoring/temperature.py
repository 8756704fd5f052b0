"""The temperature that makes confidences mean what they say.

Logits divided by a temperature T have the posterior p_T(text | image), the sum over all paths that
spell the text. T = 1 is the posterior that the network was trained for; above 1 it is less sure.

Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 4.2, for one
decision of many classes; here the decision is whether the text that was read is right.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.scoring.reliability import log_loss

# Four to the octave, from 1/4 to 8; 1 is among them.
TEMPERATURES = tuple((2.0 ** (np.arange(-8, 13) / 4)).tolist())
_SUREST = 1e-9  # the least -log p: float32 sums of many paths come out at 1 and a little above


@dataclasses.dataclass(frozen=True)
class Posteriors:
    """What was read in the rows of a set, how likely at every temperature, and whether it is right.

    Attributes:
      log_p: (N, G), log p_T(reading | image) in nats at G temperatures.
      correct: (N,), whether the reading is right.
      temperatures: (G,), ascending.
    """

    log_p: np.ndarray
    correct: np.ndarray
    temperatures: tuple[float, ...] = TEMPERATURES

    def __post_init__(self):
        shape = (len(self.correct), len(self.temperatures))
        if np.shape(self.log_p) != shape:
            raise UserError(f"log_p has the shape {np.shape(self.log_p)}, not {shape}")
        if np.isnan(self.log_p).any():
            row = int(np.argwhere(np.isnan(self.log_p))[0, 0])
            raise UserError(f"the log-posterior of row {row} is NaN: the network gives no numbers")

    def __len__(self) -> int:
        return len(self.correct)

    def confidences(self, temperature: float) -> np.ndarray:
        """Returns p_T(reading | image), (N,), at any temperature within those computed.

        Between them log(-log p) is interpolated by a cubic spline in log T: to within 2e-4 of p,
        as measured on readings of six sets at the temperatures between these.

        Raises:
          UserError: a temperature out of range.
        """
        first, last = self.temperatures[0], self.temperatures[-1]
        if not first <= temperature <= last:
            raise UserError(f"temperature {temperature}: posteriors are of {first} to {last}")
        return np.exp(-np.exp(self._spline(np.log(temperature))))

    @functools.cached_property
    def _spline(self) -> Callable[[float], np.ndarray]:
        from scipy.interpolate import CubicSpline  # half a second to import

        surprise = np.log(np.maximum(-np.asarray(self.log_p, np.float64), _SUREST))
        return CubicSpline(np.log(self.temperatures), surprise, axis=1)

    def where(self, rows: np.ndarray) -> Posteriors:
        """Returns the rows of a mask or of indices."""
        return dataclasses.replace(self, log_p=self.log_p[rows], correct=self.correct[rows])


def fit_temperature(posteriors: Posteriors) -> float:
    """Returns the temperature of least log loss of "this reading is right".

    That is a proper score, of which calibration is a part; the ECE itself has no useful minimum,
    since it also falls when confidences say less.

    Raises:
      UserError: all readings are right, or all are wrong, so that none is best.
    """
    from scipy.optimize import minimize_scalar

    right = int(np.sum(posteriors.correct))
    if right in (0, len(posteriors)):
        what = "there are none" if not len(posteriors) else "all right" if right else "all wrong"
        raise UserError(
            f"no temperature can be fitted to {len(posteriors)} readings, {what}: it takes right "
            "and wrong ones; give more images, of the kind that the model is for"
        )

    def loss(log_temperature: float) -> float:
        return log_loss(posteriors.confidences(np.exp(log_temperature)), posteriors.correct)

    grid = np.log(posteriors.temperatures)
    best = int(np.argmin([loss(x) for x in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    candidates = (float(found.x), float(grid[best]))
    return float(np.exp(min(candidates, key=loss)))


def join(parts: Sequence[Posteriors]) -> Posteriors:
    """Returns the rows of all parts, one after the other."""
    return Posteriors(
        np.concatenate([part.log_p for part in parts]),
        np.concatenate([part.correct for part in parts]),
        parts[0].temperatures,
    )
