from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from port_weights import NORMALISED, port_weights

from crnn_jax import models
from crnn_jax.errors import UserError
from crnn_jax.models.crnn import CRNN
from crnn_jax.pytorch.layers import recurrent_from_torch
from crnn_jax.pytorch.networks import LAYOUTS, find_layout, vgg_port_from_torch

CLASSES = 37


@pytest.fixture(scope="module")
def weights():
    return port_weights()


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


def test_weights_that_are_not_finite_are_refused(weights):
    bias = weights["cnn.conv2.bias"].copy()
    bias[3] = np.nan
    with pytest.raises(UserError, match=r"cnn\.conv2\.bias holds NaN or infinity"):
        vgg_port_from_torch(weights | {"cnn.conv2.bias": bias})


def test_the_keys_show_the_layout(weights):
    wrapped = {f"module.{key}": value for key, value in weights.items()}
    assert find_layout(weights) is find_layout(wrapped) is LAYOUTS["port"]
    for name in LAYOUTS:
        assert find_layout({LAYOUTS[name].mark: np.zeros(1)}) is LAYOUTS[name]
        assert find_layout(weights, name) is LAYOUTS[name]
    with pytest.raises(UserError, match=r"no known network: a\.b, c; .* dtrb_resnet"):
        find_layout({"a.b": np.zeros(1), "c": np.zeros(1)})
    with pytest.raises(UserError, match="unknown layout 'dtrb-vgg': did you mean 'dtrb_vgg'"):
        find_layout(weights, "dtrb-vgg")


def test_parts_that_we_lack_are_named():
    transformed = {"module.Transformation.GridGenerator.P_hat": np.zeros(1)}
    with pytest.raises(UserError, match=r"Transformation\.\*.*--Transformation None"):
        LAYOUTS["dtrb_resnet"].convert(transformed)
    attentive = {"Prediction.attention_cell.i2h.weight": np.zeros(1)}
    with pytest.raises(UserError, match="--Prediction CTC"):
        LAYOUTS["dtrb_vgg"].convert(attentive)


def test_keys_of_the_benchmark_that_do_not_fit_are_named():
    gated = {"FeatureExtraction.ConvNet.3.wgf_u.weight": np.zeros(1)}  # its RCNN
    with pytest.raises(UserError, match=r"VGG network of .*unexpected Feature\S*wgf_u\.weight;"):
        LAYOUTS["dtrb_vgg"].convert(gated)


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


def in_torch(network, image):
    """Logits (T, K) of one image (H, W, C) by itself in PyTorch."""
    import torch

    pixels = torch.tensor(image[None]).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network((pixels / 255 - 0.5) / 0.5)


def state_of(network):
    return {key: value.numpy() for key, value in network.state_dict().items()}


def check_logits(variables, encoder, recurrence, channels, torchs):
    """Rows of several widths in one padded batch against each image by itself in PyTorch."""
    widths = [100, 60, 101, 33]
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (len(widths), 32, 112, channels), dtype=np.uint8)
    ours = CRNN(models.ENCODERS[encoder], CLASSES, recurrence)
    assert shapes_of(variables) == shapes_of(
        jax.eval_shape(ours.init, jax.random.key(0), images, jnp.asarray(widths))
    )
    logits, frames = jax.jit(ours.apply)(variables, images, jnp.asarray(widths))
    assert frames.tolist() == [models.num_frames(encoder, width) for width in widths]
    for row, width in enumerate(widths):
        expected = torchs(images[row, :, :width])
        assert frames[row] == len(expected)
        assert expected.std() > 0.3  # far from 0, where anything agrees
        np.testing.assert_allclose(logits[row, : frames[row]], expected, atol=1e-4)


@pytest.mark.torch
def test_logits_equal_torchs(twin):
    variables = vgg_port_from_torch(state_of(twin))
    assert models.num_frames("vgg_port", 100) == 26
    check_logits(
        variables, "vgg_port", "lstm", 1, lambda image: in_torch(twin, image)[:, 0].numpy()
    )


@pytest.mark.torch
@pytest.mark.parametrize(
    ("layout", "recurrent", "channels", "parameters"),
    [
        ("dtrb_vgg", True, 1, 8_451_621),
        ("dtrb_vgg", False, 3, 5_569_957),
        ("dtrb_resnet", True, 1, 47_165_701),
    ],
)
def test_logits_equal_the_benchmarks(layout, recurrent, channels, parameters):
    torch = pytest.importorskip("torch")
    from torch_dtrb import TorchDTRB

    torch.manual_seed(5)
    features = layout.removeprefix("dtrb_")
    network = TorchDTRB(features, CLASSES, channels, recurrent=recurrent).eval()
    assert sum(value.numel() for value in network.parameters()) == parameters
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.3, 1)  # 29 layers of more would magnify rounding
                for value in (module.bias, module.running_mean):
                    value.normal_(std=0.1)
            elif isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=(6 / module.in_features) ** 0.5)
    weights = {f"module.{key}": value for key, value in state_of(network).items()}
    assert find_layout(weights) is LAYOUTS[layout]
    variables = LAYOUTS[layout].convert(weights)
    check_logits(
        variables,
        LAYOUTS[layout].encoder,
        "lstm" if recurrent else "none",
        channels,
        lambda image: in_torch(network, image)[0].numpy(),
    )
