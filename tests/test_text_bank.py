"""Tables of texts: the hash of sides, files, what charsets leave out, and mistakes."""

from __future__ import annotations

import itertools
import logging
import pathlib
import re
import string
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_texts import (
    ALL_KINDS,
    ALL_STYLES,
    CHARACTERS,
    batch_of,
    build,
    strings,
)

from crnn_jax.charset import build_charset
from crnn_jax.data.words import word_counts
from crnn_jax.errors import DataError, UserError
from crnn_jax.synth import sides, text_bank
from crnn_jax.synth.atlas import load_atlas
from crnn_jax.synth.bank import load_bank
from crnn_jax.synth.font_files import find_fonts
from crnn_jax.synth.presets import plain
from crnn_jax.synth.text import sample_texts
from crnn_jax.synth.text_bank import build_texts
from crnn_jax.synth.text_files import read_texts
from crnn_jax.synth.text_kinds import NAMED
from crnn_jax.synth.textures import build_textures


def test_hash_is_the_same_in_numpy_and_jax() -> None:
    words = [*list(word_counts())[::500], "ÉcolE", "“Ab-c”,", "...", "(x)", "12 May 1998", "a"]
    outside = set(f" {sides.PUNCTUATION}")
    for whole in (False, True):
        expected = sides.belongs(words, "test", whole)
        state = sides.start_hash(len(words), jnp)
        for column in range(max(map(len, words))):
            chars = [word[column : column + 1] for word in words]
            state = sides.absorb(
                state,
                jnp.array([ord(char.lower()) if char else 0 for char in chars], jnp.uint32),
                jnp.array([bool(char) and char not in outside for char in chars]),
                jnp.array([char == " " and not whole for char in chars]),
                True,
                jnp,
            )
        assert sides.on_side(state, True).tolist() == expected.tolist()


def test_side_ignores_case_and_punctuation_and_holds_out_five_percent() -> None:
    words = list(word_counts())[::7]
    test = sides.belongs(words, "test")
    assert abs(test.mean() - sides.HELD_OUT) < 0.01
    for change in (str.upper, str.title, lambda word: f"({word}).", lambda word: f"“{word}"):
        assert (sides.belongs([change(word) for word in words], "test") == test).all()
    assert (sides.belongs(words, "train") == ~test).all()
    both = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    assert (sides.belongs(both, "test") == (test[:-1] & test[1:])).all()


def test_dates_exist() -> None:
    dates = [line for line in NAMED["dates"] if line.startswith("(?:(?:0[1-9]")]
    assert any(re.fullmatch(pattern, "31/12/1999") for pattern in dates)
    for wrong in ("31/04/1999", "30/02/2000", "00/01/2000", "01/13/2050", "31 Apr 1999"):
        assert not any(re.fullmatch(pattern, wrong) for pattern in NAMED["dates"])


@pytest.mark.parametrize("letters", [string.ascii_uppercase, string.ascii_lowercase])
def test_case_stays_where_the_charset_has_one(letters: str) -> None:
    texts, _ = build("chars:" + letters, "keep", **ALL_STYLES)
    glyphs = np.array([CHARACTERS.index(letter) for letter in letters])
    assert set(texts.bank.glyphs) == set(glyphs)
    for change in (texts.characters.lower, texts.characters.upper):
        assert (change[glyphs] == glyphs).all()


def test_words_alone_compile_to_no_loop() -> None:
    texts, plan = build()
    keys = jax.random.split(jax.random.key(0), 8)
    program = jax.make_jaxpr(sample_texts, static_argnums=1)(texts, plan, keys)
    assert "scan" not in str(program)


def test_characters_that_are_never_drawn_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    text_bank._warn_of_undrawn.cache_clear()
    for side in ("train", "test"):
        build("abcdefghijklmnop\u0436\u05d0", "fold", side=side)
    (said,) = [r.getMessage() for r in caplog.records if "never in rendered text" in r.getMessage()]
    assert said.startswith("2 of 18 characters of the charset are never in rendered text")
    assert ": \u0436\u05d0; draw with other faces" in said


