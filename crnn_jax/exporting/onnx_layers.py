"""The layers of the network as ONNX operators, batch normalisation folded into convolutions.

Feature maps are (B, D, H, W) here. As in `crnn_jax.models.layers`, every layer knows how many of
its columns are real: what is beyond them is set to 0 before a layer that looks across their edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crnn_jax.exporting.onnx_graph import FLOAT, Graph
from crnn_jax.models.encoder_layers import Conv, Layer, MaxPool, Residual, named
from crnn_jax.models.layers import MaskedBatchNorm

_EPSILON = MaskedBatchNorm.epsilon
# Gates here are in the order i, f, g, o (LSTM) and r, z, n (GRU), ONNX has i, o, f, c and z, r, h.
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
_OPERATORS = {"lstm": "LSTM", "gru": "GRU"}


@dataclasses.dataclass(frozen=True)
class Features:
    """A feature map under way.

    Attributes:
      value: name of the (B, D, H, W) values.
      widths: name of the real widths, (B,) int64.
      clean: whether what is beyond the real widths is 0.
    """

    value: str
    widths: str
    clean: bool = False


def width_mask(graph: Graph, x: Features) -> str:
    """Returns 1 on the real columns and 0 beyond them, float (B, 1, 1, W)."""
    columns = graph.add(
        "Range", graph.constant(0), graph.size(x.value, 3), graph.constant(1)
    )  # (W,)
    widths = graph.add("Unsqueeze", x.widths, graph.constant([1, 2, 3]))
    return graph.add("Cast", graph.add("Less", columns, widths), to=FLOAT)


def masked(graph: Graph, x: Features) -> Features:
    """Returns the same map, 0 beyond its real columns."""
    if x.clean:
        return x
    return Features(graph.add("Mul", x.value, width_mask(graph, x)), x.widths, clean=True)


def output_widths(graph: Graph, widths: str, layer: Layer) -> str:
    """Returns the real widths of a layer's output, as `models.layers.output_size` does."""
    kernel, stride, padding = layer.kernel[1], layer.stride[1], layer.padding[1]
    if stride == 1 and kernel == 2 * padding + 1:
        return widths
    room = graph.add("Add", widths, graph.constant(2 * padding - kernel + stride))
    # Not below 0, since integers are rounded towards 0.
    out = graph.add("Max", room, graph.constant(0))
    if stride > 1:
        out = graph.add("Div", out, graph.constant(stride))
    if 2 * padding - kernel + stride < stride:
        return out
    # Padding alone would fill a window: an invalid row stays without a column.
    return graph.add("Mul", out, graph.add("Min", widths, graph.constant(1)))


