"""Parts of the report: frames and paths, charts, what it advises."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

from crnn_jax.auditing.findings import Finding
from crnn_jax.data.sources import open_source
from crnn_jax.data.spec import parse_spec
from crnn_jax.reporting import alignment, charts, gather, reading_sections, sets, suspects
from crnn_jax.reporting.advice import advise
from crnn_jax.reporting.charts import Line
from crnn_jax.reporting.gather import Course, Run
from crnn_jax.reporting.sets import Missing, Readings
from crnn_jax.reporting.texts import marked
from crnn_jax.scoring.results import Row, score
from crnn_jax.scoring.significance import score_rows

# Frames.


def test_posteriors_are_those_of_real_frames_and_paths_spell_their_texts(recognizer) -> None:
    source = open_source("tfds:rendered_words/tiny/test::limit=3")
    images = [recognizer.preprocess(source.image_bytes(i)) for i in range(3)]
    labels = [alignment.spelled(recognizer.charset, source.label(i)) for i in range(3)]
    labels[1] = []
    labels[2] = labels[2] * 20  # more than there are frames
    readings = [alignment.spelled(recognizer.charset, "aba")] * 3
    looks = alignment.look(recognizer, images, labels, readings)
    logits, frames = jax.jit(recognizer.model.apply)(
        recognizer.variables, np.stack(images), np.array([image.shape[1] for image in images])
    )
    for i, seen in enumerate(looks):
        assert seen.posteriors.shape == (int(frames[i]), recognizer.charset.num_classes)
        expected = np.asarray(jax.nn.softmax(logits[i, : int(frames[i])]))
        np.testing.assert_allclose(seen.posteriors, expected, atol=1e-5)
    assert looks[1].label is None
    assert looks[2].label is None
    assert [entry[0] for entry in looks[0].label] == labels[0]
    for seen in looks:
        spans = [(first, peak, last) for _, first, last, peak in seen.reading]
        assert all(first <= peak <= last for first, peak, last in spans)
        assert all(a[2] < b[0] for a, b in itertools.pairwise(spans))


def test_the_picture_shows_a_lane_per_class_and_what_is_likely(recognizer) -> None:
    charset = recognizer.charset
    a, b = charset.encode("ab")
    posteriors = np.full((6, charset.num_classes), 1e-4, np.float32)
    posteriors[:, 0], posteriors[1, a], posteriors[4, b] = 0.5, 0.9, 0.3
    way = [(a, 1, 2, 1), (b, 4, 4, 4)]
    other = [(a, 1, 2, 1), (a, 4, 4, 4)]
    seen = alignment.Look(np.zeros((32, 60, 1), np.uint8), posteriors, way, other)
    picture = alignment.heat_map(seen, charset, 'a "name"')
    assert picture.count('class="lane"') == 3, "a, b and the blank"
    assert picture.count('class="blank"') == 6
    assert picture.count('class="cell"') == 2
    assert "<title>a, frame 1: 0.90</title>" in picture
    assert len(re.findall('<g class="way"><rect', picture)) == 2
    assert len(re.findall('<g class="other"><rect', picture)) == 1, "where it differs"
    assert 'aria-label="a &quot;name&quot;"' in picture


def test_what_differs_is_marked() -> None:
    assert marked("a<c d", "a<cd") == ("a&lt;c<mark>␣</mark>d", "a&lt;cd")
    assert marked("same", "same") == ("same", "same")
    assert marked("x", "") == ("<mark>x</mark>", "")


# Charts.


def path(chart: str) -> list[tuple[float, float]]:
    points = re.findall(r'<polyline class="s0" points="([^"]*)"', chart)[0].split()
    return [tuple(map(float, point.split(","))) for point in points]


def test_a_line_is_where_its_numbers_are() -> None:
    points = [(0.0, 0.0), (50.0, math.nan), (50.0, None), (75.0, 0.5), (100.0, 1.0)]
    (x0, y0), (x1, y1), (x2, y2) = path(charts.curves("share", [Line("a", points)], percent=True))
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.75, abs=0.01)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.5, abs=0.01)
    assert y2 < y0, "greater is higher"


def test_wide_ranges_are_logarithmic_but_for_shares() -> None:
    points = [(0.0, 1.0), (1.0, 10.0), (2.0, 100.0)]
    chart = charts.curves("loss", [Line("a", points)])
    assert "loss (logarithmic)" in chart
    (_, y0), (_, y1), (_, y2) = path(chart)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    for kind in ({"percent": True}, {"linear": True}):
        assert "logarithmic" not in charts.curves("loss", [Line("a", points)], **kind)
    assert "logarithmic" not in charts.curves("x", [Line("a", [(0.0, 0.0), (1.0, 99.0)])])


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-9, 2e-9], [-3.0, 1e7], [1e-12, 1e3]])
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    chart = charts.curves("c", [Line("a", [(float(i), v) for i, v in enumerate(values)])], 0.0)
    assert "nan" not in chart
    assert "inf" not in chart
    assert chart.count("<text") >= 3, "it has numbers beside it"


def test_nothing_to_draw_is_nothing() -> None:
    assert charts.curves("c", []) == ""
    assert charts.curves("c", [Line("a", [(1.0, None)])]) == ""


def test_long_lines_are_averaged() -> None:
    line = Line("a", [(float(i), float(i % 5)) for i in range(10_000)], smooth=False)
    points = path(charts.curves("c", [line]))
    assert len(points) <= 400
    assert len({y for _, y in points[:-1]}) == 1, "every mean of whole periods is the same"


def test_the_matrix_names_what_was_read_as_what() -> None:
    picture = charts.confusion_matrix(["<", " ", ""], [[0, 3, 0], [0, 0, 1], [2, 0, 0]])
    titles = re.findall("<title>(.*?)</title>", picture)
    assert titles == [
        "&lt; read as a space: 3", "a space read as nothing: 1", "nothing read as &lt;: 2",
    ]  # fmt: skip


# Advice.


@pytest.fixture(scope="module")
def run(smoke_run: pathlib.Path) -> Run:
    """The smoke run as if it had gone well."""
    run = gather.load(smoke_run)
    evals = [eval_line(step, 0.5 + step / 100, 1.0 - step / 10) for step in range(1, 5)]
    evals[3]["eval"]["words"]["word_accuracy"] = evals[2]["eval"]["words"]["word_accuracy"]
    return dataclasses.replace(run, evals=evals)


def eval_line(step: int, accuracy: float, loss: float) -> dict:
    found = {"count": 1000, "skipped": 0, "word_accuracy": accuracy, "cer": 0.1, "loss": loss}
    return {"step": step, "seconds": float(step), "eval": {"words": found}}


NOTHING = Readings([], [], [], [], [])


def told(run: Run, readings: Readings = NOTHING, suspects: list[Finding] = []) -> str:  # noqa: B006
    return "\n".join(f"{a.severity}: {a.seen} {a.action}" for a in advise(run, readings, suspects))


def changed(run: Run, number: int, **values) -> Run:
    """Returns the run with other values in a line of training or, given `eval_`, of evaluation."""
    lines, evals = copy.deepcopy(run.lines), copy.deepcopy(run.evals)
    for key, value in values.items():
        if key.startswith("eval_"):
            evals[number]["eval"]["words"][key.removeprefix("eval_")] = value
        else:
            lines[number][key] = value
    return dataclasses.replace(run, lines=lines, evals=evals)


def test_a_good_run_is_said_to_be_good(run: Run) -> None:
    assert told(run) == "good: Nothing odd about this run. "


def test_what_is_odd_is_told_with_what_to_do(run: Run) -> None:
    for odd, severity, seen in (
        (dataclasses.replace(run, summary=None), "warning", "has not ended"),
        (dataclasses.replace(run, course=Course(4, 30, 1)), "error", "went back to an earlier"),
        (dataclasses.replace(run, evals=[]), "note", "Nothing was evaluated"),
        (changed(run, -1, skipped_updates=2.0), "warning", r"2 updates \(50.00\s%\) were left out"),
        (changed(run, 0, infeasible=3.0), "warning", "3 training rows had labels that do not fit"),
        (changed(run, 0, unreadable=1.0), "warning", "1 training rows had no readable image"),
        (changed(run, -1, empty_readings=0.9), "error", r"90\s% of the readings in training"),
        (changed(run, 0, waiting=0.9), "warning", "waiting for data"),
        (changed(run, -1, eval_word_accuracy=0.4), "warning", "is below the best"),
        (changed(run, -1, eval_word_accuracy=0.9), "warning", "has not converged"),
        (changed(run, -1, eval_loss=5.0), "warning", "learns its training set by heart"),
    ):
        found = told(odd)
        assert re.search(rf"^{severity}: .*{seen}", found, re.MULTILINE), (seen, found)
        assert ("Nothing odd" in found) == (severity == "note")


def test_the_most_severe_comes_first(run: Run) -> None:
    bad = changed(dataclasses.replace(run, course=Course(4, 0, 2)), 0, waiting=0.9)
    found = told(bad, Readings([], [], [Missing("tsv:gone", "it is gone")], [], []))
    assert [line.split(":")[0] for line in found.splitlines()] == ["error", "warning", "warning"]


def test_sets_that_are_small_or_read_otherwise_than_in_training(smoke_run: pathlib.Path) -> None:
    run = gather.load(smoke_run)
    readings = sets.read(run, [], 1000)
    (name,) = run.eval_names
    assert "by the same checkpoint" not in told(run, readings)
    assert re.search(rf"note: {name} has 16 images: .* ±9.7\s%", told(run, readings))
    evals = copy.deepcopy(run.evals)
    evals[-1]["eval"][name]["word_accuracy"] = 0.25
    found = told(dataclasses.replace(run, evals=evals), readings)
    assert re.search(r"is read with 0.00\s% now, and was with 25.00\s% in training", found)
    suspect = Finding("suspicious_label", (0,), 7, [])
    assert f"7 label(s) of {name} may be wrong" in told(run, readings, [suspect])


def test_lines_wider_than_those_of_training_are_read_in_windows_but_in_the_runs_own_sets(
    smoke_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
) -> None:
    run = gather.load(smoke_run)
    how = dataclasses.replace(run.recognizer.preprocess, fit="keep", max_width=64)
    config = copy.deepcopy(run.config)
    config.data.eval = f"tsv:{tmp_path}::name=own"
    reader = dataclasses.replace(run.recognizer, preprocess=how)
    run = dataclasses.replace(run, recognizer=reader, config=config)
    for name, width in (("wide", 4 * how.height), ("fits", 64)):
        Image.new("L", (width, how.height)).save(tmp_path / f"{name}.png")
    labels = "wide.png\twide\nfits.png\tfits\n"
    (tmp_path / "labels.tsv").write_text(labels, encoding="utf-8")
    used, seen = [], []

    def evaluate_source(reader, source, protocol, **_):
        used.append(reader)
        rows = [Row(source.key(i), source.label(i), "", 0.5) for i in range(len(source))]
        return score(source.name, rows, protocol, None)

    def look(reader, images, *_):
        seen.append((reader, max(image.shape[1] for image in images)))
        return [alignment.Look(image, np.ones((4, 2), np.float32), None, None) for image in images]

    monkeypatch.setattr("crnn_jax.evaluate.evaluate_source", evaluate_source)
    monkeypatch.setattr(alignment, "look", look)
    readings = sets.read(run, [f"tsv:{tmp_path}::name=given"], 10)
    assert used == [reader, reader.in_windows()]
    assert "1 image(s) of own are wider than 64 pixels" in told(run, readings)
    assert "of given are wider" not in told(run, readings)
    reading_sections.frames(run, readings, set())
    assert all(one is readings.sets[i].reader for i, (one, _) in enumerate(seen))
    assert [width for _, width in seen] == [64, 4 * how.height]


@pytest.mark.parametrize(("temperature", "rows"), [(1.0, [0]), (2.0, [0, 1])])
def test_likely_label_errors_are_looked_for_at_temperature_1(
    smoke_run: pathlib.Path, monkeypatch, temperature: float, rows: list[int]
) -> None:
    run = gather.load(smoke_run)
    reader = dataclasses.replace(run.recognizer, temperature=temperature)
    spec = parse_spec("tfds:rendered_words/tiny/test::limit=3")
    source = open_source(spec)
    texts = [("a", "b", 0.9), ("a", "b", 0.4), ("a", "", 0.0)]
    unreadable = ("", "", "no image")
    rows_ = [Row("", *text, e) for text, e in zip(texts, unreadable, strict=True)]
    result = score("words", rows_, "36", None)
    scores = score_rows(result.rows, "36")
    one = sets.Evaluated(spec, source, 3, result, scores, True, reader, [None] * 3)
    pairs = [sets.Pair(0, i, *text) for i, text in enumerate(texts)]
    again = []

    def check_readings(number, audited, *_):
        again.extend(audited.images.readable.nonzero()[0].tolist())
        return []

    monkeypatch.setattr("crnn_jax.auditing.readings.check_readings", check_readings)
    suspects.find(run, Readings([one], pairs, [], [], []))
    assert again == rows
