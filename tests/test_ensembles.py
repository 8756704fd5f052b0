"""Several models as one network, or by votes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile

import jax
import numpy as np
import pytest
from small import write_words

from crnn_jax import evaluate, predict
from crnn_jax.charset import build_charset
from crnn_jax.ensembles import Voters, combine, vote
from crnn_jax.errors import DataError, UserError
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer
from crnn_jax.runtime import Alternative
from crnn_jax.scoring import systems


def images(count=5):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 64 + 8 * i), np.uint8) for i in range(count)]


@pytest.fixture
def other(recognizer):
    """The same network with other weights."""
    rng = np.random.default_rng(1)
    changed = jax.tree.map(
        lambda x: x + 0.3 * rng.normal(size=x.shape).astype(x.dtype), recognizer.variables
    )
    return dataclasses.replace(recognizer, variables=changed, name="other")


def test_posteriors_are_averaged_where_frames_are_the_same(recognizer, other):
    both = combine([recognizer, dataclasses.replace(other, temperature=2.0)])
    assert both.name == f"{recognizer.name} + other"
    batch = np.stack([recognizer.preprocess(image) for image in images()[:2]])
    widths = np.full(2, batch.shape[2], np.int32)
    found, _ = jax.jit(both.model.apply)(both.variables, batch, widths)
    single = jax.jit(recognizer.model.apply)
    one, two = (single(model.variables, batch, widths)[0] for model in (recognizer, other))
    expected = (jax.nn.softmax(one) + jax.nn.softmax(two / 2)) / 2
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-6)
    assert len(both.read(images())) == 5
    assert combine([other]) is other
    with pytest.raises(UserError, match="ensemble itself"):
        combine([both, other])


def test_models_of_other_characters_vote(recognizer, other):
    charset = build_charset(
        "chars:" + "".join(reversed(recognizer.charset.classes)), recognizer.charset.case
    )
    stranger = dataclasses.replace(other, charset=charset)
    voters = combine([recognizer, stranger])
    assert isinstance(voters, Voters)
    singles = [recognizer.read(images()), stranger.read(images())]
    for position, reading in enumerate(voters.read(images())):
        expected = vote([single[position] for single in singles])
        assert reading.text == expected.text
        assert reading.confidence == pytest.approx(expected.confidence, rel=1e-4)
        assert all(c.x1 <= images()[position].shape[1] for c in reading.characters)
    assert [r.text for r in voters.in_windows().read(images())]
    bad = [images()[0], b"no image"]
    errors = dict(voters.stream(bad, voters.preprocess))
    assert isinstance(errors[1], DataError)
    assert isinstance(errors[0], Reading)


def test_votes_weigh_by_confidence():
    a = Reading("cat", 0.5, alternatives=(Alternative("cut", 0.4),))
    b = Reading("cut", 0.3, alternatives=(Alternative("cat", 0.1),))
    c = Reading("dog", 0.55)
    found = vote([a, b, c])
    assert found.text == "cut"
    assert found.confidence == pytest.approx(0.7 / 3)
    assert [other.text for other in found.alternatives] == ["cat", "dog"]
    assert vote([Reading("x", 0.4), Reading("y", 0.4)]).text == "x"
    assert isinstance(vote([a, DataError("gone")]), DataError)


def test_evaluate_and_predict_read_with_several(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one", "two", "three"])
    shutil.copytree(smoke_run, tmp_path / "again")
    models = f"--model={smoke_run}", f"--model={tmp_path / 'again'}"
    out = tmp_path / "out.json"
    code, _, _ = run_command(
        evaluate.main, *models, "--ensemble", f"--data=tsv:{tmp_path / 'labels.tsv'}",
        "--resamples=20", f"--out={out}",
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert code == 0
    names = list(dict.fromkeys(one["model"] for one in found["sets"]))
    assert names == ["smoke", "again", "ensemble"]
    assert "mean of 2 models" in json.dumps(found["over_models"])
    code, alone, _ = run_command(predict.main, models[0], "--format=json", tmp_path / "0.png")
    code, both, _ = run_command(predict.main, *models, "--format=json", tmp_path / "0.png")
    assert code == 0
    alone, both = json.loads(alone[0]), json.loads(both[0])
    assert alone["text"] == both["text"]  # twins: their mean is what both say
    assert alone["confidence"] == pytest.approx(both["confidence"], abs=1e-6)
    code, _, err = run_command(
        evaluate.main, models[0], "--ensemble", f"--data=tsv:{tmp_path / 'labels.tsv'}"
    )
    assert (code, "twice or more" in err[0]) == (2, True)


def of_other_characters(run, folder):
    """Copies a run into a folder, with its characters the other way round; returns the folder."""
    shutil.copytree(run, folder)
    charset = json.loads((folder / "charset.json").read_text())
    charset["classes"] = charset["classes"][::-1]
    (folder / "charset.json").write_text(json.dumps(charset))
    return folder


@pytest.mark.slow
def test_models_of_other_characters_vote_in_commands(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one", "two", "three"])
    other = of_other_characters(smoke_run, tmp_path / "other")
    models = f"--model={smoke_run}", f"--model={other}"
    for decoder in ("--decoder=greedy", "--decoder=beam", "--block=x", "--pattern=[a-z]+"):
        code, lines, err = run_command(
            predict.main, *models, decoder, "--format=json", *sorted(tmp_path.glob("*.png"))
        )
        assert (code, len(lines), err) == (0, 3, [])
    out = tmp_path / "out.json"
    code, _, _ = run_command(
        evaluate.main, *models, "--ensemble", f"--data=tsv:{tmp_path / 'labels.tsv'}",
        "--decoder=beam", "--resamples=20", f"--out={out}",
    )  # fmt: skip
    assert code == 0
    assert [one["model"] for one in json.loads(out.read_text())["sets"]] == [
        "smoke", "other", "ensemble"
    ]  # fmt: skip


@pytest.mark.slow
def test_an_image_that_voters_cannot_read_is_named(run_command, smoke_run, tmp_path):
    other = of_other_characters(smoke_run, tmp_path / "other")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with tarfile.open(tmp_path / "scans.tar", "w") as tar:
        tar.add(tmp_path / "bad.png", "bad.png")
    models = f"--model={smoke_run}", f"--model={other}"
    _, _, err = run_command(predict.main, *models, str(tmp_path / "scans.tar"))
    assert sum("bad.png" in line for line in err) == 1
    assert "bad.png" in err[0]


def test_evaluate_reads_with_several_lexicons(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one\tone|two", "two\tone|two", "six\tsix|two"])
    (tmp_path / "words.txt").write_text("one\ntwo\n", encoding="utf-8")
    out = tmp_path / "out.json"
    code, _, _ = run_command(
        evaluate.main, f"--model={smoke_run}", f"--data=tsv:{tmp_path / 'labels.tsv'}",
        "--lexicon=none", "--lexicon=own", f"--lexicon={tmp_path / 'words.txt'}",
        "--resamples=20", f"--out={out}",
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert code == 0
    assert [one["model"] for one in found["sets"]] == [
        "smoke", "smoke, each image's own words", "smoke, words.txt words"
    ]  # fmt: skip
    assert found["over_models"] == []
    assert found["decoder"] == "greedy or lexicon"
    assert len(found["tests"]) == 2


def test_a_model_may_be_called_as_all_of_them_together(recognizer, monkeypatch):
    models = {name: dataclasses.replace(recognizer, name=name) for name in ("a", "ensemble")}
    monkeypatch.setattr(Recognizer, "load", models.__getitem__)
    found = systems.load_models(["a", "ensemble"], squeeze=True, together=True)
    assert list(found) == ["a", "ensemble", "ensemble of all"]
    assert found["ensemble"] is models["ensemble"]
