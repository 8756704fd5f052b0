"""What a sweep varies: cells, their names, and what is wrong with them."""

from __future__ import annotations

import pathlib
import random
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from sweep_files import finish, write_experiment

from crnn_jax import dry_run, sweep
from crnn_jax.errors import UserError
from crnn_jax.slurm import Resources
from crnn_jax.sweeps import estimate, runs, view
from crnn_jax.sweeps.cells import Add, Cell, collect


def names(body: Callable) -> list[str]:
    return [cell.name for cell in collect(body).cells]


def test_a_grid_has_every_combination():
    def body(add):
        add.grid({"model.hidden": (8, 16), "loss": ("a", "b")})

    assert names(body) == ["hidden=8 loss=a", "hidden=8 loss=b", "hidden=16 loss=a",
                           "hidden=16 loss=b"]  # fmt: skip
    assert collect(body).cells[2].knobs == {"model.hidden": 16, "loss": "a"}


def test_rounding_leads_to_no_value_outside_a_range():
    class End(random.Random):
        def __init__(self, share):
            self._share = share

        def random(self):
            return self._share

    rng = random.Random(0)
    for low, high in ((1e-4, 0.9999), (0.12345, 0.2)):
        drawn = [Add().log(low, high).draw(rng) for _ in range(1_000)]
        assert low <= min(drawn) <= max(drawn) <= high
        # Three digits of 0.12345 are less, of 0.9999 more.
        ends = [Add().log(low, high).draw(End(share)) for share in (0.0, 1 - 2**-53)]
        assert ends == [low, high]


def test_random_cells_are_the_same_again():
    def body(seed):
        def sweep(add):
            add.random(
                20,
                {
                    "optimizer.learning_rate": add.log(1e-4, 1e-2),
                    "model.dropout": add.uniform(0.0, 0.5),
                    "model.hidden": (8, 16),
                },
                seed,
            )

        return [cell.knobs for cell in collect(sweep).cells]

    found = body(0)
    assert found == body(0) != body(1)
    rates = [knobs["optimizer.learning_rate"] for knobs in found]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 4 <= sum(rate < 1e-3 for rate in rates) <= 16  # half of the orders of magnitude
    assert {knobs["model.hidden"] for knobs in found} == {8, 16}


def test_small_choices_stay_in_their_range():
    def body(add):
        add.random(8, {"optimizer.weight_decay": add.uniform(1e-7, 4e-7)})

    drawn = {cell.knobs["optimizer.weight_decay"] for cell in collect(body).cells}
    assert len(drawn) == 8
    assert all(1e-7 <= value <= 4e-7 for value in drawn)


def test_random_cells_differ_as_long_as_there_are_others():
    def body(add, count):
        add.random(count, {"model.layers": (1, 2), "model.hidden": add.integer(8, 10)})

    cells = collect(lambda add: body(add, 6)).cells
    assert {tuple(cell.knobs.values()) for cell in cells} == {
        (layers, hidden) for layers in (1, 2) for hidden in (8, 9, 10)
    }
    with pytest.raises(UserError, match=r"add.random\(7, ...\) finds only 6 new combinations"):
        collect(lambda add: body(add, 7))


def test_a_second_random_search_draws_what_the_first_has_not():
    def body(add):
        for _ in range(2):
            add.random(2, {"batch_size": (8, 16, 32, 64)})

    assert sorted(cell.knobs["batch_size"] for cell in collect(body).cells) == [8, 16, 32, 64]

    def named(add):
        add("base", batch_size=8)
        add.random(2, {"batch_size": (8, 16)})

    assert sorted(c.knobs["batch_size"] for c in collect(named).cells) == [8, 8, 16]


