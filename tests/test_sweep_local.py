"""Runs of a sweep side by side: what fails, what is left, what memory allows."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from sweep_files import FIGURES, finish, write_experiment

from crnn_jax import cli, slots, sweep, train
from crnn_jax.sweeps import local, runs, work
from crnn_jax.sweeps.cells import Cell
from crnn_jax.workdir import changed_knobs

NINE = "for i in range(9): add(f'c{i}')"
DONE = (
    "import pathlib, sys, time; time.sleep(0.2); "
    f"pathlib.Path(sys.argv[1], 'figures.json').write_text({json.dumps(FIGURES)!r})"
)


@pytest.fixture
def workers(monkeypatch):
    """Replaces the workers by processes that do as they are told, by cell's name."""
    monkeypatch.setattr(local, "_POLL", 0.02)
    started, programs = [], {}

    def start(run, slot, slots, gpus, cores):
        started.append((run.cell.name, slot))
        program = programs.get(run.cell.name, DONE)
        return subprocess.Popen([sys.executable, "-c", program, str(run.folder)])

    monkeypatch.setattr(local, "_start", start)
    return started, programs


def test_runs_share_the_slots_and_a_failure_stops_nothing(tmp_path, workers):
    started, programs = workers
    programs |= {"c1": "raise SystemExit(1)", "c2": "pass"}  # the second says nothing was done
    sweep = runs.load(write_experiment(tmp_path, NINE), str(tmp_path / "out"))
    finish(sweep.runs[0].folder, {"a": []})
    most = []
    state = local.launch(sweep, 3, lambda s: most.append(len(s.jobs)))
    assert max(most) == 3
    assert {run.cell.name for run in state.failed} == {"c1", "c2"}
    assert len(state.done) == 7
    assert "c0" not in dict(started)  # it was done before
    assert {slot for _, slot in started} == {0, 1, 2}
    started.clear()
    programs.clear()
    assert len(local.launch(sweep, 3, lambda s: None).done) == 9
    assert sorted(name for name, _ in started) == ["c1", "c2"]  # tried again, alone


def test_a_signal_is_passed_on(tmp_path, workers, monkeypatch, caplog):
    _, programs = workers
    programs |= dict.fromkeys([f"c{i}" for i in range(9)], "import time; time.sleep(60)")
    sweep = runs.load(write_experiment(tmp_path, NINE), str(tmp_path / "out"))
    asked = []

    class Stop:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        @property
        def requested(self):
            asked.append(1)
            return "SIGTERM" if len(asked) > 3 else ""

    monkeypatch.setattr(local, "StopSignal", Stop)
    start = time.monotonic()
    state = local.launch(sweep, 2, lambda s: None)
    assert time.monotonic() - start < 30
    assert not state.jobs
    assert not state.failed
    assert len(state.waiting) == 9
    assert caplog.messages == ["stopped; 0 of 9 runs done; the same command goes on"]


def test_a_sweep_ends_with_what_failed(tmp_path, workers, run_command, caplog):
    """A cell may be called sweep, too."""
    _, programs = workers
    reason = "import pathlib, sys; pathlib.Path(sys.argv[1], 'log.txt').write_text('no disk')"
    programs |= {"b[/i]": f"{reason}; raise SystemExit(1)"}
    path, out = write_experiment(tmp_path, "add('sweep'); add('b[/i]')"), tmp_path / "out"
    finish(out / "sweep" / "seed_0", {"a": [("x", "x"), ("y", "z")]})
    code, said, _ = run_command(sweep.main, f"--config={path}", f"--workdir={out}")
    assert (code, said[0]) == (1, "Does it matter?")
    last = f"b[/i], seed 0: failed: no disk; its log is {out}/b_i/seed_0/log.txt"
    assert caplog.messages[-1] == last
    assert caplog.messages.count(last) == 2  # when it failed, and below the table


