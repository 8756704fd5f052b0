"""What a sweep shows on a terminal, and how long it says that it takes."""

from __future__ import annotations

import io
import sys

import pytest
from sweep_files import write_experiment

from crnn_jax import dry_run, slots, sweep
from crnn_jax.errors import UserError
from crnn_jax.slurm import DONE, FAILED, RUNNING, WAITING
from crnn_jax.sweeps import estimate, runs, view

MANY = "for i in range(40): add(f'c{i}')"


class Terminal(io.StringIO):
    """Holds what a screen of 24 lines was sent."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replaces stderr; in a test itself, as pytest sets its own after the fixtures."""
    for name, value in (("TERM", "xterm"), ("LINES", "24"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    return found


def load(tmp_path, body: str) -> runs.Sweep:
    return runs.load(write_experiment(tmp_path, body), str(tmp_path / "out"))


def shown(found: runs.Sweep, jobs: int = 2) -> view.View:
    return view.View(found, dict.fromkeys((cell.name for cell in found.cells), 4), jobs)


def test_a_long_sweep_shows_what_runs_and_what_failed(tmp_path, monkeypatch, caplog):
    terminal = open_terminal(monkeypatch)
    found = load(tmp_path, MANY)
    states = {run.name: DONE for run in found.runs[:37]}
    states |= {found.runs[37].name: FAILED, found.runs[38].name: RUNNING}
    found.runs[37].folder.mkdir(parents=True)
    (found.runs[37].folder / "log.txt").write_text("error: no disk\n")
    with shown(found) as screen:
        screen.update(states, "no memory")
        lines = terminal.getvalue().splitlines()
    assert len(lines) < 24
    assert "37 of 40 runs done, 1 failed, 1 under way; no memory" in lines[1]
    assert [line.split()[1] for line in lines if " c" in line and " cell " not in line] == [
        "c38", "c37",
    ]  # fmt: skip
    log = found.runs[37].folder / "log.txt"
    assert caplog.messages == [f"c37, seed 0: failed: error: no disk; its log is {log}"]
    assert screen.failures() == caplog.messages


def test_names_are_no_markup(tmp_path, monkeypatch):
    terminal = open_terminal(monkeypatch)
    path = write_experiment(tmp_path, 'add("a[/b] [red]")')
    with open(path, encoding="utf-8") as file:
        text = file.read().replace("Does it matter?", "Does [/it] matter?")
    (tmp_path / "mine.py").write_text(text)
    found = runs.load(path, str(tmp_path / "out"))
    with shown(found) as screen:
        screen.update({found.runs[0].name: RUNNING})
    assert "a[/b] [red]" in terminal.getvalue()
    assert "Does [/it] matter?" in terminal.getvalue()


def test_finished_runs_are_read_once_and_tables_are_rare(tmp_path, monkeypatch):
    open_terminal(monkeypatch)
    found = load(tmp_path, 'add("a"); add("b")')
    read, drawn, now = [], [], [100.0]
    progress = runs.Run.progress
    monkeypatch.setattr(runs.Run, "progress", lambda run: (read.append(run.name), progress(run))[1])
    monkeypatch.setattr(view.time, "monotonic", lambda: now[0])
    states = {found.runs[0].name: DONE, found.runs[1].name: RUNNING}
    with shown(found) as screen:
        monkeypatch.setattr(screen._live, "update", lambda *a, **k: drawn.append(now[0]))
        for now[0] in (100.0, 100.5, 101.0, 102.5):
            screen.update(states)
        screen.update(dict.fromkeys(states, DONE))  # at once
    assert drawn == [100.0, 102.5, 102.5]
    assert [read.count(run.name) for run in found.runs] == [1, 5]


def test_the_time_left_is_that_of_the_longest_run_at_least(tmp_path):
    found = load(tmp_path, 'add("a"); add("b"); add("c")')
    for run, step in zip(found.runs, (4, 2, 1), strict=True):
        run.folder.mkdir(parents=True)
        (run.folder / "config.json").write_text('{"batch_size": 4}')
        (run.folder / "metrics.jsonl").write_text(f'{{"step": {step}, "seconds": {60 * step}}}\n')
    a, b, c = (run.name for run in found.runs)
    told = shown(found, 8).summary
    assert told({a: DONE, b: DONE, c: RUNNING}).endswith("about 3:00 left")  # not 3:00 / 8
    assert told({a: DONE, b: RUNNING, c: RUNNING}).endswith("about 3:00 left")  # not 5:00 / 2
    assert shown(found, 1).summary({a: DONE, b: RUNNING, c: RUNNING}).endswith("about 5:00 left")


def test_the_time_left_is_that_of_the_cells_that_are_left(tmp_path):
    found = load(tmp_path, 'add("quick"); add("slow"); add.seeds(2)')
    for run, each in zip(found.runs[:2], (10, 100), strict=True):
        run.folder.mkdir(parents=True)
        (run.folder / "config.json").write_text('{"batch_size": 4}')
        (run.folder / "metrics.jsonl").write_text(f'{{"step": 4, "seconds": {4 * each}}}\n')
    quick, slow, again, slow_again = (run.name for run in found.runs)
    told = shown(found, 1).summary
    assert told({quick: DONE, slow: DONE, again: DONE, slow_again: WAITING}).endswith("6:40 left")
    assert told({quick: DONE, slow: DONE, again: WAITING, slow_again: DONE}).endswith("0:40 left")
    (found.runs[1].folder / "metrics.jsonl").unlink()  # nothing is known of the slow ones
    assert told({quick: DONE, slow: RUNNING, again: DONE, slow_again: DONE}).endswith("0:40 left")


@pytest.fixture
def measured(monkeypatch):
    """A first cell of 40 steps that takes 100 seconds."""
    cost = dry_run.Cost(100.0, 0.0, 40, 63, 64, [])
    monkeypatch.setattr(dry_run, "measure", lambda config: cost)


@pytest.mark.parametrize(("jobs", "time"), [(1, "5:00"), (2, "2:30"), (8, "1:40")])
def test_a_sweep_takes_as_long_as_its_longest_run(tmp_path, measured, jobs, time):
    body = 'add("a", total_steps=40); add("b", total_steps=40); add("c", total_steps=40)'
    last = estimate.describe(load(tmp_path, body), jobs).splitlines()[-1]
    assert last == f"3 runs, {min(jobs, 3)} side by side: about {time}"


def test_an_epoch_has_the_steps_of_its_batches(tmp_path, measured):
    other = '"data.train": "synth:clean::limit=24"'
    body = f"""
    add("a", total_epochs=2, batch_size=4)
    add("twice the batch", total_epochs=2, batch_size=8)
    add("half as long", total_epochs=1, batch_size=4)
    add("in steps", total_steps=7)
    add("other data", {{"total_epochs": 2, "batch_size": 4, {other}}})"""
    lines = estimate.describe(load(tmp_path, body), 1).splitlines()
    told = [
        " ".join(line.split()).rpartition(" about")[0].rpartition("seed 0 ")[2] for line in lines
    ]
    assert told[:-1] == ["40 steps", "20 steps", "20 steps", "7 steps", "12 steps"]


def test_epochs_without_end_are_told(tmp_path, measured):
    body = 'add("a", total_steps=40); add("b", total_epochs=2)'
    with pytest.raises(UserError, match="rendered text has no epochs"):
        estimate.describe(load(tmp_path, body), 1)


def test_a_cluster_takes_all_runs_at_once(tmp_path, measured, run_command, monkeypatch):
    monkeypatch.setattr(slots, "default_jobs", lambda: 2)
    path = write_experiment(tmp_path, 'add("a"); add.seeds(5)')
    argv = (f"--config={path}", f"--workdir={tmp_path / 'out'}", "--dry_run")
    for more, jobs in (((), 2), (("--launcher=slurm",), 5), (("--launcher=slurm", "--jobs=3"), 3)):
        _, out, _ = run_command(sweep.main, *argv, *more)
        assert out[-1].startswith(f"5 runs, {jobs} side by side")
