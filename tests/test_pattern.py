"""Patterns of readings: the automaton allows what `re.fullmatch` matches, and nothing else."""

from __future__ import annotations

import itertools
import math
import re
import time

import numpy as np
import pytest
from constrained_beam import accepted, cases, check_search, every_string, padded

from crnn_jax.charset import Charset, build_charset
from crnn_jax.decode.pattern import PATTERNS, compile_pattern
from crnn_jax.errors import UserError

ATOMS = ["a", "b", "c", "a", "b", ".", "[ab]", "[^a]", r"\w", "[a-b]", "[^a-c]", r"\x61", r"[^\W]"]
REPEATS = ["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "*?", "+?", "{0}", "??"]
ASCII = build_charset("latin94+space")
FOLDED = build_charset("alnum36")


def drawn(rng: np.random.Generator, depth: int) -> str:
    """A random regular expression of a, b and c."""
    kind = rng.integers(6) if depth else 0
    if kind <= 1:
        return str(rng.choice(ATOMS))
    if kind == 2:
        return "".join(drawn(rng, depth - 1) for _ in range(rng.integers(0, 4)))
    opening = rng.choice(["(", "(?:", "(?P<n>"], p=[0.5, 0.45, 0.05])
    if kind == 3:
        branches = [drawn(rng, depth - 1) for _ in range(rng.integers(2, 4))]
        return f"(?:{'|'.join(branches)})"
    inner = drawn(rng, depth - 1).replace("?P<n>", "")
    return f"{opening}{inner}){rng.choice(REPEATS)}" if kind == 4 else f"{opening}{inner})"


def valid(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def allowed(pattern: str, charset: Charset, strings: list) -> list[bool] | None:
    """Which strings a pattern allows; None where it is refused because there are none."""
    try:
        return accepted(compile_pattern(pattern, charset), strings)
    except UserError as error:
        if "matches nothing" not in str(error):
            raise
        return None


def test_random_patterns_allow_what_re_matches():
    charset = build_charset("chars:abc")
    strings = every_string(4, 5)
    texts = ["".join("abc"[i - 1] for i in s) for s in strings]
    rng = np.random.default_rng(0)
    patterns = {p: None for p in (drawn(rng, 5) for _ in range(1_200)) if len(p) < 60 and valid(p)}
    tried = nothing = 0
    for pattern in patterns:
        expected = [bool(re.fullmatch(pattern, text)) for text in texts]
        found = allowed(pattern, charset, strings)
        if found is None:
            nothing += 1
            found = [False] * len(texts)
        assert found == expected, pattern
        tried += 1
    assert tried > 400
    assert nothing > 3


@pytest.mark.parametrize(
    "pattern",
    [
        r"[A-Z]{2} ?\d{2,}",
        r"^[+-]?\d+(\.\d*)?$",
        r"(?:https?://)?[a-z]+\.(?:com|org)",
        r"[]\-^]+|[^]]",
        r"\$[1-9]\d{0,2}(?:,\d{3})*\.\d\d",
        r"(a|ab)(c|bcd)(d*)",
        r"\w+\s\W?",
        r"",
        r"\t|x|",
        r".*",
        r"[[a]+",  # that re warns about
    ],
)
def test_patterns_of_ascii(pattern: str):
    automaton = compile_pattern(pattern, ASCII)
    rng = np.random.default_rng(0)
    texts = ["AB 12", "AB12", "ab12", "+3.14", "3.", "https://ab.org", "b.com", "]-^", "]", "a"]
    texts += ["$1,234.50", "$12.34", "abcd", "abbcd", "acd", "ab !", "ab ", "", "x", "[a["]
    for text in list(texts):  # and what is like them
        for _ in range(30 if text else 0):
            at, other = rng.integers(len(text)), chr(rng.integers(32, 127))
            texts.append(text[:at] + other + text[at + rng.integers(2) :])
    expected = [bool(re.fullmatch(pattern, text)) for text in texts]
    with_ids = [tuple(ASCII.encode(text)) for text in texts]
    assert accepted(automaton, with_ids) == expected
    assert any(expected)


def test_either_case_where_the_charset_folds():
    charset = build_charset("chars:ab1", case="fold")
    strings = every_string(4, 4)
    for pattern in [r"[A-Z]{2}\d+", "aB?1", r"[^A]+", r"[a-b][A-B]*", "A|b1", "(?:Ab)+"]:
        found = accepted(compile_pattern(pattern, charset), strings)
        for string, allowed in zip(strings, found, strict=True):
            ways = itertools.product(*[{"ab1"[i - 1], "AB1"[i - 1]} for i in string])
            assert allowed == any(re.fullmatch(pattern, "".join(w)) for w in ways), pattern
    assert accepted(compile_pattern(r"[A-Z]{2}\d+", FOLDED), [tuple(FOLDED.encode("AB12"))]) == [
        True
    ]
    greek = build_charset("chars:οδς", case="fold")
    assert accepted(compile_pattern("[Α-Ω]+", greek), [tuple(greek.encode("ΟΔΟΣ"))]) == [True]


def test_case_counts_where_it_is_kept():
    charset = build_charset("chars:abAB", case="keep")
    found = accepted(compile_pattern("[A-Z]b", charset), [(3, 2), (1, 2), (3, 4)])
    assert found == [True, False, False]


def test_classes_of_several_characters_are_matched_one_by_one():
    charset = Charset(("ab", "c", "a", "b"), "keep")
    strings = every_string(5, 4)
    texts = ["".join(charset.classes[i - 1] for i in s) for s in strings]
    for pattern in ["a.*", "(?:ab)+c?", "[^c]{2}", "..", "b|ab", "(abc){1,2}", "a?b?a?b?"]:
        automaton = compile_pattern(pattern, charset)
        expected = [bool(re.fullmatch(pattern, text)) for text in texts]
        assert accepted(automaton, strings) == expected, pattern
    with pytest.raises(UserError, match=r"matches nothing .* can spell;"):
        compile_pattern("a", Charset(("ab", "c"), "keep"))


def test_normal_form():
    charset = build_charset("chars:aé")
    assert accepted(compile_pattern("[e\u0301]a+", charset), [(2, 1, 1), (1, 1)]) == [True, False]


def test_search_is_that_of_all_matching_strings():
    charset = build_charset("chars:abc")
    logits, frames = cases(5, 24, 4, 4)
    for pattern in ["a*b(ca)?", "aa|.b", "(?:[ab]c?)*", "c{4}"]:
        automaton = padded(compile_pattern(pattern, charset))
        score = {}
        for string in every_string(4, 4):
            text = "".join("abc"[i - 1] for i in string)
            score[string] = 0.0 if re.fullmatch(pattern, text) else -math.inf
        check_search(logits, frames, automaton, score.__getitem__)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("integer", "0 -12 +7 1234567", "1.5 12a -"),
        ("decimal", "0 3.14 -3,14 +2", "3. .5 1.2.3"),
        ("amount", "1.00 $1,234.50 12.345,60_€ €_5.00 -3,20 1_234,00", "1.0 1,23.45 12 1.234.56"),
        ("percent", "5% 99.5_% -1,2%", "5 %"),
        ("date_iso", "2024-02-29 1999-12-31", "2024-02-30 2024-13-01 2024-4-1 2024-04-31"),
        ("date_dmy", "31/12/1999 1.2.24 01._02._2024 5-6-07", "12/31/1999 1/2.24 32/1/20"),
        ("date_mdy", "12/31/1999 1-2-24", "31/12/1999"),
        ("date", "2024-02-29 31/12/1999 12/31/1999", "31/31/1999 1999/12/31"),
        ("time", "0:00 23:59 09:05:59 12:30_pm 1:05PM", "24:00 1:5 13:00_PM 0:30_am"),
        ("plate_de", "M-AB_123 B_A_1 KA-PA777E MAB123", "M-AB_0123 ABCD-A_1 M-ABC_1"),
        ("plate_gb", "AB12_CDE AB12CDE", "AI12_CDE AB1_CDE AB12_CQE"),
        ("phone_e164", "+4915112345678", "004915 +0123 +1234567890123456"),
        ("iban", "DE89_3704_0044_0532_0130_00 GB29NWBK60161331926819", "DE8_3704 D989370400440532"),
        ("vin", "1M8GDM9AXKP042788", "1M8GDM9AXKP04278 IM8GDM9AXKP042788"),
        ("container", "CSQU_305438-3 MSKU3054383", "CSQA3054383 CSQU30543"),
        ("ipv4", "0.0.0.0 192.168.1.255", "256.1.1.1 1.2.3 01.2.3.4"),
    ],
)
def test_named_patterns(name: str, good: str, bad: str):
    charset = build_charset("latin+space")
    automaton = compile_pattern(name, charset)
    for texts, expected in ((good, True), (bad, False)):
        for text in texts.split():
            ids = tuple(charset.encode(text.replace("_", " ")))
            assert accepted(automaton, [ids]) == [expected], text


