"""Weights of PyTorch networks as variables of ours; needs NumPy alone, not PyTorch.

state_dict = torch.load("crnn.pth", map_location="cpu", weights_only=True)
variables = vgg_port_from_torch({key: value.numpy() for key, value in state_dict.items()})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crnn_jax import types
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.encoders import VGG_PORT, Conv
from crnn_jax.models.recurrent import GATES

Weights = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

HIDDEN = 256  # of the port, per direction; its first recurrent layer is projected to as many
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
    shapes = _recurrent_shapes(cell, 1, 1, prefix, layer, bidirectional)
    ends = (f"_l{layer}", f"_l{layer}_reverse")
    mine = [key for key in state_dict if key.startswith(prefix) and key.endswith(ends)]
    _check_keys(f"torch {cell}", mine, shapes)
    # A shape that is no matrix is refused below; (1, 1) only gets it there.
    width, depth = (*np.shape(state_dict[f"{prefix}weight_ih_l{layer}"]), 1, 1)[:2]
    hidden = max(width // GATES[cell], 1)
    shapes = _recurrent_shapes(cell, depth, hidden, prefix, layer, bidirectional)
    _check_shapes(f"torch {cell}", state_dict, shapes)

    def both(name: str) -> np.ndarray:
        keys = [f"{prefix}{name}_l{layer}{end}" for end in _directions(bidirectional)]
        return np.stack([np.array(state_dict[key], np.float32) for key in keys])

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


def vgg_port_from_torch(state_dict: Weights) -> types.Variables:
    """Returns our variables from the weights of the widely used PyTorch port of the CRNN.

    They are those of encoder "vgg_port", recurrence "lstm", 2 layers, hidden 256, projection 256,
    with as many classes and input channels as the weights have; the blank is class 0 in both.

    The port's 8,331,301 parameters (37 classes, grey images) are 8,327,205 here. The difference,
    4,096, is the second bias of every LSTM gate: 2 layers x 2 directions x 1,024 numbers that
    PyTorch only ever adds to the first.

    Args:
      state_dict: by key: "cnn.conv0.weight" to "cnn.batchnorm6.running_var", "rnn.0.rnn.*",
        "rnn.0.embedding.*", "rnn.1.*"; all may start with "module.", as DataParallel saves them.

    Raises:
      UserError: naming keys that are missing, unexpected or of another shape.
    """
    weights = _without_wrapper(state_dict)
    what = "PyTorch CRNN port"
    counters = {key for key in weights if key.endswith(".num_batches_tracked")}
    _check_keys(what, weights.keys() - counters, _port_shapes(1, 1))
    image = np.shape(weights["cnn.conv0.weight"])
    channels = 3 if image[1:2] == (3,) else 1
    classes = np.size(weights["rnn.1.embedding.bias"])
    _check_shapes(what, weights, _port_shapes(channels, classes))

    encoder: types.Variables = {}
    stats: types.Variables = {}
    for i, conv in enumerate(_convolutions()):
        kernel = _array(weights[f"cnn.conv{i}.weight"]).transpose(2, 3, 1, 0)  # OIHW to HWIO
        name = f"conv_{i + 1}"
        encoder[name] = {
            "kernel": np.ascontiguousarray(kernel),
            "bias": _array(weights[f"cnn.conv{i}.bias"]),
        }
        if conv.norm:
            norm = f"cnn.batchnorm{i}."
            encoder[f"{name}_norm"] = {
                "scale": _array(weights[norm + "weight"]),
                "bias": _array(weights[norm + "bias"]),
            }
            stats[f"{name}_norm"] = {
                "mean": _array(weights[norm + "running_mean"]),
                "var": _array(weights[norm + "running_var"]),
            }
    params = {
        "encoder": encoder,
        "recurrent_1": recurrent_from_torch("lstm", weights, "rnn.0.rnn."),
        "projection_1": _dense(weights, "rnn.0.embedding."),
        "recurrent_2": recurrent_from_torch("lstm", weights, "rnn.1.rnn."),
        "classifier": _dense(weights, "rnn.1.embedding."),
    }
    return {"params": params, "batch_stats": {"encoder": stats}}


def _array(value: Any) -> np.ndarray:
    """A float32 copy, so that later changes of the original stay there."""
    return np.array(value, np.float32)


def _dense(weights: Weights, prefix: str) -> dict[str, np.ndarray]:
    kernel = np.ascontiguousarray(_array(weights[prefix + "weight"]).T)
    return {"kernel": kernel, "bias": _array(weights[prefix + "bias"])}


def _convolutions() -> list[Conv]:
    return [layer for layer in VGG_PORT if isinstance(layer, Conv)]


def _directions(bidirectional: bool) -> tuple[str, ...]:
    return ("", "_reverse") if bidirectional else ("",)


def _recurrent_shapes(
    cell: str, depth: int, hidden: int, prefix: str, layer: int, bidirectional: bool
) -> Shapes:
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


def _port_shapes(channels: int, classes: int) -> Shapes:
    shapes: Shapes = {}
    depth = channels
    for i, conv in enumerate(_convolutions()):
        shapes[f"cnn.conv{i}.weight"] = (conv.features, depth, *conv.kernel)
        shapes[f"cnn.conv{i}.bias"] = (conv.features,)
        if conv.norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"cnn.batchnorm{i}.{name}"] = (conv.features,)
        depth = conv.features
    for i, outputs in enumerate((HIDDEN, classes)):
        shapes |= _recurrent_shapes("lstm", depth, HIDDEN, f"rnn.{i}.rnn.", 0, bidirectional=True)
        shapes[f"rnn.{i}.embedding.weight"] = (outputs, 2 * HIDDEN)
        shapes[f"rnn.{i}.embedding.bias"] = (outputs,)
        depth = outputs
    return shapes


def _without_wrapper(state_dict: Weights) -> dict[str, np.ndarray]:
    """Removes the "module." that DataParallel puts before every key."""
    wrapper = "module."
    if all(key.startswith(wrapper) for key in state_dict):
        return {key.removeprefix(wrapper): value for key, value in state_dict.items()}
    return dict(state_dict)


def _check_keys(what: str, given: Iterable[str], expected: Iterable[str]) -> None:
    given, expected = list(given), list(expected)
    missing = [key for key in expected if key not in given]
    unexpected = sorted(key for key in given if key not in expected)
    if missing or unexpected:
        faults = [
            f"{fault} {_some(keys)}"
            for fault, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise UserError(
            f"weights that are not a {what}'s: {'; '.join(faults)}; give the state_dict of such a "
            "network, keys as PyTorch names them"
        )


def _check_shapes(what: str, weights: Weights, shapes: Shapes) -> None:
    wrong = [
        f"{key} is {np.shape(weights[key])} and not {shape}"
        for key, shape in shapes.items()
        if np.shape(weights[key]) != shape
    ]
    if wrong:
        raise UserError(
            f"weights that are not a {what}'s: {_some(wrong)}; give the state_dict of a network "
            "of these sizes"
        )


def _some(items: list[str]) -> str:
    rest = len(items) - _MOST_KEYS
    return ", ".join(items[:_MOST_KEYS]) + (f" and {rest} more" if rest > 0 else "")
