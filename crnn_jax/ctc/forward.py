"""Exact probabilities of several strings per image by the CTC forward recursion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from crnn_jax import types

_SHARES = (4, 2, 1)  # columns computed on: a quarter, a half or all


def string_log_probabilities(
    logits: types.Logits,
    frames: types.FrameCounts,
    strings: Int[Array, "B N L"],
    lengths: Int[Array, "B N"],
) -> Float[Array, "B N"]:
    """Returns log p(string | image) in nats of N strings per row, computed in float32.

    What `ctc.loss.string_log_probability` gives one string at a time, without a copy of the
    logits for each: equations 6 to 8 of Graves et al., 2006, in logarithms, blanks and characters
    apart. A string that the frames cannot spell has -inf; the empty one is all blanks.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      strings: (B, N, L), class ids, padded with anything.
      lengths: (B, N), from 0 to L.
    """
    real = jnp.arange(logits.shape[1])[None, :] < frames[:, None]
    # A padded frame is certain of everything, so that no sum needs a condition.
    log_probs = jax.nn.log_softmax(jnp.where(real[:, :, None], logits, 0).astype(jnp.float32))
    columns = strings.shape[2]
    sizes = sorted({-(-columns // share) for share in _SHARES})
    # Most strings are far shorter than their frames: the longest one decides.
    branch = sum((jnp.max(lengths, initial=0) > size).astype(jnp.int32) for size in sizes[:-1])
    branches = [lambda size=size: _forward(log_probs, frames, strings[:, :, :size], lengths)
                for size in sizes]  # fmt: skip
    return jax.lax.switch(branch, branches) if len(sizes) > 1 else branches[0]()


def _forward(
    log_probs: Float[Array, "B T K"],
    frames: types.FrameCounts,
    strings: Int[Array, "B N L"],
    lengths: Int[Array, "B N"],
) -> Float[Array, "B N"]:
    batch, number, columns = strings.shape
    flat = jnp.clip(strings, 0, log_probs.shape[2] - 1).reshape(batch, -1)
    repeated = jnp.pad(strings[:, :, 1:] == strings[:, :, :-1], ((0, 0), (0, 0), (1, 0)))

    def step(t, carry):
        # blank[l]: paths of the first l characters that end in a blank; char[l]: that end in them.
        blank, char = carry
        now = jax.lax.dynamic_index_in_dim(log_probs, t, axis=1, keepdims=False)
        emitted = jnp.take_along_axis(now, flat, axis=1).reshape(strings.shape)
        before = jnp.pad(char, ((0, 0), (0, 0), (1, 0)), constant_values=-jnp.inf)
        either = jnp.logaddexp(blank, before)
        entered = jnp.where(repeated, blank[:, :, :-1], either[:, :, :-1])
        new = either + now[:, :1, None], jnp.logaddexp(char, entered) + emitted
        real = (t < frames)[:, None, None]
        return jnp.where(real, new[0], blank), jnp.where(real, new[1], char)

    blank = jnp.full((batch, number, columns + 1), -jnp.inf).at[:, :, 0].set(0.0)
    char = jnp.full(strings.shape, -jnp.inf)
    blank, char = jax.lax.fori_loop(0, jnp.max(frames, initial=0), step, (blank, char))
    either = jnp.logaddexp(blank, jnp.pad(char, ((0, 0), (0, 0), (1, 0)), constant_values=-jnp.inf))
    return jnp.take_along_axis(either, lengths[:, :, None], axis=2)[:, :, 0]
