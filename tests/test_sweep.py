"""Whole sweeps: on this machine and on a real SLURM, killed and continued."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import filelock
import pytest
from sweep_files import write_experiment

from crnn_jax import sweep

_ROOT = pathlib.Path(__file__).parent.parent
FOUR = 'add.grid({"model.hidden": (8, 12), "model.recurrence": ("lstm", "gru")})'
NEEDS = "; add.resources(minutes=10, cpus=1, memory_gb=2)"
# Long enough to be stopped on the way, and that runs differ in what they read.
LONGER = [
    ("total_steps", "240"),
    ("eval_every_steps", "120"),
    ("checkpoint_every_steps", "120"),
    ("log_every_steps", "40"),
    ("optimizer.learning_rate", "0.01"),
]
_NAMES = ("parameters", "megaflops", "plain", "difference")  # columns that no clock decides

pytestmark = pytest.mark.slow


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    """Starts the command on two cores at most, so that of two runs each has one."""
    command = [sys.executable, "-m", "crnn_jax.sweep", *arguments]
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:2]
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]  # which becomes it
    return subprocess.Popen(
        command, cwd=_ROOT, env={**os.environ, **environment}, start_new_session=True
    )


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def table_of(folder: pathlib.Path) -> list[dict[str, str]]:
    rows = csv.DictReader((folder / "table.csv").read_text().splitlines())
    return [{name: row[name] for name in ("cell", "seeds", *_NAMES)} for row in rows]


def readings_of(folder: pathlib.Path) -> dict[str, list[tuple[str, float]]]:
    """Returns what every run has read, and how sure it was, by the run's folder."""
    found = {}
    for path in sorted(folder.glob("*/seed_*/readings_plain.tsv")):
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        found[str(path.parent.relative_to(folder))] = [(r[2], float(r[3])) for r in rows]
    return found


def losses_of(folder: pathlib.Path) -> dict[str, list[float]]:
    return {
        str(path.parent.relative_to(folder)): [
            line["loss"]
            for line in map(json.loads, path.read_text().splitlines())
            if "loss" in line
        ]
        for path in sorted(folder.glob("*/seed_*/metrics.jsonl"))
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pathlib.Path]:
    """The experiment, and the folder of a sweep that was killed on the way and continued."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # common to the workers: one runs it, the others wait
    folder = folder / "sweep"
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            _run_and_kill(write_experiment(folder, FOUR + NEEDS, LONGER), folder / "out")
    return str(folder / "mine.py"), folder / "out"


def _run_and_kill(path: str, out: pathlib.Path) -> None:
    arguments = (f"--config={path}", f"--workdir={out}", "--jobs=2")
    killed = start(*arguments)
    until(lambda: len(list(out.glob("*/seed_0/figures.json"))) >= 1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("*/seed_0/figures.json")}
    workers = f"crnn_jax.sweeps.work {out}"
    until(lambda: subprocess.run(["pgrep", "-f", workers]).returncode == 1, 60)  # none is left
    assert len(list(out.glob("*/seed_0/figures.json"))) < 4
    assert start(*arguments).wait(400) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())  # not run again


def test_a_killed_sweep_goes_on(local):
    _, out = local
    assert [row["cell"] for row in table_of(out)] == [
        f"hidden={hidden} recurrence={cell}" for hidden in (8, 12) for cell in ("lstm", "gru")
    ]
    assert "Does it matter?" in (out / "table.md").read_text()
    assert (out / "table.png").stat().st_size > 5000
    readings = readings_of(out)
    assert len(readings) == 4
    assert len({tuple(rows) for rows in readings.values()}) == 4  # no two runs read alike


def test_a_run_that_fails_is_told_and_the_rest_goes_on(tmp_path, capfd):
    body = 'add("good"); add("bad", {"data.train": "tsv:missing"})'
    path = write_experiment(tmp_path, body)
    assert start(f"--config={path}", f"--workdir={tmp_path / 'out'}").wait(300) == 1
    said = capfd.readouterr().err
    assert "bad, seed 0: failed: error: " in said
    assert "missing" in said
    assert [row["cell"] for row in table_of(tmp_path / "out")] == ["good"]


def test_a_dry_run_says_what_it_takes(tmp_path, run_command):
    path = write_experiment(tmp_path)
    code, out, _ = run_command(
        sweep.main, f"--config={path}", f"--workdir={tmp_path / 'out'}", "--dry_run", "--jobs=2"
    )
    assert code == 0
    assert len(out) == 5
    assert out[0].startswith("base, seed 0  4 steps  about 0:")
    assert "4 runs, 2 side by side: about 0:" in out[-1]
    argv = f"--config={path}", f"--workdir={tmp_path / 'out'}", "--dry_run", "--only=base"
    _, out, _ = run_command(sweep.main, *argv)
    assert [line.partition(",")[0] for line in out[:-1]] == ["base", "base"]


def test_slurm_gives_the_table_of_this_machine(local, slurm_conf, tmp_path):
    """Four cells; the launcher is killed, and a job that trains is told that its time is over."""
    path, here = local
    out = tmp_path / "out"
    arguments = (f"--config={path}", f"--workdir={out}", "--launcher=slurm")

    def slurm(*command: str) -> str:
        environment = {**os.environ, "SLURM_CONF": slurm_conf}
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    killed = start(*arguments, SLURM_CONF=slurm_conf)

    def training() -> list[pathlib.Path]:
        logs = out.glob("*/seed_0/log.txt")
        return [log for log in logs if "first step done" in log.read_text()]

    until(lambda: bool(training()))
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    log = training()[0]
    name = log.parent.parent.name.replace("_", " ") + ", seed 0"
    job = json.loads((out / "slurm" / "jobs.json").read_text())[name]
    slurm("scancel", "--signal=USR2", job)
    # It is queued again by itself; SLURM begins it after two minutes.
    until(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job), 60)
    again = start(*arguments, SLURM_CONF=slurm_conf)
    assert again.wait(600) == 0
    assert len(list((out / "slurm").glob("*submission.sh"))) == 1  # nothing was submitted twice
    assert re.search("stopped by .* at step", log.read_text())
    assert re.search("resuming .* at step [1-9]", log.read_text())
    assert table_of(out) == table_of(here)
    assert losses_of(out) == losses_of(here)
    assert readings_of(out) == readings_of(here)
