"""Networks: sizes, frames, and logits that no neighbour and no padding can change."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import models
from crnn_jax.errors import UserError
from crnn_jax.models.encoders import ENCODERS, num_frames
from crnn_jax.models.layers import MaskedBatchNorm, max_pool, output_size, width_mask

HEIGHT = 32

# (encoder, recurrence, layers, hidden, bidirectional, projection) -> parameters with 37 classes.
# A change here is a change of architecture: old checkpoints no longer load.
GOLDEN = {
    ("vgg", "lstm", 2, 256, True, 256): 8_326_693,  # the paper's "8.3M"
    ("vgg_port", "lstm", 2, 256, True, 256): 8_327_205,
    ("resnet", "lstm", 2, 256, True, 256): 7_830_021,
    ("resnet29", "lstm", 2, 256, True, 256): 47_039_749,
    ("small", "lstm", 2, 160, True, 160): 2_257_221,
    ("medium", "gru", 2, 256, True, 256): 4_089_893,
    ("tiny", "lstm", 1, 96, True, 256): 876_941,
    ("tiny", "gru", 1, 96, True, 256): 821_645,
    ("tiny", "lstm", 1, 96, False, 256): 762_413,
    ("tiny", "lstm", 3, 64, True, 0): 981_837,
    ("tiny", "none", 0, 96, True, 256): 654_989,
}


def section(encoder, recurrence="lstm", layers=1, hidden=16, bidirectional=True, projection=0):
    return types.SimpleNamespace(
        name="crnn",
        encoder=encoder,
        recurrence=recurrence,
        layers=layers,
        hidden=hidden,
        bidirectional=bidirectional,
        projection=projection,
        standardize=False,
        dropout=0.0,
        auxiliary=0.0,
        dtype="float32",
    )


def count(params) -> int:
    return sum(p.size for p in jax.tree.leaves(params))


@pytest.mark.parametrize("preset", GOLDEN)
def test_parameter_count(preset):
    model = models.build_model(section(*preset), 37, HEIGHT, 64)
    images, widths = jnp.zeros((1, HEIGHT, 100, 1), jnp.uint8), jnp.array([100])
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, widths))
    assert count(shapes["params"]) == GOLDEN[preset]


def test_every_encoder_and_recurrence_has_a_golden_count():
    assert {preset[0] for preset in GOLDEN} == set(ENCODERS)
    assert {preset[1] for preset in GOLDEN} == {"lstm", "gru", "none"}


@pytest.mark.parametrize(
    ("encoder", "width", "frames"),
    [
        ("vgg", 100, 24),
        ("vgg_port", 100, 26),
        ("resnet", 100, 25),
        ("resnet29", 100, 26),
        ("small", 100, 25),
        ("medium", 100, 25),
        ("tiny", 100, 25),
    ],
)
def test_frames_at_the_papers_width(encoder, width, frames):
    assert num_frames(encoder, width) == frames


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_unpadded_image_has_as_many_frames_as_counted(encoder):
    model = models.build_model(section(encoder, "none"), 5, HEIGHT, 64)
    for width in (8, 17, 50, 63, 100):
        images = jax.ShapeDtypeStruct((1, HEIGHT, width, 1), jnp.uint8)
        logits, _ = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, jnp.array([1]))[0], images
        )
        assert logits.shape[1] == num_frames(encoder, width)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_frame_counts_of_ints_and_arrays_agree(encoder):
    widths = np.arange(200)
    each = [num_frames(encoder, int(width)) for width in widths]
    np.testing.assert_array_equal(num_frames(encoder, widths), each)
    np.testing.assert_array_equal(num_frames(encoder, jnp.asarray(widths)), each)
    assert each[0] == 0  # an invalid row has none
    assert (np.diff(each) >= 0).all()


def randomised(model, seed=0):
    """Variables as after training: no statistic and no bias is at its neutral initial value."""
    images, widths = jnp.zeros((1, HEIGHT, 64, 1), jnp.uint8), jnp.array([64])
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(seed), images, widths))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if "kernel" in name:
            fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim != 3 else leaf.shape[1]
            return jnp.asarray(rng.normal(0, (2 / fan_in) ** 0.5, leaf.shape), jnp.float32)
        centre = 1.0 if "scale" in name or "var" in name else 0.0
        return jnp.asarray(centre + rng.uniform(-0.3, 0.3, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
    ("encoder", "recurrence", "standardize"),
    [
        ("vgg", "lstm", False),
        ("tiny", "gru", False),
        ("tiny", "none", True),
        *(
            pytest.param(name, "lstm", False, marks=pytest.mark.slow)
            for name in ENCODERS
            if name != "vgg"
        ),
    ],
)
def test_neither_neighbours_nor_padding_change_logits(encoder, recurrence, standardize):
    """Alone, among 16 of mixed widths, in a wider bucket, beside garbage: the same logits."""
    description = section(encoder, recurrence)
    description.standardize = standardize
    model = models.build_model(description, 11, HEIGHT, 64)
    variables = randomised(model)
    rng = np.random.default_rng(1)
    widths = rng.integers(20, 97, 16).astype(np.int32)
    widths[0] = 61
    apply = functools.partial(jax.jit(model.apply), variables)  # constants would compile longer

    # Garbage, not zeros, where the images end.
    pixels = rng.integers(0, 256, (16, HEIGHT, 160, 1), np.uint8)
    alone, frames = apply(pixels[:1, :, :61], widths[:1])
    n = int(frames[0])
    assert n == num_frames(encoder, 61) == alone.shape[1]
    tolerance = 1e-5 * max(1.0, float(jnp.abs(alone).max()))
    for columns in (100, 160):
        logits, counts = apply(pixels[:, :, :columns], widths)
        assert int(counts[0]) == n
        np.testing.assert_allclose(logits[0, :n], alone[0], rtol=0, atol=tolerance)


def test_invalid_rows_do_not_change_training_statistics():
    model = models.build_model(section("tiny", "none"), 5, HEIGHT, 64)
    variables = randomised(model)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, HEIGHT, 48, 1), np.uint8)

    @jax.jit
    def statistics(images, widths):
        _, updated = model.apply(variables, images, widths, train=True, mutable=["batch_stats"])
        return updated["batch_stats"]

    with_invalid = statistics(images, np.array([48, 30, 0, 0], np.int32))
    without = statistics(images[:2], np.array([48, 30], np.int32))
    assert jax.tree.structure(with_invalid) == jax.tree.structure(without)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), with_invalid, without)


def test_batch_norm_statistics_are_those_of_the_real_columns():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(3, 2, (3, 4, 10, 6)), jnp.float32)
    widths = jnp.array([10, 4, 7])
    mask = width_mask(widths, 10)
    norm = MaskedBatchNorm(decay=0.0)
    variables = norm.init(jax.random.key(0), x, mask, train=False)
    out, updated = norm.apply(variables, x, mask, train=True, mutable=["batch_stats"])
    real = np.concatenate([x[i, :, :w].reshape(-1, 6) for i, w in enumerate(widths)])
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], real.mean(0), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], real.var(0), rtol=1e-4)
    scaled = np.concatenate([out[i, :, :w].reshape(-1, 6) for i, w in enumerate(widths)])
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-3)


def test_batch_norm_over_devices_is_that_of_the_whole_batch():
    """pmap over devices with unequal real widths gives the statistics of one big batch."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(1, 3, (8, 4, 10, 6)), jnp.float32)
    mask = width_mask(jnp.array([10, 1, 2, 3, 9, 9, 0, 0]), 10)
    single = MaskedBatchNorm(decay=0.0)
    variables = single.init(jax.random.key(0), x, mask, train=False)
    _, expected = single.apply(variables, x, mask, train=True, mutable=["batch_stats"])
    mapped = MaskedBatchNorm(decay=0.0, axis_name="data")

    def step(x, mask):
        return mapped.apply(variables, x, mask, train=True, mutable=["batch_stats"])[1]

    got = jax.pmap(step, axis_name="data", out_axes=None)(
        x.reshape(4, 2, 4, 10, 6), mask.reshape(4, 2, 1, 10, 1)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        got["batch_stats"],
        expected["batch_stats"],
    )


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [((2, 2), (2, 2), (0, 0)), ((2, 1), (2, 1), (0, 0)), ((2, 2), (2, 1), (0, 1))],
)
def test_max_pool_is_flax_max_pool(window, stride, padding):
    import flax.linen as nn

    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 8, 13, 3)))
    pads = [(p, p) for p in padding]
    expected, expected_vjp = jax.vjp(lambda x: nn.max_pool(x, window, stride, pads), x)
    got, got_vjp = jax.vjp(lambda x: max_pool(x, window, stride, padding), x)
    np.testing.assert_array_equal(got, expected)
    # Equal maxima share the gradient here; where x is zero (the rectifier's ties) it dies anyway.
    g = jax.random.normal(jax.random.key(1), expected.shape)
    alive = x > 0
    np.testing.assert_allclose(
        jnp.where(alive, got_vjp(g)[0], 0), jnp.where(alive, expected_vjp(g)[0], 0), atol=1e-6
    )


