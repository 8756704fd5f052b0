"""Exact probabilities of several strings per image by the CTC forward recursion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from crnn_jax import types
from crnn_jax.ctc.score import score_strings

# Products of float32 lose what is below 1.2e-38. All that a string can lose is that, once for each
# character and frame: less than a millionth of 1e-25, up to a million of both.
_EXACT = 1e-25


def column_sizes(columns: int) -> list[int]:
    """Returns a quarter, a half and all of the columns of padded texts, upwards, each once.

    Most texts are far shorter than their frames: the longest of a batch decides how many columns
    are computed on.
    """
    return sorted({-(-columns // share) for share in (4, 2, 1)})


def string_log_probabilities(
    logits: types.Logits,
    frames: types.FrameCounts,
    strings: Int[Array, "B N L"],
    lengths: Int[Array, "B N"],
    wanted: Bool[Array, "B N"] | None = None,
) -> Float[Array, "B N"]:
    """Returns log p(string | image) in nats of N strings per row, computed in float32.

    What `ctc.loss.string_log_probability` gives one string at a time, and many times faster: the
    forward recursion (Graves et al., 2006, equations 6 to 8) with probabilities, which are exact
    unless they are tiny. Where one is, `score_strings` is asked, which takes logarithms. A string's
    result does not depend on the others, rounding aside.

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      strings: (B, N, L), class ids, padded with anything.
      lengths: (B, N), from 0 to L.
      wanted: (B, N), strings that count; None counts all. Others have -inf.
    """
    real = jnp.arange(logits.shape[1])[None, :] < frames[:, None]
    logits = jnp.where(real[:, :, None], logits, 0).astype(jnp.float32)
    wanted = jnp.ones(lengths.shape, bool) if wanted is None else wanted
    lengths = jnp.where(wanted, lengths, 0)
    strings = jnp.where(
        jnp.arange(strings.shape[2])[None, None, :] < lengths[:, :, None], strings, 0
    )
    p = _forward(jax.nn.softmax(logits, axis=-1), frames, strings, lengths)
    unsafe = wanted & (p < _EXACT)

    def by_logarithms():
        log_probs = jax.nn.log_softmax(logits, axis=-1)
        scores = jax.vmap(score_strings)(log_probs, frames, strings, lengths)
        return jnp.where(unsafe, scores, jnp.log(p))

    exact = jax.lax.cond(jnp.any(unsafe), by_logarithms, lambda: jnp.log(p))
    return jnp.where(wanted, exact, -jnp.inf)


def _forward(
    p: Float[Array, "B T K"],
    frames: types.FrameCounts,
    strings: Int[Array, "B N L"],
    lengths: Int[Array, "B N"],
) -> Float[Array, "B N"]:
    """Returns p(string | image) of class posteriors p, 0 where it underflows."""
    _, number, columns = strings.shape
    # With one string per row, as in greedy decoding, fewer columns save less than they cost to
    # compile.
    sizes = column_sizes(columns) if number > 1 else [columns]
    longest = jnp.max(lengths, initial=0)

    def of(size: int):
        return lambda: _recursion(p, frames, strings[:, :, :size], lengths)

    branch = sum((longest > size).astype(jnp.int32) for size in sizes[:-1])
    return jax.lax.switch(branch, [of(s) for s in sizes]) if len(sizes) > 1 else of(sizes[0])()


def _recursion(
    p: Float[Array, "B T K"],
    frames: types.FrameCounts,
    strings: Int[Array, "B N L"],
    lengths: Int[Array, "B N"],
) -> Float[Array, "B N"]:
    batch, number, columns = strings.shape
    flat = strings.reshape(batch, number * columns)
    repeated = jnp.pad(strings[:, :, 1:] == strings[:, :, :-1], ((0, 0), (0, 0), (1, 0)))

    def both(blank, char):  # of the first l characters, whatever the paths end in
        return blank + jnp.pad(char, ((0, 0), (0, 0), (1, 0)))

    def step(t, carry):
        # blank: paths of the first l characters that end in a blank; char: that end in the last.
        blank, char = carry
        now = jax.lax.dynamic_index_in_dim(p, t, axis=1, keepdims=False)
        emitted = jnp.take_along_axis(now, flat, axis=1).reshape(strings.shape)
        either = both(blank, char)
        entered = jnp.where(repeated, blank[:, :, :-1], either[:, :, :-1])
        real = (t < frames)[:, None, None]
        return (
            jnp.where(real, either * now[:, :1, None], blank),
            jnp.where(real, (char + entered) * emitted, char),
        )

    start = jnp.zeros((batch, number, columns + 1)).at[:, :, 0].set(1), jnp.zeros(strings.shape)
    blank, char = jax.lax.fori_loop(0, jnp.max(frames, initial=0), step, start)
    return jnp.take_along_axis(both(blank, char), lengths[:, :, None], axis=2)[:, :, 0]
