"""Width-aware building blocks: every layer knows how many of its columns are real.

Images of different widths share a batch, padded on the right. A layer that lets padding leak makes
a reading depend on its neighbours in the batch. Here each layer maps the real width w to the real
width of its output with the arithmetic of an unpadded image of that width, and zeroes the columns
beyond it, which is what the next convolution's own zero padding would have been.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from crnn_jax import types

Pair = tuple[int, int]  # (along the height, along the width)
LEAST_VARIANCE = 1e-4  # of pixels in -1..1: noise on a blank image is not blown up to text


def output_size(size: Any, kernel: int, stride: int, padding: int) -> Any:
    """Returns the outputs that a window makes of `size` inputs; works on ints and on arrays.

    A size of 0 (an invalid row) stays 0, and an image too narrow for the window gives 0.
    """
    out = (size + 2 * padding - kernel) // stride + 1
    xp = jnp if isinstance(size, jax.Array) else np
    out = xp.where(xp.asarray(size) > 0, xp.maximum(out, 0), 0)
    return int(out) if isinstance(size, int) else out


def width_mask(widths: types.Widths, width: Any) -> Bool[Array, "B 1 W 1"]:
    """Returns True on the real columns of feature maps (B, H, `width`, D).

    A size of `jax.export` may be symbolic, which is no int.
    """
    return (jnp.arange(width)[None, :] < widths[:, None])[:, None, :, None]


def standardize(x: types.Features, widths: types.Widths) -> types.Features:
    """Gives the real pixels of every image mean 0 and variance 1, and padding the value 0.

    Brightness and contrast are then gone before the network begins; a blank image becomes 0.
    """
    real = width_mask(widths, x.shape[2])
    count = jnp.maximum(widths, 1)[:, None, None, None] * (x.shape[1] * x.shape[3])
    x = x - jnp.sum(jnp.where(real, x, 0), axis=(1, 2, 3), keepdims=True) / count
    x = jnp.where(real, x, 0)
    variance = jnp.sum(x * x, axis=(1, 2, 3), keepdims=True) / count
    return x * jax.lax.rsqrt(variance + LEAST_VARIANCE)


def max_pool(x: types.Features, window: Pair, stride: Pair, padding: Pair) -> types.FeaturesOut:
    """Max pooling as the maximum of strided slices.

    The same values as `flax.linen.max_pool`; the gradient (shared among equal maxima) avoids
    select-and-scatter, which is slow on CPUs. Inputs must not be negative where padding or masked
    columns are pooled (they count as 0); every caller pools after a rectifier.
    """
    (top, left) = padding
    if top or left:
        x = jnp.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
    rows = output_size(x.shape[1], window[0], stride[0], 0)
    columns = output_size(x.shape[2], window[1], stride[1], 0)
    parts = [
        x[
            :,
            i : i + (rows - 1) * stride[0] + 1 : stride[0],
            j : j + (columns - 1) * stride[1] + 1 : stride[1],
        ]
        for i in range(window[0])
        for j in range(window[1])
    ]
    return functools.reduce(jnp.maximum, parts)


class RowDropout(nn.Module):
    """Dropout (Srivastava et al., 2014) whose mask of a row follows from the row's number.

    Rows keep their masks however many devices share the batch.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: types.Frames, train: bool) -> types.Frames:
        """Sets elements of x (B, T, D) to 0 with the probability `rate` and scales the others."""
        if not train or not self.rate:
            return x
        rows = jnp.arange(len(x))
        if self.axis_name is not None:
            rows = rows + jax.lax.axis_index(self.axis_name) * len(x)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), rows)
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) over the real columns of all rows alone.

    Statistics are (sum, sum of squares, count) over real positions, summed across the devices of
    `axis_name` before the division: the mean over the global batch, however its rows and their
    widths are spread. `decay` is that of the running statistics.
    """

    decay: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: types.Features, mask: Bool[Array, "B 1 W 1"], train: bool
    ) -> types.Features:
        """Normalises x (B, H, W, D) per channel; padding comes out arbitrary, mask it after."""
        depth = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (depth,))
        bias = self.param("bias", nn.initializers.zeros, (depth,))
        ra_mean = self.variable("batch_stats", "mean", jnp.zeros, (depth,))
        ra_var = self.variable("batch_stats", "var", jnp.ones, (depth,))
        if train and not self.is_initializing():
            mean, var, count = self._moments(x.astype(jnp.float32), mask)
            keep = jnp.where(count > 0, self.decay, 1.0)  # a batch without one real column
            ra_mean.value = keep * ra_mean.value + (1 - keep) * mean
            ra_var.value = keep * ra_var.value + (1 - keep) * var
        else:
            mean, var = ra_mean.value, ra_var.value
        # One multiply and one add per element, in the compute dtype.
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        gain, shift = (v.astype(self.dtype)[None, None, None] for v in (gain, bias - mean * gain))
        return x * gain + shift

    def _moments(
        self, x: types.Features, mask: Bool[Array, "B 1 W 1"]
    ) -> tuple[Float[Array, " D"], Float[Array, " D"], Float[Array, ""]]:
        real = jnp.where(mask, x, 0.0)
        sums = (
            jnp.sum(real, axis=(0, 1, 2)),
            jnp.sum(real * real, axis=(0, 1, 2)),
            jnp.sum(mask, dtype=jnp.float32) * x.shape[1],
        )
        if self.axis_name is not None:
            sums = jax.lax.psum(sums, self.axis_name)
        total, squares, count = sums
        mean = total / jnp.maximum(count, 1.0)
        var = jnp.maximum(squares / jnp.maximum(count, 1.0) - mean * mean, 0.0)
        return mean, var, count
