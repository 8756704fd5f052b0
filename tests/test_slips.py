"""What goes wrong in readings: edits named by what happened, and counted."""

from __future__ import annotations

import numpy as np
import pytest

from crnn_jax import metrics
from crnn_jax.reporting import slips
from crnn_jax.reporting.sets import Pair
from crnn_jax.reporting.slips import PLACES
from crnn_jax.scoring.edits import KINDS, NOTHING, Edit, edits


def pair(label: str, reading: str, confidence: float = 0.5, row: int = 0) -> Pair:
    return Pair(0, row, label, reading, confidence)


@pytest.mark.parametrize(
    ("label", "reading", "found"),
    [
        ("letter", "leter", [("t", NOTHING, "dropped_repeat")]),
        ("later", "latter", [(NOTHING, "t", "added_repeat")]),
        ("a word", "aword", [(" ", NOTHING, "lost_space")]),
        ("aword", "a word", [(NOTHING, " ", "added_space")]),
        ("Word", "word", [("W", "w", "case")]),
        ("word", "ord", [("w", NOTHING, "lost_first")]),
        ("word", "wor", [("d", NOTHING, "lost_last")]),
        ("word", "wod", [("r", NOTHING, "lost")]),
        ("word", "wotd", [("r", "t", "replaced")]),
        ("word", "words", [(NOTHING, "s", "added")]),
        ("word", "xword", [(NOTHING, "x", "added")]),
        ("aa", "a", [("a", NOTHING, "dropped_repeat")]),
        ("a", "", [("a", NOTHING, "lost_first")]),
        ("word", "word", []),
    ],
)
def test_an_edit_is_named_by_what_happened(label: str, reading: str, found: list) -> None:
    assert [(e.label, e.reading, e.kind) for e in edits(label, reading)] == found


def random_text(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("abB "), rng.integers(0, 8)))


@pytest.mark.parametrize("seed", range(5))
def test_edits_are_as_many_as_the_distance_and_turn_the_label_into_the_reading(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        label, reading = random_text(rng), random_text(rng)
        found = edits(label, reading)
        assert len(found) == metrics.edit_distance(label, reading)
        assert apply(label, found) == reading
        assert all(edit.kind in KINDS for edit in found)


def apply(label: str, found: list[Edit]) -> str:
    """Returns a label after its edits."""
    text, at = "", 0
    for edit in found:
        text += label[at : edit.at] + edit.reading
        at = edit.at + len(edit.label)
    return text + label[at:]


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_sums_over_the_readings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [(random_text(rng), random_text(rng)) for _ in range(100)]
    pairs = [pair(a, b, row=i) for i, (a, b) in enumerate(texts) if a]
    found = slips.count(pairs)
    assert found.total == sum(metrics.edit_distance(p.label, p.reading) for p in pairs)
    assert found.total == sum(found.kinds.values())
    assert sum(found.characters.values()) == sum(len(p.label) for p in pairs)
    assert found.spaces == sum(p.label.count(" ") for p in pairs)
    long = [p for p in pairs if len(p.label) >= 4]
    assert sum(of for _, of in found.places.values()) == sum(len(p.label) for p in long)
    assert [found.places[place][1] for place in PLACES if place != "inner"] == [len(long)] * 4
    wrong = sum(bool(e.label) for p in long for e in edits(p.label, p.reading))
    assert sum(wrong for wrong, _ in found.places.values()) == wrong
    characters, counts = slips.matrix(found, 99)
    assert characters[-1] == NOTHING
    assert np.sum(counts) == found.total
    assert np.trace(counts) == 0


def test_the_matrix_holds_what_is_confused_most() -> None:
    pairs = [pair("abc", "abd")] * 5 + [pair("xyz", "xyw")] + [pair("abc", "ab")] * 2
    characters, counts = slips.matrix(slips.count(pairs), 2)
    assert characters == ["c", "d", NOTHING]
    assert counts == [[0, 5, 2], [0, 0, 0], [0, 0, 0]]


def test_surest_examples_come_first_and_doubtful_labels_last() -> None:
    pairs = [pair("ab", "ac", 0.3, 0), pair("ab", "ac", 0.9, 1), pair("ab", "ac", 0.6, 2)]
    found = slips.count(pairs, {(0, 1)})
    assert [p.row for p in found.pairs["b", "c"]] == [2, 0, 1]


def test_instructive_readings_are_of_every_kind_and_the_clearest_of_it() -> None:
    pairs = [
        pair("letter", "leter", 0.4, 0),
        pair("better", "beter", 0.8, 1),
        pair("better", "betr", 0.9, 2),
        pair("word", "wotd", 0.2, 3),
        pair("word", "ord", 0.2, 4),
    ]
    found = list(slips.instructive(pairs, 4))
    assert [p.row for _, p in found] == [1, 4, 3, 2]
    assert found[0][0] == KINDS["dropped_repeat"]
    assert len({(p.set, p.row) for _, p in slips.instructive(pairs, 10)}) == 5
