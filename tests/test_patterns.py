"""Patterns: every text drawn matches, and all texts that match are drawn alike."""

from __future__ import annotations

import re
import string
import time
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.synth import alias, patterns

ASCII = "".join(map(chr, range(32, 127)))


def compile_one(
    pattern: str, alphabet: str = ASCII, longest: int = 12
) -> tuple[patterns.PatternCompiler, dict[int, int]]:
    compiler = patterns.PatternCompiler({char: i for i, char in enumerate(alphabet)}, longest)
    return compiler, compiler.add(pattern)


def draw(
    compiler: patterns.PatternCompiler, node: int, count: int, alphabet: str = ASCII
) -> list[str]:
    rng = np.random.default_rng(0)
    tables, nodes = compiler.tables(), np.full(count, node, np.int32)
    columns = []
    while nodes.any():
        live, bits = nodes > 0, rng.integers(2**32, size=(3, count), dtype=np.uint32)
        nodes, glyphs = patterns.step(tables, nodes, *bits)
        columns.append(np.where(live, np.array(list(alphabet))[glyphs], ""))
    return ["".join(row) for row in zip(*columns, strict=True)]


def language(pattern: str, alphabet: str, longest: int) -> dict[int, set[str]]:
    """All texts that match, by length, found by trying every text."""
    found, texts = {}, [""]
    for length in range(1, longest + 1):
        texts = [text + char for text in texts for char in alphabet]
        matching = {t for t in texts if re.fullmatch(pattern, t) and " ".join(t.split()) == t}
        if matching:
            found[length] = matching
    return found


@pytest.mark.parametrize(
    "pattern",
    [
        r"ab?c*|(a|b)+",
        r"(?:a|ab)(?:c|bc)?",
        r"a{2}|b{,2}c{1,}|{a}|a{b|a{,}",
        r"(a?){3}b{2,3}?",
        r"[^a-b]*.",
        r"[]a]|[^]a]b|[\]b\-]{2}",
        r"\w\s\w|\W|\x61\u0062",
        r"^(?P<name>a b| c*)$",
        r"a|",
        r"((a|b){2}){2}",
        r"(){3}a(b|)+",
        r"a{9}",
        r"",
        r"x",
    ],
)
def test_counts_and_draws_are_those_of_the_language(pattern: str) -> None:
    alphabet = "abc ]-{}"
    compiler, starts = compile_one(pattern, alphabet, 4)
    expected = language(pattern, alphabet, 4)
    assert starts.keys() == expected.keys()
    for length, node in starts.items():
        assert compiler.count(node) == len(expected[length])
        drawn = draw(compiler, node, 300, alphabet)
        assert set(drawn) <= expected[length]
        if len(expected[length]) < 20:
            assert set(drawn) == expected[length]


def test_texts_of_one_length_are_equally_likely() -> None:
    compiler, starts = compile_one(r"a[0-9]|(b|bc|d)[x-z]?[0-4]*", longest=3)
    expected = language(r"a[0-9]|(b|bc|d)[x-z]?[0-4]*", "abcdxyz0123456789", 3)
    for length, node in starts.items():
        drawn, mean = Counter(draw(compiler, node, 40_000)), 40_000 / compiler.count(node)
        assert set(drawn) == expected[length]
        # Chi-square with n - 1 degrees of freedom: mean n - 1, standard deviation sqrt(2n).
        chi = sum((drawn[text] - mean) ** 2 / mean for text in expected[length])
        assert chi < len(drawn) + 5 * (2 * len(drawn)) ** 0.5


@pytest.mark.parametrize(
    "pattern",
    [
        r"[A-Z]{2}\d{2} [A-Z]{3}",
        r"\d{3}(-\d{3})*",
        r"[^aeiou\W]+",
        r".*",
        r"(?:https?://)?[a-z]+\.(?:com|org)",
        r"[\d.]+(?:e[+-]?\d+)?",
        r"\$[1-9]\d{0,2}(?:,\d{3})*\.\d\d",
    ],
)
def test_texts_match_and_have_their_length(pattern: str) -> None:
    compiler, starts = compile_one(pattern, longest=24)
    assert starts
    assert max(starts) <= 24
    for length, node in starts.items():
        for text in draw(compiler, node, 50):
            assert re.fullmatch(pattern, text)
            assert len(text) == length
            assert " ".join(text.split()) == text


def test_astronomical_counts_stay_balanced() -> None:
    compiler, starts = compile_one(r"\w{64}", string.ascii_letters, 64)
    assert compiler.count(starts[64]) == 52**64
    counts = Counter("".join(draw(compiler, starts[64], 2000, string.ascii_letters)))
    mean = 64 * 2000 / 52
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())
    assert len(counts) == 52


def test_classes_follow_unicode_and_the_alphabet() -> None:
    compiler, starts = compile_one(r"\w[à-ü]", "eéß€1 ", 3)
    assert set(draw(compiler, starts[2], 200, "eéß€1 ")) == {"eé", "éé", "ßé", "1é"}


def test_patterns_lose_what_cannot_be_written() -> None:
    _, starts = compile_one(r"\$\d|£\d\d|\d,\d{3}", string.digits + ",", 8)
    assert starts.keys() == {5}
    assert compile_one(r"\$\d+", string.digits)[1] == {}


def test_patterns_share_a_table() -> None:
    compiler, digits = compile_one(r"\d{2,3}")
    letters = compiler.add(r"[a-c]{2}")
    assert all(text.isdigit() for text in draw(compiler, digits[3], 50))
    assert set(draw(compiler, letters[2], 500)) == {a + b for a in "abc" for b in "abc"}


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("[a-", "unterminated character set at position 0"),
        ("(a", r"missing \)"),
        ("a{2,1}", "min repeat greater than max"),
        ("a**", "multiple repeat"),
        (r"(a)\1", r"position 3: \\1"),
        (r"\bfoo", r"\\b"),
        ("(?=a)b", "look-around"),
        ("(?i)a", "flags"),
        ("a*+b", "possessive"),
        ("a|^b", r"\^ and \$ inside"),
        ("((((.{9}){9}){9}){9}){9}", "too intricate"),
        (".*a.{14}b", "too intricate"),
    ],
)
def test_mistakes_take_one_line(pattern: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=says) as error:
        compile_one(pattern, longest=64)
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 60  # it would take for ever


def test_scaled_is_exact() -> None:
    rng = np.random.default_rng(0)
    bits = np.append(rng.integers(2**32, size=5000, dtype=np.uint32), [0, 2**32 - 1])
    bits = bits.astype(np.uint32)
    for top in (1, 2, 94, 2**16, 10**6, 2**31 - 1):
        size = rng.integers(1, top, size=len(bits), endpoint=True).astype(np.int32)
        expected = [int(b) * int(s) >> 32 for b, s in zip(bits, size, strict=True)]
        assert alias.scaled(bits, size).tolist() == expected
        assert alias.scaled(jnp.asarray(bits), jnp.asarray(size)).tolist() == expected


def test_alias_table_holds_the_weights() -> None:
    weights = np.random.default_rng(0).pareto(0.7, 3000)
    odds, other = alias.alias_table(weights)
    got = (odds + 1.0) / 2**32
    rest = np.bincount(other, 1 - got, len(weights))
    np.testing.assert_allclose((got + rest) / len(weights), weights / weights.sum(), atol=1e-9)
