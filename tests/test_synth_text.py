"""Drawn texts: sides, labels, lengths, frequencies, shares, files and mistakes."""

from __future__ import annotations

import functools
import itertools
import logging
import pathlib
import re
import string
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.charset import build_charset
from crnn_jax.data.words import word_counts
from crnn_jax.errors import UserError
from crnn_jax.synth import text, text_bank
from crnn_jax.synth.presets import plain
from crnn_jax.synth.text import TextBatch, TextPlan, Texts, sample_texts, texts_to_strings
from crnn_jax.synth.text_bank import NAMED, build_texts

CHARACTERS = "".join(map(chr, range(32, 127))) + "£€¥“”‘’éÉß"
ALL_KINDS = {
    "words": 0.4,
    "random": 0.2,
    "numbers": 0.1,
    "prices": 0.1,
    "dates": 0.1,
    "codes": 0.1,
}
ALL_STYLES = {"lower": 0.3, "title": 0.3, "upper": 0.3, "mixed": 0.1}
# Integers alone: the results are the optimised program's, which takes twice the time to compile.
_sample = jax.jit(
    sample_texts, static_argnums=1, compiler_options={"xla_backend_optimization_level": 0}
)


@functools.cache
def _build(
    charset: str, case: str, side: str, longest: int, budget: int | None, knobs: tuple
) -> tuple[Texts, TextPlan]:
    settings = plain()
    for name, value in knobs:
        settings[name] = value
    charset = build_charset(charset, case)
    return build_texts(settings, charset, CHARACTERS, side, longest, budget)


def build(
    charset: str = "latin94",
    case: str = "auto",
    side: str = "train",
    longest: int = 24,
    budget: int | None = 25,
    **knobs: Any,
) -> tuple[Texts, TextPlan]:
    return _build(charset, case, side, longest, budget, tuple(knobs.items()))


def batch_of(built: tuple[Texts, TextPlan], count: int, seed: int = 0) -> TextBatch:
    texts, plan = built
    return jax.device_get(_sample(texts, plan, jax.random.split(jax.random.key(seed), count)))


def strings(built: tuple[Texts, TextPlan], count: int, seed: int = 0) -> list[str]:
    return texts_to_strings(batch_of(built, count, seed), CHARACTERS)


def tokens(texts: list[str]) -> set[str]:
    stripped = (token.strip(text.PUNCTUATION) or token for line in texts for token in line.split())
    return {token.lower() for token in stripped}


SCENES = [
    ("latin94", "auto", (1, 1)),
    ("latin94+space", "keep", (1, 3)),
    ("alnum36", "auto", (1, 1)),
    ("digits", "keep", (1, 1)),
]
SIDES = ("train", "test")
LIMITS = [
    *((*scene, side, 24, 25) for scene in SCENES for side in SIDES),
    *((*SCENES[1], side, 7, 7) for side in SIDES),
    (*SCENES[2], "train", 12, None),
]


@pytest.mark.parametrize(("charset", "case", "line_words", "side", "longest", "budget"), LIMITS)
def test_labels_are_the_encoded_texts_and_fit(
    charset: str, case: str, line_words: tuple, side: str, longest: int, budget: int | None
) -> None:
    knobs = dict(ALL_KINDS, **ALL_STYLES, punctuation=0.3, line_words=line_words)
    batch = batch_of(build(charset, case, side, longest, budget, **knobs), 1000)
    encoder = build_charset(charset, case)
    assert batch.glyphs.shape == batch.labels.shape == (1000, longest)
    assert {array.dtype for array in batch} == {np.dtype(np.int32)}
    found = texts_to_strings(batch, CHARACTERS)
    for line, glyphs, labels, count in zip(
        found, batch.glyphs, batch.labels, batch.label_lengths, strict=True
    ):
        assert 1 <= len(line) <= longest
        assert " ".join(line.split()) == line
        assert labels[:count].tolist() == encoder.encode(line)
        assert not labels[count:].any()
        assert not glyphs[len(line) :].any()
        repeats = np.sum(labels[1:count] == labels[: count - 1])
        assert budget is None or count + repeats <= budget
    assert batch.lengths.tolist() == [len(line) for line in found]


@pytest.mark.parametrize(("charset", "case", "line_words"), SCENES)
def test_no_token_occurs_on_both_sides(charset: str, case: str, line_words: tuple) -> None:
    knobs = dict(ALL_KINDS, **ALL_STYLES, punctuation=0.3, line_words=line_words)
    train, test = set(), set()
    for seed in range(20):
        train |= tokens(strings(build(charset, case, "train", **knobs), 1000, seed))
        test |= tokens(strings(build(charset, case, "test", **knobs), 1000, seed))
    assert len(train) > 5_000
    assert len(test) > 1_000
    assert not train & test


