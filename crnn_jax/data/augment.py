"""Augmentation of loaded images on the device, with the effects of rendered text."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
from ml_collections import FrozenConfigDict

from crnn_jax import types
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects import degrade
from crnn_jax.synth.renderer import ROWS
from crnn_jax.synth.staging import settle
from crnn_jax.synth.warp import Canvas, fit_frame, locate

_INWARDS = 0.05  # heights of a picture that its borders move into it, at most
_POINTS = 9  # along the upper and the lower border, which arcs and waves bend


def augment(batch: types.Batch, draws: Draws, knobs: Any) -> types.Batch:
    """Returns a batch whose images are seen from elsewhere, in other light, by other cameras.

    Labels and real widths stay. What the knobs say of texts, faces and ink has no effect. Margins
    are drawn around text, and a picture has its own: its borders move outwards by half the width
    of the knob's range at most, and inwards as far, but by no more than a twentieth of its height.

    Args:
      batch: loaded images; rows of width 0 stay as they are.
      draws: of the images.
      knobs: static, see `crnn_jax.synth.knobs`.
    """
    count = len(batch.widths)
    missing = -count % ROWS
    draws = draws.calming(knobs.calm_share)
    margins = {name: _around(knobs[name]) for name in ("margin_x", "margin_y")}
    knobs = FrozenConfigDict(knobs.to_dict() | margins)
    padded, draws = jax.tree.map(
        lambda x: jnp.concatenate([x, x[:1].repeat(missing, 0)]), (batch, draws)
    )
    draws = draws._replace(widths=jnp.maximum(padded.widths, 1).astype(jnp.float32))
    images = _augment(padded.images, padded.widths, draws, knobs)[:count]
    real = jnp.arange(images.shape[2])[None, :] < batch.widths[:, None]
    return batch._replace(images=jnp.where(real[:, None, :, None], images, jnp.uint8(0)))


def _around(margin: tuple[float, float]) -> tuple[float, float]:
    """Returns a range of margins as wide about 0, but not far into the picture."""
    half = (margin[1] - margin[0]) / 2
    return -min(half, _INWARDS), half


def _augment(images: UInt8[Any, "B H W C"], widths: Any, draws: Draws, knobs: Any) -> Array:
    height, width, channels = images.shape[1:]
    canvas = Canvas(height, width, channels)
    widths = jnp.maximum(widths, 1)
    aspect = widths / jnp.float32(height)  # lengths are in heights of the picture
    along, across = jnp.meshgrid(jnp.linspace(0.0, 1.0, _POINTS), jnp.array([0.0, 1.0]))
    points = (
        aspect[:, None] * along.reshape(1, -1),
        jnp.tile(across.reshape(1, -1), (len(aspect), 1)),
    )
    extents = jnp.stack([aspect, jnp.ones_like(aspect)], axis=1)
    frame = fit_frame(points, extents, extents / 2, widths, draws, knobs, canvas, widths)
    frame = jax.tree.map(settle, frame)
    u, v = (settle(place) for place in locate(frame, draws, knobs, canvas))
    moved = _resample(images, widths, u, v)
    return jnp.round(degrade(moved, draws, knobs) * 255).astype(jnp.uint8)


def _resample(
    images: UInt8[Array, "B H W C"],
    widths: types.Widths,
    u: Float[Array, "B H1 W1"],
    v: Float[Array, "B H1 W1"],
) -> Float[Array, "B H W C"]:
    """Returns the images, 0..1, at the places of the pixels' corners; bilinear, borders repeated.

    Args:
      images: pixels.
      widths: real pixels.
      u, v: places in heights of the picture.
    """
    batch, height, width, channels = images.shape
    x = (u[:, :-1, :-1] + u[:, :-1, 1:] + u[:, 1:, :-1] + u[:, 1:, 1:]) * (height / 4) - 0.5
    y = (v[:, :-1, :-1] + v[:, :-1, 1:] + v[:, 1:, :-1] + v[:, 1:, 1:]) * (height / 4) - 0.5
    last = (widths - 1).astype(jnp.float32)[:, None, None]
    x, y = jnp.clip(x, 0.0, last), jnp.clip(y, 0.0, height - 1.0)
    column, row = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    right, down = (x - column)[..., None], (y - row)[..., None]
    right_column = jnp.minimum(column + 1, (widths - 1)[:, None, None])
    lower_row = jnp.minimum(row + 1, height - 1)
    column, row, right_column = settle(column), settle(row), settle(right_column)
    start = (jnp.arange(batch, dtype=jnp.int32) * (height * width))[:, None, None]
    flat = images.reshape(-1, channels)

    def take(rows: Array, columns: Array) -> Array:
        return flat[start + rows * width + columns].astype(jnp.float32) * (1 / 255)

    upper = take(row, column) * (1 - right) + take(row, right_column) * right
    lower = take(lower_row, column) * (1 - right) + take(lower_row, right_column) * right
    return upper * (1 - down) + lower * down
