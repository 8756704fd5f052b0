"""Before and after, character by character."""

from __future__ import annotations

import pytest

from crnn_jax import metrics
from crnn_jax.charset import Charset
from crnn_jax.compare import Change, compare
from crnn_jax.errors import UserError
from crnn_jax.evaluate import Result, Row

LABELS = ["Haus", "café", "a b", "aaaa"]


def result(readings: list[str], labels: list[str] = LABELS, name: str = "words") -> Result:
    rows = [
        Row(str(i), label, reading, 0.5)
        for i, (label, reading) in enumerate(zip(labels, readings, strict=True))
    ]
    return Result(name, {}, rows)


BEFORE = result(["haus", "cafe", "ab", "aaaa"])
AFTER = result(["Haus", "café", "a b", "aa"])


@pytest.mark.parametrize(
    ("label", "reading", "kept"),
    [("abc", "abc", "abc"), ("abc", "xaxbxcx", "abc"), ("abc", "", ""), ("", "abc", ""),
     ("abc", "axc", "ac"), ("aab", "ab", "ab"), ("kitten", "sitting", "ittn")],
)  # fmt: skip
def test_what_an_alignment_keeps(label, reading, kept):
    assert metrics.kept(label, reading) == kept


def test_an_alignment_keeps_no_more_than_the_distance_allows():
    """Edits and what is kept make up the longer text, at least."""
    for label, reading in (("intention", "execution"), ("abcd", "badc"), ("a", "aaaa")):
        kept = len(metrics.kept(label, reading))
        assert kept + metrics.edit_distance(label, reading) >= max(len(label), len(reading))
        assert kept <= min(len(label), len(reading))


def test_every_occurrence_counts():
    found = {change.name: change for change in compare(BEFORE, AFTER).characters}
    assert found["a"] == Change("a", 7, 7, 5)
    assert found["a"].difference == pytest.approx(-2 / 7)
    assert found["H"] == Change("H", 1, 0, 1)
    assert found["é"] == Change("é", 1, 0, 1)
    assert found[" "] == Change(" ", 1, 0, 1)
    assert sum(change.count for change in found.values()) == sum(map(len, LABELS))


def test_groups_and_total_add_up():
    old = Charset(tuple("abcefhsu"), "fold")
    comparison = compare(BEFORE, AFTER, old)
    known, new = comparison.groups
    assert (known.count, known.before, known.after) == (12, 12, 10)
    assert (new.count, new.before, new.after) == (3, 0, 3)
    clusters = Charset((*"abcefh", "su"), "keep")
    assert compare(BEFORE, AFTER, clusters).groups == (known, new)
    assert comparison.total == Change("all characters", 15, 12, 13)
    assert compare(BEFORE, AFTER).groups == ()


def test_a_protocol_is_heeded():
    comparison = compare(BEFORE, AFTER, protocol="36")
    assert {change.name for change in comparison.characters} == set("hauscfb")
    assert comparison.total.before == comparison.total.count


def test_the_table_shows_the_worst_and_the_most_frequent():
    lines = compare(BEFORE, AFTER, Charset(("a",), "keep")).table(rows=2).splitlines()
    heads = [i for i, line in enumerate(lines) if line.endswith("change")]
    assert len(heads) == 3
    all_, worst, frequent = (lines[start + 2 : start + 5] for start in heads)
    assert all_[0].split() == [
        "characters",
        "of",
        "the",
        "old",
        "charset",
        "7",
        "1.0000",
        "0.7143",
        "-0.2857",
    ]
    assert all_[2].split() == ["all", "characters", "15", "0.8000", "0.8667", "+0.0667"]
    assert worst[0].split() == ["a", "7", "1.0000", "0.7143", "-0.2857"]
    assert worst[1] == ""  # nothing else got worse
    assert [line.split()[0] for line in frequent[:2]] == ["a", "U+0020"]
    assert "none" in compare(BEFORE, BEFORE).table()


def test_a_group_without_occurrences_has_no_recall():
    table = compare(BEFORE, AFTER, Charset(tuple("Haus cfébu")[:-1], "keep")).table()
    assert any(
        line.split() == ["new", "characters", "0", "-", "-", "-"] for line in table.split("\n")
    )


def test_the_file_holds_every_character(tmp_path):
    comparison = compare(BEFORE, AFTER, Charset(("a",), "keep"))
    comparison.write_tsv(tmp_path / "changes.tsv")
    rows = [line.split("\t") for line in (tmp_path / "changes.tsv").read_text("utf-8").splitlines()]
    assert rows[0] == ["character", "count", "before", "after", "change"]
    assert {len(row) for row in rows} == {5}
    assert [row[0] for row in rows[-3:]] == [
        "characters of the old charset", "new characters", "all characters"
    ]  # fmt: skip
    assert len(rows) == 1 + len(comparison.characters) + 3
    with pytest.raises(UserError, match="cannot be written"):
        comparison.write_tsv(tmp_path / "no" / "changes.tsv")


def test_sets_that_differ_are_refused():
    with pytest.raises(UserError, match=r"not of the same rows \(4 rows and 1\).*one SPEC"):
        compare(BEFORE, result(["x"], ["x"]))
    other = result(["x"] * 4, ["Haus", "café", "a c", "aaaa"])
    with pytest.raises(UserError, match="row 2 is"):
        compare(BEFORE, other)
