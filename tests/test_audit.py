"""The audit of a set: each finding has a set with exactly that defect, a clean set has none."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import drawn_words
import numpy as np
import pytest
from audited_sets import DEFECTS, LETTERS, WITH, examples, huge_png, kinds, only, run_audit
from drawn_words import clean_rows, png, write_set

from crnn_jax.auditing import page, report, rows
from crnn_jax.auditing.findings import KINDS, SEVERITIES
from crnn_jax.charset import build_charset
from crnn_jax.data.sources import open_source


@pytest.fixture
def charset_for() -> Callable:
    """Letters, and with them what a defect writes that is not its point."""

    def choose(kind: str):
        return (
            LETTERS
            if kind == "unknown_character"
            else build_charset("chars:" + drawn_words.LETTERS + "éÃ© \u200b")
        )

    return choose


def test_a_clean_set_has_no_findings(tmp_path: pathlib.Path) -> None:
    found = run_audit(f"tsv:{write_set(tmp_path / 'clean', clean_rows())}")
    assert kinds(found) == {}
    assert found.near[0].within == 0
    assert len(found.near[0].pairs) > 10, "the nearest are listed, whatever their distance"
    assert "nothing found" in report.to_text(found)
    assert "Nothing found" in page.to_html(found)


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_found_and_no_other(
    tmp_path: pathlib.Path, charset_for: Callable, kind: str
) -> None:
    change, row = DEFECTS[kind]
    rows = clean_rows()
    change(rows)
    found = run_audit(f"tsv:{write_set(tmp_path / 'set', rows)}", charset=charset_for(kind))
    assert set(kinds(found)) == {kind} | WITH.get(kind, set())
    assert only(found, kind).count == 1
    assert rows[row][0] in examples(found, kind)[0]
    text = report.to_text(found)
    assert f"labels.tsv row {row + 1} ({rows[row][0]})" in text
    assert f"set: {KINDS[kind].title}: 1\n" in text


def test_every_kind_has_a_test_here() -> None:
    between = {"shared_row", "shared_image", "straddling_group", "near_duplicate_between_sets"}
    of_whole_sets = {"suspicious_label", "quoted_label"}
    assert set(DEFECTS) | between | of_whole_sets == set(KINDS)
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)


# Labels.


def test_unknown_characters_are_counted_by_the_labels_that_hold_them(tmp_path) -> None:
    rows = clean_rows()
    for i, label in enumerate(["a!b!", "c!", "e?"]):
        rows[i] = (*rows[i][:2], label)
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}")
    finding = only(found, "unknown_character")
    assert finding.count == 3
    assert finding.values["characters"] == {
        "!": {"labels": 2, "occurrences": 3},
        "?": {"labels": 1, "occurrences": 1},
    }
    assert "'!' in 2, '?' in 1" in report.to_text(found)


def test_without_a_charset_it_says_what_is_not_checked(tmp_path) -> None:
    rows = clean_rows()
    rows[0] = (*rows[0][:2], "wörd!")
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}", charset=None)
    assert kinds(found) == {}
    assert "not checked: characters outside the charset" in report.to_text(found)
    assert report.to_json(found)["sets"][0]["characters"]["ö"] == 1


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (" a", "leading"),
        ("a ", "trailing"),
        ("a  b", "double"),
        ("a\u00a0b", "unusual"),
        (" a  b\u3000c ", "leading, trailing, double, unusual"),
    ],
)
def test_blanks_are_told_apart(tmp_path, label: str, said: str) -> None:
    rows = clean_rows()
    rows[0] = (*rows[0][:2], label)
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}", charset=None)
    assert said in only(found, "stray_blank").examples[0].detail
    assert examples(found, "stray_blank") == [[rows[0][0]]]


@pytest.mark.parametrize(("quoted", "count"), [(20, 0), (21, 21)])
def test_quotes_are_told_where_most_labels_have_them(tmp_path, quoted: int, count: int) -> None:
    rows = [
        (name, image, f'"{label}"' if i < quoted else label)
        for i, (name, image, label) in enumerate(clean_rows())
    ]
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}", charset=None)
    assert kinds(found).get("quoted_label", 0) == count


@pytest.mark.parametrize("label", ["Müller", "ß", "naïve", "a b", "Ångström", "日本", "über–all"])
def test_good_labels_have_no_finding(tmp_path, label: str) -> None:
    rows = clean_rows()
    rows[0] = (*rows[0][:2], label)
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}", charset=None)
    assert set(kinds(found)) <= {"aspect_outlier"}  # the image still shows another word


# Images.


def test_an_image_of_100_megapixels_is_refused_and_the_audit_goes_on(tmp_path) -> None:
    rows = clean_rows()
    rows[0] = (rows[0][0], huge_png(), rows[0][2])
    found = run_audit(f"tsv:{write_set(tmp_path, rows)}")
    assert kinds(found) == {"unreadable_image": 1}
    (example,) = only(found, "unreadable_image").examples
    assert "too large: 10,000 x 10,000 pixels" in example.detail
    assert np.count_nonzero(found.sets[0].images.readable) == len(rows) - 1


def test_missing_and_truncated_images_are_named_with_the_reason(tmp_path) -> None:
    rows = clean_rows()
    rows[1] = (rows[1][0], png(rows[1][1])[:400], rows[1][2])
    folder = write_set(tmp_path, rows)
    (folder / rows[0][0]).unlink()
    found = run_audit(f"tsv:{folder}")
    details = [example.detail for example in only(found, "unreadable_image").examples]
    assert len(details) == 2
    assert "missing" in details[0]
    assert "truncated" in details[1]
    assert rows[0][0] in report.to_text(found)


def test_large_images_are_decoded_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "_LARGE", 100)
    folder = write_set(tmp_path, clean_rows())
    assert run_audit(f"tsv:{folder}").sets[0].images.readable.all()


def test_rows_stay_in_order_and_few_are_in_hand(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "_THREADS", 3)
    monkeypatch.setattr(rows, "_AHEAD", 2)
    drawn = clean_rows()
    source = open_source(f"tsv:{write_set(tmp_path, drawn)}")
    asked: list[int] = []
    read = source.image_bytes
    monkeypatch.setattr(source, "image_bytes", lambda i: asked.append(i) or read(i))
    seen = rows._seen(source)
    for count in range(1, 11):
        next(seen)
        assert count <= len(asked) <= count + 5
    seen.close()
    images = rows.read_images(source)
    assert images.widths.tolist() == [image.width for _, image, _ in drawn]
    assert images.heights.tolist() == [image.height for _, image, _ in drawn]


def test_equal_pixels_are_found_in_another_encoding_and_other_pixels_are_not(tmp_path) -> None:
    drawn = clean_rows()
    colour = drawn[0][1].convert("RGB")
    drawn.append(("again.png", colour, drawn[0][2]))
    changed = drawn[1][1].copy()
    changed.putpixel((0, 0), changed.getpixel((0, 0)) ^ 1)
    drawn.append(("changed.png", changed, drawn[1][2]))
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}")
    assert kinds(found) == {"duplicate_image": 1, "near_duplicate": 1}
    assert examples(found, "duplicate_image") == [["again.png", drawn[0][0]]]
    assert examples(found, "near_duplicate") == [[drawn[1][0], "changed.png"]]


def test_another_label_is_found_behind_as_many_pairs_as_are_listed(tmp_path, monkeypatch) -> None:
    """The pairs of one label are nearer, and would be all that is listed."""
    monkeypatch.setattr("crnn_jax.auditing.duplicates.MOST_PAIRS", 2)
    drawn = clean_rows()
    for row in range(3):
        changed = drawn[row][1].copy()
        changed.putpixel((0, 0), changed.getpixel((0, 0)) ^ 1)
        drawn.append((f"changed{row}.png", changed, drawn[row][2]))
    small = drawn[5][1].resize((drawn[5][1].width * 2 // 3, drawn[5][1].height * 2 // 3))
    drawn.append(("small.png", small, "other"))
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}")
    assert kinds(found) == {"near_duplicate": 4, "near_duplicate_with_other_label": 1}
    assert len(examples(found, "near_duplicate")) == 2
    assert examples(found, "near_duplicate_with_other_label") == [[drawn[5][0], "small.png"]]


def test_labels_that_the_charset_makes_equal_do_not_conflict(tmp_path) -> None:
    drawn = clean_rows()
    drawn.append(("again.png", drawn[0][1], drawn[0][2].upper()))
    folder = write_set(tmp_path, drawn)
    folded = build_charset("alnum36")
    assert kinds(run_audit(f"tsv:{folder}", charset=folded)) == {"duplicate_image": 1}
    keep = build_charset("alnum62")
    assert set(kinds(run_audit(f"tsv:{folder}", charset=keep))) == {
        "duplicate_image",
        "conflicting_labels",
    }


def test_frames_are_those_that_the_loss_needs(tmp_path) -> None:
    import jax.numpy as jnp

    from crnn_jax.ctc.loss import frames_needed
    from crnn_jax.models import num_frames

    drawn = clean_rows(4)
    drawn[0] = (*drawn[0][:2], "aabbb" * 20)
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}")
    (example,) = only(found, "too_long_label").examples
    ids = jnp.array([LETTERS.encode("aabbb" * 20)])
    assert example.values["needed"] == int(frames_needed(ids, jnp.array([100]))[0])
    assert example.values["frames"] == num_frames("tiny", example.values["width"])
    assert "frames of the experiment 'words'" in report.to_text(found)


def test_names_of_a_folder(tmp_path: pathlib.Path) -> None:
    for label, (_, image, _) in zip(["one", "two", "three"], clean_rows(3), strict=True):
        image.save(tmp_path / f"{label}.png")
    found = run_audit(f"names:{tmp_path}")
    assert kinds(found) == {}
    assert report.to_json(found)["sets"][0]["label_length"]["1.0"] == 5
