from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import models
from crnn_jax.convert import recurrent_from_torch, vgg_port_from_torch
from crnn_jax.errors import UserError
from crnn_jax.models.crnn import CRNN

CLASSES = 37
CONVOLUTIONS = [  # features, channels, kernel
    (64, 1, 3),
    (128, 64, 3),
    (256, 128, 3),
    (256, 256, 3),
    (512, 256, 3),
    (512, 512, 3),
    (512, 512, 2),
]
NORMALISED = (2, 4, 6)


def port_shapes():
    """Keys and shapes of the checkpoints that circulate, written out once more."""
    shapes = {}
    for i, (outputs, inputs, kernel) in enumerate(CONVOLUTIONS):
        shapes[f"cnn.conv{i}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"cnn.conv{i}.bias"] = (outputs,)
        if i in NORMALISED:
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"cnn.batchnorm{i}.{name}"] = (outputs,)
    for i, (inputs, outputs) in enumerate([(512, 256), (256, CLASSES)]):
        for direction in ("", "_reverse"):
            shapes[f"rnn.{i}.rnn.weight_ih_l0{direction}"] = (1024, inputs)
            shapes[f"rnn.{i}.rnn.weight_hh_l0{direction}"] = (1024, 256)
            shapes[f"rnn.{i}.rnn.bias_ih_l0{direction}"] = (1024,)
            shapes[f"rnn.{i}.rnn.bias_hh_l0{direction}"] = (1024,)
        shapes[f"rnn.{i}.embedding.weight"] = (outputs, 512)
        shapes[f"rnn.{i}.embedding.bias"] = (outputs,)
    return shapes


@pytest.fixture(scope="module")
def weights():
    """Random weights of sizes that keep features and logits near 1."""
    rng = np.random.default_rng(0)
    made = {}
    for key, shape in port_shapes().items():
        if key.endswith("running_var") or ("batchnorm" in key and key.endswith("weight")):
            value = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            value = rng.normal(scale=0.1, size=shape)
        else:
            gain = 2 if key.startswith("cnn") else 6
            value = rng.standard_normal(shape, np.float32) * np.sqrt(gain / np.prod(shape[1:]))
        made[key] = value.astype(np.float32)
    return made


def sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def network(classes=CLASSES):
    return CRNN(models.ENCODERS["vgg_port"], classes)


@functools.cache
def network_shapes(channels=1, classes=CLASSES):
    images, widths = jnp.zeros((1, 32, 100, channels), jnp.uint8), jnp.asarray([100])
    return jax.eval_shape(network(classes).init, jax.random.key(0), images, widths)


def shapes_of(tree):
    return jax.tree.map(np.shape, tree, is_leaf=lambda x: hasattr(x, "shape"))


def test_variables_are_those_of_the_network(weights):
    variables = vgg_port_from_torch(weights)
    assert shapes_of(variables) == shapes_of(network_shapes())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    running = sum(value.size for key, value in weights.items() if "running" in key)
    assert sum(value.size for value in weights.values()) - running == 8_331_301
    assert sizes(variables["params"]) == 8_327_205 == 8_331_301 - 2 * 2 * 4 * 256


def test_weights_are_copied(weights):
    given = dict(weights)
    given["cnn.conv0.bias"] = weights["cnn.conv0.bias"].copy()
    variables = vgg_port_from_torch(given)
    given["cnn.conv0.bias"][:] = 0
    assert np.all(variables["params"]["encoder"]["conv_1"]["bias"] != 0)


def test_colour_and_other_charsets(weights):
    rng = np.random.default_rng(1)
    given = weights | {
        "cnn.conv0.weight": rng.normal(size=(64, 3, 3, 3)),
        "rnn.1.embedding.weight": rng.normal(size=(11, 512)),
        "rnn.1.embedding.bias": rng.normal(size=11),
    }
    variables = vgg_port_from_torch(given)
    assert shapes_of(variables) == shapes_of(network_shapes(channels=3, classes=11))


def test_wrappers_and_counters_are_no_weights(weights):
    plain = vgg_port_from_torch(weights)
    given = {f"module.{key}": value for key, value in weights.items()}
    given |= {f"module.cnn.batchnorm{i}.num_batches_tracked": np.int64(9) for i in NORMALISED}
    jax.tree.map(np.testing.assert_array_equal, vgg_port_from_torch(given), plain)


def without(weights, *keys):
    return {key: value for key, value in weights.items() if key not in keys}


