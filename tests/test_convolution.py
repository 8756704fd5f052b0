"""The convolution and its gradients are XLA's."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import convolution
from crnn_jax.models.encoder_layers import Conv, Residual
from crnn_jax.models.encoders import ENCODERS

# Every shape of convolution that some encoder has, and odd ones.
SHAPES = {
    (layer.kernel, layer.stride, layer.padding)
    for layers in ENCODERS.values()
    for layer in layers
    if isinstance(layer, Conv | Residual)
} | {((1, 1), (2, 1), (0, 0)), ((5, 3), (2, 3), (1, 2)), ((2, 2), (1, 1), (1, 1))}


def reference(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, stride, [(p, p) for p in padding], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def arrays(window, depth, features, count=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 9, 14, depth))
    kernel = rng.normal(size=(*window, depth, features))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def gradients(function, x, kernel):
    shape = jax.eval_shape(function, x, kernel)
    grad = np.random.default_rng(1).normal(size=shape.shape)

    @jax.jit
    def both(x, kernel, grad):
        out, vjp = jax.vjp(function, x, kernel)
        return out, *vjp(grad)

    return both(x, kernel, jnp.asarray(grad, shape.dtype))


def assert_close(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("depth", "features"), [(1, 24), (5, 3)])
@pytest.mark.parametrize(("window", "stride", "padding"), sorted(SHAPES))
def test_gradients_are_those_of_xla(window, stride, padding, depth, features):
    x, kernel = arrays(window, depth, features)
    expected = gradients(lambda x, k: reference(x, k, stride, padding), x, kernel)
    got = gradients(lambda x, k: convolution.convolve(x, k, stride, padding), x, kernel)
    np.testing.assert_array_equal(got[0], expected[0])
    assert_close(got, expected)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_axes_are_in_order_in_a_loop(stride):
    """A CPU is a hundred times slower at a convolution in a loop where they are not."""
    x, kernel = arrays((3, 3), 4, 6)

    def score(kernel, x):
        return jnp.sum(convolution.convolve(x, kernel, stride, (1, 1)) ** 2)

    def loop(kernel, xs):
        return jax.lax.map(lambda x: jax.grad(score, argnums=(0, 1))(kernel, x), xs)

    program = jax.jit(loop).lower(kernel, x[:, None]).as_text()
    assert program.count("stablehlo.convolution") == 3
    assert program.count("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]") == 3
    got = loop(kernel, x[:, None])
    for i, row in enumerate(x):
        expected = jax.grad(score, argnums=(0, 1))(kernel, row[None])
        assert_close([part[i] for part in got], expected)


@pytest.mark.parametrize("count", [1, 16, 17, 150])
def test_rows_are_summed_over_in_parts(count):
    x, kernel = arrays((3, 3), 2, 3, count)
    function = functools.partial(convolution.convolve, stride=(1, 1), padding=(1, 1))
    expected = gradients(lambda x, k: reference(x, k, (1, 1), (1, 1)), x, kernel)
    assert_close(gradients(function, x, kernel), expected)


def test_bfloat16_and_stacked_weights():
    x, kernel = arrays((3, 3), 4, 6)
    function = functools.partial(convolution.convolve, stride=(1, 1), padding=(1, 1))
    low = gradients(function, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    for a, b in zip(low, gradients(function, x, kernel), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.02 * float(jnp.abs(b).max()))
    kernels = jnp.stack([kernel, -2 * kernel])
    both = jax.vmap(lambda k: gradients(function, x, k))(kernels)
    for i, k in enumerate(kernels):
        assert_close([part[i] for part in both], gradients(function, x, k))


def test_an_accelerator_gets_convolutions():
    x, kernel = arrays((3, 3), 4, 6)

    def score(kernel, x):
        return jnp.sum(convolution.convolve(x, kernel, (1, 1), (1, 1)) ** 2)

    traced = jax.jit(jax.grad(score, argnums=(0, 1))).trace(kernel, x)
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("stablehlo.convolution") == 3
    assert "dot_general" not in program
