"""Random weights of the widely used PyTorch port of the CRNN, made without PyTorch."""

from __future__ import annotations

import numpy as np

CONVOLUTIONS = [  # features, inputs, kernel
    (64, 1, 3),
    (128, 64, 3),
    (256, 128, 3),
    (256, 256, 3),
    (512, 256, 3),
    (512, 512, 3),
    (512, 512, 2),
]
NORMALISED = (2, 4, 6)


def port_shapes(classes, hidden):
    """Keys and shapes of the checkpoints that circulate, written out once more."""
    shapes = {}
    for i, (outputs, inputs, kernel) in enumerate(CONVOLUTIONS):
        shapes[f"cnn.conv{i}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"cnn.conv{i}.bias"] = (outputs,)
        if i in NORMALISED:
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"cnn.batchnorm{i}.{name}"] = (outputs,)
    for i, (inputs, outputs) in enumerate([(512, hidden), (hidden, classes)]):
        for direction in ("", "_reverse"):
            shapes[f"rnn.{i}.rnn.weight_ih_l0{direction}"] = (4 * hidden, inputs)
            shapes[f"rnn.{i}.rnn.weight_hh_l0{direction}"] = (4 * hidden, hidden)
            shapes[f"rnn.{i}.rnn.bias_ih_l0{direction}"] = (4 * hidden,)
            shapes[f"rnn.{i}.rnn.bias_hh_l0{direction}"] = (4 * hidden,)
        shapes[f"rnn.{i}.embedding.weight"] = (outputs, 2 * hidden)
        shapes[f"rnn.{i}.embedding.bias"] = (outputs,)
    return shapes


def port_weights(classes=37, hidden=256):
    """Random weights of sizes that keep features and logits near 1."""
    rng = np.random.default_rng(0)
    made = {}
    for key, shape in port_shapes(classes, hidden).items():
        if key.endswith("running_var") or ("batchnorm" in key and key.endswith("weight")):
            value = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            value = rng.normal(scale=0.1, size=shape)
        else:
            gain = 2 if key.startswith("cnn") else 6
            value = rng.standard_normal(shape, np.float32) * np.sqrt(gain / np.prod(shape[1:]))
        made[key] = value.astype(np.float32)
    return made
