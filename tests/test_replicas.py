"""Replicas: each is the single run of its own seed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import train_command

from crnn_jax import cli, replicas, train
from crnn_jax.errors import UserError
from crnn_jax.load_run import load_run
from crnn_jax.recognizer import Recognizer

RUN = {
    "batch_size": 8,
    "seed": 3,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.0005,
    "schedule": "plateau",
    "plateau_patience": 1,
    "ema": 0.9,
    "log_every_steps": 5,
    "total_steps": 20,
    "eval_every_steps": 10,
    "checkpoint_every_steps": 5,
    "data.eval": "synth:plain::limit=16,charset=alnum62",
}


TIES = 0.02  # of the error rate: frames of an unlearned network have two best classes


def changed(changes):
    return [(key.replace("__", "."), str(value)) for key, value in {**RUN, **changes}.items()]


def config_of(**changes):
    return cli.load_experiment("quickstart:smoke", changed(changes))


def trained(workdir, **changes):
    """State and summary of a run in a process of its own, with the code that XLA makes for users.

    It adds up in the same order for one network as for several; what tests have otherwise, which
    compiles sooner, does not.
    """
    flags = os.environ["XLA_FLAGS"] + " --xla_cpu_use_fusion_emitters=true"
    devices = str(jax.local_device_count())
    subprocess.run(
        train_command("quickstart:smoke", workdir, changed(changes)),
        env={**os.environ, "XLA_FLAGS": flags, "JAX_NUM_CPU_DEVICES": devices},
        check=True,
    )
    return train.train_and_evaluate(config_of(**changes), workdir)  # finds itself finished


def course(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return losses, [line["eval"]["plain"]["cer"] for line in lines if "eval" in line]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Workdir of a run of two replicas."""
    workdir = tmp_path_factory.mktemp("both")
    trained(workdir, replicas=2)
    return workdir


@pytest.mark.slow
def test_a_replica_is_the_single_run_of_its_seed(both, tmp_path):
    state, _ = trained(tmp_path, seed=4)
    losses, readings = course(tmp_path)
    assert len(losses) == 4
    found, found_readings = course(both / "replica_1")
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    assert found_readings == pytest.approx(readings, abs=TIES)
    assert course(both / "replica_0")[0] != found
    # Its folder is a run: the single run finds itself there, finished.
    shutil.copytree(both / "replica_1", tmp_path / "taken")
    taken, summary = train.train_and_evaluate(config_of(seed=4), tmp_path / "taken")
    assert summary["step"] == 20
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(taken.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_summary_has_mean_and_deviation(both):
    summary = json.loads((both / "summary.json").read_text())
    own = [json.loads((both / f"replica_{r}" / "summary.json").read_text()) for r in range(2)]
    cers = [found["eval"]["plain"]["cer"] for found in own]
    assert summary["replicas"] == 2
    assert summary["eval"]["plain"]["cer"]["mean"] == pytest.approx(np.mean(cers))
    assert summary["eval"]["plain"]["cer"]["std"] == pytest.approx(np.std(cers, ddof=1))


@pytest.mark.slow
def test_all_together_read_by_the_mean_of_their_posteriors(both):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 1), np.uint8)
    widths = jnp.array([64, 40])
    posteriors = []
    for r in range(2):
        one = Recognizer.load(both / f"replica_{r}")
        logits, frames = one.model.apply(one.variables, images, widths)
        posteriors.append(jax.nn.softmax(logits))
    together = Recognizer.load(both)
    logs, together_frames = together.model.apply(together.variables, images, widths)
    np.testing.assert_allclose(jnp.exp(logs), sum(posteriors) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(frames, together_frames)
    assert len(together.read(list(images))) == 2
    with pytest.raises(UserError, match=r"name one of them, as in .*replica_0"):
        load_run(both)


@pytest.mark.slow
def test_replicas_go_on_where_all_of_them_were_saved(both, tmp_path):
    """As after a kill between the checkpoints of one step."""
    shutil.copytree(both, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "replica_1" / "checkpoints" / "20")
    (tmp_path / "summary.json").unlink()
    state, summary = trained(tmp_path, replicas=2)
    assert summary["step"] == 20
    assert state.step.tolist() == [20, 20]
    for r in range(2):
        assert course(tmp_path / f"replica_{r}") == course(both / f"replica_{r}")


@pytest.mark.parametrize("method", ["vmap", "map"])
def test_all_ways_through_the_replicas_agree(method):
    states = {"a": jnp.arange(3.0), "b": jnp.ones((3, 2))}

    def double(state):
        return {"a": state["a"] + 1, "b": 2 * state["b"]}, state["a"]

    expected = replicas.over(double, "unrolled")(states)
    found = replicas.over(double, method)(states)
    jax.tree.map(np.testing.assert_array_equal, expected, found)


@pytest.mark.slow
def test_replicas_are_spread_over_devices(both, tmp_path):
    state, _ = trained(tmp_path, replicas=2, devices=2)
    assert len(state.step.sharding.device_set) == 2
    for r in range(2):
        losses, readings = course(tmp_path / f"replica_{r}")
        expected, expected_readings = course(both / f"replica_{r}")
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        assert readings == pytest.approx(expected_readings, abs=TIES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__train": "tfds:rendered_words/tiny/train"}, "replicas train on rendered text"),
        ({"stop_patience": 2}, "replicas end together"),
        ({"devices": 4}, "replicas is 2, and 4 devices share them"),
        ({"replica_axis": "vmpa"}, "did you mean 'vmap'"),
    ],
)
def test_what_replicas_cannot_do_is_said(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train.train_and_evaluate(config_of(replicas=2, **changes), tmp_path)
