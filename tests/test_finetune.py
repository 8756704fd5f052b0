"""A run that goes on from a trained model, with characters of its own."""

from __future__ import annotations

import json
import re
import shutil

import jax
import numpy as np
import pytest
from small import small_config, write_words

from crnn_jax import bundle_file, cli, finetune, step, train
from crnn_jax.charset import Charset
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer, preprocess_of

NEW = "%€"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A few images whose labels have characters that the model does not know."""
    folder = tmp_path_factory.mktemp("words")
    write_words(folder, [f"{i}{NEW[i % 2]}Ab" for i in range(12)])
    return f"tsv:{folder}/labels.tsv"


def config_of(words, model, **changes):
    return small_config(
        **{
            "init_from": model,
            "charset": "from_data",
            "data.train": f"{words}::split=0:70",
            "data.eval": f"{words}::split=70:100,name=mine",
            "licence": "CC0-1.0",
            "total_steps": 4,
            "eval_every_steps": 2,
            "checkpoint_every_steps": 2,
            **changes,
        }
    )


def test_smoke_keeps_the_network_of_the_model():
    config = cli.load_experiment("finetune:model=tiny-latin,smoke")
    assert config.total_steps == 4
    assert finetune.Origin(config).charset  # its network is that of the run


@pytest.fixture(scope="module")
def tuned(words, smoke_run, tmp_path_factory):
    """Workdir of a finished run that began with the smoke run's model."""
    workdir = tmp_path_factory.mktemp("tuned")
    train.train_and_evaluate(config_of(words, smoke_run), workdir)
    return workdir


@pytest.mark.slow
def test_old_characters_keep_their_rows(tuned, smoke_run):
    old, new = Recognizer.load(smoke_run), Recognizer.load(tuned)
    assert new.charset.classes[: len(old.charset.classes)] == old.charset.classes
    assert set(NEW) <= set(new.charset.classes)
    before = old.variables["params"]["classifier"]["kernel"]
    after = new.variables["params"]["classifier"]["kernel"][:, : before.shape[1]]
    assert np.abs(before - after).max() < 0.05  # a few small steps away, and not drawn anew


@pytest.mark.slow
def test_a_run_says_what_became_of_every_character_and_bundles_the_model(tuned, smoke_run):
    table = (tuned / "characters_mine.tsv").read_text("utf-8").splitlines()
    assert table[0].split("\t") == ["character", "count", "before", "after", "change"]
    assert table[-1].startswith("all characters\t")
    assert any(line.startswith("new characters\t") for line in table)
    # The old characters with their own case: that of the run may not go with them.
    before = json.loads((tuned / "before.json").read_text("utf-8"))
    assert Charset.from_json(before["charset"]) == Charset.load(smoke_run / "charset.json")
    found = bundle_file.load_bundle(tuned / "model.crnn")
    assert [ancestor.name for ancestor in found.lineage] == [smoke_run.name, tuned.name]
    assert found.licence == "CC0-1.0"
    assert found.other_licences()
    image = np.zeros((32, 64), np.uint8)
    read = [Recognizer.load(model).read([image]) for model in (tuned, tuned / "model.crnn")]
    assert read[0] == read[1]


@pytest.mark.slow
def test_a_run_that_reads_worse_than_before_says_so(words, smoke_run, tuned, tmp_path, caplog):
    folder = shutil.copytree(tuned, tmp_path / "run")
    before = json.loads((folder / "before.json").read_text("utf-8"))
    before["sets"]["mine"]["metrics"]["word_accuracy"] = 1.0
    before["charset"] = before["charset"]["classes"]  # as an earlier version kept it
    (folder / "before.json").write_text(json.dumps(before), "utf-8")
    config = config_of(words, smoke_run)
    data = open_training_set(config, preprocess_of(config), Recognizer.load(smoke_run).charset)
    caplog.set_level("WARNING", logger="crnn_jax")
    finetune.finish(config, data, folder)
    assert f"mine is read worse than before: keep {smoke_run}, or train with more" in caplog.text


