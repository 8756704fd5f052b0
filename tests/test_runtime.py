"""The reader that stands alone reads as the package does, without it."""

from __future__ import annotations

import ast
import io
import itertools
import json
import os
import pathlib
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent import futures

import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import string_probabilities
from jitted import align, character_posteriors, string_log_probability
from PIL import Image, PngImagePlugin, TiffImagePlugin

from crnn_jax import runtime
from crnn_jax.bundle import open_model
from crnn_jax.data.images import Preprocess, decode_image
from crnn_jax.data.sources import open_source
from crnn_jax.recognizer import Recognizer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

MODEL = "tiny-latin"
ALLOWED = {"numpy", "PIL", "onnxruntime", "bidi"}


@pytest.fixture(scope="module")
def reader(exported: pathlib.Path) -> runtime.Reader:
    return runtime.Reader.load(exported, threads=1)


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    source = open_source("tfds:rendered_words/tiny/test::limit=24")
    return [source.image_bytes(i) for i in range(len(source))]


@pytest.fixture(scope="module")
def package() -> Recognizer:
    return Recognizer.load(MODEL).in_windows()


def posteriors(seed: int, frames: int = 5, classes: int = 4) -> np.ndarray:
    return runtime.posteriors(3 * np.random.default_rng(seed).normal(size=(frames, classes)), 1.0)


# Beside the package.


def test_greedy_readings_are_those_of_the_package(reader, package, images) -> None:
    for ours, theirs in zip(package.read(images), reader.read(images, 5), strict=True):
        assert theirs.text == ours.text
        assert theirs.confidence == pytest.approx(ours.confidence, abs=1e-3)
        assert [c.char for c in theirs.characters] == [c.char for c in ours.characters]
        for a, b in zip(ours.characters, theirs.characters, strict=True):
            assert b.confidence == pytest.approx(a.confidence, abs=2e-3)
            assert (b.x0, b.x1) == pytest.approx((a.x0, a.x1), abs=0.01)


@pytest.mark.slow
def test_beam_finds_what_the_package_finds(reader, package, images) -> None:
    ours = package.read(images, decoder="beam")
    theirs = reader.read(images, decoder="beam")
    assert [r.text for r in theirs] == [r.text for r in ours]
    for a, b in zip(ours, theirs, strict=True):
        assert b.confidence == pytest.approx(a.confidence, abs=1e-3)
        if a.alternatives:  # the package drops what is far less likely sooner
            assert b.alternatives[0].text == a.alternatives[0].text
    assert sum(bool(reading.alternatives) for reading in ours) > len(ours) / 2


def test_lexicon_has_the_best_word_of_all(reader, images) -> None:
    words = [
        "".join(letters) for n in (1, 2, 3) for letters in itertools.product("aehnst", repeat=n)
    ]
    lexicon = runtime.Lexicon(words, reader.charset)
    p = posteriors(0, frames=9, classes=len(reader.charset.classes) + 1)
    scores = runtime.log_probabilities(p, lexicon.ids)
    found = lexicon.best(p, count=5)
    assert [word for _, word, _ in found] == [
        lexicon.words[i] for i in np.argsort(-scores, kind="stable")[:5]
    ]
    assert reader.read(images[:1], decoder="lexicon", lexicon=words)[0].text in words


def test_words_longer_than_the_frames_cost_nothing(monkeypatch) -> None:
    charset, tables = runtime.Charset("abc", "keep"), []
    places = runtime._places
    monkeypatch.setattr(runtime, "_places", lambda p, most: tables.append(most) or places(p, most))
    p = posteriors(0, frames=6)
    few, more = (runtime.Lexicon(w, charset) for w in (["ab", "c"], ["ab", "c", 20_000 * "ab"]))
    assert more.best(p, count=3) == few.best(p, count=3)
    assert tables == [6, 6, 2, 2]
    assert runtime.Lexicon([9 * "ab"], charset).best(p, count=3) == []


