"""Tables for the beam against the definition of backing off; loading; the command."""

from __future__ import annotations

import gzip
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import string_probabilities
from jitted import search
from jitted import string_score as score
from plain_ngrams import FLOOR, listed, text_score

from crnn_jax.charset import build_charset
from crnn_jax.data.words import split_of
from crnn_jax.decode import arpa, lm, ngram_tables
from crnn_jax.decode.beam import BeamOptions
from crnn_jax.decode.kneser_ney import train
from crnn_jax.decode.language import Weighted
from crnn_jax.decode.ngram_model import END, START, UNKNOWN, Level, NgramModel
from crnn_jax.errors import UserError

ABC = build_charset("abc", "keep")


def draw_texts(seed, number, characters="abc", longest=7):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(len(characters), 0.7))
    return [
        ("".join(rng.choice(list(characters), rng.integers(1, longest + 1), p=p)), 1)
        for _ in range(number)
    ]


def padded(texts, charset):
    """Class ids and lengths of texts."""
    lengths = np.array([len(text) for text in texts], np.int32)
    ids = np.zeros((len(texts), max(int(lengths.max(initial=0)), 1)), np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = charset.encode(text)
    return ids, lengths


def random_model(seed, alphabet, order, closed):
    """Any ARPA model: probabilities need not sum to one, and endings need not be listed."""
    rng = np.random.default_rng(seed)
    size = len(alphabet) + 3
    first = Level(
        np.zeros(size, np.int64), np.arange(size, dtype=np.int32), -rng.random(size) * 4,
        rng.normal(size=size) * (rng.random(size) < 0.5),
    )  # fmt: skip
    first.log_prob[START] = -np.inf
    if closed:
        first.log_prob[UNKNOWN], first.back_off[UNKNOWN] = -np.inf, 0
    levels = [first]
    for n in range(2, order + 1):
        above = levels[-1]
        pairs = [
            (p, s)
            for p in range(len(above.symbol))
            for s in range(size)
            if above.symbol[p] != END and s != START and rng.random() < 0.35
            and not (closed and UNKNOWN in (above.symbol[p], s))
        ]  # fmt: skip
        count = len(pairs)
        weights = rng.normal(size=count) * (rng.random(count) < 0.5) * (n < order)
        parents, symbols = np.array(pairs, np.int64).reshape(-1, 2).T
        levels.append(Level(parents, symbols.astype(np.int32), -rng.random(count) * 4, weights))
    return NgramModel(("</s>", "<s>", "<unk>", *alphabet), tuple(levels))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("order", "alphabet"), [(1, "abc"), (2, "abcd"), (3, "abd"), (4, "ab")])
def test_tables_are_what_backing_off_gives(order, alphabet, closed):
    """Models with and without <unk>; the charset has a character that they lack, and lacks one."""
    charset = build_charset("cbax", "keep")
    texts = ["".join(t) for n in range(6) for t in itertools.product("abcx"[: 6 - n], repeat=n)]
    for seed in range(5):
        model = random_model(seed, alphabet, order, closed)
        grams = listed(model)
        found = score(model.tables(charset), *padded(texts, charset))
        symbols = model.symbols_of(charset)
        direct = model.log_probability([symbols[charset.encode(text)] for text in texts])
        lost = str.maketrans(dict.fromkeys(set("abcx") - set(alphabet), "?"))
        expected = [text_score(grams, text.translate(lost), order) for text in texts]
        np.testing.assert_allclose(direct, expected, rtol=1e-9)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("min_count", [1, 2])
