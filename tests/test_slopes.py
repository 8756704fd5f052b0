"""Text on slopes: unsure images are straightened and read again."""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from crnn_jax import demoing, evaluate, predict
from crnn_jax.data.images import Preprocess, level
from crnn_jax.ensembles import combine
from crnn_jax.errors import DataError, UserError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer
from crnn_jax.slopes import DEGREES, OnSlopes, slopes_of

EXAMPLES = pathlib.Path(demoing.__file__).parent / "examples"
KEEP = Preprocess(height=16, fit="keep", min_width=8, max_width=64)


class Fake:
    """Reads what it is told to of (item, slope)."""

    def __init__(self, readings, preprocess=KEEP):
        self.readings, self.preprocessing, self.reads = readings, preprocess, []

    def preprocess(self, image, rotation=0, slope=0):
        self.preprocessing(image, rotation=rotation, slope=slope)
        self.reads.append(slope)
        return image[0, 0], slope

    def stream(self, items, load, batch_size, decoder, label, words, characters):
        for place, item in reversed(list(enumerate(items))):
            try:
                number, slope = load(item)
                reading = self.readings[number].get(slope, Reading("", 0.0))
                yield place, reading if label is None else Reading(label(item), 0.1)
            except DataError as error:
                yield place, error


def pictures(count, width=20, height=20):
    return [np.full((height, width), number, np.uint8) for number in range(count)]


def read(model, images, **arguments):
    reader = OnSlopes(model)
    return dict(reader.stream(images, reader.preprocess, **arguments))


def test_which_slopes_leave_a_line():
    assert slopes_of(20, 20) == [-28, -19, -10, 10, 19, 28]
    assert slopes_of(60, 20) == [-10, 10]  # 1 - 3 tan 10 is 0.47, 1 - 3 tan 19 is -0.03
    assert slopes_of(200, 20) == []
    assert sorted(DEGREES) == list(DEGREES)


def test_sure_images_are_read_once():
    model = Fake([{0: Reading("word", 0.7), 10: Reading("other", 1.0)}])
    found = read(model, pictures(1))
    assert (found[0].text, found[0].slope) == ("word", 0)
    assert model.reads == [0]


def test_the_surest_way_is_taken_if_it_is_much_surer():
    model = Fake(
        [
            {0: Reading("a", 0.3), 10: Reading("b", 0.6), -19: Reading("c", 0.8)},
            {0: Reading("a", 0.6), 10: Reading("b", 0.79)},  # hardly surer
            {0: Reading("a", 0.2), 10: Reading("", 0.99), 19: Reading("d", 0.5)},
            {0: Reading("", 0.4)},
        ]
    )
    found = read(model, pictures(4))
    assert {p: (r.text, r.slope) for p, r in found.items()} == {
        0: ("c", -19),
        1: ("a", 0),
        2: ("d", 19),
        3: ("", 0),
    }
    assert sorted(model.reads) == sorted([0] * 4 + list(DEGREES) * 4)


def test_every_image_comes_out_once_however_many_wait():
    readings = [
        {0: Reading("plain", 0.9 if i % 3 else 0.1), 28: Reading(f"{i}", 0.8)} for i in range(50)
    ]
    found = list(OnSlopes(Fake(readings)).stream(pictures(50), OnSlopes.preprocess, batch_size=2))
    assert sorted(position for position, _ in found) == list(range(50))
    for position, reading in found:
        assert reading.text == ("plain" if position % 3 else f"{position}")


def test_wide_images_keep_their_reading():
    model = Fake([{0: Reading("line", 0.1)}])
    assert read(model, pictures(1, width=200))[0].text == "line"
    assert model.reads == [0]


def test_images_on_their_side_are_as_wide_as_they_are_high():
    model = Fake([{0: Reading("sign", 0.1)}])
    reader = OnSlopes(model)
    dict(reader.stream(pictures(1, 20, 200), lambda image: reader.preprocess(image, rotation=90)))
    assert model.reads == [0]


def test_images_that_cannot_be_read_are_told_once():
    model = Fake([{0: Reading("word", 0.1)}])
    broken = b"no image"
    found = read(model, [broken, pictures(1)[0]])
    assert isinstance(found[0], DataError)
    assert found[1].text == "word"


def test_labels_and_words_are_those_of_the_items():
    model = Fake([{0: Reading("", 0.1)}])
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
    assert KEEP(picture, slope=30).shape == (16, 48, 1)


def test_a_slope_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="slope=30 of an image of 100 x 20 pixels leaves no line"):
        level(Image.new("L", (100, 20)), 30, height=16)


def on_a_slope(name, degrees):
    """Returns one of the demo's pictures, its columns moved down more and more, or up."""
    with Image.open(EXAMPLES / f"{name}.png") as image:
        word = np.asarray(image.convert("L"))
    height, width = word.shape
    rise = math.tan(math.radians(degrees))
    tops = np.rint(rise * np.arange(width)).astype(int)
    tops -= tops.min()
    picture = np.full((height + tops.max(), width), int(np.median(word)), np.uint8)
    for column, top in enumerate(tops):
        picture[top : top + height, column] = word[:, column]
    return Image.fromarray(picture)


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
    out = run_command(predict.main, "--model=tiny-latin", "--slopes", "--format=json", *files).out
    found = [json.loads(line) for line in out]
    assert [(row["text"], row["slope"]) for row in found] == [("uniform", 19), ("Pharynxes", -28)]
    # Places along the width are those of the image as it is.
    assert 0 <= found[0]["chars"][0]["x0"] < found[0]["chars"][-1]["x1"] <= 215


def test_evaluate_scores_them(words, run_command):
    data = f"--data=tsv:{words / 'labels.tsv'}"
    out = words / "report.json"
    run_command(evaluate.main, "--model=tiny-latin", "--slopes", data, f"--out={out}")
    report = json.loads(out.read_text())
    assert report["sets"][0]["word_accuracy"] == 1.0
    assert report["decoder"] == "greedy, on slopes, too"


def test_voters_read_words_on_slopes(words):
    models = combine([Recognizer.load("quickstart"), Recognizer.load("tiny-latin")])
    assert [(r.text, r.slope) for r in OnSlopes(models).read([words / "uniform.png"])] == [
        ("uniform", 19)
    ]
