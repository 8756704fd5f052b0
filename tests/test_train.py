"""What a run leaves behind."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from small import small_config

from crnn_jax import config as config_lib
from crnn_jax import models, optim, replicas, train
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer


def test_a_run_leaves_what_it_promises(tmp_path):
    config = small_config(total_steps=4, eval_every_steps=2, log_every_steps=2)
    state, summary = train.train_and_evaluate(config, tmp_path)
    assert int(state.step) == 4
    assert set(summary) == {"step", "seconds", "images_per_second", "parameters", "eval"}
    assert summary["parameters"] == sum(p.size for p in jax.tree.leaves(state.params))
    (scores,) = summary["eval"].values()
    assert set(scores) == {"count", "word_accuracy", "cer", "one_minus_ned"}
    assert scores["count"] == 16
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 2, 4, 4]
    assert {"loss", "grad_norm", "learning_rate", "images_per_second"} <= set(lines[0])
    run = json.loads((tmp_path / "run.json").read_text())
    assert {"commit", "command", "versions", "device", "data"} <= set(run)
    assert config_lib.flatten(config_lib.load(tmp_path / "config.json")) == (
        config_lib.flatten(config)
    )
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "rendered_words_00000002.png",
        "rendered_words_00000004.png",
    ]
    assert list((tmp_path / "tensorboard").iterdir())
    # The workdir is a model, which reads.
    recognizer = Recognizer.load(tmp_path)
    assert recognizer.charset.num_classes == 63
    assert len(recognizer.read([np.zeros((40, 90), np.uint8)])) == 1


def test_a_line_is_fetched_when_the_next_step_is_under_way(tmp_path, monkeypatch):
    """The device never waits for the host, which is few steps ahead."""
    real, real_log, real_wait = train.compile_train_step, replicas.Group.log, jax.block_until_ready
    events, sums, waited = [], [], []

    def compile_train_step(*args):
        step_fn = real(*args)

        def step(*arguments):
            assert all(any(found is one for one in waited) for found in sums[:-2])
            events.append("step")
            state, found = step_fn(*arguments)
            sums.append(found)
            return state, found

        return step

    def log(self, step, *rest):
        events.append(step)
        return real_log(self, step, *rest)

    monkeypatch.setattr(train, "compile_train_step", compile_train_step)

    def wait(tree):
        waited.append(tree)
        return real_wait(tree)

    monkeypatch.setattr(jax, "block_until_ready", wait)
    monkeypatch.setattr(replicas.Group, "log", log)
    last = 12
    often = dict.fromkeys(("total_steps", "eval_every_steps", "checkpoint_every_steps"), last)
    config = small_config(**often, log_every_steps=1, schedule="cosine")
    train.train_and_evaluate(config, tmp_path)
    behind = [event for step in range(1, last) for event in ("step", step)]
    assert events == ["step", *behind, last]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rate = optim.create_learning_rate_fn(config, round(last * 0.05), last)
    for line in lines[:last]:
        assert line["learning_rate"] == pytest.approx(float(rate(line["step"] - 1)))


def test_a_run_that_goes_on_has_not_ended(tmp_path, monkeypatch):
    """What is told of its end was true of a shorter run."""
    ended = small_config(total_steps=2, eval_every_steps=2, checkpoint_every_steps=2)
    train.train_and_evaluate(ended, tmp_path)
    assert (tmp_path / "summary.json").is_file()
    train.train_and_evaluate(ended, tmp_path)
    assert (tmp_path / "summary.json").is_file()

    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(train, "loaded_batches", interrupted)
    longer = small_config(total_steps=4, eval_every_steps=2, checkpoint_every_steps=2)
    with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(longer, tmp_path)
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("batch_by", ["rows", "columns"])
def test_host_data_of_every_fit_trains(batch_by, tmp_path):
    """Real widths in buckets, the paper's network: the same loop."""
    config = small_config(
        **{
            "data.fit": "keep",
            "data.max_width": 96,
            "data.buckets": 2,
            "data.batch_by": batch_by,
            "batch_size": 8,
            "model.encoder": "vgg",
            "loss": "mean_per_character",
            "data.train": "tfds:rendered_words/tiny/train::limit=32",
            "total_steps": 3,
            "eval_every_steps": 3,
        }
    )
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["step"] == 3
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert all(line["unreadable"] == 0 for line in lines if "unreadable" in line)


def test_batches_by_columns_are_for_widths_of_their_own(tmp_path):
    for train_on in ("tfds:rendered_words/tiny/train", "0.5*synth:plain + 0.5*synth:clean"):
        config = small_config(**{"data.batch_by": "columns", "data.train": train_on})
        with pytest.raises(UserError, match=r"batch_by is columns.* set config.data.fit to keep"):
            train.train_and_evaluate(config, tmp_path)


@pytest.mark.slow
def test_trained_logits_depend_on_neither_neighbours_nor_padding(tmp_path):
    """As `test_models` checks at random weights, here after training, on word images."""
    config = small_config(
        **{
            "data.fit": "keep",
            "data.max_width": 256,
            "data.buckets": 3,
            "batch_size": 16,
            "model.hidden": 48,
            "total_steps": 20,
            "eval_every_steps": 20,
        }
    )
    train.train_and_evaluate(config, tmp_path)
    recognizer = Recognizer.load(tmp_path)
    source = open_source("tfds:rendered_words/tiny/test")
    images = [recognizer.preprocess(source.image_bytes(i)) for i in range(16)]
    widths = np.array([image.shape[1] for image in images], np.int32)
    assert len(set(widths)) > 8
    pixels = np.full((16, 32, 320, 1), 77, np.uint8)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1]] = image
    apply = jax.jit(lambda x, w: recognizer.model.apply(recognizer.variables, x, w)[0])
    together, wider = apply(pixels[:, :, :256], widths), apply(pixels, widths)
    for row in (0, int(widths.argmin()), int(widths.argmax())):
        n = models.num_frames("tiny", int(widths[row]))
        alone = np.asarray(apply(pixels[row : row + 1, :, : widths[row]], widths[row : row + 1]))
        tolerance = 1e-5 * max(1.0, np.abs(alone).max())
        for logits in (together, wider):
            np.testing.assert_allclose(logits[row, :n], alone[0], rtol=0, atol=tolerance)


def test_the_largest_seed_is_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):  # what is found after the first state's shape
        train.train_and_evaluate(small_config(seed=2**32 - 1), tmp_path / "file")
