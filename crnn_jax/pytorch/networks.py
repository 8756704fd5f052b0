"""Networks that circulate as PyTorch weights, as variables of ours; needs no PyTorch.

    from crnn_jax.pytorch.weights import read_weights

    variables = vgg_port_from_torch(read_weights("crnn.pth"))

Pixels are scaled to -1..1 in all of them, and images are squashed to 32 x 100, as by default here.
The port resizes them bilinearly, as we do; deep-text-recognition-benchmark does it bicubically, so
that its networks see slightly sharper images there than here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax import types
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.encoder_layers import Conv, Layer
from crnn_jax.models.encoders import ENCODERS
from crnn_jax.pytorch.encoders import (
    Keys,
    encoder_from_torch,
    encoder_shapes,
    input_channels,
    places,
)
from crnn_jax.pytorch.layers import (
    Shapes,
    Weights,
    check_keys,
    check_shapes,
    dense_from_torch,
    dense_shapes,
    matrix_size,
    recurrent_from_torch,
    recurrent_shapes,
    some,
)

_BENCHMARK = "deep-text-recognition-benchmark"


def vgg_port_from_torch(state_dict: Weights) -> types.Variables:
    """Returns our variables from the weights of the widely used PyTorch port of the CRNN.

    They are those of encoder "vgg_port", recurrence "lstm", 2 layers, with as many units (256, as a
    rule; the projection has as many), classes and input channels as the weights have; the blank is
    class 0 in both.

    The port's 8,331,301 parameters (37 classes, grey images) are 8,327,205 here. The difference,
    4,096, is the second bias of every LSTM gate: 2 layers x 2 directions x 1,024 numbers that
    PyTorch only ever adds to the first.

    Args:
      state_dict: by key: "cnn.conv0.weight" to "cnn.batchnorm6.running_var", "rnn.0.rnn.*",
        "rnn.0.embedding.*", "rnn.1.*"; all may start with "module.", as DataParallel saves them.

    Raises:
      UserError: naming keys that are missing, unexpected, of another shape or not finite.
    """
    weights = _plain(state_dict)
    table = ENCODERS["vgg_port"]
    convs = [layer for layer in table if isinstance(layer, Conv)]
    keys = [
        (f"cnn.conv{i}.", f"cnn.batchnorm{i}." if conv.norm else None)
        for i, conv in enumerate(convs)
    ]

    def shapes(channels: int, hidden: int, classes: int) -> Shapes:
        return (
            encoder_shapes(places(table, channels, keys, biased=True))
            | recurrent_shapes("lstm", 512, hidden, "rnn.0.rnn.", 0, bidirectional=True)
            | dense_shapes("rnn.0.embedding.", 2 * hidden, hidden)
            | recurrent_shapes("lstm", hidden, hidden, "rnn.1.rnn.", 0, bidirectional=True)
            | dense_shapes("rnn.1.embedding.", 2 * hidden, classes)
        )

    what = "PyTorch CRNN port"
    check_keys(what, weights, shapes(1, 1, 1))
    channels = input_channels(weights["cnn.conv0.weight"])
    _, hidden = matrix_size(weights["rnn.0.rnn.weight_hh_l0"])
    classes = np.size(weights["rnn.1.embedding.bias"])
    check_shapes(what, weights, shapes(channels, hidden, classes))

    encoder, stats = encoder_from_torch(weights, places(table, channels, keys, biased=True))
    params = {
        "encoder": encoder,
        "recurrent_1": recurrent_from_torch("lstm", weights, "rnn.0.rnn."),
        "projection_1": dense_from_torch(weights, "rnn.0.embedding."),
        "recurrent_2": recurrent_from_torch("lstm", weights, "rnn.1.rnn."),
        "classifier": dense_from_torch(weights, "rnn.1.embedding."),
    }
    return {"params": params, "batch_stats": {"encoder": stats}}


def dtrb_vgg_from_torch(state_dict: Weights) -> types.Variables:
    """Returns our variables from deep-text-recognition-benchmark's VGG networks.

    Baek et al., 2019 (arXiv 1904.01906): transformation None, features VGG, BiLSTM or none, CTC.
    The encoder is "vgg": the two convolutions before batch normalisation have no bias there, and
    here one of 0. See `dtrb_resnet_from_torch` for the rest.
    """
    table = ENCODERS["vgg"]
    keys, place = [], 0  # in the Sequential, which counts rectifiers and pools, too
    for layer in table:
        if isinstance(layer, Conv):
            norm = f"{place + 1}." if layer.norm else None
            keys.append((f"{place}.", norm))
            place += 1 + layer.norm
        place += 1
    return _benchmark_from_torch(state_dict, "VGG", table, keys, [])


def dtrb_resnet_from_torch(state_dict: Weights) -> types.Variables:
    """Returns our variables from deep-text-recognition-benchmark's ResNet networks.

    Baek et al., 2019 (arXiv 1904.01906): transformation None, features ResNet, BiLSTM or none, CTC.
    The encoder is "resnet29". With BiLSTM it is recurrence "lstm", 2 layers. A linear layer follows
    each of theirs: the first is our projection, and the second and the classifier after it are one
    linear map, which is our classifier (exactly; their product is taken in float64).

    Their average over the height is over the one row that images of 32 pixels leave, as ours are.
    The blank is class 0 in both.

    Args:
      state_dict: by key: "FeatureExtraction.ConvNet.*", "SequenceModeling.*" if there is one,
        "Prediction.*"; all may start with "module.", as DataParallel saves them.

    Raises:
      UserError: naming keys that are missing, unexpected, of another shape or not finite; for
        networks with a transformation (TPS) or attention, which we have none of.
    """
    names = ("0_1", "0_2", "1", "2", "3", "4_1", "4_2")
    keys = [(f"conv{name}.", f"bn{name}.") for name in names]
    counts = {"layer1": 1, "layer2": 2, "layer3": 5, "layer4": 3}
    blocks = [f"{layer}.{i}." for layer, count in counts.items() for i in range(count)]
    return _benchmark_from_torch(state_dict, "ResNet", ENCODERS["resnet29"], keys, blocks)


class Layout(NamedTuple):
    """How weights are named, and what they become."""

    encoder: str  # ours
    mark: str  # a key that no other layout has
    convert: Callable[[Weights], types.Variables]


LAYOUTS = {
    "port": Layout("vgg_port", "cnn.conv0.weight", vgg_port_from_torch),
    "dtrb_vgg": Layout("vgg", "FeatureExtraction.ConvNet.0.weight", dtrb_vgg_from_torch),
    "dtrb_resnet": Layout(
        "resnet29", "FeatureExtraction.ConvNet.conv0_1.weight", dtrb_resnet_from_torch
    ),
}


def find_layout(state_dict: Weights, name: str = "auto") -> Layout:
    """Returns the layout of that name; of "auto", the one that the keys show.

    Raises:
      UserError: for an unknown name, or when the keys are of no layout.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    if name != "auto":
        raise unknown_name("layout", name, ("auto", *LAYOUTS))
    weights = _plain(state_dict)
    for layout in LAYOUTS.values():
        if layout.mark in weights:
            return layout
    raise UserError(
        f"keys of no known network: {some(list(weights))}; the layouts {', '.join(LAYOUTS)} are "
        "known: give one of them as --layout to be told what is missing"
    )


