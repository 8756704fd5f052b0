"""Waiting for a job array: what SLURM does not tell, and what stops the command, costs no job."""

from __future__ import annotations

import os
import pathlib
import signal
import types

import pytest

from crnn_jax import files, slurm
from crnn_jax.errors import UserError


class Cluster:
    """Takes the jobs of a command, and tells of them what `says` says."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.submitted = folder, 0
        self.now = 0.0
        self.squeue = "echo '7_0 RUNNING'"
        self.sbatch = lambda: None
        (folder / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(slurm, "time", clock)
        submitit = pytest.importorskip("submitit")
        monkeypatch.setattr(submitit, "AutoExecutor", lambda *_, **__: self)

    def update_parameters(self, **parameters: object) -> None:
        pass

    def map_array(self, *arguments: object) -> list[types.SimpleNamespace]:
        self.submitted += 1
        self.sbatch()
        return [types.SimpleNamespace(job_id="7_0")]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def launch(self) -> bool:
        script = self.folder / "bin" / "squeue"
        task = slurm.Task("a", int, self.folder / "log", (self.folder / "done").exists)

        def show(states: object) -> None:
            script.write_text(f"#!/bin/sh\n{self.squeue}\n")
            if self.now > 300:
                (self.folder / "done").touch()

        show({})
        script.chmod(0o755)
        return slurm.launch("x", self.folder / "slurm", [task], slurm.Resources(), 0, show)


@pytest.fixture
def cluster(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    (tmp_path / "slurm").mkdir()
    return Cluster(tmp_path, monkeypatch)


def test_minutes_without_an_answer_are_waited_for(cluster: Cluster) -> None:
    cluster.squeue = "echo no controller >&2; exit 1"
    assert cluster.launch()
    assert cluster.now > 300


def test_an_answer_that_does_not_come_ends_the_command_at_last(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_POLL", 100.0)
    monkeypatch.setattr(slurm, "_PATIENCE", 200.0)
    cluster.squeue = "echo no controller >&2; exit 1"
    with pytest.raises(UserError, match="squeue says no controller; jobs go on, and the same"):
        cluster.launch()
    with pytest.raises(UserError, match="squeue says no controller"):  # else it submits anew
        cluster.launch()
    monkeypatch.setattr(slurm, "_ANSWER", 0.05)
    cluster.squeue = "exec sleep 60"
    with pytest.raises(UserError, match="squeue does not answer in 0 s"):
        cluster.launch()
    assert cluster.submitted == 1


def test_a_stop_while_jobs_are_submitted_does_not_lose_them(cluster: Cluster) -> None:
    cluster.sbatch = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert not cluster.launch()
    assert files.read_json(cluster.folder / "slurm" / "jobs.json") == {"a": "7_0"}
    assert cluster.launch()
    assert cluster.submitted == 1


def test_who_does_the_work_of_jobs_is_told_that_they_go_on(cluster: Cluster, caplog) -> None:
    folder = cluster.folder / "slurm"
    slurm.check_idle(folder)  # there are none
    cluster.sbatch = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert not cluster.launch()
    with pytest.raises(UserError, match=r"1 jobs of SLURM are at it.*scancel 7"):
        slurm.check_idle(folder)
    (cluster.folder / "bin" / "squeue").write_text("#!/bin/sh\necho '8_0 RUNNING'\n")
    slurm.check_idle(folder)
    assert "may still go on" not in caplog.text
    (cluster.folder / "bin" / "squeue").write_text("#!/bin/sh\nexit 1\n")
    slurm.check_idle(folder)
    assert "jobs 7 may still go on" in caplog.text
