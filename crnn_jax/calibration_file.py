"""The temperature of a model and how it was found, as a file in the model's folder.

A calibration belongs to the weights that it was fitted with, and says so by their fingerprint: a
run that was trained on since has other ones, and its confidences are raw until it is calibrated
again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn_jax import files, metrics
from crnn_jax.errors import UserError

CALIBRATION_FILE = "calibration.json"

_LOG = logging.getLogger("crnn_jax")


@dataclasses.dataclass(frozen=True)
class Figures:
    """Confidences of some rows before (temperature 1) and after.

    Attributes:
      sets: names of the sets, with what was taken of them.
      rows: that count.
      accuracy: share of readings that are right.
      ece_before, ece_after: expected calibration error, see `scoring.calibration`.
      log_loss_before, log_loss_after: of "this reading is right", in nats.
    """

    sets: tuple[str, ...]
    rows: int
    accuracy: float
    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What makes a model's confidences mean what they say.

    Attributes:
      temperature: divides the logits; 1 leaves the raw posterior.
      weights: fingerprint of the weights that it is for, see `fingerprint`.
      protocol: by which readings were right or wrong, a name of `metrics.PROTOCOLS`.
      fitted: the rows that chose the temperature.
      checked: rows that had no part in it; None where there were none.
    """

    temperature: float
    weights: str
    protocol: str
    fitted: Figures
    checked: Figures | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any, where: str = CALIBRATION_FILE) -> Calibration:
        """Returns the calibration of plain values.

        Args:
          value: what `to_json` returned, after JSON.
          where: it comes from, for messages.

        Raises:
          UserError: a key is missing or unknown, or a value is not what it should be.
        """
        value = _object(value, cls, where)
        if value["protocol"] not in list(metrics.PROTOCOLS):  # it may be anything, unhashable too
            raise _damaged(where, "protocol", value["protocol"])
        if not isinstance(value["weights"], str) or not value["weights"]:
            raise _damaged(where, "weights", value["weights"])
        checked = value["checked"]
        return cls(
            _number(value, "temperature", where, 0.0, math.inf, above=True),
            value["weights"],
            value["protocol"],
            _figures(value["fitted"], f"{where}, fitted"),
            None if checked is None else _figures(checked, f"{where}, checked"),
        )

    @classmethod
    def from_report(cls, path: str, variables: Any) -> Calibration:
        """Returns the calibration in a report that `crnn_jax.calibrate --out` wrote.

        Args:
          path: of the report.
          variables: the weights that it is to be for.

        Raises:
          UserError: for another file, or a report on other weights.
        """
        report, names = files.read_json(path), {field.name for field in dataclasses.fields(cls)}
        found = {key: value for key, value in report.items() if key in names}
        calibration = cls.from_json(found, path)
        if not calibration.is_for(variables):
            raise UserError(
                f"{path}: the calibration of other weights, those of {report.get('model')!r:.60}: "
                "calibrate the very model, written with the same options"
            )
        return calibration

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Writes the file into a model's folder, whole or not at all; returns its path.

        Raises:
          UserError: it cannot be written.
        """
        path = pathlib.Path(folder) / CALIBRATION_FILE
        try:
            files.write_json(path, self.to_json())
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); mend the permissions of the folder"
            ) from None
        return path

    def is_for(self, variables: Any) -> bool:
        """Returns whether these are the weights that it was fitted with."""
        return fingerprint(variables) == self.weights


def load_calibration(folder: str | os.PathLike[str]) -> Calibration | None:
    """Returns the calibration in a model's folder; None where there is none.

    Raises:
      UserError: the file is damaged.
    """
    path = pathlib.Path(folder) / CALIBRATION_FILE
    if not path.exists():
        return None
    return Calibration.from_json(files.read_json(path), str(path))


def temperature_of(folder: str | os.PathLike[str], variables: Any) -> float:
    """Returns the temperature for the weights of a model in a folder; 1 without a calibration.

    One for other weights is not used, which is logged as a warning.

    Raises:
      UserError: the file is damaged.
    """
    found = load_calibration(folder)
    if found is None:
        return 1.0
    if found.is_for(variables):
        return found.temperature
    _LOG.warning(
        "%s is for other weights than the model has now: confidences are not calibrated; "
        "run python -m crnn_jax.calibrate again",
        pathlib.Path(folder) / CALIBRATION_FILE,
    )
    return 1.0


def fingerprint(variables: Any) -> str:
    """Returns a hash of weights and batch statistics: names, shapes, types and values."""
    import jax

    found = hashlib.blake2b(digest_size=8)
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(variables))
    for path, leaf in leaves:
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _figures(value: Any, where: str) -> Figures:
    value = _object(value, Figures, where)
    sets, rows = value["sets"], value["rows"]
    if not isinstance(sets, list) or not all(isinstance(name, str) for name in sets):
        raise _damaged(where, "sets", sets)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise _damaged(where, "rows", rows)
    shares = [_number(value, key, where) for key in ("accuracy", "ece_before", "ece_after")]
    losses = [
        _number(value, key, where, high=math.inf) for key in ("log_loss_before", "log_loss_after")
    ]
    return Figures(tuple(sets), rows, *shares, *losses)


def _object(value: Any, kind: type, where: str) -> Mapping[str, Any]:
    """Returns a JSON object that has the fields of a class, all of them and no others."""
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        keys = ", ".join(sorted(value)) if isinstance(value, dict) else repr(value)[:40]
        raise UserError(
            f"{where}: damaged, it has {keys or 'nothing'} where {', '.join(sorted(names))} should "
            "be; run python -m crnn_jax.calibrate again"
        )
    return value


def _number(
    value: Mapping[str, Any],
    key: str,
    where: str,
    low: float = 0.0,
    high: float = 1.0,
    above: bool = False,
) -> float:
    found = value[key]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _damaged(where, key, found)
    # Whole numbers may be too large for a float, and NaN is in no range.
    if not low <= found <= min(high, sys.float_info.max) or (above and found == low):
        raise _damaged(where, key, found)
    return float(found)


def _damaged(where: str, key: str, found: Any) -> UserError:
    return UserError(
        f"{where}: damaged, {key} is {found!r:.40}; run python -m crnn_jax.calibrate again"
    )