def test_what_ended_a_run_is_told(tmp_path, workers):
    """It could say nothing itself: its last line is of something else."""
    _, programs = workers
    programs |= {"base": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"}
    sweep = runs.load(write_experiment(tmp_path, "add('base')"), str(tmp_path / "out"))
    (sweep.runs[0].folder).mkdir(parents=True)
    (sweep.runs[0].folder / "log.txt").write_text("step 10, loss 0.1")
    (failed,) = local.launch(sweep, 1, lambda s: None).failed
    job = local.Job(failed, 0, subprocess.Popen(["bash", "-c", "kill -35 $$"]))
    assert job.process.wait() == -35  # a signal of real time has no name
    local._tell_signal(job)
    assert failed.last_line() == "ended by signal 35; the same command goes on with it"
    (failed,) = local.launch(sweep, 1, lambda s: None).failed
    assert failed.last_line().startswith("ended by SIGKILL, as the system does when memory runs")


def test_fewer_runs_than_cores_have_more_cores_each(tmp_path, workers, monkeypatch):
    started, _ = workers
    counts = []

    def start(run, slot, count, gpus, cores, begin=local._start):
        counts.append(count)
        return begin(run, slot, count, gpus, cores)

    monkeypatch.setattr(local, "_start", start)
    path = write_experiment(tmp_path, "add('a'); add('b'); add('c')")
    sweep = runs.load(path, str(tmp_path / "out"))
    finish(sweep.runs[2].folder, {"a": []})
    local.launch(sweep, 8, lambda s: None)
    assert counts == [3, 3]  # as when all three ran: a run goes on with as many
    assert {slot for _, slot in started} == {0, 1}


def test_an_experiment_edited_while_its_sweep_runs_changes_no_run(tmp_path, monkeypatch):
    path = write_experiment(tmp_path)
    sweep = runs.load(path, str(tmp_path / "out"))
    run = sweep.runs[3]
    sweep.prepare(run)
    write_experiment(tmp_path, 'add("other", {"model.hidden": 24})')
    text = pathlib.Path(path).read_text().replace('"quickstart:smoke"', '"quickstart"')
    pathlib.Path(path).write_text(text)
    trained = []
    monkeypatch.setattr(train, "train_and_evaluate", lambda c, w: (trained.append(c), (0, None))[1])
    assert work.work(run.folder) == cli.FAILED  # as a run that was stopped
    (config,) = trained
    assert changed_knobs(config, sweep.config(run), ()) == []
    assert (config.model.recurrence, config.seed) == ("gru", 1)


def test_memory_limits_the_runs(monkeypatch, tmp_path):
    run = runs.Run(Cell("a", {}), 0, tmp_path)
    job = local.Job(run, 0, subprocess.Popen([sys.executable, "-c", "pass"]))
    job.process.wait()
    state = local.State([], [], [job], [])
    known = {"VmHWM": 3e9, "free": 4e9}
    monkeypatch.setattr(slots, "kernel_bytes", lambda path, key: known[key])
    monkeypatch.setattr(slots, "free_memory", lambda: known["free"])
    assert local._fits(state)  # 1.25 times 3 GB
    known["free"] = 3e9
    assert not local._fits(state)
    assert "3.0 GB free" in state.note
    known["VmHWM"] = 1e8  # has only begun: it will take what the first guess says
    assert not local._fits(state)
    assert local._fits(local.State([], [], [], []))  # one runs in any case
    known["VmHWM"] = None
    assert local._fits(state)


def test_every_run_has_cores_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen, begin = [], subprocess.Popen

    def start(command, **more):
        assert command[-1] == f"--parent={os.getpid()}"
        seen.append((command[-2], more["env"].get("CUDA_VISIBLE_DEVICES")))
        process = begin(["true"])
        process.wait()
        return process

    monkeypatch.setattr(local.subprocess, "Popen", start)
    run = runs.Run(Cell("a", {}), 0, tmp_path)
    for slot in range(3):
        local._start(run, slot, 3, [], [0, 1, 2, 3, 4])
    assert [cores for cores, _ in seen] == ["--cores=0,3", "--cores=1,4", "--cores=2"]
    seen.clear()
    for slot in range(3):
        local._start(run, slot, 3, ["0", "1"], [0, 1])
    assert seen == [("--cores=0", "0"), ("--cores=1", "1"), ("--cores=0", "0")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_worker_whose_sweep_has_died_as_it_began_ends(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-m", "crnn_jax.sweeps.work", str(tmp_path), f"--parent={gone.pid}"]
    ended = subprocess.run(command, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, b"")  # no word of job.json, which is missing


@pytest.mark.parametrize(("visible", "gpus"), [("2,3", ["2", "3"]), ("", []), ("-1", [])])
def test_hidden_gpus_are_not_used(monkeypatch, visible, gpus):
    monkeypatch.setattr(slots, "_uses_gpus", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert slots.available_gpus() == gpus
    assert slots.default_jobs(gpus, [0, 1, 2]) == (len(gpus) or 3)


@pytest.mark.parametrize(
    ("platforms", "plugin", "gpus"),
    [
        ("", "xla_cuda12", ["0"]),
        ("cuda,cpu", "xla_cuda13", ["0"]),
        ("cpu", "xla_cuda12", []),
        ("", "tpu", []),
    ],
)
def test_gpus_are_used_where_jax_uses_them(monkeypatch, platforms, plugin, gpus):
    def entry_points(group):
        assert group == "jax_plugins"
        return [importlib.metadata.EntryPoint(plugin, "x", group)]

    monkeypatch.setattr(slots.importlib.metadata, "entry_points", entry_points)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert slots.available_gpus() == gpus


def test_limits_of_a_container_count(monkeypatch, tmp_path):
    own = tmp_path / "docker" / "job"
    own.mkdir(parents=True)
    monkeypatch.setattr(slots, "_GROUPS", tmp_path)
    monkeypatch.setattr(slots, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 4, 5, 6})
    machine = slots.free_memory()
    assert machine > 1e8
    (tmp_path / "own").write_text("0::/docker/job\n")
    (own / "cpu.max").write_text("max 100000\n")
    assert slots.available_cores() == [3, 4, 5, 6]
    (own.parent / "cpu.max").write_text("250000 100000\n")
    assert slots.available_cores() == [3, 4]
    (own / "cpu.max").write_text("50000 100000\n")
    assert slots.available_cores() == [3]
    (own / "memory.max").write_text("max\n")
    (own.parent / "memory.max").write_text("60000000\n")
    (own.parent / "memory.current").write_text("50000000\n")
    assert slots.free_memory() == 10_000_000
    (own.parent / "memory.stat").write_text("anon 1\ninactive_file 2000000\n")
    assert slots.free_memory() == 12_000_000
