"""What a sensor does: few pixels, noise of several kinds, dead pixels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import Limits, Pictures, change, per_image

_NEAREST_SHARE = 0.3  # of the enlargements; the others are bilinear
_GREY_SHARE = 0.5  # of the noise in colour images is the same in all channels


def lowres(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Scales down by averaging areas, and up again, bilinearly or by repeating pixels.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: factor of the size, at most 1.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        _, height, width, _ = images.shape
        factor = draws.uniform("lowres", *limits)
        nearest = draws.chance("lowres.nearest", _NEAREST_SHARE)
        down_y, up_y = _resampling(factor, nearest, height, limits[1])
        down_x, up_x = _resampling(factor, nearest, width, limits[1], transposed=True)
        planes = jnp.moveaxis(images, 3, 1)
        small = _matmul(_matmul(down_y, planes), down_x)
        return jnp.moveaxis(_matmul(_matmul(up_y, small), up_x), 1, 3)

    return change(images, draws, "lowres", share, effect)


def _resampling(
    factor: Float[Array, " B"],
    nearest: Array,
    size: int,
    largest: float,
    transposed: bool = False,
) -> tuple[Float[Array, "B 1 n N"], Float[Array, "B 1 N2 n2"]]:
    """Returns the matrices from `size` pixels to round(factor * size), and back.

    They are made transposed where that is asked for: transposing them later would copy them.
    """
    most = min(size, math.floor(largest * size + 0.5))
    count = jnp.clip(jnp.round(factor * size), 1, most)[:, None, None]
    step = size / count

    def numbers(length: int, axis: int) -> Array:
        shape = [1, 1, 1]
        shape[1 + (axis != transposed)] = length
        return jnp.asarray(np.arange(length, dtype=np.float32).reshape(shape))

    small, large = numbers(most, 0), numbers(size, 1)
    overlap = jnp.minimum(large + 1, (small + 1) * step) - jnp.maximum(large, small * step)
    down = jax.nn.relu(overlap) / step
    small, large = numbers(most, 1), numbers(size, 0)
    source = jnp.clip((large + 0.5) / step - 0.5, 0.0, count - 1)
    source = jnp.where(nearest[:, None, None], jnp.round(source), source)
    up = jax.nn.relu(1 - jnp.abs(source - small))
    return down[:, None], up[:, None]


def _matmul(left: Array, right: Array) -> Array:
    """Multiplies (B, 1 or C, n, k) by (B, 1 or C, k, m)."""
    channels = max(left.shape[1], right.shape[1])
    left, right = (jnp.repeat(array, channels // array.shape[1], 1) for array in (left, right))
    return jnp.matmul(left, right, precision="highest")


def noise(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Adds Gaussian noise, equal everywhere.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: standard deviation, of full scale.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        return images + per_image(draws.uniform("noise", *limits)) * _grain(images, draws, "noise")

    return change(images, draws, "noise", share, effect, cheap=True)


def shot(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Adds the noise of counted photons, which grows with the root of the brightness.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: standard deviation at white, of full scale.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        strength = per_image(draws.uniform("shot", *limits)) * jnp.sqrt(images)
        return images + strength * draws.normal("shot.field", *images.shape[1:])

    return change(images, draws, "shot", share, effect, cheap=True)


def speckle(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Multiplies by 1 + Gaussian noise.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: standard deviation of the factor.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        grain = _grain(images, draws, "speckle")
        return images * (1 + per_image(draws.uniform("speckle", *limits)) * grain)

    return change(images, draws, "speckle", share, effect, cheap=True)


def salt(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Sets single pixels to white or black.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: share of the pixels that are set.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        half = per_image(draws.uniform("salt", *limits)) / 2
        drawn = draws.uniform("salt.field", 0.0, 1.0, *images.shape[1:3])[..., None]
        return jnp.where(drawn < half, 0.0, jnp.where(drawn > 1 - half, 1.0, images))

    return change(images, draws, "salt", share, effect)


def _grain(images: Pictures, draws: Draws, name: str) -> Pictures:
    """Returns normal numbers for every pixel, in colour images half of the time grey ones."""
    grain = draws.normal(f"{name}.field", *images.shape[1:])
    if images.shape[-1] == 1:
        return grain
    grey = draws.chance(f"{name}.grey", _GREY_SHARE)
    return jnp.where(per_image(grey), grain[..., :1], grain)
