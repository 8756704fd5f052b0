"""What a lens and a moving hand do: Gaussian blur, motion blur, defocus.

All of them weigh shifted copies of the image. Beyond its borders an image goes on with its last
pixels, so that borders do not darken, and the weights sum to one.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import Limits, Pictures, change, per_image, pixels

_POINTS_PER_PIXEL = 2  # of the longest path, at which the shutter is open


def blur(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Blurs with a Gaussian.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: standard deviation, in pixels at a height of 32.
    """
    low, high = pixels(images, limits)
    reach = max(1, math.ceil(3 * high))
    offset = jnp.asarray(np.arange(-reach, reach + 1, dtype=np.float32))

    def effect(images: Pictures, draws: Draws) -> Pictures:
        sigma = draws.uniform("blur", low, high)
        weights = jnp.exp(-0.5 * jnp.square(offset[None, :] / sigma[:, None]))
        weights = weights / weights.sum(axis=1, keepdims=True)
        return convolve_axis(convolve_axis(images, weights, 2), weights, 1)

    return change(images, draws, "blur", share, effect)


def motion(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Blurs along a straight path in any direction.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: length of the path, in pixels at a height of 32.
    """
    low, high = pixels(images, limits)
    reach = math.ceil(high / 2)
    offset = jnp.asarray(np.arange(-reach, reach + 1, dtype=np.float32))
    points = 1 + math.ceil(_POINTS_PER_PIXEL * high)
    path = jnp.asarray(np.linspace(-0.5, 0.5, points, dtype=np.float32))

    def effect(images: Pictures, draws: Draws) -> Pictures:
        angle = draws.uniform("motion.angle", 0.0, math.pi)
        along = draws.uniform("motion", low, high)[:, None] * path[None, :]

        def tents(centre: Float[Array, "B P"]) -> Float[Array, "B P K"]:
            return jax.nn.relu(1 - jnp.abs(offset[None, None, :] - centre[:, :, None]))

        across_y = tents(along * jnp.sin(angle)[:, None])
        across_x = tents(along * jnp.cos(angle)[:, None])
        kernels = (across_y[:, :, :, None] * across_x[:, :, None, :]).mean(axis=1)
        return convolve(images, kernels)

    return change(images, draws, "motion", share, effect)


def defocus(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Blurs with a disc, as a lens out of focus does.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: radius, in pixels at a height of 32.
    """
    low, high = pixels(images, limits)
    reach = max(1, math.ceil(high - 0.5))
    offset = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = jnp.asarray(np.hypot(offset[:, None], offset[None, :]))

    def effect(images: Pictures, draws: Draws) -> Pictures:
        radius = draws.uniform("defocus", low, high)
        kernels = jnp.clip(radius[:, None, None] + 0.5 - distance[None, :, :], 0.0, 1.0)
        return convolve(images, kernels / kernels.sum(axis=(1, 2), keepdims=True))

    return change(images, draws, "defocus", share, effect)


def convolve_axis(images: Pictures, weights: Float[Array, "B K"], axis: int) -> Pictures:
    """Correlates every image with its own odd number of weights along axis 1 or 2."""
    reach = weights.shape[1] // 2
    padded = _extend(images, reach if axis == 1 else 0, reach if axis == 2 else 0)
    size = images.shape[axis]
    return sum(
        per_image(weights[:, tap]) * jax.lax.slice_in_dim(padded, tap, tap + size, axis=axis)
        for tap in range(weights.shape[1])
    )


def convolve(images: Pictures, kernels: Float[Array, "B K K"]) -> Pictures:
    """Correlates every image with its own square kernel of odd size."""
    _, height, width, _ = images.shape
    size = kernels.shape[1]
    padded = _extend(images, size // 2, size // 2)
    return sum(
        per_image(kernels[:, y, x]) * padded[:, y : y + height, x : x + width]
        for y in range(size)
        for x in range(size)
    )


def _extend(images: Pictures, rows: int, columns: int) -> Float[Array, "B H2 W2 C"]:
    """Repeats the pixels at the borders.

    Written by updates of slices, which XLA keeps apart from what computes the images: fused into
    the taps, that would be computed once per tap.
    """
    batch, height, width, channels = images.shape
    shape = (batch, height + 2 * rows, width + 2 * columns, channels)
    place = jax.lax.dynamic_update_slice
    padded = place(jnp.zeros(shape, images.dtype), images, (0, rows, columns, 0))
    for axis, reach, size in ((1, rows, height), (2, columns, width)):
        if reach:
            for edge, start in ((reach, 0), (reach + size - 1, reach + size)):
                border = jax.lax.slice_in_dim(padded, edge, edge + 1, axis=axis)
                index = [0, 0, 0, 0]
                index[axis] = start
                padded = place(padded, jnp.repeat(border, reach, axis=axis), tuple(index))
    return padded
