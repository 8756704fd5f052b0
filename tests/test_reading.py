"""Confidence, characters and their places, as a recogniser gives them."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import align, character_posteriors, string_log_probability
from PIL import Image

from crnn_jax.charset import build_charset
from crnn_jax.data.images import size_of
from crnn_jax.decode.beam import Beam, BeamOptions
from crnn_jax.decode.candidates import Candidate
from crnn_jax.errors import UserError
from crnn_jax.models.encoders import ENCODERS, frame_centres, frames_of
from crnn_jax.reading import NOTHING, Reading, place_characters, score_candidates
from crnn_jax.runtime import Character

LETTERS = build_charset("chars:abcde")


def draw(rows=3, steps=12, classes=6, scale=2.0):
    rng = np.random.default_rng(0)
    return rng.normal(scale=scale, size=(rows, steps, classes)).astype(np.float32)


def candidate(text, log_probability=math.nan):
    return Candidate(text, tuple(LETTERS.encode(text)), log_probability)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_candidates_have_the_posterior_of_their_strings(temperature):
    logits, frames = draw(), jnp.array([12, 9, 5])
    texts = [["abc", "ab", ""], ["ddd"], ["abcde", "a"]]
    candidates = [[candidate(text) for text in own] for own in texts]
    found = score_candidates(logits, frames, candidates, temperature, characters=False)
    assert found.alignment is None
    for row, own in enumerate(texts):
        for n, text in enumerate(own):
            ids = np.array([[*LETTERS.encode(text), 0]], np.int32)
            expected = string_log_probability(
                logits[row : row + 1] / temperature, frames[row : row + 1], ids,
                np.array([len(text)]),
            )  # fmt: skip
            assert float(found.log_probability[row, n]) == pytest.approx(
                float(expected[0]), abs=1e-4
            )
        assert np.all(np.asarray(found.log_probability)[row, len(own) :] == -np.inf)


def test_nothing_is_computed_where_the_decoder_has_said_it():
    known = [[candidate("ab", -1.0)], [NOTHING]]
    assert score_candidates(draw(), jnp.full(3, 12), known, 1.0, characters=False) is None
    assert score_candidates(draw(), jnp.full(3, 12), known, 2.0, characters=False) is not None
    assert score_candidates(draw(), jnp.full(3, 12), known, 2.0, False, scored=True) is None
    unknown = [[candidate("ab")]]
    assert score_candidates(draw(), jnp.full(3, 12), unknown, 1.0, characters=False) is not None


def test_a_string_longer_than_the_frames_is_impossible():
    long = Candidate("abcab", tuple(LETTERS.encode("abcab")), math.nan)
    found = score_candidates(draw(1, 3), jnp.array([3]), [[long, candidate("a")]], 1.0, True)
    assert float(found.log_probability[0, 0]) == -np.inf
    assert float(found.log_probability[0, 1]) > -20
    assert place_characters(
        long.ids, LETTERS, np.zeros(5), jax.device_get(found.alignment), 0, np.arange(3.0), 3.0
    ) == ()  # fmt: skip


def test_characters_are_those_of_the_first_candidate():
    logits, frames = draw(2), jnp.array([12, 7])
    candidates = [[candidate("abca"), candidate("b")], [candidate("dd")]]
    found = score_candidates(logits, frames, candidates, 1.0, characters=True)
    labels = np.zeros((2, 12), np.int32)
    labels[0, :4], labels[1, :2] = LETTERS.encode("abca"), LETTERS.encode("dd")
    lengths = np.array([4, 2])
    expected = align(logits, frames, labels, lengths)
    posteriors = character_posteriors(logits, frames, labels, lengths)
    columns = found.characters.shape[1]
    assert 4 <= columns <= 12
    np.testing.assert_array_equal(found.alignment.first, expected.first[:, :columns])
    np.testing.assert_allclose(found.characters, posteriors[:, :columns], rtol=1e-5)


def test_of_scored_candidates_the_characters_alone_are_looked_at():
    logits, frames = draw(2), jnp.array([12, 7])
    known = [[candidate("abca", -3.0), candidate("b", -4.0)], [candidate("dd", -1.0)]]
    unknown = [[candidate(c.text) for c in own] for own in known]
    found = score_candidates(logits, frames, known, 2.5, characters=True, scored=True)
    expected = score_candidates(logits, frames, unknown, 2.5, characters=True, scored=True)
    assert found.log_probability is None
    assert expected.log_probability is not None
    np.testing.assert_array_equal(found.alignment.first, expected.alignment.first)
    np.testing.assert_allclose(found.characters, expected.characters, rtol=1e-5)


def test_places_are_in_order_within_the_image_and_share_edges():
    peaks = {"a": 2, "b": 5, "c": 9}
    logits = np.zeros((1, 12, 6), np.float32)
    logits[0, :, 0] = 9.0
    for char, t in peaks.items():
        logits[0, t, LETTERS.encode(char)[0]] = 20.0
    found = score_candidates(logits, jnp.array([12]), [[candidate("abc")]], 1.0, characters=True)
    chars = place_characters(
        LETTERS.encode("abc"), LETTERS, np.asarray(found.characters[0]),
        jax.device_get(found.alignment), 0, 4.0 * np.arange(12) + 2, 48.0,
    )  # fmt: skip
    assert [c.char for c in chars] == ["a", "b", "c"]
    assert chars[0].x1 == chars[1].x0
    assert chars[1].x1 == chars[2].x0
    for c in chars:
        assert 0 <= c.x0 < c.x1 <= 1
        assert c.x0 < (4 * peaks[c.char] + 2) / 48 < c.x1
        assert c.confidence > 0.99


@pytest.mark.parametrize("name", ENCODERS)
def test_frames_are_centred_on_what_they_see(name):
    layers = ENCODERS[name]
    count = frames_of(layers, 200)
    centres = frame_centres(layers, count)
    for frame in (0, 3, count - 1):
        first = last = frame  # columns that a frame sees, layer by layer
        for layer in reversed(layers):
            kernel, stride, padding = layer.kernel[1], layer.stride[1], layer.padding[1]
            first, last = first * stride - padding, last * stride - padding + kernel - 1
        assert centres[frame] == pytest.approx((first + last + 1) / 2)
    assert centres[0] >= 0
    assert centres[-1] <= 200


@pytest.mark.slow
def test_streams_and_reading_agree(recognizer):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 60 + 20 * i), np.uint8) for i in range(5)]
    streamed = dict(recognizer.stream(images, recognizer.preprocess, 4, "beam"))
    read = recognizer.read(images, 4, "beam")
    for position, reading in enumerate(read):
        assert reading.text == streamed[position].text
        assert reading.confidence == pytest.approx(streamed[position].confidence, rel=1e-4)
        assert streamed[position].characters == ()
        width = images[position].shape[1]
        assert len(reading.characters) == len(reading.text)
        assert all(0 <= c.x0 < c.x1 <= width for c in reading.characters)
        for a, b in zip(reading.alternatives, streamed[position].alternatives, strict=True):
            assert a.text == b.text
            assert a.confidence == pytest.approx(b.confidence, rel=1e-4)


def test_one_image_in_place_of_a_list_is_told(recognizer):
    image = np.zeros((32, 64), np.uint8)
    for one in ("word.png", b"\x89PNG"):
        with pytest.raises(UserError, match=r"put the one into brackets, as in \[IMAGE\]"):
            recognizer.read(one)
    with pytest.raises(UserError, match="batch_size=0: give a number of images"):
        recognizer.read([image], batch_size=0)


def test_temperature_changes_confidence_alone(recognizer):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (32, 80), np.uint8) for _ in range(3)]
    warm = dataclasses.replace(recognizer, temperature=3.0)
    for plain, other in zip(recognizer.read(images), warm.read(images), strict=True):
        assert plain.text == other.text
        assert plain.confidence != other.confidence
        assert 0 <= other.confidence <= 1


def test_there_is_a_loss_where_there_is_a_label(recognizer):
    image = np.zeros((32, 64), np.uint8)
    losses = []
    for label in (None, lambda _: "a"):
        ((_, reading),) = recognizer.stream([image], recognizer.preprocess, 1, label=label)
        losses.append(reading.loss)
    assert losses[0] is None
    assert losses[1] > 0


def test_no_string_is_an_empty_reading(recognizer):
    class Mute:
        on_device = staticmethod(lambda logits, frames, tables: ())
        tables = ()

        def read(self, found, row, charset, words):
            return []

    (reading,) = recognizer.read([np.zeros((32, 64), np.uint8)], decoder=Mute())
    assert (reading.text, reading.confidence, reading.characters) == ("", 0.0, ())


@pytest.mark.parametrize("decoder", ["greedy", "beam", "lexicon"])
def test_a_network_of_nan_is_sure_of_nothing(recognizer, decoder):
    broken = dataclasses.replace(
        recognizer,
        variables=jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), recognizer.variables),
    )
    image = np.zeros((32, 64), np.uint8)
    stream = broken.stream(
        [image], broken.preprocess, 1, decoder, words=lambda _: ("one", "two"), characters=True
    )
    ((_, reading),) = stream
    assert (reading.text, reading.confidence) == ("", 0.0)
    for other in (*reading.alternatives, *reading.characters):
        assert other.confidence == 0


def test_a_decoder_with_tables_does_not_compile_again_for_others(recognizer):
    from crnn_jax.decode.language import Bonus
    from crnn_jax.recognizer import predict_step

    images = [np.zeros((32, 64), np.uint8)]
    options = BeamOptions(4)
    recognizer.read(images, decoder=Beam(options, Bonus(0.5)))
    before = predict_step._cache_size()
    recognizer.read(images, decoder=Beam(options, Bonus(-0.5)))
    assert predict_step._cache_size() == before


def test_pixels_of_the_image_as_given(tmp_path):
    image = Image.new("L", (50, 20))
    image.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert size_of(tmp_path / "plain.png") == (50, 20)
    assert size_of((tmp_path / "turned.jpg").read_bytes()) == (20, 50)
    assert size_of(np.zeros((20, 50, 3), np.uint8)) == (50, 20)
    with Image.open(tmp_path / "turned.jpg") as opened:
        assert size_of(opened) == (20, 50)
    reading = Reading("a", 1.0, characters=(Character("a", 1.0, 0.25, 0.5),))
    assert reading.in_pixels(80).characters[0][2:] == (20.0, 40.0)
