"""Rows made on the device: rendered text and banks, mixed with loaded rows in a training set."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import write_words
from source_files import png

from crnn_jax import config as config_lib
from crnn_jax import durations, train, types
from crnn_jax.data import feeds
from crnn_jax.data.augment import augment
from crnn_jax.data.images import Preprocess
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import DataError, UserError
from crnn_jax.parallel import Layout
from crnn_jax.recognizer import preprocess_of
from crnn_jax.synth import bank, presets
from crnn_jax.synth.draws import Draws

ALONE = Layout(devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Twelve small images with labels, and a bank of them."""
    folder = tmp_path_factory.mktemp("words")
    write_words(folder, [f"word{i}" for i in range(12)])
    return folder


def config_of(train_spec, **knobs):
    config = config_lib.default_config()
    config.data.train = train_spec
    config.charset = "alnum62"
    config.batch_size = 16
    config.data.width = 64
    config.model.encoder = "tiny"
    config.model.layers = 1
    config.model.hidden = 8
    config_lib.set_duration(config, total_steps=2)
    config_lib.apply_overrides(config, [(k.replace("__", "."), v) for k, v in knobs.items()])
    return config


def opened(config):
    return open_training_set(config, preprocess_of(config))


def batch_of(data, step, loaded=None):
    make = jax.jit(data.feed, compiler_options={"xla_backend_optimization_level": 0})
    return jax.device_get(make(data.assets, jnp.int32(step), loaded, jnp.uint32(0)))


def make_bank(words, path, **options):
    command = [f"--data=tsv:{words}/labels.tsv", f"--out={path}"]
    return bank.main([*command, *(f"--{k}={v}" for k, v in options.items())])


def test_rendered_text_alone(words):
    data = opened(config_of("synth:plain"))
    assert data.index is None
    assert data.steps_per_epoch is None
    first, second = batch_of(data, 0), batch_of(data, 1)
    assert first.images.shape == (16, 32, 64, 1)
    assert not np.array_equal(first.labels, second.labels)
    again = batch_of(data, 1)
    np.testing.assert_array_equal(second.images, again.images)
    for ids, length in zip(first.labels, first.label_lengths, strict=True):
        assert data.charset.decode(ids[:length]).isalnum()


def test_a_limit_repeats_the_same_rows():
    data = opened(config_of("synth:plain::limit=24"))
    assert data.steps_per_epoch == 1
    rows = np.concatenate([batch_of(data, step).labels for step in range(3)])
    np.testing.assert_array_equal(rows[:24], rows[24:48])
    assert len(np.unique(rows[:24], axis=0)) > 15


def test_mixtures_hold_their_shares(words, tmp_path):
    make_bank(words, tmp_path / "real.npz", width=64)
    spec = f"0.5*synth:plain + 0.25*tsv:{words}/labels.tsv + 0.25*bank:{tmp_path}/real.npz"
    data = opened(config_of(spec))
    assert [part.rows for part in data.feed.parts] == [8, 4]
    assert data.plan.batch_size == 4
    loaded = next(train.loaded_batches(data, config_of(spec), 0, 2, ALONE))
    batch = batch_of(data, 0, loaded)
    assert batch.images.shape == (16, 32, 64, 1)
    np.testing.assert_array_equal(batch.images[:4], loaded.images)
    texts = [
        data.charset.decode(ids[:n])
        for ids, n in zip(batch.labels, batch.label_lengths, strict=True)
    ]
    assert all(text.startswith("word") for text in texts[:4] + texts[12:])
    assert not any(text.startswith("word") for text in texts[4:12])


