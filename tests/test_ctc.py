from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import collapse, string_probabilities
from jitted import string_log_probability as log_probability

from crnn_jax.ctc.loss import (
    check_labels,
    ctc_loss,
    frames_needed,
    loss_and_weight,
)
from crnn_jax.errors import UserError

T, K, L = 5, 4, 5  # of the enumerated cases


@functools.partial(jax.jit, static_argnames="blank_id")
def loss(logits, frames, labels, lengths, blank_id=0):
    return ctc_loss(logits, frames, labels, lengths, blank_id)


@functools.partial(jax.jit, static_argnames="blank_id")
def gradient(logits, frames, labels, lengths, blank_id=0):
    def total(logits):
        return jnp.sum(ctc_loss(logits, frames, labels, lengths, blank_id)[0])

    return jax.grad(total)(logits)


def pad(strings, columns=L, fill=0):
    labels = np.full((len(strings), columns), fill, np.int32)
    for row, string in enumerate(strings):
        labels[row, : len(string)] = string
    return jnp.asarray(labels), jnp.asarray([len(s) for s in strings], jnp.int32)


def random_logits(seed, *shape, scale=2.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def every_string(blank=0):
    """All 364 strings of up to five characters, the empty one first."""
    alphabet = [k for k in range(K) if k != blank]
    return [s for n in range(L + 1) for s in itertools.product(alphabet, repeat=n)]


def same_image(logits, frames, rows, padding=np.nan):
    """The same frames for every row, and what is beyond them."""
    logits = np.where(np.arange(T)[:, None] < frames, logits, padding).astype(np.float32)
    return jnp.asarray(np.broadcast_to(logits, (rows, T, K))), jnp.full(rows, frames)


def test_frames_needed_counts_a_blank_between_repeats():
    strings = [(), (2,), (1, 2), (1, 1), (1, 2, 1), (2, 2, 2), (3, 3, 1, 1, 1)]
    needed = frames_needed(*pad(strings, fill=1))  # what pads a label does not count
    assert needed.tolist() == [0, 1, 2, 3, 3, 5, 8]


# The loss


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("frames", range(T + 1))
def test_loss_is_the_sum_over_all_paths(frames, blank):
    strings = every_string(blank)
    logits = random_logits(frames, T, K)
    p = string_probabilities(logits[:frames], blank)
    losses, feasible = loss(
        *same_image(logits, frames, len(strings)), *pad(strings, fill=1), blank_id=blank
    )
    assert np.asarray(feasible).tolist() == [len(s) > 0 and s in p for s in strings]
    expected = [-math.log(p[s]) if len(s) and s in p else 0.0 for s in strings]
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("blank", [0, 3])
def test_gradient_is_that_of_the_sum_over_all_paths(blank):
    """Against central differences of the enumerated loss in float64."""
    a, b, c = (k for k in range(K) if k != blank)
    rows = [((a,), 5), ((a, a), 5), ((b, b, a), 4), ((c, a, b), 3), ((a, b, a, b), 5), ((c, c), 3)]
    logits = random_logits(1, len(rows), T, K)
    labels, lengths = pad([string for string, _ in rows])
    frames = jnp.asarray([n for _, n in rows])
    expected = np.zeros(logits.shape)
    h = 1e-4
    for row, (string, n) in enumerate(rows):
        for t, k in itertools.product(range(n), range(K)):
            moved = []
            for sign in (1, -1):
                x = logits[row, :n].astype(np.float64)
                x[t, k] += sign * h
                moved.append(-math.log(string_probabilities(x, blank)[string]))
            expected[row, t, k] = (moved[0] - moved[1]) / (2 * h)
    found = gradient(jnp.asarray(logits), frames, labels, lengths, blank_id=blank)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    beyond = np.arange(T)[None, :] >= np.asarray(frames)[:, None]
    assert np.all(np.asarray(found)[beyond] == 0)


def masked_batch():
    """Rows of which 1 (too few frames), 3 (no label) and 5 (no frames) cannot be learnt from."""
    labels, lengths = pad([(1, 2), (1, 1, 1), (3,), (), (2, 2), (1,)])
    frames = jnp.asarray([5, 4, 3, 5, 3, 0])
    return jnp.asarray(random_logits(2, 6, T, K)), frames, labels, lengths


def test_rows_that_cannot_be_learnt_from_add_nothing():
    batch = masked_batch()
    losses, feasible = loss(*batch)
    assert feasible.tolist() == [True, False, True, False, True, False]
    bad = ~np.asarray(feasible)
    assert np.all(np.asarray(losses)[bad] == 0)
    assert np.all(np.asarray(losses)[~bad] > 0)
    found = np.asarray(gradient(*batch))
    assert np.all(found[bad] == 0)
    assert np.all(np.abs(found[~bad]).sum(axis=(1, 2)) > 0)

    # The other rows do not notice: the same bits beside rows that can be learnt from.
    logits, frames, labels, lengths = batch
    good = logits, jnp.where(bad, 5, frames), labels.at[:, 0].set(3), jnp.where(bad, 1, lengths)
    good = (*good[:2], jnp.where(bad[:, None], good[2], labels), good[3])
    losses_beside_good, all_feasible = loss(*good)
    assert all_feasible.all()
    np.testing.assert_array_equal(losses_beside_good[~bad], losses[~bad])
    np.testing.assert_array_equal(gradient(*good)[~bad], found[~bad])


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_padding_and_masked_rows_do_not_leak(garbage):
    logits, frames, labels, lengths = masked_batch()
    losses, feasible = loss(logits, frames, labels, lengths)
    real = (jnp.arange(T)[None, :] < frames[:, None]) & feasible[:, None]
    spoilt = jnp.where(real[:, :, None], logits, garbage)
    np.testing.assert_array_equal(loss(spoilt, frames, labels, lengths)[0], losses)
    np.testing.assert_array_equal(
        gradient(spoilt, frames, labels, lengths), gradient(logits, frames, labels, lengths)
    )


def test_label_padding_is_not_read():
    logits, frames, labels, lengths = masked_batch()
    padding = jnp.arange(L)[None, :] >= lengths[:, None]
    losses, _ = loss(logits, frames, labels, lengths)
    for fill in (1, -7, 99):
        spoilt = jnp.where(padding, fill, labels)
        np.testing.assert_array_equal(loss(logits, frames, spoilt, lengths)[0], losses)


def test_certain_readings_never_cost_less_than_nothing():
    rng = np.random.default_rng(3)
    batch, frames, classes = 256, 26, 37
    path = rng.integers(0, classes, (batch, frames))
    logits = np.eye(classes, dtype=np.float32)[path] * rng.choice([10, 20, 40, 100], (batch, 1, 1))
    labels, lengths = pad([collapse(p) for p in path], columns=frames)
    losses, feasible = loss(
        jnp.asarray(logits, jnp.float32), jnp.full(batch, frames), labels, lengths
    )
    assert feasible.all()
    assert losses.min() >= 0
    assert losses.min() < 1e-3


def test_reduced_precision_is_left_at_once():
    logits, frames, labels, lengths = masked_batch()
    low = logits.astype(jnp.bfloat16)
    losses, _ = loss(low, frames, labels, lengths)
    assert losses.dtype == jnp.float32
    np.testing.assert_array_equal(losses, loss(low.astype(jnp.float32), frames, labels, lengths)[0])


def test_infeasible_is_not_known_by_its_size():
    """Hard rows are feasible: a certain and wrong network gets its whole loss and a gradient."""
    logits = jnp.zeros((6, T, K)).at[:, :, 0].set(1e4)
    batch = logits, jnp.asarray([T] * 6), *pad([(1, 2, 3)] * 6)
    losses, feasible = loss(*batch)
    assert feasible.all()
    np.testing.assert_allclose(losses, 3e4 - math.log(math.comb(T, 3)), rtol=1e-6)
    assert np.abs(gradient(*batch)).sum() > 1


# What the losses are divided by


def test_normalisations():
    losses = jnp.asarray([2.0, 0.0, 4.0])
    feasible = jnp.asarray([True, False, True])
    lengths = jnp.asarray([3, 9, 1])
    total, rows = loss_and_weight(losses, feasible, lengths, "mean_per_sample")
    assert (total, rows) == (6, 2)
    total, characters = loss_and_weight(losses, feasible, lengths, "mean_per_character")
    assert (total, characters) == (6, 4)
    total, rows = loss_and_weight(losses, feasible, lengths, "mean_of_means")
    assert total == pytest.approx(2 / 3 + 4)
    assert rows == 2
    with pytest.raises(UserError, match=r"mean_per_char'.*did you mean 'mean_per_character'"):
        loss_and_weight(losses, feasible, lengths, "mean_per_char")


# Labels


def test_labels_that_are_no_characters_are_refused():
    labels = np.array([[1, 2, 3], [3, 0, 0], [2, 2, 9]], np.int32)
    lengths = np.array([3, 1, 2], np.int32)
    check_labels(labels, lengths, num_classes=4)  # what pads a label is no matter
    with pytest.raises(UserError, match=r"label id 0 in row 1, position 1: ids are 1 to 3"):
        check_labels(labels, np.array([3, 2, 2], np.int32), num_classes=4)
    with pytest.raises(UserError, match=r"label id 9 in row 2, position 2: ids are 1 to 3"):
        check_labels(labels, np.array([3, 1, 3], np.int32), num_classes=4)
    with pytest.raises(UserError, match=r"label id 3 in row 0, position 2: ids are 1 to 2"):
        check_labels(labels, lengths, num_classes=3)
    with pytest.raises(UserError, match=r"label id -1 in row 0, position 0"):
        check_labels(np.full((1, 1), -1, np.int32), np.ones(1, np.int32), num_classes=4)


# The probability of a string


@pytest.mark.parametrize("frames", range(T + 1))
def test_string_probabilities_are_exact_and_sum_to_one(frames):
    strings = every_string()
    logits = random_logits(10 + frames, T, K)
    p = string_probabilities(logits[:frames])
    found = log_probability(*same_image(logits, frames, len(strings)), *pad(strings))
    expected = [math.log(p[s]) if s in p else -math.inf for s in strings]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


def test_string_probability_of_reduced_precision():
    strings = every_string()
    logits, frames = same_image(random_logits(4, T, K), T, len(strings))
    low = logits.astype(jnp.bfloat16)
    np.testing.assert_array_equal(
        log_probability(low, frames, *pad(strings)),
        log_probability(low.astype(jnp.float32), frames, *pad(strings)),
    )


# PyTorch


def torch_losses(torch, logits, frames, labels, lengths, blank, reduction="none"):
    x = torch.tensor(np.asarray(logits), requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.asarray(labels), dtype=torch.long),
        torch.tensor(np.asarray(frames), dtype=torch.long),
        torch.tensor(np.asarray(lengths), dtype=torch.long),
        blank=blank,
        reduction=reduction,
        zero_infinity=True,
    )
    losses.sum().backward()
    return losses.detach().numpy(), x.grad.numpy()


