"""Evaluation: every row counts, the files say what the contract says, nothing is NaN."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

from crnn_jax import evaluate
from crnn_jax.charset import build_charset
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.metrics import RecognitionMetrics
from crnn_jax.recognizer import Reading, Recognizer, default_protocol
from crnn_jax.scoring import systems

SET_KEYS = {
    "name", "count", "word_accuracy", "cer", "wer", "one_minus_ned", "loss", "unreadable",
    "skipped", "images_per_second", "model", "benchmark", "intervals", "breakdown",
}  # fmt: skip


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    source = open_source("tfds:rendered_words/tiny/test::limit=8")
    return [source.image_bytes(i) for i in range(len(source))]


@pytest.fixture(scope="module")
def readings(recognizer: Recognizer, images: list[bytes]) -> list[Reading]:
    return recognizer.read(images, batch_size=8)


@pytest.fixture(scope="module")
def read(images: list[bytes], readings: list[Reading]) -> list[tuple[bytes, Reading]]:
    """Images in which the model reads at least a letter, and what it reads."""
    chosen = [
        (i, r) for i, r in zip(images, readings, strict=True) if any(map(str.isalpha, r.text))
    ]
    assert len(chosen) >= 3
    return chosen


def write_set(folder: pathlib.Path, rows: Sequence[tuple[bytes | None, str]]) -> str:
    """Writes images (None: it is missing) with labels; returns the SPEC."""
    folder.mkdir(parents=True)
    lines = []
    for number, (image, label) in enumerate(rows):
        lines.append(f"{number}.jpg\t{label}\n")
        if image is not None:
            (folder / f"{number}.jpg").write_bytes(image)
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return f"tsv:{folder}/labels.tsv"


def strict_json(path: pathlib.Path) -> Any:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_every_row_counts_an_unreadable_or_missing_image_as_wrong(
    recognizer: Recognizer, read: list, tmp_path: pathlib.Path
) -> None:
    (first, one), (second, two), (third, three) = read[:3]
    rows = [
        (first, one.text),
        (second[: len(second) // 2], "cut"),
        (second, two.text),
        (None, "gone"),
        (third, three.text + "x"),
        (b"", "nil"),
    ]
    source = open_source(write_set(tmp_path / "mixed", rows))
    result = evaluate.evaluate_source(recognizer, source, "exact", batch_size=8)

    assert result.name == "mixed"
    assert [row.label for row in result.rows] == [label for _, label in rows]
    assert [row.key for row in result.rows] == [f"{i}.jpg" for i in range(6)]
    assert [row.reading for row in result.rows] == [one.text, "", two.text, "", three.text, ""]
    errors = [row.error for row in result.rows]
    assert [bool(error) for error in errors] == [False, True, False, True, False, True]
    assert "truncated" in errors[1]
    assert "3.jpg" in errors[3]
    assert "missing" in errors[3]
    assert "0 bytes" in errors[5]
    assert result.metrics["count"] == 6
    assert result.metrics["unreadable"] == 3
    assert result.metrics["word_accuracy"] == 2 / 6
    scores = RecognitionMetrics("exact")
    for row in result.rows:
        scores.update(row.label, row.reading)
    assert scores.compute().items() <= result.metrics.items()


def test_loss_of_a_reading_is_its_confidence(
    recognizer: Recognizer, read: list, tmp_path: pathlib.Path
) -> None:
    rows = [(image, reading.text) for image, reading in read[:3]]
    source = open_source(write_set(tmp_path / "set", rows))
    result = evaluate.evaluate_source(recognizer, source, "exact", batch_size=8)
    expected = sum(-math.log(reading.confidence) for _, reading in read[:3]) / 3
    assert result.metrics["loss"] == pytest.approx(expected, rel=1e-4)
    assert result.metrics["word_accuracy"] == 1


def test_labels_that_the_model_cannot_write_count_but_have_no_loss(
    recognizer: Recognizer, read: list, tmp_path: pathlib.Path
) -> None:
    image = read[0][0]
    rows = [(image, "é"), (image, "a" * 9), (image, "ab" * 400), (image, "äöü")]
    source = open_source(write_set(tmp_path / "set", rows))
    result = evaluate.evaluate_source(recognizer, source, "exact", batch_size=8)
    assert (result.metrics["count"], result.metrics["word_accuracy"]) == (4, 0)
    assert result.metrics["loss"] is None  # 64 px are 16 frames, nine equal letters need 17
    assert result.metrics["cer"] > 0.99


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (
            "exact",
            "model cannot write 2 of 4 labels of set, which hold ! É é: they count as wrong",
        ),
        ("fold", "model cannot write 2 of 4 labels of set, which hold ! é: they count as wrong"),
        ("36", ""),
    ],
)
def test_labels_that_the_model_cannot_write_are_told(
    recognizer: Recognizer, tmp_path: pathlib.Path, caplog, protocol: str, said: str
) -> None:
    source = open_source(write_set(tmp_path / "set", [(None, x) for x in ("aé", "É!", "A", "b")]))
    systems.warn_of_unwritable({"model": recognizer}, [source], protocol)
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_files_and_table_hold_what_the_contract_says(
    run_command: Callable, smoke_run: pathlib.Path, read: list, tmp_path: pathlib.Path
) -> None:
    (image, reading), (other, _) = read[:2]
    one = write_set(tmp_path / "one", [(image, reading.text), (other, "né\u2028x"), (b"GIF", "no")])
    two = write_set(tmp_path / "two", [(image, reading.text)]) + "::name=second"
    out, predictions = tmp_path / "results.json", tmp_path / "readings.tsv"
    argv = [f"--model={smoke_run}", f"--data={one}", f"--data={two}", "--batch_size=8"]
    code, lines, err = run_command(
        evaluate.main, *argv, f"--out={out}", f"--predictions={predictions}"
    )
    assert (code, err) == (0, [])

    report = strict_json(out)
    assert list(report) == [
        "model", "protocol", "decoder", "sets", "averages", "over_models", "tests", "files",
        "published", "resamples", "lexicon",
    ]  # fmt: skip
    assert (report["model"], report["protocol"], report["decoder"]) == ("smoke", "exact", "greedy")
    assert [set(entry) for entry in report["sets"]] == [SET_KEYS, SET_KEYS]
    assert [entry["name"] for entry in report["sets"]] == ["one", "second"]
    assert [entry["count"] for entry in report["sets"]] == [3, 1]
    assert [entry["unreadable"] for entry in report["sets"]] == [1, 0]
    assert report["sets"][0]["word_accuracy"] == 1 / 3
    assert report["sets"][1]["word_accuracy"] == 1
    assert all(entry["images_per_second"] > 0 for entry in report["sets"])

    cells = [line.split("\t") for line in predictions.read_text("utf-8").splitlines()]
    assert [len(row) for row in cells] == [4] * 4
    assert [row[0] for row in cells] == ["0.jpg", "1.jpg", "2.jpg", "0.jpg"]
    assert [row[1] for row in cells] == [reading.text, "né x", "no", reading.text]
    assert [row[2] for row in cells[::3]] == [reading.text] * 2
    assert cells[2][2:] == ["", "0.000000"]

    (first,) = (line for line in lines if line.startswith("one "))
    assert "0.3333 [0.0615, 0.7923]" in first
    (line,) = (line for line in lines if "unreadable" in line)
    assert line.startswith("  1 unreadable images, counted as wrong; the first: 2.jpg: ")
    assert any(line.startswith("second ") and "1.0000" in line for line in lines)


def test_protocol_is_the_models_own_unless_it_is_chosen(
    run_command: Callable, smoke_run: pathlib.Path, read: list, tmp_path: pathlib.Path
) -> None:
    image, reading = read[0]
    rows = [(image, f"-{reading.text.swapcase()}!"), (image, "—"), (image, "")]
    spec = write_set(tmp_path / "set", rows)
    argv = [f"--model={smoke_run}", f"--data={spec}", "--batch_size=8"]
    out = tmp_path / "results.json"

    def results(*more: str) -> tuple[str, dict[str, Any], list[str]]:
        code, lines, err = run_command(evaluate.main, *argv, *more, f"--out={out}")
        assert (code, err) == (0, [])
        report = strict_json(out)
        return report["protocol"], report["sets"][0], lines

    protocol, entry, _ = results()
    assert (protocol, entry["count"], entry["skipped"]) == ("exact", 2, 1)
    assert entry["word_accuracy"] == 0
    protocol, entry, lines = results("--protocol=36")
    assert (protocol, entry["count"], entry["skipped"]) == ("36", 1, 2)
    assert (entry["word_accuracy"], entry["cer"]) == (1, 0)
    assert "  2 rows left out, their labels are empty under the protocol" in lines


def test_a_set_without_any_label_under_the_protocol_is_reported_without_nan(
    run_command: Callable, smoke_run: pathlib.Path, read: list, tmp_path: pathlib.Path
) -> None:
    spec = write_set(tmp_path / "marks", [(read[0][0], "!?"), (read[1][0], "…")])
    out = tmp_path / "results.json"
    code, lines, _ = run_command(
        evaluate.main, f"--model={smoke_run}", f"--data={spec}", "--protocol=36", f"--out={out}"
    )
    assert code == 0
    (entry,) = strict_json(out)["sets"]
    assert (entry["count"], entry["skipped"]) == (0, 2)
    assert entry["word_accuracy"] is entry["cer"] is entry["one_minus_ned"] is None
    (line,) = (line for line in lines if line.startswith("marks "))
    assert line.endswith(" 0 no row has a label under this protocol")
    assert "nan" not in "".join(lines)


@pytest.mark.parametrize(
    ("charset", "case", "protocol"),
    [
        ("alnum36", "auto", "36"),
        ("alnum36", "fold", "36"),
        ("alnum36", "keep", "exact"),
        ("alnum36+space", "auto", "fold"),
        ("alnum36+space", "keep", "exact"),
        ("chars:abé", "fold", "fold"),
        ("alnum62", "auto", "exact"),
        ("digits", "auto", "exact"),
    ],
)
def test_protocol_of_a_charset(charset: str, case: str, protocol: str) -> None:
    assert default_protocol(build_charset(charset, case)) == protocol


def test_wrong_protocol_and_decoder_name_the_right_ones(recognizer: Recognizer) -> None:
    source = open_source("tfds:rendered_words/tiny/test::limit=1")
    with pytest.raises(UserError, match=r"unknown protocol '37'.*36, 62, 94, exact"):
        evaluate.evaluate_source(recognizer, source, "37")
    with pytest.raises(UserError, match="unknown decoder 'gredy': did you mean 'greedy'"):
        evaluate.evaluate_source(recognizer, source, "exact", decoder="gredy")


def test_predictions_are_one_line_per_row_whatever_the_texts_hold(tmp_path: pathlib.Path) -> None:
    row = evaluate.Row("a\tb.png", "x\ny\r\n\u2028z", "\x85", 0.25)
    evaluate.write_predictions(tmp_path / "p.tsv", [evaluate.Result("s", {}, [row, row])])
    lines = (tmp_path / "p.tsv").read_text("utf-8").splitlines()
    assert lines == ["a b.png\tx y   z\t \t0.250000"] * 2
