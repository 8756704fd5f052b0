"""Posteriors of characters against every path of tiny cases."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import string_probabilities
from jitted import character_posteriors as posteriors


def by_definition(p, string, classes):
    """What could stand in place of each character, written out."""
    found = []
    for i in range(len(string)):
        rivals = [(*string[:i], c, *string[i + 1 :]) for c in range(1, classes)]
        rivals.append((*string[:i], *string[i + 1 :]))
        found.append(p[string] / sum(p.get(rival, 0.0) for rival in rivals))
    return found


@pytest.mark.parametrize(("classes", "steps"), [(3, 6), (4, 5)])
def test_equals_the_sum_over_every_rival(classes, steps):
    rng = np.random.default_rng(classes)
    checked = 0
    for case in range(12):
        frames = 1 + case % steps
        logits = rng.normal(scale=2, size=(steps, classes)).astype(np.float32)
        logits[frames:] = np.nan
        p = string_probabilities(logits[:frames])
        strings = [string for string in p if string]
        labels = np.zeros((len(strings), steps), np.int32)
        for row, string in enumerate(strings):
            labels[row, : len(string)] = string
        lengths = np.array([len(string) for string in strings], np.int32)
        rows = jnp.broadcast_to(logits, (len(strings), steps, classes))
        found = np.asarray(posteriors(rows, jnp.full(len(strings), frames), labels, lengths))
        for row, string in enumerate(strings):
            expected = by_definition(p, string, classes)
            np.testing.assert_allclose(found[row, : len(string)], expected, rtol=2e-4)
            assert (found[row, len(string) :] == 0).all()
            checked += len(string)
    assert checked > 500


def test_a_certain_text_has_certain_characters_and_a_doubtful_one_stands_out():
    logits = np.full((1, 6, 4), -20.0, np.float32)
    for t, k in enumerate((1, 0, 2, 0, 3, 0)):
        logits[0, t, k] = 0.0
    logits[0, 2, 1] = -0.5  # the second character may be another
    labels, lengths = np.array([[1, 2, 3]]), np.array([3])
    found = np.asarray(posteriors(logits, np.array([6]), labels, lengths))[0]
    assert found[0] > 0.999
    assert found[2] > 0.999
    assert found[1] == pytest.approx(1 / (1 + np.exp(-0.5)), rel=1e-3)


def test_a_text_that_does_not_fit_and_one_that_is_empty_have_none():
    logits = np.zeros((2, 3, 3), np.float32)
    labels, lengths = np.array([[1, 1, 2], [0, 0, 0]]), np.array([3, 0])
    found = np.asarray(posteriors(logits, np.array([3, 3]), labels, lengths))
    assert (found == 0).all()


def test_a_long_unlikely_text_stays_finite():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=20, size=(1, 200, 40)).astype(np.float32)
    labels = rng.integers(1, 40, (1, 60)).astype(np.int32)
    found = np.asarray(posteriors(logits, np.array([200]), labels, np.array([60])))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= 1 + 1e-6).all()
