"""Kinds of layers that an encoder's table is made of; pairs are (along height, along width)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

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

    @property
    def convolutions(self) -> tuple[Conv, Conv]:
        """The two convolutions, the second of which is not rectified."""
        first = Conv(self.features, stride=self.stride, norm=True, bias=False)
        return first, Conv(self.features, norm=True, bias=False)

    @property
    def projection(self) -> Conv:
        """What the shortcut goes through where sizes differ; it is not rectified."""
        return Conv(self.features, (1, 1), self.stride, padding=(0, 0), norm=True, bias=False)


Layer = Conv | MaxPool | Residual


def named(layers: Sequence[Layer]) -> Iterator[tuple[str, Layer]]:
    """Yields layers with the names of their weights: `conv_1`, `residual_1`, `conv_2`."""
    numbers: dict[str, int] = {}
    for layer in layers:
        kind = type(layer).__name__.lower()
        numbers[kind] = numbers.get(kind, 0) + 1
        yield f"{kind}_{numbers[kind]}", layer
