"""The sets of a report: opened, read by the run's model, and laid out row by row."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from crnn_jax import evaluate, metrics
from crnn_jax.data.sources import Source, check_names, open_source
from crnn_jax.data.spec import Spec, loaded_specs, parse_sets, parse_spec
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer
from crnn_jax.reporting.gather import Run
from crnn_jax.scoring.breakdown import aspect_ratios
from crnn_jax.scoring.results import Result
from crnn_jax.scoring.significance import RowScores, score_rows

_LOG = logging.getLogger("crnn_jax")
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Missing:
    """A set that cannot be opened any more: its SPEC, and why."""

    spec: str
    why: str


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A set that was read for the report.

    Attributes:
      spec, source: the set, its rows limited.
      rows: of the set before it was limited.
      result: what was read.
      scores: of every row.
      own: whether it is one of the run's own validation sets.
      reader: the model that read it.
      ratios: width over height of every image, None where it is not known.
    """

    spec: Spec
    source: Source
    rows: int
    result: Result
    scores: RowScores
    own: bool
    reader: Recognizer
    ratios: list[float | None]

    @property
    def name(self) -> str:
        """Of the set."""
        return self.result.name

    @property
    def count(self) -> int:
        """Rows that count under the protocol."""
        return int(self.result.metrics["count"])

    @property
    def correct(self) -> int:
        """Rows read right."""
        return int(self.scores.correct[self.scores.compared].sum())

    @property
    def squeezed(self) -> int:
        """Images that were wider than the model reads, where it keeps the aspect."""
        how = self.reader.preprocess
        if how.fit == "squash":
            return 0
        return sum(
            ratio is not None and ratio * how.height >= how.max_width + 0.5 for ratio in self.ratios
        )


@dataclasses.dataclass(frozen=True)
class Pair:
    """Label and reading of a row, as the protocol compares them.

    Attributes:
      set, row: number of the set, and the row in it.
      label, reading: under the protocol; the label is not empty.
      confidence: of the reading.
    """

    set: int
    row: int
    label: str
    reading: str
    confidence: float


@dataclasses.dataclass(frozen=True)
class Readings:
    """Everything that was read for a report.

    Attributes:
      sets: in the order of the page.
      pairs: of all sets, rows that count.
      missing: sets that could not be opened.
      trained: what could be opened of the sets that were trained on, but for those made on the
        device.
      missing_training: what could not.
    """

    sets: list[Evaluated]
    pairs: list[Pair]
    missing: list[Missing]
    trained: list[tuple[Spec, Source]]
    missing_training: list[Missing]

    def source(self, pair: Pair) -> tuple[Source, int]:
        """Returns where the image of a pair is."""
        return self.sets[pair.set].source, pair.row


def read(run: Run, given: Sequence[str], limit: int) -> Readings:
    """Opens and reads the run's validation sets and further ones.

    The run's own sets are read as in training, wide lines squeezed, and further ones as `evaluate`
    and `predict` read them, in windows.

    Args:
      run: its best checkpoint reads.
      given: SPECs of the further sets.
      limit: rows to read of each set, the first ones.

    Raises:
      UserError: for a further set that cannot be opened, or two sets of one name.
    """
    specs = parse_sets(run.config.data.eval, "config.data.eval")
    own, missing = _open(specs)
    opened = [(spec, source, True) for spec, source in own]
    for text in given:
        spec = parse_spec(text)
        if spec not in specs:
            opened.append((spec, open_source(spec), False))
    check_names([source for _, source, _ in opened])
    trained, missing_training = _open(loaded_specs(run.config.data.train))
    sets = []
    in_windows = run.recognizer.in_windows()
    for spec, source, is_own in opened:
        reader = run.recognizer if is_own else in_windows
        rows = len(source)
        if rows > limit:
            source = open_source(dataclasses.replace(spec, limit=limit, name=source.name))
        result = evaluate.evaluate_source(reader, source, run.protocol, batch_size=_BATCH)
        scores = score_rows(result.rows, run.protocol)
        ratios = aspect_ratios(source)
        sets.append(Evaluated(spec, source, rows, result, scores, is_own, reader, ratios))
    return Readings(sets, _pairs(sets, run.protocol), missing, trained, missing_training)


def _open(specs: Sequence[Spec]) -> tuple[list[tuple[Spec, Source]], list[Missing]]:
    """Opens sets; those that are gone are told."""
    found, missing = [], []
    for spec in specs:
        try:
            found.append((spec, open_source(spec)))
        except UserError as error:
            missing.append(Missing(str(spec), str(error)))
            _LOG.warning("left out of the report: %s", error)
    return found, missing


def _pairs(sets: Sequence[Evaluated], protocol: str) -> list[Pair]:
    pairs = []
    for number, one in enumerate(sets):
        for i, row in enumerate(one.result.rows):
            label = metrics.apply_protocol(row.label, protocol)
            if label:
                reading = metrics.apply_protocol(row.reading, protocol)
                pairs.append(Pair(number, i, label, reading, row.confidence))
    return pairs
