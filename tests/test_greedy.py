from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import collapse, string_probabilities

from crnn_jax.decode.greedy import best_path, greedy

read_and_score = jax.jit(greedy)
read = functools.partial(jax.jit, static_argnames="blank_id")(best_path)


@pytest.mark.parametrize("blank", [0, 2, 4])
def test_best_path_merges_repeats_then_removes_blanks(blank):
    rng = np.random.default_rng(blank)
    batch, steps, classes = 400, 12, 5
    # Few classes and many blanks: runs, repeats across a blank and empty strings all occur.
    often = np.full(classes, 0.15)
    often[blank] = 0.4
    path = rng.choice(classes, (batch, steps), p=often)
    frames = rng.integers(0, steps + 1, batch).astype(np.int32)
    logits = rng.normal(size=(batch, steps, classes)).astype(np.float32)
    np.put_along_axis(logits, path[:, :, None], 9, axis=2)

    ids, lengths = read(jnp.asarray(logits), jnp.asarray(frames), blank_id=blank)
    expected = [collapse(p[:n], blank) for p, n in zip(path, frames, strict=True)]
    assert lengths.tolist() == [len(string) for string in expected]
    assert [tuple(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True)] == expected
    assert all(not any(row[n:]) for row, n in zip(ids.tolist(), lengths, strict=True))
    assert ids.shape == (batch, steps)
    assert {0, 1} < set(lengths.tolist())


def test_no_frames_read_as_nothing_with_certainty():
    decoded = read_and_score(jnp.full((8, 6, 4), jnp.nan), jnp.zeros(8, jnp.int32))
    assert decoded.lengths.tolist() == [0] * 8
    assert decoded.log_probability.tolist() == [0] * 8


def test_padding_is_not_read():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(8, 6, 4)).astype(np.float32)
    frames = jnp.asarray([6, 5, 4, 3, 2, 1, 0, 3])
    beyond = np.arange(6)[None, :] >= np.asarray(frames)[:, None]
    clean = read_and_score(jnp.asarray(logits), frames)
    for garbage in (np.nan, 50.0):
        spoilt = np.where(beyond[:, :, None], [garbage, 0, 0, 7], logits).astype(np.float32)
        for a, b in zip(read_and_score(jnp.asarray(spoilt), frames), clean, strict=True):
            np.testing.assert_array_equal(a, b)


def test_confidence_is_the_posterior_of_the_string():
    rng = np.random.default_rng(2)
    batch, steps, classes = 60, 5, 3
    logits = rng.normal(scale=2, size=(batch, steps, classes)).astype(np.float32)
    frames = rng.integers(0, steps + 1, batch).astype(np.int32)
    decoded = read_and_score(jnp.asarray(logits), jnp.asarray(frames))
    best = 0
    for row in range(batch):
        string = tuple(decoded.ids[row, : decoded.lengths[row]].tolist())
        p = string_probabilities(logits[row, : frames[row]])
        assert np.exp(decoded.log_probability[row]) == pytest.approx(p[string], rel=1e-5)
        best += string == max(p, key=p.get)
    assert best < batch  # the best path is not always the best string: a score of paths would show