@pytest.mark.parametrize("seed", range(20))
def test_lexicon_search_is_exact(seed: int) -> None:
    charset = runtime.Charset("abc", "keep")
    words = ["".join(w) for n in range(1, 5) for w in itertools.product("abc", repeat=n)]
    lexicon = runtime.Lexicon(words, charset)
    p = posteriors(seed, frames=6)
    (_, word, score), *_ = lexicon.best(p, count=3)
    scores = runtime.log_probabilities(p, lexicon.ids)
    assert score == pytest.approx(scores.max())
    assert word == lexicon.words[int(scores.argmax())]


@pytest.mark.parametrize("scale", [5, 10, 20, 40, 60])
@pytest.mark.parametrize(("letters", "longest"), [(3, 12), (5, 3), (12, 3), (12, 6)])
def test_lexicon_search_is_exact_however_sure_the_network_is(scale, letters, longest) -> None:
    alphabet = "abcdefghijkl"[:letters]
    charset = runtime.Charset(alphabet, "keep")
    for seed, (frames, count) in enumerate(itertools.product((8, 24), (5, 60) * 3)):
        rng = np.random.default_rng(seed)
        words = {
            "".join(rng.choice(list(alphabet), rng.integers(1, longest + 1))) for _ in range(count)
        }
        lexicon = runtime.Lexicon(sorted(words), charset)
        p = runtime.posteriors(scale * rng.normal(size=(frames, letters + 1)), 1.0)
        best = runtime.log_probabilities(p, lexicon.ids).max()
        if np.isfinite(best):  # else no word fits the frames
            assert lexicon.best(p, count=3)[0][2] == pytest.approx(best)