def test_numbers_of_numpy_are_numbers():
    def body(add):
        add.random(int(np.int64(3)), {"model.hidden": np.arange(8, 12)})
        add.grid({"model.layers": (n for n in (1, 2))})

    assert len(collect(body).cells) == 5
    code = """
import numpy as np
from crnn_jax.sweeps.cells import Add
rng = __import__("random").Random(0)
print(8 <= Add.integer(np.int64(8), np.int64(64)).draw(rng) <= 64, Add.integer(8.0, 8.0).draw(rng))
Add.integer(8.5, 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "8"]
    assert done.stderr.endswith("a range from 8.5 to 9: give whole numbers\n")


def test_whole_numbers_of_a_wide_range_are_drawn_by_their_magnitude():
    def body(add):
        add.random(200, {"model.hidden": add.integer(8, 8192, log=True)})

    found = [cell.knobs["model.hidden"] for cell in collect(body).cells]
    assert all(type(hidden) is int and 8 <= hidden <= 8192 for hidden in found)
    assert 40 <= sum(hidden < 256 for hidden in found) <= 120  # half of the magnitudes


def test_long_names_that_begin_alike_have_folders_of_their_own():
    def body(add):
        add.grid({
            "optimizer.learning_rate": (1e-3, 2e-3), "optimizer.weight_decay": (0.01, 0.02),
            "model.recurrence": ("lstm", "gru"), "model.bidirectional": (True, False),
        })  # fmt: skip

    slugs = [cell.slug for cell in collect(body).cells]
    assert len(set(slugs)) == 16
    assert all(len(slug) <= 67 for slug in slugs)
    assert Cell("✓", {}).slug != Cell("🙂", {}).slug


def test_a_cell_becomes_overrides_and_a_folder():
    cell = Cell("two layers, 50 % / wide", {"model.layers": 2, "synth.rotation": (-5.0, 5.0)})
    assert cell.slug == "two_layers_50_wide"
    assert cell.overrides(3) == [
        ("model.layers", "2"), ("synth.rotation", "(-5.0, 5.0)"), ("seed", "3"),
    ]  # fmt: skip


def test_what_a_run_needs_is_said():
    found = collect(lambda add: (add(batch_size=8), add.resources(gpus=1), add.data("tsv:a")))
    assert found.needs == Resources(gpus=1)
    assert found.specs == ("tsv:a",)
    assert found.cells[0].name == "batch_size=8"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda add: None, "adds no cell"),
        (lambda add: (add("a b"), add("a_b")), "two cells are called 'a_b'"),
        (lambda add: add("a", seed=1), r"say add\.seeds\(3\)"),
        (lambda add: (add("a"), add.seeds(0)), "give a whole number, 1 or more"),
        (lambda add: add("slurm"), "no cell can be called 'slurm'"),
        (lambda add: (add("a"), add.resources(gpu=1)), "it takes minutes, cpus, gpus"),
        (lambda add: add.log(0.0, 1.0), "from 0.0 to 1.0: orders of magnitude begin above 0"),
        (lambda add: add.integer(5, 2), "from 5 to 2: give the lower end first"),
        (lambda add: add.random(2, {"batch_size": {1: 2}}), r"add\.random.*give a list of values"),
        (lambda add: add.uniform(0.0, float("inf")), "both finite"),
        (lambda add: add.grid({"charset": "digits"}), r"add\.grid.*give a list of values"),
        (lambda add: add.grid({"batch_size": []}), r"add\.grid.*give a list of values"),
        (lambda add: add.random(2, {"batch_size": ()}), r"add\.random.*give a list of values"),
        (lambda add: add.random(-1, {"batch_size": (1, 2)}), r"random\(-1, .* 1 or more"),
    ],
)
def test_mistakes_are_named(body, message):
    with pytest.raises(UserError, match=message):
        collect(body)


def test_mistakes_of_type_are_named():
    """In a process of its own, as the tests' checks of types would be first."""
    code = """
from crnn_jax.sweeps.cells import Add
for name, given in [("seeds", [2.5]), ("data", [["tsv:a"]]), ("resources", [])]:
    try:
        getattr(Add(), name)(*given, **({} if given else {"minutes": "60"}))
    except Exception as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "sweep: add.seeds(2.5): give a whole number, 1 or more",
        "sweep: add.data(['tsv:a']): give SPECs one by one, as strings",
        "sweep: add.resources(minutes='60'): give one like 60",
    ]


def test_a_sweep_knows_its_runs(tmp_path: pathlib.Path):
    found = runs.load(write_experiment(tmp_path), str(tmp_path / "out"))
    assert found.question == "Does it matter?"
    assert [(run.cell.name, run.seed) for run in found.runs] == [
        ("base", 0), ("GRU", 0), ("base", 1), ("GRU", 1),
    ]  # fmt: skip
    assert found.runs[1].folder == tmp_path / "out" / "GRU" / "seed_0"
    assert len(runs.load(found.experiment, str(tmp_path / "out"), seeds=1).runs) == 2
    wide = runs.load(found.experiment, "out", overrides=[("model.hidden", "24")])
    assert wide.runs[1].cell.overrides(0)[0] == ("model.hidden", "24")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('add("a", {"model.recurence": "gru"})', "cell 'a': .*did you mean 'model.recurrence'"),
        ('add("a", {"model.recurrence": "gruu"})', "cell 'a': .*did you mean 'gru'"),
        ("add(1 / 0)", "line 11: ZeroDivisionError"),
    ],
)
def test_a_wrong_cell_is_told_before_anything_runs(tmp_path, mistake, body, message):
    path = write_experiment(tmp_path, body)
    line = mistake(sweep.main, f"--config={path}", f"--workdir={tmp_path / 'out'}")
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ('add("a"); add("b", charset="digits")', [], "cell 'b' has other characters .*protocol"),
        ('add("a"); add("b", protocol="exact")', [], "cell 'b' has another config.protocol"),
        ('add("a"); add("b", {"data.eval": "synth:clean"})', [], "cell 'b' .*add.data"),
        ('add("a", replicas=2)', [], "cell 'a' has config.replicas=2: say add.seeds"),
        ('add("a", batch_size=2)', ["--config.batch_size=8"], "'a' sets it itself"),
        ('add("a")', ["--config.seed=7"], "--seeds=N is how many"),
        ('add("LSTM")', ["--baseline=LSTN"], "cell of this sweep 'LSTN': did you mean 'LSTM'"),
    ],
)
def test_what_no_table_could_compare_is_told_before_anything_runs(
    tmp_path, mistake, body, arguments, message
):
    path = write_experiment(tmp_path, body)
    out = tmp_path / "out"
    line = mistake(sweep.main, f"--config={path}", f"--workdir={out}", *arguments)
    assert re.search(message, line), line
    assert not out.exists()


def test_a_workdir_that_is_a_file_is_told(tmp_path, mistake):
    (tmp_path / "file").touch()
    argv = [f"--config={write_experiment(tmp_path)}", f"--workdir={tmp_path / 'file'}"]
    assert "is a file; give a folder" in mistake(sweep.main, *argv)
    line = mistake(sweep.main, argv[0], "--workdir=")
    assert "--workdir= is empty; give a folder" in line


def test_an_experiment_without_a_sweep_is_told(tmp_path, mistake):
    line = mistake(sweep.main, "--config=quickstart", f"--workdir={tmp_path}")
    assert "no sweep; define sweep(add)" in line
    line = mistake(sweep.main, "--config=quickstart", "--workdir=x", "--launcher=slrm")
    assert "did you mean 'slurm'" in line


def test_runs_with_other_knobs_are_not_mixed(tmp_path, smoke_run):
    import shutil

    path = write_experiment(tmp_path)
    shutil.copytree(smoke_run, tmp_path / "out" / "GRU" / "seed_0")
    with pytest.raises(UserError, match=r"GRU/seed_0 holds a run with other knobs: .*recurrence"):
        runs.load(path, str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([("total_steps", "9")], r"total_steps \(4 there, 9 here\)"),
        ([("data.train", "synth:scene")], "data.train"),
        ([("protocol", "36")], "protocol"),
        ([("devices", "2"), ("log_every_steps", "7"), ("data.workers", "1")], ""),
    ],
)
def test_runs_of_another_length_or_data_are_not_kept(tmp_path, overrides, message):
    """Finished ones, too, unless only helpers changed or knobs were unknown then."""
    import json

    from crnn_jax import config as config_lib

    path, out = write_experiment(tmp_path), str(tmp_path / "out")
    found = runs.load(path, out)
    run = found.runs[0]
    found.prepare(run)
    stored = json.loads(config_lib.to_json(found.configs[0]))
    del stored["clip_norm"]
    (run.folder / "config.json").write_text(json.dumps(stored))
    finish(run.folder, {"plain": []})
    if message:
        with pytest.raises(UserError, match=rf"base/seed_0 holds a run with .*{message}"):
            runs.load(path, out, 0, overrides)
    else:
        assert runs.load(path, out, 0, overrides).runs[0].is_done
    judged = write_experiment(tmp_path, 'add("base"); add.data("tsv:words")')
    with pytest.raises(UserError, match=r"other sets \(its validation sets there, tsv:words here"):
        runs.load(judged, out)


def test_an_estimate_counts_the_width_of_every_cell(tmp_path, monkeypatch):
    body = 'add("a"); add("wide", {"data.width": 128})'
    sweep = runs.load(write_experiment(tmp_path, body), str(tmp_path / "out"))
    cost = dry_run.Cost(100.0, 0.0, 4, 63, 64, [])
    monkeypatch.setattr(dry_run, "measure", lambda config: cost)
    narrow, wide, _ = estimate.describe(sweep, 1).splitlines()
    assert narrow.endswith("about 1:40")
    assert wide.endswith(("about 3:19", "about 3:20", "about 3:21"))


def test_the_time_left_is_told_where_all_lengths_are_known(tmp_path):
    sweep = runs.load(write_experiment(tmp_path), str(tmp_path / "out"))
    run = sweep.runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text('{"batch_size": 4}')
    damaged = b'{}\n[]\n5\n\xff\n{"step": "3", "seconds": 1}\n'
    (run.folder / "metrics.jsonl").write_bytes(damaged + b'{"step": 2, "seconds": 60}\n{"step"')
    states = {r.name: "done" for r in sweep.runs} | {run.name: "running"}
    for total, said in ((4, ", about 1:00 left"), (None, "")):
        shown = view.View(sweep, {"base": total, "GRU": 4}, 1)
        assert shown.summary(states) == f"3 of 4 runs done, 1 under way{said}"


def test_how_far_a_run_is(tmp_path, smoke_run):
    run = runs.Run(Cell("a", {}), 0, smoke_run)
    found = run.progress()
    assert (found.step, found.batch) == (4, 4)
    assert found.seconds > 0
    assert runs.Run(Cell("a", {}), 0, tmp_path / "none").progress() == runs.Progress()
    (tmp_path / "log.txt").write_text("one\ntwo\n\n")
    assert runs.Run(Cell("a", {}), 0, tmp_path).last_line() == "two"
