"""The weights of a language model: what the search finds with them, and which are chosen."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import write_words

from crnn_jax.charset import build_charset
from crnn_jax.decode import arpa, lm, tune
from crnn_jax.decode.beam import BeamOptions, nbest
from crnn_jax.decode.greedy import best_path
from crnn_jax.decode.kneser_ney import train
from crnn_jax.decode.language import Weighted
from crnn_jax.decode.weight_search import (
    NONE,
    Search,
    Tuning,
    Weights,
    _around,
    _best,
    compute_logits,
    gather,
    score_readings,
    trial,
)
from crnn_jax.decode.weight_search import tune as try_all
from crnn_jax.errors import DataError, UserError
from crnn_jax.scoring.significance import RowScores, paired_test

ABC = build_charset("abcd", "keep")
WORDS = ("abba", "cabb", "dadda", "badb", "cadcad", "abacab", "dabba", "cabbad")
SIZE, WIDTH = 120, 8  # one shape and one width: a single program for most tests


def blurred(words, seed, noise=2.5):
    """Logits (T, K) of words, a blank after each character, of which others come close."""
    rng = np.random.default_rng(seed)
    rows = []
    for row, word in enumerate(words):
        path = [k for i in ABC.encode(word) for k in (i, 0)]
        logits = rng.normal(scale=noise, size=(len(path) + int(rng.integers(3)), 5))
        logits[len(path) :, 0] += 5
        logits[np.arange(len(path)), path] += 3
        rows.append((row, logits.astype(np.float32)))
    return rows


@pytest.fixture(scope="module")
def tables():
    return train([(word, 1) for word in WORDS], ABC, 4).model.tables(ABC)


@pytest.fixture(scope="module")
def words():
    rng = np.random.default_rng(0)
    return [WORDS[i] for i in rng.integers(len(WORDS), size=SIZE)]


def test_gathered_rows_are_all_there():
    rng = np.random.default_rng(1)
    lengths = rng.permutation(50)
    rows = [(row, rng.normal(size=(n, 3)).astype(np.float32)) for row, n in enumerate(lengths)]
    pieces = gather(left := [*rows], 8)
    assert not left  # taken out as they go: nothing is held twice
    assert sorted(row for piece in pieces for row in piece.rows) == list(range(50))
    for logits, frames, own in pieces:
        assert logits.shape[0] == 8
        for i, row in enumerate(own):
            np.testing.assert_array_equal(logits[i, : frames[i]], rows[row][1])
        assert not frames[len(own) :].any()
    assert len({piece.logits.shape for piece in pieces}) < len(pieces)
    assert gather([], 8) == []


@pytest.mark.slow
def test_readings_are_those_of_the_search_alone(tables, words):
    rows = blurred(words, 2)
    pieces = gather([*rows], SIZE)
    assert [piece.logits.shape[:2] for piece in pieces] == [(SIZE, 16)]
    search = Search(pieces, len(words) + 1, ABC, tables, WIDTH)
    one = jax.jit(functools.partial(nbest, options=BeamOptions(WIDTH)))
    for weights in (Weights(0.6, 0.9), NONE):
        found = search.read(weights)
        assert found[-1] == ""  # nothing is known of it
        model = Weighted(tables, *map(jnp.float32, weights))
        logits = np.stack([np.pad(x, ((0, 16 - len(x)), (0, 0))) for _, x in rows])
        expected = one(logits, np.array([len(x) for _, x in rows], np.int32), model=model)
        strings = zip(expected.ids[:, 0], expected.lengths[:, 0], strict=True)
        assert found[:-1] == [ABC.decode(np.asarray(ids)[:n]) for ids, n in strings]


def test_weights_that_read_best_are_found_and_nothing_is_compiled_for_them(tables, words):
    search = Search(gather(blurred(words, 3), SIZE), len(words), ABC, tables, WIDTH)
    search.read(Weights(0.3, 0.1))
    compiled = _best()._cache_size()
    tuning = try_all(search, words, "exact", (0.0, 0.5, 1.0), (-1.0, 0.0, 1.0))
    assert _best()._cache_size() == compiled
    assert len(tuning.coarse) == 9
    assert set(tuning.coarse) == set(itertools.product((0, 0.5, 1), (-1, 0, 1)))
    for weights, scores in {**tuning.coarse, **tuning.fine}.items():
        right = [a == b for a, b in zip(words, search.read(weights), strict=True)]
        assert scores.correct.tolist() == right
    best, none = tuning.trials[0], trial(NONE, tuning.coarse[NONE])
    assert best.word_accuracy > none.word_accuracy + 0.1
    assert best.word_accuracy == max(t.word_accuracy for t in tuning.trials)
    ties = [t.cer for t in tuning.trials if t.word_accuracy == best.word_accuracy]
    assert best.cer == min(ties)
    coarse = Tuning(tuning.coarse, {}).trials[0].weights
    alphas = [w.alpha for w in tuning.fine]
    assert all(abs(alpha - coarse.alpha) in (0, 0.25) for alpha in alphas)


def scored(right, length=4):
    right = np.array(right, np.int64)
    return RowScores(np.ones(len(right), bool), right, 1 - right, np.full(len(right), length))


def test_order_of_trials():
    """Accuracy, then CER, then less of the model, then less of a bonus."""
    worse = score_readings(["abcd", "ab"], ["abcd", "xy"], "exact")
    near = score_readings(["abcd", "ab"], ["abcd", "ay"], "exact")
    far = score_readings(["abcd", "ab"], ["xyzz", "zz"], "exact")
    tuning = Tuning(
        {
            NONE: far,
            Weights(1.0, 1.0): near,
            Weights(0.5, 1.0): near,
            Weights(0.5, -0.5): near,
            Weights(0.1, 0.0): worse,
        },
        {},
    )
    order = [tuple(t.weights) for t in tuning.trials]
    assert order == [(0.5, -0.5), (0.5, 1), (1, 1), (0.1, 0), (0, 0)]
    assert math.isnan(trial(NONE, scored([])).cer)


def test_edges():
    grid = {Weights(a, b): scored([1]) for a in (0.0, 0.5, 1.0) for b in (-1.0, 0.0, 1.0)}
    tuning = Tuning(grid, {})
    assert tuning.edges(Weights(0.5, 0.0)) == []
    assert tuning.edges(Weights(1.0, 0.0)) == ["alpha 1"]
    assert tuning.edges(Weights(1.0, -1.0)) == ["alpha 1", "bonus -1"]
    assert tuning.edges(Weights(0.0, 0.0)) == []  # there is nothing below
    assert tuning.edges(Weights(0.75, 0.5)) == []
    one = Tuning({Weights(a, 0.0): scored([1]) for a in (0.0, 1.0)}, {})
    assert one.edges(Weights(1.0, 0.0)) == ["alpha 1"]


def test_no_row_chooses_its_own_weights():
    """Each half is read well by what the other half finds bad."""
    halves = np.array([False] * 3 + [True] * 3)
    a, b = Weights(1.0, 0.0), Weights(2.0, 0.0)
    tuning = Tuning({NONE: scored([0] * 6), a: scored([1, 1, 1, 0, 0, 0]),
                     b: scored([0, 0, 0, 1, 1, 1])}, {})  # fmt: skip
    assert tuning.crossed(halves).correct.tolist() == [0] * 6
    assert trial(a, tuning.coarse[a]).word_accuracy == 0.5
    same = Tuning({NONE: scored([0] * 6), a: scored([1, 0, 1, 1, 0, 1])}, {})
    assert same.crossed(halves).correct.tolist() == [1, 0, 1, 1, 0, 1]
    # Where nothing is in the other half, nothing was chosen by it.
    assert same.crossed(np.zeros(6, bool)) is None
    assert same.crossed(np.ones(6, bool)) is None
    test = paired_test(same.coarse[NONE], same.coarse[a], "words")
    assert "not measured on others" in tune._told(same, a, test, None)


def test_around():
    assert _around(1.0, [0.0, 1.0, 3.0]) == [1, 0.5, 2]
    assert _around(0.0, [0.0, 1.0]) == [0, 0.5]
    assert _around(0.0, [0.0]) == [0]


def test_labels_that_do_not_count(tables):
    search = Search(gather(blurred(["abbaab"], 0), SIZE), 1, ABC, tables, WIDTH)
    with pytest.raises(UserError, match="no label of the set"):
        try_all(search, ["!!"], "36")


# The command


@pytest.fixture
def folder(tmp_path):
    write_words(tmp_path, ["abba", "Cab!", "dad", "bad", "cad", "dab", "??", "abacab"])
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_command(folder, smoke_run, recognizer, run_command):
    out = folder / "weights.json"
    argv = [f"--model={smoke_run}", f"--data=tsv:{folder}/labels.tsv::name=mine",
            f"--lm={folder}/words.txt", "--order=3", f"--out={out}", "--protocol=36",
            "--alphas=0.5", "--bonuses=-1,1", "--width=1"]  # fmt: skip
    code, said, err = run_command(tune.main, *argv)
    assert code == 0, err
    found = json.loads(out.read_text())
    assert tune.load_weights(out) == (found["alpha"], found["bonus"])
    assert {(t["alpha"], t["bonus"]) for t in found["tried"]} > set(
        itertools.product((0, 0.5), (-1, 0, 1))
    )
    assert found["chosen"]["count"] == 7  # "??" does not count, the unreadable image does
    assert found["order"] == 3
    assert found["lm"] == "words.txt"
    assert any(line.startswith("best: alpha") for line in said)
    assert any("7 images" in line for line in said)
    assert [line.split()[0] for line in said[-3:]][1:] == ["1", "4"]
    pieces = compute_logits(recognizer, _source(folder), 64)
    assert sorted(row for piece in pieces for row in piece.rows) == list(range(1, 8))
    plain = {}
    for logits, frames, rows in pieces:
        ids, lengths = jax.device_get(best_path(logits, jnp.asarray(frames)))
        plain |= {r: recognizer.charset.decode(ids[i, : lengths[i]]) for i, r in enumerate(rows)}
    expected = recognizer.read([folder / f"{i}.png" for i in range(1, 8)])
    assert [plain[i] for i in range(1, 8)] == [reading.text for reading in expected]


def test_images_that_cannot_be_read_are_told(folder, recognizer, caplog):
    compute_logits(recognizer, _source(folder), 8)
    (record,) = caplog.records
    assert re.search(
        r"^1 of 8 images of .* cannot be read and count as misread, the first: .*0\.png.*: not an",
        record.getMessage(),
    )
    for i in range(1, 8):
        (folder / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"8 of 8 images .* cannot be read, the first: .*0\.png"):
        compute_logits(recognizer, _source(folder), 8)


def _source(folder):
    from crnn_jax.data.sources import open_source

    return open_source(f"tsv:{folder}/labels.tsv")


def test_test_sets_are_refused(folder, mistake):
    argv = [f"--data=tsv:{folder}/labels.tsv::name=svt_test", "--model=none",
            f"--lm={folder}/words.txt"]  # fmt: skip
    line = mistake(tune.main, *argv)
    assert "--data has svt_test, by its name and its 8 images the public test set SVT" in line
    assert line.endswith("or add --tune_on_test")
    assert "none" in mistake(tune.main, *argv, "--tune_on_test")  # that is the model


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lm=none.arpa"], "--lm=none.arpa is no file"),
        (["--data=tsv:x", "--data=tsv:y"], "--data is given twice"),
        (["--alphas=0,x"], "'0,x' is no list of numbers"),
        (["--alphas=-1,0"], "would make unlikely texts likely"),
        (["--bonuses=nan"], "is no list of numbers"),
        (["--protocol=37"], "unknown protocol"),
        (["--out=/none/weights.json"], "does not exist"),
    ],
)
def test_mistakes(folder, mistake, argv, says):
    common = [f"--data=tsv:{folder}/labels.tsv", "--model=none", f"--lm={folder}/words.txt"]
    assert says in mistake(tune.main, *common, *argv)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "no alpha"),
        ('{"alpha": -1, "bonus": 0}', "no alpha"),
        ('{"alpha": 1, "bonus": "x"}', "no alpha"),
        ('{"alpha": 1, "bonus": null}', "no alpha"),
        ('{"alpha": true, "bonus": 0}', "no alpha"),
        ("[1]", "not a JSON object"),
        ("alpha 1", "not JSON"),
    ],
)
def test_files_that_are_no_weights(tmp_path, text, says):
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        tune.load_weights(path)
    path.write_text('{"alpha": 1, "bonus": -0.5}')
    assert tune.load_weights(path) == (1.0, -0.5)


def test_a_trained_text_and_its_arpa_file_tune_alike(tmp_path):
    """What the command reads may be either."""
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    model = lm.load(tmp_path / "words.txt", ABC, 3)
    arpa.write(tmp_path / "words.arpa", model)
    a, b = model.tables(ABC), lm.load(tmp_path / "words.arpa", ABC).tables(ABC)
    np.testing.assert_array_equal(a.following, b.following)
    np.testing.assert_allclose(a.log_probs[:, 1:], b.log_probs[:, 1:], atol=1e-5)