def test_output_size_is_that_of_a_convolution():
    for size in range(1, 30):
        for kernel, stride, padding in ((3, 1, 1), (3, 2, 1), (2, 2, 0), (2, 1, 1), (2, 1, 0)):
            out = jax.eval_shape(
                lambda s=size, k=kernel, t=stride, p=padding: jax.lax.conv_general_dilated(
                    jnp.zeros((1, 1, s)), jnp.zeros((1, 1, k)), (t,), [(p, p)]
                )
            ).shape[2]
            assert output_size(size, kernel, stride, padding) == out
    assert output_size(0, 3, 1, 1) == 0  # an invalid row stays invalid


def test_a_standardized_image_may_be_paler_or_darker():
    description = section("tiny", "none")
    description.standardize = True
    model = models.build_model(description, 5, HEIGHT, 64)
    variables = randomised(model)
    image = np.random.default_rng(0).integers(0, 100, (1, HEIGHT, 48, 1), np.uint8)
    widths = np.array([40], np.int32)
    apply = functools.partial(jax.jit(model.apply), variables)
    plain, frames = apply(image, widths)
    changed, _ = apply(2 * image + 50, widths)
    n = int(frames[0])
    np.testing.assert_allclose(changed[0, :n], plain[0, :n], atol=2e-3)
    blank, paler = (apply(np.full_like(image, grey), widths)[0] for grey in (37, 200))
    np.testing.assert_allclose(blank, paler, atol=0.01)


