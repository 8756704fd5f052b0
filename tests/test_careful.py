"""A second look: unsure images are read again in other views."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from PIL import Image
from slopes import EXAMPLES, on_a_slope

from crnn_jax import evaluate, predict, runtime
from crnn_jax.careful import Careful
from crnn_jax.data.images import Preprocess
from crnn_jax.ensembles import combine
from crnn_jax.errors import DataError, ImageError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer
from crnn_jax.rotations import stream_rotated
from crnn_jax.runtime import AS_IT_IS, Character, Reader, ReadError, View, level, other_views

KEEP = Preprocess(height=16, fit="keep", min_width=8, max_width=64)


PLAIN, MARGIN, STRETCHED = View(), View(margin=0.1), View(stretch=1.3)
ANY = [MARGIN, View(margin=0.2), STRETCHED, View(stretch=1.3, equalized=True)]
FALLING, CLIMBING = View(slope=10), View(slope=-19)
SQUARE = [*ANY, *(View(slope=degrees) for degrees in (-28, -19, -10, 10, 19, 28))]
LETTER = Character("a", 1.0, 0.25, 0.75)


class Fake:
    """Reads what it is told to of an image, by its number, in a view."""

    def __init__(self, *readings):
        self.readings, self.views = readings, []

    def preprocess(self, image, view=AS_IT_IS):
        KEEP(image, view=view)
        self.views.append(view)
        return image[0, 0], view

    def stream(self, items, load, batch_size, decoder, label, words, characters):
        for place, item in reversed(list(enumerate(items))):
            try:
                number, view = load(item)
                reading = self.readings[number].get(view, Reading("", 0.0))
                yield place, reading if label is None else Reading(label(item), 0.1)
            except DataError as error:
                yield place, error


def pictures(count, width=20, height=20):
    return [np.full((height, width), number, np.uint8) for number in range(count)]


def read(model, images, **arguments):
    reader = Careful(model)
    return dict(reader.stream(images, reader.preprocess, **arguments))


def test_which_views_there_are():
    assert other_views(20, 20) == SQUARE
    # 1 - 3 tan 10 is 0.47, 1 - 3 tan 19 is -0.03
    assert other_views(60, 20) == [*ANY, View(slope=-10), View(slope=10)]
    assert other_views(200, 20) == ANY
    assert other_views(20, 26) == SQUARE
    assert other_views(20, 27) == [*SQUARE, View(rotation=90), View(rotation=270)]


def test_sure_images_are_read_once():
    model = Fake({PLAIN: Reading("word", 0.7), FALLING: Reading("other", 1.0)})
    found = read(model, pictures(1))
    assert (found[0].text, found[0].slope) == ("word", 0)
    assert model.views == [PLAIN]


def test_the_surest_view_is_taken_if_it_is_surer():
    model = Fake(
        {PLAIN: Reading("a", 0.3), FALLING: Reading("b", 0.6), CLIMBING: Reading("c", 0.8)},
        {PLAIN: Reading("a", 0.6), MARGIN: Reading("b", 0.69)},  # hardly surer
        {PLAIN: Reading("a", 0.2), FALLING: Reading("", 0.99), STRETCHED: Reading("d", 0.5)},
        {PLAIN: Reading("", 0.4)},
    )
    found = read(model, pictures(4))
    assert {p: (r.text, r.slope) for p, r in found.items()} == {
        0: ("c", -19),
        1: ("a", 0),
        2: ("d", 0),
        3: ("", 0),
    }
    assert sorted(model.views) == sorted([PLAIN] * 4 + SQUARE * 4)


def test_every_image_comes_out_once_however_many_wait():
    readings = [
        {PLAIN: Reading("plain", 0.9 if i % 3 else 0.1), FALLING: Reading(f"{i}", 0.8)}
        for i in range(50)
    ]
    found = list(Careful(Fake(*readings)).stream(pictures(50), Careful.preprocess, batch_size=2))
    assert sorted(position for position, _ in found) == list(range(50))
    for position, reading in found:
        assert reading.text == ("plain" if position % 3 else f"{position}")


def test_tall_images_are_turned():
    turned = View(rotation=270)
    model = Fake({PLAIN: Reading("i", 0.1), turned: Reading("sign", 0.9, characters=(LETTER,))})
    (found,) = Careful(model).read(pictures(1, 20, 200))
    assert (found.text, found.rotation) == ("sign", 270)
    assert found.characters[0][2:] == (50.0, 150.0)  # pixels of the picture as it was turned


def test_turns_add_up():
    model = Fake({View(rotation=180): Reading("i", 0.1), View(rotation=90): Reading("sign", 0.9)})
    reader = Careful(model)
    found = dict(
        stream_rotated(reader, pictures(1, 20, 200), lambda i, by: reader.preprocess(i, View(by)))
    )
    assert (found[0].text, found[0].rotation) == ("sign", 90)
    assert {view.rotation for view in model.views} == {0, 90, 180, 270}


def test_places_are_those_of_the_image_without_its_margin():
    shown = {PLAIN: Reading("i", 0.1), MARGIN: Reading("a", 0.9, characters=(LETTER,))}
    (found,) = Careful(Fake(shown)).read(pictures(1, 40, 50))
    # A quarter and three quarters of 5 + 40 + 5 pixels.
    np.testing.assert_allclose(found.characters[0][2:], (7.5, 32.5))


def test_images_that_cannot_be_read_are_told_once():
    model = Fake({PLAIN: Reading("word", 0.1)})
    broken = b"no image"
    found = read(model, [broken, pictures(1)[0]])
    assert isinstance(found[0], DataError)
    assert found[1].text == "word"


def test_labels_and_words_are_those_of_the_items():
    model = Fake({PLAIN: Reading("", 0.1)})
    found = read(model, pictures(1), label=lambda image: f"label {image.size}")
    assert found[0].text == "label 400"


def sloping(degrees, width=90, height=90, band=30):
    """Returns a picture of a band of stripes that falls by so many degrees, and the band."""
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.integers(0, 256, width // 6), 6).astype(np.uint8)
    level_band = np.tile(stripes, (band, 1))
    level_band[band // 3 : 2 * band // 3] = 255 - level_band[band // 3 : 2 * band // 3]
    rise = math.tan(math.radians(degrees))
    picture = np.zeros((height, width), np.uint8)
    first = height - band if degrees < 0 else 0
    for column in range(width):
        top = round(first + rise * column)
        picture[top : top + band, column] = level_band[: height - top, column]
    return picture, level_band


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_text_on_a_slope_lies_level(degrees):
    picture, band = sloping(degrees, height=30 + round(90 * math.tan(math.radians(30))))
    found = np.asarray(level(Image.fromarray(picture), degrees, height=16), np.int32)
    assert abs(found.shape[0] - 30) <= 1
    assert found.shape[1] == 90
    # The middles of its three rows of stripes, as columns were moved by whole pixels.
    wrong = [
        np.abs(found[row, 1:-1] - band[row, 1:-1].astype(np.int32)).mean() for row in (5, 15, 25)
    ]
    assert max(wrong) < 5


def test_a_low_band_is_enlarged_before_it_is_cut_out():
    picture, _ = sloping(30, height=30 + round(90 * math.tan(math.radians(30))))
    found = level(Image.fromarray(picture), 30, height=60)
    assert abs(found.height - 60) <= 1
    assert abs(found.width - 180) <= 4
    assert KEEP(picture, view=View(slope=30)).shape == (16, 48, 1)


def test_margins_and_stretched_images():
    pixels = np.arange(40, dtype=np.uint8).reshape(4, 10)
    exact = Preprocess(height=12, fit="keep", min_width=1, max_width=64)
    around = exact(pixels, view=View(margin=1.0))[..., 0]
    np.testing.assert_array_equal(around, np.pad(pixels, 4, "edge"))
    assert exact(pixels).shape == (12, 30, 1)
    assert exact(pixels, view=View(stretch=1.3)).shape == (12, 39, 1)


def test_equalized_greys_are_equally_frequent():
    exact = Preprocess(height=64, fit="keep", min_width=1, max_width=160)
    pale = 100 + np.arange(64 * 160, dtype=np.uint8).reshape(64, 160) % 16
    even = View(equalized=True)
    found = exact(pale, view=even)[..., 0]
    np.testing.assert_allclose(found, 17.0 * (pale - 100), atol=5)  # 0 to 255 in sixteen steps
    assert (found.min(), found.max()) == (0, 255)
    colours = np.stack([pale, pale // 2, 255 - pale], axis=2)
    of_each = dataclasses.replace(exact, channels=3)(colours, view=even)
    np.testing.assert_array_equal(of_each[..., 0], found)
    np.testing.assert_allclose(of_each[..., 2], 255 - found.astype(int), atol=5)


def test_large_images_are_made_smaller_before_they_are_cut():
    with Image.open(EXAMPLES / "uniform.png") as image:
        word = image.convert("L")
    large = word.resize((20 * word.width, 20 * word.height), Image.Resampling.BICUBIC)
    for view in (View(margin=0.1), View(slope=10), View(rotation=90, slope=10)):
        assert view.of(large, 16).height < 300
        small, shown = (KEEP(picture, width=48, view=view) for picture in (word, large))
        assert np.abs(shown.astype(int) - small).mean() < 5
    assert AS_IT_IS.of(large, 16) is large
    view = View(rotation=180)
    np.testing.assert_array_equal(view.of(large, 16), large.transpose(Image.Transpose.ROTATE_180))


def test_every_view_that_is_offered_can_be_had():
    """A slope may leave a little less of an image that was made smaller: 0.2495 of this one."""
    large = Image.new("L", (1672, 768))
    views = other_views(*large.size)
    assert View(slope=19) in views
    assert [view.of(large, 32).height for view in views if view.slope] == [64, 158, 158, 64]


def test_a_slope_that_leaves_nothing_is_refused():
    told = "slope=30 of an image of 100 x 20 pixels leaves no line"
    with pytest.raises(ReadError, match=told):
        level(Image.new("L", (100, 20)), 30, height=16)
    with pytest.raises(ImageError, match=told):
        KEEP(Image.new("L", (100, 20)), view=View(slope=30))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Two words on slopes, and their labels."""
    folder = tmp_path_factory.mktemp("slopes")
    for name, degrees in (("uniform", 19), ("pharynxes", -28)):
        on_a_slope(name, degrees).save(folder / f"{name}.png")
    (folder / "labels.tsv").write_text("uniform.png\tuniform\npharynxes.png\tPharynxes\n")
    return folder


