"""The same run on one device, on four by `jit` and by `pmap`, and in two processes of two."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from small import train_command

from crnn_jax import cli, processes, train, types
from crnn_jax.data import feeds
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import UserError
from crnn_jax.models.layers import RowDropout
from crnn_jax.parallel import AXIS, Axis, Layout
from crnn_jax.recognizer import preprocess_of

STEPS = 12
MIXED = "0.5*synth:plain + 0.5*tfds:rendered_words/tiny/train"
RUN = {
    "data.train": MIXED,
    "data.eval": "tfds:rendered_words/tiny/test",
    "batch_size": 32,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.0005,
    "schedule": "constant",
    "model.dropout": 0.1,
    "log_every_steps": 1,
    "total_steps": STEPS,
    "eval_every_steps": STEPS,
    "checkpoint_every_steps": STEPS // 2,
}


def overrides(**changes):
    return [(key.replace("__", "."), str(value)) for key, value in {**RUN, **changes}.items()]


def run(workdir: pathlib.Path, **changes):
    config = cli.load_experiment("quickstart:smoke", overrides(**changes))
    return train.train_and_evaluate(config, workdir)


def course(workdir: pathlib.Path):
    """Returns the losses of every step and the metrics of the evaluations."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line["eval"] for line in lines if "eval" in line]
    for found in evaluations:
        for metrics in found.values():
            del metrics["images_per_second"]
    return [line["loss"] for line in lines if "loss" in line], evaluations


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone") / "run"
    run(workdir, devices=1)
    return workdir


def assert_same_course(a: pathlib.Path, b: pathlib.Path) -> None:
    losses, evaluations = course(a)
    others, other_evaluations = course(b)
    assert len(losses) == STEPS
    assert max(losses) > min(losses)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for one, other in zip(evaluations, other_evaluations, strict=True):
        for name, metrics in one.items():
            assert other[name].pop("loss") == pytest.approx(metrics.pop("loss"), rel=1e-5)
            # A network that has hardly learnt has frames with two best classes, but for rounding.
            for key in ("cer", "wer", "one_minus_ned"):
                assert other[name].pop(key) == pytest.approx(metrics.pop(key), abs=0.03)
            assert other[name] == metrics


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_do_as_one(mode, alone, tmp_path):
    state, _ = run(tmp_path, devices=4, parallel=mode)
    assert len(state.step.sharding.device_set) == 4
    assert_same_course(alone, tmp_path)


