from __future__ import annotations

import jax
import numpy as np
import pytest
from jitted import string_log_probability

from crnn_jax.ctc.forward import string_log_probabilities

scores_of = jax.jit(string_log_probabilities)


@pytest.mark.parametrize("scale", [2.0, 60.0])  # products of the second underflow
def test_scores_are_those_of_one_string_at_a_time(scale):
    rng = np.random.default_rng(4)
    rows, steps, number = 12, 20, 6
    frames = 1 + np.arange(rows, dtype=np.int32) % steps
    logits = rng.normal(scale=scale, size=(rows, steps, 5)).astype(np.float32)
    logits[np.arange(steps)[None, :] >= frames[:, None]] = np.nan
    strings = rng.integers(1, 5, (rows, number, steps)).astype(np.int32)
    lengths = rng.integers(0, 9, (rows, number)).astype(np.int32)
    lengths[0, 0], lengths[3, 1] = steps, 12
    found = np.asarray(scores_of(logits, frames, strings, lengths))
    for n in range(number):
        expected = string_log_probability(logits, frames, strings[:, n], lengths[:, n])
        np.testing.assert_allclose(found[:, n], expected, rtol=1e-5, atol=1e-5)
    assert (found.min(where=np.isfinite(found), initial=0) < -100) == (scale > 2)
    assert np.any(found == -np.inf)

    for row in (1, 11):  # the same alone
        one = slice(row, row + 1)
        alone = scores_of(logits[one], frames[one], strings[one], lengths[one])
        np.testing.assert_allclose(alone, found[one], rtol=1e-5, atol=1e-6)
    wanted = rng.random((rows, number)) < 0.5
    some = scores_of(logits, frames, strings, lengths, wanted)
    np.testing.assert_array_equal(some, np.where(wanted, found, -np.inf))
