"""Reading with a lexicon: exact scores, candidates, and words that cannot be read."""

from __future__ import annotations

import logging
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import string_log_probability
from rapidfuzz.distance import Levenshtein
from small import write_words

from crnn_jax import evaluate, predict
from crnn_jax.charset import Charset, build_charset
from crnn_jax.ctc.score import score_strings
from crnn_jax.decode import lexicon as lexicon_lib
from crnn_jax.decode import make_decoder
from crnn_jax.decode.lexicon import Lexicon, LexiconDecoder
from crnn_jax.decode.restricted import Restricted, allowed_classes
from crnn_jax.decode.words import encoded_words
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer

LETTERS = build_charset("chars:abcdefgh")
ALNUM = build_charset("alnum36")


def posteriors(rng, frames: int, classes: int = 9) -> np.ndarray:
    logits = rng.normal(size=(frames, classes)).astype(np.float32) * 3
    return np.asarray(jax.nn.log_softmax(logits))


def some_words(rng, count: int, longest: int, letters: str = "abcdefgh") -> list[str]:
    return ["".join(rng.choice(list(letters), rng.integers(1, longest + 1))) for _ in range(count)]


@pytest.mark.parametrize("frames", [1, 3, 12, 40])
def test_scores_of_many_strings_are_those_of_each(frames):
    rng = np.random.default_rng(frames)
    log_probs = posteriors(rng, 40)
    ids = rng.integers(1, 9, (200, 7)).astype(np.int32)
    ids[50:100] = ids[50:100, :1]  # the same letter again and again
    lengths = rng.integers(0, 8, 200).astype(np.int32)
    found = score_strings(log_probs, np.int32(frames), ids, lengths)
    rows = jnp.broadcast_to(log_probs, (200, *log_probs.shape))
    wanted = string_log_probability(rows, jnp.full(200, frames), ids, lengths)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert np.isneginf(found).sum() == np.isneginf(wanted).sum()


def test_unlikely_strings_do_not_underflow():
    log_probs = np.full((60, 9), -40.0, np.float32)
    log_probs[:, 0] = 0.0
    ids = np.full((1, 8), 1, np.int32)
    (found,) = score_strings(log_probs, np.int32(60), ids, np.array([8], np.int32))
    assert -320 <= found < -290  # eight letters of -40 each, at many places


def test_near_words_are_those_within_the_distance(monkeypatch):
    monkeypatch.setattr(lexicon_lib, "SMALL", 0)
    rng = np.random.default_rng(0)
    words = some_words(rng, 3_000, 9)
    lexicon = Lexicon(words, LETTERS)
    assert len(lexicon) == len(set(words))
    for text in some_words(rng, 50, 9):
        for distance in (1, 2, 3):
            near = {lexicon.words[i] for i in lexicon.near(LETTERS.encode(text), distance)}
            distances = {w: Levenshtein.distance(w, text) for w in words}
            within = max(distance, sorted(distances.values())[lexicon_lib.FEWEST - 1])
            assert near == {w for w in words if distances[w] <= within}


def test_farther_words_stand_in_where_none_is_near(monkeypatch):
    monkeypatch.setattr(lexicon_lib, "SMALL", 0)
    lexicon = Lexicon(["aaaaaaaa", "bbbbbbbbbbbb"], LETTERS)
    for text in ("cc", "", "a" * 40):
        assert len(lexicon.near(LETTERS.encode(text))) == 2


def test_the_best_word_is_the_one_with_the_best_score(monkeypatch):
    rng = np.random.default_rng(1)
    words = sorted(set(some_words(rng, 300, 6)))
    log_probs = posteriors(rng, 12)
    ids = np.zeros((len(words), 6), np.int32)
    for row, word in enumerate(words):
        ids[row, : len(word)] = LETTERS.encode(word)
    rows = jnp.broadcast_to(log_probs, (len(words), *log_probs.shape))
    lengths = np.array([len(word) for word in words], np.int32)
    exact = string_log_probability(rows, jnp.full(len(words), 12), ids, lengths)
    scored = dict(zip(words, exact.tolist(), strict=True))
    wanted = sorted(scored, key=lambda word: -scored[word])[:5]
    monkeypatch.setattr(lexicon_lib, "_MOST", 128)  # several calls
    found = Lexicon(words, LETTERS).best(log_probs, 12, [], count=5)
    assert [candidate.text for candidate in found] == wanted
    for candidate in found:
        assert candidate.log_probability == pytest.approx(scored[candidate.text], abs=1e-4)


def test_words_that_do_not_fit_the_frames_are_not_read():
    log_probs = posteriors(np.random.default_rng(0), 3)
    lexicon = Lexicon(["abcd", "aa", "aab"], LETTERS)
    assert [c.text for c in lexicon.best(log_probs, 3, [])] == ["aa"]
    assert lexicon.best(log_probs, 2, []) == []
    assert lexicon.best(log_probs, 0, []) == []
    assert lexicon.best(np.full((3, 9), np.nan, np.float32), 3, []) == []


