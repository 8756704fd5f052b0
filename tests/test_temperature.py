"""The temperature that a network's logits were scaled by is found again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import string_log_probability

from crnn_jax.charset import build_charset
from crnn_jax.decode.greedy import Greedy
from crnn_jax.errors import UserError
from crnn_jax.scoring.calibration import calibration_error, log_loss, summarise
from crnn_jax.scoring.posteriors import TemperatureDecoder
from crnn_jax.scoring.temperature import TEMPERATURES, Posteriors, fit_temperature, join


def collapse(path):
    """The text that a path spells: repeats merged, then blanks removed."""
    return tuple(c for before, c in zip([0, *path[:-1]], path, strict=True) if c not in (0, before))


@pytest.fixture(scope="module")
def truth():
    """Frame logits, and texts drawn from the very posteriors that they are of."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, 5, 4)) * rng.uniform(0.5, 6, (4000, 1, 1))
    paths = np.argmax(logits + rng.gumbel(size=logits.shape), axis=2)
    return logits.astype(np.float32), [collapse(path) for path in paths.tolist()]


def read(logits, texts, temperatures=TEMPERATURES):
    """What a network with these logits reads, how surely, and whether that is right."""
    decoder, charset = TemperatureDecoder(temperatures), build_charset("abc")
    frames = jnp.full(len(logits), logits.shape[1], jnp.int32)
    on_device = jax.jit(decoder.on_device)
    found = jax.device_get(on_device(jnp.asarray(logits), frames, decoder.tables))
    readings = [decoder.read(found, row, charset, ())[0] for row in range(len(logits))]
    correct = [r.ids == text for r, text in zip(readings, texts, strict=True)]
    return Posteriors(np.array(decoder.log_p), np.array(correct), tuple(temperatures))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_logits_were_scaled_by_is_found(truth, factor: float) -> None:
    logits, texts = truth
    found = read(factor * logits, texts)
    assert fit_temperature(found) == pytest.approx(factor, rel=0.05)
    before, after = (summarise(found.confidences(t), found.correct) for t in (1.0, factor))
    assert after.ece <= after.floor.high
    assert factor == 1 or before.ece > 2 * after.ece


def test_the_fit_has_the_least_log_loss_between_the_temperatures_computed(truth) -> None:
    found = read(*truth)
    best = fit_temperature(found)
    losses = [log_loss(found.confidences(t), found.correct) for t in np.geomspace(0.5, 2, 301)]
    assert log_loss(found.confidences(best), found.correct) <= min(losses) + 1e-7


def test_confidences_are_the_posteriors_of_divided_logits(truth) -> None:
    """On the temperatures computed and between them."""
    logits, texts = truth[0][:300], truth[1][:300]
    found = read(logits, texts)
    frames = jnp.full(300, 5, jnp.int32)
    for temperature in (1.0, TEMPERATURES[3], 0.3, 0.9, 1.1, 2.9, 7.5):
        greedy = Greedy()
        ids, lengths, _ = greedy.on_device(jnp.asarray(logits), frames, greedy.tables)
        exact = np.exp(string_log_probability(logits / temperature, frames, ids, lengths))
        assert found.confidences(temperature) == pytest.approx(exact, abs=1e-3)
        tempered = Greedy(temperature)
        of_tempered = tempered.on_device(jnp.asarray(logits), frames, tempered.tables)
        assert np.array_equal(of_tempered.ids, ids)
        assert np.exp(of_tempered.log_probability) == pytest.approx(exact, abs=1e-5)
    ids, lengths, log_p = greedy.on_device(jnp.asarray(logits), frames, greedy.tables)
    assert np.log(found.confidences(1.0)) == pytest.approx(np.asarray(log_p), abs=1e-5)


def test_the_decoder_reads_what_greedy_reads_at_any_temperature(truth) -> None:
    logits, charset = truth[0][:50], build_charset("abc")
    frames = jnp.asarray(np.arange(50) % 5 + 1, jnp.int32)  # padded ones are not looked at
    readings = []
    for decoder in (Greedy(), TemperatureDecoder((0.5, 1.0, 2.0, 4.0))):
        found = jax.device_get(decoder.on_device(jnp.asarray(logits), frames, decoder.tables))
        readings.append([decoder.read(found, row, charset, ())[0] for row in range(50)])
    assert [r[:2] for r in readings[0]] == [r[:2] for r in readings[1]]
    logs = [[r.log_probability for r in some] for some in readings]
    assert logs[1] == pytest.approx(logs[0], abs=1e-5)


def test_the_compiled_half_is_the_same_object_every_time() -> None:
    first, second = TemperatureDecoder(), TemperatureDecoder()
    assert first.on_device is second.on_device
    assert first.log_p is not second.log_p


def test_a_sum_of_paths_just_above_1_is_a_confidence_of_1() -> None:
    found = Posteriors(np.full((2, len(TEMPERATURES)), 1e-7), np.array([True, False]))
    assert (found.confidences(1.3) <= 1).all()
    assert found.confidences(1.3) == pytest.approx([1, 1])
    assert np.isfinite(calibration_error(found.confidences(1.0), found.correct))


def test_parts_joined_are_the_whole(truth) -> None:
    found = read(truth[0][:300], truth[1][:300])
    halves = [
        Posteriors(found.log_p[rows], found.correct[rows])
        for rows in (slice(0, 20), slice(20, 300))
    ]
    joined = join(halves)
    assert len(joined) == 300
    assert np.array_equal(joined.confidences(1.2), found.confidences(1.2))


@pytest.mark.parametrize(
    ("correct", "what"), [([], "none"), ([True], "all right"), ([False] * 3, "all wrong")]
)
def test_readings_of_one_kind_choose_no_temperature(correct, what: str) -> None:
    log_p = np.full((len(correct), len(TEMPERATURES)), -0.5)
    with pytest.raises(UserError, match=what):
        fit_temperature(Posteriors(log_p, np.array(correct, bool)))


def test_nan_and_wrong_shapes_are_refused() -> None:
    log_p = np.full((2, len(TEMPERATURES)), -1.0)
    with pytest.raises(UserError, match="shape"):
        Posteriors(log_p[:1], np.array([True, False]))
    log_p[1, 3] = np.nan
    with pytest.raises(UserError, match="row 1 is NaN"):
        Posteriors(log_p, np.array([True, False]))


def test_temperatures_out_of_range_are_refused() -> None:
    found = Posteriors(np.full((1, len(TEMPERATURES)), -1.0), np.array([True]))
    with pytest.raises(UserError, match=r"posteriors are of 0\.25 to 8"):
        found.confidences(9.0)
