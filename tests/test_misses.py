"""The picture of wrong readings by kind."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image
from small import write_words

from crnn_jax.data.sources import open_source
from crnn_jax.scoring.edits import KINDS
from crnn_jax.scoring.misses import (
    EMPTY,
    MORE,
    ORDER,
    TWO,
    UNLIKE,
    misses_of,
    sample,
    save_misses,
)
from crnn_jax.scoring.results import Row, score


def result(*readings):
    return score("set", [Row(f"{i}.png", *r) for i, r in enumerate(readings)], "exact", None)


@pytest.mark.parametrize(
    ("label", "reading", "kind"),
    [
        ("boat", "", EMPTY),
        ("boat", "xyz", UNLIKE),
        ("museum", "nusewn", MORE),
        ("museum", "nuseun", TWO),
        ("coffee", "cofee", KINDS["dropped_repeat"]),
        ("boat", "oat", KINDS["lost_first"]),
        ("boat", "coat", KINDS["replaced"]),
        ("boat", "boats", KINDS["added"]),
    ],
)
def test_a_miss_is_of_one_kind(label, reading, kind):
    [miss] = misses_of(result((label, reading, 0.5)), "exact")
    assert (miss.label, miss.reading, miss.kind) == (label, reading, kind)
    assert kind in ORDER


def test_texts_are_compared_by_the_protocol():
    found = result(("It's", "its", 0.5), ("Boat", "coat!", 0.5), ("!", "i", 0.5))
    [miss] = misses_of(found, "36")
    assert (miss.row, miss.label, miss.reading) == (1, "boat", "coat")
    assert [miss.row for miss in misses_of(found, "exact")] == [0, 1, 2]


def test_a_sample_is_the_same_again_and_sorted_by_kind():
    readings = [("museum", "museun", 0.5), ("boat", "", 0.1), ("boat", "oat", 0.9)] * 20
    found = result(*readings)
    misses = misses_of(found, "exact")
    chosen = sample(misses, found, 30)
    assert chosen == sample(list(reversed(misses)), found, 30)
    kinds = [ORDER.index(miss.kind) for miss in chosen]
    assert len(chosen) == 30
    assert kinds == sorted(kinds)
    assert len(set(kinds)) == 3
    # A better model's misses are a part of these where they are misses of both.
    better = dataclasses.replace(found, rows=found.rows[:30])
    assert set(sample(misses_of(better, "exact"), better, 30)) >= {m for m in chosen if m.row < 30}


def test_the_picture_has_every_set(tmp_path):
    write_words(tmp_path, ["boat", "two", "three"])
    (tmp_path / "2.png").unlink()
    found = result(("boat", "coat", 0.5), ("two", "two", 0.9), ("three", "", 0.0))
    source = open_source(f"tsv:{tmp_path}")
    path = tmp_path / "misses.png"
    assert save_misses(str(path), [source, source], [found, found], "36") == 4
    with Image.open(path) as image:
        one_set = 26 + 2 * (26 + 100)  # a title, and two kinds of a line each
        assert image.size == (960, 2 * one_set)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert (0xB3, 0x26, 0x1E) in colours, "mistakes are red"
    assert save_misses(str(path), [source], [result(("two", "two", 0.9))], "36") == 0