def test_letters_outside_the_charset_do_not_count(caplog):
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    lexicon = Lexicon(["it's", "IT", "its", "", "  ", "!?", "straße"], ALNUM)
    assert sorted(lexicon.words) == ["it", "it's", "straße"], "twice the same word is once"
    assert "1 word(s) have none of the model's characters" in caplog.text
    with pytest.raises(UserError, match=r"no word that the model can read \(2 have none"):
        Lexicon(["!", "?"], ALNUM)
    with pytest.raises(UserError, match="no word that the model can read: give words in its"):
        Lexicon([], ALNUM)


@pytest.mark.parametrize(
    ("charset", "words", "expected"),
    [
        ("latin94", ["Hotel"], {"Hotel": "Hotel", "HOTEL": "Hotel", "hotel": "Hotel"}),
        # What a lexicon holds itself is read as it stands there.
        ("latin94", ["abba", "Abba"], {"abba": "abba", "Abba": "Abba", "ABBA": "abba"}),
        ("latin94", ["iOS"], {"iOS": "iOS", "ios": "iOS", "IOS": "iOS", "Ios": "iOS"}),
        ("chars:ABCD", ["abc"], {"ABC": "abc"}),  # no spelling with letters lost
        ("alnum36", ["It's"], {"its": "it's"}),
        ("alnum36", ["Straße"], {"strae": "straße"}),  # and not "strasse", its capitals
        # Characters count, not classes: one of them may be several characters long.
        (("ch", *"aCHt"), ["chat"], {"chat": "chat"}),
        (("ch", *"aCht"), ["chat"], {"chat": "chat", "Chat": "chat"}),
    ],
)  # fmt: skip
def test_words_are_read_in_capitals_and_small_letters(charset, words, expected):
    from crnn_jax import runtime

    charset = build_charset(charset) if isinstance(charset, str) else Charset(charset, "keep")
    found = encoded_words(words, charset)
    assert {charset.decode(ids): text for ids, text in found.items()} == expected
    alone = runtime.Lexicon(words, runtime.Charset(charset.classes, charset.case))
    assert dict(zip(alone.ids, alone.words, strict=True)) == found


def test_a_word_stands_once_among_the_alternatives():
    charset = build_charset("latin94")
    logits = np.full((9, charset.num_classes), -9.0, np.float32)
    for frame, char in enumerate("Hotel"):
        logits[2 * frame if frame < 4 else 8, charset.encode(char)[0]] = 5.0
    logits[1:8:2, 0] = 5.0
    log_probs = np.asarray(jax.nn.log_softmax(logits))
    best = Lexicon(["hotel", "motel"], charset).best(log_probs, 9, charset.encode("Hotel"), 5)
    assert [candidate.text for candidate in best] == ["hotel", "motel"]
    assert charset.decode(best[0].ids) == "Hotel"


def test_lexicon_files(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffeins\r\nzwei\n\n".encode())
    assert sorted(Lexicon.load(path, ALNUM).words) == ["eins", "zwei"]
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"words.txt is not UTF-8 \(byte 0\)"):
        Lexicon.load(path, ALNUM)
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        Lexicon.load(tmp_path / "none.txt", ALNUM)


def test_a_lexicon_pickles():
    lexicon = Lexicon(["ab", "cd"], LETTERS)
    log_probs = posteriors(np.random.default_rng(0), 6)
    assert pickle.loads(pickle.dumps(lexicon)).best(log_probs, 6, []) == lexicon.best(
        log_probs, 6, []
    )


def test_reading_in_batches_with_words_of_each_image_and_of_all(smoke_run, caplog):
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    model = Recognizer.load(smoke_run)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 64), np.uint8) for _ in range(5)]
    own = [["one", "two"], ["three"], ["four", "five", "six"], ["a"], ["b"]]

    def read(decoder, words):
        stream = model.stream(
            range(5), lambda i: model.preprocess(images[i]), 2, decoder, None, words
        )
        return [reading for _, reading in sorted(stream, key=lambda item: item[0])]

    for reading, words in zip(read("lexicon", own.__getitem__), own, strict=True):
        assert reading.text in words
        found = [reading.text, *(other.text for other in reading.alternatives)]
        assert sorted(found) == sorted(words)
        scores = [other.confidence for other in reading.alternatives]
        assert scores == sorted(scores, reverse=True)
        assert all(score <= reading.confidence for score in scores)
    shared = LexiconDecoder(Lexicon(["one", "zebra"], model.charset), count=1)
    assert {reading.text for reading in read(shared, None)} <= {"one", "zebra"}
    assert all(not reading.alternatives for reading in read(shared, None))
    assert read("lexicon", lambda i: ["x" * 500])[0].text == "", "it fits no image"
    foreign = read("lexicon", lambda i: own[i] if i else ["你好", "世界"])
    assert (foreign[0].text, foreign[0].confidence) == ("", 0.0), "others are read all the same"
    assert all(reading.text for reading in foreign[1:])
    assert "'你好, 世界', have none of the model's characters" in caplog.text
    with pytest.raises(UserError, match="own lexicon has no word that the model can read"):
        read("lexicon", lambda i: [" "])
    with pytest.raises(UserError, match="unknown decoder 'lexicn': did you mean 'lexicon'"):
        make_decoder("lexicn")


