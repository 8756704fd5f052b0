"""How the scene is lit: unevenly, and with shadows across it; and how cameras make up for it."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import Limits, Pictures, change, real_mean, real_widths
from crnn_jax.synth.staging import settle

# Standard deviation of the pixels that remains: thin text with a contrast of 0.2 has about that.
LEAST_DEVIATION = 0.07
_GRID = (3, 5)  # lights over the picture, from which the field is interpolated


def _interpolation(pixels: int, size: Any, knots: int) -> Float[Array, "B pixels knots"]:
    """Returns smooth weights of knots, evenly spaced, that sum to 1.

    Args:
      pixels: how many there are.
      size: (B,), over how many of them the knots are spread; the others have the last knot's value.
      knots: how many there are.
    """
    place = (jnp.arange(pixels)[None, :] + 0.5) / size[:, None]
    position = jnp.minimum(place, 1.0)[:, :, None] * (knots - 1)
    distance = jnp.clip(jnp.abs(position - jnp.arange(knots)[None, None, :]), 0, 1)
    return 1 - distance * distance * (3 - 2 * distance)


def light(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Darkens by a smooth field that varies over the picture.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: by how much the darkest place is darker than the brightest.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        _, height, width, _ = images.shape
        rows, columns = _GRID
        # A slope in any direction, plus lights of their own.
        angle = draws.uniform("light.angle", 0.0, 2 * math.pi)
        y = jnp.asarray(np.linspace(-1, 1, rows, dtype=np.float32))[None, :, None]
        x = jnp.asarray(np.linspace(-1, 1, columns, dtype=np.float32))[None, None, :]
        slope = jnp.cos(angle)[:, None, None] * x + jnp.sin(angle)[:, None, None] * y
        knots = slope + draws.uniform("light.knots", -1.0, 1.0, rows, columns)
        low = knots.min(axis=(1, 2), keepdims=True)
        knots = (knots - low) / (knots.max(axis=(1, 2), keepdims=True) - low)
        knots = 1 - draws.uniform("light", *limits)[:, None, None] * knots
        along = _interpolation(width, real_widths(images, draws), columns)
        across = jnp.matmul(knots, along.mT, precision="highest")
        down = _interpolation(height, jnp.full(1, height), rows)
        field = functools.reduce(
            operator.add,
            [down[:, :, row, None] * across[:, row, None, :] for row in range(rows)],
        )
        return images * field[..., None]

    return change(images, draws, "light", share, effect, cheap=True)


def shade(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Darkens one side of a straight line, more or less sharply.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: darkness of the shadow.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        _, height, width, _ = images.shape
        real = real_widths(images, draws)[:, None, None]
        angle = draws.uniform("shade.angle", 0.0, 2 * math.pi)[:, None, None]
        place = draws.uniform("shade.place", 0.1, 0.9, 2)[:, :, None, None]
        y = jnp.asarray(np.arange(height, dtype=np.float32) + 0.5)[None, :, None]
        x = jnp.asarray(np.arange(width, dtype=np.float32) + 0.5)[None, None, :]
        distance = jnp.sin(angle) * (y - place[:, 0] * height)
        distance = distance + jnp.cos(angle) * (x - place[:, 1] * real)
        softness = draws.log_uniform("shade.soft", (0.03 * height, 0.6 * height))[:, None, None]
        edge = jnp.clip(distance / softness + 0.5, 0.0, 1.0)
        darkness = draws.uniform("shade", *limits)[:, None, None]
        return images * (1 - darkness * edge * edge * (3 - 2 * edge))[..., None]

    return change(images, draws, "shade", share, effect, cheap=True)


def expose(images: Pictures, draws: Draws) -> Pictures:
    """Returns pictures that a person can still read, as a camera's exposure makes them.

    Where little contrast is left, dark in a shadow or pale in the light, values are spread about
    their mean, and moved if they would leave 0..1. Other pictures stay as they are, bit for bit.

    Args:
      images: 0..1.
      draws: of the same rows.
    """
    mean = real_mean(images, draws, (1, 2, 3))
    variance = real_mean((images - mean) ** 2, draws, (1, 2, 3))
    gain = settle(LEAST_DEVIATION / jnp.sqrt(jnp.maximum(variance, 1e-6)))
    kept = settle(jnp.clip(mean, 3 * LEAST_DEVIATION, 1 - 3 * LEAST_DEVIATION))
    spread = jnp.clip(kept + (images - mean) * gain, 0.0, 1.0)
    return settle(jnp.where(gain > 1, spread, images))
