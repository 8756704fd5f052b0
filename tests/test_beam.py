from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import string_probabilities
from jitted import search, string_log_probability
from plain_beam import reference_beam

from crnn_jax.charset import build_charset
from crnn_jax.decode import make_decoder
from crnn_jax.decode.beam import BeamOptions, nbest
from crnn_jax.decode.greedy import Decoded, best_path, greedy
from crnn_jax.decode.language import Bonus, Both, Ngrams, Weighted, string_score
from crnn_jax.errors import UserError

ALL = {"top": 0, "prune": math.inf}  # nothing is pruned


@jax.jit
def read(logits, frames):
    """The best strings alone."""
    found = nbest(logits, frames)
    return Decoded(found.ids[:, 0], found.lengths[:, 0], found.log_probability[:, 0])


read_greedily = jax.jit(greedy)


def draw(seed, *shape, scale=2.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def cases(seed, rows, steps, classes, scale=2.0):
    """Logits, NaN beyond the frames, and how many frames there are: from 1 to all."""
    frames = 1 + np.arange(rows, dtype=np.int32) % steps
    beyond = np.arange(steps)[None, :] >= frames[:, None]
    logits = np.where(beyond[:, :, None], np.nan, draw(seed, rows, steps, classes, scale=scale))
    return logits.astype(np.float32), frames


def readings(found, row):
    """The strings of a row with what they are ranked by, in order."""
    return [
        (tuple(ids[:n].tolist()), float(score), float(exact))
        for ids, n, score, exact in zip(
            found.ids[row], found.lengths[row], found.score[row], found.log_probability[row],
            strict=True,
        )
        if score > -np.inf
    ]  # fmt: skip


def bigrams(classes, seed=0):
    """A table in which a state is the last character, 0 at the start."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.5), classes)  # column 0: the string ends
    following = np.broadcast_to(np.arange(classes, dtype=np.int32), (classes, classes))
    table = jnp.asarray(np.log(p), jnp.float32)
    columns = jnp.arange(classes)
    return Ngrams(table, jnp.asarray(following), table[:, 0], jnp.int32(0), columns), np.log(p)


def bigram_score(table, string):
    return sum(table[a, b] for a, b in itertools.pairwise((0, *string, 0)))


# Nothing pruned: the search is an enumeration


def expected_readings(logits, rank):
    p = string_probabilities(logits)
    return sorted(((rank(s, math.log(v)), s, math.log(v)) for s, v in p.items()), reverse=True)


def check_enumeration(logits, frames, found, rank):
    for row, n in enumerate(frames):
        expected = expected_readings(logits[row, :n], rank)
        got = readings(found, row)
        assert {s for s, _, _ in got} == {s for _, s, _ in expected}
        assert len(got) == len(expected)
        np.testing.assert_allclose([g[1] for g in got], [e[0] for e in expected], atol=2e-5)
        exact = {s: log_p for _, s, log_p in expected}
        np.testing.assert_allclose([g[2] for g in got], [exact[g[0]] for g in got], atol=2e-5)


@pytest.mark.parametrize(("classes", "steps", "rows"), [(3, 6, 600), (4, 5, 300), (2, 6, 100)])
def test_full_width_is_exhaustive(classes, steps, rows):
    logits, frames = cases(classes, rows, steps, classes)
    width = max(len(string_probabilities(logits[row, :steps])) for row in range(steps - 1, steps))
    found = jax.device_get(search(logits, frames, BeamOptions(width, nbest=width, **ALL)))
    check_enumeration(logits, frames, found, lambda _, log_p: log_p)


def test_language_model_and_bonus_rank_as_brute_force_does():
    logits, frames = cases(7, 60, 5, 4)
    model, table = bigrams(4)
    width = len(string_probabilities(logits[4]))
    options = BeamOptions(width, nbest=width, **ALL)
    found = jax.device_get(search(logits, frames, options, Weighted(model, 0.6, 0.7)))

    def rank(string, log_p):
        return log_p + 0.7 * len(string) + 0.6 * bigram_score(table, string)

    check_enumeration(logits, frames, found, rank)
    likeliest = [string_probabilities(x[:n]) for x, n in zip(logits, frames, strict=True)]
    changed = sum(readings(found, r)[0][0] != max(p, key=p.get) for r, p in enumerate(likeliest))
    assert 0 < changed < 60


@pytest.mark.slow
def test_models_add_up():
    """Two bigrams and a bonus: as if strings had been ranked by the sum of all three."""
    logits, frames = cases(9, 30, 5, 4)
    (a, table_a), (b, table_b) = bigrams(4, seed=3), bigrams(4, seed=4)
    width = len(string_probabilities(logits[4]))
    model = Both(Both(Weighted(a, 0.5), Weighted(b, 0.0)), Bonus(-0.3))
    found = jax.device_get(search(logits, frames, BeamOptions(width, nbest=width, **ALL), model))
    check_enumeration(
        logits,
        frames,
        found,
        lambda s, log_p: log_p + 0.5 * bigram_score(table_a, s) - 0.3 * len(s),
    )
    model = Both(Weighted(a, 0.5), Weighted(b, 2.0))
    found = jax.device_get(search(logits, frames, BeamOptions(width, nbest=width, **ALL), model))
    check_enumeration(
        logits,
        frames,
        found,
        lambda s, log_p: log_p + 0.5 * bigram_score(table_a, s) + 2 * bigram_score(table_b, s),
    )


def test_a_model_of_no_weight_forbids_nothing():
    logits, frames = cases(10, 12, 5, 4)
    model, _ = bigrams(4)
    never = model._replace(log_probs=jnp.full_like(model.log_probs, -jnp.inf))
    same(
        search(logits, frames, BeamOptions(), Weighted(never, 0.0)),
        search(logits, frames, BeamOptions()),
    )


def test_language_model_score_of_a_string():
    model, table = bigrams(4, seed=1)
    strings = [(), (1,), (3, 3, 2), (1, 2, 3, 1)]
    ids = np.zeros((4, 5), np.int32)
    for row, string in enumerate(strings):
        ids[row, : len(string)] = string
    found = string_score(model, jnp.asarray(ids), jnp.asarray([len(s) for s in strings]))
    np.testing.assert_allclose(found, [bigram_score(table, s) for s in strings], rtol=1e-5)


# A beam that drops strings, against the same search with strings written out


@pytest.mark.parametrize(("width", "pruned"), [(1, False), (3, True), (4, False)])
def test_narrow_beam_keeps_what_the_plain_algorithm_keeps(width, pruned):
    logits, frames = cases(10 + width, 120, 12, 4, scale=1.5)
    keywords = {"top": 2, "prune": 1.5} if pruned else ALL
    options = BeamOptions(width, nbest=width, **keywords)
    found = jax.device_get(search(logits, frames, options))
    best, lengths = jax.device_get(best_path(np.nan_to_num(logits), jnp.asarray(frames)))
    back = 0
    for row, n in enumerate(frames):
        kept, returned = reference_beam(logits[row, :n], width, **keywords)
        back += returned
        kept.add(tuple(best[row, : lengths[row]].tolist()))
        got = [s for s, _, _ in readings(found, row)]
        assert len(got) == min(width, len(kept))
        assert len(set(got)) == len(got)  # nothing twice
        assert set(got) <= kept
    # Strings whose continuations stayed came back, too: hard for all who number strings as found.
    assert back > 0 or width == 1 or pruned


def test_narrow_beam_with_a_language_model():
    logits, frames = cases(3, 80, 10, 4, scale=1.0)
    model, table = bigrams(4, seed=2)
    options = BeamOptions(5, nbest=5, **ALL)
    found = jax.device_get(search(logits, frames, options, Weighted(model, 0.8, 0.4)))
    for row, n in enumerate(frames):
        kept, _ = reference_beam(
            logits[row, :n], 5, model=table, alpha=0.8, bonus=0.4, **ALL
        )  # fmt: skip
        assert len(kept & {s for s, _, _ in readings(found, row)}) >= len(kept) - 1


@pytest.mark.parametrize("classes", [40, 70_000])
def test_long_strings_of_many_classes(classes):
    """Strings fill several packed numbers; two of them differ in their first character alone."""
    steps = 24
    rng = np.random.default_rng(classes)
    logits = np.zeros((2, steps, classes), np.float32)
    path = rng.integers(1, classes, (2, steps))
    np.put_along_axis(logits, path[:, :, None], 25, axis=2)
    logits[:, 0, classes - 1] = 24.5
    found = jax.device_get(search(logits, jnp.full(2, steps), BeamOptions(6, 4, 9.0, 2)))
    for row in range(2):
        tail = tuple(k for k, _ in itertools.groupby(path[row].tolist()))[1:]
        first = [s for s, _, _ in readings(found, row)]
        assert first == [(path[row, 0], *tail), (classes - 1, *tail)]


# What it reads


def test_never_below_greedy():
    logits, frames = cases(5, 400, 12, 6, scale=1.5)
    low = read_greedily(logits, frames).log_probability
    better = {}
    for width in (1, 16):
        options = BeamOptions(width, nbest=1)
        found = search(logits, frames, options).log_probability[:, 0]
        assert np.all(found >= low - 1e-5)
        better[width] = int(np.sum(found > low + 1e-3))
    assert 0 < better[1] <= better[16]


def test_repeated_characters():
    logits = np.full((3, 5, 3), -8, np.float32)
    for row, path in enumerate([(1, 0, 1, 1, 0), (1, 1, 1, 1, 1), (2, 2, 0, 2, 1)]):
        logits[row, np.arange(5), path] = 0
    decoded = jax.device_get(read(logits, jnp.full(3, 5)))
    strings = [tuple(i[:n].tolist()) for i, n in zip(decoded.ids, decoded.lengths, strict=True)]
    assert strings == [(1, 1), (1,), (2, 2, 1)]


def test_paths_of_one_string_add_up():
    """The best path says "a", and "ab" is the likelier string: three paths spell it."""
    p = np.array([[0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.35, 0.25, 0.4]])
    logits = np.log(p).astype(np.float32)[None]
    frames = jnp.asarray([3])
    total = string_probabilities(logits[0])
    found = jax.device_get(read(logits, frames))
    assert tuple(found.ids[0, : found.lengths[0]].tolist()) == max(total, key=total.get) == (1, 2)
    assert np.exp(found.log_probability[0]) == pytest.approx(total[1, 2], rel=1e-5)


def test_one_frame():
    logits = draw(1, 30, 1, 5)
    decoded = read(logits, jnp.ones(30, jnp.int32))
    best = np.argmax(logits[:, 0], axis=1)
    assert decoded.ids[:, 0].tolist() == best.tolist()
    assert decoded.lengths.tolist() == (best > 0).astype(int).tolist()


def test_all_blank_and_no_frames():
    logits = np.zeros((2, 6, 4), np.float32)
    logits[0, :, 0] = 30
    logits[1] = np.nan
    found = search(logits, jnp.asarray([6, 0]), BeamOptions(4, nbest=4, **ALL))
    assert found.lengths[:, 0].tolist() == [0, 0]
    np.testing.assert_allclose(found.log_probability[:, 0], 0, atol=1e-5)
    assert found.score[1].tolist() == [0, -np.inf, -np.inf, -np.inf]
    assert np.all(found.score[0] > -np.inf)  # far below, and still strings
    assert not np.any(found.ids[1])


# Invariances


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def alike(a, b):
    """The same strings, and the same scores but for rounding."""
    same(a[:2], b[:2])
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_padding_and_company_do_not_matter():
    logits, frames = cases(9, 80, 12, 6)
    options = BeamOptions()
    found = search(logits, frames, options)
    for garbage in (0.0, np.inf, 1e30):
        same(search(np.nan_to_num(logits, nan=garbage), frames, options), found)
    wider = np.pad(logits, ((0, 0), (0, 7), (0, 0)), constant_values=np.nan)
    wide = search(wider, frames, options)
    alike([wide.ids[:, :, :12], *wide[1:]], found)
    for row in (0, 7, 79):
        alone = search(logits[row : row + 1], frames[row : row + 1], options)
        alike(alone, [x[row : row + 1] for x in found])


def test_batch_spread_over_devices():
    logits, frames = cases(15, 80, 12, 6)
    found = search(logits, frames, BeamOptions())
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("batch",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    spread = search(*jax.device_put((logits, frames), place), BeamOptions())
    alike(spread, found)


def test_reduced_precision_is_left_at_once():
    logits, frames = cases(11, 24, 12, 6)
    low = jnp.asarray(logits, jnp.bfloat16)
    same(search(low, frames, BeamOptions()), search(low.astype(jnp.float32), frames, BeamOptions()))


@pytest.mark.slow
def test_reads_as_other_decoders_do():
    logits, frames = cases(12, 24, 12, 6)
    decoder = make_decoder("beam")
    assert decoder.on_device is make_decoder("beam").on_device, "it would be compiled anew"
    found = jax.device_get(jax.jit(decoder.on_device)(logits, frames, decoder.tables))
    greedy = read_greedily(logits, frames)
    charset = build_charset("chars:abcde")
    for row in range(len(logits)):
        readings = decoder.read(found, row, charset, ())
        scores = [reading.log_probability for reading in readings]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] >= greedy.log_probability[row] - 1e-5
        ids = charset.encode(readings[0].text)
        expected = string_log_probability(
            logits[row : row + 1], frames[row : row + 1], np.array([[*ids, 0]]),
            np.array([len(ids)]),
        )  # fmt: skip
        np.testing.assert_allclose(scores[0], expected[0], atol=1e-4)
    none = nbest(np.zeros((0, 9, 6), np.float32), jnp.zeros(0, jnp.int32))
    assert none.ids.shape == (0, 4, 9)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    logits, frames = cases(13, 4, 8, 6)
    model, _ = bigrams(6)
    traced = search.trace(logits, frames, BeamOptions(), model)
    assert traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"nbest": 0}, {"width": 3, "nbest": 4}, {"top": -1}, {"prune": -0.1}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        BeamOptions(**wrong)