def test_predict_reads_words_on_slopes(words, run_command):
    files = [words / "uniform.png", words / "pharynxes.png"]
    plain = run_command(predict.main, "--model=tiny-latin", *files).out
    assert ": uniform" not in "".join(plain)
    assert "Pharynxes" not in "".join(plain)
    out = run_command(predict.main, "--model=tiny-latin", "--careful", "--format=json", *files).out
    found = [json.loads(line) for line in out]
    assert [(row["text"], row["slope"]) for row in found] == [("uniform", 19), ("Pharynxes", -28)]
    # Places along the width are those of the image as it is.
    assert 0 <= found[0]["chars"][0]["x0"] < found[0]["chars"][-1]["x1"] <= 215


def test_evaluate_scores_them(words, run_command):
    data = f"--data=tsv:{words / 'labels.tsv'}"
    out = words / "report.json"
    run_command(evaluate.main, "--model=tiny-latin", "--careful", data, f"--out={out}")
    report = json.loads(out.read_text())
    assert report["sets"][0]["word_accuracy"] == 1.0
    assert report["decoder"] == "greedy, careful"


def test_voters_read_words_on_slopes(words):
    models = combine([Recognizer.load("quickstart"), Recognizer.load("tiny-latin")])
    assert [(r.text, r.slope) for r in Careful(models).read([words / "uniform.png"])] == [
        ("uniform", 19)
    ]


