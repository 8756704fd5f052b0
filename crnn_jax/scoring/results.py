"""What was read in a set: its rows, its metrics, and the file of all readings."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from crnn_jax import files

_SPACES = dict.fromkeys(map(ord, "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of a set: what it says, what was read, how sure, and its loss where it has one."""

    key: str
    label: str
    reading: str
    confidence: float
    error: str = ""
    loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """A set's metrics and its rows, in the set's order."""

    name: str
    metrics: dict[str, Any]  # count, word_accuracy, cer, wer, one_minus_ned, ...
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Returns the set's entry in the results file."""
        return {"name": self.name, **self.metrics}


def score(name: str, rows: Sequence[Row], protocol: str, rate: float | None) -> Result:
    """Returns the result of a set.

    Args:
      name: of the set.
      rows: what was read; an image that could not be read has the reading ''.
      protocol: how texts are compared, a name of `crnn_jax.metrics.PROTOCOLS`.
      rate: images read per second, None where that is not known.
    """
    from crnn_jax.metrics import RecognitionMetrics

    scores = RecognitionMetrics(protocol)
    for row in rows:
        scores.update(row.label, row.reading)
    losses = [row.loss for row in rows if row.loss is not None]
    metrics = scores.compute() | {
        "loss": sum(losses) / len(losses) if losses else None,
        "unreadable": sum(bool(row.error) for row in rows),
        "skipped": scores.skipped,
        "images_per_second": rate,
    }
    return Result(name, metrics, list(rows))


def misread(rows: Sequence[Row], protocol: str) -> Iterator[tuple[int, str, str]]:
    """Yields number, label and reading, as the protocol compares them, of rows that were misread.

    Rows without a label under the protocol are left out.
    """
    from crnn_jax.metrics import apply_protocol

    for i, row in enumerate(rows):
        label, reading = (apply_protocol(text, protocol) for text in (row.label, row.reading))
        if label and label != reading:
            yield i, label, reading


def write_predictions(path: str | pathlib.Path, results: Sequence[Result]) -> None:
    """Writes path, label, reading and confidence of every row, tab-separated.

    A tab or line break inside a text becomes a space.
    """
    lines = []
    for row in (row for result in results for row in result.rows):
        texts = [text.translate(_SPACES) for text in (row.key, row.label, row.reading)]
        lines.append("\t".join((*texts, f"{row.confidence:.6f}")) + "\n")
    files.write_text(path, "".join(lines))
