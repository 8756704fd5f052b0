"""A run that is killed and started again ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

import json
import operator
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from small import small_config, train_command

from crnn_jax import bundle, cli, train
from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.checkpoint import FOLDER, Checkpointer, restore_newest, restore_state
from crnn_jax.errors import UserError

STEPS = 36
OVERRIDES = {
    "total_steps": STEPS,
    "checkpoint_every_steps": 3,
    "eval_every_steps": 6,
    "log_every_steps": 4,
    "ema": 0.9,
    "model.dropout": 0.1,
    "schedule": "plateau",
    "plateau_patience": 1,
    "accumulate": 2,
}
MIXED = {
    "data.train": "0.5*synth:plain + 0.5*tfds:rendered_words/tiny/train",
    "batch_size": 16,
}
TIMING = ("seconds", "images_per_second", "waiting")


def final_state(workdir: pathlib.Path) -> train.TrainState:
    config = config_lib.load(workdir / "config.json")
    _, shapes = train.abstract_state(config, Charset.load(workdir / "charset.json"))
    checkpoints = Checkpointer(workdir, read_only=True)
    assert checkpoints.latest_step() == STEPS
    return checkpoints.restore(STEPS, shapes)


def untimed(value):
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in TIMING}
    return value


def metrics(workdir: pathlib.Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [untimed(json.loads(line)) for line in lines]


def assert_same_run(a: pathlib.Path, b: pathlib.Path) -> None:
    jax.tree.map(np.testing.assert_array_equal, final_state(a), final_state(b))
    assert metrics(a) == metrics(b)
    rates = [line["learning_rate"] for line in metrics(a) if "learning_rate" in line]
    assert rates[-1] < max(rates)  # a plateau has lowered it
    a, b = (json.loads((workdir / "summary.json").read_text()) for workdir in (a, b))
    assert untimed(a) == untimed(b)


def command(workdir: pathlib.Path) -> list[str]:
    return train_command("quickstart:smoke,loaded", workdir, {**OVERRIDES, **MIXED})


def config():
    return cli.load_experiment(
        "quickstart:smoke,loaded", [(k, str(v)) for k, v in OVERRIDES.items()]
    )


def being_saved(workdir: pathlib.Path) -> bool:
    folder = workdir / FOLDER
    return folder.is_dir() and any("tmp" in name for name in os.listdir(folder))


def saved(workdir: pathlib.Path, step: int) -> bool:
    folder = workdir / FOLDER
    names = os.listdir(folder) if folder.is_dir() else []
    return any(name.isdigit() and int(name) >= step for name in names)


@pytest.mark.slow
def test_a_stopped_run_goes_on_exactly(tmp_path):
    """SIGTERM in the middle of the loop: the state is saved, the same call finishes the run."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train.train_and_evaluate(config(), whole)

    calls, asked = 0, []
    real = train.train_batches

    def stopping(*args, **kwargs):
        nonlocal calls
        for batch in real(*args, **kwargs):
            calls += 1
            if calls == 18:  # between two checkpoints and two log lines
                asked.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_batches", stopping)
        state, summary = train.train_and_evaluate(config(), stopped)
    assert time.monotonic() - asked[0] < 10  # what managers of clusters grant at least
    assert summary is None
    assert 0 < int(state.step) < STEPS
    assert not (stopped / "summary.json").exists()
    train.train_and_evaluate(config(), stopped)
    assert_same_run(whole, stopped)


