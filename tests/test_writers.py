"""What a run writes and shows while it trains."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from crnn_jax import writers
from crnn_jax.data.images import Preprocess
from crnn_jax.evaluate import Result, Row
from crnn_jax.pictures import readings_grid
from crnn_jax.progress import Pace, Progress
from crnn_jax.signals import StopSignal
from crnn_jax.step import SUMS


def sums(empty: int = 0, loss: float = 6.0) -> dict[str, float]:
    values = dict.fromkeys(SUMS, 0.0)
    return values | {
        "loss": loss,
        "loss_weight": 3.0,
        "rows": 4.0,
        "empty_readings": float(empty),
        "steps": 2.0,
        "grad_norm": 5.0,
        "skipped": 1.0,
    }


@pytest.fixture
def writer(tmp_path):
    writer = writers.MetricWriter(tmp_path, start=0, images=lambda step: 64 * step)
    yield writer
    writer.close()


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_train_line_holds_the_quotients_of_the_sums(writer, tmp_path):
    writer.write_train(50, sums(empty=1), learning_rate=0.25, pace=Pace(9.0, 0.25, None))
    (line,) = lines(tmp_path)
    assert line["step"] == 50
    assert line["loss"] == 2.0
    assert line["grad_norm"] == 2.5
    assert line["empty_readings"] == 0.25
    assert line["learning_rate"] == 0.25
    assert line["skipped_updates"] == 1
    assert (line["images_per_second"], line["waiting"]) == (9.0, 0.25)


def test_a_loss_that_is_no_number_is_written_as_null(writer, tmp_path):
    writer.write_train(50, sums(loss=float("nan")), learning_rate=0.25, pace=Pace(9.0, 0.25, None))
    assert lines(tmp_path)[0]["loss"] is None


def test_empty_readings_are_explained_first_and_warned_of_when_they_last(
    writer, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("crnn_jax"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="crnn_jax"):
        for step in (50, 100, 3000, 3050):
            writer.write_train(step, sums(empty=4), learning_rate=0.1, pace=Pace(9.0, 0.25, None))
        writer.write_train(3100, sums(empty=1), learning_rate=0.1, pace=Pace(9.0, 0.25, None))
    told = [r for r in caplog.records if "readings are" in r.message or "begun" in r.message]
    assert [r.levelname for r in told] == ["INFO", "WARNING", "INFO"]
    assert "usual early in CTC training" in told[0].message
    assert "after 192000 images; try a lower learning rate" in told[1].message
    assert "step 3100: the network has begun to read" in told[2].message


def test_an_evaluation_that_is_made_again_is_one_line(writer, tmp_path):
    result = Result("a", {"word_accuracy": 0.5, "cer": 0.1, "count": 2}, [])
    for step in (2, 2, 4):
        writer.write_eval(step, {"a": result}, [], Preprocess(), "36", 0)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4]


def test_metrics_beyond_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    kept = [{"step": 10, "seconds": 1.5}, {"step": 20, "seconds": 2.5}]
    text = "".join(json.dumps(line) + "\n" for line in [*kept, {"step": 30, "seconds": 9.0}])
    path.write_text(text + '{"step": 15, "secon')  # a line cut short by a kill
    assert writers.cut_metrics(tmp_path, 20) == kept
    assert lines(tmp_path) == kept
    assert writers.cut_metrics(tmp_path / "missing", 20) == []


@pytest.mark.parametrize("damaged", [
    b"{}", b"[]", b"5", b"\xff", b'{"step": 1}', b"[" * 10**5, b'{"step": 1, "seconds": NaN}',
    b'{"step": 1, "seconds": 1.0, "eval": 5}',
])  # fmt: skip
def test_a_damaged_line_of_metrics_is_left_out(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(damaged + b'\n{"step": 10, "seconds": 1.5}\n')
    whole = [{"step": 10, "seconds": 1.5}]
    assert writers.cut_metrics(tmp_path, 20) == lines(tmp_path) == whole


def test_the_rate_leaves_out_what_is_not_training(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("crnn_jax.progress.time.perf_counter", lambda: clock[0])
    progress = Progress(start=0, total=100, images=lambda step: 8 * step, peak=100.0)
    clock[0] = 30.0  # compilation
    progress.first_step(1)
    progress.update()
    for _ in range(5):
        clock[0] += 1.0
        progress.update()
    with progress.paused():
        clock[0] += 100.0
    with progress.waiting():
        clock[0] += 1.0
    progress.update(work=10.0)
    assert progress.pace() == (8.0, 1 / 6, 80 / 6 / 100)
    clock[0] += 1.0
    assert np.isnan(progress.pace().images_per_second)  # no step since
    progress.close()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_signal_is_remembered_once(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert stop.requested == ""
        os.kill(os.getpid(), number)
        assert stop.requested == name
        assert signal.getsignal(number) == before  # a second one acts at once
    assert signal.getsignal(number) == before


def test_grid_shows_right_wrong_and_unreadable():
    image = np.full((32, 100, 1), 200, np.uint8)
    rows = [
        Row("a.png", "Word", "word", 0.9),
        Row("b.png", "word", "ward", 0.4),
        Row("c.png", "a very long label " * 9, "", 0.0, "unreadable"),
    ]
    grid = np.asarray(readings_grid([image, image, None], rows, "36")).astype(int)
    third = grid.shape[1] // 3
    assert grid.shape[2] == 3

    def greenish(cell):
        return ((cell[..., 1] > cell[..., 0] + 60) & (cell[..., 1] > cell[..., 2] + 40)).any()

    def reddish(cell):
        return ((cell[..., 0] > cell[..., 1] + 100) & (cell[..., 0] > cell[..., 2] + 100)).any()

    cells = [grid[:, i * third : (i + 1) * third] for i in range(3)]
    assert [greenish(cell) for cell in cells] == [True, False, False]
    assert [reddish(cell) for cell in cells] == [False, True, True]
    assert (cells[2][:, -4:] == 255).all()  # a long text is shortened, not drawn over the edge


def test_pytorch_is_not_loaded_for_tensorboard(tmp_path):
    (tmp_path / "torch.py").write_text("print('torch is loaded')")
    program = (
        "import sys; from crnn_jax.writers import _summary_writer; _summary_writer(); "
        "print('torch' in sys.modules); import torch"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ
        | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["False", "torch is loaded"], done.stderr
