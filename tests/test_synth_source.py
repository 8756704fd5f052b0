"""`synth:` as an image set, knobs and presets, and the preview command."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.data.sources import open_source
from crnn_jax.data.words import word_counts
from crnn_jax.errors import UserError
from crnn_jax.synth import knobs, presets, preview

SPEC = "synth:plain::seed=3,limit=70,charset=alnum62"


@pytest.fixture(scope="module")
def source():
    return open_source(SPEC)


def test_rows_are_fixed_labelled_images(source):
    assert len(source) == 70
    assert source.name == "plain"
    texts = [source.label(i) for i in range(70)]
    assert len(set(texts)) > 50
    assert all(text.isalnum() for text in texts)
    for i in (0, 63, 69):
        image = Image.open(io.BytesIO(source.image_bytes(i)))
        assert image.size == source.image_size(i)
        assert np.asarray(image).std() > 20
    copy = pickle.loads(pickle.dumps(source))
    assert copy.label(69) == texts[69]
    assert copy.image_bytes(5) == source.image_bytes(5)
    assert copy.fingerprint() == source.fingerprint()


def test_a_smaller_set_is_the_beginning_and_another_seed_another_set(source):
    fewer = open_source(SPEC.replace("limit=70", "limit=10"))
    assert [fewer.label(i) for i in range(10)] == [source.label(i) for i in range(10)]
    other = open_source(SPEC.replace("seed=3", "seed=4"))
    assert [other.label(i) for i in range(10)] != [source.label(i) for i in range(10)]
    assert other.fingerprint() != source.fingerprint()


def test_words_are_of_the_languages_asked_for(source):
    german = open_source("synth:plain::seed=3,limit=70,charset=latin,languages=german")
    texts = [german.label(i) for i in range(70)]
    assert set(texts) <= set(word_counts("german"))
    assert any(not text.isascii() for text in texts)
    assert german.fingerprint() != source.fingerprint()


def test_options_of_all_sets_apply(source):
    part = open_source("synth:plain::rows=60:70,seed=3,charset=alnum62")
    assert part.label(0) == source.label(60)
    halves = [open_source(f"{SPEC},split={s}") for s in ("0:50", "50:100")]
    assert sum(map(len, halves)) == 70


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synth:plan", "did you mean 'plain'"),
        ("tsv:x::seed=1", "seed= in a SPEC of tsv: belongs to synth"),
        ("synth:plain::seed=x", "is not a whole number"),
        ("synth:plain::languages=englisch", "did you mean 'english'"),
        ("tsv:x::languages=german", "languages= in a SPEC of tsv: belongs to synth"),
    ],
)
def test_wrong_specs(spec, message):
    with pytest.raises(UserError, match=message):
        open_source(spec)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_have_every_knob_and_valid_values(name):
    preset = presets.get_preset(name)
    assert preset.preset == name
    assert set(preset) == set(knobs.plain_knobs()) == set(knobs.comments())
    knobs.check_knobs(preset)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("rotation", "5:-5", "the smaller one"),
        ("blur_share", "1.5", "from 0 to 1"),
        ("noise", "-1:1", "0 or positive"),
        ("stretch", "0:1", "positive"),
        ("patterns", "0.5", "both a share and a regular expression"),
        ("line_words", "0:2", "1 text or more"),
        ("margin_y", "0:0.5", "below 0.45"),
        ("blur", "0:1", "positive"),
        ("weight", "0:0.2", "less than 0.18 em"),
        ("perspective", "0:0.8", "below 0.8"),
    ],
)
def test_values_that_cannot_be(key, text, message):
    config = config_lib.default_config()
    config_lib.apply_overrides(config, [(f"synth.{key}", text)])
    with pytest.raises(UserError, match=message):
        knobs.check_knobs(config.synth)


def test_ranges_on_the_command_line():
    config = config_lib.default_config()
    given = [("synth.rotation", "-5:5"), ("synth.blur", "(0.1, 2)"), ("synth.line_words", "1,3")]
    config_lib.apply_overrides(config, given)
    assert config.synth.rotation == (-5.0, 5.0)
    assert config.synth.blur == (0.1, 2.0)
    assert config.synth.line_words == (1, 3)
    with pytest.raises(UserError, match="give two numbers, LOW:HIGH"):
        config_lib.apply_overrides(config, [("synth.rotation", "5")])


def test_a_preset_sets_all_knobs_and_others_change_it():
    config = config_lib.default_config()
    config_lib.apply_overrides(config, [("synth.blur", "0.1:0.2"), ("synth.preset", "document")])
    assert config.synth.blur == (0.1, 0.2)
    assert config.synth.noise == presets.get_preset("document").noise


def test_configs_with_ranges_survive_json(tmp_path):
    config = config_lib.default_config()
    config_lib.apply_overrides(config, [("synth.preset", "receipt"), ("synth.rotation", "-5:5")])
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    loaded = config_lib.load(tmp_path / "config.json")
    assert loaded.synth.to_dict() == config.synth.to_dict()


def width_of(path):
    with Image.open(path) as image:
        return image.width


@pytest.mark.slow
def test_preview(run_command, mistake, tmp_path):
    out = tmp_path / "grid.png"
    options = ["--preset=plain", f"--out={out}", "--rows=2", "--columns=2", "--width=64"]
    outcome = run_command(preview.main, *options, "--config.synth.rotation_share=1")
    assert outcome.code == 0
    assert outcome.out == [f"{out}: 4 pictures, 2 in a row"]
    width = width_of(out)
    real = tmp_path / "real"
    real.mkdir()
    Image.fromarray(np.full((20, 50), 200, np.uint8)).save(real / "word.png")
    run_command(preview.main, *options, f"--beside=names:{real}")
    assert width_of(out) == 2 * width
    run_command(preview.main, *options, "--colour")
    with Image.open(out) as image:
        pixels = np.asarray(image)[: image.height // 2, : image.width // 2]
    assert pixels.shape[2:] == (3,)
    assert (pixels.max(axis=2) > pixels.min(axis=2)).any()
    assert "did you mean 'scene'" in mistake(preview.main, "--preset=scen", f"--out={out}")
    assert "'-1' is not a whole number from 0" in mistake(
        preview.main, f"--out={out}", "--seed", "-1"
    )