def _benchmark_from_torch(
    state_dict: Weights,
    features: str,
    table: Sequence[Layer],
    keys: Keys,
    blocks: Sequence[str],
) -> types.Variables:
    """Converts what is common to the benchmark's networks; keys are those within ConvNet."""
    weights = _plain(state_dict)
    for part, ours in (("Transformation", "None"), ("Prediction.attention_cell", "CTC")):
        if any(key.startswith(f"{part}.") for key in weights):
            raise UserError(
                f"the network has a part that is not supported ({part}.*): give one of "
                f"{_BENCHMARK} trained with --{part.partition('.')[0]} {ours}"
            )
    root = "FeatureExtraction.ConvNet."
    keys = [(root + conv, norm and root + norm) for conv, norm in keys]
    blocks = [root + block for block in blocks]
    first, second = "SequenceModeling.0.", "SequenceModeling.1."
    recurrent = any(key.startswith("SequenceModeling.") for key in weights)

    def shapes(channels: int, hidden: int, classes: int) -> Shapes:
        found = encoder_shapes(places(table, channels, keys, blocks))
        depth = 512
        for prefix in (first, second) if recurrent else ():
            found |= recurrent_shapes("lstm", depth, hidden, f"{prefix}rnn.", 0, bidirectional=True)
            found |= dense_shapes(f"{prefix}linear.", 2 * hidden, hidden)
            depth = hidden
        return found | dense_shapes("Prediction.", depth, classes)

    what = f"{features} network of {_BENCHMARK}"
    check_keys(what, weights, shapes(1, 1, 1))
    channels = input_channels(weights[keys[0][0] + "weight"])
    hidden = matrix_size(weights[f"{first}rnn.weight_hh_l0"])[1] if recurrent else 0
    check_shapes(what, weights, shapes(channels, hidden, np.size(weights["Prediction.bias"])))

    encoder, stats = encoder_from_torch(weights, places(table, channels, keys, blocks))
    params: types.Variables = {"encoder": encoder}
    classifier = dense_from_torch(weights, "Prediction.")
    if recurrent:
        params["recurrent_1"] = recurrent_from_torch("lstm", weights, f"{first}rnn.")
        params["projection_1"] = dense_from_torch(weights, f"{first}linear.")
        params["recurrent_2"] = recurrent_from_torch("lstm", weights, f"{second}rnn.")
        classifier = _composed(dense_from_torch(weights, f"{second}linear."), classifier)
    return {"params": params | {"classifier": classifier}, "batch_stats": {"encoder": stats}}


def _composed(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the one linear layer that two in a row are."""
    kernel = second["kernel"].astype(np.float64)
    bias = first["bias"] @ kernel + second["bias"]
    return {
        "kernel": (first["kernel"] @ kernel).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


def _plain(state_dict: Weights) -> dict[str, np.ndarray]:
    """Leaves out the "module." that DataParallel puts before every key, and counters of batches."""
    wrapper = "module."
    wrapped = all(key.startswith(wrapper) for key in state_dict)
    return {
        key.removeprefix(wrapper) if wrapped else key: value
        for key, value in state_dict.items()
        if not key.endswith(".num_batches_tracked")
    }