def test_every_state_of_a_trained_model_has_a_distribution(order, min_count):
    charset = build_charset("abcdefg", "keep")
    model = train(draw_texts(order, 200, "abcdef"), charset, order, min_count).model
    tables = jax.device_get(model.tables(charset))
    assert tables.log_probs.shape == tables.following.shape == (len(tables.ends), 8)
    total = np.exp(tables.log_probs[:, 1:]).sum(1) + np.exp(tables.ends)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    reached = {int(tables.first)}
    while more := set(tables.following[sorted(reached), 1:].ravel().tolist()) - reached:
        reached |= more
    assert len(reached) <= len(tables.ends)
    if order == 1:
        assert len(tables.ends) == 1
    elif min_count == 1:  # a state for every history that occurs and goes on, and the empty one
        shorter = {g[:-1] for g in listed(model) if len(g) > 1}
        assert len(tables.ends) == len(shorter | {()})


def test_states_are_no_more_than_needed():
    """Histories that nothing is listed after and that have no weight of their own are none."""
    model = train([("abc", 5), ("abb", 1)], ABC, 3, min_count=7).model
    assert len(model.tables(ABC).ends) == 1 + len({g[:1] for g in listed(model) if len(g) == 2})


def test_no_probability_of_nothing():
    """0 times a logarithm stays 0: even what never occurs has one."""
    model = train(draw_texts(0, 20), ABC, 2).model
    rare = model.levels[0].log_prob.copy()
    rare[3] = -1e6
    model = NgramModel(model.tokens, (model.levels[0]._replace(log_prob=rare), *model.levels[1:]))
    tables = model.tables(ABC)
    assert float(jnp.min(tables.log_probs)) == pytest.approx(-99 * math.log(10))
    assert np.isfinite(tables.ends).all()


def test_beam_with_a_model_finds_the_best_of_all_strings():
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=2, size=(40, 5, 4)).astype(np.float32)
    frames = 1 + np.arange(40, dtype=np.int32) % 5
    model = train(draw_texts(1, 30), ABC, 3).model
    grams = listed(model)
    width = len(string_probabilities(logits[4]))
    options = BeamOptions(width, top=0, prune=math.inf, nbest=width)
    weighted = Weighted(model.tables(ABC), jnp.float32(0.7), jnp.float32(0.4))
    found = jax.device_get(search(logits, frames, options, weighted))
    changed = 0
    for row, n in enumerate(frames):
        p = string_probabilities(logits[row, :n])
        ranks = {
            ids: math.log(v) + 0.4 * len(ids) + 0.7 * text_score(grams, ABC.decode(ids), 3)
            for ids, v in p.items()
        }
        best = max(ranks, key=ranks.get)
        assert tuple(found.ids[row, 0, : found.lengths[row, 0]].tolist()) == best
        np.testing.assert_allclose(found.score[row, 0], ranks[best], atol=1e-4)
        changed += best != max(p, key=p.get)
    assert 0 < changed < 40


def test_perplexities():
    texts = draw_texts(4, 400, "abbb", 5)
    seen, held = texts[:300], [text for text, _ in texts[300:]]
    model = train(seen, ABC, 3).model
    grams = listed(model)
    total = sum(text_score(grams, text, 3) for text in held)
    expected = math.exp(-total / sum(len(text) + 1 for text in held))
    distinct = {text: held.count(text) for text in held}
    assert model.perplexity(distinct, ABC) == pytest.approx(expected)
    assert model.perplexity(held, ABC) == pytest.approx(expected)
    assert expected < 3.0 < 4.0  # below what a single character or all of them would give
    assert model.perplexity(["a-b"], ABC) == pytest.approx(model.perplexity(["ab"], ABC))
    alone = math.exp(-text_score(grams, "", 3))
    assert model.perplexity([""], ABC) == pytest.approx(alone)
    with pytest.raises(UserError, match="no text"):
        model.perplexity([], ABC)


def test_texts_are_scored_in_parts(monkeypatch):
    model = train(draw_texts(4, 100), ABC, 4).model
    texts = [np.array(ABC.encode(text)) + 2 for text, _ in draw_texts(5, 50)]
    whole = model.log_probability(texts)
    monkeypatch.setattr("crnn_jax.decode.ngram_model._POSITIONS", 7)
    np.testing.assert_array_equal(model.log_probability(texts), whole)


