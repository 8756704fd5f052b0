"""Prediction: any image input, in order, past what cannot be read, the same in any company."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import write_words

from crnn_jax import ensembles, predict, runtime, shipped
from crnn_jax.bulk import inputs
from crnn_jax.bulk.inputs import Inputs
from crnn_jax.bulk.rows import line_for
from crnn_jax.charset import build_charset
from crnn_jax.data.images import Preprocess
from crnn_jax.data.sources import open_source
from crnn_jax.data.stream import padded_widths
from crnn_jax.errors import DataError, ImageError, UserError
from crnn_jax.recognizer import Reading, Recognizer


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    source = open_source("tfds:rendered_words/tiny/test::limit=6")
    return [source.image_bytes(i) for i in range(len(source))]


@pytest.fixture(scope="module")
def readings(recognizer: Recognizer, images: list[bytes]) -> list[Reading]:
    found = recognizer.read(images, batch_size=8)
    assert len({reading.text for reading in found}) >= 3  # else the tests below say little
    return found


@pytest.fixture
def folder(tmp_path: pathlib.Path, images: list[bytes]) -> pathlib.Path:
    """Images 0 to 5 as b.jpg, a.JPG, sub/c.jpg, [d].jpg, e.jpg, é f.jpg, and other files."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    names = ("b.jpg", "a.JPG", "sub/c.jpg", "[d].jpg", "e.jpg", "é f.jpg")
    for name, image in zip(names, images, strict=True):
        (root / name).write_bytes(image)
    (root / "notes.txt").write_text("no image", encoding="utf-8")
    (root / "._b.jpg").write_text("macOS leaves such files", encoding="utf-8")
    return root


@pytest.fixture
def read(run_command: Callable, smoke_run: pathlib.Path) -> Callable:
    return lambda *argv: run_command(predict.main, f"--model={smoke_run}", "--batch_size=8", *argv)


# The library.


def test_every_kind_of_input_is_read_alike(recognizer: Recognizer, images: list[bytes]) -> None:
    encoded = io.BytesIO()
    pixels = Image.open(io.BytesIO(images[0])).convert("L")
    pixels.save(encoded, "PNG")
    gray = np.array(pixels)
    inputs = [
        encoded.getvalue(),
        pixels,
        pixels.convert("RGB"),
        gray,
        gray[:, :, None],
        np.repeat(gray[:, :, None], 3, axis=2),
        gray.astype(np.uint16) * 257,
        (gray / 255).astype(np.float32),
    ]
    found = recognizer.read(inputs, batch_size=8)
    assert [reading.text for reading in found] == [found[0].text] * len(inputs)
    assert found[0].text
    np.testing.assert_allclose([r.confidence for r in found], found[0].confidence, rtol=1e-3)


