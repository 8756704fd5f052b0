from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from crnn_jax.charset import Charset, build_charset
from crnn_jax.data import index as index_lib
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import build_index, refuse_unreadable
from crnn_jax.data.sources import open_source
from crnn_jax.errors import DataError, ImageError, UserError

SQUASH = Preprocess(height=32, fit="squash", width=100)
KEEP = Preprocess(height=32, fit="keep", min_width=8, max_width=200)
LETTERS = build_charset("chars:abcdefgh")


def quarter(width: int) -> int:
    return width // 4


class MemorySource:
    """Rows without pixels; a size of None stands for an unreadable header."""

    def __init__(self, labels, sizes=None, name="words"):
        self.labels, self.sizes, self.name = labels, sizes, name
        self.headers_read = []

    def __len__(self) -> int:
        return len(self.labels)

    def key(self, i: int) -> str:
        return f"{i}.png"

    def label(self, i: int) -> str:
        return self.labels[i]

    def lexicon(self, i: int) -> tuple[str, ...]:
        return ()

    def image_bytes(self, i: int) -> bytes:
        raise ImageError("no pixels here")

    def image_size(self, i: int) -> tuple[int, int]:
        self.headers_read.append(i)
        if self.sizes[i] is None:
            raise ImageError("not an image")
        return self.sizes[i]

    def where(self, i: int) -> str:
        return f"row {i}"

    def fingerprint(self) -> str:
        return "memory"


def readings(index, charset: Charset = LETTERS) -> list[str]:
    return [charset.decode(index.labels[i].tolist()) for i in range(len(index))]


def test_rows_of_all_sources_keep_their_place_and_label():
    sources = [MemorySource(["abc", "a"], name="first"), MemorySource(["hgfed"], name="second")]
    index = build_index(sources, LETTERS, SQUASH, quarter)
    assert readings(index) == ["abc", "a", "hgfed"]
    assert [(s.name, row) for s, row in map(index.locate, range(3))] == [
        ("first", 0),
        ("first", 1),
        ("second", 0),
    ]
    assert index.max_label_length == 5
    assert index.where(2) == "second: row 0"
    assert index.report.rows_total == index.report.rows_usable == 3
    assert not index.report.skipped


def test_squash_reads_no_header():
    source = MemorySource(["a", "b"])
    index = build_index([source], LETTERS, SQUASH, quarter)
    assert index.widths.tolist() == [100, 100]
    assert source.headers_read == []


def test_keep_measures_widths_and_keeps_rows_with_an_unreadable_header():
    sizes = [(64, 32), (640, 64), (3, 32), None, (900, 30)]
    source = MemorySource(["a", "b", "c", "d" * 60, "e"], sizes)
    index = build_index([source], LETTERS, KEEP, quarter)
    assert index.widths.tolist() == [KEEP.target_width(*s) if s else 0 for s in sizes]
    assert index.widths.tolist() == [64, 200, 8, 0, 200]
    assert index.report.unreadable == [("words: row 3", "not an image")]
    assert index.report.unreadable_count == 1
    assert sorted(source.headers_read) == [0, 1, 2, 3, 4], "each header exactly once"


def test_feasibility_counts_a_blank_between_repeats():
    # 12 px are 3 frames: abc fits exactly, aab needs 4.
    source = MemorySource(["abc", "aab", "ab", "aa", "aaa"], [(12, 32)] * 5)
    index = build_index([source], LETTERS, KEEP, quarter, infeasible="skip")
    assert readings(index) == ["abc", "ab", "aa"]
    assert index.report.skipped == [
        ("words: row 1", "the label needs 4 frames, the image of 12 px gives 3"),
        ("words: row 4", "the label needs 5 frames, the image of 12 px gives 3"),
    ]
    assert index.report.skipped_counts == {"infeasible": 2}
    with pytest.raises(DataError, match=r"words: row 1: .* needs 4 frames, .*\(2 of 5 rows"):
        build_index([source], LETTERS, KEEP, quarter, infeasible="error")


def test_images_are_widened_until_their_labels_fit():
    labels = ["abc", "aab", "", "a" * 30, "ab"]
    source = MemorySource(labels, [(12, 32), (12, 32), (12, 32), (12, 32), None])
    index = build_index([source], LETTERS, KEEP, quarter, infeasible="widen")
    # "aab" needs 4 frames of 4 px; 30 letters that repeat 59, more than 200 px have.
    assert readings(index) == ["abc", "aab", "ab"]
    assert index.widths.tolist() == [12, 16, 0]
    assert index.report.skipped_counts == {"empty": 1, "infeasible": 1}
    assert "3 of 5 rows usable" in index.report.summary()
    assert "; 1 stretched for their labels" in index.report.summary()


def test_empty_labels():
    source = MemorySource(["", "ab", ""])
    index = build_index([source], LETTERS, SQUASH, quarter, infeasible="skip")
    assert readings(index) == ["ab"]
    assert index.report.skipped_counts == {"empty": 2}
    with pytest.raises(DataError, match=r"row 0: the label is empty \(2 of 3 rows"):
        build_index([source], LETTERS, SQUASH, quarter)