@pytest.mark.slow
def test_a_run_goes_on_without_the_model_it_came_from(words, smoke_run, tuned, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(smoke_run, model)
    workdir = tmp_path / "run"
    train.train_and_evaluate(config_of(words, model, total_steps=2), workdir)
    shutil.rmtree(model)
    state, summary = train.train_and_evaluate(config_of(words, model, total_steps=4), workdir)
    assert summary["step"] == int(state.step) == 4
    lineage = json.loads((workdir / "run.json").read_text())["lineage"]
    assert [ancestor["name"] for ancestor in lineage] == ["model"]


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_the_model(
    words, smoke_run, tuned, tmp_path
):
    shutil.copytree(tuned, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints")
    train.train_and_evaluate(config_of(words, smoke_run), tmp_path)
    a, b = (Recognizer.load(folder).variables["params"] for folder in (tuned, tmp_path))
    np.testing.assert_array_equal(a["classifier"]["kernel"], b["classifier"]["kernel"])


@pytest.mark.slow
def test_replicas_begin_with_the_same_weights(smoke_run, tmp_path):
    changes = {"data.train": "synth:plain", "data.eval": "", "replicas": 2, "charset": "alnum62"}
    config = config_of("", smoke_run, **changes, total_steps=2)
    state, _ = train.train_and_evaluate(config, tmp_path)
    kernel = state.params["encoder"]["conv_1"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() < 0.05
    assert not np.array_equal(kernel[0], kernel[1])
    assert (tmp_path / "replica_1" / "model.crnn").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.hidden": 8}, "set config.model.hidden=16"),
        ({"init_from": "nowhere"}, "unknown model .*; or give the workdir of a run"),
        ({"init_charset": "join"}, "value of config.init_charset"),
    ],
)
def test_what_cannot_be_gone_on_from_is_said(words, smoke_run, changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train.train_and_evaluate(config_of(words, smoke_run, **changes), tmp_path)


def test_a_run_of_another_network_may_begin_with_the_layers_that_are_alike(
    words, smoke_run, tmp_path, caplog
):
    caplog.set_level("INFO", logger="crnn_jax")
    config = config_of(words, smoke_run, init_weights="alike", **{"model.hidden": 8})
    trained = Recognizer.load(smoke_run)
    charset = Charset(tuple("0123456789Ab%€"), "keep")
    model, tx, _ = train.build(config, charset.num_classes, warmup=0, total=1)
    fresh = jax.jit(lambda: step.create_train_state(config, model, tx))()
    first = finetune.Origin(config).adapt(fresh, charset).params
    jax.tree.map(
        np.testing.assert_array_equal, first["encoder"], trained.variables["params"]["encoder"]
    )
    np.testing.assert_array_equal(
        first["classifier"]["kernel"], fresh.params["classifier"]["kernel"]
    )
    assert "layers: 7 kept, new: recurrent_1, classifier" in caplog.text
    assert "characters:" not in caplog.text  # the classifier is new
    train.train_and_evaluate(config, tmp_path)
    assert Recognizer.load(tmp_path).variables["params"]["classifier"]["kernel"].shape[0] == 16


def test_the_experiment_takes_network_and_size_from_the_model(words, smoke_run, caplog):
    caplog.set_level("INFO", logger="crnn_jax")
    config = cli.load_experiment(f"finetune:model={smoke_run},data={words}")
    assert config.init_from == str(smoke_run)
    assert config.model.hidden == 16
    assert config.data.width == 64
    assert config.data.train.endswith("+ 0.5*synth:scene")
    assert config.total_examples == 3000
    (said,) = (record.message for record in caplog.records)
    assert re.match(r"recipe for \d+ rows, where nothing else is given: batch_size=32, ", said)
    assert said.endswith("replay=0.5")
