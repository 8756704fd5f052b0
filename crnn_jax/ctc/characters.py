"""How sure each character of a text is, given the rest of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax import types
from crnn_jax.ctc.loss import frames_needed

_NEVER = -1e30  # in place of log 0, which would make NaNs of differences


def character_posteriors(
    logits: types.Logits,
    frames: types.FrameCounts,
    labels: types.Labels,
    label_lengths: types.LabelLengths,
) -> Float[Array, "B L"]:
    """Returns p(character | image, the rest of the text) of each row's text.

    Character i is compared with what could stand in its place: the text with each other character
    there, and the text without it. With p(.) the CTC forward score of a whole text,

        p(text) / (sum over c of p(text with c at i) + p(text without i)).

    All of these are computed at once: paths of the characters before i, then of c, then of those
    after i, by the forward and backward variables of Graves et al. (2006, section 4.1). It is the
    chance that this character is right if the others are, so their product is not p(text).

    Args:
      logits: (B, T, K), class 0 the blank.
      frames: (B,), real frames; what is beyond them is not read.
      labels: (B, L), class ids, right-padded with anything.
      label_lengths: (B,).

    Returns:
      Probabilities, 0 beyond a text and where it does not fit the frames.
    """
    steps, columns, classes = logits.shape[1], labels.shape[1], logits.shape[2]
    real = jnp.arange(steps)[None, :] < frames[:, None]
    logits = jnp.where(real[:, :, None], logits, 0).astype(jnp.float32)
    log_probs = jnp.maximum(jax.nn.log_softmax(logits, axis=-1), _NEVER)
    place = jnp.arange(columns)[None, :]
    within = place < label_lengths[:, None]
    labels = jnp.where(within, labels, 0)
    by_time = jnp.moveaxis(log_probs, 1, 0), real.T

    after_blank, after_char = _before(by_time, labels)  # (T + 1, B, L + 1)
    via_blank, via_char = _behind(by_time, labels, label_lengths)  # (T + 1, B, L + 1)
    # An alike neighbour must be apart by a blank.
    every = jnp.arange(classes)[None, None, :]
    left = jnp.pad(labels, ((0, 0), (1, 0)))[:, :-1, None]  # 0: there is none
    right = jnp.pad(labels, ((0, 0), (0, 1)))[:, 1:, None]
    joins_left, joins_right = (every != left) & (left > 0), (every != right) & (right > 0)

    def step(carry: tuple, inputs: tuple) -> tuple:
        on_char, total = carry  # (B, L, K): paths that end in c at i; whole ones
        now, is_real, blank, char, next_blank, next_char = inputs
        enter = jnp.logaddexp(
            blank[:, :-1, None], jnp.where(joins_left, char[:, :-1, None], _NEVER)
        )
        moved = jnp.maximum(jnp.logaddexp(on_char, enter) + now[:, None, :], _NEVER)
        leave = jnp.logaddexp(
            next_blank[:, 1:, None], jnp.where(joins_right, next_char[:, 1:, None], _NEVER)
        )
        total = jnp.where(is_real[:, None, None], jnp.logaddexp(total, moved + leave), total)
        return (moved, jnp.maximum(total, _NEVER)), None

    nothing = jnp.full((*labels.shape, classes), _NEVER)
    inputs = *by_time, after_blank[:-1], after_char[:-1], via_blank[1:], via_char[1:]
    (_, replaced), _ = jax.lax.scan(step, (nothing, nothing), inputs)
    replaced = replaced.at[:, :, 0].set(_NEVER)  # a blank is no character

    unlike = (left[:, :, 0] != right[:, :, 0]) & (left[:, :, 0] > 0)
    arrive = jnp.logaddexp(
        after_blank[:, :, :-1], jnp.where(unlike[None], after_char[:, :, :-1], _NEVER)
    )
    shorter = jax.nn.logsumexp(arrive + via_char[:, :, 1:], axis=0)
    # Without its last character a text ends with the frames.
    whole = jnp.logaddexp(after_blank[-1], after_char[-1])[:, :-1]
    shorter = jnp.where(place == label_lengths[:, None] - 1, whole, shorter)
    own = jnp.take_along_axis(replaced, labels[:, :, None], axis=2)[:, :, 0]
    all_of_them = jnp.logaddexp(jax.nn.logsumexp(replaced, axis=2), shorter)
    fits = frames_needed(labels, label_lengths) <= frames
    return jnp.where(within & fits[:, None], jnp.exp(own - all_of_them), 0.0)


def _before(by_time: tuple, labels: types.Labels) -> tuple[Array, Array]:
    """Returns log forward variables, (T + 1, B, L + 1) each.

    Entry [t, b, j] is of the paths of the first t frames that spell the first j characters and end
    in a blank (or have no frame), and of those that end in the last character.
    """
    batch, columns = labels.shape
    repeated = jnp.pad(labels[:, 1:] == labels[:, :-1], ((0, 0), (1, 0)))

    def step(carry: tuple, frame: tuple) -> tuple[tuple, tuple]:
        blank, char = carry
        now, is_real = frame
        both = jnp.logaddexp(blank, char)
        entered = jnp.where(repeated, blank[:, :-1], both[:, :-1])
        emitted = jnp.take_along_axis(now, labels, axis=1)
        moved = jnp.logaddexp(char[:, 1:], entered) + emitted
        new = both + now[:, :1], jnp.pad(moved, ((0, 0), (1, 0)), constant_values=_NEVER)
        return _kept(is_real, new, carry), carry

    nothing = jnp.full((batch, columns + 1), _NEVER)
    last, before = jax.lax.scan(step, (nothing.at[:, 0].set(0.0), nothing), by_time)
    blank, char = (
        jnp.concatenate([all_, end[None]]) for all_, end in zip(before, last, strict=True)
    )
    return blank, char


def _behind(
    by_time: tuple, labels: types.Labels, label_lengths: types.LabelLengths
) -> tuple[Array, Array]:
    """Returns log backward variables, (T + 1, B, L + 1) each.

    Entry [t, b, j] is of the paths of the frames from t on that spell the characters from j on and
    begin with a blank (or have no frame), and of those that begin with character j.
    """
    batch, columns = labels.shape
    repeated = jnp.pad(labels[:, 1:] == labels[:, :-1], ((0, 0), (0, 1)))

    def step(carry: tuple, frame: tuple) -> tuple[tuple, tuple]:
        blank, char = carry
        now, is_real = frame
        emitted = jnp.take_along_axis(now, labels, axis=1)
        following = jnp.where(repeated, _NEVER, char[:, 1:])
        # Character j goes on, or is left for a blank or for the next one.
        moved = jnp.logaddexp(jnp.logaddexp(char[:, :-1], blank[:, 1:]), following) + emitted
        new = (
            jnp.logaddexp(blank, char) + now[:, :1],
            jnp.pad(moved, ((0, 0), (0, 1)), constant_values=_NEVER),
        )
        kept = _kept(is_real, new, carry)
        return kept, kept

    ends = jnp.arange(columns + 1)[None, :] == label_lengths[:, None]
    start = jnp.where(ends, 0.0, _NEVER), jnp.full((batch, columns + 1), _NEVER)
    _, behind = jax.lax.scan(step, start, by_time, reverse=True)
    blank, char = (
        jnp.concatenate([all_, end[None]]) for all_, end in zip(behind, start, strict=True)
    )
    return blank, char


def _kept(is_real: Array, new: tuple, old: tuple) -> tuple:
    """Returns the new values where a frame is real, above log 0."""
    return tuple(
        jnp.where(is_real[:, None], jnp.maximum(a, _NEVER), b)
        for a, b in zip(new, old, strict=True)
    )
