"""Reading very many images: every row once, in order, whatever dies on the way."""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from readings import assert_same_rows

from crnn_jax import predict, shipped
from crnn_jax.bulk import cluster
from crnn_jax.bulk.contents import best_checkpoint, contents
from crnn_jax.bulk.inputs import Inputs
from crnn_jax.bulk.output import Output
from crnn_jax.bulk.reading import block_size
from crnn_jax.bulk.rows import is_error
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.data import images
from crnn_jax.errors import UserError

MODEL = "--model=quickstart"


# The file.


def test_a_begun_file_goes_on_behind_its_last_whole_line(tmp_path) -> None:
    path, job = tmp_path / "out.tsv", {"images": 3}
    with Output(path, job, is_error) as output:
        output.append(["a\ttext\t0.5", "b\t\t\tdamaged"], failed=1)
    with open(path, "ab") as file:
        file.write(b"c\tte")  # killed while it wrote
    with Output(path, job, is_error) as output:
        assert (output.rows, output.failed) == (2, 1)
        output.append(["c\ttext\t0.5"], failed=0)
    assert path.read_text().splitlines() == ["a\ttext\t0.5", "b\t\t\tdamaged", "c\ttext\t0.5"]


def test_nothing_else_is_put_behind_it(tmp_path) -> None:
    path = tmp_path / "out.tsv"
    for count in (2, 3):  # a mistaken command that has left no line leaves room for another
        with Output(path, {"images": count}, is_error) as output:
            pass
    (tmp_path / "out.tsv.parts").mkdir()  # lines may be there
    with pytest.raises(UserError, match="was begun with images 3 and not 4"):
        Output(path, {"images": 4}, is_error)
    (tmp_path / "out.tsv.parts").rmdir()
    with Output(path, {"images": 3}, is_error) as output:
        output.append(["a"], 0)
    with pytest.raises(UserError, match="was begun with images 3 and not 4"):
        Output(path, {"images": 4}, is_error)
    (tmp_path / "other.tsv").write_text("mine")
    with pytest.raises(UserError, match="no begun reading"):
        Output(tmp_path / "other.tsv", {}, is_error)


def test_two_processes_do_not_write_it_together(tmp_path) -> None:
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        output.append(["a"], 0)
        with pytest.raises(UserError, match="is being written by another process"):
            Output(tmp_path / "out.tsv", {}, is_error)
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        assert output.rows == 1


def test_a_full_disk_loses_nothing(tmp_path, file_limit) -> None:
    """A file may not grow, which the system tells of as of a disk without room."""
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        output.append(["a"], 0)
        with (
            file_limit(1000),
            pytest.raises(UserError, match=r"File too large.*1 rows are in it"),
            output,
        ):
            output.append(["b" * 2000], 0)
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        assert output.rows == 1


@pytest.mark.parametrize(
    ("items", "jobs", "batch", "size"),
    [
        (300, 1, 32, 512),
        (300, 4, 32, 32),
        (3_000, 4, 32, 187),
        (10**6, 16, 32, 512),
        (10**6, 16, 512, 2048),
        (3_000, 4, 512, 187),
    ],
)
def test_few_images_are_enough_for_several_processes(items, jobs, batch, size) -> None:
    assert block_size(items, jobs, batch) == size


# What it depends on.


def test_what_has_changed_since_is_named(tmp_path) -> None:
    model, words = tmp_path / "my.crnn", tmp_path / "words.txt"
    model.write_bytes((shipped.FOLDER / "quickstart.crnn").read_bytes())
    words.write_text("one")

    def begin(*argv: str) -> None:
        args = predict._parse([f"--out={tmp_path / 'out.tsv'}", *argv, "x.png"])
        inputs = Inputs.find(args.paths)
        with cluster.open_output(args, inputs, range(len(inputs))) as output:
            output.append([] if output.rows else ["x.png\ttext\t0.5"], 0)

    def refused(*argv: str) -> str:
        with pytest.raises(UserError, match=r"out\.tsv was begun with ") as told:
            begin(*argv)
        return str(told.value).partition("was begun with ")[2]

    given = (f"--model={model}", f"--lexicon={words}", "--decoder=beam", f"--lm={words}")
    for _ in range(2):
        begin(*given)
    assert refused(*given, "--lm_order=2").startswith("lm_order None and not 2: go on")
    assert refused(*given, f"--lexicon={model}").startswith("lexicon 'words.txt' and not 'my.crnn'")
    words.write_text("two")
    assert refused(*given).startswith(f"content of {words} '")
    words.write_text("one")
    begin(*given)
    model.write_bytes((shipped.FOLDER / "tiny-latin.crnn").read_bytes())
    assert refused(*given).startswith(f"content of {model} '")


