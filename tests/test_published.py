"""Published rows name sets that exist, and stand beside the right cut of ours."""

from __future__ import annotations

import pytest

from crnn_jax.metrics import PROTOCOLS
from crnn_jax.scoring import published
from crnn_jax.scoring.benchmark_sets import BENCHMARK_SETS, recognise
from crnn_jax.scoring.published import Published


def test_rows_are_percentages_on_known_cuts_with_a_source() -> None:
    rows = published.published()
    cuts = {f"{one.name} {count}" for one in BENCHMARK_SETS for count in one.variants}
    assert len(rows) >= 15
    for row in rows:
        assert row.accuracy
        assert set(row.accuracy) <= cuts, row.title
        assert all(1 < value < 100 for value in row.accuracy.values()), row.title
        assert row.source
    assert len({row.title for row in rows}) == len(rows)
    assert published.PROTOCOL in PROTOCOLS


@pytest.mark.parametrize(
    ("system", "cut", "value"),
    [
        ("CRNN (2015)", "IIIT5K 3000", 78.2),
        ("CRNN (2015)", "IC03 860", 89.4),
        ("CRNN (2015), lexicon 50", "SVT 647", 96.4),
        ("CRNN, MindOCR VGG7", "IC13 857", 92.18),
        ("SVTRv2-B", "IC15 1811", 91.1),
    ],
)
def test_rows_hold_what_was_published(system: str, cut: str, value: float) -> None:
    (row,) = (row for row in published.published() if row.title == system)
    assert row.accuracy[cut] == value


def test_a_cell_is_of_our_cut_or_says_of_which() -> None:
    row = Published("x", "", "", "", {"IC13 857": 92.18, "IC13 1015": 90.74}, "here", "")
    assert row.cell(recognise("ic13", 857)) == "92.2"
    assert row.cell(recognise("ic13", 1015)) == "90.7"
    assert row.cell(recognise("ic13", 1095)) == "92.2 (857), 90.7 (1015)"
    assert row.cell(recognise("ic13_857", 800)) == "92.2 (857), 90.7 (1015)"
    assert row.cell(recognise("svt", 647)) == ""


def test_rows_without_a_result_on_our_sets_are_left_out() -> None:
    titles = [row.title for row in published.rows_for([recognise("ic03", 860)])]
    assert "CRNN (2015), lexicon 50k" in titles
    assert "SVTRv2-B" not in titles
    assert published.rows_for([]) == []
