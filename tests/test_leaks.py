"""What a model is judged by stays out of what it is trained on."""

from __future__ import annotations

import logging

import pytest
from small import small_config, write_words

from crnn_jax.auditing import before_training
from crnn_jax.data import chain, leaks
from crnn_jax.data.sources import open_source
from crnn_jax.data.spec import parse_spec
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import UserError
from crnn_jax.recognizer import preprocess_of


@pytest.mark.parametrize(("name", "rows"), [("svt_test", 7), ("CUTE80", 288), ("ic13_857", 857)])
def test_public_test_sets_are_refused(name, rows):
    with pytest.raises(UserError, match=f"data.train has {name}, by its name and its {rows}"):
        leaks.refuse_test_set(name, rows)


@pytest.mark.parametrize(("name", "rows"), [("iiit5k_train", 2000), ("IC15", 4468), ("a_test", 9)])
def test_other_sets_are_not(name, rows):
    leaks.refuse_test_set(name, rows)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("tfds:iiit5k_words/test[:50%]", "iiit5k_words test"),
        ("tfds:data/iiit5k/1.0.0/train+test", "iiit5k_words train test"),
        ("tfds:iiit5k_words/test::name=mine", "iiit5k_words"),
        ("tsv:iiit5k_words/test", "iiit5k_words"),
    ],
)
def test_the_split_of_a_tfds_set_belongs_to_its_name(spec, name):
    assert leaks.told_name(parse_spec(spec), "iiit5k_words") == name
    assert bool(leaks.public_test_set(name, 1500)) is (name == "iiit5k_words test")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("tsv:D", "tsv:D/*.tsv", True),
        ("tsv:D", "tsv:D/labels.tsv", True),
        ("tsv:D", "tsv:D/../other", False),
        ("tsv:D", "paddle:D/labels.tsv", False),
        ("names:D/**", "names:D", True),
        ("names:D", "names:D/../other", False),
    ],
)
def test_rows_are_known_again_however_their_set_is_written(tmp_path, first, second, same):
    for folder in "D", "other":
        (tmp_path / folder).mkdir()
        write_words(tmp_path / folder, ["one", "two"])
    specs = [parse_spec(text.replace("D", f"{tmp_path}/D")) for text in (first, second)]
    sets = [(spec, open_source(spec)) for spec in specs]
    for train, held_out in (sets, sets[::-1]):
        found = before_training.look([train], [held_out])
        assert [f.count for f in found.findings if f.kind == "shared_row"] == [2] * same


def test_the_place_of_tfds_rows(tmp_path):
    (tmp_path / "mj" / "1.0.0").mkdir(parents=True)
    (tmp_path / "mj" / "1.0.0" / "dataset_info.json").touch()
    for specs, apart in (
        (("tfds:mj/train", "tfds:mj/train[90%:]", "tfds:mj/train[:9]+train[10:]"), "tfds:mj/test"),
        ((f"tfds:{tmp_path}/mj/train", f"tfds:{tmp_path}/mj/1.0.0/train"), "tfds:mj/train"),
    ):
        places = {chain.root(parse_spec(spec)) for spec in specs}
        assert len(places) == 1
        assert chain.root(parse_spec(apart)) not in places


def test_a_part_that_is_held_out_may_have_no_group(tmp_path, caplog):
    write_words(tmp_path, [f"word{i}" for i in range(10)])
    opened(f"tsv:{tmp_path}::rows=0:8,group=^[0-7]", f"tsv:{tmp_path}::rows=8:10")
    assert "both sets" not in caplog.text


def opened(train: str, held_out: str, **more):
    config = small_config(
        **{"data.train": train, "data.eval": held_out, "charset": "from_data", **more}
    )
    return open_training_set(config, preprocess_of(config))


def test_a_run_on_a_test_set_has_to_be_asked_for(tmp_path):
    write_words(tmp_path, [f"word{i}" for i in range(10)])
    train = f"tsv:{tmp_path}::name=svt_test"
    with pytest.raises(UserError, match=r"set config\.data\.train_on_test to true"):
        opened(train, "")
    assert len(opened(train, "", **{"data.train_on_test": "true"}).index) == 10


def test_rows_that_are_trained_and_judged_on_are_told(tmp_path, caplog):
    write_words(tmp_path, [f"word{i}" for i in range(10)])
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    opened(f"tsv:{tmp_path}::rows=0:6", f"tsv:{tmp_path}/../{tmp_path.name}::rows=6:10")
    assert "both sets" not in caplog.text
    opened(f"tsv:{tmp_path}::rows=0:6", f"tsv:{tmp_path}/../{tmp_path.name}::rows=4:10,name=last")
    assert "last: rows that are in both sets: 2 (the first: " in caplog.text
    assert "make the rows=, split= or limit= of the two SPECs disjoint" in caplog.text