def test_hash_is_the_same_in_numpy_and_jax() -> None:
    words = [*list(word_counts())[::500], "ÉcolE", "“Ab-c”,", "...", "(x)", "12 May 1998", "a"]
    outside = set(f" {text.PUNCTUATION}")
    for whole in (False, True):
        expected = text_bank.belongs(words, "test", whole)
        state = text.start_hash(len(words), jnp)
        for column in range(max(map(len, words))):
            chars = [word[column : column + 1] for word in words]
            state = text.absorb(
                state,
                jnp.array([ord(char.lower()) if char else 0 for char in chars], jnp.uint32),
                jnp.array([bool(char) and char not in outside for char in chars]),
                jnp.array([char == " " and not whole for char in chars]),
                True,
                jnp,
            )
        assert text.on_side(state, True).tolist() == expected.tolist()


def test_side_ignores_case_and_punctuation_and_holds_out_five_percent() -> None:
    words = list(word_counts())[::7]
    test = text_bank.belongs(words, "test")
    assert abs(test.mean() - text.HELD_OUT) < 0.01
    for change in (str.upper, str.title, lambda word: f"({word}).", lambda word: f"“{word}"):
        assert (text_bank.belongs([change(word) for word in words], "test") == test).all()
    assert (text_bank.belongs(words, "train") == ~test).all()
    both = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    assert (text_bank.belongs(both, "test") == (test[:-1] & test[1:])).all()


@pytest.mark.parametrize("temper", [0.0, 0.5, 1.0])
def test_words_follow_their_tempered_counts(tmp_path: pathlib.Path, temper: float) -> None:
    path = tmp_path / "words.txt"
    counts = {f"word{i}": 2.0**i for i in range(12)}
    path.write_text("\n".join(f"{word}\t{count}" for word, count in counts.items()))
    drawn = Counter(strings(build(text_file=str(path), temper=temper), 20_000))
    weights = {
        word: counts[word] ** temper for word in counts if text_bank.belongs([word], "train")
    }
    expected = {word: 20_000 * w / sum(weights.values()) for word, w in weights.items()}
    assert set(drawn) <= set(expected)
    chi = sum((drawn[word] - mean) ** 2 / mean for word, mean in expected.items())
    assert chi < len(expected) + 5 * (2 * len(expected)) ** 0.5


def test_dictionary_words_come_by_frequency() -> None:
    drawn = strings(build(), 20_000)
    counts = word_counts()
    assert set(drawn) <= set(counts)
    words = np.array(list(counts))
    weights = np.array(list(counts.values())) ** 0.3 * text_bank.belongs(words.tolist(), "train")
    frequent = np.argsort(weights)[-1000:]
    share = np.isin(drawn, words[frequent]).mean()
    assert abs(share - weights[frequent].sum() / weights.sum()) < 0.012


def test_random_characters_are_balanced_and_lengths_mixed() -> None:
    drawn = strings(build("alnum62", words=0.0, random=1.0, budget=None), 20_000)
    counts = Counter("".join(drawn))
    assert set(counts) == set(string.ascii_letters + string.digits)
    mean = sum(counts.values()) / 62
    assert all(abs(count - mean) < 6 * mean**0.5 for count in counts.values())
    lengths = Counter(map(len, drawn))
    assert set(lengths) == set(range(1, text_bank.LONGEST_RANDOM + 1))
    assert max(lengths.values()) < 1.2 * min(lengths.values())


def test_kinds_have_their_shares() -> None:
    knobs = {"words": 2.0, "random": 1.0, "numbers": 1.0, "pattern": "[A-C]{3}!", "patterns": 4.0}
    drawn = strings(build("chars:abcdefghijklmnopqrstuvwxyz0123456789ABC!", "keep", **knobs), 8000)
    patterns = sum(bool(re.fullmatch("[A-C]{3}!", line)) for line in drawn) / 8000
    words = sum(line in word_counts() for line in drawn) / 8000
    assert abs(patterns - 0.5) < 0.03
    assert 0.22 < words < 0.30  # some random strings are words


@pytest.mark.parametrize("kind", list(NAMED))
@pytest.mark.parametrize("side", ["train", "test"])
def test_named_patterns_match(kind: str, side: str) -> None:
    built = build("latin94+space", side=side, budget=None, words=0.0, **{kind: 1.0})
    matches = [re.compile(pattern).fullmatch for pattern in NAMED[kind]]
    drawn = strings(built, 1000)
    assert all(any(match(line) for match in matches) for line in drawn)
    used = sum(any(map(match, drawn)) for match in matches)
    assert used >= (0.8 if side == "train" else 0.4) * len(matches)  # the charset has no "¢"


