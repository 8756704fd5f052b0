"""Reads a set once and keeps how likely each reading is at many temperatures."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from crnn_jax import metrics, types
from crnn_jax.ctc.forward import string_log_probabilities
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.greedy import best_path
from crnn_jax.errors import DataError
from crnn_jax.scoring.temperature import TEMPERATURES, Posteriors

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.data.sources import Source
    from crnn_jax.recognizer import Recognizer


class _Found(NamedTuple):
    ids: Int[Array, "B T"]
    lengths: Int[Array, " B"]
    log_p: Float[Array, "B G"]  # at each temperature


@functools.cache  # the same object every time: programs are kept by it
def _at_temperatures(temperatures: tuple[float, ...]) -> Callable[..., _Found]:
    """Returns the compiled half of a decoder that scores its reading at several temperatures."""

    def on_device(logits: types.Logits, frames: types.FrameCounts, tables: Any = ()) -> _Found:
        ids, lengths = best_path(logits, frames)  # which temperature leaves as it is

        def log_p(temperature: Float[Array, ""]) -> types.PerRow:
            scaled = logits / temperature
            return string_log_probabilities(scaled, frames, ids[:, None], lengths[:, None])[:, 0]

        # One after the other: what is rarely needed is then computed where it is needed.
        found = jax.lax.map(log_p, jnp.asarray(temperatures, jnp.float32))
        return _Found(ids, lengths, found.T)

    return on_device


class TemperatureDecoder:
    """Reads the best path and keeps log p of the reading at several temperatures.

    Attributes:
      log_p: (G,) of each reading made, in their order.
    """

    tables = ()

    def __init__(self, temperatures: Sequence[float] = TEMPERATURES):
        self.temperatures = tuple(temperatures)
        self.log_p: collections.deque[np.ndarray] = collections.deque()

    @property
    def on_device(self) -> Callable[..., _Found]:
        """The compiled half."""
        return _at_temperatures(self.temperatures)

    def read(
        self, found: _Found, row: int, charset: Charset, words: Sequence[str]
    ) -> list[Candidate]:
        """Returns the reading, and keeps how likely it is."""
        self.log_p.append(np.array(found.log_p[row], np.float64))
        ids = found.ids[row, : found.lengths[row]]
        at_one = int(np.argmin(np.abs(np.log(self.temperatures))))
        return [Candidate.of(ids, charset, float(found.log_p[row, at_one]))]


@dataclasses.dataclass(frozen=True)
class ReadSet:
    """A set that was read for calibration.

    Attributes:
      name: of the set.
      posteriors: of the rows that count.
      rows: which rows of the set those are, ascending.
      unreadable: images without a reading, which have no confidence either.
      skipped: rows whose label is empty under the protocol.
    """

    name: str
    posteriors: Posteriors
    rows: tuple[int, ...]
    unreadable: int
    skipped: int


def read_posteriors(
    recognizer: Recognizer,
    source: Source,
    protocol: str,
    batch_size: int = 64,
    temperatures: Sequence[float] = TEMPERATURES,
) -> ReadSet:
    """Reads every row of a set and scores its reading at every temperature, in one pass.

    Args:
      recognizer: the model; a temperature that it has is not used.
      source: the set.
      protocol: how readings and labels are compared, a name of `metrics.PROTOCOLS`.
      batch_size: most images per step.
      temperatures: ascending.
    """
    decoder = TemperatureDecoder(temperatures)
    found: dict[int, tuple[bool, np.ndarray]] = {}
    unreadable = skipped = 0
    # Decoders see logits as they are; the recogniser's own scores would be computed for nothing.
    stream = dataclasses.replace(recognizer, temperature=1.0).stream(
        range(len(source)),
        lambda i: recognizer.preprocess(source.image_bytes(i)),
        batch_size,
        decoder,
    )
    for i, reading in tqdm(stream, source.name, len(source), unit="img", delay=3, disable=None):
        # Readings come in the order in which they were decoded, errors between them.
        log_p = None if isinstance(reading, DataError) else decoder.log_p.popleft()
        label = metrics.apply_protocol(source.label(i), protocol)
        if not label:
            skipped += 1
        elif log_p is None:
            unreadable += 1
        else:
            found[i] = metrics.apply_protocol(reading.text, protocol) == label, log_p
    rows = tuple(sorted(found))
    log_p = np.array([found[i][1] for i in rows]).reshape(len(rows), len(decoder.temperatures))
    correct = np.array([found[i][0] for i in rows], bool)
    posteriors = Posteriors(log_p, correct, decoder.temperatures)
    return ReadSet(source.name, posteriors, rows, unreadable, skipped)
