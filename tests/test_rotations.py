"""All four ways of looking at an image; the surest reading counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from slopes import EXAMPLES

from crnn_jax import runtime
from crnn_jax.data.images import Preprocess
from crnn_jax.errors import DataError
from crnn_jax.reading import Reading
from crnn_jax.rotations import stream_rotated
from crnn_jax.runtime import DEGREES, Reader, View


class Fake:
    """Reads what it is told to, in the order of the items or in another."""

    def __init__(self, readings, backwards=False):
        self.readings, self.backwards = readings, backwards

    def stream(self, items, load, **arguments):
        pairs = list(enumerate(items))
        for place, item in reversed(pairs) if self.backwards else pairs:
            try:
                load(item)
                yield place, self.readings[place]
            except DataError as error:
                yield place, error


def read(*readings, backwards=False, load=lambda item, degrees: None):
    items = range(len(readings) // 4)
    return dict(stream_rotated(Fake(readings, backwards), items, load))


@pytest.mark.parametrize("backwards", [False, True])
def test_the_surest_with_characters_is_kept(backwards):
    readings = [Reading("ab", 0.3), Reading("", 0.99), Reading("cd", 0.8), Reading("e", 0.5)]
    nothing = [Reading("", c) for c in (0.2, 0.9, 0.4, 0.9)]
    found = read(*readings, *nothing, backwards=backwards)
    assert (found[0].text, found[0].confidence, found[0].rotation) == ("cd", 0.8, 180)
    assert (found[1].text, found[1].rotation) == ("", 90)  # of two alike the lesser turn


def test_an_image_that_cannot_be_read_is_told_once():
    def load(item, degrees):
        if item == 0:
            raise DataError("broken")

    found = read(*[Reading("a", 0.5)] * 8, load=load)
    assert isinstance(found[0], DataError)
    assert found[1].text == "a"


def test_images_are_turned_counter_clockwise():
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 12:] = 255  # light on the right
    preprocess = Preprocess(height=8, fit="keep", min_width=1, max_width=64)
    turned = {degrees: preprocess(pixels, view=View(degrees))[..., 0] for degrees in DEGREES}
    assert turned[90].shape == (8, 4)
    assert turned[90][0].mean() > 200 > 100 > turned[90][-1].mean()  # right goes up
    assert turned[270][-1].mean() > 200 > 100 > turned[270][0].mean()
    np.testing.assert_array_equal(turned[180], turned[0][::-1, ::-1])
    np.testing.assert_array_equal(
        preprocess(Image.fromarray(pixels), view=View(0))[..., 0], turned[0]
    )


def test_the_exported_reader_turns_images(exported, tmp_path, capsys):
    with Image.open(EXAMPLES / "uniform.png") as image:
        word = image.convert("L")
    turned = [word.rotate(-degrees, expand=True) for degrees in DEGREES]
    reader = Reader.load(exported, threads=1)
    found = reader.read([*turned, Image.new("L", (60, 20), 255)], batch_size=7, rotations=True)
    assert [r.text for r in found] == ["uniform"] * 4 + [""]
    assert [r.rotation for r in found[:4]] == [*DEGREES]
    for degrees, reading in zip(DEGREES, found, strict=False):
        assert reading.confidence == pytest.approx(found[0].confidence, abs=1e-5)
        assert 0 < reading.characters[0].x0 < reading.characters[-1].x1 <= word.width, degrees
    word.rotate(-90, expand=True).save(path := tmp_path / "word.png")
    assert runtime.main([f"--model={exported}", "--rotations", "--format=json", str(path)]) == 0
    (row,) = capsys.readouterr().out.splitlines()
    assert (json.loads(row)["text"], json.loads(row)["rotation"]) == ("uniform", 90)