def test_a_checkpoint_is_there_until_it_is_written_anew(tmp_path, monkeypatch):
    """A kill between the old one and the new one under the same step loses neither."""
    config = small_config()
    _, shapes = train.abstract_state(config, Charset(("a", "b"), "keep"))
    old, new = (
        jax.tree.map(lambda x: np.full(x.shape, value, x.dtype), shapes)  # noqa: B023
        for value in (1, 2)
    )

    def killed(*_, **__):
        raise KeyboardInterrupt

    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, old)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(1, new, 0.5, replace=True)
    assert not any(path.name == "1" for path in (tmp_path / "checkpoints").iterdir())

    again = Checkpointer(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, restore_state(again, 1, shapes), old)
    assert not again.has_score(1)
    again.save(1, new, 0.5, replace=True)
    jax.tree.map(np.testing.assert_array_equal, restore_state(again, 1, shapes), new)
    assert again.has_score(1)
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_averages_of_weights_alone_are_read(tmp_path):
    """As an earlier version has saved them."""
    config = small_config(ema=0.9)
    _, shapes = train.abstract_state(config, Charset(("a", "b"), "keep"))
    state = jax.tree.map(lambda x: np.full(x.shape, 2, x.dtype), shapes)
    state = state.replace(batch_stats=jax.tree.map(lambda x: x + 1, state.batch_stats))
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, state.replace(ema=state.ema["params"]))
    checkpoints.wait()
    step, (found,) = restore_newest([checkpoints], shapes)
    again = restore_state(checkpoints, step, shapes)
    checkpoints.close()
    expected = {"params": state.params, "batch_stats": state.batch_stats}
    jax.tree.map(np.testing.assert_array_equal, found.eval_variables(), expected)
    jax.tree.map(np.testing.assert_array_equal, found, again)
    shared = map(operator.is_, jax.tree.leaves(found.ema["batch_stats"]),
                 jax.tree.leaves(found.batch_stats))  # fmt: skip
    assert not any(shared)  # each is donated


@pytest.mark.slow
def test_running_a_finished_run_again_changes_nothing(tmp_path):
    first, summary = train.train_and_evaluate(config(), tmp_path)
    before = metrics(tmp_path)
    again, repeated = train.train_and_evaluate(config(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert metrics(tmp_path) == before
    assert untimed(summary) == untimed(repeated)


@pytest.mark.slow
def test_kill_9_at_three_moments(tmp_path):
    """Killed early, in the middle of an asynchronous save, and late; rendered and loaded rows."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True)

    rng = random.Random()
    moments = [
        lambda: saved(killed, 3) and time.sleep(rng.uniform(0, 0.1)) is None,
        lambda: saved(killed, 9) and being_saved(killed),
        lambda: saved(killed, 18) and time.sleep(rng.uniform(0, 0.1)) is None,
    ]
    for moment in moments:
        with subprocess.Popen(
            command(killed), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            while not moment():
                assert process.poll() is None, process.stdout.read().decode()
                time.sleep(0.0005)
            process.kill()
        assert not saved(killed, STEPS)
    subprocess.run(command(killed), check=True, capture_output=True)
    assert_same_run(whole, killed)


def test_what_may_change_is_as_the_last_call_had_it(tmp_path):
    """Helping knobs go into the bundle, and a validation set that is added stays the judge."""
    begun = {"total_steps": 2, "data.eval": "", "checkpoint_every_percent": 50}
    train.train_and_evaluate(small_config(**begun), tmp_path)
    first = "synth:plain::limit=4,name=first"
    more = {**begun, "total_steps": 4, "data.eval": first}
    changes = {"licence": "CC0-1.0", "keep_checkpoints": 7, "checkpoint_every_steps": 3}
    del more["checkpoint_every_percent"]
    train.train_and_evaluate(small_config(**more, **changes), tmp_path)
    kept = config_lib.load(tmp_path / "config.json")
    assert (kept.licence, kept.keep_checkpoints, kept.checkpoint_every_steps) == ("CC0-1.0", 7, 3)
    assert kept.checkpoint_every_percent is None
    assert kept.total_steps == 2  # the run's own knobs are those that it began with
    assert bundle.bundle_of_run(tmp_path).licence == "CC0-1.0"
    other = {**more, "data.eval": "synth:plain::limit=4,name=other + " + first}
    with pytest.raises(UserError, match=r"first validation set \(first by protocol"):
        train.train_and_evaluate(small_config(**other, **changes), tmp_path)


def test_a_run_goes_on_from_its_own_model(smoke_run, tmp_path, caplog):
    plain = {"total_steps": 2, "data.eval": "", "checkpoint_every_steps": 2, "init_from": smoke_run}
    train.train_and_evaluate(small_config(**plain), tmp_path)
    caplog.clear()
    other = small_config(**{**plain, "total_steps": 4, "init_from": "quickstart"})
    train.train_and_evaluate(other, tmp_path)
    assert "config.init_from=quickstart is not read" in caplog.text
    shutil.rmtree(tmp_path / FOLDER)  # as of a run that was killed before its first checkpoint
    other = small_config(**{**plain, "init_from": ""})
    with pytest.raises(UserError, match=r"has no checkpoint yet, and config\.init_from is ''"):
        train.train_and_evaluate(other, tmp_path)
