"""Kinds of layers that an encoder's table is made of; pairs are (along height, along width)."""

from __future__ import annotations

import dataclasses

from crnn_jax.models.layers import Pair


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution, optional batch normalisation, rectifier."""

    features: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    norm: bool = False
    bias: bool = True


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Max pooling."""

    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Pair = (0, 0)


@dataclasses.dataclass(frozen=True)
class Residual:
    """Basic residual block (He et al., 2016): two normalised 3x3 convolutions and a shortcut."""

    features: int
    stride: Pair = (1, 1)
    kernel: Pair = (3, 3)
    padding: Pair = (1, 1)


Layer = Conv | MaxPool | Residual
