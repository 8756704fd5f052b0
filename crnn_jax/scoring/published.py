"""Published results on the public test sets, to stand beside ours."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

from crnn_jax.scoring.benchmark_sets import Recognised

PROTOCOL = "36"  # of every row


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of a published table.

    Attributes:
      system: what read.
      trained_on: its training data; empty where it is not known.
      lexicon: the words that a reading was chosen from, as the source calls it: 50 or 1k per
        image, Full for all of the set, 50k of a dictionary; empty for free reading.
      params: parameters, as published; empty where not.
      accuracy: word accuracy in percent under protocol 36, by cut of a set, as "IC13 857".
      source: where it stands.
      note: what else should be known.
    """

    system: str
    trained_on: str
    lexicon: str
    params: str
    accuracy: dict[str, float]
    source: str
    note: str

    @property
    def title(self) -> str:
        """System and lexicon."""
        return f"{self.system}, lexicon {self.lexicon}" if self.lexicon else self.system

    def cell(self, found: Recognised) -> str:
        """Returns the accuracy on a set: of the same cut, or of others with their counts."""
        if found.complete and found.variant in self.accuracy:
            return f"{self.accuracy[found.variant]:.1f}"
        cuts = [(n, f"{found.benchmark.name} {n}") for n in found.benchmark.variants]
        return ", ".join(
            f"{self.accuracy[cut]:.1f} ({n})" for n, cut in cuts if cut in self.accuracy
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return dataclasses.asdict(self)


@functools.cache
def published() -> tuple[Published, ...]:
    """Returns all rows."""
    text = (importlib.resources.files("crnn_jax.scoring") / "published.json").read_text("utf-8")
    return tuple(Published(**row) for row in json.loads(text)["rows"])


def rows_for(sets: Sequence[Recognised]) -> list[Published]:
    """Returns the rows that have a result on any of the sets."""
    return [row for row in published() if any(row.cell(found) for found in sets)]