class Encoder:
    """Emits a layer table, whose weights are those of `crnn_jax.models.encoders.ConvEncoder`."""

    def __init__(
        self, graph: Graph, params: Mapping[str, Any], statistics: Mapping[str, Any]
    ) -> None:
        self._graph, self._params, self._statistics = graph, params, statistics

    def __call__(self, layers: Sequence[Layer], x: Features) -> Features:
        """Runs the table."""
        for name, layer in named(layers):
            if isinstance(layer, MaxPool):
                x = self._pool(layer, x)
            elif isinstance(layer, Conv):
                x = self._conv(layer, x, name, rectify=True)
            else:
                x = self._residual(layer, x, name)
        return x

    def _pool(self, layer: MaxPool, x: Features) -> Features:
        # Padding is -inf here and 0 in training: the same after a rectifier, as windows that hold
        # padding alone there are none.
        x = masked(self._graph, x) if layer.padding[1] else x
        value = self._graph.add(
            "MaxPool",
            x.value,
            kernel_shape=layer.kernel,
            strides=layer.stride,
            pads=(*layer.padding, *layer.padding),
        )
        return Features(value, output_widths(self._graph, x.widths, layer))

    def _conv(self, layer: Conv, x: Features, name: str, rectify: bool) -> Features:
        graph = self._graph
        # A window without padding ends with the real columns, wherever the map does.
        x = masked(graph, x) if layer.padding[1] else x
        kernel, bias = self._folded(layer, name)
        value = graph.add(
            "Conv",
            x.value,
            graph.weight(f"{name}.kernel", kernel),
            graph.weight(f"{name}.bias", bias),
            kernel_shape=layer.kernel,
            strides=layer.stride,
            pads=(*layer.padding, *layer.padding),
        )
        value = graph.add("Relu", value) if rectify else value
        return Features(value, output_widths(graph, x.widths, layer))

    def _folded(self, layer: Conv, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the kernel (D', D, h, w) and the bias (D',), normalisation included."""
        kernel = np.asarray(self._params[name]["kernel"], np.float64).transpose(3, 2, 0, 1)
        bias = np.zeros(layer.features)
        if layer.bias:
            bias = np.asarray(self._params[name]["bias"], np.float64)
        if layer.norm:
            norm, seen = self._params[f"{name}_norm"], self._statistics[f"{name}_norm"]
            mean, var, scale, shift = (
                np.asarray(v, np.float64)
                for v in (seen["mean"], seen["var"], norm["scale"], norm["bias"])
            )
            gain = scale / np.sqrt(var + _EPSILON)
            kernel, bias = kernel * gain[:, None, None, None], (bias - mean) * gain + shift
        return kernel.astype(np.float32), bias.astype(np.float32)

    def _residual(self, layer: Residual, x: Features, name: str) -> Features:
        graph = self._graph
        x = masked(graph, x)
        shortcut = x.value
        if f"{name}_shortcut" in self._params:
            shortcut = self._conv(layer.projection, x, f"{name}_shortcut", rectify=False).value
        first, second = layer.convolutions
        out = self._conv(first, x, f"{name}_conv_1", rectify=True)
        out = self._conv(second, out, f"{name}_conv_2", rectify=False)
        return Features(graph.add("Relu", graph.add("Add", out.value, shortcut)), out.widths)


def recurrent(
    graph: Graph, x: str, lengths: str, cell: str, hidden: int, params: Mapping[str, Any], name: str
) -> str:
    """Adds a recurrent layer over frames (T, B, D) and returns (T, B, N * hidden).

    Args:
      graph: to add to.
      x: name of the frames.
      lengths: name of their real numbers, (B,) int32.
      cell: "lstm" or "gru".
      hidden: units per direction.
      params: of `crnn_jax.models.recurrent.RecurrentLayer`.
      name: of the layer.
    """

    def gates(weights: Any) -> np.ndarray:
        """Returns (N, inputs, gates * hidden) weights as ONNX has them: (N, gates * hidden, in)."""
        blocks = np.split(np.asarray(weights, np.float32), len(_ORDER[cell]), axis=-1)
        return np.concatenate([blocks[i] for i in _ORDER[cell]], axis=-1).swapaxes(-1, -2)

    directions = params["kernel"].shape[0]
    bias = gates(np.asarray(params["bias"])[:, None])[:, :, 0]
    second = np.zeros_like(bias)
    if cell == "gru":
        second[:, 2 * hidden :] = params["reset_bias"]
    attributes: dict[str, Any] = {"linear_before_reset": 1} if cell == "gru" else {}
    y = graph.add(
        _OPERATORS[cell],
        x,
        graph.weight(f"{name}.kernel", gates(params["kernel"])),
        graph.weight(f"{name}.recurrent_kernel", gates(params["recurrent_kernel"])),
        graph.weight(f"{name}.bias", np.concatenate([bias, second], axis=1)),
        lengths,
        hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward",
        **attributes,
    )  # (T, N, B, hidden)
    y = graph.add("Transpose", y, perm=(0, 2, 1, 3))
    return graph.add("Reshape", y, graph.constant([0, 0, directions * hidden]))


def dense(graph: Graph, x: str, params: Mapping[str, Any], name: str) -> str:
    """Adds a linear layer over the last axis."""
    product = graph.add(
        "MatMul", x, graph.weight(f"{name}.kernel", np.asarray(params["kernel"], np.float32))
    )
    return graph.add(
        "Add", product, graph.weight(f"{name}.bias", np.asarray(params["bias"], np.float32))
    )