# Arithmetic of CTC, against every path and against the package.


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_of_texts_sum_over_their_paths(seed: int) -> None:
    p = posteriors(seed)
    texts = string_probabilities(np.log(p))
    found = runtime.log_probabilities(p, list(texts))
    np.testing.assert_allclose(np.exp(found), list(texts.values()), rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_is_exact(seed: int) -> None:
    p = posteriors(seed)
    texts = string_probabilities(np.log(p))
    ranked = sorted(texts, key=texts.get, reverse=True)
    assert runtime.beam(p, width=1000, nbest=3, prune=0.0)[:3] == ranked[:3]


@pytest.mark.parametrize("ids", [(1, 2, 1), (3, 3, 1)])
def test_alignment_and_characters_are_those_of_the_package(ids: tuple[int, ...]) -> None:
    p = posteriors(sum(ids), frames=9)
    logits, frames = jnp.log(jnp.asarray(p, jnp.float32))[None], jnp.array([9])
    labels, lengths = jnp.array([ids]), jnp.array([len(ids)])
    expected = align(logits, frames, labels, lengths)
    first, last = runtime.align(p, ids)
    np.testing.assert_array_equal(first, expected.first[0])
    np.testing.assert_array_equal(last, expected.last[0])
    np.testing.assert_allclose(
        runtime.character_posteriors(p, ids),
        character_posteriors(logits, frames, labels, lengths)[0],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        runtime.log_probabilities(p, [ids]),
        string_log_probability(logits, frames, labels, lengths),
        atol=1e-4,
    )


@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
def test_characters_are_as_sure_as_all_paths_make_them(scale: float) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        p = runtime.posteriors(scale * rng.normal(size=(6, 4)), 1.0)
        texts = string_probabilities(np.log(p))
        for ids in (runtime.greedy(p), (1, 2), (2, 2), (3, 1, 3)):
            expected = []
            for place in range(len(ids)):
                rivals = [(*ids[:place], c, *ids[place + 1 :]) for c in (1, 2, 3)]
                rivals.append((*ids[:place], *ids[place + 1 :]))
                expected.append(texts[ids] / sum(texts.get(rival, 0.0) for rival in rivals))
            np.testing.assert_allclose(runtime.character_posteriors(p, ids), expected, atol=1e-8)


def test_what_is_far_less_likely_than_its_beginning_has_its_score() -> None:
    """Sixty frames of blank: the phrase is likely nowhere, and a lexicon reads it all the same."""
    charset = runtime.Charset("abcdefghij", "keep")
    phrase = "abcdefghij" * 4
    p = np.full((60, 11), np.exp(-22.0))
    p[:, 0] = 1 - p[:, 1:].sum(axis=1)
    ((ids, word, found),) = runtime.Lexicon([phrase], charset).best(p, count=1)
    assert word == phrase
    logits = np.log(p)[None].astype(np.float32)
    one = (jnp.array([60]), jnp.array([ids]), jnp.array([len(ids)]))
    expected = string_log_probability(jnp.asarray(logits), *one)
    np.testing.assert_allclose(found, expected[0], rtol=1e-5)


def test_a_reader_wants_a_thread(exported) -> None:
    with pytest.raises(runtime.ReadError, match="-1 threads: give 1 or more"):
        runtime.open_session("nowhere.onnx", threads=-1)
    with pytest.raises(runtime.ReadError, match=r"^0 threads: give 1 or more"):
        runtime.Reader.load(exported, threads=0)


def test_text_that_fits_no_frames() -> None:
    p = posteriors(0, frames=2)
    assert runtime.log_probabilities(p, [(1, 1)])[0] == -np.inf
    assert [len(x) for x in runtime.align(p, (1, 1))] == [0, 0]
    assert runtime.log_probabilities(p[:0], [()])[0] == 0


# Images.


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", ".png"), ("RGB", ".jpg"), ("RGBA", ".png"), ("P", ".gif"), ("1", ".bmp"),
     ("I;16", ".png"), ("CMYK", ".tif"), ("LA", ".webp"), ("I", ".tif"), ("F", ".tif")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_out_as_in_the_package(tmp_path, mode, suffix, channels) -> None:
    values = np.random.default_rng(0).integers(0, 256, (23, 61, 3), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values).convert("RGB").convert(mode)
    path = tmp_path / f"image{suffix}"
    image.save(path)
    ours = Preprocess(channels=channels, fit="keep")
    theirs = runtime.Preprocess(32, channels, "keep", 100, 16, 1024)
    np.testing.assert_array_equal(theirs(runtime.load_image(path, channels)), ours(path))
    content = path.read_bytes()
    np.testing.assert_array_equal(theirs(runtime.load_image(content, channels)), ours(content))


def test_a_grey_value_of_16_bits_may_be_clear(tmp_path) -> None:
    values = np.zeros((32, 100), np.uint16)
    values[8:24, 20:80] = 9
    path = tmp_path / "clear.png"
    Image.fromarray(values).save(path, transparency=0)
    theirs = runtime.Preprocess(32, 1, "squash", 100, 16, 1024)(runtime.load_image(path, 1))
    np.testing.assert_array_equal(theirs, Preprocess()(path))
    assert set(np.unique(theirs)) == {0, 255}


def test_turned_photographs_and_arrays(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (23, 61, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "turned.jpg", exif=exif)
    ours, theirs = Preprocess(fit="keep"), runtime.Preprocess(32, 1, "keep", 100, 16, 1024)
    for image in (tmp_path / "turned.jpg", values, values[..., 0] / 255, values[..., :1]):
        np.testing.assert_array_equal(theirs(runtime.load_image(image, 1)), ours(image))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not an image"),
        (b"GIF89a", "not an image|damaged image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not an image|damaged image"),
        (np.zeros((2, 2, 7), np.uint8), "shape"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.zeros((0, 2), np.uint8), "no pixels"),
        ("no/such.png", "no/such.png: no such file"),
    ],
)
def test_images_that_cannot_be_read(reader, image, message) -> None:
    with pytest.raises(runtime.ReadError, match=message):
        reader.read([image])


def test_bombs_are_not_decoded(tmp_path) -> None:
    for size, told in (
        (9_000, "is too large: 9,000 x"),
        (20_000, "has more than 64,000,000 pixels"),
    ):
        Image.new("1", (size, size)).save(tmp_path / "bomb.png")
        with pytest.raises(runtime.ReadError, match=f"bomb.png: the image {told}"):
            runtime.load_image(tmp_path / "bomb.png", 1)


def encoded(form: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (40, 30)).save(stream, form, **options)
    return stream.getvalue()


