"""Automata: minimal ones, their tables, and what a beam search makes of them."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from constrained_beam import accepted, cases, check_search, every_string, padded
from jitted import search, string_score

from crnn_jax.automata.dfa import Dfa, explore, minimised, trimmed
from crnn_jax.automata.words import acyclic
from crnn_jax.decode import automaton as automaton_lib
from crnn_jax.decode.automaton import Automaton
from crnn_jax.decode.beam import BeamOptions
from crnn_jax.decode.language import LanguageModel
from crnn_jax.errors import UserError


def drawn(seed: int) -> Dfa:
    """A random automaton, with moves that lack, unreachable states and dead ends."""
    rng = np.random.default_rng(seed)
    states, labels = int(rng.integers(1, 12)), int(rng.integers(1, 4))
    moves = [
        {
            label: int(rng.integers(states))
            for label in range(labels)
            if rng.random() < rng.choice([0.4, 0.8, 1.0])
        }
        for _ in range(states)
    ]
    return Dfa(moves, (rng.random(states) < 0.4).tolist())


def language(dfa: Dfa, longest: int) -> frozenset[tuple[int, ...]]:
    strings = every_string(4, longest)  # labels and 1
    return frozenset(s for s in strings if dfa.accepts([i - 1 for i in s]))


def futures(dfa: Dfa) -> set[frozenset]:
    """What each prefix can be continued by, to be accepted: Myhill and Nerode count these."""
    longest = 6
    strings = every_string(4, longest)
    found = set()
    for state in range(len(dfa.moves)):
        walks = {(): state}
        for s in strings[1:]:
            if (before := walks.get(s[:-1])) is not None:
                target = dfa.moves[before].get(s[-1] - 1)
                if target is not None:
                    walks[s] = target
        found.add(frozenset(s for s, at in walks.items() if dfa.accepting[at]))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_minimised_is_the_smallest_of_the_same_language(seed):
    dfa = drawn(seed)
    small = minimised(dfa)
    assert language(small, 6) == language(dfa, 6)
    kept = trimmed(dfa)
    distinct = futures(kept)
    assert len(small.moves) == len(distinct)  # of 12 states any two differ within 6 characters here
    if any(language(dfa, 6)):
        assert frozenset() not in futures(small), "a state that leads nowhere"
    again = minimised(small)
    assert again == small


def test_trimming_keeps_the_start():
    assert trimmed(Dfa([{0: 1}, {0: 1}], [False, False])) == Dfa([{}], [False])
    assert minimised(Dfa([{0: 1}, {}], [True, False])) == Dfa([{}], [True])
    assert trimmed(Dfa([{0: 2}, {0: 2}, {}], [False, True, True])) == Dfa(
        [{0: 1}, {}], [False, True]
    )


def test_long_chains_are_minimised_in_time():
    chain = 20_000
    moves = [{0: i + 1, 1: i + 1} for i in range(chain)] + [{}]
    assert len(minimised(Dfa(moves, [True] * (chain + 1))).moves) == chain + 1
    loop = [{0: (i + 1) % chain} for i in range(chain)]
    assert minimised(Dfa(loop, [True] * chain)) == Dfa([{0: 0}], [True])


def test_exploring_stops_at_the_limit():
    def successors(key: int, depth: int) -> dict[int, int]:
        assert key == depth
        return {0: key + 1}

    assert explore(0, successors, 50) is None
    found = explore(0, lambda key, _: {0: (key + 3) % 7}, 7)
    assert found is not None
    assert found.keys == [0, 3, 6, 2, 5, 1, 4]
    assert found.depths == list(range(7))
    assert found.moves[-1] == {0: 0}


def even_ones() -> Automaton:
    """Class 1 occurs an even number of times, class 3 never."""
    dfa = Dfa([{0: 1, 1: 0}, {0: 0, 1: 1}], [True, False])
    return Automaton.of(dfa, [[1], [2]], 4, "an example")


def allowed(string: tuple[int, ...]) -> bool:
    return string.count(1) % 2 == 0 and 3 not in string


def test_tables():
    automaton = even_ones()
    assert isinstance(automaton, LanguageModel)
    assert automaton.following.tolist() == [[0] * 4, [0, 2, 1, 0], [0, 1, 2, 0]]
    strings = every_string(4, 5)
    assert accepted(automaton, strings) == list(map(allowed, strings))
    assert automaton.bytes == 4 * 12 + 3


def test_scores_are_those_of_the_language():
    strings = every_string(4, 5)
    ids = np.array([s + (0,) * (5 - len(s)) for s in strings], np.int32)
    lengths = np.array([len(s) for s in strings], np.int32)
    found = string_score(even_ones(), ids, lengths)
    assert found.tolist() == [0.0 if allowed(s) else -math.inf for s in strings]


def test_search_is_that_of_all_allowed_strings():
    logits, frames = cases(0, 24, 4, 4)
    score = {s: 0.0 if allowed(s) else -math.inf for s in every_string(4, 4)}
    check_search(logits, frames, padded(even_ones()), score.__getitem__)


def automaton_of(*strings: tuple[int, ...]) -> Automaton:
    """Allows what is listed, of three characters."""
    return padded(Automaton.of(acyclic(strings), [[0], [1], [2], [3]], 4, "a list"))


@pytest.mark.parametrize("strings", [(), ((),), ((1, 1),), ((), (2,), (2, 3, 2)), ((3,) * 9,)])
def test_small_languages(strings):
    """None at all, the empty string alone, a doubled letter, and one that needs more frames."""
    automaton = automaton_of(*strings)
    assert accepted(automaton, every_string(4, 4)) == [s in strings for s in every_string(4, 4)]
    logits, frames = cases(1, 24, 4, 4)
    check_search(logits, frames, automaton, lambda s: 0.0 if s in strings else -math.inf)


def test_no_frames():
    logits = np.full((2, 4, 4), np.nan, np.float32)
    frames = jnp.zeros(2, jnp.int32)
    options = BeamOptions(4, top=0, prune=math.inf, nbest=4)
    found = search(logits, frames, options, automaton_of((), (1,)))
    assert found.score[:, 0].tolist() == [0, 0]
    assert np.all(np.isneginf(found.score[:, 1:]))
    found = search(logits, frames, options, automaton_of((1,)))
    assert np.all(np.isneginf(found.score))
    assert np.all(np.isneginf(found.log_probability))


def test_narrow_search_returns_allowed_strings_only():
    logits, frames = cases(2, 30, 9, 4)
    found = jax.device_get(search(logits, frames, BeamOptions(3, top=2, nbest=3), even_ones()))
    read = 0
    for row in range(30):
        for i in np.flatnonzero(found.score[row] > -np.inf):
            read += 1
            assert allowed(tuple(found.ids[row, i, : found.lengths[row, i]].tolist()))
    assert read > 30


def test_padding_does_not_matter():
    logits, frames = cases(3, 20, 6, 4)
    options = BeamOptions(5, top=0, prune=math.inf, nbest=5)
    found = search(logits, frames, options, even_ones())
    wider = np.pad(logits, ((0, 0), (0, 4), (0, 0)), constant_values=np.nan)
    wide = search(wider, frames, options, even_ones())
    np.testing.assert_array_equal(wide.ids[:, :, :6], found.ids)
    np.testing.assert_allclose(wide.score, found.score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    logits, frames = cases(4, 4, 6, 4)
    traced = search.trace(logits, frames, BeamOptions(), even_ones())
    assert traced.lower(lowering_platforms=(platform,)).as_text()


def test_tables_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(automaton_lib, "LARGEST", 2**20)
    dfa = Dfa([{0: i + 1} for i in range(70_000)] + [{}], [False] * 70_000 + [True])
    with pytest.raises(UserError, match=re.escape("70,002 states x 4 classes, 1 MiB")) as error:
        Automaton.of(dfa, [[1]], 4, "pattern 'a{70000}'")
    assert "\n" not in str(error.value)