def test_the_words_of_the_language_model_of_the_package_are_content(tmp_path) -> None:
    model = tmp_path / "model.crnn"
    model.write_bytes(b"a")
    args = argparse.Namespace(model=[str(model)], lexicon="", lm="english")
    assert len(contents(args)["content of english"]) == 16
    args.lm = str(tmp_path / "english")
    with pytest.raises(UserError, match="cannot be read"):
        contents(args)


def test_a_run_is_told_by_its_best_checkpoint_and_its_calibration(tmp_path) -> None:
    args = argparse.Namespace(model=[str(tmp_path)], lexicon="", lm="")
    files = ("config.json", "calibration.json", "checkpoints/9/d/1", "replica_1/checkpoints/3/d")
    told = set()
    for number, name in enumerate(files, 1):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
        told.add(contents(args)[f"content of {tmp_path}"])
        (tmp_path / name).write_text("b")
        told.add(contents(args)[f"content of {tmp_path}"])
        assert len(told) == 2 * number
    for name in ("summary.json", "checkpoints/8"):  # are not read with
        (tmp_path / name).mkdir()
        told.add(contents(args)[f"content of {tmp_path}"])
    assert len(told) == 2 * len(files)


@pytest.mark.parametrize(
    "scores", [(), (None, None), (0.5, 0.7, 0.6), (0.5, 0.5, None), (None, 0.1)]
)
def test_the_best_checkpoint_is_that_of_orbax(tmp_path, scores) -> None:
    saved = Checkpointer(tmp_path, keep=9)
    for number, score in enumerate(scores):
        saved.save(9 + number, {"x": np.zeros(2)}, score)
    saved.wait()
    step = saved.best_step()
    saved.close()
    found = best_checkpoint(tmp_path)
    assert (found and int(found.name)) == step


# The command.


def read(run_command: Callable, out: pathlib.Path, *argv: object) -> list[str]:
    """Runs the command to its end, and returns the lines of its file."""
    done = run_command(predict.main, MODEL, f"--out={out}", *argv)
    assert done.code == 1, done.err  # one of the nine is damaged
    assert done.out == []
    assert done.err[-1] == f"{out}: 9 of 9 images, 1 of which could not be read"
    return out.read_text(encoding="utf-8").splitlines()


def test_every_row_once_in_order(run_command, bulk_folder, tmp_path) -> None:
    lines = read(run_command, tmp_path / "a.tsv", "--jobs=1", bulk_folder / "words")
    names = [str(path) for path in sorted((bulk_folder / "words").iterdir())]
    assert [line.split("\t")[0] for line in lines] == names
    assert [len(line.split("\t")) for line in lines] == [3] * 6 + [4] + [3] * 2
    again = read(run_command, tmp_path / "a.tsv", "--jobs=1", bulk_folder / "words")
    assert again == lines  # all is done: nothing is read
    list_ = read(
        run_command, tmp_path / "b.tsv", "--jobs=1", f"--images_from={bulk_folder / 'list.txt'}"
    )
    assert list_ == lines


