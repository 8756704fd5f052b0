"""A graph of ONNX operators under construction: nodes, weights, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # of 2022: read by every runtime of today
IR_VERSION = 8
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
INT32, INT64 = TensorProto.INT32, TensorProto.INT64

Shape = Sequence[int | str]  # a name stands for a size that is known when the model runs


class Graph:
    """Collects nodes and weights, and gives every value a name of its own."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node and returns the name of its first output.

        Args:
          operator: of ONNX.
          inputs: names of values; an empty name leaves an optional input out.
          name: of the output; empty: one is made.
          attributes: of the operator.
        """
        output = name or self._unused(operator.lower())
        self._nodes.append(
            helper.make_node(operator, list(inputs), [output], name=f"{output}_node", **attributes)
        )
        return output

    def weight(self, name: str, value: np.ndarray) -> str:
        """Adds weights under a name of their own and returns it."""
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Returns the name of a small constant; equal ones are one."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.weight(self._unused("constant"), array)
        return self._constants[key]

    def size(self, x: str, axis: int) -> str:
        """Returns the size of a value along an axis, as a scalar."""
        shape = self.add("Shape", x, start=axis, end=axis + 1)
        return self.add("Squeeze", shape, self.constant([0]))

    def model(
        self, inputs: dict[str, tuple[int, Shape]], outputs: dict[str, tuple[int, Shape]], name: str
    ) -> onnx.ModelProto:
        """Returns the graph as a checked model.

        Args:
          inputs: names to element types (of `onnx.TensorProto`) and shapes.
          outputs: the same.
          name: of the graph.
        """
        from crnn_jax import __version__

        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(n, *spec) for n, spec in inputs.items()],
            [helper.make_tensor_value_info(n, *spec) for n, spec in outputs.items()],
            self._weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="crnn_jax",
            producer_version=__version__,
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _unused(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"
