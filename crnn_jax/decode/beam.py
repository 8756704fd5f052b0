"""CTC prefix beam search, compiled, over batches and on any device.

The search keeps strings by the sum of the paths it has seen, which pruning makes a lower bound.
What comes out is therefore ranked by exact probabilities, the greedy reading among it.

Measured with `benchmarks/decode_speed.py --prune 1e-4 1e-3 --limit 512 --repetitions 5` on one core
of an EPYC, 16 strings, no language model; words per second of ours divided by those of
fast-ctc-decode and of pyctcdecode, and how many strings of fast-ctc-decode's are equal (the others
were less likely than ours)::

                                     pruned at 1e-4 (default)   at 1e-3       equal
    quickstart on SVT, 25 frames           3.6    115          2.1   68    504 of 512
    a better model on IIIT5K               1.9     58          1.0   32    511 of 512
    receipt lines, 4 to 151 frames         0.4    7.9          0.2  4.4    512 of 512

Where nearly every frame has a single class, as in the receipts, a search that holds only the
strings there are has little to do, and ours goes through 16 places all the same.

The defaults come from comparing best strings with those of an unpruned search for 64, on the same
images (receipts: the 504 of at most 64 frames): 4, 1 and 0 are less likely, of greedy decoding 62,
12 and 1. With 4 or 16 characters a frame, or pruned at 1e-2 or 1e-5, it is at most one more or
less. With one rescored string instead of four it is 8 instead of 4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.ctc.forward import string_log_probabilities
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.greedy import best_path
from crnn_jax.decode.language import LanguageModel, string_score
from crnn_jax.decode.prefix_search import UNLIKELIEST, BeamOptions, Packing, search

__all__ = ["Beam", "BeamOptions", "NBest", "nbest"]

DEFAULT = BeamOptions()


class Beam:
    """Reads the strings that a prefix beam search finds.

    Args:
      options: of the search.
      model: what strings are ranked by besides their probability; None ranks by that alone.
    """

    def __init__(self, options: BeamOptions = DEFAULT, model: LanguageModel | None = None):
        self.on_device = _search(options)
        self.tables = jax.tree.map(jnp.asarray, model)

    def read(
        self, found: NBest, row: int, charset: Charset, words: Sequence[str]
    ) -> list[Candidate]:
        """Returns the strings, whatever words there are."""
        ids, lengths, scores = found.ids[row], found.lengths[row], found.log_probability[row]
        return [
            Candidate.of(ids[n, : lengths[n]], charset, float(scores[n]))
            for n in range(len(scores))
            if np.isfinite(scores[n])
        ]


@functools.cache  # the same function for the same options: it is what programs are kept by
def _search(options: BeamOptions) -> Callable[..., NBest]:
    return lambda logits, frames, model: nbest(logits, frames, options, model)


class NBest(NamedTuple):
    """The best strings of each row, best first.

    Where fewer than N were found, the rest are empty strings with a score of -inf.
    """

    ids: Int[Array, "B N T"]  # left-justified, padded with 0
    lengths: Int[Array, "B N"]
    log_probability: Float[Array, "B N"]  # of the string, by the CTC forward score
    score: Float[Array, "B N"]  # ranked by it: log-probability and the model's score


def nbest(
    logits: types.Logits,
    frames: types.FrameCounts,
    options: BeamOptions = DEFAULT,
    model: LanguageModel | None = None,
) -> NBest:
    """Returns the best strings of each row with their exact probabilities.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      options: of the search; static.
      model: whose score of a string is added to its log-probability: of the language, weighted and
        with a bonus per character (`language.Weighted`), or an automaton; None adds nothing.
    """
    real = jnp.arange(logits.shape[1])[None, :] < frames[:, None]
    logits = jnp.where(real[:, :, None], logits, 0).astype(jnp.float32)
    found = search(logits, real, options, model)
    score = found.total
    if model is not None:
        score += model.end(found.states)
    score, order = jax.lax.top_k(score, options.nbest)
    packing = Packing.of(logits.shape[2])
    packed = jnp.take_along_axis(found.strings, order[:, None, :], axis=2)
    ids = packing.unpack(packed, logits.shape[1])
    lengths = jnp.take_along_axis(found.lengths, order, axis=1)
    alive = score > UNLIKELIEST

    # The greedy reading stands by: the search may have lost it, and must not end up below it.
    best, best_length = best_path(logits, frames)
    known = jnp.any(jnp.all(ids == best[:, None], axis=2) & alive, axis=1)
    ids = jnp.concatenate([jnp.where(alive[:, :, None], ids, 0), best[:, None]], axis=1)
    lengths = jnp.concatenate([jnp.where(alive, lengths, 0), best_length[:, None]], axis=1)
    alive = jnp.concatenate([alive, ~known[:, None]], axis=1)

    exact = string_log_probabilities(logits, frames, ids, lengths, alive)
    score = exact
    if model is not None:
        score += string_score(model, ids, lengths)
    score, order = jax.lax.top_k(score, options.nbest)
    kept = score > -jnp.inf
    return NBest(
        jnp.where(kept[:, :, None], jnp.take_along_axis(ids, order[:, :, None], axis=1), 0),
        jnp.where(kept, jnp.take_along_axis(lengths, order, axis=1), 0),
        jnp.where(kept, jnp.take_along_axis(exact, order, axis=1), -jnp.inf),
        score,
    )