def test_training_is_deterministic(tmp_path):
    files = []
    for name in ("a.arpa.gz", "b.arpa.gz"):
        arpa.write(tmp_path / name, train(draw_texts(6, 100), ABC, 5).model)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_a_table_that_is_too_large(monkeypatch):
    model = train(draw_texts(7, 100), ABC, 5).model
    size = [len(model.truncated(n).tables(ABC).ends) * 4 * 8 for n in range(1, 6)]
    monkeypatch.setattr(ngram_tables, "MAX_BYTES", size[2])
    with pytest.raises(UserError, match="order 3 would take 0 MB; give a lower order"):
        model.tables(ABC)
    model.truncated(3).tables(ABC)
    monkeypatch.setattr(ngram_tables, "MAX_BYTES", 8)
    with pytest.raises(UserError, match="than 0 MB: give a lower order, or train"):
        model.tables(ABC)


def test_characters_that_a_model_knows_otherwise():
    folded = build_charset("abé", "fold")
    model = NgramModel(("</s>", "<s>", "<unk>", "A", "a", "É", "Z"), ())
    assert model.symbols_of(folded).tolist() == [UNKNOWN, 4, UNKNOWN, 5]
    assert model.symbols_of(build_charset("AZ", "keep")).tolist() == [UNKNOWN, 3, 6]
    assert model.symbols_of(build_charset("zÀâéAab", "keep")).tolist() == [
        *(UNKNOWN, 6, 4, 4, 5, 3, 4, UNKNOWN)
    ]
    with pytest.raises(UserError, match="none of the charset's characters"):
        random_model(0, "ab", 2, True).tables(build_charset("xy", "keep"))


# Loading


def test_loading_a_text(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Two Words\t3\nit's\nTWO\n", encoding="utf-8")
    charset = build_charset("alnum36")
    expected = train([("two", 4), ("words", 3), ("its", 1)], charset, 3).model
    assert listed(lm.load(path, charset, 3)) == listed(expected)
    assert lm.load(path, charset).order == lm.ORDER
    spaced = build_charset("alnum36+space")
    expected = train([("two words", 3), ("its", 1), ("two", 1)], spaced, 4).model
    assert listed(lm.load(str(path), spaced, 4)) == listed(expected)


def test_loading_an_arpa_file(tmp_path, caplog):
    model = train(draw_texts(8, 50), ABC, 4).model
    for name in ("m.arpa", "m.arpa.gz", "m.lm"):
        arpa.write(tmp_path / name, model)
        found = lm.load(tmp_path / name, ABC)
        np.testing.assert_allclose(
            list(listed(found).values()), list(listed(model).values()), atol=1e-6
        )
        shorter = lm.load(tmp_path / name, ABC, 2)
        assert shorter.counts == model.counts[:2]
        p = jax.device_get(shorter.tables(ABC))
        np.testing.assert_allclose(np.exp(p.log_probs[:, 1:]).sum(1) + np.exp(p.ends), 1, atol=1e-5)
    assert not caplog.records
    wider = build_charset("abcxy", "keep")
    tables = lm.load(tmp_path / "m.arpa", wider).tables(wider)
    assert float(tables.score(jnp.int32(0), jnp.int32(4))[0]) == pytest.approx(FLOOR, abs=1e-4)
    assert "lacks 2 of 5 characters, xy" in caplog.text
    with pytest.raises(UserError, match=r"m\.arpa: has none of the charset's 2"):
        lm.load(tmp_path / "m.arpa", build_charset("xy", "keep"))


def test_right_to_left_texts_are_learnt_as_they_stand_in_the_picture(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("שלום\nשמש\n", encoding="utf-8")
    charset = build_charset("from_data", "keep", ["שלוםמ"])
    model = lm.load(path, charset, 3)
    assert ("^", "ם", "ו") in listed(model)
    ids = np.array([charset.encode("שלום")], np.int32)
    total = score(model.tables(charset), ids, np.array([4]))[0]
    assert float(total) == pytest.approx(math.log(model.perplexity(["שלום"], charset)) * -5, 1e-4)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "cannot be read"),
        (b"", "holds no text"),
        (b"!!\n??\n", "no text has a character of the charset"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0", "KenLM's binary format"),
        (gzip.compress(b"word\n", mtime=0), "a packed file, and no ARPA file"),
        (b"b\xe9d\n", "not UTF-8"),
        (b"\\data\\\nngram 1=3\n", "ends after line 2"),
    ],
)
def test_files_that_are_no_model(tmp_path, data, says):
    path = tmp_path / "file"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=says) as error:
        lm.load(path, build_charset("alnum36"))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="1 to 10 characters"):
        lm.load(path, ABC, 11)