def test_paths_and_bytes_are_read_alike(
    recognizer: Recognizer, images: list[bytes], readings: list[Reading], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "word.jpg"
    path.write_bytes(images[1])
    found = recognizer.read([path, str(path), images[1]] * 2, batch_size=8)
    assert [reading.text for reading in found] == [readings[1].text] * 6


@pytest.mark.parametrize(
    "preprocess", [None, Preprocess(fit="keep", min_width=64, max_width=96)], ids=["squash", "keep"]
)
def test_an_image_reads_the_same_alone_in_a_batch_and_in_any_order(
    recognizer: Recognizer, images: list[bytes], preprocess: Preprocess | None
) -> None:
    if preprocess is not None:
        recognizer = dataclasses.replace(recognizer, preprocess=preprocess)
        # Three widths in two buckets: 80 px, padded to 96 in a batch with them, and alone.
        images = [*images[:4], _squeezed(images[4], 64), _squeezed(images[5], 80)]
        assert padded_widths(preprocess) == (64, 96)
    together = recognizer.read(images, batch_size=8)
    alone = [recognizer.read([image])[0] for image in images]
    order = [3, 5, 0, 4, 2, 1]
    shuffled = recognizer.read([images[i] for i in order], batch_size=8)
    for other in (alone, [shuffled[order.index(i)] for i in range(6)]):
        assert [reading.text for reading in other] == [reading.text for reading in together]
        np.testing.assert_allclose(
            [reading.confidence for reading in other],
            [reading.confidence for reading in together],
            rtol=1e-3,  # of a probability around 1e-20: 2e-5 of its logarithm
        )
    assert len({reading.text for reading in together}) >= 3


def _squeezed(image: bytes, width: int) -> bytes:
    encoded = io.BytesIO()
    Image.open(io.BytesIO(image)).resize((width, 32)).save(encoded, "PNG")
    return encoded.getvalue()


def test_padding_in_a_wider_bucket_changes_nothing(
    recognizer: Recognizer, images: list[bytes]
) -> None:
    image = _squeezed(images[0], 64)
    narrow, wide = (
        dataclasses.replace(
            recognizer, preprocess=Preprocess(fit="keep", min_width=low, max_width=96)
        )
        for low in (64, 96)
    )
    pixels = narrow.preprocess(image)
    ((_, in_64),) = narrow.stream([pixels], lambda x: x)
    ((_, in_96),) = wide.stream([pixels], lambda x: x)
    assert padded_widths(wide.preprocess) == (96,)
    assert in_64.text == in_96.text != ""
    assert in_96.confidence == pytest.approx(in_64.confidence, rel=1e-3)


def test_reading_stops_at_a_bad_image_and_streaming_goes_on(
    recognizer: Recognizer, images: list[bytes], readings: list[Reading]
) -> None:
    bad = [images[0], b"no image", images[1], pathlib.Path("none.png")]
    with pytest.raises(DataError, match=r"image [13]: "):
        recognizer.read(bad, batch_size=8)
    found = dict(recognizer.stream(bad, recognizer.preprocess, 8))
    assert [found[0].text, found[2].text] == [readings[0].text, readings[1].text]
    assert isinstance(found[1], ImageError)
    assert "none.png" in str(found[3])
    assert recognizer.read([]) == []


def test_unknown_decoder_is_named(recognizer: Recognizer, images: list[bytes]) -> None:
    with pytest.raises(UserError, match="unknown decoder 'gredy': did you mean 'greedy'"):
        recognizer.read(images[:1], decoder="gredy")


# Which files.


def test_files_folders_and_globs_keep_their_order(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)

    def found(*paths: str) -> list[str]:
        return [item.name.removeprefix("photos/") for item in Inputs.find(paths)]

    everything = ["[d].jpg", "a.JPG", "b.jpg", "e.jpg", "sub/c.jpg", "é f.jpg"]
    assert found("photos") == everything
    assert found("photos/e.jpg", "photos/b.jpg", "photos/e.jpg") == ["e.jpg", "b.jpg", "e.jpg"]
    assert found("photos/*.jpg") == ["[d].jpg", "b.jpg", "e.jpg", "é f.jpg"]
    assert found("photos/**/?.jpg", "photos/a.JPG") == ["b.jpg", "e.jpg", "sub/c.jpg", "a.JPG"]
    assert found("photos/[d].jpg") == ["[d].jpg"]  # the file, not the pattern
    with pytest.raises(UserError, match="nothing matches"):
        found("photos/s*")  # a folder is no image
    assert found("photos/none.jpg", "photos/b.jpg") == ["none.jpg", "b.jpg"]


def test_nothing_to_read_is_a_mistake(mistake: Callable, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.txt").write_text("x", encoding="utf-8")
    line = mistake(predict.main, "--model=x", tmp_path)
    assert f"{tmp_path}: no images in this folder (" in line
    assert ".png" in line
    (tmp_path / "folder.png").mkdir()
    line = mistake(predict.main, "--model=x", f"{tmp_path}/*.png")
    assert f"{tmp_path}/*.png: nothing matches" in line


# The command.


def test_text_is_printed_in_the_order_of_the_arguments(
    read: Callable, folder: pathlib.Path, readings: list[Reading]
) -> None:
    paths = [folder / "e.jpg", folder / "sub", f"{folder}/[ab].*"]
    code, out, err = read(*paths)
    assert (code, err) == (0, [])
    names = ["e.jpg", "sub/c.jpg", "a.JPG", "b.jpg"]
    expected = [readings[i].text for i in (4, 2, 1, 0)]
    assert out == [
        f"{folder / name}: {text}  (0.00)" for name, text in zip(names, expected, strict=True)
    ]


def test_an_image_comes_through_standard_input(
    read: Callable, folder: pathlib.Path, readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    pipe((folder / "a.JPG").read_bytes())
    code, out, err = read("-", folder / "e.jpg", "-")
    assert (code, err) == (0, [])
    assert [line.rpartition(": ")[2].rpartition("  ")[0] for line in out] == [
        readings[i].text for i in (1, 4, 1)
    ]
    pipe((folder / "a.JPG").read_bytes())
    code, (line,), _ = read("--format=json", "--rotations", "-")
    assert (code, json.loads(line)["path"]) == (0, "-")
    pipe(b"")
    code, out, err = read("-")
    assert (code, out, err[0][:21]) == (1, [], "-: the image is empty")
    monkeypatch.setattr(inputs, "_MOST_PIPED", 2**20)
    pipe(bytes(2**20 + 1))
    assert read("-")[2] == ["error: -: more than 1 MiB: name the image's file instead"]


def test_standard_input_that_has_no_image_is_a_mistake(
    mistake: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "leave one of them out" in mistake(predict.main, "-", "--out=readings.tsv")
    terminal = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(terminal.buffer, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    assert "add < word.png" in mistake(predict.main, "-")


def test_people_are_told_of_the_second_look_where_readings_are_unsure(
    read: Callable, folder: pathlib.Path, readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [folder / "a.JPG", folder / "e.jpg"]
    assert max(readings[i].confidence for i in (1, 4)) < 0.7  # after four steps of training
    assert read(*paths).err == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told = "2 of 2 readings are unsure (below 0.7): --careful looks at such images again"
    assert read(*paths).err == [told]
    assert read("--careful", *paths).err == []
    monkeypatch.setattr(runtime, "SURE", 0.0)
    assert read(*paths).err == []


def test_unreadable_images_are_named_and_the_rest_is_read(
    read: Callable, folder: pathlib.Path, readings: list[Reading]
) -> None:
    (folder / "b.jpg").write_bytes(b"")
    paths = [folder / "a.JPG", folder / "b.jpg", folder / "none.jpg", folder / "e.jpg"]
    code, out, err = read("--format=tsv", *paths)
    assert code == 1
    cells = [line.split("\t") for line in out]
    assert [row[:2] for row in cells] == [
        [str(paths[0]), readings[1].text],
        [str(paths[3]), readings[4].text],
    ]
    assert all(0 <= float(row[2]) <= 1 for row in cells)
    assert len(err) == 3
    assert f"{paths[1]}: the image is empty" in err[0]
    assert f"{paths[2]}: the image cannot be opened" in err[1]
    assert err[2] == "2 of 4 images could not be read"


def test_json_is_one_object_per_line_errors_too(
    read: Callable, folder: pathlib.Path, readings: list[Reading]
) -> None:
    (folder / "b.jpg").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    code, out, _ = read("--format=json", folder / "é f.jpg", folder / "b.jpg", folder / "a.JPG")
    assert code == 1
    first, broken, last = map(json.loads, out)
    assert set(first) == set(last) == {"path", "text", "confidence", "chars", "alternatives"}
    assert (first["path"], first["text"]) == (str(folder / "é f.jpg"), readings[5].text)
    assert (last["path"], last["text"]) == (str(folder / "a.JPG"), readings[1].text)
    assert 0 <= first["confidence"] <= 1
    assert set(broken) == {"path", "error"}
    assert broken["path"] == str(folder / "b.jpg")
    assert "damaged" in broken["error"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", None])
def test_json_is_json_in_every_encoding(encoding: str | None) -> None:
    line = line_for("json", encoding)("é \U0001f600.png", Reading("ä", 0.5))
    written = line.encode(encoding or "utf-8", "backslashreplace")
    found = json.loads(written.decode(encoding or "utf-8"))
    assert (found["path"], found["text"]) == ("é \U0001f600.png", "ä")
    assert ("é" in line) == (encoding == "utf-8")


def test_readings_are_printed_as_they_come_and_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    printed = []

    class Slow:
        """Finishes the images in another order than they have; notes what is on the screen."""

        preprocess = None
        charset = build_charset("alnum36")

        def in_windows(self) -> Slow:
            return self

        def stream(self, *_: Any, **__: Any) -> Iterator[tuple[int, Reading]]:
            for position in (1, 0, 3, 2):
                printed.append(capsys.readouterr().out.count("\n"))
                yield position, Reading(str(position), 0.5)

    monkeypatch.setattr(Recognizer, "load", lambda model: Slow())
    monkeypatch.setattr(ensembles, "combine", lambda models: models[0])
    monkeypatch.setattr(ensembles, "decoder_of", lambda model, build: "greedy")
    names = ("a.JPG", "b.jpg", "e.jpg", "[d].jpg")
    assert predict.main(["--model=x", *(str(folder / name) for name in names)]) == 0
    assert printed == [0, 0, 2, 0]  # lines since the image before
    rest = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ")[-1] for line in rest] == ["2  (0.50)", "3  (0.50)"]


def test_list_shows_the_runs_here(
    run_command: Callable, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_command(predict.main, "--list")
    assert code == 0
    assert "make train" in out[0]
    for name, text in {
        "broken": '{"step": 4',
        "good": '{"parameters": 1234567, "eval": {"words": {"word_accuracy": 0.5}, '
        '"empty": {"word_accuracy": null}}}',
        "old": "{}",
        "other": '{"parameters": 1, "eval": null}',
    }.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "summary.json").write_text(text, encoding="utf-8")
    code, out, err = run_command(predict.main, "--list")
    assert (code, err, len(out)) == (0, [], 4)
    assert "runs/broken" in out[0]
    assert "cannot be read" in out[0]
    assert out[1].split() == ["runs/good", "1.23", "M", "words", "50.0", "%"]
    assert "cannot be read" in out[2]
    assert "cannot be read" in out[3]


def test_beam_search_brings_alternatives(
    run_command: Callable, smoke_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    write_words(tmp_path, ["one", "two"])
    code, lines, _ = run_command(
        predict.main, f"--model={smoke_run}", "--decoder=beam", "--format=json", str(tmp_path)
    )
    assert code == 0
    for line in lines:
        found = json.loads(line)
        scores = [found["confidence"], *(other["confidence"] for other in found["alternatives"])]
        assert len(scores) > 1
        assert scores == sorted(scores, reverse=True)
        texts = [found["text"], *(other["text"] for other in found["alternatives"])]
        assert len(set(texts)) == len(texts)
