"""Greedy (best path) CTC decoding, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.ctc.forward import string_log_probabilities
from crnn_jax.decode.candidates import Candidate


class Decoded(NamedTuple):
    """Readings of a batch as class ids."""

    ids: Int[Array, "B T"]  # left-justified, padded with 0
    lengths: Int[Array, " B"]
    log_probability: types.PerRow  # of the string, by the CTC forward score


def best_path(
    logits: types.Logits, frames: types.FrameCounts, blank_id: int = 0
) -> tuple[Int[Array, "B T"], Int[Array, " B"]]:
    """Collapses the most likely class of each frame: repeats merged, then blanks removed.

    Returns:
      Class ids (B, T), left-justified and padded with 0, and their number per row (B,).
    """
    path = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    t = jnp.arange(path.shape[1])[None, :]
    previous = jnp.pad(path, ((0, 0), (1, 0)), constant_values=blank_id)[:, :-1]
    keep = (path != blank_id) & (path != previous) & (t < frames[:, None])
    order = jnp.argsort(~keep, axis=1, stable=True)
    lengths = jnp.sum(keep, axis=1, dtype=jnp.int32)
    ids = jnp.where(t < lengths[:, None], jnp.take_along_axis(path, order, axis=1), 0)
    return ids, lengths


def greedy(logits: types.Logits, frames: types.FrameCounts) -> Decoded:
    """Reads a batch by its best paths and scores each reading exactly.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames.
    """
    ids, lengths = best_path(logits, frames)
    scores = string_log_probabilities(logits, frames, ids[:, None], lengths[:, None])
    return Decoded(ids, lengths, scores[:, 0])


def _decode(logits: types.Logits, frames: types.FrameCounts, temperature: Any) -> Decoded:
    return greedy(logits / temperature, frames)


class Greedy:
    """Reads the best path, which is the same at any temperature.

    Args:
      temperature: divides the logits that readings are scored by.
    """

    on_device = staticmethod(_decode)

    def __init__(self, temperature: float = 1.0):
        self.tables = np.float32(temperature)

    def read(
        self, found: Decoded, row: int, charset: Charset, words: Sequence[str]
    ) -> list[Candidate]:
        """Returns the reading, whatever words there are."""
        ids = found.ids[row, : found.lengths[row]]
        return [Candidate.of(ids, charset, float(found.log_probability[row]))]
