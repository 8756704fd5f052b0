"""Parameters of PyTorch's layers as parameters of ours, keys and shapes checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.recurrent import GATES

Weights = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

_MOST_KEYS = 6  # named in one message


def recurrent_from_torch(
    cell: str,
    state_dict: Weights,
    prefix: str = "",
    layer: int = 0,
    bidirectional: bool = True,
) -> dict[str, np.ndarray]:
    """Returns the parameters of a `RecurrentLayer` from those of `torch.nn.LSTM` or `GRU`.

    PyTorch adds an input bias and a recurrent bias at every gate; only their sum matters, and ours
    is that sum. The exception is the GRU's gate n, whose recurrent bias the reset gate scales: it
    becomes `reset_bias`.

    Args:
      cell: "lstm" or "gru".
      state_dict: by key; keys of other layers or that lack `prefix` are left alone.
      prefix: before "weight_ih_l0", as in "rnn.0.rnn.".
      layer: which of the module's stacked layers.
      bidirectional: whether the layer has a second direction.

    Returns:
      kernel (N, D, G), recurrent_kernel (N, H, G), bias (N, G) and, of a GRU, reset_bias (N, H),
      with G = 4 H or 3 H; float32.

    Raises:
      UserError: for an unknown cell; naming keys that are missing, unexpected or of another shape.
    """
    if cell not in GATES:
        raise unknown_name("recurrence", cell, GATES)
    shapes = recurrent_shapes(cell, 1, 1, prefix, layer, bidirectional)
    ends = (f"_l{layer}", f"_l{layer}_reverse")
    mine = [key for key in state_dict if key.startswith(prefix) and key.endswith(ends)]
    check_keys(f"torch {cell}", mine, shapes)
    width, depth = matrix_size(state_dict[f"{prefix}weight_ih_l{layer}"])
    hidden = max(width // GATES[cell], 1)
    shapes = recurrent_shapes(cell, depth, hidden, prefix, layer, bidirectional)
    check_shapes(f"torch {cell}", state_dict, shapes)

    def both(name: str) -> np.ndarray:
        keys = [f"{prefix}{name}_l{layer}{end}" for end in _directions(bidirectional)]
        return np.stack([array(state_dict, key) for key in keys])

    bias, recurrent_bias = both("bias_ih"), both("bias_hh")
    params = {
        "kernel": np.ascontiguousarray(both("weight_ih").transpose(0, 2, 1)),
        "recurrent_kernel": np.ascontiguousarray(both("weight_hh").transpose(0, 2, 1)),
    }
    if cell == "gru":
        params["reset_bias"] = recurrent_bias[:, 2 * hidden :].copy()
        recurrent_bias[:, 2 * hidden :] = 0
    params["bias"] = bias + recurrent_bias
    return params


def dense_from_torch(state_dict: Weights, prefix: str) -> dict[str, np.ndarray]:
    """Returns kernel (D, K) and bias (K,) of a `torch.nn.Linear`."""
    kernel = np.ascontiguousarray(array(state_dict, prefix + "weight").T)
    return {"kernel": kernel, "bias": array(state_dict, prefix + "bias")}


def array(weights: Weights, key: str) -> np.ndarray:
    """Returns a float32 copy, so that later changes of the original stay there.

    Raises:
      UserError: when a number is NaN or infinite; such a network reads nothing.
    """
    with np.errstate(over="ignore"):
        values = np.array(weights[key], np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{key} holds NaN or infinity: training had failed; give other weights")
    return values


def matrix_size(value: np.ndarray) -> tuple[int, int]:
    """Returns the shape of a matrix; with ones for what lacks, so that a check can refuse it."""
    return (*np.shape(value), 1, 1)[:2]


def recurrent_shapes(
    cell: str, depth: int, hidden: int, prefix: str, layer: int, bidirectional: bool
) -> Shapes:
    """Returns the keys and shapes of one layer of `torch.nn.LSTM` or `GRU`."""
    width = GATES[cell] * hidden
    shapes = {
        "weight_ih": (width, depth),
        "weight_hh": (width, hidden),
        "bias_ih": (width,),
        "bias_hh": (width,),
    }
    return {
        f"{prefix}{name}_l{layer}{end}": shape
        for end in _directions(bidirectional)
        for name, shape in shapes.items()
    }


def dense_shapes(prefix: str, inputs: int, outputs: int) -> Shapes:
    """Returns the keys and shapes of a `torch.nn.Linear`."""
    return {f"{prefix}weight": (outputs, inputs), f"{prefix}bias": (outputs,)}


def check_keys(what: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """Raises a UserError that names keys which are missing or unexpected."""
    given, expected = list(given), list(expected)
    missing = [key for key in expected if key not in given]
    unexpected = sorted(key for key in given if key not in expected)
    if missing or unexpected:
        faults = [
            f"{fault} {some(keys)}"
            for fault, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise UserError(
            f"weights that are not a {what}'s: {'; '.join(faults)}; give the state_dict of such a "
            "network, keys as PyTorch names them"
        )


def check_shapes(what: str, weights: Weights, shapes: Shapes) -> None:
    """Raises a UserError that names keys whose shapes are others."""
    wrong = [
        f"{key} is {np.shape(weights[key])} and not {shape}"
        for key, shape in shapes.items()
        if np.shape(weights[key]) != shape
    ]
    if wrong:
        raise UserError(
            f"weights that are not a {what}'s: {some(wrong)}; give the state_dict of a network "
            "of these sizes"
        )


def some(items: list[str]) -> str:
    """Returns the first few of a list, and how many there are more."""
    rest = len(items) - _MOST_KEYS
    return ", ".join(items[:_MOST_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _directions(bidirectional: bool) -> tuple[str, ...]:
    return ("", "_reverse") if bidirectional else ("",)
