"""Reading very many images: every row once, in order, whatever dies on the way."""

from __future__ import annotations

import errno
import json
import os
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

from crnn_jax import predict
from crnn_jax.bulk import workers
from crnn_jax.bulk.inputs import Inputs, Item
from crnn_jax.bulk.output import Output
from crnn_jax.bulk.reading import parse_shard, shard_of
from crnn_jax.bulk.rows import is_error
from crnn_jax.bulk.workers import Workers
from crnn_jax.data.sources import open_source
from crnn_jax.errors import DataError, UserError

MODEL = "--model=quickstart"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Nine words, one of them damaged, as files, in a list and in a tar."""
    folder = tmp_path_factory.mktemp("bulk")
    source = open_source("tfds:rendered_words/tiny/test::limit=8")
    (folder / "words").mkdir()
    for i in range(8):
        (folder / "words" / f"{i}.png").write_bytes(source.image_bytes(i))
    (folder / "words" / "5b.png").write_bytes(source.image_bytes(0)[:50])
    names = [str(path) for path in sorted((folder / "words").iterdir())]
    (folder / "list.txt").write_text("\n".join([*names, ""]), encoding="utf-8")
    with tarfile.open(folder / "words.tar", "w") as tar:
        tar.add(folder / "words", "words")
    return folder


# What to read.


def test_lists_files_and_tars_are_read_in_their_order(folder, tmp_path) -> None:
    found = Inputs.find(
        [str(folder / "words"), str(folder / "words.tar")], [str(folder / "list.txt")]
    )
    assert len(found) == 27
    names = [pathlib.Path(item.name).name for item in found]
    assert names[:9] == names[18:] == sorted(names[:9])
    assert sorted(names[9:18]) == names[:9]
    for item in found:
        content = item.content()
        if isinstance(content, str):
            content = pathlib.Path(content).read_bytes()
        path = folder / "words" / pathlib.Path(item.name).name
        assert content == path.read_bytes()
    with pytest.raises(IndexError):
        found[27]


@pytest.mark.parametrize(
    ("content", "lines"),
    [("a.png\nb.png", 2), ("a.png\r\n\n\nb c.png\n", 2), ("é.png", 1)],
)
def test_lines_of_a_list(tmp_path, content, lines) -> None:
    (tmp_path / "list").write_text(content, encoding="utf-8", newline="")
    found = Inputs.find([], [str(tmp_path / "list")])
    assert [item.name for item in found] == [x for x in content.splitlines() if x]
    assert len(found) == lines


def test_lists_and_tars_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    with pytest.raises(UserError, match="is empty"):
        Inputs.find([], [str(tmp_path / "empty")])
    with pytest.raises(UserError, match="cannot be read"):
        Inputs.find([], [str(tmp_path / "none")])
    with pytest.raises(UserError, match="unpack it once"):
        Inputs.find([str(tmp_path / "x.tar.gz")])
    (tmp_path / "x.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match="not a tar that can be read"):
        Inputs.find([str(tmp_path / "x.tar")])


@pytest.mark.parametrize("text", ["3/3", "a/2", "1", "-1/2", "1/0"])
def test_shards_are_written_as_parts(text) -> None:
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text)


@pytest.mark.parametrize(("total", "count"), [(9, 2), (9, 4), (2, 5)])
def test_shards_are_every_row_once_in_order(total, count) -> None:
    parts = [shard_of(total, i, count) for i in range(count)]
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


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
    with Output(path, {"images": 3}, is_error):
        pass
    with pytest.raises(UserError, match="was begun with images 3 and not 4"):
        Output(path, {"images": 4}, is_error)
    (tmp_path / "other.tsv").write_text("mine")
    with pytest.raises(UserError, match="no begun reading"):
        Output(tmp_path / "other.tsv", {}, is_error)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch) -> None:
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        output.append(["a"], 0)
        whole = output._file

        class Full:
            def write(self, data: bytes) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            def close(self) -> None:
                whole.close()

        output._file = Full()
        with pytest.raises(UserError, match=r"No space left on device.*1 rows are in it"):
            output.append(["b"], 0)
    with Output(tmp_path / "out.tsv", {}, is_error) as output:
        assert output.rows == 1


# The command.


def read(run_command: Callable, out: pathlib.Path, *argv: object) -> list[str]:
    """Runs the command to its end, and returns the lines of its file."""
    done = run_command(predict.main, MODEL, f"--out={out}", *argv)
    assert done.code == 1, done.err  # one of the nine is damaged
    assert done.out == []
    assert done.err[-1] == f"{out}: 9 of 9 images, 1 of which could not be read"
    return out.read_text(encoding="utf-8").splitlines()


def test_every_row_once_in_order(run_command, folder, tmp_path) -> None:
    lines = read(run_command, tmp_path / "a.tsv", "--jobs=1", folder / "words")
    names = [str(path) for path in sorted((folder / "words").iterdir())]
    assert [line.split("\t")[0] for line in lines] == names
    assert [len(line.split("\t")) for line in lines] == [3] * 6 + [4] + [3] * 2
    again = read(run_command, tmp_path / "a.tsv", "--jobs=1", folder / "words")
    assert again == lines  # all is done: nothing is read
    list_ = read(
        run_command, tmp_path / "b.tsv", "--jobs=1", f"--images_from={folder / 'list.txt'}"
    )
    assert list_ == lines


def test_tars_and_json(run_command, folder, tmp_path) -> None:
    tar = folder / "words.tar"
    lines = [json.loads(x) for x in read(run_command, tmp_path / "a.jsonl", "--jobs=1", tar)]
    with tarfile.open(tar) as archive:
        names = [m.name for m in archive if m.isfile()]
    assert [line["path"] for line in lines] == [f"{tar}/{name}" for name in names]
    whole = [line for line in lines if "error" not in line]
    assert len(whole) == 8
    assert all(line["chars"][-1]["x1"] > 20 for line in whole if line["text"])  # in pixels


@pytest.mark.slow
def test_processes_and_shards_give_the_same_rows(run_command, folder, tmp_path) -> None:
    words = folder / "words"
    alone = read(run_command, tmp_path / "a.tsv", "--jobs=1", words)
    assert read(run_command, tmp_path / "b.tsv", "--jobs=2", words) == alone
    parts = []
    for i in range(2):
        out = tmp_path / f"part{i}.tsv"
        run_command(predict.main, MODEL, f"--out={out}", "--jobs=1", f"--shard={i}/2", words)
        parts += out.read_text(encoding="utf-8").splitlines()
    assert parts == alone


def test_mistakes(mistake, tmp_path) -> None:
    image = tmp_path / "x.png"
    assert "give one with --out" in mistake(predict.main, "--jobs=2", image)
    assert "name it .tsv or .jsonl" in mistake(predict.main, f"--out={tmp_path / 'x'}", image)
    assert "valid: json, tsv" in mistake(
        predict.main, "--format=text", f"--out={tmp_path / 'x'}", image
    )


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


# Processes that die.


def make_fragile(argument):
    """A reader that ends its process at "bad", and at "worse" always."""
    if argument == "mistake":
        raise UserError("no such model")
    if argument == "dies":
        os._exit(9)

    def read(items):
        for item in items:
            if item.name == "bad":
                os._exit(9)
        return [(f"read {item.name}", False) for item in items]

    return read


def fragile(argument: str = "") -> Workers:
    return Workers(make_fragile, argument, 2, lambda item: f"lost {item.name}")


def blocks(*texts: str) -> list[list[Item]]:
    return [[Item(name, name) for name in text.split()] for text in texts]


@pytest.mark.slow
def test_an_image_that_kills_its_process_costs_one_row() -> None:
    pool = fragile()
    found = list(pool.read(blocks("a b", "c bad d", "e", "f", "g")))
    pool.close()
    assert [line for lines in found for line, _ in lines] == [
        "read a", "read b", "read c", "lost bad", "read d", "read e", "read f", "read g",
    ]  # fmt: skip
    assert found[1][1] == ("lost bad", True)


@pytest.mark.slow
def test_processes_that_cannot_begin_are_told_of(monkeypatch) -> None:
    pool = fragile("mistake")
    with pytest.raises(UserError, match="no such model"):
        next(pool.read(blocks("a")))
    pool.close()
    monkeypatch.setattr(workers, "_MOST_DEATHS", 1)
    pool = fragile("dies")
    with pytest.raises(UserError, match="give fewer with --jobs"):
        next(pool.read(blocks("a")))
    pool.close()
