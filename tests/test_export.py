"""Export writes what reads as its checkpoint does, and nothing else."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable

import jax
import numpy as np
import pytest
from test_onnx import drawn

from crnn_jax import export, runtime
from crnn_jax.bundle import open_model, save_bundle
from crnn_jax.charset import build_charset
from crnn_jax.data.pixels import encode_png
from crnn_jax.data.sources import open_source
from crnn_jax.errors import DataError, UserError
from crnn_jax.exporting import parity, stablehlo
from crnn_jax.exporting.parity import ParityError, check_parity, parity_images

MODEL = "tiny-latin"
DATA = "--data=tfds:rendered_words/tiny/test::limit=20"


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "COUNT", 20)


def noise(recognizer, widths: list[int]) -> list[np.ndarray]:
    rng, data = np.random.default_rng(0), recognizer.preprocess
    return [rng.integers(0, 256, (data.height, w, data.channels), np.uint8) for w in widths]


def checkpoint(recognizer) -> Callable:
    """An artefact that computes what the network computes."""
    apply = jax.jit(recognizer.model.apply)
    return lambda images, widths: apply(recognizer.variables, images, widths)


# The gate.


@pytest.mark.slow
def test_the_same_network_passes() -> None:
    recognizer = drawn(recurrence="none")
    images = noise(recognizer, [40, 80])
    found = check_parity(recognizer, checkpoint(recognizer), images)
    assert (found.images, found.widths, found.strings) == (2, (40, 80), 0)
    assert found.difference < 1e-4


def shifted(recognizer, amount: float, row: int) -> Callable:
    run = checkpoint(recognizer)

    def other(images, widths):
        logits, frames = run(images, widths)
        return np.asarray(logits).copy() + amount * (np.arange(37) == row), frames

    return other


def test_posteriors_that_are_off_are_refused_with_the_image() -> None:
    recognizer = drawn(recurrence="none")
    images = noise(recognizer, [40, 60])
    with pytest.raises(
        ParityError, match=r"a posterior is off by 0\.\d+ at 40 pixels, batch 1"
    ) as e:
        check_parity(recognizer, shifted(recognizer, 3.0, 5), images)
    np.testing.assert_array_equal(e.value.image, images[0])


def test_nothing_known_and_other_frames_are_refused() -> None:
    recognizer = drawn(recurrence="none")
    images = noise(recognizer, [40])
    with pytest.raises(ParityError, match="off by nan"):
        check_parity(recognizer, shifted(recognizer, np.nan, 5), images)
    run = checkpoint(recognizer)
    with pytest.raises(ParityError, match="10 frames became 9"):
        check_parity(recognizer, lambda *a: (run(*a)[0], np.asarray(run(*a)[1]) - 1), images)


class Fixed:
    """A network, and an artefact, whose logits are given."""

    def __init__(self, logits: np.ndarray):
        self.logits = logits

    def __call__(self, images, widths):
        return np.repeat(self.logits[None], len(images), axis=0), np.full(len(images), 1)

    def apply(self, variables, images, widths):
        return self(images, widths)


@pytest.mark.parametrize(("gap", "passes"), [(1e-4, True), (0.02, False)])
def test_readings_may_differ_between_texts_that_are_as_likely(monkeypatch, gap, passes) -> None:
    # One frame, two characters; the artefact prefers the other one.
    monkeypatch.setattr(parity, "TOLERANCE", 0.015)  # posteriors pass, also at the wider gap
    first, second = (np.log([[0.2, 0.4 + d / 2, 0.4 - d / 2]]) for d in (gap, -gap / 4))
    recognizer = drawn(recurrence="none")
    object.__setattr__(recognizer, "model", Fixed(first))
    object.__setattr__(recognizer, "charset", build_charset("ab"))
    images = noise(recognizer, [40])
    if passes:
        assert (
            check_parity(recognizer, Fixed(second), images).strings == 1
        )  # not one of each batch size
        return
    with pytest.raises(ParityError, match="'a' became 'b' at 40 pixels, batch 1"):
        check_parity(recognizer, Fixed(second), images)


@pytest.mark.slow
def test_images_have_several_widths(few_images) -> None:
    recognizer = drawn()
    widths = {image.shape[1] for image in parity_images(recognizer)}
    assert {32, 2000} <= widths
    assert len(widths) == 8


def photographs(folder: pathlib.Path, *contents: bytes) -> str:
    """Writes a set of images, all labelled "word"; returns its SPEC."""
    for i, content in enumerate(contents):
        (folder / f"{i}.png").write_bytes(content)
    rows = [f"{i}.png\tword\n" for i in range(len(contents))]
    (folder / "labels.tsv").write_text("".join(rows))
    return f"tsv:{folder}/labels.tsv"


def test_images_that_cannot_be_read_are_left_out(tmp_path) -> None:
    recognizer = drawn(recurrence="none")
    good = encode_png(noise(recognizer, [60])[0])
    assert len(parity_images(recognizer, photographs(tmp_path, good, b"damaged", good))) == 2
    spec = photographs(tmp_path, b"", b"damaged")
    with pytest.raises(DataError, match=f"{spec}: none of its first 2 images can be read"):
        parity_images(recognizer, spec)


def test_eight_bits_are_tried_on_pixels_of_the_models_size(tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    from crnn_jax.exporting import metadata, quantize
    from crnn_jax.exporting.onnx_model import to_onnx

    bundle = open_model(MODEL)
    model = to_onnx(bundle.recognizer())
    metadata.attach(model, bundle)
    large = np.random.default_rng(0).integers(0, 256, (600, 1200, 3), np.uint8)
    contents = encode_png(large), b"damaged", encode_png(large[::2])
    source = open_source(photographs(tmp_path, *contents))
    read, given = runtime.Reader.read, []

    def noted(reader, images, **options):
        given.append(images)
        return read(reader, images, **options)

    monkeypatch.setattr(runtime.Reader, "read", noted)
    cost = quantize.check_cost(model, model, source, "36")
    assert (cost.rows, cost.before, cost.after) == (2, 0.0, 0.0)
    sizes = [(32, 64, 1), (32, 128, 1)]
    assert [[image.shape for image in images] for images in given] == [sizes] * 2
    reader = runtime.Reader(quantize.open_session(model))
    whole = reader.read(contents[:1], characters=False)
    assert reader.read(given[0][:1], characters=False) == whole


# StableHLO.


@pytest.mark.parametrize(
    "recurrence", ["lstm", *(pytest.param(x, marks=pytest.mark.slow) for x in ("none", "gru"))]
)
def test_stablehlo_comes_back(tmp_path, recurrence) -> None:
    recognizer = drawn(recurrence=recurrence)
    path = tmp_path / "model.stablehlo"
    path.write_bytes(stablehlo.to_stablehlo(recognizer))
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    images = noise(recognizer, [40, 40, 90])
    assert check_parity(recognizer, stablehlo.load_stablehlo(path), images).difference < 1e-5


def test_stablehlo_that_is_none(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a program"):
        stablehlo.load_stablehlo(tmp_path / "x")
    with pytest.raises(UserError, match="cannot be read"):
        stablehlo.load_stablehlo(tmp_path / "y")


# The command.


def test_command_writes_model_and_reader(run_command, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "word.onnx"
    done = run_command(
        export.main, f"--model={MODEL}", "--to=onnx", f"--out={out}", "--with-runtime", DATA
    )
    assert done.code == 0, done.err
    assert done.out[0].startswith(
        "20 images, 32 to 160 pixels wide, in batches of 1, 3, 16: posteriors"
    )
    assert (tmp_path / "word_reader.py").read_text() == pathlib.Path(runtime.__file__).read_text()
    assert runtime.Reader.load(out).metadata["name"] == MODEL


@pytest.mark.slow
def test_a_model_that_computes_in_bfloat16_is_written_in_float32(run_command, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    bundle = open_model("quickstart")
    bundle.config.model.dtype = "bfloat16"
    save_bundle(tmp_path / "half.crnn", bundle)
    out = f"--out={tmp_path / 'x.onnx'}"
    done = run_command(
        export.main, f"--model={tmp_path}/half.crnn", "--to=onnx", out, "--data=synth:clean"
    )
    assert done.code == 0, done.err
    assert float(re.search(r"posteriors within ([\d.e-]+)", done.out[0])[1]) < 1e-4


@pytest.mark.slow
def test_command_writes_stablehlo(run_command, tmp_path, few_images) -> None:
    out = tmp_path / "word.stablehlo"
    done = run_command(export.main, f"--model={MODEL}", "--to=stablehlo", f"--out={out}")
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "word.stablehlo.json").read_text())
    assert told["charset"]["classes"] == list(open_model(MODEL).charset.classes)


def test_what_reads_otherwise_is_not_written(mistake, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    from crnn_jax.exporting import onnx_layers

    monkeypatch.setattr(onnx_layers, "_EPSILON", 0.1)  # as if normalisation were folded wrongly
    out = tmp_path / "word.onnx"
    line = mistake(export.main, f"--model={MODEL}", "--to=onnx", f"--out={out}", DATA)
    assert f"{out} is not written" in line
    assert (tmp_path / "word.onnx.refused.png").read_bytes().startswith(b"\x89PNG")
    assert not out.exists()


@pytest.mark.slow
def test_eight_bits_are_measured(run_command, tmp_path, few_images, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    from crnn_jax.exporting import quantize

    monkeypatch.setattr(quantize, "COUNT", 40)
    out = tmp_path / "word8.onnx"
    arguments = f"--model={MODEL}", "--to=onnx", f"--out={out}", "--int8"
    monkeypatch.setattr(quantize, "MOST_LOST", 1.0)
    done = run_command(export.main, *arguments)
    assert done.code == 0, done.err
    assert done.out[1].startswith("40 words, protocol exact: ")
    assert out.stat().st_size < 0.6 * 4.7e6
    assert runtime.Reader.load(out).metadata["name"] == MODEL
    out.unlink()
    monkeypatch.setattr(quantize, "MOST_LOST", -1.1)
    done = run_command(export.main, *arguments)
    assert done.code == 2
    assert "eight bits lose more than" in done.err[0]
    assert not out.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--to=onx"], "did you mean 'onnx'"),
        (["--to=stablehlo", "--int8"], "belong to --to=onnx"),
        (["--to=onnx", "--out=no/such/x.onnx"], "its folder does not exist"),
        (["--to=stablehlo", "--model=nothing"], "nothing"),
        (["--to=stablehlo", "--data=tsv:none/labels.tsv"], "none/labels.tsv"),
    ],
)
def test_mistakes(mistake, tmp_path, argv, message) -> None:
    arguments = [f"--model={MODEL}", f"--out={tmp_path / 'x'}", *argv]
    assert message in mistake(export.main, *arguments)


def test_eight_bits_need_words_of_the_charset() -> None:
    from crnn_jax.exporting.quantize import comparison_set

    with pytest.raises(UserError, match="give labelled images"):
        comparison_set(build_charset("अआइ"))
    assert "digits" in str(comparison_set(build_charset("digits"))._spec)
    assert "alnum62" in str(comparison_set(build_charset("alnum36"))._spec)
