"""Calibrating a run from the command line, and the file that it leaves there."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax import calibrate, files
from crnn_jax.calibration_file import (
    CALIBRATION_FILE,
    Calibration,
    Figures,
    fingerprint,
    load_calibration,
    temperature_of,
)
from crnn_jax.data.sources import open_source
from crnn_jax.data.spec import parse_spec
from crnn_jax.errors import UserError
from crnn_jax.scoring.posteriors import read_posteriors

FIGURES = Figures(("words",), 100, 0.7, 0.05, 0.02, 0.5, 0.4)
FOUND = Calibration(1.25, "00ff", "36", FIGURES, None)


@pytest.fixture(scope="module")
def words(recognizer, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Forty images, two of each photograph; the model reads about half as they are labelled."""
    folder = tmp_path_factory.mktemp("words")
    rows, lines, number = 120, [], 0
    source = open_source(f"tfds:rendered_words/tiny/test::limit={rows}")
    images = [source.image_bytes(i) for i in range(len(source))]
    for image, reading in zip(images, recognizer.read(images), strict=True):
        text = "".join(filter(str.isalnum, reading.text))
        if text and number < 40:
            name = f"{number // 2}_{number % 2}.jpg"
            (folder / name).write_bytes(image)
            lines.append(f"{name}\t{text if number % 3 else text + 'x'}\n")
            number += 1
    assert number == 40
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def run(smoke_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A run that may be changed."""
    return shutil.copytree(smoke_run, tmp_path / "run")


def test_a_run_gets_its_calibration(run, recognizer, words, run_command, tmp_path) -> None:
    out, plot = tmp_path / "report.json", tmp_path / "plot.png"
    spec = f"tsv:{words}/labels.tsv::group=^[^_]+"
    code, lines, err = run_command(
        calibrate.main, f"--model={run}", f"--data={spec}", "--error_rate=0.1",
        "--error_rate=0.5", f"--out={out}", f"--plot={plot}",
    )  # fmt: skip
    assert code == 0, err
    found = load_calibration(run)
    assert found.fitted.rows == found.checked.rows == 40
    assert found.fitted.accuracy == found.checked.accuracy == pytest.approx(26 / 40)
    assert found.protocol == "exact"  # the model's own
    assert found.is_for(recognizer.variables)
    assert temperature_of(run, recognizer.variables) == found.temperature
    assert any("no --check: each half of --data" in line for line in lines)
    assert f"written: {run / CALIBRATION_FILE}" in lines

    assert Calibration.from_report(str(out), recognizer.variables) == found
    report = json.loads(out.read_text("utf-8"))
    assert report["temperature"] == pytest.approx(found.temperature)
    assert report["before"]["rows"] == 40
    assert [t["error_rate"] for t in report["thresholds"]] == [0.1, 0.5]
    assert report["thresholds"][0]["guaranteed"]["fitted"]["value"] is None  # of so few rows
    for t in report["thresholds"]:
        assert t["plain"]["checked"]["rows"] == 40
    assert sum(b["count"] for b in report["after"]["bins"]) == 40
    with Image.open(plot) as image:
        assert image.size[0] > 1000


def test_what_was_fitted_lowers_the_log_loss_of_its_rows(run, words, run_command, caplog) -> None:
    spec = f"tsv:{words}/labels.tsv"
    code, *_ = run_command(calibrate.main, f"--model={run}", f"--data={spec}", f"--check={spec}")
    assert "looks better than it is; give other images" in caplog.text
    found = load_calibration(run)
    assert code == 0
    assert found.fitted.log_loss_after <= found.fitted.log_loss_before
    assert found.fitted == found.checked  # the same rows


def test_groups_are_not_torn_and_halves_share_none(words) -> None:
    whole = parse_spec(f"tsv:{words}/labels.tsv::group=^[^_]+")
    first, second = map(open_source, calibrate.halves(whole))
    photographs = [{s.key(i).split("_")[0] for i in range(len(s))} for s in (first, second)]
    assert len(first) + len(second) == 40
    assert not photographs[0] & photographs[1]
    part = parse_spec("tsv:x::split=10:30,limit=9")
    assert [str(s) for s in calibrate.halves(part)] == [
        "tsv:x::split=10:20,limit=4",
        "tsv:x::split=20:30,limit=4",
    ]
    rendered = parse_spec("synth:plain::limit=100")  # the size of the set, before its split
    assert len(open_source(rendered)) == sum(
        len(open_source(half)) for half in calibrate.halves(rendered)
    )


def test_rows_without_a_confidence_are_left_out_and_told(recognizer, words, tmp_path) -> None:
    folder = shutil.copytree(words, tmp_path / "damaged")
    lines = (folder / "labels.tsv").read_text("utf-8").splitlines()
    (folder / "1_0.jpg").write_bytes(b"no image")
    lines[7] = lines[7].split("\t")[0] + "\t!?"
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = read_posteriors(recognizer, open_source(f"tsv:{words}/labels.tsv"), "36", 7)
    found = read_posteriors(recognizer, open_source(f"tsv:{folder}/labels.tsv"), "36", 7)
    assert (found.unreadable, found.skipped) == (1, 1)
    assert found.rows == tuple(i for i in range(40) if i not in (2, 7))
    # Each row kept its own posteriors, whatever was left out between them and the batches.
    kept = whole.posteriors.where(np.array(found.rows))
    assert found.posteriors.log_p == pytest.approx(kept.log_p, abs=1e-4)
    assert np.array_equal(found.posteriors.correct, kept.correct)
    report = calibrate.calibrate(
        recognizer, [parse_spec(f"tsv:{folder}/labels.tsv")], protocol="36"
    )
    assert sum("left out" in remark for remark in report.remarks) == 2


def test_a_recogniser_of_that_temperature_reads_with_these_confidences(recognizer, words) -> None:
    source = open_source(f"tsv:{words}/labels.tsv")
    found = read_posteriors(dataclasses.replace(recognizer, temperature=3.0), source, "36")
    images = [source.image_bytes(i) for i in range(40)]
    for temperature in (1.0, 1.3):
        model = dataclasses.replace(recognizer, temperature=temperature)
        expected = [reading.confidence for reading in model.read(images)]
        assert found.posteriors.confidences(temperature) == pytest.approx(expected, abs=5e-4)


def test_other_sets_may_be_checked(run, words, run_command, tmp_path) -> None:
    other = shutil.copytree(words, tmp_path / "other")
    code, _, err = run_command(
        calibrate.main, f"--model={run}", f"--data=tsv:{words}/labels.tsv::name=here",
        f"--check=tsv:{other}/labels.tsv::rows=0:30",
    )  # fmt: skip
    assert code == 0, err
    found = load_calibration(run)
    assert (found.fitted.sets, found.fitted.rows) == (("here",), 40)
    assert (found.checked.sets, found.checked.rows) == (("other (rows=0:30)",), 30)


def test_public_test_sets_are_not_fitted_on(run, words, mistake, run_command, tmp_path) -> None:
    test_set = shutil.copytree(words, tmp_path / "svt_test")
    arguments = f"--model={run}", f"--data=tsv:{test_set}/labels.tsv"
    line = mistake(calibrate.main, *arguments)
    assert "the public test set SVT" in line
    assert "--fit_on_test" in line
    assert not (run / CALIBRATION_FILE).exists()
    assert run_command(calibrate.main, *arguments, "--fit_on_test").code == 0
    # To be checked on, they are there.
    data = f"--data=tsv:{words}/labels.tsv"
    check = f"--check=tsv:{test_set}/labels.tsv"
    assert run_command(calibrate.main, f"--model={run}", data, check).code == 0


def test_mistakes_end_in_one_line(run, words, mistake, tmp_path) -> None:
    data = f"--data=tsv:{words}/labels.tsv"
    bundle = tmp_path / "model.crnn"
    bundle.write_bytes(b"")
    for arguments, expected in (
        ((f"--model={bundle}", data), "a bundle is not changed"),
        (("--model=runs/nowhere", data), "not a model"),
        ((f"--model={run}", data, "--error_rate=1"), "'1' is not a share"),
        ((f"--model={run}", data, "--delta=x"), "'x' is not a share"),
        ((f"--model={run}", data, "--plot=x.jpg"), "FILE.png"),
        ((f"--model={run}", data, "--out=/nowhere/x.json"), "its folder does not exist"),
        ((f"--model={run}", data, "--protocol=35"), "unknown protocol '35'"),
        ((f"--model={run}", data, "--check=tsv:nowhere"), "nowhere"),
        ((f"--model={run}", f"{data}::group=^"), "its groups are too few for two halves"),
        ((f"--model={run}", data, f"--out={run}/calibration.json"), "is the file of --model, too"),
        ((f"--model={run}", data, "--out=x.png", "--plot=x.png"), "is the file of --out, too"),
        ((f"--model={run}",), "--data"),
    ):
        assert expected in mistake(calibrate.main, *arguments)


def test_readings_that_are_all_wrong_are_a_mistake_and_change_nothing(
    run, words, mistake, tmp_path
) -> None:
    folder = shutil.copytree(words, tmp_path / "wrong")
    text = (folder / "labels.tsv").read_text("utf-8").replace("\n", "zz\n")
    (folder / "labels.tsv").write_text(text, encoding="utf-8")
    line = mistake(calibrate.main, f"--model={run}", f"--data=tsv:{folder}/labels.tsv")
    assert "all wrong" in line
    assert not (run / CALIBRATION_FILE).exists()


# The file.


def test_the_file_is_read_as_it_was_written(tmp_path) -> None:
    for found in (FOUND, Calibration(1.0, "x", "exact", FIGURES, FIGURES)):
        assert found.save(tmp_path) == tmp_path / CALIBRATION_FILE
        assert load_calibration(tmp_path) == found
    assert [path.name for path in tmp_path.iterdir()] == [CALIBRATION_FILE]


def test_a_model_without_one_is_raw(tmp_path) -> None:
    assert load_calibration(tmp_path) is None
    assert temperature_of(tmp_path, {"a": np.zeros(2)}) == 1.0


def test_a_calibration_of_other_weights_is_not_used(tmp_path, caplog) -> None:
    weights = {"params": {"a": np.arange(3.0)}}
    Calibration(1.25, fingerprint(weights), "36", FIGURES).save(tmp_path)
    assert temperature_of(tmp_path, weights) == 1.25
    assert not caplog.records
    assert temperature_of(tmp_path, {"params": {"a": np.arange(3.0) + 1e-7}}) == 1.0
    assert "other weights" in caplog.text


def test_fingerprints_tell_names_shapes_types_and_values_apart() -> None:
    trees = [
        {"a": np.zeros(4, np.float32)},
        {"b": np.zeros(4, np.float32)},
        {"a": np.zeros((2, 2), np.float32)},
        {"a": np.zeros(2, np.float64)},
        {"a": np.array([0, 0, 0, 1], np.float32)},
    ]
    assert len({fingerprint(tree) for tree in trees}) == len(trees)
    assert fingerprint(trees[0]) == fingerprint({"a": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": None}, "temperature is None"),
        ({"temperature": True}, "temperature is True"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"weights": ""}, "weights is ''"),
        ({"protocol": "37"}, "protocol is '37'"),
        ({"protocol": ["36"]}, "protocol is"),
        ({"extra": 1}, "extra"),
        ({"fitted": None}, "fitted: damaged"),
        ({"fitted": {"rows": 3}}, "rows where"),
        ({"checked": 3}, "checked: damaged"),
    ],
)
def test_a_damaged_file_is_told_with_what_to_do(change, expected: str, tmp_path) -> None:
    files.write_text(
        tmp_path / CALIBRATION_FILE,
        json.dumps(json.loads(json.dumps(FOUND.to_json())) | change),
    )
    with pytest.raises(UserError, match="calibrate again") as error:
        load_calibration(tmp_path)
    assert expected in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "change", [{"rows": 0}, {"rows": 1.5}, {"accuracy": 1.2}, {"ece_after": -0.1}, {"sets": "x"},
               {"sets": [1]}, {"log_loss_after": None}]
)  # fmt: skip
def test_damaged_figures_are_told(change, tmp_path) -> None:
    value = json.loads(json.dumps(FOUND.to_json()))
    value["fitted"] |= change
    with pytest.raises(UserError, match=f"fitted: damaged, {next(iter(change))} is"):
        Calibration.from_json(value)


def test_a_file_that_is_no_json_or_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        load_calibration(tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        FOUND.save(tmp_path / "nowhere")