def test_dates_exist() -> None:
    dates = [line for line in NAMED["dates"] if line.startswith("(?:(?:0[1-9]")]
    assert any(re.fullmatch(pattern, "31/12/1999") for pattern in dates)
    for wrong in ("31/04/1999", "30/02/2000", "00/01/2000", "01/13/2050", "31 Apr 1999"):
        assert not any(re.fullmatch(pattern, wrong) for pattern in NAMED["dates"])


def test_user_pattern() -> None:
    knobs = {"words": 0.0, "patterns": 1.0, "pattern": r"[A-Z]{2}\d{2} (?:\d{4} ){2,3}\d{2}"}
    for side in ("train", "test"):
        drawn = strings(build("latin94+space", side=side, **knobs), 1000)
        assert all(re.fullmatch(knobs["pattern"], line) for line in drawn)
        assert len(set(drawn)) > 900
        # Held out as a whole: short pieces of it could not be.
        assert text_bank.belongs(drawn, side, whole=True).all()
    lengths = Counter(map(len, drawn))
    assert abs(lengths[17] / 1000 - 0.5) < 0.08


def test_rejected_candidates_fall_back_on_texts_that_match() -> None:
    texts, plan = build("digits", side="test", words=0.0, patterns=1.0, pattern=r"\d{3,5}")
    with_one = TextPlan(**{**vars(plan), "candidates": 1})
    drawn = strings((texts, with_one), 2000)
    assert all(re.fullmatch(r"\d{3,5}", line) for line in drawn)
    assert text_bank.belongs(drawn, "test").all()


def test_case_styles() -> None:
    def drawn(**styles: float) -> list[str]:
        return strings(build(**dict.fromkeys(text.STYLES, 0.0) | styles), 500)

    assert all(line == line.title() for line in drawn(title=1.0))
    assert all(line == line.upper() for line in drawn(upper=1.0))
    assert sum(line not in (line.lower(), line.title()) for line in drawn(mixed=1.0)) > 300
    assert drawn(lower=1.0) == [line.lower() for line in drawn(upper=1.0)]
    upper = sum(line.isupper() and len(line) > 1 for line in drawn(lower=0.75, upper=0.25))
    assert abs(upper / 500 - 0.25) < 0.07


def test_case_stays_where_the_charset_has_one() -> None:
    upper = strings(build("chars:" + string.ascii_uppercase, "keep", **ALL_STYLES), 200)
    assert all(line.isupper() for line in upper)
    lower = strings(build("chars:" + string.ascii_lowercase, "keep", **ALL_STYLES), 200)
    assert all(line.islower() for line in lower)


def test_folded_texts_are_drawn_in_every_case() -> None:
    batch = batch_of(build("alnum36", **ALL_STYLES), 500)
    drawn = texts_to_strings(batch, CHARACTERS)
    assert sum(line.isupper() for line in drawn) > 80
    assert set(np.unique(batch.labels)) <= set(range(37))


def test_punctuation_surrounds_its_share_of_the_words() -> None:
    drawn = strings(build(punctuation=0.25), 4000)
    marked = [line for line in drawn if not line.isalpha()]
    assert abs(len(marked) / 4000 - 0.25) < 0.03
    assert {line.strip(text.PUNCTUATION) for line in marked} <= set(word_counts())
    assert {line[-1] for line in marked} >= set(',.!?:)"')
    assert all(line.count("(") == line.count(")") for line in marked if line[0] in "[“")
    assert all(map(str.isalnum, strings(build("alnum36", punctuation=1.0), 200)))


def test_lines_have_their_number_of_words() -> None:
    drawn = strings(build("latin94+space", longest=64, budget=None, line_words=(2, 4)), 3000)
    counts = Counter(len(line.split()) for line in drawn)
    assert set(counts) == {2, 3, 4}
    assert all(abs(count / 3000 - 1 / 3) < 0.05 for count in counts.values())
    short = strings(build("latin94+space", longest=12, budget=None, line_words=(4, 4)), 1000)
    assert {len(line.split()) for line in short} == {1, 2}
    assert all(token in word_counts() for line in short for token in line.split())


