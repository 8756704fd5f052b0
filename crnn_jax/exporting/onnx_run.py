"""Runs ONNX models that are not files yet, as the reader that goes with them does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax import runtime

if TYPE_CHECKING:
    import onnx


def open_session(model: onnx.ModelProto) -> Any:
    """Returns an onnxruntime session of a model."""
    return runtime.open_session(model.SerializeToString())


def runner(session: Any) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns the function (images, widths) -> (logits, frames) of a session."""
    return functools.partial(runtime.run_session, session)
