"""The recogniser: convolutional features, recurrence, a linear layer over classes.

Shi, Bai and Yao, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition",
2015 (arXiv 1507.05717).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from crnn_jax import types
from crnn_jax.models.encoder_layers import Layer
from crnn_jax.models.encoders import ConvEncoder
from crnn_jax.models.layers import RowDropout, standardize, width_mask
from crnn_jax.models.recurrent import RecurrentLayer

AUXILIARY = "auxiliary"  # parameters of the second classifier, and the collection of its logits


class CRNN(nn.Module):
    """Convolutional-recurrent network over padded images of one height.

    Attributes:
      encoder: layer table of the encoder.
      num_classes: classes, the blank (id 0) included.
      recurrence: "none", "lstm" or "gru".
      layers: recurrent layers (0 to 3).
      hidden: units per direction.
      bidirectional: whether each recurrent layer reads both ways.
      projection: width of the linear layer between recurrent layers; 0 leaves it out. With 256 the
        network of the paper has the 8.3 million parameters that the paper states.
      standardize: whether every image is given mean 0 and variance 1 first; else pixels are scaled
        to -1..1, as in the paper.
      dropout: rate on the input of every recurrent layer and of the classifier.
      auxiliary: whether training also reads the encoder's frames by themselves, by a classifier of
        their own: logits that `train` leaves in the collection AUXILIARY.
      axis_name: mapped device axis that the rows of a batch are split over, if any; batch
        statistics cross it.
      dtype: of the computation; parameters and logits are float32.
    """

    encoder: tuple[Layer, ...]
    num_classes: int
    recurrence: str = "lstm"
    layers: int = 2
    hidden: int = 256
    bidirectional: bool = True
    projection: int = 256
    standardize: bool = False
    dropout: float = 0.0
    auxiliary: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: types.Images, widths: types.Widths, train: bool = False
    ) -> tuple[types.Logits, types.FrameCounts]:
        """Returns logits (B, T, K) and real frame counts (B,).

        Args:
          images: pixels 0..255, padded on the right with anything.
          widths: real widths; a row of width 0 has no frames.
          train: use and update batch statistics, apply dropout (rng stream "dropout").
        """
        widths = jnp.asarray(widths)
        x = jnp.asarray(images, jnp.float32) * (1 / 127.5) - 1
        if self.standardize:
            x = standardize(x, widths)
        else:
            x = jnp.where(width_mask(widths, images.shape[2]), x, 0)
        x = x.astype(self.dtype)
        x, frames = ConvEncoder(
            self.encoder, axis_name=self.axis_name, dtype=self.dtype, name="encoder"
        )(x, widths, train)
        if self.auxiliary and (train or self.is_initializing()):
            head = nn.Dense(self.num_classes, dtype=self.dtype, name=AUXILIARY)
            self.sow(AUXILIARY, "logits", head(x).astype(jnp.float32))
        depth = 0 if self.recurrence == "none" else self.layers
        for i in range(depth):
            x = RowDropout(self.dropout, self.axis_name)(x, train)
            x = RecurrentLayer(
                self.recurrence,
                self.hidden,
                self.bidirectional,
                dtype=self.dtype,
                name=f"recurrent_{i + 1}",
            )(x, frames)
            if self.projection and i + 1 < depth:
                x = nn.Dense(self.projection, dtype=self.dtype, name=f"projection_{i + 1}")(x)
        x = RowDropout(self.dropout, self.axis_name)(x, train)
        # The product in the compute dtype, its sum and everything after it in float32.
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="classifier")(x)
        return logits.astype(jnp.float32), frames
