"""Models that come with the package: found by name, after paths, and whole."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from small import small_config, write_words

from crnn_jax import audit, bundle, cli, evaluate, files, predict, shipped, train
from crnn_jax.bundle import bundle_of_run, save_bundle
from crnn_jax.errors import UserError
from crnn_jax.model_card import Score
from crnn_jax.recognizer import Recognizer

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 64), np.uint8)


@pytest.fixture
def folder(
    smoke_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """A package that ships the smoke model as `tiny`, seen from an empty current folder."""
    models, here = tmp_path / "shipped", tmp_path / "here"
    models.mkdir()
    here.mkdir()
    save_bundle(models / "tiny.crnn", bundle_of_run(smoke_run, "CC0-1.0", "tiny"), bf16=True)
    monkeypatch.setattr(shipped, "FOLDER", models)
    monkeypatch.chdir(here)
    return models


def test_a_name_opens_the_shipped_file(folder: pathlib.Path) -> None:
    path = folder / "tiny.crnn"
    assert shipped.shipped() == {"tiny": path}
    assert shipped.find("tiny") == shipped.find(pathlib.Path("tiny")) == path
    assert Recognizer.load("tiny").read([IMAGE]) == Recognizer.load(path).read([IMAGE])
    assert bundle.open_model("tiny").name == "tiny"
    assert bundle.config_of("tiny").to_dict() == bundle.config_of(path).to_dict()
    assert bundle.show("tiny") == bundle.show(path)


def test_a_path_that_exists_comes_first(folder: pathlib.Path, smoke_run: pathlib.Path) -> None:
    shutil.copytree(smoke_run, "tiny")
    assert shipped.find("tiny") == pathlib.Path("tiny")
    assert Recognizer.load("tiny").read([IMAGE]) == Recognizer.load(smoke_run).read([IMAGE])
    assert bundle.open_model("tiny").licence == "unknown"  # the run's, not the shipped CC0-1.0
    shutil.rmtree("tiny")
    pathlib.Path("runs/tiny").mkdir(parents=True)  # another path: it hides nothing
    assert shipped.find("tiny") == folder / "tiny.crnn"


def test_a_folder_that_hides_a_shipped_model_is_told(folder: pathlib.Path) -> None:
    pathlib.Path("tiny").mkdir()
    for open_ in (Recognizer.load, bundle.open_model, bundle.config_of):
        with pytest.raises(UserError, match=r"tiny: not a model; give the workdir") as caught:
            open_("tiny")
        assert f"the shipped model of that name is {folder / 'tiny.crnn'}" in str(caught.value)


@pytest.mark.parametrize("given", ["tinny", "TINY", "nothing alike", ""])
def test_other_names_are_told_with_what_there_is(folder: pathlib.Path, given: str) -> None:
    for open_ in (Recognizer.load, bundle.open_model, bundle.config_of):
        with pytest.raises(UserError, match=r"unknown model .*valid: tiny; or give the workdir"):
            open_(given)
    with pytest.raises(UserError, match="unknown model 'tinny': did you mean 'tiny'"):
        shipped.find("tinny")


@pytest.mark.parametrize("given", ["runs/tiny", "./tiny", "tiny/", "../shipped/tiny", "tiny.crnn"])
def test_a_path_is_no_name(folder: pathlib.Path, given: str) -> None:
    with pytest.raises(UserError, match=r"not a model; give the workdir .* shipped model: tiny"):
        Recognizer.load(given)


def test_without_shipped_models_nothing_is_offered(folder: pathlib.Path) -> None:
    (folder / "tiny.crnn").unlink()
    with pytest.raises(UserError, match=r"tiny: not a model; .*: there is none"):
        shipped.find("tiny")


def test_a_damaged_file_is_never_read(folder: pathlib.Path) -> None:
    path = folder / "tiny.crnn"
    content = path.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        b"version https://git-lfs.github.com/spec/v1\n",
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="model tiny cannot be used: install crnn_jax again"):
            Recognizer.load("tiny")
    assert "tiny cannot be used" in predict.list_models()


def test_the_list_says_what_is_shipped(folder: pathlib.Path, run_command: Callable) -> None:
    code, out, _ = run_command(predict.main, "--list")
    assert code == 0
    assert out[0].split("  ")[0] == "shipped model"
    assert re.fullmatch(
        r"tiny +62, case keep +0\.\d\d M +rendered_words \S+ % +- +\d\.\d +CC0-1\.0", out[1]
    )
    assert out[0].index("licence") == out[1].index("CC0-1.0")
    assert "make train" in out[2]


def test_the_list_says_what_was_measured(folder: pathlib.Path, run_command: Callable) -> None:
    score = Score("svt_test", 647, 0.5, 0.46, 0.54, 0.2, "36", "greedy")
    metrics = {"tests": [score.to_json()], "speed": {"ms": 3.14, "device": "one core"}}
    model = dataclasses.replace(bundle.open_model("tiny"), metrics=metrics)
    save_bundle(folder / "tiny.crnn", model)
    _, out, _ = run_command(predict.main, "--list")
    assert re.search(r" M +svt_test 50\.0 % \(protocol 36\) +3\.1 +\d", out[1])
    save_bundle(folder / "tiny.crnn", dataclasses.replace(model, metrics={"tests": [{"set": 1}]}))
    _, out, _ = run_command(predict.main, "--list")
    assert "not a score" in out[1]


def test_without_a_name_the_default_reads(
    folder: pathlib.Path, run_command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT", "tiny")
    write_words(pathlib.Path(), ["one"])
    default, named = (run_command(predict.main, *m, "0.png") for m in ([], ["--model=tiny"]))
    assert default == named
    assert default.code == 0


def test_the_list_knows_runs_of_replicas(folder: pathlib.Path, run_command: Callable) -> None:
    run = pathlib.Path("runs/seeds")
    run.mkdir(parents=True)
    spread = {"words": {"mean": 0.5, "std": 0.125}, "empty": {"mean": None, "std": None}}
    sets = {name: {"word_accuracy": value} for name, value in spread.items()}
    files.write_json(run / "summary.json", {"parameters": 1_200_000, "replicas": 2, "eval": sets})
    code, out, _ = run_command(predict.main, "--list")
    assert code == 0
    assert out[-1].split() == ["runs/seeds", "1.20", "M", "words", "50.0", "+-", "12.5", "%"]


def test_commands_take_names(folder: pathlib.Path, run_command: Callable) -> None:
    write_words(pathlib.Path(), ["one", "two"])
    for main, *rest in (
        (predict.main, "0.png"),
        (evaluate.main, "--data=tsv:labels.tsv"),
        (audit.main, "--data=tsv:labels.tsv"),
    ):
        done = run_command(main, "--model=tiny", *rest)
        assert (done.code, done.err) == (0, []), done.err


def test_a_mistyped_name_is_one_line(folder: pathlib.Path, mistake: Callable) -> None:
    write_words(pathlib.Path(), ["one"])
    for main, rest in ((predict.main, "0.png"), (evaluate.main, "--data=tsv:labels.tsv")):
        assert "did you mean 'tiny'?" in mistake(main, "--model=tinny", rest)
    assert "did you mean 'tiny'?" in mistake(bundle.main, "--show=tinny")


@pytest.mark.slow
def test_a_run_goes_on_from_a_name(folder: pathlib.Path, smoke_run: pathlib.Path) -> None:
    write_words(pathlib.Path(), [f"a{i}" for i in range(12)])
    by_name = cli.load_experiment("finetune:model=tiny,data=tsv:labels.tsv")
    assert by_name.init_from == "tiny"
    assert by_name.model.hidden == bundle.config_of(smoke_run).model.hidden
    config = small_config(
        **{
            "init_from": "tiny",
            "data.train": "tsv:labels.tsv",
            "data.eval": "",
            "licence": "MIT",
            "total_steps": 1,
        }
    )
    train.train_and_evaluate(config, pathlib.Path("run"))
    found = bundle.open_model("run/model.crnn")
    assert [(a.name, a.licence) for a in found.lineage] == [("tiny", "CC0-1.0"), ("run", "MIT")]


# What the package ships.


def test_the_quickstart_model_reads_the_pictures_of_the_documentation() -> None:
    assert shipped.FOLDER.parent == pathlib.Path(shipped.__file__).parent  # so a wheel holds it
    folder = pathlib.Path(__file__).parent.parent / "docs" / "images" / "words"
    images = sorted(folder.glob("*.jpg"))
    assert len(images) > 4
    found = Recognizer.load("quickstart").read(images)
    assert [reading.text for reading in found] == [path.stem.lower() for path in images]


def test_the_default_is_shipped() -> None:
    assert shipped.DEFAULT in shipped.shipped()


def test_shipped_models_say_what_they_are() -> None:
    for name, path in shipped.shipped().items():
        model = bundle.open_model(path)
        assert model.name == name
        assert model.licence != bundle.UNKNOWN
        strictest = model.licence == "research only"  # an ancestor may allow more
        assert strictest == (name == "small-94-real")
        assert len(model.other_licences()) == strictest
        assert f"# {name}" in model.card
        assert model.metrics["eval" if name == "quickstart" else "tests"]  # no run scores a mean
        assert path.stat().st_size < 10e6
