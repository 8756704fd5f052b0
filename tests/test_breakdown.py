"""Groups of rows: every row that counts is in one group of each kind."""

from __future__ import annotations

import pytest
from small import write_words

from crnn_jax.data.sources import open_source
from crnn_jax.evaluate import Row
from crnn_jax.scoring.breakdown import (
    Group,
    aspect_ratios,
    breakdown,
    character_group,
    doubled_group,
    length_group,
    ratio_group,
)
from crnn_jax.scoring.significance import score_rows


@pytest.mark.parametrize(
    ("length", "group"),
    [(1, "1-2"), (2, "1-2"), (3, "3-4"), (8, "7-8"), (9, "9-11"), (11, "9-11"), (12, "12+"),
     (40, "12+")],
)  # fmt: skip
def test_length(length: int, group: str) -> None:
    assert length_group("x" * length) == group


@pytest.mark.parametrize(
    ("ratio", "group"),
    [(0.2, "below 1"), (1.0, "1-2"), (1.99, "1-2"), (3.5, "3-4"), (5.9, "4-6"), (6.0, "6+"),
     (99.0, "6+"), (None, "unreadable")],
)  # fmt: skip
def test_aspect_ratio(ratio: float | None, group: str) -> None:
    assert ratio_group(ratio) == group


@pytest.mark.parametrize(
    ("label", "group"),
    [("Haus", "letters"), ("été", "letters"), ("two words", "letters"), ("2015", "digits"),
     ("1 000", "digits"), ("A4", "letters and digits"), ("it's", "other characters"),
     ("4.5", "other characters"), ("!", "other characters"), ("一起", "letters"),
     ("三星4", "letters and digits"), ("नमस्ते", "letters"), ("สวัสดี", "letters"),
     ("cafe\u0301", "letters"), ("m²", "letters and digits")],
)  # fmt: skip
def test_characters(label: str, group: str) -> None:
    assert character_group(label) == group


def test_doubled_characters() -> None:
    assert doubled_group("letter") == doubled_group("100") == "a doubled character"
    assert doubled_group("lever") == doubled_group("") == doubled_group("a") == "none doubled"


def test_groups_of_a_set() -> None:
    texts = [("Off", "off"), ("It's", "its"), ("2015", "2016"), ("--", ""), ("A4", "a4"), ("x", "")]
    rows = [Row(str(i), label, reading, 1.0) for i, (label, reading) in enumerate(texts)]
    ratios = [1.5, 2.5, 2.5, 9.0, 0.5, None]
    found = breakdown(rows, score_rows(rows, "36"), ratios, "36")
    assert found["label_length"] == [Group("1-2", 2, 1), Group("3-4", 3, 2)]
    assert found["aspect_ratio"] == [
        Group("below 1", 1, 1), Group("1-2", 1, 1), Group("2-3", 2, 1), Group("unreadable", 1, 0)
    ]  # fmt: skip
    assert found["characters"] == [
        Group("letters", 2, 1), Group("digits", 1, 0), Group("letters and digits", 1, 1),
        Group("other characters", 1, 1),
    ]  # fmt: skip
    assert found["doubled_characters"] == [
        Group("a doubled character", 1, 1),
        Group("none doubled", 4, 2),
    ]
    for groups in found.values():
        assert sum(group.count for group in groups) == 5  # "--" is empty under protocol 36
        assert sum(group.correct for group in groups) == 3
    assert found["doubled_characters"][1].to_json() == {
        "name": "none doubled", "count": 4, "word_accuracy": 0.5
    }  # fmt: skip


def test_capitals_double_only_where_the_protocol_folds_them() -> None:
    rows = [Row("0", "Aal", "Aal", 1.0)]
    for protocol, group in (("36", "a doubled character"), ("exact", "none doubled")):
        found = breakdown(rows, score_rows(rows, protocol), [1.0], protocol)
        assert found["doubled_characters"] == [Group(group, 1, 1)]


def test_aspect_ratios_come_from_the_images(tmp_path) -> None:
    write_words(tmp_path, ["a", "b", "c"])  # 20 pixels high, 40, 43 and 46 wide
    (tmp_path / "1.png").unlink()
    assert aspect_ratios(open_source(f"tsv:{tmp_path}")) == [2.0, None, 2.3]
