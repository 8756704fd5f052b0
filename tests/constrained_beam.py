"""Automata and language models by definition: strings, one at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ctc_paths import string_probabilities
from jitted import search

from crnn_jax.decode.automaton import Automaton
from crnn_jax.decode.beam import BeamOptions

String = tuple[int, ...]


def every_string(classes: int, longest: int) -> list[String]:
    """All strings of class ids 1 to classes - 1, shortest first."""
    ids = range(1, classes)
    return [s for n in range(longest + 1) for s in itertools.product(ids, repeat=n)]


def accepted(automaton: Automaton, strings: list[String]) -> list[bool]:
    """Whether strings are allowed, read off the tables."""
    following, accepting, first = map(np.asarray, automaton)
    found = []
    for string in strings:
        state = first
        for id_ in string:
            state = following[state, id_]
        found.append(bool(accepting[state]))
    return found


def padded(automaton: Automaton, states: int = 16) -> Automaton:
    """The same with states that nothing leads to: one shape, hence one program, for many tests."""
    more = states - automaton.following.shape[0]
    return Automaton(
        jnp.pad(automaton.following, ((0, more), (0, 0))),
        jnp.pad(automaton.accepting, (0, more)),
        automaton.first,
    )


def cases(seed: int, rows: int, steps: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, NaN beyond the frames, and how many frames there are: from 1 to all."""
    frames = 1 + np.arange(rows, dtype=np.int32) % steps
    logits = np.random.default_rng(seed).normal(scale=2.0, size=(rows, steps, classes))
    logits[np.arange(steps)[None, :] >= frames[:, None]] = np.nan
    return logits.astype(np.float32), frames


def check_search(
    logits: np.ndarray, frames: np.ndarray, model, score: Callable[[String], float]
) -> None:
    """A search that drops nothing finds what enumerating all strings finds, in that order.

    Args:
      logits: (B, T, K).
      frames: (B,).
      model: that the search asks.
      score: what it has to give each string; -inf forbids it.
    """
    width = 3 + max(len(string_probabilities(x[:n])) for x, n in zip(logits, frames, strict=True))
    options = BeamOptions(width, top=0, prune=math.inf, nbest=width)
    found = jax.device_get(search(logits, frames, options, model))
    for row, n in enumerate(frames):
        p = string_probabilities(logits[row, :n])
        expected = {s: math.log(v) + score(s) for s, v in p.items() if score(s) > -math.inf}
        got = {
            tuple(found.ids[row, i, : found.lengths[row, i]].tolist()): i
            for i in range(width)
            if found.score[row, i] > -np.inf
        }
        assert got.keys() == expected.keys()
        scores = [found.score[row, i] for i in got.values()]
        np.testing.assert_allclose(scores, [expected[s] for s in got], atol=3e-5)
        assert scores == sorted(scores, reverse=True)
        exact = [found.log_probability[row, i] for i in got.values()]
        np.testing.assert_allclose(exact, [math.log(p[s]) for s in got], atol=3e-5)
        assert np.all(np.isneginf(found.score[row, len(got) :]))
