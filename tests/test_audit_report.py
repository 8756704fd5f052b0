"""The audit as text, JSON and a page, and its command."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from audited_sets import DEFECTS, copied, kinds, only, run_audit
from drawn_words import clean_rows, write_set

from crnn_jax import audit
from crnn_jax.auditing import page, report
from crnn_jax.auditing.findings import KINDS, SEVERITIES
from crnn_jax.auditing.report import Audit
from crnn_jax.charset import build_charset

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


def test_many_equal_images_are_a_few_lines(tmp_path: pathlib.Path) -> None:
    image = clean_rows(1)[0][1]
    drawn = [(f"{i}.png", image, f"word{i:02}") for i in range(40)]
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", threshold=0)
    assert len(only(found, "conflicting_labels").examples[0].rows) == 40  # in the JSON
    text, html = report.to_text(found), "".join(Page(page.to_html(found)).texts)
    for told in text, html:
        assert "36 more rows" in told
        assert "'word07' / 32 more" in told
    assert "word39" not in text
    assert "word06 / word07 / and 32 more labels" in html


def test_the_page_names_characters_as_they_are(tmp_path: pathlib.Path) -> None:
    drawn = clean_rows(8)
    for i, char in enumerate("ÀÉÎÕÜñçß"):
        drawn[i] = (*drawn[i][:2], f"{char}Ð{chr(0x410 + i)}")
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", charset=build_charset("latin94"))
    text = "".join(Page(page.to_html(found)).texts)
    assert "Labels that hold 'Ð' in 8" in text
    assert all(f"'{char}' in 1" in text for char in "ÀÉÎÕÜñçßАБВГДЕЖЗ")  # in the JSON, too
    assert "and 5 more characters" in report.to_text(found)


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
    assert {
        f["severity"] for f in json.loads((tmp_path / "audit.json").read_text())["findings"]
    } == {"error"}
    codes = [run_command(audit.main, *argv, f"--fail_on={s}").code for s in ("error", "note")]
    clean = f"--data=tsv:{write_set(tmp_path / 'clean', clean_rows())}"
    assert [*codes, run_command(audit.main, clean, "--fail_on=note").code] == [1, 1, 0]
    assert "--html=FILE.html" in run_command(audit.main, *argv)[1][-1]
    assert json.loads((tmp_path / "audit.json").read_text())["charset"] == "alnum36"
    assert (tmp_path / "audit.html").read_text().startswith("<!DOCTYPE html>")


def test_the_charset_may_be_that_of_the_data(tmp_path: pathlib.Path, run_command: Callable) -> None:
    folder = write_set(tmp_path / "set", clean_rows())
    code, out, _ = run_command(audit.main, f"--data=tsv:{folder}", "--charset=from_data")
    assert code == 0
    assert not [line for line in out if "characters outside" in line]
    argv = f"--data=tsv:{folder}", "--charset=from_data:clusters"
    assert run_command(audit.main, *argv).code == 0


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ([], ["required: --data"]),
        (["--data=tsv:none"], ["tsv:none does not exist"]),
        (["--data=tvs:none"], ["did you mean 'tsv'"]),
        (["--data={words}", "--against=names:none"], ["names:none does not exist"]),
        (["--data={words}", "--charset=alnum63"], ["did you mean 'alnum62'"]),
        (["--data={words}", "--model=none"], ["unknown model 'none'", "workdir of a run"]),
        (["--data={words}", "--model=x", "--charset=digits"], ["give one of the two"]),
        (["--data={words}", "--html=no/audit.html"], ["its folder does not exist"]),
        (["--data={words}", "--html=a", "--json=a"], ["a is the file of --json, too"]),
        (["--data={words}", "--near=256"], ["'256' is not a number of bits from 0 to 255"]),
        (["--data={words}", "--fail_on=errors"], ["did you mean 'error'"]),
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


def test_a_pipe_that_closes_costs_no_file(tmp_path: pathlib.Path) -> None:
    folder = write_set(tmp_path / "words", clean_rows(8))
    files = tmp_path / "a.json", tmp_path / "a.html"
    command = [sys.executable, "-u", "-m", "crnn_jax.audit", f"--data=tsv:{folder}"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*command, f"--json={files[0]}", f"--html={files[1]}"],
        stdout=write, stderr=subprocess.PIPE, timeout=120,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
    assert all(file.is_file() for file in files)


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
