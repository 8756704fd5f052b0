"""One reading as a job array: its parts are joined, whatever was stopped on the way."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from readings import assert_same_rows

from crnn_jax import cli, predict, shipped, slurm
from crnn_jax.bulk import cluster
from crnn_jax.errors import UserError

MODEL = "--model=quickstart"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Sixty images of noise; one of them is damaged."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (32, 60), np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "31.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_parts_are_joined_as_one_reading(run_command, many, tmp_path, monkeypatch) -> None:
    """Tasks run here, one after the other; a join that was killed goes on."""
    alone, out = tmp_path / "alone.tsv", tmp_path / "out.tsv"
    run_command(predict.main, MODEL, f"--out={alone}", "--jobs=1", many)
    given = (MODEL, f"--out={out}", "--jobs=1", "--launcher=slurm", "--shards=3", many)
    begun: list[str] = []

    def run(name, folder, tasks, needs, jobs, show) -> bool:
        for task in tasks:
            if not task.is_done():
                begun.append(task.name)
                assert task.call() == cli.DONE
                if len(begun) == 2:
                    return False  # stopped
        show(dict.fromkeys((task.name for task in tasks), slurm.DONE))
        return True

    monkeypatch.setattr(slurm, "launch", run)
    assert run_command(predict.main, *given).code == cli.FAILED
    assert out.read_text() == ""
    parts = sorted(tmp_path.glob("out.tsv.parts/*_of_3"))
    out.write_bytes(parts[0].read_bytes()[:-3])  # killed while it joined
    done = run_command(predict.main, *given)
    assert begun == ["0_of_3", "1_of_3", "2_of_3"]
    assert done.err[-1] == f"{out}: 60 of 60 images, 1 of which could not be read"
    assert out.read_bytes() == alone.read_bytes()
    assert not (tmp_path / "out.tsv.parts").exists()
    assert run_command(predict.main, *given).err[-1] == done.err[-1]  # nothing is left to do
    assert len(begun) == 3


def test_parts_are_of_one_reading(run_command, many, tmp_path, monkeypatch) -> None:
    """Parts that another reading has left are not joined; nor those of a model that changes."""
    out, model = tmp_path / "out.tsv", tmp_path / "my.crnn"
    shutil.copy(shipped.FOLDER / "quickstart.crnn", model)
    given = (f"--model={model}", f"--out={out}", "--launcher=slurm", "--shards=3", many)
    left: list[slurm.Task] = []

    def run(name, folder, tasks, needs, jobs, show) -> bool:
        left[:] = tasks
        return False  # stopped

    monkeypatch.setattr(slurm, "launch", run)
    assert run_command(predict.main, *given).code == cli.FAILED
    shutil.copy(shipped.FOLDER / "tiny-latin.crnn", model)
    with pytest.raises(UserError, match=r"parts was begun with content of .*my.crnn '"):
        left[0].call()  # it has waited in the queue meanwhile
    shutil.copy(shipped.FOLDER / "quickstart.crnn", model)
    (many / "31.png").rename(many / "99.png")  # as many, and others
    with pytest.raises(UserError, match=r"parts was begun with names '"):
        left[1].call()
    shutil.copy(many / "99.png", many / "31.png")
    with pytest.raises(UserError, match=r"parts was begun with images 60 and not 61"):
        left[1].call()
    (many / "99.png").unlink()
    shutil.copy(shipped.FOLDER / "tiny-latin.crnn", model)
    out.unlink()
    out.with_name("out.tsv.job").unlink()
    for other in (given, (*given[1:], "--model=quickstart")):
        (line,) = run_command(predict.main, *other).err
        assert f"error: {out}.parts was begun with " in line
        assert line.endswith("or move that folder away")
        assert not out.exists()
    (tmp_path / "out.tsv.parts" / "job.json").unlink()
    (tmp_path / "out.tsv.parts" / "0_of_3").touch()
    (line,) = run_command(predict.main, *given).err
    assert "out.tsv.parts holds parts of another reading: move that folder away" in line


def test_a_second_launcher_is_refused(mistake, many, tmp_path, monkeypatch) -> None:
    given = (MODEL, f"--out={tmp_path / 'out.tsv'}", "--launcher=slurm", many)
    lines = []

    def run(*arguments) -> bool:
        lines.append(mistake(predict.main, *given))
        return False

    monkeypatch.setattr(slurm, "launch", run)
    assert predict.main([*map(str, given)]) == cli.FAILED
    assert "is being written by another process" in lines[0]


def test_a_growing_file_is_counted(tmp_path) -> None:
    lines = cluster._Lines(tmp_path / "part")
    assert lines.new() == 0
    for content, count in ((b"a\nb", 1), (b"\nc\n", 2), (b"", 0)):
        with open(tmp_path / "part", "ab") as file:
            file.write(content)
        assert lines.new() == count


def test_mistakes(mistake, many, tmp_path) -> None:
    out = f"--out={tmp_path / 'x.tsv'}"
    assert "valid: local, slurm" in mistake(predict.main, "--launcher=slum", out, many)
    assert "add --launcher=slurm" in mistake(predict.main, "--shards=3", out, many)
    assert "give --out" in mistake(predict.main, "--launcher=slurm", many)
    wrong = mistake(predict.main, out, "--launcher=slurm", "--resources=minute=3", many)
    assert "did you mean 'minutes'" in wrong


def test_a_task_that_is_told_to_stop_is_queued_again(tmp_path) -> None:
    """In a process of its own: the job takes over signals and outputs."""
    code = (
        "import os, pathlib, signal, time\n"
        "from crnn_jax import slurm\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "def again(number, frame):\n"
        "    log.with_name('again').touch()\n"
        "signal.signal(signal.SIGUSR2, again)\n"
        "def call():\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
        "    time.sleep(60)\n"
        "slurm._Job()(call, log)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=50)
    assert done.returncode == 1
    assert (tmp_path / "again").exists()
    assert "not done; see" in slurm.last_line(tmp_path / "log")


@pytest.mark.slow
def test_slurm_reads_what_this_machine_reads(slurm_conf, many, tmp_path) -> None:
    """Two jobs; the command that waits for them is killed."""
    alone, out = tmp_path / "alone.tsv", tmp_path / "out.tsv"
    command = [sys.executable, "-m", "crnn_jax.predict", MODEL, "--jobs=1", str(many)]
    subprocess.run([*command, f"--out={alone}"], check=False)
    command += [f"--out={out}", "--launcher=slurm", "--shards=2"]
    command.append("--resources=minutes=10,cpus=1,memory_gb=2")
    environment = {**os.environ, "SLURM_CONF": slurm_conf}
    killed = subprocess.Popen(command, env=environment)
    jobs = tmp_path / "out.tsv.parts" / "slurm" / "jobs.json"
    end = time.monotonic() + 240
    while not jobs.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.stderr.splitlines()[-1].endswith("60 of 60 images, 1 of which could not be read")
    assert_same_rows(out.read_text().splitlines(), alone.read_text().splitlines())


def test_what_a_job_is_given_can_be_pickled(many, tmp_path) -> None:
    import pickle

    args = argparse.Namespace(out=str(tmp_path / "x"), shards=2, jobs=None, shard="", paths=[])
    for task in cluster._tasks(args, tmp_path, slurm.Resources(), 2):
        again = pickle.loads(pickle.dumps(task.call))
        assert again.args[0].shard in ("0/2", "1/2")
        assert again.args[0].jobs == 2