def test_a_bank_keeps_pixels_and_texts(words, tmp_path):
    assert make_bank(words, tmp_path / "b.npz", fit="keep", width=96) == 0
    found = bank.load_bank(str(tmp_path / "b.npz"))
    assert found.texts == tuple(f"word{i}" for i in range(12))
    assert found.images.shape[1:] == (32, int(found.widths.max()), 1)
    source = bank.BankSource(str(tmp_path / "b.npz"))
    assert source.image_size(3) == (found.widths[3], 32)
    assert source.label(3) == "word3"
    config = config_of(f"bank:{tmp_path}/b.npz", **{"data__fit": "keep", "data__max_width": "96"})
    data = opened(config)
    batch = batch_of(data, 0)
    for image, width, ids, n in zip(*batch, strict=True):
        row = int(data.charset.decode(ids[:n]).removeprefix("word"))
        np.testing.assert_array_equal(image[:, :width], found.images[row, :, :width])


def test_a_bank_keeps_the_blanks_of_its_texts(tmp_path):
    class One:
        name = "one"

        def __len__(self):
            return 1

        def image_bytes(self, i):
            return png(40, 20)

        def label(self, i):
            return "a\u00a0b\u3000 c\nd"

    made, failed = bank.make_bank([One()], Preprocess(width=64))
    assert (made.texts, failed) == (("a\u00a0b\u3000 c d",), [])


def test_a_bank_that_is_too_large_is_told_on_the_way(words, tmp_path, monkeypatch, mistake):
    monkeypatch.setattr(bank, "_LARGEST", 32 * 64 * 5)
    line = mistake(
        bank.main, f"--data=tsv:{words}/labels.tsv", f"--out={tmp_path}/b.npz", "--width=64"
    )
    assert "6 images up to 64 pixels wide, of 12 that were asked for, are more" in line