def test_what_is_finished_needs_no_model(run_command, bulk_folder, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out.tsv"
    argv = MODEL, f"--out={out}", str(bulk_folder / "words")
    first = run_command(predict.main, *argv)
    written = out.read_bytes()

    def load(*_):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("crnn_jax.recognizer.Recognizer.load", load)
    with pytest.raises(AssertionError, match="a model is loaded"):
        predict.main([MODEL, f"--out={tmp_path}/other.tsv", "--jobs=1", str(bulk_folder / "words")])
    again = run_command(predict.main, *argv)
    assert (again.code, again.err[-1]) == (first.code, first.err[-1])
    assert out.read_bytes() == written


def test_tars_and_json(run_command, bulk_folder, tmp_path) -> None:
    tar = bulk_folder / "words.tar"
    lines = [json.loads(x) for x in read(run_command, tmp_path / "a.jsonl", "--jobs=1", tar)]
    with tarfile.open(tar) as archive:
        names = [m.name for m in archive if m.isfile()]
    assert [line["path"] for line in lines] == [f"{tar}/{name}" for name in names]
    whole = [line for line in lines if "error" not in line]
    assert len(whole) == 8
    assert all(line["chars"][-1]["x1"] > 20 for line in whole if line["text"])  # in pixels


def test_an_image_that_vanishes_while_it_is_read_is_a_row_that_fails(
    run_command, bulk_folder, tmp_path, monkeypatch
) -> None:
    image, out = tmp_path / "a.png", tmp_path / "out.jsonl"
    image.write_bytes((bulk_folder / "words" / "0.png").read_bytes())
    size = images.image_size

    def sized(content: str) -> tuple[int, int]:
        found = size(content)
        if content == str(image):
            image.unlink()
        return found

    monkeypatch.setattr(images, "image_size", sized)
    done = run_command(
        predict.main, MODEL, f"--out={out}", "--jobs=1", image, bulk_folder / "words" / "0.png"
    )
    assert done.err[-1] == f"{out}: 2 of 2 images, 1 of which could not be read"
    gone, other = map(json.loads, out.read_text().splitlines())
    assert "cannot be opened" in gone["error"]
    assert other["chars"]


@pytest.mark.slow
def test_processes_and_shards_give_the_same_rows(run_command, bulk_folder, tmp_path) -> None:
    words = bulk_folder / "words"
    alone = read(run_command, tmp_path / "a.tsv", "--jobs=1", words)
    assert_same_rows(read(run_command, tmp_path / "b.tsv", "--jobs=2", words), alone)
    parts = []
    for i in range(2):
        out = tmp_path / f"part{i}.tsv"
        run_command(predict.main, MODEL, f"--out={out}", "--jobs=1", f"--shard={i}/2", words)
        parts += out.read_text(encoding="utf-8").splitlines()
    assert_same_rows(parts, alone)


def test_mistakes(mistake, tmp_path) -> None:
    image = tmp_path / "x.png"
    assert "give one with --out" in mistake(predict.main, "--jobs=2", image)
    assert "name it .tsv or .jsonl" in mistake(predict.main, f"--out={tmp_path / 'x'}", image)
    assert "valid: json, tsv" in mistake(
        predict.main, "--format=text", f"--out={tmp_path / 'x'}", image
    )


@pytest.mark.parametrize(("count", "expected"), [(0, None), (1, 7), (2, 7)])
def test_the_benchmark_tells_of_few_samples(count, expected) -> None:
    path = pathlib.Path(__file__).parent.parent / "benchmarks" / "bulk_reading.py"
    spec = importlib.util.spec_from_file_location("bulk_reading", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.memory([(row, 7.2) for row in range(count)])
    assert list(found.values()) == [expected] * 3


@pytest.mark.slow
def test_killed_and_continued(tmp_path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for i in range(3_000):
        path = tmp_path / "many" / f"{i:05d}.png"
        if i % 100 == 7:
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + rng.bytes(40))
        else:
            Image.fromarray(rng.integers(0, 256, (32, 60), np.uint8)).save(path)
    out = tmp_path / "out.tsv"
    command = [sys.executable, "-m", "crnn_jax.predict", MODEL, f"--out={out}", "--jobs=2"]
    command.append(str(tmp_path / "many"))
    sizes = [0]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not out.exists() or out.stat().st_size <= sizes[-1]:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(out.stat().st_size)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "3,000 of 3,000 images, 30 of which could not be read" in done.stderr
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert [pathlib.Path(row[0]).name for row in rows] == [f"{i:05d}.png" for i in range(3_000)]
    assert sum(len(row) == 4 for row in rows) == 30