@pytest.mark.torch
@pytest.mark.parametrize("blank", [0, 4])
def test_parity_with_torch(blank):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    batch, steps, classes, columns = 16, 12, 7, 6
    alphabet = [k for k in range(classes) if k != blank]
    few = alphabet[:2]  # so that many neighbours repeat
    strings = [tuple(rng.choice(few if i % 2 else alphabet, 1 + i % columns)) for i in range(batch)]
    labels, lengths = pad(strings, columns, fill=alphabet[0])
    frames = jnp.asarray([steps if i < 4 else 2 + i % 11 for i in range(batch)])
    logits = random_logits(6, batch, steps, classes)

    losses, feasible = loss(jnp.asarray(logits), frames, labels, lengths, blank_id=blank)
    assert feasible.any()
    assert not feasible.all()
    expected, expected_gradient = torch_losses(torch, logits, frames, labels, lengths, blank)
    # torch's zero_infinity gives the rows that we call infeasible a loss of 0, too.
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        gradient(jnp.asarray(logits), frames, labels, lengths, blank_id=blank),
        expected_gradient,
        atol=2e-5,
    )


@pytest.mark.torch
def test_the_mean_of_means_is_the_mean_of_torch():
    torch = pytest.importorskip("torch")
    logits, frames = random_logits(8, 3, T, K), jnp.asarray([T] * 3)
    labels, lengths = pad([(1,), (1, 2, 3), (2, 1)])
    losses, feasible = loss(logits, frames, labels, lengths)
    total, weight = loss_and_weight(losses, feasible, lengths, "mean_of_means")
    expected, _ = torch_losses(torch, logits, frames, labels, lengths, 0, reduction="mean")
    np.testing.assert_allclose(total / weight, expected, rtol=1e-5)


@pytest.mark.torch
def test_the_empty_label_is_masked_where_torch_counts_it():
    """torch trains an empty label towards blanks alone; here a row without a label is no example.

    Its probability is still there to be asked for.
    """
    torch = pytest.importorskip("torch")
    logits, frames = random_logits(7, 6, T, K), jnp.arange(T + 1)
    labels, lengths = pad([()] * 6)
    expected, _ = torch_losses(torch, logits, frames, labels, lengths, blank=0)
    assert np.all(expected[1:] > 0)
    losses, feasible = loss(jnp.asarray(logits), frames, labels, lengths)
    assert losses.tolist() == [0] * 6
    assert feasible.tolist() == [False] * 6
    found = log_probability(jnp.asarray(logits), frames, labels, lengths)
    np.testing.assert_allclose(-found, expected, rtol=1e-5, atol=1e-6)


def test_no_device_rounds_the_products_of_the_loss():
    """Accelerators multiply float32 in fewer bits unless they are told not to, here and there."""
    labels, lengths = pad([[1, 2]])
    text = gradient.lower(jnp.zeros((1, T, K)), jnp.array([T]), labels, lengths).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 2  # forwards and backwards
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
