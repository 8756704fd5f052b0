"""The training step and what a run leaves behind."""

from __future__ import annotations

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import cli, models, train, types
from crnn_jax import config as config_lib
from crnn_jax.data.sources import open_source
from crnn_jax.models.encoders import num_frames
from crnn_jax.recognizer import Recognizer

CLASSES = 7


def small_config(**overrides):
    pairs = [(key, str(value)) for key, value in overrides.items()]
    return cli.load_experiment("quickstart:smoke,loaded", pairs)


@pytest.fixture(scope="module")
def batch() -> types.Batch:
    rng = np.random.default_rng(0)
    labels = rng.integers(1, CLASSES, (4, 8)).astype(np.int32)
    lengths = np.array([3, 1, 4, 2], np.int32)
    labels *= np.arange(8) < lengths[:, None]
    images = rng.integers(0, 256, (4, 32, 64, 1), np.uint8)
    return types.Batch(images, np.full(4, 64, np.int32), labels, lengths)


@functools.cache
def start(**overrides):
    """Returns the first state and the compiled step (which keeps its input state alive)."""
    config = small_config(ema=0.9, log_every_steps=3, **overrides)
    model, tx, _ = train.build(config, CLASSES, warmup=1, total=50)
    state = jax.jit(lambda: train.create_train_state(config, model, tx))()
    step = jax.jit(lambda s, b: train.train_step(s, b, model=model, tx=tx, config=config))
    return state, step


def mean_loss(sums) -> float:
    return float(sums["loss"] / sums["loss_weight"])


def test_steps_learn_a_batch_by_heart(batch):
    state, step = start()
    _, first = step(state, batch)
    for _ in range(40):
        state, sums = step(state, batch)
    assert int(state.step) == 40
    assert mean_loss(sums) < 0.2 * mean_loss(first)


def test_a_gradient_that_is_not_finite_changes_nothing_but_its_count(batch):
    state, step = start()
    state, _ = step(state, batch)
    broken = state.replace(params=jax.tree.map(lambda p: p * jnp.nan, state.params))
    after, sums = step(broken, batch)
    assert int(after.skipped) == 1
    assert float(sums["skipped"]) == 1
    assert int(after.step) == 2
    for name in ("params", "batch_stats", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(broken, name))
    assert np.isfinite(mean_loss(sums))  # the sums hold the good step alone
    healthy, _ = step(state, batch)
    assert int(healthy.skipped) == 0


def test_invalid_rows_take_part_in_nothing(batch):
    """Rows of width 0 leave the update as it would be without them."""
    state, step = start(**{"optimizer.name": "sgd"})
    garbage = types.Batch(
        np.concatenate([batch.images, 255 - batch.images]),
        np.concatenate([batch.widths, np.zeros(4, np.int32)]),
        np.concatenate([batch.labels, batch.labels]),
        np.concatenate([batch.label_lengths, batch.label_lengths]),
    )
    alone, sums = step(state, batch)
    together, sums_together = step(state, garbage)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), alone.params, together.params
    )
    assert float(sums_together["rows"]) == float(sums["rows"]) == 4


def test_infeasible_labels_are_counted_and_masked(batch):
    state, step = start()
    frames = num_frames("tiny", 64)
    labels = np.tile(np.array([1, 2], np.int32), (4, frames))  # twice as long as the frames
    lengths = np.array([2 * frames, 1, 1, 1], np.int32)
    _, sums = step(state, batch._replace(labels=labels, label_lengths=lengths))
    assert float(sums["infeasible"]) == 1
    assert float(sums["loss_weight"]) == 3
    assert np.isfinite(mean_loss(sums))


def test_sums_start_anew_after_a_log_line(batch):
    state, step = start()
    seen = []
    for _ in range(7):
        state, sums = step(state, batch)
        seen.append(float(sums["steps"]))
    assert seen == [1, 2, 3, 1, 2, 3, 1]


def test_ema_follows_the_weights(batch):
    state, step = start()
    before = state.params
    for _ in range(5):
        state, _ = step(state, batch)
    kernel = ("classifier", "kernel")
    old, new, average = (
        np.asarray(tree[kernel[0]][kernel[1]]) for tree in (before, state.params, state.ema)
    )
    assert 0 < np.abs(average - old).mean() < np.abs(new - old).mean()
    assert state.eval_variables()["params"] is state.ema


def test_dropout_depends_on_the_step_and_on_nothing_else(batch):
    state, step = start(**{"model.dropout": 0.5})
    _, a = step(state, batch)
    _, b = step(state, batch)
    _, later = step(state.replace(step=state.step + 1), batch)
    assert mean_loss(a) == mean_loss(b) != mean_loss(later)


def test_named_keys_differ_by_name_step_and_seed():
    keys = [train.named_key(*args) for args in ((0, "a", 0), (0, "b", 0), (0, "a", 1), (1, "a", 0))]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 4


