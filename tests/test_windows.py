"""Long lines read in windows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from small import small_config

from crnn_jax import calibrate, evaluate, models, predict, runtime
from crnn_jax.charset import build_charset
from crnn_jax.data.images import Preprocess
from crnn_jax.errors import UserError
from crnn_jax.models.windows import Windowed
from crnn_jax.recognizer import Recognizer
from crnn_jax.runtime import Reader, Windows

WIDTHS = np.array([300, 47, 128, 129, 224, 225, 0, 299], np.int32)


def network(encoder: str, recurrence: str = "none", **knobs):
    overrides = {"model.encoder": encoder, "model.recurrence": recurrence, "model.layers": 1}
    config = small_config(**overrides, **knobs)
    model = models.build_model(config.model, 37, 32, 64)
    images = jnp.zeros((1, 32, 64, 1), jnp.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), images, jnp.array([64]))
    return model, variables


def read(model, variables, images, widths):
    """Returns logits and frames, compiled quickly."""
    program = jax.jit(model.apply, compiler_options={"xla_backend_optimization_level": 0})
    return program(variables, images, widths)


def lines() -> np.ndarray:
    """Returns lines of different widths, with noise where they have ended."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (len(WIDTHS), 32, 300, 1), np.uint8)


@pytest.mark.parametrize("encoder", ["tiny", pytest.param("vgg", marks=pytest.mark.slow)])
def test_windows_of_a_network_that_sees_little_context_read_as_the_whole(encoder):
    """Without recurrence a frame sees less than the quarter of the overlap that is left out."""
    model, variables = network(encoder, **{"model.standardize": False})
    windowed = Windowed(model, Windows(192, 96, stride=4))
    whole, frames = read(model, variables, lines(), WIDTHS)
    merged, counts = read(windowed, variables, lines(), WIDTHS)
    np.testing.assert_array_equal(counts, frames)
    assert merged.shape == whole.shape
    for row, count in enumerate(np.asarray(frames)):
        np.testing.assert_allclose(
            merged[row, :count], jax.nn.log_softmax(whole[row, :count]), atol=2e-4
        )


def test_posteriors_sum_to_one_with_recurrence():
    model, variables = network("tiny", "lstm")
    logits, frames = read(Windowed.of(model, 64), variables, lines(), WIDTHS)
    for row, count in enumerate(np.asarray(frames)):
        np.testing.assert_allclose(np.exp(logits[row, :count]).sum(axis=-1), 1, atol=1e-4)


def test_a_line_that_fits_a_window_is_read_as_ever():
    model, variables = network("tiny", "lstm")
    images, widths = lines()[:, :, :64], np.minimum(WIDTHS, 64)
    windowed = Windowed.of(model, 64)
    own, plain = (read(network, variables, images, widths) for network in (windowed, model))
    for a, b in zip(own, plain, strict=True):
        np.testing.assert_array_equal(a, b)
    # Beside a long one it is, too, but for the softmax.
    logits, frames = read(windowed, variables, lines(), WIDTHS)
    alone, _ = read(model, variables, lines()[1:2, :, :64], WIDTHS[1:2])
    count = int(frames[1])
    np.testing.assert_allclose(logits[1, :count], jax.nn.log_softmax(alone[0, :count]), atol=1e-4)


def test_windows_read_alone_are_put_together_as_those_of_a_batch():
    model, variables = network("tiny", "lstm")
    windowed = Windowed.of(model, 64)
    together, frames = read(windowed, variables, lines(), WIDTHS)
    starts = [list(windowed.windows.starts(width)) for width in WIDTHS.tolist()]
    assert starts == [
        [0, 48, 96, 144, 192, 240], [0], [0, 48, 96], [0, 48, 96], [0, 48, 96, 144, 192],
        [0, 48, 96, 144, 192], [0], [0, 48, 96, 144, 192, 240],
    ]  # fmt: skip
    asked = [(row, start) for row, own in enumerate(starts) for start in own]
    pieces = np.zeros((len(asked), 32, 64, 1), np.uint8)
    for piece, (row, start) in zip(pieces, asked, strict=True):
        shown = lines()[row, :, start : start + 64]
        piece[:, : shown.shape[1]] = shown
    widths = np.array([min(WIDTHS[row] - start, 64) for row, start in asked], np.int32)
    logits, counts = read(model, variables, pieces, widths)
    for row, count in enumerate(np.asarray(frames)):
        own = [n for n, (of, _) in enumerate(asked) if of == row]
        merged = windowed.windows.merged([np.asarray(logits[n, : counts[n]]) for n in own])
        assert merged.shape == (count, together.shape[2])
        np.testing.assert_allclose(
            jax.nn.log_softmax(merged), jax.nn.log_softmax(together[row, :count]), atol=1e-4
        )


