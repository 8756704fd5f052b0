"""Which weights of a language model and of the length read a labelled set best.

The network runs once for all of them, and the search is compiled once: weights are its arguments.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crnn_jax.errors import DataError, UserError

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.data.sources import Source
    from crnn_jax.decode.language import Ngrams
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.scoring.significance import RowScores

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.2)
BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)
_LOG = logging.getLogger("crnn_jax")
_STEP, _GROWTH = 8, 1.25  # padded numbers of frames: few shapes, each is compiled


class Weights(NamedTuple):
    """What the search adds to a string's log-probability.

    Attributes:
      alpha: times log p(string) of the language model.
      bonus: nats per character.
    """

    alpha: float
    bonus: float


NONE = Weights(0.0, 0.0)


class Piece(NamedTuple):
    """Logits of some rows of a set; those beyond `rows` are padding, with no frames."""

    logits: np.ndarray  # (B, T, K) float32
    frames: np.ndarray  # (B,) int32
    rows: list[int]


class Trial(NamedTuple):
    """What weights are worth."""

    weights: Weights
    word_accuracy: float
    cer: float

    @property
    def rank(self) -> tuple[float, ...]:
        """Lower is better: accuracy, then CER; where both are equal, less of anything."""
        return -self.word_accuracy, self.cer, abs(self.weights.alpha), abs(self.weights.bonus)


def compute_logits(recognizer: Recognizer, source: Source, batch_size: int) -> list[Piece]:
    """Returns the logits of a set's images, sorted by frames into batches of few shapes.

    Images that cannot be read are in none of them, and told.

    Raises:
      DataError: none of them can be read.
    """
    import jax
    from tqdm import tqdm

    from crnn_jax.data.stream import stream_batches

    step = jax.jit(recognizer.model.apply)
    found: list[tuple[int, np.ndarray]] = []
    bar = tqdm(total=len(source), desc=source.name, unit="img", delay=3, disable=None)
    with bar:
        errors: list[str] = []
        for batch, positions, error in stream_batches(
            range(len(source)),
            lambda i: recognizer.preprocess(source.image_bytes(i)),
            recognizer.preprocess,
            batch_size,
        ):
            if error is not None:
                errors.append(f"{source.where(positions[0])}: {error}")
            if batch is not None:
                placed = recognizer.place(batch)
                outputs = step(recognizer.variables, placed.images, placed.widths)
                logits, frames = (np.asarray(x) for x in outputs)
                found += [
                    (row, logits[i, : frames[i]].astype(np.float32))
                    for i, row in enumerate(positions)
                ]
            bar.update(len(positions))
    if errors:
        told = f"{len(errors)} of {len(source)} images of {source.name} cannot be read"
        if not found:
            raise DataError(f"{told}, the first: {errors[0]}")
        _LOG.warning("%s and count as misread, the first: %s", told, errors[0])
    return gather(found, batch_size)


def gather(rows: list[tuple[int, np.ndarray]], batch_size: int) -> list[Piece]:
    """Returns rows of logits (T, K), each with its number, as batches of few shapes.

    The list is emptied on the way: all logits of a set are not held twice.
    """
    rows.sort(key=lambda row: (len(row[1]), row[0]), reverse=True)
    pieces = []
    while rows:
        part = [rows.pop() for _ in range(min(batch_size, len(rows)))]
        steps = _STEP
        while steps < len(part[-1][1]):
            steps = -(-round(steps * _GROWTH) // _STEP) * _STEP
        logits = np.zeros((batch_size, steps, part[0][1].shape[1]), np.float32)
        frames = np.zeros(batch_size, np.int32)
        for i, (_, values) in enumerate(part):
            logits[i, : len(values)], frames[i] = values, len(values)
        pieces.append(Piece(logits, frames, [row for row, _ in part]))
    return pieces


class Search:
    """Reads images whose logits are known with any weights; compiled once per shape.

    Args:
      pieces: all logits of the set.
      size: images of the set; those without logits are read as "".
      charset: of the model.
      tables: the language model.
      width: of the beam.
    """

    def __init__(
        self, pieces: Sequence[Piece], size: int, charset: Charset, tables: Ngrams, width: int
    ):
        from crnn_jax.decode.beam import BeamOptions

        self._pieces, self._size, self._charset = pieces, size, charset
        self._tables = tables
        self._options = BeamOptions(width, nbest=min(width, BeamOptions.nbest))

    def read(self, weights: Weights, done: Callable[[], Any] = lambda: None) -> list[str]:
        """Returns the reading of every image; calls `done` after each batch."""
        alpha, bonus = np.float32(weights.alpha), np.float32(weights.bonus)
        readings = [""] * self._size
        for logits, frames, rows in self._pieces:
            ids, lengths = _best()(logits, frames, self._tables, alpha, bonus, self._options)
            ids, lengths = np.asarray(ids), np.asarray(lengths)
            for i, row in enumerate(rows):
                readings[row] = self._charset.decode(ids[i, : lengths[i]])
            done()
        return readings


@functools.cache
def _best() -> Callable[..., Any]:
    """Returns the compiled search for the best strings: weights are arguments, not constants."""
    import jax

    from crnn_jax.decode.beam import nbest
    from crnn_jax.decode.language import Weighted

    @functools.partial(jax.jit, static_argnames="options")
    def best(logits, frames, tables, alpha, bonus, options):
        found = nbest(logits, frames, options, Weighted(tables, alpha, bonus))
        return found.ids[:, 0], found.lengths[:, 0]

    return best


class Tuning(NamedTuple):
    """The scores of all weights that were tried, every row of the set in them."""

    coarse: dict[Weights, RowScores]
    fine: dict[Weights, RowScores]  # the coarse ones that it begins with left out

    @property
    def trials(self) -> list[Trial]:
        """All that was tried, best first."""
        found = [trial(w, s) for w, s in {**self.coarse, **self.fine}.items()]
        return sorted(found, key=lambda t: t.rank)

    def edges(self, weights: Weights) -> list[str]:
        """Returns the sides of the coarse grid that weights lie on."""
        edges = []
        for name, value, values in zip(
            Weights._fields, weights, zip(*self.coarse, strict=True), strict=True
        ):
            known = sorted(set(values))
            if len(known) > 1 and value in (known[0], known[-1]) and (name, value) != ("alpha", 0):
                edges.append(f"{name} {value:g}")
        return edges

    def crossed(self, halves: np.ndarray) -> RowScores | None:
        """Returns scores in which no row takes part in the choice of its own weights.

        None where all rows that count are of one half.

        Args:
          halves: (N,), whether a row belongs to the second half. The coarse grid's best weights of
            one half score the rows of the other.
        """
        from crnn_jax.scoring.significance import RowScores

        columns: list[np.ndarray] = []
        sides = []
        for side in (False, True):
            found = [trial(w, s.where(halves == side)) for w, s in self.coarse.items()]
            if math.isnan(found[0].word_accuracy):
                return None
            sides.append(self.coarse[min(found, key=lambda t: t.rank).weights])
        for name in RowScores.__dataclass_fields__:
            first, second = (getattr(scores, name) for scores in sides)
            columns.append(np.where(halves, first, second))
        return RowScores(*columns)


def trial(weights: Weights, scores: RowScores) -> Trial:
    """Returns what the rows with a label are worth; NaN where there are none."""
    scores = scores.where(scores.compared)
    if not len(scores.correct):
        return Trial(weights, math.nan, math.nan)
    cer = scores.distance.sum() / scores.length.sum()
    return Trial(weights, float(scores.correct.mean()), float(cer))


def tune(
    search: Search,
    labels: Sequence[str],
    protocol: str,
    alphas: Sequence[float] = ALPHAS,
    bonuses: Sequence[float] = BONUSES,
) -> Tuning:
    """Tries all weights of a grid, and those half-way from the best ones to their neighbours.

    No model and no bonus are always among them.

    Args:
      search: of the set.
      labels: of the set.
      protocol: how texts are compared.
      alphas: weights of the language model, none below 0.
      bonuses: per character.

    Raises:
      UserError: no label counts under the protocol.
    """
    from tqdm import tqdm

    if not score_readings(labels, labels, protocol).compared.any():
        raise UserError(f"no label of the set has a character under protocol {protocol}")
    alphas, bonuses = sorted({0.0, *alphas}), sorted({0.0, *bonuses})
    grid = list(itertools.starmap(Weights, itertools.product(alphas, bonuses)))
    with tqdm(desc="tuning", unit="search", total=len(grid) + 8, disable=None) as bar:

        def score(weights: Weights) -> RowScores:
            found = score_readings(labels, search.read(weights), protocol)
            bar.update()
            return found

        coarse = {weights: score(weights) for weights in grid}
        best = Tuning(coarse, {}).trials[0].weights
        around = itertools.product(_around(best.alpha, alphas), _around(best.bonus, bonuses))
        new = [weights for weights in itertools.starmap(Weights, around) if weights not in coarse]
        bar.total = len(grid) + len(new)
        return Tuning(coarse, {weights: score(weights) for weights in new})


def _around(value: float, values: Sequence[float]) -> list[float]:
    """Returns a value and those half-way to its neighbours."""
    at = list(values).index(value)
    return [value, *((value + v) / 2 for v in values[max(at - 1, 0) : at + 2] if v != value)]


def score_readings(labels: Sequence[str], readings: Sequence[str], protocol: str) -> RowScores:
    """Returns what every row is worth."""
    from crnn_jax.scoring.results import Row
    from crnn_jax.scoring.significance import score_rows

    rows = [Row("", label, text, 0.0) for label, text in zip(labels, readings, strict=True)]
    return score_rows(rows, protocol)
