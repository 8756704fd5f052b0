"""Rendered words: texts, pictures, and a data set that survives kills and simultaneous callers."""

from __future__ import annotations

import collections
import io
import pathlib
import pickle
import re
import string
import subprocess
import sys
import time
import unicodedata

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from crnn_jax.charset import build_charset
from crnn_jax.data import pillow_render, rendered_words, word_rows, words
from crnn_jax.errors import DataError, UserError

ALNUM = string.digits + string.ascii_letters
TRAIN, TEST = 600, 120


def rows_of(builder, split):
    return list(builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()}))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def builder(cache):
    return rendered_words.open_builder(TRAIN, TEST, cache_dir=cache, workers=0, progress=False)


def start(code):
    """Starts Python on the code; it says "ready" once imported and waits for a line to go on."""
    preamble = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from crnn_jax.data import rendered_words\n"
        "print('ready', flush=True); input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", preamble + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


# Texts


def test_the_word_list_is_english_in_lower_case_and_sorted():
    counts = words.word_counts()
    assert len(counts) > 100_000
    assert list(counts) == sorted(counts)
    assert all(re.fullmatch("[a-z]{1,14}", word) for word in counts)
    assert counts["the"] > counts["window"] > counts["aardvarks"]


@pytest.mark.parametrize(
    ("language", "word"),
    [
        ("german", "heißt"),
        ("french", "déjà"),
        ("spanish", "mañana"),
        ("portuguese", "não"),
        ("italian", "città"),
        ("dutch", "ijs"),
    ],
)
def test_words_of_other_languages_are_of_letters_that_latin_has(language, word):
    counts = words.word_counts(language)
    assert len(counts) > 80_000
    assert list(counts) == sorted(counts)
    assert all(text.isalpha() and len(text) <= 14 for text in counts)
    assert all(text == unicodedata.normalize("NFC", text.lower()) for text in counts)
    assert set("".join(counts)) <= set(build_charset("latin", "keep").classes)
    assert counts[word] > 1_000


