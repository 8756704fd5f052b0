"""Forced alignment: in which frames an image shows each character of a text."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from crnn_jax import types
from crnn_jax.ctc.loss import frames_needed

_NEVER = -1e30  # in place of log 0


class Alignment(NamedTuple):
    """The most likely path of each row's text; characters beyond a text are -1.

    Attributes:
      first, last: frames in which a character begins and ends, both included.
      peak: the frame of these in which it is most likely.
      log_probability: of the path, in nats; -inf where the text does not fit the frames.
    """

    first: Int[Array, "B L"]
    last: Int[Array, "B L"]
    peak: Int[Array, "B L"]
    log_probability: types.PerRow


def align(
    logits: types.Logits,
    frames: types.FrameCounts,
    labels: types.Labels,
    label_lengths: types.LabelLengths,
) -> Alignment:
    """Returns the most likely path (Viterbi) that spells each row's text.

    States are blanks and characters in turn, as in the forward recursion of Graves et al. (2006),
    with the best instead of the sum of what leads to a state.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      labels: (B, L), class ids, right-padded with anything.
      label_lengths: (B,); a text without characters has a path of blanks.
    """
    steps, columns = logits.shape[1], labels.shape[1]
    real = jnp.arange(steps)[None, :] < frames[:, None]
    log_probs = jax.nn.log_softmax(
        jnp.where(real[:, :, None], logits, 0).astype(jnp.float32), axis=-1
    )
    states = jnp.zeros((len(labels), 2 * columns + 1), jnp.int32).at[:, 1::2].set(labels)
    # A character is reached from the one before it without a blank, but not from its like.
    skips = jnp.zeros(states.shape, bool).at[:, 3::2].set(labels[:, 1:] != labels[:, :-1])

    def shifted(scores: Array, by: int) -> Array:
        return jnp.pad(scores, ((0, 0), (by, 0)), constant_values=_NEVER)[:, : scores.shape[1]]

    def forward(scores: Array, frame: tuple) -> tuple[Array, Array]:
        now, counts = frame
        ways = jnp.stack([scores, shifted(scores, 1), jnp.where(skips, shifted(scores, 2), _NEVER)])
        emitted = jnp.take_along_axis(now, states, axis=1)
        moved = jnp.maximum(jnp.max(ways, axis=0) + emitted, _NEVER)
        back = jnp.where(counts[:, None], jnp.argmax(ways, axis=0), 0).astype(jnp.int8)
        return jnp.where(counts[:, None], moved, scores), back

    # Before the first frame: in the blank that leads to the first blank or the first character.
    start = jnp.full(states.shape, _NEVER).at[:, 0].set(0.0)
    scores, back = jax.lax.scan(forward, start, (jnp.moveaxis(log_probs, 1, 0), real.T))
    ends = 2 * label_lengths[:, None] - jnp.arange(2)[None, :]  # the last blank, the last character
    final = jnp.where(ends >= 0, jnp.take_along_axis(scores, jnp.maximum(ends, 0), axis=1), _NEVER)
    end = jnp.take_along_axis(ends, jnp.argmax(final, axis=1)[:, None], axis=1)[:, 0]

    def backward(state: Array, back: Array) -> tuple[Array, Array]:
        return state - jnp.take_along_axis(back, state[:, None], axis=1)[:, 0], state

    _, path = jax.lax.scan(backward, end, back, reverse=True)
    # path[t]: the state of frame t. Character j is state 2 j + 1.
    odd = 2 * jnp.arange(columns)[None, None, :] + 1
    here = (path.T[:, :, None] == odd) & real[:, :, None]  # (B, T, L)
    emitted = jnp.take_along_axis(log_probs, labels[:, None, :], axis=2)
    fits = frames_needed(labels, label_lengths) <= frames
    wanted = (jnp.arange(columns)[None, :] < label_lengths[:, None]) & fits[:, None]
    at = jnp.arange(steps, dtype=jnp.int32)[None, :, None]
    return Alignment(
        jnp.where(wanted, jnp.min(jnp.where(here, at, steps), axis=1), -1),
        jnp.where(wanted, jnp.max(jnp.where(here, at, -1), axis=1), -1),
        jnp.where(wanted, jnp.argmax(jnp.where(here, emitted, -jnp.inf), axis=1), -1),
        jnp.where(fits, jnp.max(final, axis=1), -jnp.inf),
    )