def test_a_webp_whose_canvas_is_too_large_is_not_opened() -> None:
    content = encoded("WEBP", save_all=True, append_images=[Image.new("L", (40, 30), 255)])
    sides = content.index(b"VP8X") + 12
    content = content[:sides] + b"\xff\xff\xff\x27\x00\x00" + content[sides + 6 :]
    with pytest.raises(runtime.ReadError, match="is too large: 16,777,216 x 40 pixels"):
        runtime.load_image(content, 1)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_jpegs_of_very_many_scans_are_not_decoded(kind) -> None:
    content = encoded("JPEG", progressive=True)
    sides, scans = content.index(b"\xff\xc2") + 5, content.index(b"\xff\xda")
    content = content[:sides] + b"\x1f\x40\x1f\x40" + content[sides + 4 :]  # 8,000 x 8,000
    content = content[:scans] + content[scans:-2] * 100 + content[-2:]
    if kind == "MPO":  # with the header of a file that holds several pictures
        header = encoded("MPO", save_all=True, append_images=[Image.new("L", (40, 30))])
        header = header[header.index(b"\xff\xe2") :]
        content = content[:2] + header[: 2 + int.from_bytes(header[2:4], "big")] + content[2:]
    assert Image.open(io.BytesIO(content)).format == kind
    with pytest.raises(runtime.ReadError, match=r"has [\d,]+ scans, which takes minutes"):
        runtime.load_image(content, 1)


# Models.


def test_models_that_cannot_be_opened(tmp_path, exported) -> None:
    import onnx

    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(runtime.ReadError, match=r"text.onnx: not an ONNX model"):
        runtime.Reader.load(tmp_path / "text.onnx")
    with pytest.raises(runtime.ReadError, match="no such model"):
        runtime.Reader.load(tmp_path / "none.onnx")
    model = onnx.load(exported)
    for change, message in ((8, "format 8"), (None, "not a model of crnn_jax")):
        told = json.loads(model.metadata_props[0].value)
        told["format"] = change
        other = onnx.ModelProto()
        other.CopyFrom(model)
        other.metadata_props[0].value = json.dumps(told) if change else "{}"
        onnx.save(other, tmp_path / "other.onnx")
        with pytest.raises(runtime.ReadError, match=message):
            runtime.Reader.load(tmp_path / "other.onnx")


def test_metadata_say_what_is_owed(reader) -> None:
    bundle = open_model(MODEL)
    assert reader.metadata["name"] == MODEL
    assert reader.metadata["licence"] == bundle.licence
    assert reader.metadata["charset"]["classes"] == list(bundle.charset.classes)
    assert reader.temperature == bundle.calibration.temperature
    assert [a["name"] for a in reader.metadata["lineage"]] == [a.name for a in bundle.lineage]


# Without the package.


def test_it_imports_nothing_else() -> None:
    tree = ast.parse(pathlib.Path(runtime.__file__).read_text(encoding="utf-8"))
    names = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module)])
    }
    assert names - set(sys.stdlib_module_names) <= ALLOWED


def test_copied_reader_reads_from_the_command_line(tmp_path, exported, images) -> None:
    shutil.copy(runtime.__file__, tmp_path / "reader.py")
    shutil.copy(exported, tmp_path / "model.onnx")
    for i, image in enumerate(images[:3]):
        (tmp_path / f"{i}.png").write_bytes(image)
    (tmp_path / "broken.png").write_bytes(images[0][:60])
    names = ["0.png", "1.png", "2.png", "broken.png"]
    done = subprocess.run(
        [sys.executable, "-P", "reader.py", "--format=json", *names],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "broken.png: damaged image" in done.stderr
    assert lines[3] == {"path": "broken.png", "error": done.stderr.strip()}
    expected = Recognizer.load(MODEL).read(images[:3])
    for i, (line, reading) in enumerate(zip(lines, expected, strict=False)):
        ours = runtime.record(f"{i}.png", reading)
        assert line.keys() == ours.keys()
        assert (line["text"], len(line["chars"])) == (ours["text"], len(ours["chars"]))


@pytest.mark.slow
def test_reads_in_an_environment_without_jax(tmp_path, exported, images) -> None:
    shutil.copy(runtime.__file__, tmp_path / "reader.py")
    shutil.copy(exported, tmp_path / "model.onnx")
    (tmp_path / "word.png").write_bytes(images[0])
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "numpy", "pillow", "onnxruntime"], check=True
    )
    missing = subprocess.run([python, "-c", "import jax"], capture_output=True)
    assert missing.returncode == 1
    done = subprocess.run(
        [python, "reader.py", "word.png"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    (expected,) = Recognizer.load(MODEL).read(images[:1])
    assert done.stdout.startswith(f"word.png: {expected.text}  ("), done.stderr


# The command line, in this process.


def run(capsys, *argv: object) -> tuple[int, list[str], list[str]]:
    """Returns the exit code, and the lines of both streams."""
    code = runtime.main([str(part) for part in argv])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err.splitlines()


def test_names_do_not_break_rows(tmp_path, exported, images, capsys) -> None:
    path = tmp_path / "a\tb\nc\x1b[31m.png"
    path.write_bytes(images[0])
    argv = f"--model={exported}", path
    code, (line,), _ = run(capsys, *argv)
    assert (code, line.startswith(f"{tmp_path}/a\\tb\\nc\\x1b[31m.png: ")) == (0, True)
    code, (line,), _ = run(capsys, *argv, "--format=tsv")
    assert line.split("\t")[0] == f"{tmp_path}/a\\tb\\nc\x1b[31m.png"
    assert line.count("\t") == 2


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_the_output_cannot_encode(tmp_path, exported, images, encoding) -> None:
    names = [b"a\xff.png", "ü.png".encode(), b"z.png"]
    for name in names:
        pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(images[0])
    command = [sys.executable, "-P", runtime.__file__, f"--model={exported}"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*command, "--format=json", tmp_path], capture_output=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line)["path"] for line in done.stdout.decode(encoding).splitlines()]
    assert [os.path.basename(path) for path in found] == ["a\udcff.png", "z.png", "ü.png"]


