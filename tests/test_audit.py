"""The audit: every finding has a set with exactly that defect, and a clean set has none."""

from __future__ import annotations

import json
import pathlib
import re
import struct
import zlib
from collections.abc import Callable
from html.parser import HTMLParser

import drawn_words
import numpy as np
import pytest
from drawn_words import clean_rows, draw, png, write_set
from PIL import Image

from crnn_jax import audit
from crnn_jax.auditing import page, report, rows
from crnn_jax.auditing.findings import KINDS, SEVERITIES, Finding
from crnn_jax.auditing.report import Audit
from crnn_jax.charset import build_charset
from crnn_jax.data.spec import parse_spec
from crnn_jax.recognizer import Reading, Recognizer

LETTERS = build_charset("chars:" + drawn_words.LETTERS)
Rows = list[tuple[str, Image.Image | bytes, str]]


def run_audit(*specs: str, against: tuple[str, ...] = (), **options) -> Audit:
    options = {"charset": LETTERS, **options}
    return audit.audit_sets(
        [parse_spec(spec) for spec in specs], [parse_spec(spec) for spec in against], **options
    )


def kinds(found: Audit) -> dict[str, int]:
    return {finding.kind: finding.count for finding in found.findings}


def only(found: Audit, kind: str) -> Finding:
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    return finding


def examples(found: Audit, kind: str) -> list[list[str]]:
    """The keys of the rows that a finding names."""
    return [
        [found.sets[row.set].source.key(row.row) for row in example.rows]
        for example in only(found, kind).examples
    ]


def relabelled(row: int, label: Callable[[str], str]) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        name, image, old = rows[row]
        rows[row] = (name, image, label(old))

    return change


def repainted(row: int, image: Callable[[], Image.Image | bytes], label: str | None = None):
    def change(rows: Rows) -> None:
        name, _, old = rows[row]
        rows[row] = (name, image(), old if label is None else label)

    return change


def copied(row: int, other: int, change_image: Callable, label: str | None = None):
    """The image of a row, changed, is another row's, too, under its own label or another one."""

    def change(rows: Rows) -> None:
        rows[other] = (rows[other][0], change_image(rows[row][1]), label or rows[row][2])

    return change