def test_digits_give_the_share_of_words_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "crnn_jax")
    _, plan = build("digits", **ALL_KINDS)  # built by no other test
    assert not plan.words
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
    drawn = {}
    for side, style in (("train", "lower"), ("test", "title")):
        styles = {"lower": 0.0, style: 1.0}
        built = build("latin94+space", side=side, text_file=str(path), **styles)
        drawn[side] = set(strings(built, 1500))
    assert all(re.fullmatch(r"Item \d+ of Box", line) for line in drawn["train"])  # as written
    assert all(re.fullmatch(r"Item \d+ Of Box", line) for line in drawn["test"])
    drawn["test"] = {line.replace("Of", "of") for line in drawn["test"]}
    assert len(drawn["train"] | drawn["test"]) == 200
    assert not drawn["train"] & drawn["test"]
    said = [record.getMessage() for record in caplog.records if record.name == "crnn_jax"]
    assert len(said) == 2
    assert "4 of 204 texts left out: 3 hold characters" in said[0]


def test_right_to_left_texts_are_drawn_as_they_are_seen(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("שלום\nעולם\nתודה רבה\n12 אב\n", encoding="utf-8")
    characters = " !12" + "".join(map(chr, range(0x5D0, 0x5EB)))
    charset = build_charset("chars:" + characters, "keep")
    settings = plain()
    settings.text_file, settings.punctuation = str(path), 1.0
    built = build_texts(settings, charset, characters, "train", 16, None)
    batch = batch_of(built, 64)
    drawn = {"".join(characters[g] for g in row[:n]) for row, n in zip(*batch[:2], strict=True)}
    assert "!םולש" in drawn
    assert "!בא 12" in drawn
    read = {charset.decode(row[:n]) for row, n in zip(*batch[2:], strict=True)}
    assert read == {"שלום!", "עולם!", "תודה רבה!", "12 אב!"}


def test_languages_have_the_shares_that_are_asked_for() -> None:
    built = build(languages="3*english|german", temper=0.5, charset="chars:" + CHARACTERS)
    drawn = strings(built, 8_000)
    english, german = word_counts(), word_counts("german")
    assert all(word in english or word in german for word in drawn)
    weights = {word: count**0.5 for word, count in german.items() if set(word) <= set(CHARACTERS)}
    alone = sum(w for word, w in weights.items() if word not in english) / sum(weights.values())
    found = np.mean([word not in english for word in drawn])
    assert abs(found - 0.25 * alone) < 0.02
    assert any("ß" in word for word in drawn)


def test_words_of_other_languages_take_the_case_of_the_charset() -> None:
    texts, _ = build("chars:ABCDEFGHIJKLMNOPQRSTUVWXYZÉ", "keep", languages="french")
    letters = {CHARACTERS[glyph] for glyph in texts.bank.glyphs}
    assert letters == set("ABCDEFGHIJKLMNOPQRSTUVWXYZÉ")


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


@pytest.mark.parametrize("read", [read_texts, load_atlas, build_textures, load_bank, find_fonts])
def test_paths_may_begin_with_a_home_folder(
    read: Callable, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").touch()
    with pytest.raises((UserError, DataError)) as error:  # found, and nothing in it
        read("~/mine")
    assert "No such" not in str(error.value)
    assert "no such" not in str(error.value)
    with pytest.raises((UserError, DataError), match=r"[Nn]o such"):
        read("~nobody.here/mine")


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"words": 0.0}, "one must be above 0"),
        ({"languages": "klingon"}, "language of words .config.synth.languages. 'klingon'"),
        ({"languages": "german", "text_file": "x"}, "words are of the one or the other"),
        ({"random": -1.0}, "random is -1.0: give 0 or positive"),
        ({"words": 0.0, "patterns": 1.0}, "both a share and a regular expression"),
        ({"words": 0.0, "patterns": 1.0, "pattern": "[a"}, "unterminated"),
        ({"words": 0.0, "patterns": 1.0, "pattern": "é+"}, "no text can be drawn: patterns"),
        ({"words": 0.0, "codes": 1.0, "line_words": (3, 2)}, "line_words is .* the smaller one"),
        ({"charset": "from_data"}, "labels"),
        ({"weight": (0.0, 0.2)}, "less than 0.18 em"),
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
