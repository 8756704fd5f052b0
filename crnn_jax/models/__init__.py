"""Models by name, from the `model` section of a config."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.encoders import ENCODERS, check_size, get_encoder, num_frames
from crnn_jax.models.recurrent import check_cell

__all__ = ["CRNN", "ENCODERS", "MODELS", "build_model", "num_frames"]

MODELS = {"crnn": CRNN}
DTYPES = ("auto", "float32", "bfloat16")


def compute_dtype(name: str) -> Any:
    """Returns the dtype of the computation; `auto` is bfloat16 where the device multiplies it.

    That is TPUs, and NVIDIA GPUs from compute capability 8.0. Parameters, logits and the loss are
    float32 in any case.

    Raises:
      UserError: for a name that is none of DTYPES.
    """
    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    if name != "auto":
        return jnp.dtype(name)
    device = jax.devices()[0]
    capability = float(getattr(device, "compute_capability", None) or 0)
    able = device.platform == "tpu" or (device.platform == "gpu" and capability >= 8)
    return jnp.dtype("bfloat16" if able else "float32")


def build_model(
    model: Any, num_classes: int, height: int, width: int, axis_name: str | None = None
) -> CRNN:
    """Builds the module that a config's `model` section describes.

    Args:
      model: the section (attributes as in `crnn_jax.config`).
      num_classes: classes, the blank included.
      height, width: of the smallest images, in pixels; checked against the encoder.
      axis_name: mapped device axis for batch statistics, if any.

    Raises:
      UserError: for a name or a number that is not allowed.
    """
    if model.name not in MODELS:
        raise unknown_name("model", model.name, MODELS)
    check_cell(model.recurrence)
    check_size(model.encoder, height, width)
    if not 0 <= model.layers <= 3:
        raise UserError(f"config.model.layers is {model.layers}: give 0, 1, 2 or 3")
    return MODELS[model.name](
        encoder=get_encoder(model.encoder),
        num_classes=num_classes,
        recurrence=model.recurrence,
        layers=model.layers,
        hidden=model.hidden,
        bidirectional=model.bidirectional,
        projection=model.projection,
        standardize=model.standardize,
        dropout=model.dropout,
        auxiliary=model.auxiliary > 0,
        axis_name=axis_name,
        dtype=compute_dtype(model.dtype),
    )
