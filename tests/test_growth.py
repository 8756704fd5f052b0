"""Networks that begin with the weights of a smaller one, or of one that ends otherwise."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from small import small_config

from crnn_jax import bundle_zip, growth, models
from crnn_jax import config as config_lib
from crnn_jax.errors import UserError
from crnn_jax.models import encoders
from crnn_jax.models.encoder_layers import Conv, MaxPool, Residual

CLASSES = 7
WIDTHS = np.array([48, 64])


def config_of(**changes):
    return small_config(**{"model.encoder": "small", "model.hidden": 8, **changes})


def network(config, classes=CLASSES):
    return models.build_model(config.model, classes, height=32, width=64)


def variables_of(config, seed, classes=CLASSES):
    """Random weights and statistics, as of a trained network: no scale is 1, no mean 0."""
    rng = np.random.default_rng(seed)
    images = np.zeros((1, config.data.height, 64, config.data.channels), np.uint8)
    model = network(config, classes)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, np.array([64]))
    return jax.tree.map(
        lambda x: rng.uniform(0.05, 0.2, x.shape).astype(np.float32),
        {name: dict(shapes[name]) for name in ("params", "batch_stats")},
    )


def logits_of(config, variables):
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 64, 1), np.uint8)
    return jax.jit(network(config).apply)(variables, images, WIDTHS)[0]


def grown(old, new, classes=CLASSES):
    trained = variables_of(old, seed=1)
    return trained, growth.grow(trained, old, new, variables_of(new, seed=2, classes=classes))


def test_a_deeper_encoder_reads_as_before():
    old, new = config_of(), config_of(**{"model.encoder": "medium"})
    trained, result = grown(old, new)
    assert result.identities == tuple(f"encoder/residual_{i}" for i in (5, 6, 7))
    assert result.new == ()
    assert result.keeps_classifier
    np.testing.assert_allclose(
        logits_of(new, result.variables), logits_of(old, trained), rtol=1e-5, atol=1e-5
    )
    assert "residual_7_conv_1" in result.variables["params"]["encoder"]


def test_blocks_may_be_added_anywhere(monkeypatch):
    monkeypatch.setitem(
        encoders.ENCODERS, "before", (Conv(4, norm=True), MaxPool(), Residual(6), Residual(8))
    )
    monkeypatch.setitem(
        encoders.ENCODERS,
        "after",
        (Conv(4, norm=True), MaxPool(), Residual(4), Residual(6), Residual(6), Residual(8)),
    )
    old, new = config_of(**{"model.encoder": "before"}), config_of(**{"model.encoder": "after"})
    trained, result = grown(old, new)
    assert result.identities == ("encoder/residual_1", "encoder/residual_3")
    np.testing.assert_array_equal(
        result.variables["params"]["encoder"]["residual_4_shortcut"]["kernel"],
        trained["params"]["encoder"]["residual_2_shortcut"]["kernel"],
    )
    np.testing.assert_allclose(
        logits_of(new, result.variables), logits_of(old, trained), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("old", "new", "anew"),
    [
        (
            {"model.layers": 1},
            {"model.layers": 2},
            ("projection_1", "recurrent_2", "classifier"),
        ),
        ({"model.layers": 2}, {"model.layers": 1}, ("classifier",)),  # though its shape fits
        ({}, {"model.recurrence": "none"}, ("classifier",)),
        ({}, {"model.recurrence": "gru"}, ("recurrent_1", "classifier")),
        ({}, {"model.hidden": 9}, ("recurrent_1", "classifier")),
        ({}, {"data.height": 64}, ("recurrent_1", "classifier")),
        (
            {"model.encoder": "vgg"},
            {"model.encoder": "vgg_port"},
            ("encoder/conv_3", "encoder/conv_4", "encoder/maxpool_3", "encoder/conv_5",
             "encoder/conv_6", "encoder/maxpool_4", "encoder/conv_7", "recurrent_1", "classifier"),
        ),
    ],
)  # fmt: skip
def test_what_follows_another_layer_is_new(old, new, anew):
    old, new = (config_of(**{"model.layers": 1, **changes}) for changes in (old, new))
    fresh = variables_of(new, seed=2)
    trained = variables_of(old, seed=1)
    result = growth.grow(trained, old, new, fresh)
    assert result.new == anew
    assert not result.identities
    assert not result.keeps_classifier
    flat, before, after = map(bundle_zip.flatten, (result.variables, trained, fresh))
    assert flat.keys() == after.keys()
    for path, value in flat.items():
        is_new = any(f"/{name}/" in path or f"/{name}_" in path for name in anew)
        np.testing.assert_array_equal(value, (after if is_new else before)[path])


def test_a_classifier_of_other_classes_goes_on():
    old, new = config_of(), config_of(**{"model.encoder": "medium"})
    trained, result = grown(old, new, classes=CLASSES + 2)
    assert result.keeps_classifier
    np.testing.assert_array_equal(
        result.variables["params"]["classifier"]["bias"], trained["params"]["classifier"]["bias"]
    )


def test_the_classifier_of_training_alone_is_left_out():
    new = config_of(**{"model.auxiliary": 0.3})
    assert "auxiliary" in variables_of(new, seed=2)["params"]
    _, result = grown(config_of(), new)
    assert "auxiliary" not in result.variables["params"]


def test_a_network_of_which_nothing_fits_is_refused():
    with pytest.raises(UserError, match=r"give config\.model\.encoder=small or one that begins"):
        grown(config_of(), config_of(**{"model.encoder": "tiny"}))


def test_what_was_done_is_told():
    _, result = grown(config_of(**{"model.layers": 1}), config_of(**{"model.layers": 2}))
    assert str(result) == "layers: 8 kept, new: projection_1, recurrent_2, classifier"


def test_the_choices_are_those_of_the_config():
    assert config_lib.default_config().init_weights in growth.WHICH