# The exported reader.


@pytest.fixture
def several(words):
    """Pictures of words as they are, on slopes, standing on end, and cut close."""
    with Image.open(EXAMPLES / "uniform.png") as image:
        word = image.convert("L")
    close = word.crop((14, 12, word.width - 10, word.height - 12))
    slopes = [Image.open(words / f"{name}.png") for name in ("uniform", "pharynxes")]
    return [word, *slopes, word.transpose(Image.Transpose.ROTATE_90), close]


def test_the_exported_reader_looks_again_as_the_package_does(exported, several):
    reader = Reader.load(exported, threads=1)
    ours = Careful(Recognizer.load("tiny-latin")).read(several)
    theirs = reader.read(several, batch_size=3, careful=True)
    assert [(r.text, r.rotation, r.slope) for r in theirs[:4]] == [
        ("uniform", 0, 0), ("uniform", 0, 19), ("Pharynxes", 0, -28), ("uniform", 270, 0),
    ]  # fmt: skip
    for a, b in zip(ours, theirs, strict=True):
        assert (b.text, b.rotation, b.slope) == (a.text, a.rotation, a.slope)
        assert b.confidence == pytest.approx(a.confidence, abs=1e-3)
        for mine, other in zip(a.characters, b.characters, strict=True):
            assert (other.x0, other.x1) == pytest.approx((mine.x0, mine.x1), abs=0.05)
    assert reader.read(several[:1], careful=True) == reader.read(several[:1])
    assert reader.read(several[1:2])[0].text != "uniform"


def test_the_exported_reader_says_how_it_looked(exported, words, capsys):
    paths = [str(words / "uniform.png"), str(EXAMPLES / "uniform.png")]
    arguments = [f"--model={exported}", "--format=json", "--careful", *paths]
    assert runtime.main(arguments) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in found] == ["uniform", "uniform"]
    assert [row.get("slope") for row in found] == [19, None]
