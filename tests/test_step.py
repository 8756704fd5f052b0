"""The training step."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from crnn_jax import train, types
from crnn_jax.keys import named_key
from crnn_jax.models.crnn import AUXILIARY
from crnn_jax.models.encoders import num_frames
from crnn_jax.step import fold, report

CLASSES = 7


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
    quick = {"xla_backend_optimization_level": 0}  # to compile; it runs a few times alone

    def step(state, batch):
        state = train.train_step(state, batch, model=model, tx=tx, config=config)
        return state, report(state)

    return state, jax.jit(step, compiler_options=quick)


def mean_loss(sums) -> float:
    return float(sums["loss"] / sums["loss_weight"])


@pytest.mark.slow
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
    assert num_frames("tiny", 16) < 8
    labels = np.tile(np.array([1, 2], np.int32), (4, 4))
    widths = np.array([16, 64, 64, 64], np.int32)
    lengths = np.array([8, 1, 1, 1], np.int32)
    _, sums = step(state, batch._replace(labels=labels, label_lengths=lengths, widths=widths))
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


def test_ema_follows_the_weights_and_their_statistics(batch):
    state, step = start()
    first = {"params": state.params, "batch_stats": state.batch_stats}
    expected = first
    for t in range(5):
        state, _ = step(state, batch)
        latest = {"params": state.params, "batch_stats": state.batch_stats}
        decay = min(0.9, (1 + t) / (10 + t))
        expected = jax.tree.map(lambda e, x, d=decay: d * e + (1 - d) * x, expected, latest)
    assert jax.tree.leaves(expected["batch_stats"])
    assert state.eval_variables() is state.ema
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.ema, expected)
    for a, b in zip(jax.tree.leaves(state.ema), jax.tree.leaves(latest), strict=True):
        assert not np.array_equal(a, b)


def test_dropout_depends_on_the_step_and_on_nothing_else(batch):
    state, step = start(**{"model.dropout": 0.5})
    _, a = step(state, batch)
    _, b = step(state, batch)
    _, later = step(state.replace(step=state.step + 1), batch)
    assert mean_loss(a) == mean_loss(b) != mean_loss(later)


@pytest.mark.slow
def test_a_second_loss_before_the_recurrence_moves_the_encoder_alone(batch):
    plain = {"optimizer.name": "sgd", "clip_norm": 0.0}
    states, sums = {}, {}
    for weight in (0.0, 0.5):
        state, step = start(**plain, **{"model.auxiliary": weight})
        states[weight], sums[weight] = step(state, batch)
    without, with_it = (states[weight].params for weight in (0.0, 0.5))
    assert set(with_it) - set(without) == {AUXILIARY}
    assert mean_loss(sums[0.0]) == pytest.approx(mean_loss(sums[0.5]))  # what is told is the first
    for name in ("classifier", "recurrent_1"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), without[name], with_it[name]
        )
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), without["encoder"], with_it["encoder"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-5


def test_named_keys_differ_by_name_step_and_seed():
    keys = [named_key(*args) for args in ((0, "a", 0), (0, "b", 0), (0, "a", 1), (1, "a", 0))]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 4


def test_fold_goes_over_the_parts():
    parts = jnp.arange(6.0).reshape(3, 2)
    total = fold(lambda carry, part: carry * 2 + part[0] * part[1], jnp.zeros(2), parts, 3)
    np.testing.assert_array_equal(total, [2 * (2 * 0 + 2 * 1) + 4 * 2, 2 * (2 * 0 + 3 * 1) + 5 * 2])
    one = fold(lambda carry, part: carry + part[0], jnp.zeros(2), parts[:1], 1)
    np.testing.assert_array_equal(one, parts[0])


@pytest.mark.slow
def test_accumulated_parts_give_the_gradient_of_the_batch(batch):
    """With batch statistics out of the way, parts sum to the whole; rows weigh the same."""
    uneven = batch._replace(widths=np.array([64, 0, 64, 64], np.int32))
    steps = {}
    for parts in (1, 2, 3, 4):
        config = small_config(**{"accumulate": parts, "optimizer.name": "sgd"})
        model, tx, _ = train.build(config, CLASSES, warmup=1, total=50)
        model = model.clone(encoder=without_norms(model.encoder))
        state = jax.jit(lambda c=config, m=model, t=tx: train.create_train_state(c, m, t))()
        steps[parts] = jax.jit(
            functools.partial(train.train_step, model=model, tx=tx, config=config)
        )(state, uneven)
        assert float(steps[parts].sums["rows"]) == 3
    for parts in (2, 3, 4):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
            steps[1].params,
            steps[parts].params,
        )


def test_parts_may_be_of_unequal_size(batch):
    config = small_config(accumulate=3)
    model, tx, _ = train.build(config, CLASSES, warmup=1, total=50)
    state = jax.eval_shape(lambda: train.create_train_state(config, model, tx))
    step = functools.partial(train.train_step, model=model, tx=tx, config=config)
    assert jax.eval_shape(step, state, batch).step.shape == ()


def without_norms(layers):
    return tuple(
        dataclasses.replace(layer, norm=False, bias=True)
        if getattr(layer, "norm", False)
        else layer
        for layer in layers
    )
