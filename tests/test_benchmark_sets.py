"""Public test sets are known by their names, and a wrong count does not pass."""

from __future__ import annotations

import pytest

from crnn_jax.scoring.benchmark_sets import BENCHMARK_SETS, recognise


@pytest.mark.parametrize(
    ("name", "rows", "variant"),
    [
        ("svt_test", 647, "SVT 647"),
        ("SVT", 647, "SVT 647"),
        ("IIIT5k", 3000, "IIIT5K 3000"),
        ("iiit5k_test", 3000, "IIIT5K 3000"),
        ("IIIT5k_3000", 3000, "IIIT5K 3000"),
        ("IIIT-5K-Words", 3000, "IIIT5K 3000"),
        ("ic03_860", 860, "IC03 860"),
        ("IC03_867", 867, "IC03 867"),
        ("icdar2013", 1015, "IC13 1015"),
        ("ic13_857", 857, "IC13 857"),
        ("IC13_1095", 1095, "IC13 1095"),
        ("ICDAR-15 test", 1811, "IC15 1811"),
        ("ic15_2077_lmdb", 2077, "IC15 2077"),
        ("svt-p", 645, "SVTP 645"),
        ("svt_perspective", 645, "SVTP 645"),
        ("CUTE80", 288, "CUTE80 288"),
        ("cute", 288, "CUTE80 288"),
        ("ct80", 288, "CUTE80 288"),
        ("union14m_curve", 2426, "Union14M curve 2426"),
        ("multi_oriented", 1369, "Union14M multi-oriented 1369"),
        ("u14m-general", 400_000, "Union14M general 400000"),
        ("ost_weak", 2416, "OST weak 2416"),
        ("heavy", 2416, "OST heavy 2416"),
        ("OST", 4832, "OST 4832"),
    ],
)
def test_a_test_set_is_known_by_its_name(name: str, rows: int, variant: str) -> None:
    found = recognise(name, rows)
    assert found is not None
    assert (found.variant, found.complete) == (variant, True)


@pytest.mark.parametrize(
    "name",
    ["iiit5k_train", "svt_train", "ic15_train", "IC13_val", "SVT training", "svtx", "mysvt", "svt2",
     "clean", "words", "sroie_train.lmdb", "captcha", "ic1", "", "test", "ic13ic15"],
)  # fmt: skip
def test_other_sets_are_not_taken_for_test_sets(name: str) -> None:
    assert all(recognise(name, rows) is None for b in BENCHMARK_SETS for rows in b.variants)


def test_part_of_a_benchmark_needs_its_count_or_the_name_of_the_benchmark() -> None:
    assert recognise("general", 1000) is None
    assert recognise("general", 400_000) is not None
    assert recognise("union14m/general", 1000).complete is False


@pytest.mark.parametrize(
    ("name", "rows", "remark"),
    [
        ("svt_test", 646, "646 rows, but SVT has 647: not the public set"),
        ("ic13", 1000, "1000 rows, but IC13 has 857 or 1015 or 1095: not the public set"),
        ("ic13_857", 1015, "1015 rows, but IC13 has 857: not the public set"),
        ("ic15", 2077, "IC15 2077: all"),
        ("svt", 647, ""),
    ],
)
def test_a_wrong_count_is_flagged_and_a_cut_is_named(name: str, rows: int, remark: str) -> None:
    assert recognise(name, rows).remark() == remark


def test_counts_in_the_results_file() -> None:
    assert recognise("ic13", 857).to_json() == {
        "name": "IC13",
        "rows": 857,
        "expected_count": [857, 1015, 1095],
        "complete": True,
        "variant": "words of three or more characters, all of them letters or digits",
    }
    wrong = recognise("svt_test", 640).to_json()
    assert (wrong["expected_count"], wrong["complete"], wrong["variant"]) == ([647], False, None)