@pytest.mark.slow
def test_a_recognizer_reads_long_lines_without_squeezing_them():
    model, variables = network("tiny", "lstm")
    fit = Preprocess(fit="keep", max_width=64)
    squeezing = Recognizer(model, variables, build_charset("alnum36"), fit)
    reading = squeezing.in_windows()
    assert reading.preprocess.max_width == 16 * 64
    assert reading.in_windows() is reading
    assert reading.preprocess(np.zeros((32, 500), np.uint8)).shape == (32, 500, 1)
    short = np.random.default_rng(1).integers(0, 256, (32, 60), np.uint8)
    long = np.tile(short, (1, 8))
    (one, several) = reading.read([short, long])
    alone = squeezing.read([short])[0]
    assert (one.text, one.confidence) == (alone.text, pytest.approx(alone.confidence, rel=1e-3))
    assert several != squeezing.read([long])[0]
    squash = Recognizer(model, variables, build_charset("alnum36"), Preprocess())
    assert squash.in_windows() is squash


# The commands.


@pytest.fixture
def long_line(tmp_path):
    """A line four times as wide as the words that the model was trained on, in a set of its own."""
    image = Image.new("L", (700, 40), 255)
    font = ImageFont.load_default(28)
    ImageDraw.Draw(image).text((8, 2), "seven words that stand in one line", 0, font=font)
    image.save(tmp_path / "line.png")
    (tmp_path / "labels.tsv").write_text("line.png\tseven words that stand in one line\n")
    return tmp_path / "line.png"


@pytest.mark.slow
def test_commands_read_long_lines_in_windows_unless_they_are_told_to_squeeze(
    run_command, mistake, long_line, tmp_path, monkeypatch
):
    model = Recognizer.load("tiny-latin")
    (in_windows,) = model.in_windows().read([long_line])
    (squeezed,) = model.read([long_line])
    assert in_windows.text.startswith("seven")
    assert in_windows.text != squeezed.text
    data, out = f"--data=tsv:{tmp_path}/labels.tsv", tmp_path / "out.tsv"
    for given, reading in (((), in_windows), (("--squeeze",), squeezed)):
        (line,) = run_command(predict.main, "--model=tiny-latin", *given, long_line).out
        assert line == f"{long_line}: {reading.text}  ({reading.confidence:.2f})"
        argv = "--model=tiny-latin", data, f"--predictions={out}", *given
        assert run_command(evaluate.main, *argv).code == 0
        assert reading.text in out.read_text("utf-8")

    def calibrated(model, *others):
        raise UserError(type(model.model).__name__)

    monkeypatch.setattr(calibrate, "calibrate", calibrated)
    argv = "--model=tiny-latin", data, f"--check{data[6:]}", f"--out={tmp_path}/x.json"
    assert "Windowed" in mistake(calibrate.main, *argv)
    assert "CRNN" in mistake(calibrate.main, *argv, "--squeeze")


@pytest.mark.parametrize(("fit", "squeeze"), [("squash", False), ("keep", True)])
def test_what_is_not_read_in_windows_is_read_in_one(exported, monkeypatch, fit, squeeze):
    """Although windows end at a frame, and what is squashed or squeezed need not."""
    replaced = dataclasses.replace(Reader.load(exported).preprocess, fit=fit, width=102)
    replaced = dataclasses.replace(replaced, max_width=102)
    monkeypatch.setattr(runtime, "Preprocess", lambda **_: replaced)
    reader, widths = Reader.load(exported, threads=1, squeeze=squeeze), []
    run = reader._run
    monkeypatch.setattr(
        reader, "_run", lambda images: widths.append(images[0].shape[1]) or run(images)
    )
    reader.read([np.zeros((32, 400), np.uint8)])
    assert widths == [102]


def test_the_exported_reader_reads_long_lines_in_windows_unless_it_is_told_to_squeeze(
    exported, long_line, capsys
):
    model = Recognizer.load("tiny-latin")
    for squeeze, ours in ((False, model.in_windows()), (True, model)):
        reader = Reader.load(exported, threads=1, squeeze=squeeze)
        for batch_size in (1, 32):  # windows, too
            (theirs,) = reader.read([long_line], batch_size)
            (reading,) = ours.read([long_line])
            assert theirs.text == reading.text
            assert theirs.confidence == pytest.approx(reading.confidence, abs=1e-3)
            for a, b in zip(reading.characters, theirs.characters, strict=True):
                assert (b.x0, b.x1) == pytest.approx((a.x0, a.x1), abs=0.05)
        given = ["--squeeze"] if squeeze else []
        assert runtime.main([f"--model={exported}", *given, str(long_line)]) == 0
        assert f": {theirs.text}  (" in capsys.readouterr().out
