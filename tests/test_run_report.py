"""The report about a run: what the page says, whatever the labels hold and whatever is missing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from small import write_words

from crnn_jax import pages, report
from crnn_jax.metrics import wilson_interval
from crnn_jax.reporting import gather, page, run_sections, sets

SECTIONS = [
    "result", "curves", "samples", "frames", "confusions", "where", "worst", "label-errors",
    "confidence", "data", "config", "environment",
]  # fmt: skip
OF_READINGS = SECTIONS[2:9]
HOSTILE = [
    "<script>alert('x')</script>",
    '"><img src=x onerror=alert(1)>&amp;',
    "</title></style><b>",
    "ab",
]


class Page(HTMLParser):
    """The tags of a page with their attributes, its texts, and the text of every section."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.sections: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._open = dict(attrs)["id"]
            self.sections[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open:
            self.sections[self._open] += data


@pytest.fixture(scope="module")
def made(smoke_run: pathlib.Path, tmp_path_factory) -> tuple[str, pathlib.Path]:
    """The page of the smoke run, with a set of hostile labels, and the file of it."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "words").mkdir()
    write_words(folder / "words", HOSTILE)
    out = folder / "report.html"
    assert report.main([
        f"--run={smoke_run}", f"--out={out}", f"--data=tsv:{folder}/words/labels.tsv",
    ]) == 0  # fmt: skip
    return out.read_text(encoding="utf-8"), out


@pytest.fixture(scope="module")
def html(made) -> str:
    return made[0]


@pytest.fixture
def run_copy(smoke_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(smoke_run, tmp_path / "run")


def page_of(run: pathlib.Path, *argv: str) -> Page:
    assert report.main([f"--run={run}", f"--out={run}/page.html", *argv]) == 0
    return Page((run / "page.html").read_text(encoding="utf-8"))


def change_config(run: pathlib.Path, **data: str) -> None:
    values = json.loads((run / "config.json").read_text())
    values["data"] |= data
    (run / "config.json").write_text(json.dumps(values))


# The page.


def test_sections_stand_in_order_and_say_how_to_read_them(html: str) -> None:
    parsed = Page(html)
    assert list(parsed.sections) == SECTIONS
    hows = [attributes for tag, attributes in parsed.tags if attributes.get("class") == "how"]
    assert len(hows) == len(SECTIONS)
    links = [a["href"] for tag, a in parsed.tags if tag == "a" and a["href"].startswith("#")]
    assert links == [f"#{anchor}" for anchor in SECTIONS]
    headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(headings)), "none is skipped"


def test_the_page_loads_nothing_and_runs_its_own_script_alone(html: str) -> None:
    parsed = Page(html)
    assert not re.search(r"https?://|url\(|@import|<link rel=.stylesheet", html)
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("iframe", "object", "embed", "form")
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    policy = next(a["content"] for tag, a in parsed.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(html.encode()) < 8e6


def test_labels_are_text_whatever_they_hold(html: str) -> None:
    parsed = Page(html)
    shown = "".join(parsed.texts)
    for label in HOSTILE:
        assert label in shown
        assert label == "ab" or label not in html
    assert {a["alt"] for tag, a in parsed.tags if tag == "img"} >= set(HOSTILE)
    assert not [a for tag, a in parsed.tags if tag == "img" and a["src"] == "x"]


def test_names_that_no_encoding_has_are_shown(tmp_path) -> None:
    html = pages.shell("\udcff", "name \udcff.png")
    assert "name \\udcff.png" in html
    html.encode()


def test_lines_of_an_older_version_are_read(run_copy: pathlib.Path) -> None:
    lines = [{"step": 2, "loss": 3.0, "seconds": 1.0}, {"step": 4, "loss": 2.0, "seconds": 2.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run_copy / "metrics.jsonl").write_text(text)
    curves = page_of(run_copy, "--limit=4").sections["curves"]
    assert "loss" in curves
    assert "learning rate" not in curves


def test_the_result_is_that_of_the_evaluation_in_training(
    html: str, smoke_run: pathlib.Path
) -> None:
    (found,) = json.loads((smoke_run / "summary.json").read_text())["eval"].values()
    result = Page(html).sections["result"]
    low, high = wilson_interval(round(found["word_accuracy"] * found["count"]), found["count"])
    assert f"{100 * found['word_accuracy']:.2f}\u00a0%" in result
    assert f"{100 * low:.1f}\u00a0%\u00a0to\u00a0{100 * high:.1f}\u00a0%" in result
    assert f"{found['cer']:.4f}" in result
    assert "676,679" in result, "parameters"
    assert "by the same checkpoint" not in result, "it reads now as it did in training"


def test_every_knob_is_there_and_those_that_were_changed_are_named(html: str) -> None:
    config = Page(html).sections["config"]
    for key, value in (("batch_size", "4 (default 64)"), ("charset", "'alnum62' (default 'aln")):
        assert re.search(rf"{key}\s*{re.escape(value)}", config), key
    assert config.count("model.bidirectional") == 1, "not among the changed ones"
    assert "read every row from both ends" in config


def test_pictures_are_bounded(smoke_run: pathlib.Path, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(page, "MAX_PICTURES", 7)
    run = gather.load(smoke_run)
    html = page.to_html(run, sets.read(run, [], 100), tmp_path / "x.html")
    assert [tag for tag, _ in Page(html).tags].count("img") == 7


def test_rows_are_limited_and_the_page_says_so(run_copy: pathlib.Path) -> None:
    result = page_of(run_copy, "--limit=4").sections["result"]
    assert "the first 4 of 16 rows" in result
    assert "by the same checkpoint" not in result, "a part need not read as the whole"


# Runs that are not whole.


def test_a_run_that_has_not_ended(run_copy: pathlib.Path) -> None:
    (run_copy / "summary.json").unlink()
    with open(run_copy / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote
    parsed = page_of(run_copy)
    assert list(parsed.sections) == SECTIONS
    assert "has not ended: it is known up to step 4 of 4" in parsed.sections["result"]


def test_a_set_has_one_colour_in_all_curves(smoke_run: pathlib.Path, tmp_path) -> None:
    out = tmp_path / "page.html"
    assert report.main([f"--run={smoke_run}", f"--out={out}", "--limit=4"]) == 0
    page = out.read_text(encoding="utf-8")
    figures = dict(
        re.findall(r'<figure class="curve"><figcaption>([\w ,]+).*?(<svg.*?</svg>)', page, re.S)
    )
    assert set(re.findall(r"s(\d)\b", figures["learning rate"])) == {"0"}
    for title in ("word accuracy", "character error rate"):
        assert set(re.findall(r'class="(?:band )?s(\d)"', figures[title])) == {"1"}
    assert set(re.findall(r'class="s(\d)"', figures["loss, nats"])) == {"0", "1"}


def test_a_run_whose_data_are_gone(run_copy: pathlib.Path, caplog) -> None:
    change_config(run_copy, train="tsv:gone/train", eval="tsv:gone/words::name=rendered_words")
    parsed = page_of(run_copy)
    assert [anchor for anchor in SECTIONS if anchor not in parsed.sections] == OF_READINGS
    for part in ("result", "data"):
        assert "gone/train" in parsed.sections[part]
        assert "gone/words" in parsed.sections[part]
    assert "evaluated at step 4" in parsed.sections["result"], "the scores were written down"
    assert caplog.text.count("left out of the report") == 2
    shown = page_of(run_copy, "--data=tfds:rendered_words/tiny/test::limit=3,name=other")
    assert list(shown.sections) == SECTIONS


def test_a_run_without_validation_sets_and_lines(run_copy: pathlib.Path) -> None:
    change_config(run_copy, eval="")
    (run_copy / "metrics.jsonl").unlink()
    parsed = page_of(run_copy)
    assert "written no line yet" in parsed.sections["curves"]
    assert "Nothing was evaluated" in parsed.sections["result"]


def test_rows_left_out_and_the_audit_are_told(run_copy: pathlib.Path) -> None:
    (run_copy / "skipped_rows.tsv").write_text(
        "words: labels.tsv row 2 (1.png)\tthe label is empty\n"
        "words: labels.tsv row 3 (<i>.png)\tthe label needs 9 frames, the image of 20 px gives 5\n"
        "words: labels.tsv row 4 (3.png)\tthe label needs 12 frames, the image of 20 px gives 5\n"
    )
    finding = {
        "severity": "error", "count": 3, "title": "images of <both>", "advice": "take them out",
        "sets": ["words"],
    }  # fmt: skip
    (run_copy / "audit.json").write_text(json.dumps({"findings": [finding]}))
    (run_copy / "audit.html").write_text("the page")
    parsed = page_of(run_copy)
    data = parsed.sections["data"]
    assert "Rows left out: 3" in data
    assert re.search(r"2\s*the label needs … frames, the image of … px gives …", data)
    assert "(<i>.png)" in data
    assert "images of <both>" in data
    assert "audit.html" in [a.get("href") for tag, a in parsed.tags if tag == "a"]


def test_replicas(run_copy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    both = tmp_path / "both"
    for r in range(2):
        shutil.copytree(run_copy, both / f"replica_{r}")
    values = json.loads((run_copy / "config.json").read_text()) | {"replicas": 2}
    (both / "config.json").write_text(json.dumps(values))
    spread = {"mean": 0.125, "std": 0.0625}
    (both / "summary.json").write_text(
        json.dumps({"eval": {"rendered_words": {"count": 16, "word_accuracy": spread}}})
    )
    (both / "replica_1" / "summary.json").unlink()
    parsed = page_of(both, "--limit=4")
    result = parsed.sections["result"]
    assert "Run both, replica_0" in parsed.texts
    assert re.search(r"replica 0 \(this report\)0.00\u00a0%replica 1not ended", result)
    assert "12.50\u00a0% ± 6.25\u00a0%" in result
    assert "Run replica_1" in page_of(both / "replica_1", "--limit=4").texts


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ([], ["required: --run"]),
        (["--run=none"], ["no such folder", "workdir of a run"]),
        (["--run={run}/checkpoints"], ["not a model"]),
        (["--run={run}", "--out=no/x.html"], ["its folder does not exist"]),
        (["--run={run}", "--data=tsv:none"], ["tsv:none does not exist"]),
        (["--run={run}", "--limit=0"], ["not a positive whole number"]),
        (
            ["--run={run}", "--data=tfds:rendered_words/tiny/test::limit=2"],
            ["two sets have one name", "::name=NAME"],
        ),
    ],
)
def test_mistakes(mistake: Callable, run_copy: pathlib.Path, argv, messages) -> None:
    line = mistake(report.main, *(part.format(run=run_copy) for part in argv))
    for message in messages:
        assert message in line


def test_a_run_without_a_checkpoint(mistake: Callable, run_copy: pathlib.Path) -> None:
    shutil.rmtree(run_copy / "checkpoints")
    line = mistake(report.main, f"--run={run_copy}")
    assert "the run has no checkpoint yet" in line
    assert not (run_copy / "report.html").exists()


# In a browser.

_BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def browse(file: pathlib.Path, folder: pathlib.Path, *more: str) -> subprocess.CompletedProcess:
    """Opens a page in a headless browser; the test is skipped where there is none."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    return subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder}", "--enable-logging=stderr",
            "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", *more, file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def requests(net_log: pathlib.Path) -> set[str]:
    """Returns what a page asked for, by the browser's log; the browser's own requests aside."""
    events = json.loads(net_log.read_text(encoding="utf-8"))["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    urls = {params["url"] for params in asked if params["initiator"] != "not an origin"}
    return {url for url in urls if not url.startswith("data:")}


def test_a_browser_shows_the_page_without_asking_for_anything(made, tmp_path) -> None:
    log = tmp_path / "net.json"
    done = browse(made[1], tmp_path / "a", "--dump-dom", f"--log-net-log={log}")
    dom = Page(done.stdout)
    assert list(dom.sections) == SECTIONS
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == [], "no error, and nothing that the content policy refused"
    (count,) = [t for t in dom.texts if re.fullmatch(r"\d+ of \d+", t)]
    assert count == "20 of 20", "the script has run: none of the readings is right"
    assert not [a for _, a in dom.tags if a.get("class") == "tools" and "hidden" in a]
    assert requests(log) == set()


def test_what_a_browser_asks_for_would_be_seen(tmp_path) -> None:
    """Without the policy such a picture is asked for, with it it is refused and told."""
    picture, log = '<img src="http://pictures.invalid/x.png">', tmp_path / "net.json"
    file = tmp_path / "page.html"
    file.write_text(picture)
    browse(file, tmp_path / "a", "--dump-dom", f"--log-net-log={log}")
    assert requests(log) == {"http://pictures.invalid/x.png"}
    file.write_text(pages.shell("page", picture))
    done = browse(file, tmp_path / "b", "--dump-dom", f"--log-net-log={log}")
    assert requests(log) == set()
    assert "CONSOLE" in done.stderr
    assert "Content Security Policy" in done.stderr


@pytest.mark.parametrize("size", ["1280,2000", "390,2000"])
def test_a_browser_paints_the_page(made, tmp_path, size: str) -> None:
    shot = tmp_path / "shot.png"
    browse(made[1], tmp_path / "a", f"--screenshot={shot}", f"--window-size={size}")
    pixels = np.asarray(Image.open(shot).convert("L"), np.float32)
    assert pixels.std() > 10, "not blank"
    ink = (np.abs(np.diff(pixels, axis=0, prepend=0)) > 30).any(axis=1)
    assert ink.reshape(-1, 250).any(axis=1).all(), "there is something in every part of it"


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["/a/crnn_jax/main.py", "--workdir=x y"], "python -m crnn_jax.main '--workdir=x y'"),
        (
            ["/crnn_jax/crnn_jax/sweeps/work.py", "out/a/seed_0", "--cores=0,1", "--parent=7"],
            "python -m crnn_jax.sweeps.work out/a/seed_0",
        ),
        (["/a/crnn_jax/mine.py"], "/a/crnn_jax/mine.py"),
        (["train.py"], "train.py"),
        ([], "not known"),
    ],
)
def test_the_command_can_be_typed(smoke_run, words, typed):
    run = dataclasses.replace(gather.load(smoke_run), provenance={"command": words})
    assert run_sections.command(run) == typed