def two_processes(workdir: pathlib.Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *train_command("quickstart:smoke", workdir, overrides(devices=0)),
        f"--coordinator=127.0.0.1:{port}", "--processes=2",
    ]  # fmt: skip
    return [
        subprocess.Popen(
            [*command, f"--process={i}"],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def finished(processes: list[subprocess.Popen]) -> tuple[list[int], str]:
    errors = [process.communicate(timeout=240)[1] for process in processes]
    return [process.returncode for process in processes], "".join(errors)


def wait_until(condition: Callable[[], bool], processes: list[subprocess.Popen]) -> None:
    until = time.monotonic() + 120
    while not condition():
        if time.monotonic() > until:
            for process in processes:
                process.kill()
            pytest.fail(f"not in two minutes: {finished(processes)[1]}")
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_of_two_devices_do_as_one(alone, tmp_path):
    codes, said = finished(two_processes(tmp_path))
    assert codes == [0, 0], said
    assert "2 processes, 4 devices" in said
    assert said.count(f"step {STEPS}  rendered_words") == 1  # one of them speaks
    assert_same_course(alone, tmp_path)
    # What they have saved goes on in another layout.
    longer = STEPS + 4
    state, summary = run(tmp_path, devices=1, total_steps=longer, checkpoint_every_steps=longer)
    assert int(state.step) == summary["step"] == longer


@pytest.mark.slow
def test_one_process_may_be_late_and_a_signal_to_one_stops_both_and_the_run_goes_on(
    alone, tmp_path
):
    processes = two_processes(tmp_path)
    metrics = tmp_path / "metrics.jsonl"
    wait_until((tmp_path / "config.json").exists, processes)
    processes[1].send_signal(signal.SIGSTOP)
    time.sleep(33)  # longer than a sum waits for devices that were not connected before
    processes[1].send_signal(signal.SIGCONT)
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = finished(processes)
    assert codes == [1, 1], said
    assert "the same command goes on" in said
    codes, said = finished(two_processes(tmp_path))
    assert codes == [0, 0], said
    assert_same_course(alone, tmp_path)


@pytest.mark.parametrize(
    ("train_spec", "knobs"),
    [
        pytest.param(
            "0.7*synth:plain + 0.3*tfds:rendered_words/tiny/train",
            {"batch_size": 40},
            id="uneven",
        ),
        pytest.param(
            "0.5*synth:plain + 0.5*tfds:rendered_words/tiny/train",
            {"data__augment": "clean"},
            id="even, augmented",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "0.3*synth:plain + 0.7*tfds:rendered_words/tiny/train",
            {"data__augment": "clean"},
            id="uneven, augmented",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_batch_does_not_depend_on_who_makes_its_rows(train_spec, knobs):
    config = cli.load_experiment("quickstart:smoke", overrides(data__train=train_spec, **knobs))
    data = open_training_set(config, preprocess_of(config))
    seed = jnp.uint32(config.seed)
    batches = []
    for devices in (1, 4):
        layout = Layout("jit", jax.devices()[:devices])
        loaded = next(train.loaded_batches(data, config, 3, 4, layout))

        def whole(loaded, assets, axis=layout.axis):
            batch = data.feed(assets, jnp.int32(3), loaded, seed, axis)
            assert len(batch.widths) * axis.size == config.batch_size
            return axis.gather(batch)

        if devices > 1:
            mesh = layout.rows.mesh
            specs = {"in_specs": (P(AXIS), P()), "out_specs": P(), "check_vma": False}
            whole = jax.shard_map(whole, mesh=mesh, **specs)
        options = {"xla_backend_optimization_level": 0}
        made = jax.jit(whole, compiler_options=options)(loaded, layout.replicate(data.assets))
        batches.append(jax.device_get(made))
    one, four = batches
    np.testing.assert_allclose(one.images.astype(int), four.images.astype(int), atol=1)
    for a, b in zip(one[1:], four[1:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_follows_the_row():
    x = jnp.ones((8, 3, 5))
    key = {"dropout": jax.random.key(0)}
    alone = RowDropout(0.5).apply({}, x, True, rngs=key)
    layout = Layout("jit", jax.devices()[:4])
    spread = jax.shard_map(
        lambda x: RowDropout(0.5, AXIS).apply({}, x, True, rngs=key),
        mesh=layout.rows.mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False,
    )  # fmt: skip
    np.testing.assert_array_equal(alone, jax.jit(spread)(x))
    assert 0.3 < float((alone == 0).mean()) < 0.7
    assert set(np.unique(alone)) == {0.0, 2.0}
    np.testing.assert_array_equal(RowDropout(0.5).apply({}, x, False), x)


@pytest.mark.slow
def test_several_steps_in_one_call_do_as_one_by_one(tmp_path):
    changes = {
        "data__train": "synth:plain",
        "data__eval": "synth:plain::limit=8,charset=alnum62",
        "batch_size": 8,
        "devices": 1,
        "total_steps": 8,
        "eval_every_steps": 8,
        "checkpoint_every_steps": 4,
        "log_every_steps": 2,
    }
    found = []
    for each in (1, 2):
        run(tmp_path / str(each), **changes, steps_per_dispatch=each)
        found.append(course(tmp_path / str(each)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert len(found[0][0]) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data__train": "synth:plain", "steps_per_dispatch": 6, "log_every_steps": 4},
            "config.log_every_steps 4 steps",
        ),
        ({"steps_per_dispatch": 2, "log_every_steps": 2}, "loaded by the host, step by step"),
        ({"devices": 3}, "batch_size is 32, and 3 devices share a batch"),
        ({"devices": 4, "accumulate": 32}, "4 devices share a batch, in 32 parts each"),
        ({"devices": 5}, "config.devices is 5, and there are 4"),
        ({"parallel": "pmpa"}, "did you mean 'pmap'"),
    ],
)
def test_what_does_not_fit_is_said(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(tmp_path, **changes)


def test_processes_are_named_by_all_three_flags_or_none(monkeypatch):
    with pytest.raises(UserError, match="belong together"):
        processes.connect("localhost:1234")
    with pytest.raises(UserError, match="give a number from 0 to 1"):
        processes.connect("localhost:1234", 2, 2)
    processes.connect()  # there is nothing to join
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: asked.append(args))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    processes.connect()
    assert asked == [()]
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    processes.connect("auto")  # as on every host of a TPU pod
    assert asked == [(), ()]
    with pytest.raises(UserError, match=r"auto finds --processes and --process by itself"):
        processes.connect("auto", 2, 0)


def test_a_machine_that_belongs_to_no_pod_says_so(monkeypatch):
    def initialize(*args):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match=r"no processes to join here .*give --coordinator=HOST"):
        processes.connect("auto")


def test_several_processes_do_not_share_by_pmap(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="several processes share a batch by jit alone"):
        run(tmp_path, parallel="pmap")


def test_an_error_of_the_writing_process_is_everyones():
    def fail():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        processes.main_first(fail)
    assert processes.main_first(lambda: 3) == 3
    assert processes.collect({"a": 1}) == [{"a": 1}]


def test_axis_of_one_device_shares_nothing():
    axis = Axis()
    rows = {"a": jnp.arange(4)}
    assert axis.name is None
    for function in (axis.sum, axis.gather, axis.own):
        assert function(rows) is rows


def test_joining_keeps_the_order_of_processes():
    array = jnp.array([0, 1, 2, -1, 3, 4, 5, -1])
    assert feeds._shares(array, 2, 3).tolist() == [0, 1, 2, 3, 4, 5]
    batch = types.Batch(*(np.arange(3),) * 4)
    split = Layout("pmap", jax.devices()[:2]).split(batch)
    assert split.widths.shape == (2, 2)
    assert np.asarray(split.widths).tolist() == [[0, 1], [2, 0]]
