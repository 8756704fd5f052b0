"""The picture of the worst readings."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image
from small import write_words

from crnn_jax import evaluate, metrics, pictures
from crnn_jax.data.sources import open_source
from crnn_jax.reading import Reading
from crnn_jax.runtime import Character
from crnn_jax.scoring.results import Row, score
from crnn_jax.scoring.worst import save_worst, worst_rows


def result(name, *readings):
    return score(name, [Row(f"{i}.png", *r) for i, r in enumerate(readings)], "exact", None)


def red(picture) -> bool:
    """Returns whether anything is drawn as a mistake."""
    return (0xB3, 0x26, 0x1E) in {c for _, c in picture.convert("RGB").getcolors(1 << 20)}


def test_the_worst_come_first_and_the_surest_of_equals():
    first = result(
        "first", ("one", "one", 0.9), ("two", "twx", 0.5), ("two", "twx", 0.8), ("", "x", 1.0)
    )
    second = result("second", ("three", "", 0.0), ("TWO", "two", 0.7))
    assert worst_rows([first, second], "exact") == [(1, 1), (1, 0), (0, 2), (0, 1)]
    assert worst_rows([first, second], "36") == [(1, 0), (0, 2), (0, 1)]
    assert worst_rows([first, second], "exact", 1) == [(1, 1)]


def test_differences_tell_what_is_right():
    assert metrics.differences("boat", "coat!") == [
        ("b", "c", False), ("oat", "oat", True), ("", "!", False),
    ]  # fmt: skip
    assert metrics.differences("", "") == []


def test_a_picture_of_mistakes_marks_what_differs(tmp_path):
    write_words(tmp_path, ["boat", "two", "three"])
    (tmp_path / "2.png").unlink()  # an image that is missing is a mistake, too
    rows = ("boat", "coat", 0.5), ("two", "two", 0.9), ("three", "", 0.0)
    path = tmp_path / "worst.png"
    assert save_worst(str(path), [open_source(f"tsv:{tmp_path}")], [result("a", *rows)], "36") == 2
    with Image.open(path) as image:
        assert image.size == (960, 112)
        assert red(image), "mistakes are red"


def test_what_the_protocol_does_not_compare_is_no_mistake(tmp_path):
    """Nor do rows without confidences come before others that are as wrong."""
    write_words(tmp_path, ["Boat!"])
    source = open_source(f"tsv:{tmp_path}")
    row = Row("0.png", "Boat!", "coat", math.nan)
    pixels, shown = pictures.compared(source, 0, row, "36")
    assert (shown.label, shown.reading) == ("boat", "coat")
    drawn, blank = (
        pictures.mistakes([(pixels, dataclasses.replace(shown, reading=r))])
        for r in ("coat", "boat")
    )
    assert red(drawn)
    assert not red(blank)
    for label, reading, right in (
        ("Boat!", "boat", True),
        ("BOAT", "bOaT", True),
        ("boat", "coat", False),
    ):
        grid = pictures.readings_grid([pixels], [Row("a", label, reading, math.nan)], "36")
        assert red(grid) != right
    first = result("first", ("two", "twx", math.nan), ("two", "twx", 0.5), ("two", "twx", 0.8))
    assert worst_rows([first], "36") == [(0, 2), (0, 1), (0, 0)]


def test_scripts_whose_letters_join_are_drawn_whole():
    pixels = np.zeros((20, 60, 3), np.uint8)
    arabic = Row("a.png", "سلام", "سلم", 0.5)
    assert pictures.mistakes([(pixels, arabic)]).size == (960, 112)
    assert pictures.mistakes([]).size == (960, 112)


def test_a_line_break_in_a_text_is_drawn_as_one_writes_it():
    pixels, row = np.zeros((20, 60, 3), np.uint8), Row("a\n.png", "a\nb", "a\tb\u2028", 0.5)
    shown = Row("a\\n.png", "a\\nb", "a\\tb\\u2028", 0.5)
    for draw in (
        lambda row: pictures.readings_grid([pixels], [row], "exact"),
        lambda row: pictures.mistakes([(pixels, dataclasses.replace(row, reading=row.label))]),
        lambda row: pictures.labelled_grid([pixels], [row.label], 1),
    ):
        assert draw(row).tobytes() == draw(shown).tobytes()
    assert pictures.gallery([(row.key, True, [(pixels, row)])]).size == (960, 126)
    reading = Reading(row.label, 0.5, (), (Character("\n", 0.5, 0.0, 30.0),))
    assert pictures.character_boxes(pixels, reading).size


def test_readings_are_written_before_anything_is_drawn(tmp_path, monkeypatch):
    write_words(tmp_path, ["boat"])
    (tmp_path / "read.tsv").write_text("0.png\tcoat\n", encoding="utf-8")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("crnn_jax.scoring.worst.save_worst", full)
    with pytest.raises(OSError, match="no space left"):
        evaluate.main([
            f"--data=tsv:{tmp_path}", f"--readings={tmp_path}/read.tsv", "--protocol=36",
            f"--worst={tmp_path}/worst.png", f"--predictions={tmp_path}/written.tsv",
        ])  # fmt: skip
    assert (tmp_path / "written.tsv").read_text("utf-8").startswith("0.png\tboat\tcoat\t")