def test_a_lexicon_is_used_or_refused(tmp_path, reader, exported, images, capsys) -> None:
    image, words = tmp_path / "x.png", tmp_path / "words.txt"
    image.write_bytes(images[0])
    words.write_text("xylophone\nzebra\n")
    argv = f"--model={exported}", f"--lexicon={words}", image
    code, (line,), _ = run(capsys, *argv)
    assert (code, line.split(": ")[1].split("  (")[0] in ("xylophone", "zebra")) == (0, True)
    assert reader.read([image], lexicon=["zebra"])[0].text == "zebra"
    for decoder in ("greedy", "beam"):
        code, lines, (error,) = run(capsys, *argv, f"--decoder={decoder}")
        assert (code, lines) == (2, [])
        assert error == f"error: --decoder={decoder} uses no lexicon: leave one of them out"
        with pytest.raises(runtime.ReadError, match=f"decoder '{decoder}' uses no lexicon"):
            reader.read([image], decoder=decoder, lexicon=["zebra"])
    assert run(capsys, argv[0], image, "--decoder=lexicon")[0] == 2


def test_folders(tmp_path, exported, images, capsys) -> None:
    (tmp_path / "photos" / "folder.png").mkdir(parents=True)
    (tmp_path / "photos" / "._x.png").write_bytes(b"of macOS")
    (tmp_path / "photos" / "notes.txt").write_bytes(b"")
    argv = f"--model={exported}", tmp_path / "photos"
    code, lines, (error,) = run(capsys, *argv)
    assert (code, lines) == (2, [])
    assert error.startswith(f"error: {tmp_path}/photos: no images in this folder (.png .jpg")
    (tmp_path / "photos" / "folder.png" / "x.PNG").write_bytes(images[0])
    code, (line,), _ = run(capsys, *argv)
    assert (code, line.startswith(f"{tmp_path}/photos/folder.png/x.PNG: ")) == (0, True)
    code, _, (error,) = run(capsys, argv[0], "a" * 5000)
    assert (code, "File name too long" in error) == (1, True)


# What is refused.


@pytest.mark.parametrize("size", [0, -1])
def test_batches_of_nothing_are_refused(reader, images, size) -> None:
    with pytest.raises(runtime.ReadError, match=f"batch_size={size}: give a number of images"):
        reader.read(images[:1], batch_size=size)


def test_what_is_no_image_is_refused_at_once(reader, tmp_path: pathlib.Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)  # to open it would wait for its writer
    for image, told in (
        (pipe, "no file but a folder, a pipe or a device"),
        (tmp_path, "no file but a folder"),
        ("a\0.png", "embedded null byte"),
        (None, "a value of type NoneType is no image"),
        (7, "a value of type int is no image"),
    ):
        with pytest.raises(runtime.ReadError, match=told) as error:
            reader.read([image])
        assert len(str(error.value).splitlines()) == 1


