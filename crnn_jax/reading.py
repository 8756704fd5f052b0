"""What a recogniser says of an image: text, confidence, characters with their places, alternatives.

There is one definition of confidence: the posterior p(text | image), the CTC forward score of the
whole text, of logits that were divided by the model's temperature (1 until it is calibrated).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from crnn_jax import runtime, types
from crnn_jax.charset import Charset
from crnn_jax.ctc.align import Alignment, align
from crnn_jax.ctc.characters import character_posteriors
from crnn_jax.ctc.forward import column_sizes, string_log_probabilities
from crnn_jax.decode.candidates import Candidate
from crnn_jax.runtime import Character
from crnn_jax.types import AnyArray

NOTHING = Candidate("", (), -np.inf)  # where no string is possible
_FEW = 4  # candidates that are scored, or twice, four times ... as many: few programs


@dataclasses.dataclass(frozen=True)
class Reading(runtime.Reading):
    """What was read in an image; characters where they were asked for.

    Attributes:
      text, confidence, alternatives, characters, rotation, slope: as in `runtime.Reading`.
      loss: -log p(label | image) in nats where a label was given and fits the frames, else None.
    """

    loss: float | None = None

    def in_pixels(self, width: int) -> Reading:
        """Returns the same reading, its shares of the width as pixels of an image so wide."""
        moved = tuple(c._replace(x0=c.x0 * width, x1=c.x1 * width) for c in self.characters)
        return dataclasses.replace(self, characters=moved)


def probability(log: float) -> float:
    """Returns exp(log), within 0 to 1: float32 may exceed it, and nothing is known of NaN."""
    return 0.0 if math.isnan(log) else math.exp(min(log, 0.0))


class Scores(NamedTuple):
    """Of N texts per image; what is said of characters is of the first."""

    log_probability: Float[Array, "B N"] | None  # None: those of the decoder will do
    alignment: Alignment | None
    characters: Float[Array, "B L"] | None


def score_candidates(
    logits: types.Logits,
    frames: types.FrameCounts,
    candidates: Sequence[Sequence[Candidate]],
    temperature: float,
    characters: bool,
    scored: bool = False,
) -> Scores | None:
    """Begins to score a batch's candidates; None where their decoder has said it all.

    A program is compiled per shape of the logits, number of candidates and share of the frames.

    Args:
      logits, frames: of the batch.
      candidates: of its first rows.
      temperature: divides the logits.
      characters: whether to look at the characters of each row's first candidate.
      scored: whether their decoder has scored them by divided logits; of logits as they are they
        are scored where the temperature is 1.
    """
    scored = (scored or temperature == 1) and all(
        np.isfinite(c.log_probability) or c is NOTHING for own in candidates for c in own
    )
    if scored:
        if not characters:
            return None
        candidates = [own[:1] for own in candidates]
    rows, steps, _ = logits.shape
    most, number = max(map(len, candidates)), 1
    while number < most:
        number = max(2 * number, _FEW)
    ids = np.zeros((rows, number, steps), np.int32)
    lengths, wanted = np.zeros((rows, number), np.int32), np.zeros((rows, number), bool)
    for row, own in enumerate(candidates):
        for n, candidate in enumerate(own):
            length = len(candidate.ids)
            wanted[row, n] = length <= steps and candidate is not NOTHING
            if wanted[row, n]:
                lengths[row, n], ids[row, n, :length] = length, candidate.ids
    columns = 0
    if characters:
        columns = next(size for size in column_sizes(steps) if size >= lengths[:, 0].max())
    return _score(logits, frames, ids, lengths, wanted, np.float32(temperature), columns, scored)


@functools.partial(jax.jit, static_argnames=("columns", "scored"))
def _score(
    logits: types.Logits,
    frames: types.FrameCounts,
    ids: Int[Array, "B N T"],
    lengths: Int[Array, "B N"],
    wanted: Bool[Array, "B N"],
    temperature: Float[AnyArray, ""] | np.float32,
    columns: int,
    scored: bool,
) -> Scores:
    """Returns the posteriors of texts, and of the first one's characters.

    Args:
      logits, frames: of the network.
      ids: of the texts, padded with 0.
      lengths: of the texts.
      wanted: which of them there are; others have -inf.
      temperature: divides the logits.
      columns: characters of the first texts that are looked at; 0 leaves characters out.
      scored: leaves the posteriors of the texts out.
    """
    logits = logits.astype(np.float32) / temperature
    log_probability = None
    if not scored:
        log_probability = string_log_probabilities(logits, frames, ids, lengths, wanted)
    if not columns:
        return Scores(log_probability, None, None)
    first = logits, frames, ids[:, 0, :columns], lengths[:, 0]
    return Scores(log_probability, align(*first), character_posteriors(*first))


def place_characters(
    ids: Sequence[int],
    charset: Charset,
    confidences: np.ndarray,
    alignment: Alignment,
    row: int,
    centres: np.ndarray,
    width: float,
) -> tuple[Character, ...]:
    """Returns the characters of a text with their places, as shares of the image's width.

    CTC marks a character by a peak a frame or two wide, somewhere in it. So a character is taken to
    reach half-way to its neighbours' peaks, and as far to the other side at the text's ends, within
    the image.

    Args:
      ids: of the text.
      charset: of the model.
      confidences: of the row's characters.
      alignment: of a batch, on the host.
      row: of the batch.
      centres: pixels at which the frames are centred.
      width: pixels of the image, as the network saw it.
    """
    if not ids or alignment.first[row, 0] < 0:
        return ()
    count = len(ids)
    first, last = alignment.first[row, :count], alignment.last[row, :count]
    peaks = (centres[first] + centres[last]) / 2
    middles = (peaks[1:] + peaks[:-1]) / 2
    left = peaks[0] - (middles[0] - peaks[0] if count > 1 else width)
    right = peaks[-1] + (peaks[-1] - middles[-1] if count > 1 else width)
    edges = np.clip(np.concatenate([[left], middles, [right]]) / width, 0.0, 1.0)
    confidences = np.clip(np.nan_to_num(confidences), 0.0, 1.0)
    return tuple(
        Character(charset.classes[i - 1], float(p), float(x0), float(x1))
        for i, p, x0, x1 in zip(ids, confidences, edges, edges[1:], strict=False)
    )
