"""The command that makes a model of PyTorch weights."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from port_weights import port_weights
from torch_files import as_safetensors

from crnn_jax import bundle, convert, evaluate, predict, report
from crnn_jax import config as config_lib
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.errors import UserError
from crnn_jax.pytorch.networks import vgg_port_from_torch
from crnn_jax.recognizer import Recognizer


@pytest.fixture(scope="module")
def weights():
    return port_weights(hidden=16)


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "crnn.safetensors"
    path.write_bytes(as_safetensors({f"module.{key}": value for key, value in weights.items()}))
    return path


@pytest.fixture(scope="module")
def model(file, tmp_path_factory):
    """A converted model, and what the command said."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "port"
    return out, convert.convert(str(file), "auto", "alnum36", "auto", 100, str(out))


@pytest.mark.slow
def test_a_converted_model_is_read_as_any_other(weights, model, run_command, tmp_path):
    out, said = model
    assert said == (
        f"{out}: encoder vgg_port, recurrence lstm, grey images 32x100; classes in order: blank "
        "0123456789abcdefghijklmnopqrstuvwxyz"
    )
    recognizer = Recognizer.load(out)
    jax.tree.map(np.testing.assert_array_equal, recognizer.variables, vgg_port_from_torch(weights))
    assert "".join(recognizer.charset.classes) == "0123456789abcdefghijklmnopqrstuvwxyz"
    assert recognizer.charset.case == "fold"
    config = config_lib.load(out / "config.json")
    assert (config.model.encoder, config.model.hidden, config.model.projection) == (
        ("vgg_port", 16, 16)
    )
    assert list(out.parent.iterdir()) == [out]

    image = np.random.default_rng(0).integers(0, 256, (40, 90), np.uint8)
    Image.fromarray(image).save(tmp_path / "word.png")
    (reading,) = recognizer.read([tmp_path / "word.png"])
    done = run_command(predict.main, f"--model={out}", tmp_path / "word.png", "--format=json")
    assert json.loads(done.out[0])["text"] == reading.text
    (tmp_path / "labels.tsv").write_text(f"word.png\t{reading.text or 'a'}\n")
    data = f"--data=tsv:{tmp_path / 'labels.tsv'}"
    assert run_command(evaluate.main, f"--model={out}", data).code == 0


def test_converted_models_are_listed(model, monkeypatch):
    monkeypatch.setattr(predict, "RUNS", model[0].parent)
    line = predict.list_models().splitlines()[-1]  # behind the shipped ones
    assert line.startswith(str(model[0]))
    assert line.split()[1:] == ["5.63", "M"]


def test_a_converted_model_goes_into_a_bundle_and_has_a_report(model, run_command, tmp_path):
    out, _ = model
    made = bundle.bundle_of_run(out, licence="MIT")
    (own,) = made.lineage
    assert (own.name, own.licence, own.train, own.images) == ("port", "MIT", "", 0)
    page = tmp_path / "report.html"
    done = run_command(
        report.main,
        f"--run={out}",
        "--data=tfds:rendered_words/tiny/test::limit=4",
        f"--out={page}",
    )
    assert done.code == 0
    assert "rendered_words" in page.read_text("utf-8")


def test_a_model_may_be_moved(model, tmp_path):
    copied = shutil.copytree(model[0], tmp_path / "copy")
    for path in copied.rglob("*"):  # nothing leads to where it was written
        assert not path.is_file() or bytes(model[0]) not in path.read_bytes(), path
    Recognizer.load(copied.rename(tmp_path / "moved"))


def test_networks_without_recurrence_and_in_colour_have_their_config():
    kernel = np.zeros((3, 3, 3, 64))
    variables = {"params": {"encoder": {"conv_1": {"kernel": kernel}}}}
    config = convert.model_config("resnet29", variables, "latin94", "keep", 160)
    assert config.model.encoder == "resnet29"
    assert config.model.recurrence == "none"
    assert config.data.channels == 3
    assert config.data.width == 160
    assert (config.charset, config.case) == ("latin94", "keep")


# Mistakes.


@pytest.fixture
def arguments(file, tmp_path):
    """Arguments of the command, some of them changed."""

    def arguments(**changes):
        values = {"weights": file, "charset": "alnum36", "out": tmp_path / "new"} | changes
        return [f"--{name}={value}" for name, value in values.items()]

    return arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"charset": "digits"},
            "37 classes, but charset digits has 10 characters and the blank, 11 classes: give the",
        ),
        ({"charset": "alnum26"}, "unknown charset 'alnum26': did you mean "),
        ({"charset": "from_data"}, "charset 'from_data' needs labels"),
        ({"case": "lower"}, "unknown case 'lower'"),
        ({"layout": "ports"}, "crnn.safetensors: unknown layout 'ports': did you mean 'port'"),
        ({"layout": "dtrb_vgg"}, "missing FeatureExtraction.ConvNet.0.weight, "),
        ({"weights": "none.pth"}, "none.pth: cannot be read (No such file or directory)"),
        ({"weights": __file__}, "test_convert.py: no weights of PyTorch; give a .pth"),
        ({"width": "0"}, "'0' is not a positive whole number"),
        ({"width": "2"}, "width of 2 pixels is too small for encoder"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_leave_nothing(mistake, arguments, tmp_path, changes, message):
    assert message in mistake(convert.main, *arguments(**changes))
    assert list(tmp_path.iterdir()) == []


def test_keys_of_no_layout_are_named(mistake, arguments, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(as_safetensors({"fc.w": np.zeros((2, 2), "f4")}))
    line = mistake(convert.main, *arguments(weights=tmp_path / "w.safetensors"))
    assert "w.safetensors: keys of no known network: fc.w; the layouts port, dtrb_vgg," in line


def test_what_is_there_is_not_changed(mistake, arguments, tmp_path):
    for path in (tmp_path / "folder", tmp_path / "file"):
        path.mkdir() if path.name == "folder" else path.touch()
        assert f"--out={path}: exists already" in mistake(convert.main, *arguments(out=path))
    assert "cannot be made (File exists)" in mistake(
        convert.main, *arguments(out=tmp_path / "file" / "new")
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_a_model_appears_whole_or_not_at_all(mistake, arguments, tmp_path, monkeypatch):
    def full(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(Checkpointer, "save", full)
    assert "the disk is full" in mistake(convert.main, *arguments())
    assert list(tmp_path.iterdir()) == []