# The command


def test_command(tmp_path, run_command):
    words = [text + suffix for text, _ in draw_texts(9, 300, "abcdef") for suffix in ("", "ing")]
    (tmp_path / "words.txt").write_text("\n".join(words), encoding="utf-8")
    out = tmp_path / "words.arpa.gz"
    argv = [f"--text={tmp_path}/words.txt", "--charset=alnum36", "--order=3", f"--out={out}"]
    code, said, _ = run_command(lm.main, *argv)
    assert code == 0
    held = [word for word in dict.fromkeys(words) if split_of(word) == "test"]
    assert f"{len(set(words))} different texts, {len(held)} of them held out" in said[0]
    perplexities = [float(line.split()[-1]) for line in said[2:6]]
    assert perplexities[0] == 37
    assert perplexities == sorted(perplexities, reverse=True)
    assert any("discounts" in line for line in said)
    charset = build_charset("alnum36")
    model = lm.load(out, charset)
    expected = train([(w, words.count(w)) for w in dict.fromkeys(words)], charset, 3).model
    assert model.counts == expected.counts
    assert said[-1].startswith(f"table of the beam search: {len(model.tables(charset).ends)} hist")


def test_command_on_few_texts(tmp_path, run_command):
    (tmp_path / "a.txt").write_text("It5\n", encoding="utf-8")
    code, said, _ = run_command(lm.main, f"--text={tmp_path}/a.txt", "--charset=from_data")
    assert code == 0
    assert any("no perplexities" in line for line in said)
    assert not any("outside the charset" in line for line in said)
    for case in ("fold", "keep"):
        argv = f"--text={tmp_path}/a.txt", "--charset=it5", f"--case={case}"
        _, said, _ = run_command(lm.main, *argv)
        assert any("outside the charset" in line for line in said) == (case == "keep")
    _, said, _ = run_command(lm.main, f"--text={tmp_path}/a.txt", "--charset=digits")
    assert said[1] == "2 characters outside the charset are left out: 'I', 't'"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--charset=alnum36", "--model=x"], "give the charset"),
        ([], "give the charset"),
        (["--charset=alnum37"], "unknown charset"),
        (["--charset=alnum36", "--order=11"], "1 to 10"),
        (["--charset=alnum36", "--order=0"], "not a positive whole number"),
        (["--charset=alnum36", "--out=words.txt"], "name it FILE.arpa"),
        (["--charset=alnum36", "--out=/none/words.arpa"], "does not exist"),
        (["--charset=alnum36", "--min=2"], "unknown argument '--min'"),
    ],
)
def test_mistakes(tmp_path, mistake, argv, says):
    (tmp_path / "a.txt").write_text("text\n", encoding="utf-8")
    assert says in mistake(lm.main, f"--text={tmp_path}/a.txt", *argv)


def test_texts_without_a_character_of_the_charset_are_none():
    assert lm.spelled({"ab": 1, ", ;": 400, "": 3, "b,": 2}, ABC) == {"ab": 1, "b,": 2}
