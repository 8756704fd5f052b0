"""Charset surgery: what was learnt stays, what is new waits, what does not fit is named."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from crnn_jax import surgery
from crnn_jax.charset import Charset, build_charset
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.models.crnn import AUXILIARY
from crnn_jax.recognizer import Recognizer, network_of

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 1), np.uint8)
WIDTHS = np.full(3, 64, np.int32)
SMALL = Charset(tuple("abc1"), "keep")
FOLDED = Charset(tuple("abc1"), "fold")


def shapes(charset: Charset, **overrides):
    config = small_config(**overrides)
    images = jax.ShapeDtypeStruct((1, 32, 64, config.data.channels), np.uint8)
    widths = jax.ShapeDtypeStruct((1,), np.int32)
    return jax.eval_shape(
        network_of(config, charset.num_classes).init, jax.random.key(0), images, widths
    )


def variables(charset: Charset, seed: int = 0):
    """Variables of the small network: random ones, as if it had been trained."""
    rng = np.random.default_rng(seed)
    made = jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), shapes(charset))
    made["batch_stats"] = jax.tree.map(np.abs, made["batch_stats"])  # variances are positive
    return made


def logits(charset: Charset, values) -> np.ndarray:
    network = network_of(small_config(), charset.num_classes)
    return np.asarray(jax.jit(network.apply)(jax.device_put(values), IMAGES, WIDTHS)[0])


def columns(charset: Charset, chars: str) -> list[int]:
    return [0, *(charset.encode(char)[0] for char in chars)]


def test_logits_of_kept_characters_do_not_change():
    old, new = SMALL, Charset(tuple("xc1aé"), "keep")
    before, fresh = variables(old), variables(new, seed=1)
    after, report = surgery.adapt(before, old, new, fresh)
    np.testing.assert_array_equal(
        logits(new, after)[..., columns(new, "ac1")], logits(old, before)[..., columns(old, "ac1")]
    )
    assert report == surgery.Report(("c", "1", "a"), (), ("x", "é"), ("b",))
    told = "characters: 3 kept, 0 begun from their small letters, 2 new ('x' 'é'), 1 dropped ('b')"
    assert str(report) == told
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], before["batch_stats"])
    for name in set(before["params"]) - {"classifier"}:
        jax.tree.map(np.testing.assert_array_equal, after["params"][name], before["params"][name])


def test_another_order_of_the_same_characters_reads_the_same(recognizer: Recognizer):
    old = recognizer.charset
    new = Charset(tuple(reversed(old.classes)), old.case)
    before = jax.device_get(recognizer.variables)
    after, report = surgery.adapt(before, old, new, variables(new))
    assert (report.kept, report.new, report.dropped) == (new.classes, (), ())
    source = open_source("tfds:rendered_words/tiny/test::limit=8")
    images = [source.image_bytes(i) for i in range(8)]
    moved = Recognizer(recognizer.model, jax.device_put(after), new, recognizer.preprocess)
    readings, again = recognizer.read(images), moved.read(images)
    assert [r.text for r in again] == [r.text for r in readings]
    confidences = [[r.confidence for r in found] for found in (readings, again)]
    np.testing.assert_allclose(*confidences, rtol=1e-5)  # sums over classes in another order


def test_the_same_charset_changes_nothing():
    before = variables(SMALL)
    after, _ = surgery.adapt(before, SMALL, SMALL, variables(SMALL, seed=1))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_second_classifier_of_a_training_starts_anew():
    before, fresh = variables(SMALL), variables(SMALL, seed=1)
    head = {"kernel": np.ones((4, 5), np.float32)}
    training = {**fresh, "params": {**fresh["params"], AUXILIARY: head}}
    after, _ = surgery.adapt(before, SMALL, SMALL, training)
    assert after["params"].pop(AUXILIARY) is head
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_capitals_begin_a_little_below_their_small_letters():
    new = Charset(tuple("ABabc1é"), "keep")
    before, fresh = variables(FOLDED), variables(new, seed=1)
    after, report = surgery.adapt(before, FOLDED, new, fresh)
    assert (report.twinned, report.new) == (("A", "B"), ("é",))
    found = logits(new, after)
    difference = found[..., columns(new, "ab")[1:]] - found[..., columns(new, "AB")[1:]]
    np.testing.assert_allclose(difference, surgery._TWIN_MARGIN, atol=1e-5)
    _, report = surgery.adapt(before, FOLDED, new, fresh, case_twins=False)
    assert report.twinned == ()
    assert report.new == ("A", "B", "é")
    _, report = surgery.adapt(before, SMALL, new, fresh)  # it has never read a capital as a
    assert report.twinned == ()


@pytest.mark.parametrize("level", [0.0, -50.0, 50.0])
def test_new_characters_do_not_take_over(level):
    """A network that is sure of its characters reads the same with ninety more beside them.

    A constant on all logits means nothing, and must not matter here, either.
    """
    old, new = FOLDED, build_charset("latin94")
    before = variables(old)
    head = before["params"]["classifier"]
    head["kernel"] = head["kernel"] * 30  # sure of itself
    head["bias"] = head["bias"] + np.float32(level)
    after, report = surgery.adapt(before, old, new, variables(new, seed=1))
    assert len(report.new) == 94 - 4 - 3
    ids = np.array([0, *(new.encode(char)[0] for char in old.classes)])
    read = logits(old, before).argmax(-1)
    assert len(np.unique(read)) > 1
    np.testing.assert_array_equal(logits(new, after).argmax(-1), ids[read])


def test_new_characters_differ_from_each_other():
    new = Charset(tuple("abc1xyz"), "keep")
    after, _ = surgery.adapt(variables(SMALL), SMALL, new, variables(new, seed=1))
    kernel = after["params"]["classifier"]["kernel"]
    assert len(np.unique(kernel[0])) == new.num_classes
    assert kernel.dtype == np.float32


def test_arrays_on_the_device_are_taken_too():
    new = Charset(tuple("abc1x"), "keep")
    before, fresh = variables(SMALL), variables(new, seed=1)
    host, _ = surgery.adapt(before, SMALL, new, fresh)
    device, _ = surgery.adapt(
        jax.tree.map(jnp.asarray, before), SMALL, new, jax.tree.map(jnp.asarray, fresh)
    )
    jax.tree.map(np.testing.assert_array_equal, host, device)


# What does not fit.


@pytest.mark.parametrize(
    ("overrides", "parameter", "knob"),
    [
        ({"model.hidden": 24}, r"params/classifier/kernel \(32, classes\) and \(48, classes\)",
         "config.model.hidden"),
        ({"model.encoder": "vgg"}, "params/encoder/", "config.model.encoder"),
        ({"data.channels": 3}, "params/encoder/conv_1/kernel", "config.data.channels"),
        ({"model.layers": 0}, "missing", "config.model.layers"),
    ],
)  # fmt: skip
def test_another_network_is_refused_with_its_knobs(overrides, parameter, knob):
    with pytest.raises(UserError, match=rf"the networks differ.*{parameter}.*set.*{knob}"):
        surgery.adapt(variables(SMALL), SMALL, SMALL, shapes(SMALL, **overrides))


def test_a_charset_that_is_not_the_models_is_refused():
    other = Charset(tuple("ab"), "keep")
    with pytest.raises(UserError, match=r"the model has a classifier of \(5,\) and not \(3,\)"):
        surgery.adapt(variables(SMALL), other, SMALL, variables(SMALL))
    with pytest.raises(UserError, match="the new network has a classifier"):
        surgery.adapt(variables(SMALL), SMALL, other, variables(SMALL))


def test_configs_are_compared_knob_by_knob():
    old, new = small_config(), small_config(**{"model.hidden": 24, "model.dropout": 0.1})
    surgery.check_same_network(old, old)
    with pytest.raises(UserError, match=r"set config\.model\.hidden=16$"):
        surgery.check_same_network(old, new)
    new = small_config(**{"data.width": 96})
    surgery.check_same_network(old, new)  # it fits, whether or not it is wise
    assert surgery.differing_knobs(old, new, surgery.INPUT_KNOBS) == ["config.data.width=64"]


def test_network_and_input_are_taken_from_a_config():
    old, new = small_config(**{"model.hidden": 24, "data.width": 96}), small_config()
    surgery.take_knobs(new, old)
    surgery.check_same_network(old, new)
    assert (new.model.hidden, new.data.width, new.data.train) == (24, 96, old.data.train)


# Charsets.


def test_a_union_keeps_the_old_ids():
    new = Charset(tuple("zA1"), "keep")
    assert surgery.combine(FOLDED, new, "union") == Charset(tuple("abc1zA"), "keep")
    assert surgery.combine(FOLDED, new, "replace") == new
    assert surgery.combine(SMALL, Charset(("z",), "fold"), "union").case == "fold"


def test_a_union_that_loses_capitals_is_refused():
    with pytest.raises(UserError, match=r"'A', which could never.*config\.init_charset=replace"):
        surgery.combine(Charset(("A", "b"), "keep"), FOLDED, "union")
    with pytest.raises(UserError, match=r"config\.init_charset 'all'.*replace, union"):
        surgery.combine(SMALL, SMALL, "all")