@pytest.mark.parametrize("name", ["adadelta", "adam", "adamw", "lion", "rmsprop", "sgd"])
def test_every_optimizer_moves_the_weights(name):
    from crnn_jax import optim

    config = small_config(**{"optimizer.name": name})
    tx = optim.create_optimizer(config, optim.create_learning_rate_fn(config, 2, 10))
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    assert all((np.asarray(u) < 0).all() for u in jax.tree.leaves(updates))


def test_weight_decay_spares_biases():
    from crnn_jax import optim

    config = small_config(**{"optimizer.weight_decay": 0.1})
    tx = optim.create_optimizer(config, lambda step: 1.0)
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_learning_rate_warms_up_and_decays():
    from crnn_jax import optim

    rate = optim.create_learning_rate_fn(small_config(**{"optimizer.learning_rate": 1.0}), 4, 20)
    values = [float(rate(step)) for step in range(21)]
    np.testing.assert_allclose(values[:4], [0.25, 0.5, 0.75, 1.0])
    assert values[4] == 1.0
    assert all(a > b for a, b in itertools.pairwise(values[4:]))
    assert values[20] == pytest.approx(0, abs=1e-6)
    constant = small_config(schedule="constant", **{"optimizer.learning_rate": 1.0})
    assert float(optim.create_learning_rate_fn(constant, 0, 20)(19)) == 1.0


def test_a_run_leaves_what_it_promises(tmp_path):
    config = small_config(total_steps=4, eval_every_steps=2, log_every_steps=2)
    state, summary = train.train_and_evaluate(config, tmp_path)
    assert int(state.step) == 4
    assert set(summary) == {"step", "seconds", "images_per_second", "parameters", "eval"}
    assert summary["parameters"] == sum(p.size for p in jax.tree.leaves(state.params))
    (scores,) = summary["eval"].values()
    assert set(scores) == {"count", "word_accuracy", "cer", "one_minus_ned"}
    assert scores["count"] == 16
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 2, 4, 4]
    assert {"loss", "grad_norm", "learning_rate", "images_per_second"} <= set(lines[0])
    run = json.loads((tmp_path / "run.json").read_text())
    assert {"commit", "command", "versions", "device", "data"} <= set(run)
    assert config_lib.flatten(config_lib.load(tmp_path / "config.json")) == (
        config_lib.flatten(config)
    )
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "rendered_words_00000002.png",
        "rendered_words_00000004.png",
    ]
    assert list((tmp_path / "tensorboard").iterdir())
    # The best checkpoint is what is loaded, and reads as the final state did.
    recognizer = Recognizer.load(tmp_path)
    assert recognizer.charset.num_classes == 63
    assert len(recognizer.read([np.zeros((40, 90), np.uint8)])) == 1


def test_host_data_of_every_fit_trains(tmp_path):
    """Real widths in buckets, the paper's network: the same loop."""
    config = small_config(
        **{
            "data.fit": "keep",
            "data.max_width": 96,
            "data.buckets": 2,
            "model.encoder": "vgg",
            "loss": "mean_per_character",
            "data.train": "tfds:rendered_words/tiny/train::limit=32",
            "total_steps": 3,
            "eval_every_steps": 3,
        }
    )
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["step"] == 3


@pytest.mark.slow
def test_trained_logits_depend_on_neither_neighbours_nor_padding(tmp_path):
    """As `test_models` checks at random weights, here after training, on word images."""
    config = small_config(
        **{
            "data.fit": "keep",
            "data.max_width": 256,
            "data.buckets": 3,
            "batch_size": 16,
            "model.hidden": 48,
            "total_steps": 300,
            "eval_every_steps": 300,
        }
    )
    train.train_and_evaluate(config, tmp_path)
    recognizer = Recognizer.load(tmp_path)
    source = open_source("tfds:rendered_words/tiny/test")
    images = [recognizer.preprocess(source.image_bytes(i)) for i in range(16)]
    widths = np.array([image.shape[1] for image in images], np.int32)
    assert len(set(widths)) > 8
    pixels = np.full((16, 32, 320, 1), 77, np.uint8)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1]] = image
    apply = jax.jit(lambda x, w: recognizer.model.apply(recognizer.variables, x, w)[0])
    together, wider = apply(pixels[:, :, :256], widths), apply(pixels, widths)
    for row in (0, int(widths.argmin()), int(widths.argmax())):
        n = models.num_frames("tiny", int(widths[row]))
        alone = np.asarray(apply(pixels[row : row + 1, :, : widths[row]], widths[row : row + 1]))
        tolerance = 1e-5 * max(1.0, np.abs(alone).max())
        for logits in (together, wider):
            np.testing.assert_allclose(logits[row, :n], alone[0], rtol=0, atol=tolerance)
