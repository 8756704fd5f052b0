"""What a run says of its data before it trains."""

from __future__ import annotations

import json
import logging

import pytest
from small import small_config, write_words

from crnn_jax import models, train
from crnn_jax.auditing import before_training
from crnn_jax.charset import build_charset
from crnn_jax.data.pipeline import train_batches
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import UserError
from crnn_jax.recognizer import preprocess_of
from crnn_jax.validation import validate


def test_labels_and_splits_are_looked_at_before_every_run(tmp_path, caplog):
    write_words(tmp_path, ["one", "two", " three", "fÃ¼r", "fi\u00advfe", "six"])
    group = "group=^[0-3]"
    config = small_config(
        **{
            "data.train": f"tsv:{tmp_path}::rows=1:6",
            "data.eval": f"tsv:{tmp_path}::rows=0:1,{group}",
            "charset": "from_data",
        }
    )
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    open_training_set(config, preprocess_of(config))
    for told in (
        "leading, trailing, double or unusual blanks: 1 (the first: labels.tsv row 3 (2.png)",
        "UTF-8 read in another encoding: 1 (the first: labels.tsv row 4 (3.png) 'fÃ¼r': was 'für')",
        "invisible or damaged characters: 1 (the first: labels.tsv row 5 (4.png)",
    ):
        assert told in caplog.text
    assert "groups" not in caplog.text
    assert "both sets" not in caplog.text


@pytest.mark.parametrize(
    ("train_on", "known", "told"),
    [
        ("tsv:{0}", False, True),
        ("0.5*synth:clean + 0.5*tsv:{0}", False, False),
        ("tsv:{0}", True, False),
    ],
)
def test_few_images_to_begin_with_are_told(tmp_path, caplog, train_on, known, told):
    write_words(tmp_path, ["one", "two", "three"])
    knobs = {"data.train": train_on.format(tmp_path), "data.eval": "", "batch_size": 4}
    config = small_config(**knobs)
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    open_training_set(
        config, preprocess_of(config), build_charset(config.charset) if known else None
    )
    assert ("3 images to learn to read from nothing" in caplog.text) == told


def test_policies_widen(tmp_path, caplog):
    """The charset takes in what it lacks, and images are stretched where their labels need it."""
    write_words(tmp_path, ["one", "zwölf", "a" * 12, "two!"])
    config = small_config(
        **{
            "data.train": f"tsv:{tmp_path}",
            "data.eval": "",
            "data.fit": "keep",
            "data.max_width": 256,
            "charset": "alnum36",
            "unknown": "widen",
            "infeasible": "widen",
            "batch_size": 4,
        }
    )
    caplog.set_level(logging.INFO, logger="crnn_jax")
    data = open_training_set(config, preprocess_of(config))
    assert data.charset.classes[36:] == ("!", "ö")
    assert "the charset takes in 2 character(s) of the labels: '!' 'ö'" in caplog.text
    assert "4 of 4 rows usable; 1 stretched for their labels" in caplog.text
    stretched = int(data.index.widths[2])
    assert models.num_frames("tiny", stretched) == 23
    (batch,) = train_batches(data.index, data.plan, data.preprocess, 0, 1, data.label_length)
    assert stretched in batch.widths.tolist(), "the image has been loaded in its new width"


def test_images_of_one_width_are_not_widened():
    with pytest.raises(UserError, match=r"config.infeasible is widen.* set config.data.fit to"):
        validate(small_config(infeasible="widen"))


def test_groups_on_both_sides_of_a_split_are_told(tmp_path, caplog):
    write_words(tmp_path, ["one", "two", "three", "four"])
    config = small_config(
        **{
            "data.train": f"tsv:{tmp_path}::rows=0:2,group=[.]png",
            "data.eval": f"tsv:{tmp_path}::rows=2:4,group=[.]png",
            "charset": "from_data",
        }
    )
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    open_training_set(config, preprocess_of(config))
    assert "groups with rows in both sets: 1" in caplog.text
    assert "group '.png': 2 rows on the one side, 2 on the other" in caplog.text


@pytest.mark.slow
def test_every_image_is_looked_at_where_that_is_asked_for(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(before_training, "_MOST_SEARCHED", 5)
    words = tmp_path / "words"
    words.mkdir()
    write_words(words, ["one", "two", "three", "four", "five", "six"])
    (words / "5.png").write_bytes((words / "4.png").read_bytes())
    config = small_config(
        **{
            "data.train": f"0.5*synth:plain + 0.5*tsv:{words}::rows=0:5",
            "data.eval": f"tsv:{words}::rows=5:6,name=last",
            "data.audit": "true",
            "total_steps": 2,
            "eval_every_steps": 2,
        }
    )
    caplog.set_level(logging.INFO, logger="crnn_jax")
    train.train_and_evaluate(config, tmp_path / "run")
    assert "whose pixels are in the other, too: 1" in caplog.text
    found = json.loads((tmp_path / "run" / "audit.json").read_text(encoding="utf-8"))
    assert "shared_image" in {finding["kind"] for finding in found["findings"]}
    assert "this run's network" in found["frames"]
    told = "near-duplicates among 6 rows, which takes long (python -m crnn_jax.audit searches them)"
    assert found["not_checked"][-1] == told
    assert f"audit: not checked: {told}" in caplog.text
    assert not found["nearest_pairs"]
    assert (tmp_path / "run" / "audit.html").stat().st_size > 1_000
    caplog.clear()
    train.train_and_evaluate(config, tmp_path / "run")
    assert "whose pixels" not in caplog.text, "a finished run has nothing to train on"
