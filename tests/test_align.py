"""Forced alignment against every path of tiny cases."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import collapse
from jitted import align

STEPS, CLASSES, COLUMNS = 5, 3, 3


def cases(count: int):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, STEPS, CLASSES)).astype(np.float32) * 2
    frames = rng.integers(1, STEPS + 1, count).astype(np.int32)
    labels = rng.integers(1, CLASSES, (count, COLUMNS)).astype(np.int32)
    lengths = rng.integers(0, COLUMNS + 1, count).astype(np.int32)
    return logits, frames, labels, lengths


def best_path(logits, frames, label):
    """The most likely path of a label, and its log-probability; None where there is none."""
    log_probs = np.asarray(jax.nn.log_softmax(logits[:frames]))
    paths = [
        path
        for path in itertools.product(range(CLASSES), repeat=int(frames))
        if collapse(path) == tuple(label)
    ]
    scored = [(sum(log_probs[t, k] for t, k in enumerate(path)), path) for path in paths]
    return max(scored) if scored else None


def test_the_best_path_of_every_path():
    logits, frames, labels, lengths = cases(200)
    found = align(logits, frames, labels, lengths)
    seen = 0
    for i in range(len(logits)):
        label = labels[i, : lengths[i]].tolist()
        wanted = best_path(logits[i], frames[i], label)
        assert (found.first[i, lengths[i] :] == -1).all()
        if wanted is None:
            assert found.log_probability[i] == -np.inf
            assert (found.first[i] == -1).all()
            continue
        seen += 1
        assert found.log_probability[i] == pytest.approx(wanted[0], abs=1e-4)
        # The frames of each character, one after another, are the runs of the path.
        runs = [
            (next(run)[0], key)
            for key, run in itertools.groupby(enumerate(wanted[1]), key=lambda item: item[1])
        ]
        firsts = [start for start, key in runs if key]
        assert found.first[i, : lengths[i]].tolist() == firsts
        for j in range(lengths[i]):
            first, last, peak = (int(x[i, j]) for x in (found.first, found.last, found.peak))
            assert wanted[1][first : last + 1] == (label[j],) * (last + 1 - first)
            emitted = np.asarray(jax.nn.log_softmax(logits[i]))[first : last + 1, label[j]]
            assert peak == first + int(emitted.argmax())
    assert seen > 100


def test_padding_has_no_influence():
    logits, frames, labels, lengths = cases(50)
    found = align(logits, frames, labels, lengths)
    wide = np.full((50, STEPS + 3, CLASSES), np.nan, np.float32)
    for i, n in enumerate(frames):
        wide[i, :n] = logits[i, :n]
    long = np.concatenate([labels, np.ones((50, 2), np.int32)], axis=1)
    padded = align(wide, frames, long, lengths)
    for a, b in zip(found[:3], padded[:3], strict=True):
        np.testing.assert_array_equal(a, b[:, :COLUMNS])
    np.testing.assert_allclose(found.log_probability, padded.log_probability, rtol=1e-6)


def test_a_certain_path_is_found():
    path = [0, 2, 2, 0, 2, 1, 1]
    logits = jnp.asarray(np.eye(3, dtype=np.float32)[path] * 20)[None]
    found = align(logits, jnp.array([7]), jnp.array([[2, 2, 1]]), jnp.array([3]))
    assert found.first[0].tolist() == [1, 4, 5]
    assert found.last[0].tolist() == [2, 4, 6]
    assert float(found.log_probability[0]) > -1e-3


def test_no_frame_at_all():
    found = align(np.zeros((1, 4, 3), np.float32), np.array([0]), np.array([[1]]), np.array([1]))
    assert found.first.tolist() == [[-1]]
    assert found.log_probability[0] == -np.inf
