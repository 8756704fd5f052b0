"""Readings find their rows, and no row or reading is lost without a word."""

from __future__ import annotations

import pytest

from crnn_jax.errors import DataError
from crnn_jax.evaluate import Row
from crnn_jax.scoring.matching import match
from crnn_jax.scoring.readings_files import FileReading, ReadingsFile


def rows(*keys: str, label: str = "x") -> list[Row]:
    return [Row(key, label, "", 0.0) for key in keys]


def file(*readings: FileReading) -> ReadingsFile:
    return ReadingsFile("f.tsv", "tsv", readings)


def read(*keys: str) -> ReadingsFile:
    """A reading per key, whose text is the key."""
    return file(*(FileReading(key, key) for key in keys))


def texts(readings: ReadingsFile, *sets: tuple[str, list[Row]]) -> list[list[str | None]]:
    return [[r and r.text for r in one] for one in match(readings, sets).sets]


@pytest.mark.parametrize(
    "keys",
    [
        ("a/1.png", "a/2.png"),
        ("a/2.png", "a/1.png"),
        ("/data/a/1.png", "/data/a/2.png"),
        ("1.png", "2.png"),
        ("C:\\data\\1.png", "C:\\data\\2.png"),
        ("1", "2"),
        ("out/1.jpg", "out/2.jpg"),
    ],
)
def test_same_path_same_file_name_or_same_stem(keys: tuple[str, str]) -> None:
    found = texts(read(*keys), ("s", rows("a/1.png", "a/2.png")))
    assert found == [sorted(keys)]


def test_names_with_other_blanks_match() -> None:
    """Screenshots of some systems have a narrow no-break space in their names."""
    keys = "1/at 3\u202fPM.png", "2/at 3\u202fPM.png"
    assert texts(read(*keys), ("s", rows(*keys))) == [list(keys)]


def test_dots_within_a_name_are_no_suffix() -> None:
    assert texts(read("v1.5", "v1.6"), ("s", rows("v1.5.png", "v1.6.png"))) == [["v1.5", "v1.6"]]


def test_what_finds_no_partner_is_counted_and_named() -> None:
    found = match(read("1.png", "9.png", "8.png"), [("s", rows("1.png", "2.png", "3.png"))])
    assert [r is None for r in found.sets[0]] == [False, True, True]
    assert (found.missing, found.unused) == (("s 2.png", "s 3.png"), ("9.png", "8.png"))
    assert found.lines() == [
        "f.tsv (tsv): 1 of 3 rows have a reading",
        "  2 rows without a reading: s 2.png, s 3.png",
        "  2 readings of no row: 9.png, 8.png",
    ]
    assert found.to_json()["rows_without_reading"] == ["s 2.png", "s 3.png"]


def test_a_name_that_several_have_decides_nothing() -> None:
    found = match(read("x/1.png", "y/1.png", "2.png"), [("s", rows("a/1.png", "a/2.png"))])
    assert [r and r.text for r in found.sets[0]] == [None, "2.png"]
    assert "1 rows without a reading, 1 of them because several share a name" in found.lines()[1]
    assert texts(read("1.png", "2.png"), ("s", rows("a/1.png", "b/1.png", "2.png"))) == [
        [None, None, "2.png"]
    ]


def test_a_folder_of_the_sets_name_tells_sets_apart() -> None:
    both = read("/d/svt/images/1.png", "/d/ic03/1.png")
    assert texts(both, ("ic03", rows("1.png")), ("svt", rows("1.png"))) == [
        ["/d/ic03/1.png"], ["/d/svt/images/1.png"]
    ]  # fmt: skip


def test_our_own_files_of_several_sets_match_by_label_and_order() -> None:
    mine = file(
        FileReading("0", "first", label="x"),
        FileReading("1", "second", label="same"),
        FileReading("0", "third", label="y"),
        FileReading("1", "fourth", label="same"),
    )
    one = [Row("0", "x", "", 0.0), Row("1", "same", "", 0.0)]
    two = [Row("0", "y", "", 0.0), Row("1", "same", "", 0.0)]
    assert texts(mine, ("a", one), ("b", two)) == [["first", "second"], ["third", "fourth"]]
    assert texts(mine, ("b", two)) == [["third", None]]  # which "same" is this set's?


def test_labels_that_differ_are_refused() -> None:
    other = file(FileReading("1.png", "haus", label="Haus", where="f.tsv row 1"))
    with pytest.raises(
        DataError, match=r"f.tsv row 1: the label of 1.png is 'Haus', in the set 'x'"
    ):
        match(other, [("s", rows("1.png"))])


def test_readings_of_another_set_are_refused() -> None:
    with pytest.raises(DataError, match=r"f.tsv: no reading belongs to a row; .*'7.png'.*'1.png'"):
        match(read("7.png"), [("s", rows("1.png", "2.png"))])


def test_readings_whose_names_several_have_are_told_so() -> None:
    with pytest.raises(DataError, match="those of several rows, or of several readings; give each"):
        match(read("x/1.png", "y/1.png"), [("s", rows("a/1.png"))])
