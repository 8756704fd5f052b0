"""Optimizers, schedules and groups of parameters."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from crnn_jax import optim
from crnn_jax.errors import UserError

RATE, FIRST, SECOND = 0.5, 2.0, -1.0  # two steps of one weight, which begins at 1
KNOBS = {"rho": 0.7, "epsilon": 0.01, "beta1": 0.6, "beta2": 0.8, "momentum": 0.3}


def adadelta() -> list[float]:
    """Zeiler, 2012, algorithm 1."""
    squares = moves = 0.0
    updates = []
    for grad in (FIRST, SECOND):
        squares = 0.7 * squares + 0.3 * grad**2
        move = np.sqrt(moves + 0.01) / np.sqrt(squares + 0.01) * grad
        moves = 0.7 * moves + 0.3 * move**2
        updates.append(-RATE * move)
    return updates


def adam(decay: float = 0.0) -> list[float]:
    """Kingma and Ba, 2015, algorithm 1; with decay Loshchilov and Hutter, 2019, algorithm 2."""
    mean = square = 0.0
    weight, updates = 1.0, []
    for step, grad in enumerate((FIRST, SECOND), 1):
        mean, square = 0.6 * mean + 0.4 * grad, 0.8 * square + 0.2 * grad**2
        move = mean / (1 - 0.6**step) / (np.sqrt(square / (1 - 0.8**step)) + 0.01)
        updates.append(-RATE * (move + decay * weight))
        weight += updates[-1]
    return updates


def lion(decay: float = 0.1) -> list[float]:
    """Chen et al., 2023, algorithm 2."""
    mean, weight, updates = 0.0, 1.0, []
    for grad in (FIRST, SECOND):
        move = np.sign(0.6 * mean + 0.4 * grad)
        updates.append(-RATE * (move + decay * weight))
        mean = 0.8 * mean + 0.2 * grad
        weight += updates[-1]
    return updates


def rmsprop() -> list[float]:
    """Hinton, 2012, lecture 6e; momentum as in Graves, 2013."""
    square = trace = 0.0
    updates = []
    for grad in (FIRST, SECOND):
        square = 0.7 * square + 0.3 * grad**2
        trace = 0.3 * trace - RATE * grad / np.sqrt(square + 0.01)
        updates.append(trace)
    return updates


def sgd() -> list[float]:
    """Sutskever et al., 2013, with Nesterov's momentum."""
    trace, updates = 0.0, []
    for grad in (FIRST, SECOND):
        trace = grad + 0.3 * trace
        updates.append(-RATE * (grad + 0.3 * trace))
    return updates


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adadelta", adadelta()),
        ("adam", adam()),
        ("adamw", adam(decay=0.1)),
        ("lion", lion()),
        ("rmsprop", rmsprop()),
        ("sgd", sgd()),
    ],
)
def test_every_optimizer_takes_the_steps_of_its_source(name, expected):
    knobs = {f"optimizer.{key}": value for key, value in KNOBS.items()}
    config = small_config(
        clip_norm=0.0, **knobs, **{"optimizer.name": name, "optimizer.weight_decay": 0.1}
    )
    tx = optim.create_optimizer(config, lambda step: RATE)
    params = {"kernel": jnp.ones(1)}
    state, found = tx.init(params), []
    for grad in (FIRST, SECOND):
        updates, state = tx.update({"kernel": jnp.full(1, grad)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found.append(float(updates["kernel"][0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_every_optimizer_is_tested():
    assert set(optim.OPTIMIZERS) == {"adadelta", "adam", "adamw", "lion", "rmsprop", "sgd"}


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_weight_decay_spares_biases(name):
    config = small_config(**{"optimizer.name": name, "optimizer.weight_decay": 0.1})
    tx = optim.create_optimizer(config, lambda step: 1.0)
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_learning_rate_warms_up_and_decays():
    rate = optim.create_learning_rate_fn(small_config(**{"optimizer.learning_rate": 1.0}), 4, 20)
    values = [float(rate(step)) for step in range(21)]
    np.testing.assert_allclose(values[:4], [0.25, 0.5, 0.75, 1.0])
    assert values[4] == 1.0
    assert all(a > b for a, b in itertools.pairwise(values[4:]))
    assert values[20] == pytest.approx(0, abs=1e-6)
    constant = small_config(schedule="constant", **{"optimizer.learning_rate": 1.0})
    assert float(optim.create_learning_rate_fn(constant, 0, 20)(19)) == 1.0


def rates(warmup: int, total: int, **overrides) -> np.ndarray:
    config = small_config(**{"optimizer.learning_rate": 1.0, **overrides})
    rate = optim.create_learning_rate_fn(config, warmup, total)
    return np.array([float(rate(step)) for step in range(total + 1)])


def test_one_cycle_rises_and_falls_along_cosines():
    values = rates(10, 40, schedule="one_cycle")
    assert values[0] == pytest.approx(1 / 25)
    assert values[10] == pytest.approx(1)
    assert (np.diff(values[:11]) > 0).all()
    assert (np.diff(values[10:]) < 0).all()
    assert values[40] == pytest.approx(1e-4)
    assert values[5] == pytest.approx((1 + 1 / 25) / 2)


def test_steps_come_after_equal_parts_of_the_run():
    values = rates(0, 40, schedule="step", step_percent=25.0, step_factor=0.5)
    np.testing.assert_allclose(
        values[[0, 9, 10, 19, 20, 30, 39]], [1, 1, 0.5, 0.5, 0.25, 0.125, 0.125]
    )


PARAMS = {
    "encoder": {"conv_1": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}},
    "classifier": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
}


def moved(groups: str, **overrides) -> dict:
    config = small_config(
        **{"optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.groups": groups},
        **overrides,
    )
    tx = optim.create_optimizer(config, lambda step: 1.0)
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    return tx.update(grads, tx.init(PARAMS), PARAMS)[0]


def test_groups_have_rates_of_their_own_and_the_first_match_counts():
    updates = moved("encoder/.*bias=0 encoder=0.1 classifier/bias=2", clip_norm=0.0)
    np.testing.assert_allclose(updates["encoder"]["conv_1"]["kernel"], -0.1)
    np.testing.assert_array_equal(updates["encoder"]["conv_1"]["bias"], 0)
    np.testing.assert_allclose(updates["classifier"]["kernel"], -1)
    np.testing.assert_allclose(updates["classifier"]["bias"], -2)


def test_frozen_parameters_do_not_count_in_the_clipped_norm():
    updates = moved("encoder=0", clip_norm=1.0)
    np.testing.assert_array_equal(updates["encoder"]["conv_1"]["kernel"], 0)
    np.testing.assert_allclose(updates["classifier"]["kernel"], -1 / np.sqrt(6), rtol=1e-6)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("encoder", "give REGEX=FACTOR"),
        ("enc(oder=1", "give REGEX=FACTOR"),
        ("encoder=fast", "give REGEX=FACTOR"),
        ("encoder=-1", "0 or above"),
        ("=1", "a regular expression"),
        ("decoder=1", "begin with classifier, encoder"),
    ],
)
def test_wrong_groups_are_user_errors(groups, message):
    with pytest.raises(UserError, match=message):
        moved(groups)
