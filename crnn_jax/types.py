"""The shape vocabulary of the code base.

B batch, H W pixels, C colour channels, T frames, K classes (blank included), L label length,
D features, N directions of a recurrence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

AnyArray = Array | np.ndarray

Images = UInt8[AnyArray, "B H W C"]  # pixels as stored, 0..255
Widths = Int[AnyArray, " B"]  # real pixel widths; 0 marks an invalid row
Features = Float[Array, "B H W D"]  # feature maps of the encoder
FeaturesOut = Float[Array, "B h w d"]  # what a layer makes of them
Frames = Float[Array, "B T D"]  # sequence of feature vectors
FramesOut = Float[Array, "B T d"]  # what a layer makes of it
FrameCounts = Int[Array, " B"]  # real frames per row
Logits = Float[AnyArray, "B T K"]  # unnormalised; class 0 is the blank
Labels = Int[AnyArray, "B L"]  # class ids, right-padded with 0
LabelLengths = Int[AnyArray, " B"]
PerRow = Float[Array, " B"]
RowMask = Bool[AnyArray, " B"]
Variables = dict[str, Any]  # a Flax variable collection tree: {"params": ..., "batch_stats": ...}


class Batch(NamedTuple):
    """One batch as the host loads it or the device renders it; a pytree.

    Rows whose width is 0 are invalid (unreadable image, padding of the last batch): they take part
    in nothing, neither loss nor statistics, and are counted.
    """

    images: Shaped[AnyArray, "B H W C"]  # uint8
    widths: Shaped[AnyArray, " B"]  # int32
    labels: Shaped[AnyArray, "B L"]  # int32
    label_lengths: Shaped[AnyArray, " B"]  # int32
