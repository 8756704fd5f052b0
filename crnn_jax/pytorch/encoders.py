"""Convolutions of PyTorch's encoders, found by the layer tables of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax import types
from crnn_jax.models.encoder_layers import Conv, Layer, MaxPool
from crnn_jax.pytorch.layers import Shapes, Weights, array

# Prefixes of PyTorch's keys: of a convolution, and of the normalisation after it, if any.
Keys = Sequence[tuple[str, str | None]]


class Place(NamedTuple):
    """Where the weights of one convolution are, there and here."""

    name: str  # ours
    conv: str  # prefix of PyTorch's keys
    norm: str | None
    shape: tuple[int, ...]  # outputs, inputs, height, width
    biased: bool  # there
    bias: bool  # here


def places(
    table: Sequence[Layer],
    channels: int,
    keys: Keys,
    blocks: Iterable[str] = (),
    biased: bool = False,
) -> list[Place]:
    """Returns the places of all convolutions of an encoder.

    Args:
      table: the encoder.
      channels: of its images.
      keys: prefixes of every convolution outside the residual blocks and of its normalisation.
      blocks: prefix of every residual block.
      biased: whether convolutions before a normalisation have a bias in PyTorch.
    """
    next_keys, next_block = iter(keys), iter(blocks)
    counts = {"conv": 0, "residual": 0}
    found, depth = [], channels
    for layer in table:
        if isinstance(layer, MaxPool):
            continue
        kind, features = type(layer).__name__.lower(), layer.features
        counts[kind] += 1
        name = f"{kind}_{counts[kind]}"
        if isinstance(layer, Conv):
            conv, norm = next(next_keys)
            shape = (features, depth, *layer.kernel)
            found.append(Place(name, conv, norm, shape, biased or norm is None, layer.bias))
        else:
            parts = [
                ("conv_1", "conv1.", "bn1.", depth, 3),
                ("conv_2", "conv2.", "bn2.", features, 3),
            ]
            if depth != features or layer.stride != (1, 1):
                parts.append(("shortcut", "downsample.0.", "downsample.1.", depth, 1))
            block = next(next_block)
            for part, conv, norm, inputs, size in parts:
                shape = (features, inputs, size, size)
                place = Place(f"{name}_{part}", block + conv, block + norm, shape, False, False)
                found.append(place)
        depth = features
    return found


def encoder_shapes(places: Iterable[Place]) -> Shapes:
    """Returns PyTorch's keys and shapes of an encoder."""
    shapes: Shapes = {}
    for place in places:
        features = place.shape[:1]
        shapes[f"{place.conv}weight"] = place.shape
        if place.biased:
            shapes[f"{place.conv}bias"] = features
        if place.norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[place.norm + name] = features
    return shapes


def encoder_from_torch(
    weights: Weights, places: Iterable[Place]
) -> tuple[types.Variables, types.Variables]:
    """Returns the parameters of an encoder and its batch statistics."""
    params: types.Variables = {}
    stats: types.Variables = {}
    for place in places:
        kernel = array(weights, f"{place.conv}weight").transpose(2, 3, 1, 0)  # OIHW to HWIO
        params[place.name] = {"kernel": np.ascontiguousarray(kernel)}
        if place.bias:
            zeros = np.zeros(place.shape[:1], np.float32)
            params[place.name]["bias"] = (
                array(weights, f"{place.conv}bias") if place.biased else zeros
            )
        if place.norm:
            scale, bias, mean, var = (
                array(weights, place.norm + name)
                for name in ("weight", "bias", "running_mean", "running_var")
            )
            params[f"{place.name}_norm"] = {"scale": scale, "bias": bias}
            stats[f"{place.name}_norm"] = {"mean": mean, "var": var}
    return params, stats


def input_channels(kernel: np.ndarray) -> int:
    """Returns the input channels of a first convolution; what is not 3 has to be 1."""
    return 3 if np.shape(kernel)[1:2] == (3,) else 1
