"""What an artefact says of itself, so that it can be read without this package."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from crnn_jax import __version__, files, runtime
from crnn_jax.bundle_file import Bundle
from crnn_jax.models.encoders import frame_centres, get_encoder
from crnn_jax.recognizer import preprocess_of

if TYPE_CHECKING:
    import onnx


def describe(bundle: Bundle) -> dict[str, Any]:
    """Returns what a reader of an exported model needs, and what is owed to its makers, as JSON.

    `frames` places frame i at pixel step * (i + 1/2) + start of the image that the network sees;
    `temperature` divides the logits before confidences are computed.
    """
    first, second = frame_centres(get_encoder(bundle.config.model.encoder), 2)
    step = float(second - first)
    return files.finite(
        {
            "format": runtime.FORMAT,
            "name": bundle.name,
            "licence": bundle.licence,
            "version": __version__,
            "charset": bundle.charset.to_json(),
            "preprocess": dataclasses.asdict(preprocess_of(bundle.config)),
            "frames": {"step": step, "start": float(first) - step / 2},
            "temperature": bundle.calibration.temperature if bundle.calibration else 1.0,
            "calibration": bundle.calibration and bundle.calibration.to_json(),
            "lineage": [ancestor.to_json() for ancestor in bundle.lineage],
        }
    )


def attach(model: onnx.ModelProto, bundle: Bundle) -> None:
    """Puts the description, and the card where there is one, into an ONNX model."""
    told = {"model": json.dumps(describe(bundle), ensure_ascii=False)}
    if bundle.card:
        told["card"] = bundle.card
    for key, text in told.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = runtime.PREFIX + key, text
