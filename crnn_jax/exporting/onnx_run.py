"""Runs ONNX models that are not files yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


def open_session(model: onnx.ModelProto) -> Any:
    """Returns an onnxruntime session of a model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def runner(session: Any) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns the function (images, widths) -> (logits, frames) of a session."""
    return lambda images, widths: tuple(
        session.run(["logits", "frames"], {"images": images, "widths": widths.astype(np.int32)})
    )
