"""Arithmetic of a network, and what devices can do: how well a step uses its device.

Model FLOP utilisation (Chowdhery et al., 2022, arXiv 2204.02311) counts the products that the
network needs, not those that a program happens to make.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from ml_collections import ConfigDict

from crnn_jax import models

# FLOP/s of dense bfloat16 products, by the first words of the device's name; from the data sheets.
_PEAKS = {
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L4": 121e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6": 918e12,
}
TRAINING = 3  # times the products of reading: gradients of inputs and of weights take as many


def peak(device: Any, dtype: Any) -> float | None:
    """Returns what a device can do per second in a dtype, where that is known."""
    if dtype != jnp.bfloat16:
        return None
    kind = device.device_kind
    names = [name for name in _PEAKS if re.match(re.escape(name) + r"\b", kind)]
    return _PEAKS[max(names, key=len)] if names else None


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the floating-point operations of all convolutions and products of a function.

    Args:
      function: what `jax.make_jaxpr` takes.
      arguments: arrays or their shapes.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        kind, shapes = equation.primitive.name, [v.aval for v in equation.invars]
        if kind == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(shapes[0].shape[axis] for axis in contracted)
            total += 2 * depth * equation.outvars[0].aval.size
        elif kind == "conv_general_dilated":
            kernel = equation.params["dimension_numbers"].rhs_spec  # (out, in, spatial...)
            depth = shapes[1].size // shapes[1].shape[kernel[0]]
            total += 2 * depth * equation.outvars[0].aval.size
        else:
            inner = sum(_count(sub) for sub in jaxprs_in_params(equation.params))
            total += inner * (equation.params["length"] if kind == "scan" else 1)
    return total


def per_image(config: ConfigDict, model: models.CRNN, width: int) -> float:
    """Returns the operations of training on one image of a padded width."""
    data = config.data
    images = jax.ShapeDtypeStruct((1, data.height, width, data.channels), jnp.uint8)
    widths = jax.ShapeDtypeStruct((1,), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images, widths)
    return TRAINING * count(model.apply, variables, images, widths)
