"""Bad input end to end: each ends in one line that names the file, the row and what to do."""

from __future__ import annotations

import json
import pathlib
import resource
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from crnn_jax import evaluate, main, predict, train
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer

LABELS = ("ab0", "ab1", "ab2", "ab3", "ab4", "abcdefghij")


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    source = open_source("tfds:rendered_words/tiny/test::limit=6")
    return [source.image_bytes(i) for i in range(len(source))]


@pytest.fixture
def words(tmp_path: pathlib.Path, images: list[bytes]) -> pathlib.Path:
    """A labels file of six good rows; the last is long, so that the smoke run's step serves."""
    folder = tmp_path / "words"
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number}.jpg").write_bytes(image)
    return write_rows(folder / "labels.tsv", [f"{i}.jpg\t{text}" for i, text in enumerate(LABELS)])


def write_rows(path: pathlib.Path, rows: Sequence[str]) -> pathlib.Path:
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def train_argv(workdir: pathlib.Path, *more: str) -> list[str]:
    return ["--config=quickstart:smoke,loaded", f"--workdir={workdir}", *more]


@pytest.fixture
def run_copy(smoke_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The smoke run, to be damaged."""
    return shutil.copytree(smoke_run, tmp_path / "run")


@pytest.fixture
def train_mistake(mistake: Callable, tmp_path: pathlib.Path) -> Callable[..., str]:
    """Trains on a SPEC, which has to end in one line and leave no run behind."""

    def run(spec: str, *more: str) -> str:
        workdir = tmp_path / "new_run"
        argv = train_argv(workdir, "--config.data.eval=", f"--config.data.train={spec}", *more)
        line = mistake(main.main, *argv)
        assert not workdir.exists()
        return line

    return run


# Sets.


def test_missing_folder_and_its_likely_name(train_mistake: Callable, words: pathlib.Path) -> None:
    line = train_mistake(f"tsv:{words.parent.parent}/wrds/labels.tsv")
    assert f"{words.parent.parent}/wrds/labels.tsv does not exist" in line
    line = train_mistake(f"names:{words.parent.parent}/wrds")
    assert "did you mean 'words'" in line
    line = train_mistake(f"tsv:{words.parent}/lables.tsv")
    assert "did you mean 'labels.tsv'" in line


def test_empty_folder_and_empty_labels_file(
    train_mistake: Callable, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "empty").mkdir()
    line = train_mistake(f"names:{tmp_path}/empty")
    assert f"{tmp_path}/empty holds no images (.png" in line
    line = train_mistake(f"tsv:{tmp_path}/empty")
    assert "labels.tsv" in line
    (tmp_path / "empty" / "labels.tsv").write_text("\n \n", encoding="utf-8")
    line = train_mistake(f"tsv:{tmp_path}/empty")
    assert "labels.tsv has no rows: write lines of file name, TAB, label" in line


@pytest.mark.parametrize("row", ["2.jpg", "2.jpg ab2", "\tab2", "2.jpg\tab2\tx\ty"])
def test_row_with_other_columns_is_named(
    train_mistake: Callable, mistake: Callable, words: pathlib.Path, row: str
) -> None:
    write_rows(words, ["0.jpg\tab0", "", "1.jpg\tab1", row, "3.jpg\tab3"])
    line = train_mistake(f"tsv:{words}")
    assert f"{words} row 4 has " in line
    assert "write file name, TAB, label" in line
    assert mistake(evaluate.main, "--model=x", f"--data=tsv:{words}") == line


def test_file_that_is_not_utf_8_is_named_with_its_row(
    train_mistake: Callable, words: pathlib.Path
) -> None:
    words.write_bytes("0.jpg\tab0\n1.jpg\tcafé\n".encode("latin-1"))
    line = train_mistake(f"tsv:{words}")
    assert f"{words} row 2 is not UTF-8" in line
    assert "save the file as UTF-8" in line


def test_byte_order_mark_and_windows_line_ends_do_not_matter(
    run_command: Callable, smoke_run: pathlib.Path, words: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    text = words.read_text("utf-8").replace("\n", "\r\n")
    words.write_bytes(b"\xef\xbb\xbf" + text.encode())
    out = tmp_path / "readings.tsv"
    argv = [f"--model={smoke_run}", f"--data=tsv:{words}", f"--predictions={out}"]
    code, lines, err = run_command(evaluate.main, *argv)
    assert (code, err) == (0, [])
    cells = [line.split("\t") for line in out.read_text("utf-8").splitlines()]
    assert [row[:2] for row in cells] == [[f"{i}.jpg", text] for i, text in enumerate(LABELS)]
    assert not any("unreadable" in line for line in lines)


# Labels.


def test_unknown_character_is_named_with_the_row_and_what_to_do(
    train_mistake: Callable, words: pathlib.Path
) -> None:
    write_rows(words, ["0.jpg\tab0", "1.jpg\tcafé", "2.jpg\tnaïve", "3.jpg\té"])
    line = train_mistake(f"tsv:{words}")
    assert "labels.tsv row 2 (1.jpg)" in line
    assert "'é' (U+00E9)" in line
    assert "3 of 4 rows" in line
    assert "extend config.charset, or set config.unknown to 'drop' (the characters)" in line


def test_label_too_long_for_its_frames_is_named(
    train_mistake: Callable, words: pathlib.Path
) -> None:
    write_rows(words, ["0.jpg\tab0", "1.jpg\t" + "ab" * 9, "2.jpg\taaaaaaaaa"])
    line = train_mistake(f"tsv:{words}", "--config.infeasible=error")
    assert "labels.tsv row 2 (1.jpg)" in line
    assert "needs 18 frames, the image of 64 px gives 16" in line
    assert "2 of 3 rows" in line
    assert "set config.infeasible to 'skip' (the rows)" in line


def test_skipped_rows_are_listed_in_the_workdir(
    run_command: Callable, words: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    good = [f"{i}.jpg\t{text}" for i, text in enumerate(LABELS)]
    bad = ["4.jpg\t" + "ab" * 9, "5.jpg\tcafé", "0.jpg\t", "1.jpg\taaaaaaaaa"]
    write_rows(words, good + bad)
    argv = train_argv(
        tmp_path / "run",
        f"--config.data.train=tsv:{words}",
        "--config.data.eval=",
        "--config.unknown=skip",
    )
    code, _, err = run_command(main.main, *argv)
    assert code == 0, err
    lines = (tmp_path / "run" / "skipped_rows.tsv").read_text("utf-8").splitlines()
    cells = [line.split("\t") for line in lines]
    assert [where.partition("labels.tsv ")[2] for where, _ in cells] == [
        "row 8 (5.jpg)", "row 9 (0.jpg)", "row 7 (4.jpg)", "row 10 (1.jpg)",
    ]  # fmt: skip
    unknown, empty, too_long, repeats = (reason for _, reason in cells)  # as they are found
    assert "needs 18 frames" in too_long
    assert "'é'" in unknown
    assert "empty" in empty
    assert "needs 17 frames" in repeats  # nine equal letters, a blank between any two
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["eval"] == {}


def test_no_usable_row_is_a_mistake(train_mistake: Callable, words: pathlib.Path) -> None:
    write_rows(words, ["0.jpg\té", "1.jpg\t"])
    line = train_mistake(f"tsv:{words}", "--config.unknown=skip")
    assert "no usable row in words: 0 of 2 rows usable; left out: 1 empty, 1 unknown" in line


# Images.


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is large and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        )
    )


def test_prediction_goes_on_past_every_kind_of_bad_image(
    run_command: Callable, smoke_run: pathlib.Path, images: list[bytes], tmp_path: pathlib.Path
) -> None:
    bad = {
        "cut.jpg": images[0][: len(images[0]) // 2],
        "cut.png": png_header(40, 30),
        "empty.png": b"",
        "huge.png": png_header(50_000, 50_000),
        "text.png": b"this is a text",
    }
    for name, data in {"a.jpg": images[0], **bad, "z.jpg": images[1]}.items():
        (tmp_path / name).write_bytes(data)
    argv = [f"--model={smoke_run}", "--format=json"]
    run_command(predict.main, *argv, tmp_path / "a.jpg", tmp_path / "z.jpg")  # compiled now

    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = run_command(predict.main, *argv, tmp_path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert time.perf_counter() - start < 20  # the 2.5 gigapixels alone would take longer
    assert grown < 500_000  # kilobytes; they would take 7.5 GB

    assert code == 1
    rows = [json.loads(line) for line in out]
    assert [pathlib.Path(row["path"]).name for row in rows] == ["a.jpg", *bad, "z.jpg"]
    for row in (rows[0], rows[-1]):
        assert row.keys() == {"path", "text", "confidence", "chars", "alternatives"}
    messages = [row["error"] for row in rows[1:-1]]
    assert [*messages, "5 of 7 images could not be read"] == err
    assert all(str(tmp_path / name) in message for name, message in zip(bad, messages, strict=True))
    for message, part in zip(
        messages,
        ("truncated", "truncated", "0 bytes", "50,000 x 50,000 pixels", "not an image"),
        strict=True,
    ):
        assert part in message


def test_bad_images_do_not_stop_training_and_count_as_wrong(
    run_command: Callable, words: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (words.parent / "0.jpg").write_bytes(b"")
    (words.parent / "1.jpg").write_bytes(png_header(50_000, 50_000))
    (words.parent / "2.jpg").unlink()
    sets = (f"--config.data.train=tsv:{words}", f"--config.data.eval=tsv:{words}")
    argv = train_argv(tmp_path / "run", *sets)
    code, _, err = run_command(main.main, *argv)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert summary["eval"]["words"]["count"] == 6
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    (scores,) = (line["eval"]["words"] for line in map(json.loads, lines) if "eval" in line)
    assert scores["unreadable"] == 3


@pytest.mark.slow
def test_one_percent_of_damaged_images_is_counted_while_training_goes_on(
    run_command: Callable, images: list[bytes], tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "thousand"
    folder.mkdir()
    damaged = set(range(50, 1000, 100))
    for i in range(1000):
        data = images[i % len(images)]
        (folder / f"{i}.jpg").write_bytes(data[: len(data) // 2] if i in damaged else data)
    rows = [f"{i}.jpg\t{LABELS[i % len(images)]}" for i in range(1000)]
    write_rows(folder / "labels.tsv", rows)
    argv = train_argv(
        tmp_path / "run", f"--config.data.train=tsv:{folder}", "--config.data.eval=",
        "--config.batch_size=40", "--config.total_epochs=1", "--config.log_every_steps=25",
    )  # fmt: skip
    code, _, err = run_command(main.main, *argv)
    assert code == 0, err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    (line,) = map(json.loads, lines)
    assert line["step"] == 25
    assert (line["unreadable"], line["infeasible"]) == (len(damaged), 0)


# Workdirs.


def snapshot(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.model.encoder=vgg", "model.encoder ('tiny' there, 'vgg' here)"),
        ("--config.model.hidden=24", "model.hidden (16 there, 24 here)"),
        ("--config.batch_size=8", "batch_size (4 there, 8 here)"),
        ("--config.seed=1", "seed (0 there, 1 here)"),
        ("--config.charset=latin94", "another charset (only here: ! \" # $ % & ' (); go on"),
        ("--config.data.train=tfds:rendered_words/tiny/test", "data has changed"),
        ("--config.data.train=1*tfds:rendered_words/tiny/train", "weights in data.train"),
        ("--config.protocol=62", "by protocol exact there, rendered_words by protocol 62"),
        (
            "--config.data.eval=tfds:rendered_words/tiny/test::name=a",
            "exact there, a by protocol exact here",
        ),
    ],
)
def test_workdir_of_another_run_is_refused_and_left_alone(
    mistake: Callable, smoke_run: pathlib.Path, override: str, message: str
) -> None:
    before = snapshot(smoke_run)
    line = mistake(main.main, *train_argv(smoke_run, override, "--config.total_steps=8"))
    assert str(smoke_run) in line
    assert message in line
    assert "start in another --workdir" in line
    assert snapshot(smoke_run) == before


def test_data_that_changed_since_the_run_began_is_named(
    mistake: Callable, run_command: Callable, words: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    argv = train_argv(tmp_path / "run", f"--config.data.train=tsv:{words}", "--config.data.eval=")
    code, _, err = run_command(main.main, *argv)
    assert code == 0, err
    moved = tmp_path / "moved"
    moved.mkdir()
    words.parent.rename(moved / "words")
    argv = [arg.replace(str(words), str(moved / "words/labels.tsv")) for arg in argv]
    assert run_command(main.main, *argv).code == 0  # the same rows in another place
    image = moved / "words" / "3.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    line = mistake(main.main, *argv)
    assert "the data has changed since the run began (train 0: words)" in line
    assert "restore the data, or start in another --workdir" in line


def test_workdir_that_is_a_file(mistake: Callable, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious", encoding="utf-8")
    assert f"--workdir={path}: is a file; give a folder" in mistake(main.main, *train_argv(path))
    line = mistake(main.main, *train_argv(path / "run"))
    assert f"--workdir={path}/run: cannot be written (Not a directory)" in line
    assert path.read_text("utf-8") == "precious"


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["config.json", "charset.json", "run.json"])
@pytest.mark.parametrize("how", ["cut", "list", "binary"])
def test_damaged_file_of_a_run_is_named(
    mistake: Callable, run_copy: pathlib.Path, name: str, how: str
) -> None:
    path = run_copy / name
    if how == "cut":
        cut(path)
    else:
        path.write_bytes({"list": b"[]", "binary": b"\xff\xfe\x00"}[how])
    argv = train_argv(run_copy, "--config.total_steps=8")
    assert str(path) in mistake(main.main, *argv)
    if name != "run.json":  # which only training reads
        image = run_copy / "pictures" / "rendered_words_00000004.png"
        assert str(path) in mistake(predict.main, f"--model={run_copy}", image)


def damage_manifest(checkpoint: pathlib.Path) -> None:
    cut(checkpoint / "default" / "manifest.ocdbt")


def damage_data(checkpoint: pathlib.Path) -> None:
    for path in (checkpoint / "default" / "ocdbt.process_0" / "d").iterdir():
        cut(path)


def damage_metadata(checkpoint: pathlib.Path) -> None:
    cut(checkpoint / "default" / "_METADATA")


def remove_data(checkpoint: pathlib.Path) -> None:
    shutil.rmtree(checkpoint / "default")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage_manifest, damage_data, damage_metadata, remove_data])
def test_damaged_checkpoint_is_named_by_the_model_and_left_by_training(
    run_copy: pathlib.Path, damage: Callable[[pathlib.Path], None]
) -> None:
    checkpoint = run_copy / "checkpoints" / "4"
    damage(checkpoint)
    with pytest.raises(UserError, match="the checkpoint is damaged or of another") as caught:
        Recognizer.load(run_copy)
    assert f"{checkpoint}: " in str(caught.value)
    assert "delete that folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert main.main(train_argv(run_copy, "--config.total_steps=8")) == 0
    (moved,) = (run_copy / "damaged_checkpoints").iterdir()
    assert moved.name.startswith("4_")
    assert len(Recognizer.load(run_copy).read([np.zeros((32, 64), np.uint8)])) == 1


def test_damaged_scores_of_checkpoints_are_named(mistake: Callable, run_copy: pathlib.Path) -> None:
    cut(run_copy / "checkpoints" / "4" / "metrics" / "metrics")
    line = mistake(main.main, *train_argv(run_copy, "--config.total_steps=8"))
    assert f"{run_copy}/checkpoints: the checkpoints cannot be opened" in line
    with pytest.raises(UserError, match="the checkpoints cannot be opened"):
        Recognizer.load(run_copy)


def test_after_the_advice_the_run_starts_anew(
    run_command: Callable, run_copy: pathlib.Path
) -> None:
    shutil.rmtree(run_copy / "checkpoints" / "4")
    code, _, err = run_command(main.main, *train_argv(run_copy))
    assert code == 0, err
    lines = (run_copy / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 4]  # none is there twice


@pytest.mark.parametrize("command", [evaluate.main, predict.main])
def test_what_is_not_a_model_is_named(
    mistake: Callable, tmp_path: pathlib.Path, command: Callable
) -> None:
    more = ["x.png"] if command is predict.main else ["--data=tfds:rendered_words/tiny/test"]
    for model in (tmp_path / "none", tmp_path):
        line = mistake(command, f"--model={model}", *more)
        assert f"{model}: not a model; give the workdir of a run" in line


def test_run_without_a_checkpoint_is_named(run_copy: pathlib.Path) -> None:
    folder = run_copy / "checkpoints"
    for step in folder.iterdir():
        shutil.rmtree(step)
    with pytest.raises(UserError, match="the run has no checkpoint yet; train it further"):
        Recognizer.load(run_copy)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="the run has no checkpoint yet; train it further"):
        Recognizer.load(run_copy)


def test_charset_and_network_that_do_not_fit_are_refused(run_copy: pathlib.Path) -> None:
    path = run_copy / "charset.json"
    charset = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(charset | {"classes": charset["classes"][:-1]}), encoding="utf-8")
    with pytest.raises(UserError, match="the checkpoint is damaged or of another network"):
        Recognizer.load(run_copy)
    path.write_text(json.dumps(charset), encoding="utf-8")
    config = json.loads((run_copy / "config.json").read_text("utf-8"))
    config["model"]["layers"] = 0
    (run_copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match="the checkpoint is damaged or of another network"):
        Recognizer.load(run_copy)


def test_training_in_python_raises_the_same_mistakes(tmp_path: pathlib.Path) -> None:
    from crnn_jax import cli

    config = cli.load_experiment(
        "quickstart:smoke,loaded", [("data.train", f"names:{tmp_path}/no")]
    )
    with pytest.raises(UserError, match="/no does not exist"):
        train.train_and_evaluate(config, tmp_path / "run")