def test_every_name_is_tried():
    marks = test_named_patterns.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(PATTERNS)
    for pattern in PATTERNS.values():
        re.compile(pattern)


def test_a_name_wins_over_the_text():
    found = accepted(compile_pattern("(?:time)", ASCII), [tuple(ASCII.encode("time"))])
    assert found == [True]


@pytest.mark.parametrize(
    ("pattern", "charset", "says"),
    [
        ("[a-", "alnum36", "is no regular expression: unterminated character set"),
        ("[[:alpha:]]+", "alnum36", r"\[:alpha:\] is of another syntax: write A-Za-z"),
        (r"(a)\1", "alnum36", r"position 3: \\1 cannot be used here"),
        ("(?=a)b", "alnum36", "look-around"),
        ("a|^b", "alnum36", r"\^ and \$ inside"),
        (r"\$\d+", "alnum36", r"they lack '\$'; change"),
        ("(?:#|%)x|a-b", "alnum36", "they lack '[#%-]'; change"),
        ("date_iso", "alnum36", "they lack '-'; change"),
        ("[A-Z]+[€£].", "latin94", re.escape("they lack '[€£]'; change")),
        ("-%#,.;:", "chars:abc", "they lack '-', '%', '#', ',', ';' and 1 more; change"),
        ("date-iso?", "digits", "they lack"),
        ("date_is", "latin94", r"did you mean 'date_iso'\? .* the text itself is '\(\?:date_is\)'"),
        ("date-iso", "latin94", r"did you mean 'date_iso'\? .* itself is '\(\?:date-iso\)'"),
        ("IBAN", "alnum36", r"unknown pattern 'IBAN': did you mean 'iban'\?"),
        ("א+", "latin94", "written from right to left"),
        (".+", "chars:אבג12", "'.' matches letters that are written from right to left"),
        (".*a.{14}b", "alnum36", "too intricate"),
        ("((((.{9}){9}){9}){9}){9}", "alnum36", "too intricate"),
        ("(a?){2000}", "alnum36", "too intricate"),
        ("(){1000000000}", "alnum36", "too intricate"),
        ("(" * 400 + "a" + ")" * 400, "alnum36", "too intricate"),
    ],
)
def test_mistakes_take_one_line(pattern: str, charset: str, says: str):
    began = time.monotonic()
    with pytest.raises(UserError, match=says) as error:
        compile_pattern(pattern, build_charset(charset))
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 60


def test_digits_of_a_right_to_left_charset():
    charset = build_charset("chars:אבג12")
    ids = [tuple(charset.encode("12")), tuple(charset.encode("א"))]
    assert accepted(compile_pattern(r"\d+", charset), ids) == [True, False]
