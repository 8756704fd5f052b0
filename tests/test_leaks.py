"""What a model is judged by stays out of what it is trained on."""

from __future__ import annotations

import logging

import pytest
from small import small_config, write_words

from crnn_jax.data import leaks
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
