"""A recogniser as one ONNX model: uint8 images and widths in, logits and frame counts out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.exporting import onnx_layers as layers
from crnn_jax.exporting.onnx_graph import FLOAT, INT32, INT64, UINT8, Graph
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.layers import LEAST_VARIANCE

if TYPE_CHECKING:
    import onnx

    from crnn_jax.recognizer import Recognizer


def to_onnx(recognizer: Recognizer) -> onnx.ModelProto:
    """Returns a recogniser's network as an ONNX model with inputs and outputs of any size.

    Inputs: `images` uint8 (B, height, W, channels), resized and padded on the right with anything;
    `widths` int32 (B,), their real widths. Outputs: `logits` float32 (B, T, K), class 0 the blank;
    `frames` int32 (B,), the real ones. The network computes in float32, whatever it was trained in.

    Raises:
      UserError: for a model that is not one network.
    """
    network, preprocess = recognizer.model, recognizer.preprocess
    if not isinstance(network, CRNN):
        raise UserError(
            f"{recognizer.name} is {type(network).__name__.lower()}, several networks or windows "
            "over one: only a single network is exported; bundle the best replica of the run"
        )
    params = recognizer.variables["params"]
    statistics = recognizer.variables.get("batch_stats", {})
    graph = Graph()
    x = _pixels(graph, preprocess.height * preprocess.channels, network.standardize)
    x = layers.Encoder(graph, params["encoder"], statistics.get("encoder", {}))(network.encoder, x)
    frames = graph.add("Cast", x.widths, to=INT32, name="frames")
    value = _frames(graph, x.value)
    depth = 0 if network.recurrence == "none" else network.layers
    for i in range(1, depth + 1):
        name = f"recurrent_{i}"
        value = layers.recurrent(
            graph, value, frames, network.recurrence, network.hidden, params[name], name
        )
        if network.projection and i < depth:
            value = layers.dense(graph, value, params[f"projection_{i}"], f"projection_{i}")
    value = layers.dense(graph, value, params["classifier"], "classifier")
    graph.add("Transpose", value, perm=(1, 0, 2), name="logits")
    return graph.model(
        {
            "images": (UINT8, ("batch", preprocess.height, "width", preprocess.channels)),
            "widths": (INT32, ("batch",)),
        },
        {
            "logits": (FLOAT, ("batch", "frames", network.num_classes)),
            "frames": (INT32, ("batch",)),
        },
        recognizer.name,
    )


def _pixels(graph: Graph, per_column: int, standardize: bool) -> layers.Features:
    """Returns the network's input of the model's: floats (B, C, H, W), 0 beyond real widths."""

    def scalar(value: float) -> str:
        return graph.constant(value, np.float32)

    widths = graph.add("Cast", "widths", to=INT64)
    value = graph.add("Transpose", "images", perm=(0, 3, 1, 2))
    value = graph.add("Cast", value, to=FLOAT)
    value = graph.add("Sub", graph.add("Mul", value, scalar(1 / 127.5)), scalar(1.0))
    x = layers.Features(value, widths)
    mask = layers.width_mask(graph, x)
    value = graph.add("Mul", value, mask)
    if not standardize:
        return layers.Features(value, widths, clean=True)
    count = graph.add("Max", widths, graph.constant(1))
    count = graph.add("Mul", count, graph.constant(per_column))
    count = graph.add("Unsqueeze", count, graph.constant([1, 2, 3]))
    count = graph.add("Cast", count, to=FLOAT)

    def mean(value: str) -> str:
        axes = graph.constant([1, 2, 3])
        return graph.add("Div", graph.add("ReduceSum", value, axes, keepdims=1), count)

    value = graph.add("Mul", graph.add("Sub", value, mean(value)), mask)
    variance = mean(graph.add("Mul", value, value))
    deviation = graph.add("Sqrt", graph.add("Add", variance, scalar(LEAST_VARIANCE)))
    return layers.Features(graph.add("Div", value, deviation), widths, clean=True)


def _frames(graph: Graph, value: str) -> str:
    """Returns features (B, D, H, T) as frames (T, B, H * D)."""
    value = graph.add("Transpose", value, perm=(3, 0, 2, 1))
    return graph.add("Reshape", value, graph.constant([0, 0, -1]))