def test_unknown_characters_under_each_policy():
    source = MemorySource(["ab", "aé!", "!!", "b!b"])
    with pytest.raises(DataError, match=r"row 1: .*'é' \(U\+00E9\), '!' .*\(3 of 4 rows"):
        build_index([source], LETTERS, SQUASH, quarter)

    dropped = build_index([source], LETTERS, SQUASH, quarter, unknown="drop", infeasible="skip")
    assert readings(dropped) == ["ab", "a", "bb"]
    assert dropped.report.unknown_characters == {"!": 4, "é": 1}
    assert dropped.report.skipped == [("words: row 2", "outside the charset: '!' (U+0021)")]

    skipped = build_index([source], LETTERS, SQUASH, quarter, unknown="skip", infeasible="skip")
    assert readings(skipped) == ["ab"]
    assert skipped.report.skipped_counts == {"unknown characters": 3}
    assert skipped.report.unknown_characters == {"!": 4, "é": 1}
    assert "1 of 4 rows usable; left out: 3 unknown characters" in skipped.report.summary()


def test_dropped_characters_can_bring_repeats_together():
    source = MemorySource(["a!a"], [(8, 32)])  # 2 frames, "aa" needs 3
    with pytest.raises(DataError, match="needs 3 frames"):
        build_index([source], LETTERS, KEEP, quarter, unknown="drop")


def test_an_error_names_a_row_of_its_own_kind():
    source = MemorySource(["a!", "", "a" * 40])
    with pytest.raises(DataError, match=r"row 1: .*\(1 of 3 rows: empty"):
        build_index([source], LETTERS, SQUASH, quarter, unknown="skip", infeasible="error")


def test_headers_are_read_only_for_rows_with_a_usable_label():
    source = MemorySource(["a", "!", "", "b"], [(40, 32)] * 4)
    build_index([source], LETTERS, KEEP, quarter, unknown="skip", infeasible="skip")
    assert sorted(source.headers_read) == [0, 3]


def test_no_usable_row_and_no_source_are_errors():
    with pytest.raises(DataError, match="no usable row in words: 0 of 1 rows usable"):
        build_index([MemorySource(["!"])], LETTERS, SQUASH, quarter, unknown="skip")
    with pytest.raises(DataError, match="no source"):
        build_index([], LETTERS, SQUASH, quarter)


@pytest.mark.parametrize("preprocess", [SQUASH, KEEP])
def test_a_list_of_which_no_image_can_be_read_is_refused(preprocess):
    source = MemorySource(["a"] * 40, [None] * 40)
    index = build_index([source], LETTERS, preprocess, quarter)
    with pytest.raises(DataError, match=r"none of .* read; the first: words: row 0: not an image"):
        refuse_unreadable(index, preprocess)
    source.sizes[39] = (40, 32)
    refuse_unreadable(build_index([source], LETTERS, preprocess, quarter), preprocess)


def test_unknown_policies_name_the_nearest():
    source = MemorySource(["a"])
    with pytest.raises(UserError, match="did you mean 'drop'"):
        build_index([source], LETTERS, SQUASH, quarter, unknown="dropp")
    with pytest.raises(UserError, match="did you mean 'skip'"):
        build_index([source], LETTERS, SQUASH, quarter, infeasible="skipp")


def test_the_report_names_a_bounded_number_of_rows_and_counts_all(monkeypatch):
    monkeypatch.setattr(index_lib, "MAX_NAMED", 5)
    source = MemorySource(["!"] * 600 + ["a"] * 600, [(40, 32)] * 600 + [None] * 600)
    report = build_index([source], LETTERS, KEEP, quarter, unknown="skip").report
    assert (len(report.skipped), report.skipped_counts["unknown characters"]) == (5, 600)
    assert (len(report.unreadable), report.unreadable_count) == (5, 600)


def test_many_rows_stay_compact_when_pickled():
    labels = ["abcdefgh"[i % 8 :] + "ab" for i in range(20_000)]
    index = build_index([MemorySource(labels)], LETTERS, SQUASH, quarter)
    index.sources.clear()
    data = pickle.dumps(index)
    assert len(data) < 20_000 * (4 * 3 + 8 + 4 * 6.5 + 1)
    copy = pickle.loads(data)
    assert all(np.array_equal(copy.labels[i], index.labels[i]) for i in range(len(index)))
    assert [len(copy.labels[i]) for i in range(9)] == copy.labels.lengths[:9].tolist()


def test_progress_is_shown_for_many_headers_only(monkeypatch):
    shown = []

    class Bar(index_lib.tqdm):
        def __init__(self, *args, **kwargs):
            shown.append((kwargs["total"], kwargs["disable"] is not True))
            super().__init__(*args, **{**kwargs, "disable": True})

    monkeypatch.setattr(index_lib, "tqdm", Bar)
    for rows in (300, 6_000):
        source = MemorySource(["a"] * rows, [(40, 32)] * rows)
        index = build_index([source], LETTERS, KEEP, quarter)
        assert index.widths.tolist() == [40] * rows
    assert shown == [(300, False), (6_000, True)]


def test_a_folder_on_disk(tmp_path):
    Image.new("L", (50, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "labels.tsv").write_text("a.png\tabc\nb.png\tba\nmissing.png\tca\n")
    index = build_index([open_source(f"tsv:{tmp_path}")], LETTERS, KEEP, quarter)
    assert readings(index) == ["abc", "ba", "ca"]
    assert index.widths.tolist() == [80, 0, 0]
    assert "row 2 (b.png)" in index.report.unreadable[0][0]


def test_real_words_lower_cased_are_all_known(real_data):
    source = open_source(f"tsv:{real_data / 'iiit5k_train'}::limit=300")
    folded = build_index([source], build_charset("alnum36"), KEEP, quarter, infeasible="skip")
    assert folded.report.rows_usable > 280
    assert not folded.report.unknown_characters
    with pytest.raises(DataError, match="outside the charset"):
        build_index([source], build_charset("alnum36", case="keep"), KEEP, quarter)
