"""What happens to a picture once it is taken: tone curve, contrast, negative, JPEG."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import (
    Limits,
    Pictures,
    change,
    per_image,
    real_mean,
    real_pixels,
)

_BRIGHTNESS = 0.2  # largest change of brightness that comes with a change of contrast

# Annex K of ITU-T T.81, tables K.1 and K.2.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_CHROMINANCE = np.full((8, 8), 99, np.float32)
_CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_YCC = np.array(  # rows: Y, Cb, Cr of JFIF from R, G, B
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


def _cosines() -> np.ndarray:
    """Returns the orthonormal 8-point DCT-II: rows are frequencies."""
    k, n = np.mgrid[:8, :8]
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    basis[0] /= np.sqrt(2)
    return basis


_DCT = np.kron(_cosines(), _cosines()).astype(np.float32)  # of flattened 8 x 8 blocks


def gamma(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Raises to a power: above 1 darkens.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: exponent.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        exponent = per_image(draws.uniform("gamma", *limits))
        return jnp.exp2(exponent * jnp.log2(jnp.maximum(images, 1e-9)))

    return change(images, draws, "gamma", share, effect, cheap=True)


def tone(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Scales the contrast about the mean, then shifts the brightness as far as there is room.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: factor of the contrast.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        factor = draws.uniform("tone factor", *limits)  # "tone" is that of the ink
        mean, real = real_mean(images, draws, (1, 2, 3))[:, 0, 0, 0], real_pixels(images, draws)
        lowest = jnp.min(images, axis=(1, 2, 3), where=real, initial=1.0)
        highest = jnp.max(images, axis=(1, 2, 3), where=real, initial=0.0)
        darkest = mean + factor * (lowest - mean)
        brightest = mean + factor * (highest - mean)
        low = -jnp.clip(darkest, 0.0, _BRIGHTNESS)
        high = jnp.clip(1 - brightest, 0.0, _BRIGHTNESS)
        shift = draws.uniform("tone.shift", low, high) + (1 - factor) * mean
        return images * per_image(factor) + per_image(shift)

    return change(images, draws, "tone", share, effect, cheap=True)


def invert(images: Pictures, draws: Draws, share: float) -> Pictures:
    """Returns negatives.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
    """
    return change(images, draws, "invert", share, lambda images, _: 1 - images, cheap=True)


def jpeg(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Quantises the cosine coefficients of 8 x 8 blocks as JPEG does; colour with 4:2:0.

    The blocks begin anywhere, as they do in a crop of a larger picture.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: quality, 1..100, as libjpeg counts it.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        quality = draws.uniform("jpeg", *limits)
        return compress(images, quality, draws.integers("jpeg.phase", 8, 2))

    return change(images, draws, "jpeg", share, effect)


def compress(images: Pictures, quality: Float[Array, " B"], phase: Array) -> Pictures:
    """Returns images as they come back from a JPEG file.

    Args:
      images: 0..1.
      quality: 1..100, as libjpeg counts it.
      phase: int32 (B, 2): the blocks begin so many pixels, 0..7, above and left of the image.
    """
    _, height, width, channels = images.shape
    unit = 8 if channels == 1 else 16  # pixels of the smallest coded unit
    tall, wide = (-(-(size + 7) // unit) * unit for size in (height, width))
    levels = _window(images * 255 - 128, -phase, tall, wide)
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    if channels == 1:
        levels = _quantise(levels[..., 0], _table(_LUMINANCE, scale))[..., None]
    else:
        levels = _quantise_colour(levels, scale)
    return (_window(levels, phase, height, width) + 128) / 255


def _quantise_colour(levels: Pictures, scale: Float[Array, " B"]) -> Pictures:
    rgb = [levels[..., channel] for channel in range(3)]
    brightness, *chroma = _linear(_YCC, rgb)
    brightness = _quantise(brightness, _table(_LUMINANCE, scale))
    # Chroma at half the resolution, both planes in one batch.
    batch, tall, wide = brightness.shape
    planes = jnp.concatenate(chroma).reshape(2 * batch, tall // 2, 2, wide // 2, 2)
    planes = _quantise(planes.mean(axis=(2, 4)), jnp.tile(_table(_CHROMINANCE, scale), (2, 1)))
    planes = _double(_double(planes).mT).mT
    ycc = [brightness, planes[:batch], planes[batch:]]
    return jnp.stack(_linear(np.linalg.inv(_YCC), ycc), axis=-1)


def _linear(matrix: np.ndarray, planes: list[Any]) -> list[Any]:
    """Returns a matrix's product with the colours; sums of planes, not tiny matrix products."""
    return [
        sum(float(weight) * plane for weight, plane in zip(row, planes, strict=True))
        for row in matrix
    ]


def _double(plane: Float[Array, "B H W"]) -> Float[Array, "B H2 W"]:
    """Returns twice the rows, a quarter of each from the neighbour it is nearer to, as libjpeg."""
    batch, tall, wide = plane.shape
    above = jnp.concatenate([plane[:, :1], plane[:, :-1]], axis=1)
    below = jnp.concatenate([plane[:, 1:], plane[:, -1:]], axis=1)
    pairs = 0.75 * plane[:, :, None] + 0.25 * jnp.stack([above, below], axis=2)
    return pairs.reshape(batch, 2 * tall, wide)


def _table(base: np.ndarray, scale: Float[Array, " B"]) -> Float[Array, "B 64"]:
    """Returns libjpeg's quantisation tables."""
    entries = jnp.asarray(base.reshape(1, 64)) * scale[:, None]
    return jnp.clip(jnp.floor((entries + 50) / 100), 1, 255)


def _quantise(plane: Float[Array, "B H W"], table: Float[Array, "B 64"]) -> Float[Array, "B H W"]:
    """Rounds the coefficients of the 8 x 8 blocks of planes to multiples of the table's steps."""
    batch, tall, wide = plane.shape
    blocks = plane.reshape(batch, tall // 8, 8, wide // 8, 8).transpose(0, 1, 3, 2, 4)
    basis = jnp.asarray(_DCT)
    coefficients = jnp.matmul(blocks.reshape(batch, -1, 64), basis.T, precision="highest")
    steps = table[:, None, :]
    coefficients = jnp.round(coefficients / steps) * steps
    blocks = jnp.matmul(coefficients, basis, precision="highest")
    blocks = blocks.reshape(batch, tall // 8, wide // 8, 8, 8)
    return blocks.transpose(0, 1, 3, 2, 4).reshape(batch, tall, wide)


def _window(images: Pictures, start: Array, tall: int, wide: int) -> Float[Array, "B H2 W2 C"]:
    """Returns a window of every image, beginning at `start` (y, x); borders are repeated."""
    _, height, width, _ = images.shape
    y = jnp.arange(tall, dtype=jnp.int32)[None, :] + start[:, :1]
    x = jnp.arange(wide, dtype=jnp.int32)[None, :] + start[:, 1:]
    rows = jnp.clip(y, 0, height - 1)[:, :, None, None]
    columns = jnp.clip(x, 0, width - 1)[:, None, :, None]
    images = jnp.take_along_axis(images, rows, axis=1, mode="promise_in_bounds")
    return jnp.take_along_axis(images, columns, axis=2, mode="promise_in_bounds")
