"""What a run does when it stops getting better, when it breaks, and when the disk does."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config, train_command

from crnn_jax import control, evaluate, replicas, train
from crnn_jax.checkpoint import FOLDER, Checkpointer, restore_newest
from crnn_jax.errors import UnavailableError, UserError
from crnn_jax.evaluate import Result
from crnn_jax.loop import Loop
from crnn_jax.step import TrainState

EVERY = {
    "eval_every_steps": 50,
    "checkpoint_every_steps": 2,
    "log_every_steps": 1,
    "grid_images": 0,
}


def bare_state() -> TrainState:
    fields = {field.name: jnp.zeros(()) for field in dataclasses.fields(TrainState)}
    sums = {"loss": jnp.zeros(())}
    return TrainState(**{**fields, "rate": jnp.ones(()), "best": -jnp.ones(()), "sums": sums})


def after(scores, **overrides) -> tuple[TrainState, list[float], list[bool]]:
    config = small_config(**overrides)
    state, rates, ends = bare_state(), [], []
    for score in scores:
        state = control.judge(state, score, config)
        rates.append(float(state.rate))
        ends.append(control.exhausted(state, config))
    return state, rates, ends


def test_a_plateau_lowers_the_rate_again_and_again():
    scores = [0.1, 0.3, 0.2, 0.3, 0.1, 0.1, 0.4, 0.4, None, 0.4]
    options = {"schedule": "plateau", "plateau_patience": 2, "plateau_factor": 0.1}
    state, rates, _ = after(scores, **options)
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001], rtol=1e-5)
    assert float(state.best) == pytest.approx(0.4)
    _, rates, _ = after(scores)  # another schedule knows no plateaus
    assert set(rates) == {1.0}


def test_patience_ends_a_run():
    _, _, ends = after([0.0, 0.2, 0.1, 0.2], stop_patience=2)
    assert ends == [False, False, False, True]
    _, _, ends = after([0.2, 0.1, 0.1, 0.1])
    assert not any(ends)


def test_the_same_score_again_is_not_better():
    """The best is kept in float32, in which 0.7 is less than 0.7."""
    assert float(np.float32(0.7)) < 0.7
    _, _, ends = after([0.7, 0.7, 0.7, 0.7], stop_patience=2)
    assert ends == [False, False, True, True]


def test_a_report_names_no_checkpoint_where_there_is_none():
    config = small_config()
    assert "the checkpoint of step 4 is good" in control.report(9, 4, config)
    assert "there is no checkpoint yet" in control.report(9, 0, config)


@pytest.mark.slow
def test_a_run_that_has_ended_early_stays_so(tmp_path, monkeypatch):
    metrics = {"word_accuracy": 0.5, "count": 1, "cer": 0.5, "one_minus_ned": 0.5}

    def same(*args, **kwargs):
        return Result("rendered_words", metrics, [])

    monkeypatch.setattr("crnn_jax.evaluate.evaluate_source", same)
    config = small_config(total_steps=20, stop_patience=2, **{**EVERY, "eval_every_steps": 2})
    state, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["step"] == int(state.step) == 6
    again, repeated = train.train_and_evaluate(config, tmp_path)
    assert repeated["step"] == 6
    jax.tree.map(np.testing.assert_array_equal, state, again)


def test_what_is_not_saved_is_not_judged():
    class Judge:
        def judge(self, step, state):
            return state.replace(best=jnp.float32(0.9)), 0.9

    group = object.__new__(replicas.Group)
    group._members = [Judge(), Judge()]
    good, bad = bare_state(), bare_state().replace(streak=jnp.int32(1))
    states, scores = group.judge(2, [good, good])
    assert [float(state.best) for state in states] == pytest.approx([0.9, 0.9])
    assert scores == [0.9, 0.9]
    states, scores = group.judge(2, [good, bad])
    assert [float(state.best) for state in states] == [-1, -1]
    assert scores == [None, None]


def poisoning(monkeypatch, times: int) -> None:
    """Makes the weights NaN after step 5, so many times."""
    real, left = train.compile_train_step, [times]

    def compile_train_step(*args):
        step_fn = real(*args)

        def step(state, *arguments):
            with jax.transfer_guard("allow"):
                if int(state.step) == 5 and left[0]:
                    left[0] -= 1
                    state = state.replace(params=jax.tree.map(lambda p: p * jnp.nan, state.params))
            return step_fn(state, *arguments)

        return step

    monkeypatch.setattr(train, "compile_train_step", compile_train_step)


@pytest.mark.slow
def test_a_broken_run_goes_back_once_with_a_lower_rate(tmp_path, monkeypatch, caplog):
    poisoning(monkeypatch, 1)
    config = small_config(total_steps=12, most_skipped=3, **EVERY)
    state, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["step"] == 12
    assert float(state.rate) == control.ROLL_BACK_FACTOR
    assert int(state.rollbacks) == 1
    assert int(state.skipped) == 0
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(state.params))
    assert any("going on from step 4" in record.message for record in caplog.records)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert all(line["skipped_updates"] == 0 for line in lines if "loss" in line)


def test_replicas_that_break_in_turn_are_given_up():
    """What one had been through before the other broke is not forgotten with its state."""
    saved = [bare_state(), bare_state()]

    class Group:
        def split(self, state):
            return list(state)

        def place(self, states):
            return states

        def start(self, step):
            pass

    loop = object.__new__(Loop)
    run = types.SimpleNamespace(
        newest=lambda: (400, list(saved)), batches=lambda step: None, config=small_config()
    )
    loop._run, loop._group, loop._pending = run, Group(), None
    loop._progress = types.SimpleNamespace(rewind=lambda step: None)
    loop.state, loop.failed, told = saved, False, []
    for failing in (0, 1, 0):
        loop.step = 500
        loop._roll_back([failing])
        told.append([(float(s.rate), int(s.rollbacks)) for s in loop.state])
    half, whole = (control.ROLL_BACK_FACTOR, 1), (1.0, 0)
    assert told == [[half, whole], [half, half], [half, half]]
    assert loop.failed


@pytest.mark.slow
def test_a_run_that_breaks_again_is_given_up_with_a_report(tmp_path, monkeypatch, caplog):
    poisoning(monkeypatch, 2)
    config = small_config(total_steps=12, most_skipped=3, **EVERY)
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert summary is None
    assert "lower config.optimizer.learning_rate" in caplog.records[-1].message
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["2", "4"]


@pytest.mark.slow
def test_a_signal_in_an_evaluation_loses_nothing(tmp_path, monkeypatch):
    """The evaluation is given up and made when the run goes on, as if nothing had happened."""
    config = small_config(total_steps=4, **{**EVERY, "eval_every_steps": 2})
    whole, _ = train.train_and_evaluate(config, tmp_path / "whole")
    real = evaluate.evaluate_source

    def interrupting(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_source", interrupting)
        state, summary = train.train_and_evaluate(config, tmp_path / "cut")
    assert summary is None
    assert int(state.step) == 2
    again, summary = train.train_and_evaluate(config, tmp_path / "cut")
    assert summary["step"] == 4
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    evaluated = [
        [
            json.loads(line)["step"]
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            if '"eval"' in line
        ]
        for name in ("whole", "cut")
    ]
    assert evaluated == [[2, 4], [2, 4]]


@pytest.mark.slow
def test_a_signal_in_the_last_step_leaves_no_summary_of_an_older_state(tmp_path, monkeypatch):
    config = small_config(total_steps=4, **{**EVERY, "eval_every_steps": 2})
    real = train.compile_train_step

    def compile_train_step(*args):
        step_fn = real(*args)

        def step(state, *arguments):
            with jax.transfer_guard("allow"):
                if int(state.step) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
            return step_fn(state, *arguments)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(train, "compile_train_step", compile_train_step)
        state, summary = train.train_and_evaluate(config, tmp_path)
    assert int(state.step) == 4
    assert summary is None
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["step"] == 4
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if '"eval"' in line] == [2, 4]


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    config = small_config(schedule="constant", total_steps=6, **EVERY)
    whole, _ = train.train_and_evaluate(config, tmp_path / "whole")
    config.total_steps = 4
    train.train_and_evaluate(config, tmp_path / "cut")
    files = [p for p in (tmp_path / "cut" / FOLDER / "4").rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    config.total_steps = 6
    caplog.set_level("INFO", logger="crnn_jax")
    again, summary = train.train_and_evaluate(config, tmp_path / "cut")
    assert summary["step"] == 6
    assert any("checkpoint of step 4 is damaged" in record.message for record in caplog.records)
    assert any(record.message.endswith("at step 2 of 6") for record in caplog.records)
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    assert len(list((tmp_path / "cut" / "damaged_checkpoints").iterdir())) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("RESOURCE_EXHAUSTED: Out of memory"), OSError(5, "EIO")]
)
def test_what_cannot_be_read_for_now_is_not_set_aside(tmp_path, monkeypatch, error):
    saved = Checkpointer(tmp_path)
    state = bare_state()
    for step in (2, 4):
        saved.save(step, state)
    saved.wait()

    def restore(*args, **kwargs):
        raise (
            OSError(error.errno, os.strerror(error.errno)) if isinstance(error, OSError) else error
        )

    monkeypatch.setattr(saved._manager, "restore", restore)
    with pytest.raises(UnavailableError, match=r"/4: the checkpoint cannot be read now .* nothing"):
        restore_newest([saved], state)
    assert saved.steps() == [2, 4]
    monkeypatch.undo()
    assert restore_newest([saved], state)[0] == 4
    saved.close()


def test_the_best_and_the_newest_checkpoints_stay(tmp_path):
    saved = Checkpointer(tmp_path, keep=2)
    for step, score in ((2, 0.9), (4, 0.5), (6, 0.4), (8, 0.3)):
        saved.save(step, bare_state(), score)
    assert saved.steps() == [2, 6, 8]
    assert saved.best_step() == 2
    saved.close()


def test_a_checkpoint_that_is_gone_is_not_called_damaged(tmp_path):
    saved = Checkpointer(tmp_path)
    saved.save(2, bare_state())
    saved.wait()
    shutil.rmtree(tmp_path / FOLDER / "2")
    with pytest.raises(UnavailableError, match=r"/2: the checkpoint is gone, as where a run"):
        saved.restore(2, bare_state())
    saved.close()


def test_when_every_checkpoint_is_damaged_the_run_says_so(tmp_path):
    config = small_config(schedule="constant", total_steps=2, **EVERY)
    train.train_and_evaluate(config, tmp_path)
    for path in (tmp_path / FOLDER / "2").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            os.truncate(path, 10)
    with pytest.raises(UserError, match="damaged"):
        train.train_and_evaluate(config, tmp_path)


def test_a_checkpoint_is_not_begun_on_a_full_disk(tmp_path, monkeypatch):
    config = small_config(schedule="constant", total_steps=2, **EVERY)
    train.train_and_evaluate(config, tmp_path)
    config.total_steps = 4
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        patch.setattr("crnn_jax.checkpoint.shutil.disk_usage", lambda path: usage)
        with pytest.raises(UserError, match=r"has 1 MB left.*start the same command again"):
            train.train_and_evaluate(config, tmp_path)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["2"]
    assert train.train_and_evaluate(config, tmp_path)[1]["step"] == 4


def steps_of(*checkpointers: Checkpointer) -> list[list[int]]:
    return [checkpoints.steps() for checkpoints in checkpointers]


def test_a_checkpoint_is_not_deleted_before_there_is_room_for_it_anew(tmp_path, monkeypatch):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(2, bare_state())
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)._replace(free=0)
        patch.setattr("crnn_jax.checkpoint.shutil.disk_usage", lambda path: usage)
        with pytest.raises(UserError, match="has 0 MB left"):
            checkpoints.save(2, bare_state(), 0.5, replace=True)
    assert steps_of(checkpoints) == [[2]]
    assert not checkpoints.has_score(2)
    checkpoints.save(2, bare_state(), 0.5, replace=True)
    assert steps_of(checkpoints) == [[2]]
    assert checkpoints.has_score(2)
    with pytest.raises(UserError, match="of step 1 is not written, since there is one of step 2"):
        checkpoints.save(1, bare_state())
    checkpoints.close()


def test_replicas_go_on_from_a_common_step_and_can_save_there(tmp_path):
    a, b = (Checkpointer(tmp_path / name) for name in "ab")
    a.save(2, bare_state())
    assert restore_newest([a, b], bare_state()) is None
    assert steps_of(a, b) == [[], []]
    for step in (2, 4):
        a.save(step, bare_state())
    with pytest.raises(UserError, match="no checkpoint of a common step"):
        restore_newest([a, b], bare_state())
    b.save(2, bare_state())
    assert restore_newest([a, b], bare_state())[0] == 2
    a.save(3, bare_state())
    assert steps_of(a, b) == [[2, 3], [2]]
    a.close()
    b.close()


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path):
    """Files cannot grow beyond so many KiB, as on a full disk, when the run goes on."""

    def run(steps: int, limit: int = 0) -> subprocess.CompletedProcess:
        flags = {**EVERY, "total_steps": steps, "schedule": "constant"}
        command = train_command("quickstart:smoke,loaded", tmp_path, flags)
        if limit:
            command = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash", *command]
        return subprocess.run(command, capture_output=True, text=True)

    assert run(2).returncode == 0
    full = run(6, limit=100)
    assert full.returncode == 2, full.stderr
    # The storage library's threads complain for themselves around it.
    (line,) = (line for line in full.stderr.splitlines() if line.startswith("error: "))
    assert "File too large" in line
    assert line.endswith("start the same command again")
    assert sorted(p.name for p in (pathlib.Path(tmp_path) / FOLDER).iterdir())[0] == "2"
    assert run(6).returncode == 0