# The commands.


def test_evaluate_chooses_from_words(run_command, mistake, smoke_run, tmp_path):
    write_words(tmp_path, ["one", "two", "three"])
    table = tmp_path / "labels.tsv"
    words = tmp_path / "words.txt"
    words.write_text("one\nzebra\n")
    argv = [f"--model={smoke_run}", f"--data=tsv:{tmp_path}"]
    out = tmp_path / "r.md"
    code, lines, _ = run_command(evaluate.main, *argv, f"--lexicon={words}", f"--out={out}")
    assert code == 0
    assert lines[0] == "model smoke, protocol exact, decoder lexicon (words.txt words)"
    assert "decoder lexicon (words.txt words)" in out.read_text()
    line = mistake(evaluate.main, *argv, "--decoder=lexicon")
    assert "labels.tsv row 1 (0.png) of" in line
    assert "has no words of its own: give --lexicon=FILE" in line
    rows = table.read_text().splitlines()
    table.write_text("".join(f"{row}\tone|two|three\n" for row in rows))
    predictions = tmp_path / "p.tsv"
    assert run_command(
        evaluate.main, *argv, "--decoder=lexicon", f"--predictions={predictions}"
    ).code == 0  # fmt: skip
    read = {line.split("\t")[2] for line in predictions.read_text().splitlines()}
    assert read <= {"one", "two", "three"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--decoder=greddy"], "did you mean 'greedy'"),
        (["--decoder=greedy", "--lexicon=pyproject.toml"], "--decoder=greedy uses no lexicon"),
        (["--lexicon=none.txt"], "--lexicon=none.txt is no file"),
        (["--decoder=lexicon"], "images have no words here; give --lexicon=FILE"),
    ],
)
def test_mistakes(mistake, smoke_run, argv, message):
    assert message in mistake(predict.main, f"--model={smoke_run}", *argv, "x.png")


def test_a_list_may_have_counts_and_words_that_no_image_holds(tmp_path, caplog):
    """One such line would make the table of all words as wide."""
    path = tmp_path / "words.txt"
    path.write_text(f"the\t100\nto\t5.5\nA\tB\n{'x' * 5000}\n", encoding="utf-8")
    lexicon = Lexicon.load(path, build_charset("alnum36"))
    assert set(lexicon.words) == {"the", "to", "a\tb"}
    assert lexicon._ids.shape[1] < 10
    assert "1 word(s) of over 1000 characters are left out" in caplog.text


def test_allowed_characters_choose_the_words_before_their_scores_do(caplog):
    """The nearest words of all would be of others, and none would be left."""
    charset = build_charset("alnum36")
    rng = np.random.default_rng(0)
    letters = sorted({"".join(rng.choice(list("abcdefgh"), 4)) for _ in range(9000)})
    lexicon = Lexicon([*letters, "123456", "98765"], charset)
    assert len(lexicon) > lexicon_lib.SMALL
    decoder = LexiconDecoder(lexicon)
    allowed = allowed_classes(charset, allow="0123456789")
    frames = lexicon_lib.frames_of(
        jnp.asarray(rng.normal(size=(1, 20, charset.num_classes)), jnp.float32), jnp.array([20])
    )
    read = Restricted(decoder, allowed).read(frames, 0, charset, ())
    assert {candidate.text for candidate in read} == {"123456", "98765"}
    own = Restricted(LexiconDecoder(), allowed)
    assert [c.text for c in own.read(frames, 0, charset, ("abc", "77"))] == ["77"]
    assert own.read(frames, 0, charset, ("abc",)) == []
    none = Restricted(decoder, allowed_classes(charset, allow="z"))
    assert none.read(frames, 0, charset, ()) == []
    assert "no word of the lexicon has allowed characters alone" in caplog.text


def test_a_reading_unlike_all_words_is_compared_with_the_nearest(monkeypatch):
    monkeypatch.setattr(lexicon_lib, "SMALL", 10)
    monkeypatch.setattr(lexicon_lib, "_WIDENED", 100)
    charset = build_charset("alnum36")
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abcdefgh"), n)) for n in rng.integers(6, 12, 3000)})
    lexicon = Lexicon(words, charset)
    ids = charset.encode_known("0123456a")
    near = lexicon.near(ids)
    assert len(near) == 100
    texts = [lexicon.words[row] for row in near]
    distances = sorted(Levenshtein.distance("0123456a", word) for word in words)
    assert sorted(Levenshtein.distance("0123456a", text) for text in texts) == distances[:100]
    assert list(near) == sorted(near)