class Session:
    """Has the metadata of a model, and says something else than it should."""

    def __init__(self, metadata: dict, logits: object = None):
        self.custom_metadata_map = {"crnn_jax.model": json.dumps(metadata)}
        self._logits = logits

    def get_modelmeta(self) -> Session:
        return self

    def run(self, names: list[str], inputs: dict) -> list:
        if isinstance(self._logits, Exception):
            raise self._logits
        return [self._logits, np.array([4])]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("preprocess", "width", 10**9),
        ("preprocess", "max_width", 10**9),
        ("preprocess", "width", "x"),
        ("preprocess", "height", 0),
        ("preprocess", "height", True),
        ("preprocess", "channels", 2),
        ("preprocess", "channels", 1.0),
        ("preprocess", "fit", "none"),
        ("charset", "classes", [1, 2]),
        ("charset", "classes", []),
        ("charset", "case", None),
        ("frames", "step", None),
        ("frames", "start", float("nan")),
        ("", "temperature", 0),
        ("", "temperature", 1e-300),
        ("frames", "step", 1e308),
        ("", "temperature", 10**400),
        ("", "format", 2),
        ("", "charset", []),
    ],
)
def test_metadata_of_another_kind_are_refused(reader, section, key, value) -> None:
    metadata = json.loads(json.dumps(reader.metadata))
    metadata["preprocess"]["fit"] = "squash" if key == "width" else "keep"
    (metadata[section] if section else metadata)[key] = value
    wanted = r"not a model of crnn_jax|take the reader"
    with pytest.raises(runtime.ReadError, match=wanted) as error:
        runtime.Reader(Session(metadata))
    assert len(str(error.value).splitlines()) == 1


def test_a_graph_of_another_kind_is_refused(reader) -> None:
    classes = len(reader.charset.classes) + 1
    image = np.zeros((32, 64), np.uint8)
    for logits, told in (
        (np.zeros((1, 4, classes), np.float32), ""),
        (np.zeros((1, 4, classes + 1), np.float32), "does not tell"),
        (np.full((1, 4, classes), np.nan, np.float32), "does not tell"),
        (RuntimeError("one\ntwo"), r"the model cannot read \(one two\): export it again"),
    ):
        broken = runtime.Reader(Session(reader.metadata, logits))
        if not told:
            assert broken.read([image])[0].text == ""
            continue
        with pytest.raises(runtime.ReadError, match=told):
            broken.read([image])


def test_what_a_right_to_left_model_needs_is_told_when_it_is_opened(monkeypatch) -> None:
    assert runtime.Charset(("א", "a"), "keep").right_to_left
    monkeypatch.setitem(sys.modules, "bidi.algorithm", None)
    with pytest.raises(runtime.ReadError, match="pip install python-bidi"):
        runtime.Charset(("א", "a"), "keep")
    assert not runtime.Charset(("a",), "keep").right_to_left


def test_readers_can_be_imported() -> None:
    names = "word.onnx", "small-94.v2.onnx", "8.onnx", "été.onnx"
    found = [runtime.reader_name(name) for name in names]
    assert found == ["word_reader.py", "small_94_v2_reader.py", "_8_reader.py", "été_reader.py"]
    assert all(name.removesuffix(".py").isidentifier() for name in found)


