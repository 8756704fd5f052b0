"""Drawn texts: sides, labels, lengths, frequencies, shares and cases."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import string
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_texts import (
    ALL_KINDS,
    ALL_STYLES,
    CHARACTERS,
    SCENES,
    SIDES,
    batch_of,
    build,
    sample,
    scene,
    strings,
    tokens,
)

from crnn_jax.charset import build_charset
from crnn_jax.data.words import word_counts
from crnn_jax.errors import UserError
from crnn_jax.synth import sides
from crnn_jax.synth.text import sample_texts, texts_to_strings
from crnn_jax.synth.text_kinds import LONGEST_RANDOM, NAMED
from crnn_jax.synth.text_tables import STYLES


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("settings", SCENES)
def test_labels_are_the_encoded_texts_and_fit(settings: tuple, side: str) -> None:
    charset, case, _, longest, budget = settings
    batch = batch_of(scene(side, *settings), 1000)
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


@pytest.mark.parametrize("settings", SCENES)
def test_no_token_occurs_on_both_sides(settings: tuple) -> None:
    train, test = set(), set()
    for seed in range(6):
        train |= tokens(strings(scene("train", *settings), 1000, seed))
        test |= tokens(strings(scene("test", *settings), 1000, seed))
    assert len(train) > 2000
    assert len(test) > 500
    assert not train & test


def test_tempers_that_no_count_bears_are_refused() -> None:
    with pytest.raises(UserError, match=r"temper is 1000000000.0: give at most 10"):
        build(temper=1e9)


@pytest.mark.parametrize("temper", [0.0, 0.5, 1.0])
def test_words_follow_their_tempered_counts(tmp_path: pathlib.Path, temper: float) -> None:
    path = tmp_path / "words.txt"
    counts = {f"word{i}": 2.0**i for i in range(12)}
    path.write_text("\n".join(f"{word}\t{count}" for word, count in counts.items()))
    drawn = Counter(strings(build(text_file=str(path), temper=temper), 20_000))
    weights = {word: counts[word] ** temper for word in counts if sides.belongs([word], "train")}
    expected = {word: 20_000 * w / sum(weights.values()) for word, w in weights.items()}
    assert set(drawn) <= set(expected)
    chi = sum((drawn[word] - mean) ** 2 / mean for word, mean in expected.items())
    assert chi < len(expected) + 5 * (2 * len(expected)) ** 0.5


def test_dictionary_words_come_by_frequency() -> None:
    drawn = strings(build(), 20_000)
    counts = word_counts()
    assert set(drawn) <= set(counts)
    words = np.array(list(counts))
    weights = np.array(list(counts.values())) ** 0.3 * sides.belongs(words.tolist(), "train")
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
    assert set(lengths) == set(range(1, LONGEST_RANDOM + 1))
    assert max(lengths.values()) < 1.2 * min(lengths.values())


def test_kinds_have_their_shares() -> None:
    knobs = {"words": 2.0, "random": 1.0, "numbers": 1.0, "pattern": "[A-C]{3}!", "patterns": 4.0}
    drawn = strings(build("chars:abcdefghijklmnopqrstuvwxyz0123456789ABC!", "keep", **knobs), 8000)
    patterns = sum(bool(re.fullmatch("[A-C]{3}!", line)) for line in drawn) / 8000
    words = sum(line in word_counts() for line in drawn) / 8000
    assert abs(patterns - 0.5) < 0.03
    assert 0.22 < words < 0.30  # some random strings are words


def test_named_patterns_match() -> None:
    def texts_of(side: str) -> tuple:
        return build(
            "latin94+space", side=side, budget=None, words=0.0, **dict.fromkeys(NAMED, 1.0)
        )

    drawn = strings(texts_of("train"), 6000)
    every = re.compile("|".join(f"(?:{p})" for p in itertools.chain(*NAMED.values())))
    assert all(map(every.fullmatch, drawn))
    bank = texts_of("test")[0].bank
    glyphs = "".join(CHARACTERS[glyph] for glyph in bank.glyphs)
    kept = [glyphs[start:][:size] for start, size in zip(bank.offset, bank.length, strict=True)]
    for patterns, first, size in zip(NAMED.values(), *bank.parts, strict=True):
        matches = [re.compile(pattern).fullmatch for pattern in patterns]
        part = kept[first:][:size]
        assert all(any(match(line) for match in matches) for line in part)
        for found, share in ((drawn, 0.8), (part, 0.4)):  # the charset has no "¢"
            assert sum(any(map(match, found)) for match in matches) >= share * len(matches)


def test_user_pattern() -> None:
    knobs = {"words": 0.0, "patterns": 1.0, "pattern": r"[A-Z]{2}\d{2} (?:\d{4} ){2,3}\d{2}"}
    for side in SIDES:
        texts, plan = build("latin94+space", side=side, **knobs)
        if side == "test":  # nearly all texts fall back on those of the bank
            plan = dataclasses.replace(plan, candidates=1)
        drawn = strings((texts, plan), 1000)
        assert all(re.fullmatch(knobs["pattern"], line) for line in drawn)
        assert len(set(drawn)) > (900 if side == "train" else 500)
        # Held out as a whole: short pieces of it could not be.
        assert sides.belongs(drawn, side, whole=True).all()
        lengths = Counter(map(len, drawn))
        assert abs(lengths[17] / 1000 - 0.5) < 0.08


def test_case_styles() -> None:
    knobs = {"longest": 64, "budget": None, "line_words": (2, 4)}
    written = strings(build("latin94+space", **knobs), 1000)
    drawn = strings(build("latin94+space", **knobs, **dict.fromkeys(STYLES, 0.25)), 1000)
    assert [line.lower() for line in drawn] == written  # the style changes nothing else
    long = [line for line in drawn if len(line) > 8]  # one style for all the words of a line
    counts = Counter((line.islower(), line.istitle(), line.isupper()) for line in long)
    assert len(counts) == 4
    assert all(abs(count / len(long) - 0.25) < 0.06 for count in counts.values())
    assert counts[False, False, False] / len(long) > 0.2  # mIxEd


def test_folded_texts_are_drawn_in_every_case() -> None:
    batch = batch_of(scene("train", *SCENES[1]), 1000)
    drawn = texts_to_strings(batch, CHARACTERS)
    assert sum(line.isupper() for line in drawn) > 100
    assert sum(line.islower() for line in drawn) > 100
    assert set(np.unique(batch.labels)) == set(range(37))


def test_punctuation_surrounds_its_share_of_the_words() -> None:
    drawn = strings(build(punctuation=0.25), 4000)
    marked = [line for line in drawn if not line.isalpha()]
    assert abs(len(marked) / 4000 - 0.25) < 0.03
    assert {line.strip(sides.PUNCTUATION) for line in marked} <= set(word_counts())
    assert {line[-1] for line in marked} >= set(',.!?:)"')
    assert all(line.count("(") == line.count(")") for line in marked if line[0] in "[“")
    assert build("alnum36", random=1.0, words=0.0, punctuation=1.0)[1].punctuation == 0


def test_lines_have_their_number_of_words() -> None:
    knobs = {"longest": 64, "budget": None, "line_words": (2, 4)}
    drawn = [
        line for seed in (0, 1) for line in strings(build("latin94+space", **knobs), 1000, seed)
    ]
    counts = Counter(len(line.split()) for line in drawn)
    assert set(counts) == {2, 3, 4}
    assert all(abs(count / 2000 - 1 / 3) < 0.05 for count in counts.values())
    short = strings(build("latin94+space", longest=12, budget=None, line_words=(4, 4)), 1000)
    assert {len(line.split()) for line in short} == {1, 2}
    assert all(token in word_counts() for line in short for token in line.split())


def test_rows_depend_on_their_keys_alone() -> None:
    built = scene("train", *SCENES[0])
    keys, others = (jax.random.split(jax.random.key(seed), 1000) for seed in (0, 3))
    whole, again = batch_of(built, 1000), batch_of(built, 1000)
    kept = np.random.default_rng(0).random(1000) < 0.5
    mixed = jax.device_get(sample(*built, jnp.where(kept, keys, others)[::-1]))
    for field, same, other in zip(whole, again, mixed, strict=True):
        assert (field == same).all()
        assert (field[kept] == other[::-1][kept]).all()
        assert (field[~kept] != other[::-1][~kept]).any()
    assert len(set(texts_to_strings(whole, CHARACTERS))) > 900


def test_tables_can_be_constants_of_a_program_of_any_batch_size() -> None:
    built = build("alnum62", words=0.0, random=1.0, budget=None)
    whole, keys = batch_of(built, 20_000), jax.random.split(jax.random.key(0), 20_000)[:7]
    options = {"xla_backend_optimization_level": 0}
    constant = jax.jit(lambda keys: sample_texts(*built, keys), compiler_options=options)(keys)
    for one, other in zip(constant, whole, strict=True):
        assert (one == other[:7]).all()


def test_texts_of_one_character() -> None:
    knobs = dict(ALL_KINDS, **ALL_STYLES, punctuation=0.5, line_words=(1, 3))
    drawn = strings(build("latin94+space", "keep", "train", 1, 1, **knobs), 500)
    assert set(map(len, drawn)) == {1}
    assert len(set(drawn)) > 50
    assert " " not in drawn
    texts, plan = build("latin94+space", "keep", "test", 1, 1, **knobs)
    assert plan.line_words == (1, 1)
    assert set(texts.bank.length) == {1}
