"""Convolution with gradients that CPUs compute fast.

XLA derives the gradient of the kernel as a convolution over an odd order of axes with the batch as
its channels. The two gradients of a layer of the paper then take up to 2.3 times as long on a CPU
as here (`taskset -c 0 python benchmarks/conv_gradients.py`), and in a loop (`lax.scan`), where the
axes are not put in order, up to 44 times (`--loop --encoder tiny --batch 16`). Here they are in
order to begin with, and few rows are summed over at a time, which stay in the cache.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from crnn_jax import types

Pair = tuple[int, int]  # (along the height, along the width)
Kernel = Float[Array, "i j D d"]
_AXES = ("NHWC", "HWIO", "NHWC")
_POSITIONS = (0, 1, 2)  # batch, rows, columns
_ROWS, _PARTS = 16, 8  # of a batch at a time, at least; parts of a batch, at most


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: types.Features, kernel: Kernel, stride: Pair, padding: Pair) -> types.FeaturesOut:
    """Returns the convolution of x, padded with zeros on both sides, with a kernel.

    The same as `lax.conv_general_dilated`, gradients included. Only gradients of the first order
    are defined, and no forward mode.
    """
    return _forward(x, kernel, stride, padding)


def _forward(x: Any, kernel: Any, stride: Pair, padding: Pair) -> Any:
    return lax.conv_general_dilated(
        x, kernel, stride, [(p, p) for p in padding], dimension_numbers=_AXES
    )


def _save(x: Any, kernel: Any, stride: Pair, padding: Pair) -> Any:
    return _forward(x, kernel, stride, padding), (x, kernel)


def _gradients(stride: Pair, padding: Pair, saved: Any, grad: Any) -> Any:
    def cpu(x: Any, kernel: Any, grad: Any) -> Any:
        of_x = _input_gradient(x, kernel, grad, stride, padding)
        return of_x, _kernel_gradient(x, kernel, grad, stride, padding)

    def default(x: Any, kernel: Any, grad: Any) -> Any:
        return jax.vjp(lambda x, k: _forward(x, k, stride, padding), x, kernel)[1](grad)

    return lax.platform_dependent(*saved, grad, cpu=cpu, default=default)


convolve.defvjp(_save, _gradients)


def _kernel_gradient(x: Any, kernel: Any, grad: Any, stride: Pair, padding: Pair) -> Any:
    """Returns the gradient of the kernel: a convolution of x with `grad` that sums over rows."""
    if kernel.shape[:2] == (1, 1) and padding == (0, 0):
        seen = x[:, :: stride[0], :: stride[1]]
        return lax.dot_general(seen, grad, ((_POSITIONS, _POSITIONS), ((), ())))[None, None]
    rows, most = x.shape[0], max(_ROWS, -(-x.shape[0] // _PARTS))
    reach = [(n - 1) * s for n, s in zip(grad.shape[1:3], stride, strict=True)]
    pads = [
        (p, reach[axis] + kernel.shape[axis] - x.shape[1 + axis] - p)
        for axis, p in enumerate(padding)
    ]
    parts = [
        lax.conv_general_dilated(
            x[i : i + most].transpose(3, 1, 2, 0),
            grad[i : i + most].transpose(1, 2, 0, 3),
            (1, 1),
            pads,
            rhs_dilation=stride,
            dimension_numbers=_AXES,
        )
        for i in range(0, rows, most)
    ]
    return functools.reduce(operator.add, parts).transpose(1, 2, 0, 3)


def _input_gradient(x: Any, kernel: Any, grad: Any, stride: Pair, padding: Pair) -> Any:
    """Returns the gradient of x: a convolution of `grad` with the flipped kernel."""
    taps = kernel.shape[:2]
    spread = [(n - 1) * s for n, s in zip(grad.shape[1:3], stride, strict=True)]
    if stride == (1, 1) and padding == (0, 0) and 2 * grad.shape[1] <= x.shape[1]:
        return _scattered(x, kernel, grad)
    pads = [
        (taps[axis] - 1 - p, x.shape[1 + axis] + p - 1 - spread[axis])
        for axis, p in enumerate(padding)
    ]
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return lax.conv_general_dilated(
        grad, flipped, (1, 1), pads, lhs_dilation=stride, dimension_numbers=_AXES
    )


def _scattered(x: Any, kernel: Any, grad: Any) -> Any:
    """Returns the gradient of x as a product whose parts are added where the kernel saw them.

    A window almost as high as the map has few outputs; a convolution would multiply much padding.
    """
    rows, columns = kernel.shape[:2]
    parts = jnp.einsum("bhwd,ijcd->ijbhwc", grad, kernel)
    out = jnp.zeros_like(x)
    for i in range(rows):
        for j in range(columns):
            edges = ((0, 0), (i, rows - 1 - i), (j, columns - 1 - j), (0, 0))
            out += jnp.pad(parts[i, j], edges)
    return out


class Convolution(nn.Module):
    """A convolution with its weights; parameters are those of `flax.linen.Conv`."""

    features: int
    kernel: Pair
    stride: Pair
    padding: Pair
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: types.Features) -> types.FeaturesOut:
        """Convolves x in `dtype`; parameters are float32."""
        shape = (*self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        x = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x += bias.astype(self.dtype)[None, None, None]
        return x
