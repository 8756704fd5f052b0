"""The report of an evaluation: numbers that follow from the rows, and what tables say of them."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from small import write_words

from crnn_jax import evaluate, files
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.metrics import wilson_interval
from crnn_jax.scoring import plot, systems, tables
from crnn_jax.scoring.readings_files import FileReading, ReadingsFile
from crnn_jax.scoring.report import Report, System, build_report
from crnn_jax.scoring.results import Row, score
from crnn_jax.scoring.summaries import OVER_IMAGES, OVER_SETS


def result(name: str, pairs: list[tuple[str, str]], protocol: str = "36"):
    rows = [Row(f"{i}.png", label, reading, 1.0) for i, (label, reading) in enumerate(pairs)]
    return score(name, rows, protocol, 100.0)


def right(name: str, correct: int, wrong: int):
    """A set of which so many words are read, and so many have one of their two letters wrong."""
    return result(name, [("ab", "ab")] * correct + [("ab", "ax")] * wrong)


def report(*found: System, against: tuple[System, ...] = (), **more) -> Report:
    ratios = [[2.0] * len(one.rows) for one in found[0].results]
    return build_report(found, against, ratios, "36", "greedy", **more)


def system(name: str, *results) -> System:
    return System(name, results)


def from_file(name: str, readings: dict[str, str], *results) -> System:
    """A file of readings of sets whose labels are those of the results."""

    class Set:
        def __init__(self, one):
            self.name, self._rows = one.name, one.rows

        def __len__(self) -> int:
            return len(self._rows)

        def key(self, i: int) -> str:
            return self._rows[i].key

        def label(self, i: int) -> str:
            return self._rows[i].label

    file = ReadingsFile(name, "tsv", tuple(FileReading(*item) for item in readings.items()))
    return systems.read_from_file(name, file, [Set(one) for one in results], "36")


# What the numbers are.


def test_means_over_sets_and_over_images_are_different_things() -> None:
    found = report(system("m", right("large", 90, 10), right("small", 5, 15)))
    over_sets, over_images = found.averages
    assert (over_sets.over, over_images.over) == (OVER_SETS, OVER_IMAGES)
    assert over_sets.word_accuracy == pytest.approx((0.9 + 0.25) / 2)
    assert over_images.word_accuracy == pytest.approx(95 / 120)
    assert over_sets.cer == pytest.approx((10 / 200 + 15 / 40) / 2)
    assert over_images.cer == pytest.approx(25 / 240)
    assert (over_images.sets, over_images.count) == (2, 120)
    for mean in found.averages:
        low, high = mean.intervals["word_accuracy"]
        assert low < mean.word_accuracy < high


def test_a_set_in_which_nothing_counts_is_in_no_mean() -> None:
    empty = result("marks", [("!", "!")])
    found = report(system("m", right("a", 3, 1), empty, right("b", 1, 3)))
    assert [mean.sets for mean in found.averages] == [2, 2]
    assert found.averages[0].word_accuracy == 0.5
    assert math.isnan(found.sets[1].intervals["word_accuracy"].low)
    assert report(system("m", right("a", 3, 1), empty)).averages == []
    text = json.dumps(files.finite(found.to_json()), allow_nan=False)
    assert "NaN" not in text
    assert "nan" not in tables.report_text(found, breakdown=True)
    assert "nan" not in tables.report_markdown(found)


def test_several_models_have_a_mean_a_deviation_and_tests_against_the_first() -> None:
    seeds = [system(name, right("a", n, 100 - n)) for name, n in (("x", 60), ("y", 70), ("z", 80))]
    found = report(*seeds)
    (mean,) = found.over_models
    assert mean.word_accuracy == pytest.approx(0.7)
    assert mean.deviation == pytest.approx(0.1)
    assert mean.cer == pytest.approx(0.15)
    alone = found.sets[1].intervals["word_accuracy"]
    both = mean.intervals["word_accuracy"]
    assert both.high - both.low > alone.high - alone.low  # seeds differ by more than images do
    assert [(t.a, t.b, t.test.only_b) for t in found.tests] == [("x", "y", 10), ("x", "z", 20)]
    assert found.to_json()["model"] == "x, y, z"
    assert [one["model"] for one in found.to_json()["sets"]] == ["x", "y", "z"]
    together = tables.report_text(report(*seeds, alike=2))  # the third is all of them as one
    assert "Mean of 2 models\n" in together
    assert "Mean of 3 models" not in together


def test_rows_without_a_reading_are_wrong_in_the_table_and_in_no_test() -> None:
    labels = result("s", [("one", "one"), ("two", "two"), ("six", "six"), ("ten", "tex")])
    other = from_file("o.tsv", {"0.png": "one", "2.png": "sax", "9.png": "?"}, labels)
    assert other.results[0].metrics["word_accuracy"] == 0.25
    assert other.results[0].metrics["images_per_second"] is None
    assert [math.isnan(row.confidence) for row in other.results[0].rows] == [
        True,
        False,
        True,
        False,
    ]
    found = report(system("m", labels), against=(other,))
    (test,) = found.tests
    assert (test.a, test.b, test.left_out) == ("o.tsv", "m", 2)
    assert (test.test.count, test.test.only_a, test.test.only_b) == (2, 0, 1)
    assert test.test.word_accuracy.difference == 0.5
    (file,) = found.to_json()["files"]
    assert file["rows_without_reading"] == ["s 1.png", "s 3.png"]
    assert file["unused_readings"] == ["9.png"]
    text = tables.report_text(found)
    assert "  2 rows without a reading: s 1.png, s 3.png" in text
    assert "s, o.tsv and m: 2 rows left out, which one of the two has not read" in text


def test_where_all_is_right_the_interval_in_tables_still_has_a_width() -> None:
    found = report(system("m", right("s", 20, 0)))
    (one,) = found.to_json()["sets"]
    assert one["intervals"]["word_accuracy"] == (1, 1)
    low, high = wilson_interval(20, 20)
    assert one["intervals"]["word_accuracy_wilson"] == (low, high)
    for text in (tables.report_text(found), tables.report_markdown(found)):
        assert f"[{low:.4f}, 1.0000]" in text or f"[{100 * low:.2f}, 100.00]" in text
        assert "[1.0000, 1.0000]" not in text
        assert "[100.00, 100.00]" not in text


def test_several_sets_are_tested_apart_and_together() -> None:
    one = system("x", right("a", 5, 5), right("b", 9, 1))
    two = system("y", right("a", 7, 3), right("b", 9, 1))
    found = report(one, two)
    assert [(t.over, t.test.count, t.test.only_b) for t in found.tests] == [
        ("a", 10, 2), ("b", 10, 0), ("all sets", 20, 2)
    ]  # fmt: skip


def test_a_wrong_count_is_in_the_table_and_in_the_file() -> None:
    found = report(system("m", right("svt_test", 600, 40), right("iiit5k_train", 5, 5)))
    line = "640 rows, but SVT has 647: not the public set"
    assert f"  {line}" in tables.report_text(found).splitlines()
    assert f"- svt_test: {line}" in tables.report_markdown(found).splitlines()
    svt, train = found.to_json()["sets"]
    assert svt["benchmark"]["expected_count"] == [647]
    assert svt["benchmark"]["complete"] is False
    assert train["benchmark"] is None


# What tables say.


def test_published_rows_stand_beside_ours() -> None:
    found = report(system("m", right("words", 1, 1), right("svt", 323, 324)), with_published=True)
    for text in (tables.report_text(found), tables.report_markdown(found)):
        lines = [line.replace("|", " ").split() for line in text.splitlines()]
        assert ["m", "(this", "evaluation)", "49.9"] in lines
        (crnn,) = (line for line in lines if line[:2] == ["CRNN", "(2015)"])
        assert crnn[2:5] == ["MJSynth", "8.3M", "80.8"]
    assert {"CRNN (2015)"} <= {row["system"] for row in found.to_json()["published"]}
    assert report(system("m", right("svt", 323, 324))).to_json()["published"] == []
    none = report(system("m", right("words", 1, 1)), with_published=True)
    assert "none of the sets goes by the name of a public test set" in tables.report_text(none)


def test_columns_stay_apart_where_a_name_holds_the_mark_of_a_column() -> None:
    text = tables.report_markdown(report(system("a|b", right("s", 1, 1))))
    assert "| s | a\\|b | 2 | 50.00 [9.45, 90.55] | 25.00 [0.00, 50.00] | 75.00 |" in text


def test_breakdowns_are_in_markdown_always_and_in_text_when_asked_for() -> None:
    found = report(system("m", result("s", [("ab", "ab"), ("abcdef", "x"), ("7", "7")])))
    markdown = tables.report_markdown(found)
    assert "| 1-2 | 100.00 (2) |" in markdown
    assert "| 5-6 | 0.00 (1) |" in markdown
    assert "| digits | 100.00 (1) |" in markdown
    assert "Word accuracy by" not in tables.report_text(found)
    assert "Word accuracy by aspect ratio, %" in tables.report_text(found, breakdown=True)
    (one,) = found.to_json()["sets"]
    assert one["breakdown"]["label_length"][0] == {"name": "1-2", "count": 2, "word_accuracy": 1}


def test_the_least_p_of_the_bootstrap_is_a_bound() -> None:
    found = report(system("x", right("s", 50, 50)), system("y", right("s", 100, 0)), resamples=500)
    lines = tables.report_text(found).splitlines()
    (accuracy,) = (line.split() for line in lines if "word accuracy  " in line and " x " in line)
    (cer,) = (line.split() for line in lines if " CER  " in line and " x " in line)
    assert f"{2 / 2**50:.2g}" in accuracy
    assert "<0.004" in cer
    assert accuracy[-2:] == ["0", "50"]


def test_plot_is_a_png_with_a_point_per_set_that_has_rows(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    real = plot._points

    def points(axes, shift, name, places):
        drawn.append([sum(g.count for g in some) for some in places])
        real(axes, shift, name, places)

    monkeypatch.setattr(plot, "_points", points)
    found = report(system("m", right("a", 3, 1), result("marks", [("!", "!")]), right("b", 1, 1)))
    plot.save_plot(str(tmp_path / "p.png"), found)
    dollars = report(system("m$1_", right("x$b_$c", 3, 1)), system("n$2", right("x$b_$c", 2, 2)))
    plot.save_plot(str(tmp_path / "d.png"), dollars)  # they begin no formula
    del drawn[2:]
    assert drawn == [[4, 0, 2], [6, 0, 0, 0, 0, 0]]
    with Image.open(tmp_path / "p.png") as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


# The command.


@pytest.fixture
def words(tmp_path: pathlib.Path) -> str:
    folder = tmp_path / "words"
    folder.mkdir()
    write_words(folder, ["one", "two", "three", "it's"])
    return f"tsv:{folder}"


def test_readings_of_another_recogniser_are_scored_without_a_model(
    run_command: Callable, words: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").write_text("x/0.png\tONE\t0.9\nx/1.png\ttwo\t0.8\nx/3.png\tits\t1\n")
    (tmp_path / "b.txt").write_text("0.png: one\n1.png: too\n2.png: three\n3.png: \n")
    out, copy = tmp_path / "r.json", tmp_path / "copy.tsv"
    code, lines, err = run_command(
        evaluate.main, f"--readings={tmp_path}/a.txt", f"--against={tmp_path}/b.txt:parseq",
        f"--data={words}", "--protocol=36", f"--out={out}", f"--predictions={copy}",
        f"--plot={tmp_path}/p.png", f"--worst={tmp_path}/w.png",
    )  # fmt: skip
    assert (code, err) == (0, [])
    found = json.loads(out.read_text("utf-8"))
    assert (found["model"], found["protocol"], found["decoder"]) == ("a.txt", "36", None)
    assert found["sets"][0]["word_accuracy"] == 0.75
    (test,) = found["tests"]
    assert (test["a"], test["b"], test["count"]) == ("b.txt", "a.txt", 3)
    assert (test["only_a"], test["only_b"]) == (0, 2)
    assert test["word_accuracy"]["p"] == 0.5
    assert "a.txt (paddle): 3 of 4 rows have a reading" in lines
    assert "b.txt (parseq): 4 of 4 rows have a reading" in lines
    assert copy.read_text().splitlines()[2] == "2.png\tthree\t\t0.000000"
    for picture in ("p.png", "w.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_a_model_against_readings_and_a_second_model_in_markdown(
    run_command: Callable, smoke_run: pathlib.Path, words: str, tmp_path: pathlib.Path
) -> None:
    import shutil

    shutil.copytree(smoke_run, tmp_path / "other")
    mine = tmp_path / "mine.tsv"
    argv = [f"--data={words}", "--batch_size=4", "--resamples=100"]
    assert run_command(
        evaluate.main, f"--model={smoke_run}", *argv, f"--predictions={mine}"
    ).code == 0  # fmt: skip
    out = tmp_path / "r.MD"
    code, lines, err = run_command(
        evaluate.main, f"--model={smoke_run}", f"--model={tmp_path}/other", *argv,
        f"--against={mine}", f"--out={out}", "--breakdown",
    )  # fmt: skip
    assert (code, err) == (0, [])
    assert "mine.tsv (crnn_jax): 4 of 4 rows have a reading" in lines
    text = out.read_text("utf-8")
    assert text.startswith("# smoke, other\n\nProtocol exact, decoder greedy.")
    assert "## Mean of 2 models" in text
    tests = [line for line in text.splitlines() if "| word accuracy |" in line]
    pairs = [[cell.strip() for cell in line.split("|")][2:4] for line in tests]
    assert pairs == [["smoke", "other"], ["mine.tsv", "smoke"], ["mine.tsv", "other"]]
    assert all("| +0.00 [+0.00, +0.00] | 1 | 0 | 0 |" in line for line in tests)  # the same model


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ([], ["required: --model or --readings"]),
        (["--model=x", "--readings=y"], ["both given", "--against"]),
        (["--readings=y"], ["add --protocol=36, 62, 94, exact or fold"]),
        (["--readings=y", "--protocol=36", "--lexicon=x"], ["--readings are read already"]),
        (["--readings=y", "--protocol=62", "--published"], ["of protocol 36, this evaluation"]),
        (["--readings=", "--protocol=36"], ["no readings are named: give a file of readings"]),
        (["--readings=y", "--protocol=36"], ["y does not exist: give a file of readings"]),
        (["--readings=pyproject.toml:padle", "--protocol=36"], ["did you mean 'paddle'"]),
        (["--model=x", "--plot=x.pdf"], ["x.pdf: the picture is a PNG; name it FILE.png"]),
        (["--model=x", "--out=x.html"], ["--out=x.html: name it FILE.json or FILE.md"]),
        (["--model=x", "--worst=x.png", "--misses=x.png"], ["x.png is the file of --worst, too"]),
        (["--model=x", "--data=synth:plain", "--data=synth:plain"], ["two sets have one name"]),
        (["--model=x", "--resamples=0"], ["'0' is not a positive whole number"]),
    ],
)  # fmt: skip
def test_mistakes(mistake: Callable, words: str, argv: list[str], messages: list[str]) -> None:
    line = mistake(evaluate.main, f"--data={words}", *argv)
    assert all(message in line for message in messages), line


def test_names_that_are_the_same_are_told_apart_by_their_paths(
    words: str, tmp_path: pathlib.Path
) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(str(tmp_path / folder / "r.tsv"))
        pathlib.Path(paths[-1]).write_text("0.png\tone\n")
    source = open_source(words)
    found = systems.open_files(paths, [source], "36")
    assert [one.name for one in found] == paths
    with pytest.raises(UserError, match=r"r.tsv is given twice: give it once"):
        systems.open_files([paths[0], paths[0]], [source], "36")