def test_dropout_only_in_training():
    description = section("tiny")
    description.dropout = 0.5
    model = models.build_model(description, 5, HEIGHT, 64)
    variables = randomised(model)
    images = np.zeros((1, HEIGHT, 48, 1), np.uint8)
    widths = np.array([48], np.int32)

    @jax.jit
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        out, _ = model.apply(variables, images, widths, True, rngs=rngs, mutable=["batch_stats"])
        return out[0]

    assert not np.array_equal(train(0), train(1))
    apply = jax.jit(model.apply)
    a, b = (apply(variables, images, widths)[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    description = section("vgg")
    description.dtype = "bfloat16"
    model = models.build_model(description, 5, HEIGHT, 64)
    images, widths = jnp.zeros((1, HEIGHT, 40, 1), jnp.uint8), jnp.array([40])
    (logits, _), variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), images, widths)
    )
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("platform", "capability", "dtype"),
    [
        ("cpu", None, "float32"),
        ("gpu", "7.5", "float32"),
        ("gpu", "9.0", "bfloat16"),
        ("tpu", None, "bfloat16"),
    ],
)
def test_the_precision_is_what_the_device_can(monkeypatch, platform, capability, dtype):
    device = types.SimpleNamespace(platform=platform, compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert models.compute_dtype("auto") == jnp.dtype(dtype)
    assert models.compute_dtype("float32") == jnp.float32


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder", "vg", "did you mean 'vgg'"),
        ("recurrence", "ltsm", "did you mean 'lstm'"),
        ("dtype", "float16", "did you mean 'bfloat16'"),
        ("name", "crn", "did you mean 'crnn'"),
        ("layers", 4, "give 0, 1, 2 or 3"),
    ],
)
def test_wrong_names_are_user_errors(key, value, message):
    description = section("tiny")
    setattr(description, key, value)
    with pytest.raises(UserError, match=message):
        models.build_model(description, 5, HEIGHT, 64)


@pytest.mark.parametrize(
    ("height", "width", "what"), [(8, 64, "height of 8"), (32, 7, "width of 7")]
)
def test_a_size_that_leaves_nothing_is_a_user_error(height, width, what):
    with pytest.raises(UserError, match=f"{what} pixels is too small .* it needs (32|8) or more"):
        models.build_model(section("vgg"), 5, height, width)