def huge_png() -> bytes:
    """The header of a PNG of 100 megapixels, with next to no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def paper() -> Image.Image:
    """A photograph of a sheet with many words."""
    sheet = Image.new("L", (900, 1200), 220)
    for i in range(24):
        for j in range(3):
            sheet.paste(draw(drawn_words.words(72)[3 * i + j], i), (20 + 300 * j, 10 + 48 * i))
    return sheet


def upright(word: str) -> Image.Image:
    return draw(word, 5).transpose(Image.Transpose.ROTATE_90)


# kind -> what to do to a clean set, and the row that has to be named
DEFECTS: dict[str, tuple[Callable[[Rows], None], int]] = {
    "empty_label": (relabelled(3, lambda label: ""), 3),
    "unknown_character": (relabelled(4, lambda label: label + "é!!"), 4),
    "mojibake": (relabelled(5, lambda label: "cafÃ©"), 5),
    "not_nfc": (relabelled(6, lambda label: label + "e\u0301"), 6),
    "control_character": (relabelled(7, lambda label: label + "\u200b"), 7),
    "stray_blank": (relabelled(8, lambda label: label + "  x"), 8),
    "too_long_label": (relabelled(9, lambda label: label[0] * 200), 9),
    "unreadable_image": (repainted(10, lambda: b"no image"), 10),
    "tall_image": (repainted(11, lambda: upright("upright"), "abc"), 11),
    "page": (repainted(12, paper, "page"), 12),
    "blank_image": (repainted(13, lambda: Image.new("L", (120, 40), 90), "nothing"), 13),
    "aspect_outlier": (repainted(14, lambda: draw("muchtoolongforthat", 3), "ab"), 14),
    "duplicate_image": (copied(15, 16, lambda image: image), 16),
    "conflicting_labels": (copied(17, 18, lambda image: image, "other"), 17),
    "near_duplicate": (copied(19, 20, lambda image: image.resize((90, 30))), 19),
    "near_duplicate_with_other_label": (
        copied(21, 22, lambda image: image.point(lambda value: value * 0.8), "other"),
        21,
    ),
}
# What a defect brings with it: the cause is another finding, rightly reported as well.
WITH = {
    "conflicting_labels": {"duplicate_image"},
    "near_duplicate_with_other_label": {"near_duplicate"},
    "too_long_label": {"aspect_outlier"},
}


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
    assert set(DEFECTS) | between | {"suspicious_label"} == set(KINDS)
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
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}")
    images = found.sets[0].images
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


# Between sets.


@pytest.fixture
def two(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, Rows, Rows]:
    """Folders and rows of two clean sets with nothing in common."""
    first, second = clean_rows(seed=1), clean_rows(seed=2)
    return tmp_path / "first", tmp_path / "second", first, second


def audit_two(first, second, ours: Rows, theirs: Rows) -> Audit:
    write_set(first, ours)
    write_set(second, theirs)
    return run_audit(f"tsv:{first}", against=(f"tsv:{second}",))


def test_sets_with_nothing_in_common_have_no_findings(two) -> None:
    found = audit_two(*two)
    assert kinds(found) == {}
    assert [near.sets for near in found.near] == [(0,), (0, 1)]
    assert len(found.near[1].pairs) > 10


def test_a_shared_image_is_found(two) -> None:
    first, second, ours, theirs = two
    theirs[7] = ("copy.png", ours[3][1], "another")
    found = audit_two(first, second, ours, theirs)
    assert kinds(found) == {"shared_image": 1}
    assert examples(found, "shared_image") == [[ours[3][0], "copy.png"]]


def test_a_near_duplicate_between_sets_is_found(two) -> None:
    first, second, ours, theirs = two
    image = ours[3][1]
    theirs[7] = ("copy.png", image.crop((2, 1, image.width - 1, image.height)), "another")
    found = audit_two(first, second, ours, theirs)
    assert kinds(found) == {"near_duplicate_between_sets": 1}
    assert examples(found, "near_duplicate_between_sets") == [[ours[3][0], "copy.png"]]
    assert found.near[1].pairs[0][2] <= found.threshold


def test_the_set_compared_with_is_not_audited_itself(two) -> None:
    first, second, ours, theirs = two
    theirs[0] = (theirs[0][0], b"no image", "")
    theirs[1] = (theirs[2][0], theirs[2][1], "!")
    assert kinds(audit_two(first, second, ours, theirs)) == {}


def test_two_parts_of_one_folder(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows())
    apart = run_audit(f"tsv:{folder}::rows=0:20", f"tsv:{folder}/labels.tsv::rows=20:40")
    assert kinds(apart) == {}
    assert [audited.name for audited in apart.sets] == ["words::rows=0:20", "words::rows=20:40"]

    overlapping = run_audit(f"tsv:{folder}::rows=0:22", f"tsv:{folder}/labels.tsv::rows=20:40")
    assert kinds(overlapping) == {"shared_row": 2}
    assert examples(overlapping, "shared_row") == [["0005_0.png"] * 2, ["0005_1.png"] * 2]


def test_one_set_twice_is_told_apart(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows(8))
    twice = run_audit(f"tsv:{folder}", against=(f"tsv:{folder}",))
    assert kinds(twice) == {"shared_row": 8}
    assert [audited.name for audited in twice.sets] == ["words (1)", "words (2)"]


def test_groups_that_straddle_a_split(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows())  # four words of each photo
    group = "group=^[^_]+"
    cut = run_audit(f"tsv:{folder}::rows=0:18,{group}", f"tsv:{folder}::rows=18:40,{group}")
    assert kinds(cut) == {"straddling_group": 1}
    (example,) = only(cut, "straddling_group").examples
    assert example.values["group"] == "0004"
    between = run_audit(f"tsv:{folder}::rows=0:20,{group}", f"tsv:{folder}::rows=20:40")
    assert kinds(between) == {}
    split = run_audit(f"tsv:{folder}::split=0:60,{group}", f"tsv:{folder}::split=60:100,{group}")
    assert kinds(split) == {}


# With a model.


class Certain(Recognizer):
    """Reads what it was told, by image width."""

    def stream(self, items, load, batch_size=32, decoder="greedy", label=None):
        items = list(items)
        for position in reversed(range(len(items))):  # batches come in any order
            assert load(items[position]).ndim == 3
            yield position, self.told(label(items[position]))

    def told(self, label: str) -> Reading:
        return READINGS.get(label, Reading(label, 0.99, 0.01))


READINGS = {
    "worst": Reading("other", 0.95, 60.0),
    "slipp": Reading("slip", 0.98, 12.0),
    "likly": Reading("likely", 0.72, 9.0),
    "unsure": Reading("quite", 0.5, 40.0),
    "second": Reading("sceond", 0.75, 1.7),
    "nofit": Reading("fits", 0.9, None),
}


def test_suspicious_labels_are_ranked_by_how_sure_the_model_is(tmp_path, recognizer) -> None:
    drawn = clean_rows()
    for i, label in enumerate(READINGS):
        drawn[i] = (drawn[i][0], draw(label, i), label)
    model = Certain(**{field: getattr(recognizer, field) for field in FIELDS})
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", model=model)
    ranked = [found.label(example.rows[0]) for example in only(found, "suspicious_label").examples]
    assert ranked == ["worst", "slipp", "likly", "nofit"]
    assert "read 'other' with confidence 0.95" in report.to_text(found)

    without = clean_rows()
    clean = run_audit(f"tsv:{write_set(tmp_path / 'clean', without)}", model=model)
    assert "suspicious_label" not in kinds(clean)


FIELDS = ("model", "variables", "charset", "preprocess", "name", "place")


def test_a_model_brings_its_charset_and_its_frames(tmp_path, recognizer) -> None:
    drawn = clean_rows()
    drawn[0] = (*drawn[0][:2], "naïve")
    drawn[1] = (*drawn[1][:2], "a" * 50)
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", charset=None, model=recognizer)
    assert only(found, "unknown_character").values["characters"]["ï"]["labels"] == 1
    (example,) = only(found, "too_long_label").examples
    assert example.values["needed"] == 99
    assert example.values["width"] == recognizer.preprocess.target_width(*drawn[1][1].size)
    assert found.model == recognizer.name
    assert not found.not_checked


# Reports.


@pytest.fixture
def troubled(tmp_path: pathlib.Path) -> Audit:
    """An audit with findings of many kinds, and a label that is a script."""
    drawn = clean_rows()
    for change, _ in DEFECTS.values():
        change(drawn)
    drawn[0] = (*drawn[0][:2], "<script>alert('x')</script>")
    drawn[1] = (*drawn[1][:2], '"><img src=x onerror=alert(1)>&amp;')
    return run_audit(f"tsv:{write_set(tmp_path / 'set', drawn)}")


def test_the_most_severe_comes_first(troubled: Audit) -> None:
    severities = [SEVERITIES.index(finding.severity) for finding in troubled.findings]
    assert severities == sorted(severities)
    assert set(severities) == {0, 1, 2}


def test_json_holds_everything(troubled: Audit, tmp_path: pathlib.Path) -> None:
    data = json.loads(json.dumps(report.to_json(troubled), allow_nan=False))
    assert set(data) == {
        "format",
        "charset",
        "model",
        "frames",
        "not_checked",
        "sets",
        "findings",
        "nearest_pairs",
    }
    (of_set,) = data["sets"]
    assert (of_set["name"], of_set["rows"], of_set["readable"]) == ("set", 40, 39)
    assert sum(of_set["characters"].values()) == sum(
        len(troubled.sets[0].source.label(i).replace("e\u0301", "é")) for i in range(40)
    )
    for statistic in ("width", "height", "aspect", "label_length", "aspect_per_character"):
        values = list(of_set[statistic].values())
        assert list(of_set[statistic]) == [
            str(q) for q in (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
        ]
        assert values == sorted(values)
    assert [finding["kind"] for finding in data["findings"]] == [f.kind for f in troubled.findings]
    for finding in data["findings"]:
        assert finding["severity"] in SEVERITIES
        assert finding["sets"] == ["set"]
        assert finding["count"] == len(finding["examples"]) > 0
        for example in finding["examples"]:
            assert all(
                set(row) == {"set", "row", "key", "where", "label"} for row in example["rows"]
            )
    (near,) = data["nearest_pairs"]
    assert near["within_threshold"] == sum(
        p["distance"] <= near["threshold"] for p in near["pairs"]
    )


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_escapes_labels_and_loads_nothing(troubled: Audit) -> None:
    html = page.to_html(troubled)
    parsed = Page(html)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attributes in parsed.tags for name in attributes if name[:2] == "on"]
    assert "<script>alert('x')</script>" in parsed.texts
    sources = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?://|url\(|@import", html)
    assert {"svg", "rect"} <= {tag for tag, _ in parsed.tags}
    assert str(troubled.sets[0].spec) in parsed.texts
    for finding in troubled.findings:
        assert KINDS[finding.kind].title in html


def test_pictures_are_bounded_in_number_and_size(troubled: Audit, monkeypatch) -> None:
    whole = [a for tag, a in Page(page.to_html(troubled)).tags if tag == "img"]
    assert all(int(a["width"]) <= 220 and int(a["height"]) <= 72 for a in whole)
    monkeypatch.setattr(page, "MAX_PICTURES", 5)
    assert (
        len([tag for tag, _ in Page(page.to_html(troubled)).tags if tag == "img"]) <= 5 < len(whole)
    )


def test_findings_name_a_bounded_number_of_rows_and_count_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("crnn_jax.auditing.findings.MAX_NAMED", 3)
    drawn = [(name, image, "") for name, image, _ in clean_rows(8)]
    finding = only(run_audit(f"tsv:{write_set(tmp_path, drawn)}"), "empty_label")
    assert (finding.count, len(finding.examples)) == (8, 3)


# The command.


def test_the_command_writes_its_reports(tmp_path: pathlib.Path, run_command: Callable) -> None:
    drawn = clean_rows()
    drawn[0] = (*drawn[0][:2], "wörd")
    folder = write_set(tmp_path / "set", drawn)
    outputs = f"--json={tmp_path / 'audit.json'}", f"--html={tmp_path / 'audit.html'}"
    argv = f"--data=tsv:{folder}", "--charset=alnum36"
    code, out, err = run_command(audit.main, *argv, *outputs)
    assert (code, err) == (0, [])
    assert out[0].startswith("set: 40 rows, 40 readable")
    assert "--html" not in "".join(out)
    assert "--html=FILE.html" in run_command(audit.main, *argv)[1][-1]
    assert json.loads((tmp_path / "audit.json").read_text())["charset"] == "alnum36"
    assert (tmp_path / "audit.html").read_text().startswith("<!DOCTYPE html>")


def test_the_charset_may_be_that_of_the_data(tmp_path: pathlib.Path, run_command: Callable) -> None:
    folder = write_set(tmp_path / "set", clean_rows())
    code, out, _ = run_command(audit.main, f"--data=tsv:{folder}", "--charset=from_data")
    assert code == 0
    assert not [line for line in out if "characters outside" in line]


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ([], ["required: --data"]),
        (["--data=tsv:none"], ["tsv:none does not exist"]),
        (["--data=tvs:none"], ["did you mean 'tsv'"]),
        (["--data={words}", "--against=names:none"], ["names:none does not exist"]),
        (["--data={words}", "--charset=alnum63"], ["did you mean 'alnum62'"]),
        (["--data={words}", "--model=none"], ["none", "not a model"]),
        (["--data={words}", "--model=x", "--charset=digits"], ["give one of the two"]),
        (["--data={words}", "--html=no/audit.html"], ["its folder does not exist"]),
        (["--data={words}", "--near=256"], ["'256' is not a number of bits from 0 to 255"]),
        (["--data={words}", "--jason=x"], ["did you mean '--json'"]),
        (["--data={words}::group=^x,rows=0:4", "--data={words}"], ["group=^x matches no row"]),
    ],
)
def test_mistakes(
    mistake: Callable, tmp_path: pathlib.Path, argv: list[str], messages: list[str]
) -> None:
    folder = write_set(tmp_path / "words", clean_rows(8))
    line = mistake(audit.main, *(part.format(words=f"tsv:{folder}") for part in argv))
    for message in messages:
        assert message in line


def test_no_search_is_said(tmp_path: pathlib.Path, run_command: Callable) -> None:
    drawn = clean_rows(8)
    copied(0, 1, lambda image: image.point(lambda value: value * 0.8))(drawn)
    folder = write_set(tmp_path / "words", drawn)
    for bits, found in ((0, 0), (64, 1)):
        argv = f"--data=tsv:{folder}", f"--near={bits}", f"--html={tmp_path / 'audit.html'}"
        code, out, _ = run_command(audit.main, *argv)
        assert code == 0
        assert len([line for line in out if "pairs of near-duplicates" in line]) == found
        assert ("not checked: near-duplicates" in "\n".join(out)) == (bits == 0)
        html = (tmp_path / "audit.html").read_text()
        assert ("Nearest pairs" in html) == (bits > 0)


def test_a_set_without_any_readable_image(tmp_path: pathlib.Path) -> None:
    drawn = [(name, b"no image", " ") for name, _, _ in clean_rows(8)]
    found = run_audit(f"tsv:{write_set(tmp_path / 'words', drawn)}")
    assert kinds(found) == {"unreadable_image": 8, "empty_label": 8}
    assert report.to_json(found)["sets"][0]["width"] == {}
    assert "8 with" not in page.to_html(found)
    assert "words: 8 rows, 0 readable" in report.to_text(found)


def test_names_of_a_folder(tmp_path: pathlib.Path) -> None:
    for label, (_, image, _) in zip(["one", "two", "three"], clean_rows(3), strict=True):
        image.save(tmp_path / f"{label}.png")
    found = run_audit(f"names:{tmp_path}")
    assert kinds(found) == {}
    assert report.to_json(found)["sets"][0]["label_length"]["1.0"] == 5


def test_real_words_are_audited_in_seconds(real_data: pathlib.Path) -> None:
    """ICDAR 2003 has labels with replacement characters, and no training word in its test set."""
    found = run_audit(
        f"tsv:{real_data / 'ic03_train'}", against=(f"tsv:{real_data / 'ic03_test'}",), charset=None
    )
    assert kinds(found)["mojibake"] == 6
    assert "shared_image" not in kinds(found)
    assert "unreadable_image" not in kinds(found)
    nearest = [found.label(a) for a, _, bits in found.near[1].pairs if bits <= found.threshold]
    assert nearest == ["Essex", "County", "XML"], "the same lettering in other photographs"