def test_what_ends_the_copied_reader_is_no_traceback(tmp_path, exported, images) -> None:
    shutil.copy(runtime.__file__, tmp_path / "reader.py")
    shutil.copy(exported, tmp_path / "model.onnx")
    (tmp_path / "word.png").write_bytes(images[0])
    read = [sys.executable, "-P", "reader.py", *["word.png"] * 200]

    def ended(command, **arguments) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=60, **arguments
        )
        return done.returncode, done.stderr

    with open("/dev/full", "w") as full:
        told = "error: readings cannot be written: No space left on device\n"
        assert ended(read, stdout=full) == (1, told)
    code, told = ended(["bash", "-c", f"{shlex.join(read)} | head -1; exit ${{PIPESTATUS[0]}}"])
    assert (code, told) == (1, "")
    code, told = ended([*read[:4], "--lexicon="])
    assert (code, told[:28]) == (2, "error: --lexicon names no fi")
    (tmp_path / "latin1.txt").write_bytes("Gr\xf6\xdfe\n".encode("latin1"))
    for name, why in (("latin1.txt", "no text in UTF-8"), (".", "Is a directory")):
        code, told = ended([*read[:4], f"--lexicon={name}"])
        expected = f"error: --lexicon={name}: {why}: give a text file with a word per line\n"
        assert (code, told) == (2, expected)
    code, told = ended([*read[:3], ""])
    assert (code, told) == (2, "error: an empty path: give that of an image or a folder\n")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*read, *["word.png"] * 5_000], cwd=tmp_path, **pipes) as it:
        it.stdout.readline()
        it.send_signal(signal.SIGINT)
        _, told = it.communicate(timeout=60)
    assert (it.returncode, told) == (1, b"interrupted\n")


@pytest.mark.parametrize(
    ("form", "kind"),
    [("PNG", PngImagePlugin.PngImageFile), ("TIFF", TiffImagePlugin.TiffImageFile)],
)
def test_an_image_that_takes_long_keeps_no_other_waiting(monkeypatch, form, kind) -> None:
    begun, go_on = threading.Event(), threading.Event()
    load = kind.load

    def slow(self):
        begun.set()
        assert go_on.wait(60)
        return load(self)

    monkeypatch.setattr(kind, "load", slow)
    encoded = {name: io.BytesIO() for name in (form, "BMP")}
    for name, file in encoded.items():
        Image.new("L", (8, 8)).save(file, name)
    with futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(runtime.load_image, encoded[form].getvalue(), 1)
        assert begun.wait(60)
        other = pool.submit(runtime.load_image, encoded["BMP"].getvalue(), 1)
        try:
            assert other.result(60).size == (8, 8)
            assert not first.done()
        finally:
            go_on.set()
        assert first.result(60).size == (8, 8)


def late_warning() -> bytes:
    """A PNG that Pillow warns of when it has its pixels: of an animation that comes too late."""
    file = io.BytesIO()
    Image.new("L", (8, 8), 7).save(file, "PNG")
    chunk = b"acTL" + struct.pack(">II", 0, 0)
    late = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = file.getvalue()
    return content[:-12] + late + content[-12:]  # before IEND


@pytest.mark.parametrize("load", [runtime.load_image, decode_image])
def test_what_pillow_warns_of_is_read_all_the_same(load) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="APNG"), Image.open(io.BytesIO(late_warning())) as it:
            it.load()
        assert np.asarray(load(late_warning(), 1)).ravel().tolist() == [7] * 64


def test_threads_leave_warnings_as_they_were(images) -> None:
    with warnings.catch_warnings(), futures.ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        before = list(warnings.filters)
        list(pool.map(lambda image: runtime.load_image(image, 1), list(images[:3]) * 100))
        assert list(warnings.filters) == before


def test_a_damaged_model_is_one_line(exported, tmp_path: pathlib.Path, capfd) -> None:
    path, content = tmp_path / "x.onnx", exported.read_bytes()
    for damaged in (content[:-9], content.replace(b"crnn_jax.model", b"\xffrnn_jax.model"), b""):
        path.write_bytes(damaged)
        with pytest.raises(runtime.ReadError, match=r"export it again|can be opened") as error:
            runtime.Reader.load(path)
        assert len(str(error.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_the_model_of_the_same_name_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "mine_reader.py"))
    (tmp_path / "mine8.onnx").touch()
    assert runtime._default_model().name == "mine8.onnx"
    (tmp_path / "mine.onnx").touch()
    assert runtime._default_model().name == "mine.onnx"
    (tmp_path / "mine.onnx").rename(tmp_path / "other.onnx")
    (tmp_path / "mine_reader.py").touch()
    (tmp_path / "mine.v2.onnx").touch()
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "mine_v2_reader.py"))
    assert runtime._default_model().name == "mine.v2.onnx"
    (tmp_path / "mine.v2.onnx").rename(tmp_path / "mine.v3.onnx")
    with pytest.raises(runtime.ReadError, match="3 models beside the reader"):
        runtime._default_model()
