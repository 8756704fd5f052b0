"""Lines wider than those of training, read in overlapping windows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from crnn_jax import types
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.encoders import frames_of
from crnn_jax.models.ensemble import Ensemble
from crnn_jax.runtime import Windows


@dataclasses.dataclass(frozen=True)
class Windowed:
    """A network that reads wide images piece by piece, see `runtime.Windows`; static.

    An image that fits one window is read as ever.

    Attributes:
      model: the network, or several as one.
      windows: how lines are cut.
    """

    model: CRNN | Ensemble
    windows: Windows

    @classmethod
    def of(cls, model: CRNN | Ensemble, width: int) -> Windowed:
        """Returns the network with windows of at most `width` pixels, see `Windows.of`."""
        stride = math.prod(layer.stride[1] for layer in layers_of(model))
        return cls(model, Windows.of(width, stride))

    @property
    def width(self) -> int:
        """Pixels of a window."""
        return self.windows.width

    def apply(
        self, variables: types.Variables, images: types.Images, widths: types.Widths
    ) -> tuple[types.Logits, types.FrameCounts]:
        """Returns logits (B, T, K), log posteriors where there are windows, and frames (B,)."""
        widths = jnp.asarray(widths)
        batch, height, wide, channels = images.shape
        if wide <= self.width:
            return self._run(variables, images, widths)
        layers, hop, overlap = layers_of(self.model), self.windows.hop, self.windows.overlap
        starts = np.array(self.windows.starts(wide), np.int32)
        count = len(starts)
        padding = int(starts[-1]) + self.width - wide
        images = jnp.pad(images, ((0, 0), (0, 0), (0, padding), (0, 0)))
        pieces = jnp.stack([images[:, :, s : s + self.width] for s in starts.tolist()], axis=1)
        # A window is needed if the one before it does not reach the end of the line.
        needed = (starts[None, :] == 0) | (widths[:, None] > starts[None, :] + overlap)
        own = jnp.where(needed, jnp.clip(widths[:, None] - starts[None, :], 0, self.width), 0)
        logits, frames = self._run(
            variables, pieces.reshape(-1, height, self.width, channels), own.reshape(-1)
        )
        posteriors = jax.nn.softmax(logits).reshape(batch, count, *logits.shape[1:])
        last = jnp.concatenate([~needed[:, 1:], jnp.ones_like(needed[:, :1])], axis=1)
        weights = self._weights(logits.shape[1], last, needed)
        real = jnp.arange(logits.shape[1])[None, None, :] < frames.reshape(batch, count)[..., None]
        weighted = posteriors * (weights * real)[..., None]

        step = hop // self.windows.stride
        merged = jnp.zeros((batch, (count - 1) * step + logits.shape[1], logits.shape[2]))
        for k in range(count):
            merged = merged.at[:, k * step : k * step + logits.shape[1]].add(weighted[:, k])
        merged = merged[:, : frames_of(layers, wide)]
        return jnp.log(jnp.maximum(merged, 1e-30)), frames_of(layers, widths).astype(jnp.int32)

    def _run(
        self, variables: types.Variables, images: types.Images, widths: types.Widths
    ) -> tuple[types.Logits, types.FrameCounts]:
        outputs: Any = self.model.apply(variables, images, widths)
        return outputs

    def _weights(
        self,
        frames: int,
        last: Bool[Array, "B windows"],
        needed: Bool[Array, "B windows"],
    ) -> Float[Array, "B windows frames"]:
        """Returns (B, windows, frames): how much of a frame's posterior comes from which window."""
        rising, falling = (share[None, None, :] for share in self.windows.shares(frames))
        first = (np.arange(needed.shape[1]) == 0)[None, :, None]
        weights = jnp.where(first, 1.0, rising) * jnp.where(last[..., None], 1.0, falling)
        return jnp.where(needed[..., None], weights, 0.0)


def layers_of(model: CRNN | Ensemble | Windowed) -> tuple:
    """Returns the encoder's layer table of a network, also of several or one in windows."""
    while not isinstance(model, CRNN):
        model = model.members[0] if isinstance(model, Ensemble) else model.model
    return model.encoder
