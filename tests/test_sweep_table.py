"""The table of a sweep: means, deviations, differences, costs, and what is missing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sweep_files import finish, write_experiment

from crnn_jax import sweep as command
from crnn_jax.errors import UserError
from crnn_jax.scoring import significance
from crnn_jax.scoring.results import Row
from crnn_jax.sweeps import csv_files, runs, table
from crnn_jax.sweeps.plot import _short, save


def readings(right: int, count: int = 100):
    return [(f"w{i}", f"W{i}!" if i < right else "x") for i in range(count)]


@pytest.fixture
def sweep(tmp_path):
    """Two cells, two seeds, two sets; the last run is missing."""
    found = runs.load(write_experiment(tmp_path), str(tmp_path / "out"))
    for run, (a, b) in zip(found.runs, ((50, 40), (70, 60), (54, 44)), strict=False):
        finish(run.folder, {"a": readings(a), "b": readings(b, 300)}, minutes=2 + run.seed)
    return found


def test_lines_hold_means_and_deviations(sweep):
    found = table.collect(sweep)
    base, gru = found.lines
    assert (base.cell, base.seeds, gru.seeds) == ("base", (0, 1), (0,))
    assert base.mean("a") == pytest.approx(0.52)
    assert base.deviation("a") == pytest.approx(np.std([0.5, 0.54], ddof=1))
    assert gru.deviation("a") is None
    assert base.mean(table.ALL) == pytest.approx((90 / 400 + 98 / 400) / 2)
    assert base.difference is None
    value, (low, high) = gru.difference
    assert value == pytest.approx(130 / 400 - 94 / 400)
    assert 0 < low < value < high
    assert base.cost("minutes") == 2.5
    assert found.sets == {"a": 100, "b": 300}
    assert found.missing == ("GRU, seed 1",)


def test_any_cell_may_be_the_baseline(sweep):
    gru, base = table.collect(sweep, "GRU").lines
    assert (gru.cell, gru.difference) == ("GRU", None)
    value, (low, high) = base.difference
    assert value == pytest.approx(94 / 400 - 130 / 400)
    assert low < value < high < 0
    with pytest.raises(UserError, match="unknown cell of this sweep 'GRUU'"):
        table.collect(sweep, "GRUU")


def test_without_a_run_of_the_baseline_no_line_is_called_so(sweep):
    shutil.rmtree(sweep.runs[0].folder)
    shutil.rmtree(sweep.runs[2].folder)
    text = table.to_markdown(table.collect(sweep)).splitlines()[4]
    assert text.startswith("| GRU | 70.0 | 20.0 | 32.5 |  | 1.00")


@pytest.mark.parametrize("changed", ["label", "count", "name", "protocol"])
def test_runs_judged_by_other_images_are_refused(sweep, changed):
    run = sweep.runs[1]
    sets = {"a": readings(70), "b": readings(60, 300)}
    if changed == "label":
        sets["a"][5] = ("other", "x")
    elif changed == "count":
        sets["a"] = sets["a"][:-1]
    elif changed == "name":
        sets["c"] = sets.pop("b")
    finish(run.folder, sets)
    if changed == "protocol":
        figures = run.folder / runs.FIGURES
        figures.write_text(figures.read_text().replace('"36"', '"exact"'))
    with pytest.raises(UserError, match="judged by other images"):
        table.collect(sweep)


def test_a_damaged_run_is_left_out_and_told(sweep, caplog):
    base, gru, *_ = sweep.runs
    (gru.folder / "readings_b.tsv").write_bytes(b"w0\xff\n")
    found = table.collect(sweep)
    assert (found.missing, found.damaged) == (("GRU, seed 1",), ("GRU, seed 0",))
    assert len(found.lines) == 1
    assert "Damaged: GRU, seed 0.\n" in table.to_markdown(found)
    assert "GRU, seed 0 is left out: " in caplog.text
    assert f"delete {gru.folder}/figures.json" in caplog.text
    whole = json.loads((base.folder / "figures.json").read_text())
    null = json.dumps(whole | {"minutes": None})
    for damaged in ("", "{}", "[]", '{"protocol": "36"}', null, "[" * 10**5):
        (base.folder / "figures.json").write_text(damaged)
        assert not base.is_done
        assert table.collect(sweep).missing == ("base, seed 0", "GRU, seed 1")
    (base.folder / "figures.json").write_text(json.dumps(whole | {"of a later version": 1}))
    assert base.is_done


def test_markdown_and_csv_say_the_same(sweep):
    found = table.collect(sweep)
    lines = table.to_markdown(found).splitlines()
    assert lines[0] == "Does it matter?"
    assert lines[2].startswith("|  | a | b | all images | difference |")
    assert lines[4].startswith("| base | 52.0 +- 2.8 | 14.0 +- 0.9 | 23.5 +- 1.4 | baseline | 1.00")
    assert lines[5].startswith("| GRU | 70.0 | 20.0 | 32.5 | +9.0 [")
    assert "over 1 to 2 seeds. Differences are those of `all images` to `base`" in lines[-2]
    assert "over images alone where a cell has one seed" in lines[-2]
    assert "Not done yet: GRU, seed 1." in lines[-1]
    base, gru = csv.DictReader(io.StringIO(csv_files.of_cells(found)))
    assert float(base["a"]) == pytest.approx(0.52)
    assert base["difference"] == gru["a std"] == ""
    assert float(gru["difference"]) == pytest.approx(0.09)
    low, mean, high = (float(gru[f"all images{end}"]) for end in (" low", "", " high"))
    assert low < mean < high


def test_every_run_has_a_line_with_the_knobs_that_vary(sweep):
    rows = list(csv.DictReader(io.StringIO(csv_files.of_runs(sweep, table.collect(sweep, "GRU")))))
    found = [(row["cell"], row["seed"], row["model.recurrence"], row["a"]) for row in rows]
    assert found == [
        ("GRU", "0", "gru", "0.7"), ("base", "0", "lstm", "0.5"), ("base", "1", "lstm", "0.54"),
    ]  # fmt: skip
    assert [float(row[table.ALL]) for row in rows] == [130 / 400, 90 / 400, 98 / 400]
    assert [float(row["minutes"]) for row in rows] == [2, 2, 3]
    assert "model.hidden" not in rows[0]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [([], ["base", "GRU"]), (["GRU"], ["GRU"]), (["*U", "b*"], ["base", "GRU"]), (["*"], None)],
)
def test_a_part_of_the_cells(sweep, patterns, names):
    found = sweep.only(patterns)
    names = names or ["base", "GRU"]
    assert [cell.name for cell in found.cells] == names
    wanted = {"base": "lstm", "GRU": "gru"}
    assert [config.model.recurrence for config in found.configs] == [wanted[n] for n in names]
    assert {run.folder for run in found.runs} <= {run.folder for run in sweep.runs}
    with pytest.raises(UserError, match=r"unknown cell of this sweep '\[bG\]\*'"):
        sweep.only(["*", "[bG]*"])


def test_the_picture_has_a_line_for_every_cell(sweep, tmp_path):
    save(tmp_path / "table.png", table.collect(sweep))
    with Image.open(tmp_path / "table.png") as image:
        assert image.size == (880, int((1.4 + 2 * 0.34) * 110))
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_a_dollar_in_the_picture_is_no_formula(sweep, tmp_path):
    found = table.collect(sweep)
    lines = tuple(dataclasses.replace(line, cell=f"{line.cell}: $\\x$") for line in found.lines)
    save(
        tmp_path / "table.png",
        dataclasses.replace(found, lines=lines, question="Is $\\a worth $\\b?"),
    )
    assert (tmp_path / "table.png").stat().st_size > 5000


def test_a_long_name_leaves_room_for_the_picture(tmp_path):
    names = "".join("ab"[i % 2] for i in range(300))
    body = f'add("base"); add("{names}c"); add("{names}d")'
    sweep = runs.load(write_experiment(tmp_path, body), str(tmp_path / "out"))
    for run in sweep.runs:
        finish(run.folder, {"a": readings(50)})
    save(tmp_path / "table.png", table.collect(sweep))
    assert _short(f"{names}c") != _short(f"{names}d")
    with Image.open(tmp_path / "table.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    marks = (np.ptp(pixels, axis=2) > 60).any(axis=0).nonzero()[0]  # what has a colour
    assert np.ptp(marks) > 100


def test_the_picture_leaves_the_backend_of_a_notebook_alone(sweep, tmp_path):
    before = matplotlib.get_backend()
    try:
        matplotlib.use("svg")
        save(tmp_path / "table.png", table.collect(sweep))
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(before)


def test_scores_of_a_run_are_those_of_its_readings(sweep):
    found = table.scores_of(sweep.runs[0], "36")
    assert {name: int(s.correct.sum()) for name, s in found.items()} == {"a": 50, "b": 40}


def test_collect_writes_what_is_there(sweep, tmp_path, run_command, mistake):
    argv = (f"--config={sweep.experiment}", f"--workdir={tmp_path / 'out'}", "--collect")
    code, out, _ = run_command(command.main, *argv)
    assert (code, out[0]) == (0, "Does it matter?")
    assert {p.name for p in (tmp_path / "out").glob("table.*")} == {
        "table.md", "table.csv", "table.png",
    }  # fmt: skip
    line = mistake(command.main, *argv[:1], f"--workdir={tmp_path / 'no'}", "--collect")
    assert "no run is done yet" in line


def scores(*correct: int) -> significance.RowScores:
    rows = [Row(str(i), "a", "a" if right else "b", 1.0) for i, right in enumerate(correct)]
    return significance.score_rows(rows, "exact")


def test_groups_of_one_model_differ_as_a_paired_test_says():
    rng = np.random.default_rng(0)
    a, b = (scores(*(rng.random(500) < rate)) for rate in (0.5, 0.6))
    value, ends = significance.difference_of_groups([a], [b], "set")
    test = significance.paired_test(a, b, "set").word_accuracy
    assert value == pytest.approx(test.difference)
    np.testing.assert_allclose(ends, test.interval, atol=0.01)


def test_no_difference_is_of_more_than_all_images():
    rng = np.random.default_rng(0)

    def scores(share):
        rows = [
            Row(str(i), "a", "a" if x < share else "b", 0.5) for i, x in enumerate(rng.random(200))
        ]
        return significance.score_rows(rows, "36")

    _, (low, high) = significance.difference_of_groups(
        [scores(0.0), scores(1.0)], [scores(0.0), scores(1.0)]
    )
    assert (low, high) == (-1, 1)


def test_spread_between_seeds_widens_the_interval():
    rng = np.random.default_rng(0)

    def group(*rates):
        return [scores(*(rng.random(2000) < rate)) for rate in rates]

    steady, _ = group(0.5, 0.5), None
    _, narrow = significance.difference_of_groups(steady, group(0.6, 0.6))
    _, wide = significance.difference_of_groups(steady, group(0.4, 0.8))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