def test_rows_depend_on_their_keys_alone() -> None:
    texts, plan = build("latin94+space", line_words=(1, 3), punctuation=0.3, **ALL_KINDS)
    keys = jax.random.split(jax.random.key(3), 8)
    whole = _sample(texts, plan, keys)
    again = _sample(texts, plan, keys)
    halves = [_sample(texts, plan, keys[:4]), _sample(texts, plan, keys[4:])]
    for field, same, first, second in zip(whole, again, *halves, strict=True):
        assert (field == same).all()
        assert (field == jnp.concatenate([first, second])).all()
    assert len(set(texts_to_strings(whole, CHARACTERS))) == 8


def test_tables_of_the_host_can_be_constants_of_a_program() -> None:
    texts, plan = build("digits", **ALL_KINDS)
    keys = jax.random.split(jax.random.key(0), 1000)
    constant = jax.jit(lambda keys: sample_texts(texts, plan, keys))(keys)
    for one, other in zip(constant, _sample(texts, plan, keys), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("side", SIDES)
def test_texts_of_one_character(side: str) -> None:
    knobs = dict(ALL_KINDS, **ALL_STYLES, punctuation=0.5, line_words=(1, 3))
    drawn = strings(build("latin94+space", "keep", side, 1, 1, **knobs), 500)
    assert set(map(len, drawn)) == {1}
    assert len(set(drawn)) > (50 if side == "train" else 0)
    assert " " not in drawn


def test_words_alone_compile_to_no_loop() -> None:
    texts, plan = build()
    keys = jax.random.split(jax.random.key(0), 8)
    program = jax.make_jaxpr(sample_texts, static_argnums=1)(texts, plan, keys)
    assert "scan" not in str(program)


def test_digits_give_the_share_of_words_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "crnn_jax")
    _build.cache_clear()
    drawn = strings(build("digits", **ALL_KINDS), 500)
    assert all(map(str.isdigit, drawn))
    said = [record.getMessage() for record in caplog.records if record.name == "crnn_jax"]
    assert len(said) == 1
    assert "nothing of words, prices;" in said[0]
    with pytest.raises(UserError, match="no text can be drawn: words have none"):
        build("digits")


def test_text_file(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "crnn_jax")
    path = tmp_path / "texts.txt"
    lines = [f"Item {i} of  Box" for i in range(200)] + ["naïve", "日本", "x" * 30, "", "Café"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    sides = {}
    for side in ("train", "test"):
        drawn = strings(build("latin94+space", side=side, text_file=str(path)), 1500)
        assert all(re.fullmatch(r"Item \d+ of Box", line) for line in drawn)  # as written
        sides[side] = set(drawn)
    assert len(sides["train"] | sides["test"]) == 200
    assert not sides["train"] & sides["test"]
    said = [record.getMessage() for record in caplog.records if record.name == "crnn_jax"]
    assert len(said) == 2
    assert "4 of 204 texts left out: 3 hold characters" in said[0]
    title = strings(build("latin94+space", text_file=str(path), lower=0.0, title=1.0), 50)
    assert all(re.fullmatch(r"Item \d+ Of Box", line) for line in title)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "holds no text"),
        (b"\n \n", "holds no text"),
        (b"good\nb\xe9d\n", "line 2: not UTF-8"),
        (b"word\t3\nother\tmany\n", "line 2: 'many' is no count"),
        (b"word\t-1\n", "is no count"),
        ("日本\n".encode(), "no text can be drawn"),
    ],
)
def test_mistakes_in_text_files(tmp_path: pathlib.Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        build(text_file=str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"words": 0.0}, "one of them above 0"),
        ({"random": -1.0}, "none below 0"),
        ({"patterns": 1.0}, "pattern is empty"),
        ({"patterns": 1.0, "pattern": "[a"}, "unterminated"),
        ({"words": 0.0, "patterns": 1.0, "pattern": "é+"}, "no text can be drawn: patterns"),
        ({"line_words": (3, 2)}, "line_words"),
        ({"charset": "from_data"}, "labels"),
        ({"side": "validation"}, "unknown side 'validation'"),
        ({"longest": 0}, "nothing fits"),
    ],
)
def test_mistakes_take_one_line(knobs: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        build(**knobs)
    assert "\n" not in str(error.value)


def test_charset_must_have_single_characters() -> None:
    charset = text_bank.Charset(("a", "ch"), "keep")
    with pytest.raises(UserError, match="'ch'"):
        build_texts(plain(), charset, CHARACTERS, "train", 24, None)


def test_characters_that_change_with_their_neighbours_are_left_out() -> None:
    fold = build_charset("chars:aσςe\u0301o", "fold")
    assert set(text_bank.allowed_characters(fold, "aAσςΣe\u0301oK")) == set("aAσςo")
    keep = build_charset("chars:aΣe", "keep")
    assert set(text_bank.allowed_characters(keep, "aAΣe\u0301")) == set("aΣe")
