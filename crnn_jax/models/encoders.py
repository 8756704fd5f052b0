"""Convolutional encoders: images to a sequence of feature vectors, one per frame.

An encoder is a table of layers. The same table runs the network and answers, without running it,
how many frames an image of a given width has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import types
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.convolution import Convolution
from crnn_jax.models.encoder_layers import Conv, Layer, MaxPool, Residual, named
from crnn_jax.models.layers import MaskedBatchNorm, max_pool, output_size, width_mask

# Shi, Bai and Yao, 2015 (arXiv 1507.05717), table 1. Its third and fourth pooling windows are
# 1x2 (width x height), so a width of 100 gives 24 frames.
VGG = (
    Conv(64),
    MaxPool(),
    Conv(128),
    MaxPool(),
    Conv(256),
    Conv(256),
    MaxPool((2, 1), (2, 1)),
    Conv(512, norm=True),
    Conv(512, norm=True),
    MaxPool((2, 1), (2, 1)),
    Conv(512, kernel=(2, 2), padding=(0, 0)),
)

# The widely used PyTorch port: two-wide pooling windows with padding (26 frames at width 100) and
# normalisation after the third, fifth and seventh convolution.
VGG_PORT = (
    Conv(64),
    MaxPool(),
    Conv(128),
    MaxPool(),
    Conv(256, norm=True),
    Conv(256),
    MaxPool((2, 2), (2, 1), (0, 1)),
    Conv(512, norm=True),
    Conv(512),
    MaxPool((2, 2), (2, 1), (0, 1)),
    Conv(512, kernel=(2, 2), padding=(0, 0), norm=True),
)

# As ResNet-18: seventeen 3x3 convolutions and a last 2x3 one, one frame per four pixels.
RESNET = (
    Conv(32, norm=True, bias=False),
    Residual(64, stride=(2, 2)),
    Residual(64),
    Residual(128, stride=(2, 2)),
    Residual(128),
    Residual(256, stride=(2, 1)),
    Residual(256),
    Residual(256, stride=(2, 1)),
    Residual(256),
    Conv(256, kernel=(2, 3), padding=(0, 1), norm=True, bias=False),
)

# Cheng et al., 2017 (arXiv 1709.02054), as Baek et al., 2019 (arXiv 1904.01906) train it with CTC:
# 29 convolutions, 3 pools, one frame per four pixels (26 frames at width 100).
RESNET29 = (
    Conv(32, norm=True, bias=False),
    Conv(64, norm=True, bias=False),
    MaxPool(),
    Residual(128),
    Conv(128, norm=True, bias=False),
    MaxPool(),
    *(Residual(256),) * 2,
    Conv(256, norm=True, bias=False),
    MaxPool((2, 2), (2, 1), (0, 1)),
    *(Residual(512),) * 5,
    Conv(512, norm=True, bias=False),
    *(Residual(512),) * 3,
    Conv(512, kernel=(2, 2), stride=(2, 1), padding=(0, 1), norm=True, bias=False),
    Conv(512, kernel=(2, 2), padding=(0, 0), norm=True, bias=False),
)

# Small and quick on CPUs: strided convolutions, no pooling, one frame per four pixels.
TINY = (
    Conv(24, stride=(2, 2), norm=True, bias=False),
    Conv(48, norm=True, bias=False),
    Conv(64, stride=(2, 2), norm=True, bias=False),
    Conv(96, norm=True, bias=False),
    Conv(128, stride=(2, 1), norm=True, bias=False),
    Conv(128, norm=True, bias=False),
    Conv(192, kernel=(4, 3), stride=(4, 1), padding=(0, 1), norm=True, bias=False),
)

# Residual and still quick on CPUs: twice the arithmetic of `tiny`, one frame per four pixels.
SMALL = (
    Conv(32, stride=(2, 2), norm=True, bias=False),
    Conv(48, norm=True, bias=False),
    Residual(80, stride=(2, 2)),
    Residual(80),
    Residual(144, stride=(2, 1)),
    Residual(144),
    Conv(224, kernel=(4, 3), stride=(4, 1), padding=(0, 1), norm=True, bias=False),
)

# `small` with three more blocks where the image is smallest: twice its arithmetic. It goes on from
# `small` with `config.init_weights=alike`.
MEDIUM = (*SMALL[:-1], *(Residual(144),) * 3, SMALL[-1])

ENCODERS: dict[str, tuple[Layer, ...]] = {
    "vgg": VGG,
    "vgg_port": VGG_PORT,
    "medium": MEDIUM,
    "resnet": RESNET,
    "resnet29": RESNET29,
    "small": SMALL,
    "tiny": TINY,
}


def get_encoder(name: str) -> tuple[Layer, ...]:
    """Returns the layer table of an encoder; an unknown name is a UserError."""
    if name not in ENCODERS:
        raise unknown_name("encoder", name, ENCODERS)
    return ENCODERS[name]


def _trace(layers: Sequence[Layer], size: Any, axis: int) -> Any:
    for layer in layers:
        size = output_size(size, layer.kernel[axis], layer.stride[axis], layer.padding[axis])
    return size


def num_frames(encoder: str, widths: Any) -> Any:
    """Returns the frames that images of these pixel widths have; an int or an array of ints."""
    return frames_of(get_encoder(encoder), widths)


def frames_of(layers: Sequence[Layer], widths: Any) -> Any:
    """Returns the frames that a layer table makes of pixel widths; an int or an array of ints."""
    return _trace(layers, widths, axis=1)


def frame_centres(layers: Sequence[Layer], count: int) -> np.ndarray:
    """Returns the pixels along x that the first frames of a layer table are centred at, (count,).

    A pixel's own centre is half a pixel from its left edge, the first one's edge being 0.
    """
    step, start = 1.0, 0.0  # output i is centred at step * (i + 1/2) + start
    for layer in layers:
        kernel, stride, padding = layer.kernel[1], layer.stride[1], layer.padding[1]
        start += step * ((kernel - stride) / 2 - padding)
        step *= stride
    return step * (np.arange(count) + 0.5) + start


def check_size(encoder: str, height: int, width: int) -> None:
    """Raises a UserError when images of this size leave no row or no frame of features."""
    layers = get_encoder(encoder)
    for axis, name, size in ((0, "height", height), (1, "width", width)):
        if _trace(layers, size, axis) < 1:
            least = next(s for s in range(1, 1025) if _trace(layers, s, axis) >= 1)
            raise UserError(
                f"an image {name} of {size} pixels is too small for encoder {encoder!r}: it needs "
                f"{least} or more (config.data.height, config.data.width, config.data.min_width)"
            )


class ConvEncoder(nn.Module):
    """Runs a layer table over a batch of padded images.

    Attributes:
      layers: the table.
      axis_name: mapped device axis for the normalisation's statistics, if any.
      dtype: of the computation; parameters stay float32.
    """

    layers: tuple[Layer, ...]
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: types.Features, widths: types.Widths, train: bool
    ) -> tuple[types.FramesOut, types.FrameCounts]:
        """Maps pixels (B, H, W, C) to features (B, T, D) and real frame counts (B,).

        Rows that are left of the height are laid side by side in D.
        """
        real = jnp.asarray(widths)
        for name, layer in named(self.layers):
            if isinstance(layer, MaxPool):
                x = max_pool(x, layer.kernel, layer.stride, layer.padding)
                real = self._widths(layer, real)
                x = jnp.where(width_mask(real, x.shape[2]), x, 0)
            elif isinstance(layer, Conv):
                x, real = self._conv(layer, x, real, train, name)
            else:
                x, real = self._residual(layer, x, real, train, name)
        batch, height, frames, depth = x.shape
        return x.transpose(0, 2, 1, 3).reshape(batch, frames, height * depth), real

    def _widths(self, layer: Layer, widths: types.FrameCounts) -> types.FrameCounts:
        return output_size(widths, layer.kernel[1], layer.stride[1], layer.padding[1])

    def _conv(
        self,
        layer: Conv,
        x: types.Features,
        widths: types.FrameCounts,
        train: bool,
        name: str,
        rectify: bool = True,
    ) -> tuple[types.FeaturesOut, types.FrameCounts]:
        """One convolution; its output is zero beyond the real width."""
        x = Convolution(
            layer.features,
            layer.kernel,
            layer.stride,
            layer.padding,
            bias=layer.bias,
            dtype=self.dtype,
            name=name,
        )(x)
        widths = self._widths(layer, widths)
        mask = width_mask(widths, x.shape[2])
        if layer.norm:
            x = MaskedBatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(
                x, mask, train
            )
        if rectify:
            x = jax.nn.relu(x)
        return jnp.where(mask, x, 0), widths

    def _residual(
        self,
        layer: Residual,
        x: types.Features,
        widths: types.FrameCounts,
        train: bool,
        name: str,
    ) -> tuple[types.FeaturesOut, types.FrameCounts]:
        first, second = layer.convolutions
        shortcut = x
        if layer.stride != (1, 1) or x.shape[-1] != layer.features:
            shortcut, _ = self._conv(
                layer.projection, x, widths, train, f"{name}_shortcut", rectify=False
            )
        x, widths = self._conv(first, x, widths, train, f"{name}_conv_1")
        x, widths = self._conv(second, x, widths, train, f"{name}_conv_2", rectify=False)
        return jax.nn.relu(x + shortcut), widths