def test_a_damaged_bank_is_one_line(words, tmp_path):
    make_bank(words, tmp_path / "b.npz", width=64)
    whole = (tmp_path / "b.npz").read_bytes()
    refused = 0
    for at in range(40, len(whole) - 40, len(whole) // 60):
        (tmp_path / "d.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            bank.load_bank(str(tmp_path / "d.npz"))
        except DataError:
            refused += 1
    assert refused > 50


def test_a_bank_of_several_sets_has_them_in_turn(words, tmp_path):
    path = tmp_path / "b.npz"
    sets = [f"--data=tsv:{words}/labels.tsv::{part}" for part in ("rows=6:12", "rows=0:2")]
    assert bank.main([*sets, f"--out={path}"]) == 0
    numbers = (6, 7, 8, 9, 10, 11, 0, 1)
    assert bank.load_bank(str(path)).texts == tuple(f"word{i}" for i in numbers)


def test_a_bank_of_another_size_is_refused(words, tmp_path):
    make_bank(words, tmp_path / "b.npz", width=80)
    with pytest.raises(UserError, match="make the bank with the same --height, --width"):
        opened(config_of(f"bank:{tmp_path}/b.npz"))


def test_a_bank_that_keeps_the_aspect_is_of_such_runs(words, tmp_path):
    path = tmp_path / "b.npz"
    spec, kept = f"bank:{path}", {"data__fit": "keep", "data__max_width": "64"}
    make_bank(words, path, fit="keep", width=64)
    opened(config_of(spec, **kept))
    with pytest.raises(UserError, match=r"--fit=keep\) .* this run's 32 x 64 \(--fit=squash"):
        opened(config_of(spec))
    older = bank.load_bank(str(path))._replace(fit="")  # it did not tell, but widths do
    older.widths[3] -= 4
    bank.save_bank(str(path), older)
    with pytest.raises(UserError, match="with the same"):
        opened(config_of(spec))
    make_bank(words, path, width=64)
    with pytest.raises(UserError, match=r"--fit=squash\) .* this run's 32 x 64 \(--fit=keep"):
        opened(config_of(spec, **kept))


def test_a_bank_of_images_that_no_network_reads_is_refused(words, tmp_path, mistake):
    argv = f"--data=tsv:{words}/labels.tsv", f"--out={tmp_path}/b.npz", "--height=99999999999999"
    assert "at most 4,194,304 pixels" in mistake(bank.main, *argv)


def test_an_array_is_no_bank(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="is no bank of images"):
        bank.load_bank(str(tmp_path / "a.npy"))


def test_rows_that_a_bank_leaves_out_are_named(words, tmp_path):
    make_bank(words, tmp_path / "b.npz", width=64)
    spec = f"0.5*tsv:{words}::rows=1:12 + 0.5*bank:{tmp_path}/b.npz"
    opened(config_of(spec, charset="chars:word123", unknown="skip")).write_skipped(tmp_path)
    rows = (tmp_path / "skipped_rows.tsv").read_text().splitlines()
    assert len([row for row in rows if "labels.tsv row" in row]) == 7  # with 4 to 10
    assert [row.split("\t")[0] for row in rows[7:9]] == [
        f"b: {tmp_path}/b.npz row {i}" for i in (0, 4)
    ]


def test_a_bank_with_wildcards_is_refused(words, tmp_path):
    make_bank(words, tmp_path / "b.npz", width=64)
    with pytest.raises(UserError, match=r"bank:.*\*.npz in .* a bank to train on is one file"):
        opened(config_of(f"bank:{tmp_path}/*.npz"))


@pytest.mark.parametrize(
    ("spec", "knobs", "message"),
    [
        ("synth:scen", {}, "did you mean 'scene'"),
        ("synth:plain + synth:clean", {}, "give each a weight"),
        ("synth:plain::rows=0:10", {}, "takes seed=, limit= and name= alone"),
        ("synth:plain", {"synth__blur": "1:2"}, "changes the preset 'scene', which neither"),
        ("bank:nowhere.npz", {}, "cannot be read"),
        ("synth:plain", {"charset": "from_data"}, "needs labels"),
        ("0.5*synth:plain + 0.5*synth:plain", {}, "has 'plain' twice, and both would draw"),
    ],
)
def test_what_cannot_be_trained_on(spec, knobs, message):
    with pytest.raises(UserError, match=message):
        opened(config_of(spec, **knobs))


def test_texts_and_faces_of_a_run_are_those_of_all_its_presets(tmp_path):
    (tmp_path / "mine.txt").write_text("word\nother\n")
    mine = {"synth__text_file": str(tmp_path / "mine.txt"), "synth__faces": "bold"}
    config = config_of("0.5*synth:scene + 0.5*synth:plain", **mine, synth__blur="1:2")
    scene, plain = (part.renderer.knobs for part in opened(config).feed.parts)
    for knobs in (scene, plain):
        assert (knobs.text_file, knobs.faces) == tuple(mine.values())
    assert scene.blur == (1.0, 2.0)
    assert plain.blur == presets.get_preset("plain").blur
    assert opened(config_of("synth:plain", **mine)).feed.parts[0].renderer.knobs == plain


@pytest.mark.parametrize(
    ("knobs", "warned"),
    [
        ({"synth__patterns": "1", "synth__pattern": "[A-Z]{3}"}, True),
        ({"synth__blur": "1:2"}, False),
    ],
)
def test_validation_with_other_texts_than_those_of_the_run_is_said(knobs, warned, caplog):
    opened(config_of("synth:scene", **knobs, data__eval="synth:scene::limit=4"))
    assert ("has its own texts, whatever config.synth.pattern says" in caplog.text) == warned


@pytest.mark.parametrize(
    ("option", "said"), [("", "judge the run by yours, add languages=german"), ("german", "")]
)
def test_validation_in_other_languages_than_those_of_the_run_is_said(option, said, caplog):
    spec = "synth:scene::limit=4" + (f",languages={option}" if option else "")
    opened(config_of("synth:scene", synth__languages="german", data__eval=spec))
    assert ("has its own texts" in caplog.text) == bool(said)
    assert said in caplog.text


def test_rendered_text_has_no_epochs():
    config = config_of("synth:plain", total_epochs="2")
    with pytest.raises(UserError, match="rendered text has no epochs"):
        durations.lengths(config, None)


def test_other_settings_give_another_fingerprint():
    prints = [
        opened(config_of("synth:plain", **knobs)).fingerprints()
        for knobs in ({}, {}, {"synth__preset": "plain", "synth__rotation": "0:1"})
    ]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


# Augmentation


def gradient(count, width, real):
    images = np.zeros((count, 32, width, 1), np.uint8)
    images[:, :, :real] = np.linspace(0, 255, real, dtype=np.uint8)[None, None, :, None]
    widths = np.full(count, real, np.int32)
    labels = np.ones((count, 4), np.int32)
    return types.Batch(images, widths, labels, np.full(count, 4, np.int32))


def settings(**changes):
    values = presets.get_preset("plain")
    with values.unlocked():
        values.update(margin_x=(0.0, 0.0), margin_y=(0.0, 0.0), **changes)
    return config_lib.ConfigDict(values)


def augmented(batch, knobs, seed=0):
    draws = Draws.from_keys(jax.random.split(jax.random.key(seed), len(batch.images)))
    return jax.jit(lambda batch, draws: augment(batch, draws, knobs))(batch, draws)


@pytest.mark.slow
def test_augmentation_without_effects_changes_nothing():
    batch = gradient(5, 96, 80)
    out = augmented(batch, settings())
    difference = np.abs(np.asarray(out.images).astype(int) - batch.images.astype(int))
    assert difference.max() <= 1
    for before, after in zip(batch[1:], out[1:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_augmentation_moves_and_darkens_within_the_real_width():
    batch = gradient(16, 96, 80)
    knobs = settings(rotation_share=1.0, perspective_share=1.0, noise_share=1.0, blur_share=1.0)
    out = np.asarray(augmented(batch, knobs).images).astype(int)
    assert not out[:, :, 80:].any()
    change = np.abs(out - batch.images.astype(int))[:, :, :80].mean(axis=(1, 2, 3))
    assert change.min() > 1
    # It still is the picture that it was: dark at the left, light at the right.
    assert (out[:, :, 60:80].mean(axis=(1, 2, 3)) > out[:, :, :20].mean(axis=(1, 2, 3)) + 80).all()


def box(count):
    """Dark boxes on white, a tenth of the height away from every border."""
    batch = gradient(count, 96, 80)
    images = np.zeros_like(batch.images)
    images[:, :, :80] = 255
    images[:, 3:29, 3:77] = 0
    return batch._replace(images=images)


def test_margins_of_presets_leave_pictures_their_size():
    knobs = settings()
    knobs.update(margin_x=(0.05, 0.15), margin_y=(0.05, 0.15))
    dark = np.asarray(augmented(box(200), knobs, seed=1).images) < 128
    heights = dark[:, :, 40, 0].sum(axis=1)
    assert heights.mean() == pytest.approx(26, abs=1.0)
    assert 23 <= heights.min() < 25 < 27 < heights.max() <= 29
    assert not dark[:, [0, -1]][:, :, :80].any(), "letters are not cut"


def test_bent_pictures_are_seen_whole():
    knobs = settings(arc_share=1.0, arc=(60.0, 120.0), wave_share=1.0)
    dark = np.asarray(augmented(box(16), knobs, seed=1).images) < 128
    assert dark[:, 4:28, 4:76].any(axis=(1, 2, 3)).all()
    assert not dark[:, [0, -1]][:, :, :80].any()


def test_loaded_rows_are_augmented_in_the_step(words):
    data = opened(config_of(f"tsv:{words}/labels.tsv", **{"data__augment": "scene"}))
    loaded = next(train.loaded_batches(data, config_of(f"tsv:{words}/labels.tsv"), 0, 1, ALONE))
    first, second = batch_of(data, 0, loaded), batch_of(data, 1, loaded)
    assert not np.array_equal(first.images, loaded.images)
    assert not np.array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, loaded.labels)


def test_join_pads_widths_and_labels():
    joined = feeds.join([gradient(2, 40, 40), gradient(3, 64, 50)])
    assert joined.images.shape == (5, 32, 64, 1)
    assert joined.widths.tolist() == [40, 40, 50, 50, 50]
