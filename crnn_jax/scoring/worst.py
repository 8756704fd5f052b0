"""The worst readings of an evaluation, as a picture: image, label and reading, mistakes in red."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax import metrics, pictures
from crnn_jax.auditing import rows as audit_rows
from crnn_jax.scoring.results import Result, misread

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

MOST = 50


def worst_rows(results: Sequence[Result], protocol: str, most: int = MOST) -> list[audit_rows.Row]:
    """Returns the rows that were read worst: least 1-NED first, then the most confident.

    Args:
      results: of every set.
      protocol: how texts are compared; rows without a label under it are left out.
      most: rows to return; those read without a mistake are never among them.
    """
    ranked = []
    for number, result in enumerate(results):
        for i, label, reading in misread(result.rows, protocol):
            score = metrics.one_minus_ned(label, reading)
            sure = result.rows[i].confidence  # nan where a recogniser gave none
            ranked.append((score, 0.0 if math.isnan(sure) else -sure, audit_rows.Row(number, i)))
    return [place for _, _, place in sorted(ranked)[:most]]


def save_worst(
    path: str, sources: Sequence[Source], results: Sequence[Result], protocol: str
) -> int:
    """Writes the picture of the worst readings as PNG; returns how many it shows.

    Args:
      path: of the picture.
      sources: the sets.
      results: what was read in each.
      protocol: as for `worst_rows`.
    """
    entries = [
        pictures.compared(sources[number], i, results[number].rows[i], protocol)
        for number, i in worst_rows(results, protocol)
    ]
    pictures.write(path, pictures.mistakes(entries))
    return len(entries)