def test_keys_that_do_not_fit_are_named(weights):
    with pytest.raises(UserError, match=r"missing cnn\.conv3\.bias, rnn\.1\.embedding\.bias; give"):
        vgg_port_from_torch(without(weights, "cnn.conv3.bias", "rnn.1.embedding.bias"))
    with pytest.raises(UserError, match=r"port's: unexpected cnn\.conv7\.weight; give"):
        vgg_port_from_torch(weights | {"cnn.conv7.weight": np.zeros(1)})
    renamed = without(weights, "cnn.conv0.bias") | {"cnn.conv0.b": np.zeros(64)}
    with pytest.raises(UserError, match=r"missing cnn\.conv0\.bias; unexpected cnn\.conv0\.b;"):
        vgg_port_from_torch(renamed)
    with pytest.raises(UserError, match=r"missing cnn\.conv0\.weight, .* and \d+ more;") as caught:
        vgg_port_from_torch({})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("cnn.conv0.weight", (64, 2, 3, 3), "(64, 1, 3, 3)"),
        ("cnn.conv0.weight", (64,), "(64, 1, 3, 3)"),
        ("cnn.batchnorm4.running_var", (256,), "(512,)"),
        ("rnn.0.rnn.weight_hh_l0_reverse", (2048, 512), "(1024, 256)"),
        ("rnn.1.embedding.weight", (63, 512), "(37, 512)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(weights, key, shape, expected):
    with pytest.raises(UserError) as caught:
        vgg_port_from_torch(weights | {key: np.zeros(shape, np.float32)})
    assert f"{key} is {shape} and not {expected}" in str(caught.value)


def layer_weights(gates=4, hidden=3, depth=2, directions=("", "_reverse")):
    width = gates * hidden
    shapes = {
        "weight_ih": (width, depth),
        "weight_hh": (width, hidden),
        "bias_ih": (width,),
        "bias_hh": (width,),
    }
    return {
        f"{name}_l0{end}": np.ones(shape, np.float32)
        for end in directions
        for name, shape in shapes.items()
    }


def test_recurrent_weights_that_do_not_fit_are_named():
    with pytest.raises(UserError, match="unknown recurrence 'lsmt': did you mean 'lstm'"):
        recurrent_from_torch("lsmt", layer_weights())
    with pytest.raises(UserError, match="missing weight_ih_l0_reverse"):
        recurrent_from_torch("lstm", layer_weights(directions=("",)))
    with pytest.raises(UserError, match="unexpected bias_hh_l0_reverse"):
        recurrent_from_torch("lstm", layer_weights(), bidirectional=False)
    with pytest.raises(UserError, match=r"missing rnn\.weight_ih_l0, "):
        recurrent_from_torch("lstm", layer_weights(), prefix="rnn.")
    with pytest.raises(UserError, match=r"torch gru's: weight_hh_l0 is \(12, 3\) and not"):
        recurrent_from_torch("gru", layer_weights())
    projected = layer_weights() | {"weight_hr_l0": np.ones((2, 3), np.float32)}
    with pytest.raises(UserError, match="unexpected weight_hr_l0"):
        recurrent_from_torch("lstm", projected)
    for shape in ((), (12,), (2, 2, 2)):
        with pytest.raises(UserError, match=r"weight_ih_l0 is \("):
            recurrent_from_torch("lstm", layer_weights() | {"weight_ih_l0": np.ones(shape)})


def test_recurrent_biases_are_summed():
    given = {
        key: np.arange(value.size, dtype=np.float32).reshape(value.shape)
        for key, value in layer_weights(gates=3, directions=("",)).items()
    }
    params = recurrent_from_torch("gru", given, bidirectional=False)
    assert params["bias"].tolist() == [[0, 2, 4, 6, 8, 10, 6, 7, 8]]
    assert params["reset_bias"].tolist() == [[6, 7, 8]]
    assert given["bias_hh_l0"].tolist() == list(range(9))


# PyTorch


@pytest.fixture(scope="module")
def twin(weights):
    torch = pytest.importorskip("torch")
    from torch_crnn import TorchCRNN

    network = TorchCRNN(CLASSES)
    assert sum(value.numel() for value in network.parameters()) == 8_331_301
    tensors = {key: torch.tensor(value) for key, value in weights.items()}
    counters = {f"cnn.batchnorm{i}.num_batches_tracked": torch.tensor(0) for i in NORMALISED}
    network.load_state_dict(tensors | counters, strict=True)
    return network.eval()


@pytest.mark.torch
def test_logits_equal_torchs(weights, twin):
    """Rows of several widths in one padded batch against each image by itself in PyTorch."""
    import torch

    widths = [100, 60, 101, 33]
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (len(widths), 32, 112, 1), dtype=np.uint8)
    state = {key: value.numpy() for key, value in twin.state_dict().items()}
    variables = vgg_port_from_torch(state)
    logits, frames = jax.jit(network().apply)(variables, images, jnp.asarray(widths))
    assert frames.tolist() == [26, 16, 26, models.num_frames("vgg_port", 33)]
    for row, width in enumerate(widths):
        image = torch.tensor(images[row : row + 1, :, :width]).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = twin((image / 255 - 0.5) / 0.5)[:, 0].numpy()
        assert frames[row] == len(expected)
        assert expected.std() > 0.3  # far from 0, where anything agrees
        np.testing.assert_allclose(logits[row, : frames[row]], expected, atol=1e-4)