def test_shares_of_languages_sum_to_one():
    assert words.parse_languages("german", "x") == {"german": 1.0}
    shares = words.parse_languages("3*english|german| 0.5 * french", "x")
    assert shares == pytest.approx({"english": 3 / 4.5, "german": 1 / 4.5, "french": 0.5 / 4.5})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "language of words (languages) ''"),
        ("englisch", "did you mean 'english'"),
        ("english|german|english", "english is given twice"),
        ("0*german", "'0' is not a weight"),
        ("x*german", "'x' is not a weight"),
        ("nan*german", "'nan' is not a weight"),
        ("-1*german|dutch", "write a number above 0, as in 2*german"),
    ],
)
def test_mistaken_languages(text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        words.parse_languages(text, "languages")


def test_a_text_belongs_to_one_split_whatever_its_case():
    drawn = {}
    for split in words.SPLITS:
        sampler = words.TextSampler(split)
        rng = np.random.default_rng(7)
        drawn[split] = {sampler(rng).lower() for _ in range(1_500)}
        assert {words.split_of(text) for text in drawn[split]} == {split}
        assert {words.split_of(text.upper()) for text in drawn[split]} == {split}
    assert not drawn["train"] & drawn["test"]


def test_the_mixture_of_texts():
    sampler = words.TextSampler("train")
    rng = np.random.default_rng(3)
    drawn = [sampler(rng) for _ in range(20_000)]
    assert set("".join(drawn)) == set(ALNUM)
    known = [text for text in drawn if text.lower() in words.word_counts()]
    assert 0.79 < len(known) / len(drawn) < 0.83  # a few random strings are words
    assert len(set(known)) > 0.7 * len(known)
    styles = collections.Counter(
        "lower" if text.islower() else "upper" if text.isupper() else "title"
        for text in known
        if len(text) > 1
    )
    assert styles["lower"] > styles["title"] > 0.2 * len(known)
    assert styles["upper"] > 0.2 * len(known)
    # Frequent words come more often than rare ones, yet rare ones come.
    counts = np.array([words.word_counts()[text.lower()] for text in known])
    assert np.mean(counts > 2_000) > 0.2
    assert np.mean(counts == 50) > 0.2


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_random_strings(share):
    sampler = words.TextSampler("test", random_share=share)
    rng = np.random.default_rng(0)
    drawn = [sampler(rng) for _ in range(300)]
    with_digits = np.mean([any(char.isdigit() for char in text) for text in drawn])
    assert with_digits > 0.6 if share else with_digits == 0


# Pictures


def test_every_face_draws_every_character_otherwise_than_a_missing_one():
    assert len(set(pillow_render.FACES)) == 16
    for face in pillow_render.FACES:
        assert [char for char in ALNUM if not pillow_render.has_glyph(face, char)] == []
        assert not pillow_render.has_glyph(face, "\U000f0000")  # of a private plane
        assert pillow_render.has_glyph(face, " ")
        font = pillow_render.load_font(face, 48)
        assert len({(font.getmask(c).size, bytes(font.getmask(c))) for c in ALNUM}) == len(ALNUM)


def test_the_letters_of_a_face_are_those_of_the_other_faces():
    """Drawn in every face, a character resembles itself in the mean of the faces most."""
    pictures = np.zeros((16, len(ALNUM), 32, 32))
    for i, face in enumerate(pillow_render.FACES):
        for j, char in enumerate(ALNUM):
            ink = pillow_render.draw_ink(char, face, 60)
            glyph = ink.image.crop(ink.box).resize((32, 32))
            pictures[i, j] = np.asarray(glyph, np.float64) / 255
    means = pictures.mean(0)
    distance = ((pictures[:, :, None] - means[None, None]) ** 2).sum((-1, -2))
    nearest = distance.argmin(-1)  # [faces, characters]
    # Scaled to one box, some pairs are alike: upper and lower case, bars, circles, italic forms.
    alike = [set(group) for group in ("0oO", "1lIij", "nN")]
    alike += [{char, char.upper()} for char in string.ascii_lowercase]
    for face, found_row in zip(pillow_render.FACES, nearest, strict=True):
        wrong = [
            (char, ALNUM[found])
            for char, found in zip(ALNUM, found_row, strict=True)
            if char != ALNUM[found] and not any({char, ALNUM[found]} <= group for group in alike)
        ]
        assert len(wrong) <= 6, (face, wrong)  # cmmi10 has 11, cmsy10 45


@pytest.mark.parametrize("size", pillow_render.SIZES)
def test_no_ink_is_cut(size):
    for i, face in enumerate(pillow_render.FACES):
        for text in ("a", "jQ", "W" * 14, "fjord", "Typography"):
            ink = pillow_render.draw_ink(text, face, size)
            left, top, right, bottom = ink.box
            assert left > 0
            assert top > 0
            assert right < ink.image.width
            assert bottom < ink.image.height
            mask = np.asarray(pillow_render.place_ink(ink, np.random.default_rng(i)))
            assert mask.shape[0] == 32
            border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert border.max() == 0
            assert mask.max() > 100


def test_an_image_is_wide_as_its_text_is_long():
    widths = []
    for text in ("i", "word", "wordword", "wordwordwordword"):
        images = [pillow_render.render_word(text, np.random.default_rng(i)) for i in range(20)]
        assert {(image.dtype, image.shape[0], image.ndim) for image in images} == {
            (np.dtype(np.uint8), 32, 2)
        }
        widths.append(np.mean([image.shape[1] for image in images]))
    assert widths[0] < 40
    assert 1.5 < widths[2] / widths[1] < 2.2
    assert 1.5 < widths[3] / widths[2] < 2.2


def test_images_of_one_text_differ_and_the_text_stands_out():
    images = [pillow_render.render_word("Stone", np.random.default_rng(i)) for i in range(60)]
    assert len({image.tobytes() for image in images}) == 60
    spread = [np.percentile(image, 98) - np.percentile(image, 2) for image in images]
    assert min(spread) > 40
    middles = [(int(image.max()) + int(image.min())) / 2 for image in images]
    grounds = [np.median(image[[0, -1]]) for image in images]
    assert 0.45 < np.mean(np.array(grounds) > middles) < 0.85  # dark on light is the commoner


def test_a_picture_is_a_function_of_the_generator_and_the_face_asked_for():
    def draw(face=None):
        return pillow_render.render_word("Kelp9", np.random.default_rng(5), face=face)

    np.testing.assert_array_equal(draw(), draw())
    assert len({draw(face).tobytes() for face in pillow_render.FACES}) == 16


@pytest.mark.parametrize(
    ("text", "face", "message"),
    [
        ("word", "DejaVuSan", "did you mean 'DejaVuSans"),
        ("中", "DejaVuSans", "no '中'"),
        ("", "DejaVuSans", "draws nothing"),
    ],
)
def test_what_cannot_be_drawn_is_said(text, face, message):
    with pytest.raises(UserError, match=message):
        pillow_render.render_word(text, np.random.default_rng(0), face=face)


# Rows


def test_rows_have_not_changed_without_a_new_version():
    """A change of texts or pixels needs a new `word_rows.VERSION`, for prepared data to be remade.

    Widths and means leave room for other releases of FreeType.
    """
    assert word_rows.VERSION == "1.0.1"
    expected = {  # text, width, mean and standard deviation of the pixels
        ("train", 0): ("dripping", 126, 39.2, 52.4),
        ("train", 1): ("GUNLOCKS", 166, 114.7, 47.8),
        ("train", 59_999): ("pn2Uu7RrY", 163, 173.0, 27.4),
        ("test", 0): ("microscopes", 152, 191.3, 56.9),
        ("test", 999): ("macaroni", 158, 198.3, 80.9),
    }
    for (split, row), (text, *numbers) in expected.items():
        image, found = word_rows.make_row(word_rows.RowSettings(), split, row)
        pixels = np.asarray(Image.open(io.BytesIO(image)), np.float64)
        assert found == text
        assert [pixels.shape[1], pixels.mean(), pixels.std()] == pytest.approx(numbers, abs=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_processes_does_not_change_the_rows(workers):
    settings = word_rows.RowSettings(seed=4)
    here = list(word_rows.render_rows(settings, "train", 450, workers=0))
    assert here == list(word_rows.render_rows(settings, "train", 450, workers=workers))
    assert here[17] == word_rows.make_row(settings, "train", 17)


def test_rows_that_nobody_asks_for_any_more_leave_no_process(monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    rows = word_rows.render_rows(word_rows.RowSettings(), "train", 100_000, workers=2)
    next(rows)
    assert [process.poll() for process in started] == [None, None]
    rows.close()
    assert None not in [process.returncode for process in started]


@pytest.mark.parametrize(
    ("ends", "error", "message"),
    [
        ("raise SystemExit(3)", RuntimeError, "process that rendered words died"),
        ("import os; os.kill(os.getpid(), 9)", DataError, "killed by signal 9.*want of memory"),
        ("import time; print('a word', flush=True); time.sleep(1)", RuntimeError, "died"),
    ],
)
def test_a_dead_worker_is_told(ends, error, message, monkeypatch):
    monkeypatch.setattr(word_rows, "_WORKER", ends)
    with pytest.raises(error, match=message):
        list(word_rows.render_rows(word_rows.RowSettings(), "train", 10, workers=1))


# The data set


def test_the_data_set_holds_the_rows_in_order(builder):
    assert builder.info.splits["train"].num_examples == TRAIN
    assert builder.info.splits["test"].num_examples == TEST
    settings = word_rows.RowSettings()
    for split, count in (("train", TRAIN), ("test", TEST)):
        rows = rows_of(builder, split)
        assert len(rows) == count
        for i in range(0, count, 40):
            image, text = word_rows.make_row(settings, split, i)
            assert rows[i] == {"image": image, "label": text.encode()}


def test_labels_are_alphanumeric_and_images_32_pixels_high(builder):
    for row in rows_of(builder, "train") + rows_of(builder, "test"):
        assert re.fullmatch("[0-9A-Za-z]{1,14}", row["label"].decode())
        with Image.open(io.BytesIO(row["image"])) as image:
            image.load()
            assert (image.format, image.mode, image.height) == ("JPEG", "L", 32)
            assert 8 <= image.width <= 640


def test_no_word_of_test_occurs_in_train_in_any_case(builder):
    train, test = (
        {row["label"].decode().lower() for row in rows_of(builder, split)}
        for split in ("train", "test")
    )
    assert len(train) > 0.9 * TRAIN
    assert len(test) > 0.8 * TEST
    assert not train & test


def test_the_same_arguments_give_the_same_folder_and_bytes(builder, cache, tmp_path):
    again = rendered_words.open_builder(TRAIN, TEST, cache_dir=cache)
    assert again.data_dir == builder.data_dir
    elsewhere = rendered_words.open_builder(
        TRAIN, TEST, cache_dir=tmp_path, workers=2, progress=False
    )
    old, new = pathlib.Path(builder.data_dir), pathlib.Path(elsewhere.data_dir)
    assert old.relative_to(cache) == new.relative_to(tmp_path)
    records = sorted(path.name for path in old.glob("*array_record*"))
    assert len(records) == 2
    for name in records:
        assert (old / name).read_bytes() == (new / name).read_bytes()


def test_a_larger_set_begins_with_the_smaller_one(builder, cache):
    larger = rendered_words.open_builder(TRAIN + 10, 1, cache_dir=cache, progress=False)
    assert larger.data_dir != builder.data_dir
    assert rows_of(larger, "train")[:TRAIN] == rows_of(builder, "train")
    assert rows_of(larger, "test") == rows_of(builder, "test")[:1]


def test_whatever_changes_the_rows_changes_the_folder(monkeypatch):
    def name(settings=None, **counts):
        return rendered_words.RenderedWordsConfig(settings=settings, **counts).name

    def remade(target, attribute, value):
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, value)
            word_rows.ingredients.cache_clear()
            found = name()
        word_rows.ingredients.cache_clear()
        return found

    names = [
        name(),
        name(train=59_999),
        name(test=999),
        name(word_rows.RowSettings(seed=1)),
        name(word_rows.RowSettings(random_share=0.3)),
        remade(word_rows, "VERSION", "9.9.9"),
        remade(words, "dictionary_bytes", lambda: b"other words"),
        remade(pillow_render, "FACES", pillow_render.FACES[:15]),
        remade(word_rows.PIL, "__version__", "99.0"),
    ]
    assert len(set(names)) == len(names)
    assert rendered_words.RenderedWordsConfig(workers=3, progress=False).name == name()


def test_data_source_and_builder_survive_pickling(builder):
    source = builder.as_data_source("test", decoders={"image": tfds.decode.SkipDecoding()})
    assert pickle.loads(pickle.dumps(source))[3] == source[3]
    assert pickle.loads(pickle.dumps(builder)).data_dir == builder.data_dir
    assert rows_of(tfds.builder_from_directory(builder.data_dir), "test")[3] == source[3]


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("CRNN_JAX_CACHE", raising=False)
    assert rendered_words.default_cache_dir() == tmp_path / "home" / ".cache" / "crnn_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert rendered_words.default_cache_dir() == tmp_path / "xdg" / "crnn_jax"
    monkeypatch.setenv("CRNN_JAX_CACHE", str(tmp_path / "mine"))
    made = rendered_words.open_builder(3, 2, progress=False)
    assert pathlib.Path(made.data_dir).is_relative_to(tmp_path / "mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "train=0: give 1 or more"),
        ({"test": -1}, "test=-1: give 1 or more"),
        ({"seed": -1}, "seed=-1: give 0 or more"),
        ({"workers": -1}, "workers=-1: give 0 or more"),
        ({"random_share": 1.5}, "random_share=1.5: give 0 to 1"),
    ],
)
def test_impossible_arguments_are_told(arguments, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        rendered_words.open_builder(cache_dir=tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="CRNN_JAX_CACHE"):
        rendered_words.open_builder(3, 2, cache_dir=tmp_path / "file")


def test_two_processes_at_once_prepare_once(tmp_path):
    code = (
        f"made = rendered_words.open_builder(1500, 20, cache_dir={str(tmp_path)!r}, workers=0)\n"
        "print(made.data_dir, len(made.as_data_source('train')))\n"
        "print([name for name in ('jax', 'tensorflow') if name in sys.modules])\n"
    )
    both = [start(code), start(code)]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    (out, err), (out2, err2) = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], err + err2
    assert out == out2
    assert out.endswith(" 1500\n[]\n")
    waited, prepared = sorted([err, err2], key=len)
    assert waited.startswith("waiting for the process that prepares")
    assert "rendering" not in waited
    # The progress bar says how many of how many, the time left and the rate.
    assert re.search(
        r"train: +\d+%\|.*\| \d+/1500 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ images/s", prepared
    )


def test_a_killed_preparation_leaves_nothing_that_is_taken_for_data(tmp_path):
    code = f"rendered_words.open_builder(1500, 20, cache_dir={str(tmp_path)!r}, workers=2)\n"
    process = start(code)
    process.stdin.write("\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (leftovers := list(tmp_path.glob("rendered_words/*/incomplete.*"))):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    err = process.communicate(timeout=60)[1]  # ends when the workers too have closed it
    assert "Traceback" not in err
    assert process.returncode == -9
    assert not list(tmp_path.glob("rendered_words/*/1.*"))
    assert leftovers[0].is_dir()

    made = rendered_words.open_builder(1500, 20, cache_dir=tmp_path, progress=False)
    assert len(rows_of(made, "train")) == 1500
    assert pathlib.Path(made.data_dir).parent == leftovers[0].parent
    assert not list(tmp_path.glob("rendered_words/*/incomplete.*"))
