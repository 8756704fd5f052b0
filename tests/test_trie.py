"""Lexicons as automata: the words and no others, and the price of what is outside."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from constrained_beam import accepted, cases, check_search, every_string, padded
from jitted import string_score as score

from crnn_jax.automata.dfa import minimised
from crnn_jax.automata.words import acyclic, then_any
from crnn_jax.charset import build_charset
from crnn_jax.decode.language import LanguageModel
from crnn_jax.decode.lexicon import Lexicon
from crnn_jax.decode.trie import Trie
from crnn_jax.errors import UserError

ABC = build_charset("chars:abc")
LINES = build_charset("chars:ab .")  # classes 1 to 4
STRINGS = every_string(4, 5)


def scores(model, strings):
    longest = max(map(len, strings))
    ids = np.array([s + (0,) * (longest - len(s)) for s in strings], np.int32)
    return np.asarray(score(model, ids, np.array([len(s) for s in strings], np.int32)))


def drawn_words(seed: int, letters: str = "abc", longest: int = 5) -> list[str]:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    return ["".join(rng.choice(list(letters), rng.integers(1, longest + 1))) for _ in range(count)]


def begins(string, words, marks=()) -> bool:
    """Whether some word, with any of the marks after it, begins with a string."""
    if any(word[: len(string)] == string for word in words):
        return True
    return bool(string) and complete(string, words, marks)


def complete(string, words, marks=()) -> bool:
    ends = [string[:n] for n in range(len(string) + 1) if set(string[n:]) <= set(marks)]
    return any(end in words for end in ends)


def price(string, words, escape, per_char, marks=()) -> float:
    """What a word costs by definition."""
    if complete(string, words, marks):
        return 0.0
    known = max(n for n in range(len(string) + 1) if n == 0 or begins(string[:n], words, marks))
    return escape + per_char * (len(string) - known)


def price_of_line(string, space, *args) -> float:
    parts = itertools.groupby(string, lambda i: i == space)
    words, open_ = [], ()
    for is_space, group in parts:
        for id_ in group:
            if is_space:
                words.append(open_)
                open_ = ()
            else:
                open_ = (*open_, id_)
    return sum(price(word, *args) for word in [*words, open_])


@pytest.mark.parametrize("seed", range(40))
def test_the_automaton_of_words_is_exact_and_minimal(seed):
    rng = np.random.default_rng(seed)
    words = {
        tuple(rng.integers(1, 4, rng.integers(0, 6)).tolist()) for _ in range(rng.integers(0, 40))
    }
    dfa = acyclic(words)
    assert [dfa.accepts(s) for s in STRINGS] == [s in words for s in STRINGS]
    assert len(minimised(dfa).moves) == len(dfa.moves)
    marks = set(rng.choice([1, 2, 3], rng.integers(0, 3), replace=False).tolist())
    found = then_any(dfa, marks)
    assert [found.accepts(s) for s in STRINGS] == [complete(s, words, marks) for s in STRINGS]


def test_what_words_begin_and_end_with_is_shared():
    letters = [tuple(map(ord, w)) for w in ("tap", "taps", "top", "tops")]
    assert len(acyclic(letters).moves) == 5  # a state before each letter, and one at the end
    assert len(acyclic([]).moves) == 1
    assert acyclic([()]).accepting == [True]


@pytest.mark.parametrize("seed", range(12))
def test_forbidding_what_is_outside(seed):
    words = drawn_words(seed)
    trie = Trie.of(words, ABC)
    encoded = {tuple(ABC.encode(word)) for word in words}
    assert trie.size == len(encoded) == len(Lexicon(words, ABC))
    assert accepted(trie.automaton, STRINGS) == [s in encoded for s in STRINGS]
    expected = [0.0 if s in encoded else -math.inf for s in STRINGS]
    assert scores(trie.model(), STRINGS).tolist() == expected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("escape", "per_char"), [(3.0, 0.0), (2.0, 0.75), (0.0, 0.0), (0.0, 1.5)])
def test_price_is_that_of_the_definition(seed, escape, per_char):
    words = drawn_words(seed, longest=4)
    model = Trie.of(words, ABC).model(escape, per_char)
    assert isinstance(model, LanguageModel)
    encoded = {tuple(ABC.encode(word)) for word in words}
    expected = [-price(s, encoded, escape, per_char) for s in STRINGS]
    np.testing.assert_allclose(scores(model, STRINGS), expected, atol=1e-5)


@pytest.mark.parametrize("punctuation", ["", "."])
@pytest.mark.parametrize("words", [["a", "ab", "bba"], ["b.a", "b", "a."], ["a b", "bb"]])
def test_lines_are_the_sum_of_their_words(words, punctuation):
    model = Trie.of(words, LINES, sequence=True, punctuation=punctuation).model(2.0, 0.5)
    encoded = {tuple(LINES.encode(word)) for words_ in words for word in words_.split()}
    marks = tuple(LINES.encode(punctuation))
    strings = every_string(5, 5)
    expected = [-price_of_line(s, 3, encoded, 2.0, 0.5, marks) for s in strings]
    np.testing.assert_allclose(scores(model, strings), expected, atol=1e-5)
    strict = Trie.of(words, LINES, sequence=True, punctuation=punctuation).model()
    allowed = np.isfinite(scores(strict, strings))
    assert allowed.tolist() == [e == 0 for e in expected]
    text = LINES.encode("a bb a" if "bb" in words else "b b" if "b" in words else "ab bba a")
    assert np.isfinite(scores(strict, [tuple(text)])) == ("a b" not in words or "bb" in words)


def test_prefixes_are_never_dearer_than_what_begins_with_them():
    model = Trie.of(drawn_words(3), ABC).model(2.0, 0.5)
    string = (1, 2, 1, 1, 3, 2, 2)
    state, total = model.start(), 0.0
    for n, id_ in enumerate(string, start=1):
        step, state = model.score(state, jnp.int32(id_))
        assert step <= 0
        total += float(step)
        assert total + float(model.end(state)) == scores(model, [string[:n]])[0]
    assert total < -2.0


@pytest.mark.parametrize(("escape", "per_char"), [(math.inf, 0.0), (1.5, 0.0), (1.0, 0.5)])
def test_search_is_that_of_all_strings_with_their_prices(escape, per_char):
    words = ["a", "ab", "abca", "cc", "bb"]
    encoded = {tuple(ABC.encode(word)) for word in words}
    model = Trie.of(words, ABC).model(escape, per_char)
    model = model._replace(words=padded(model.words))
    logits, frames = cases(6, 24, 4, 4)
    expected = {s: -price(s, encoded, escape, per_char) for s in every_string(4, 4)}
    expected = {s: -math.inf if math.isnan(v) else v for s, v in expected.items()}
    check_search(logits, frames, model, expected.__getitem__)


def test_search_of_lines():
    charset = build_charset("chars:a .")
    words = ["a", "aa"]
    encoded = {tuple(charset.encode(word)) for word in words}
    model = Trie.of(words, charset, sequence=True, punctuation=".").model(1.0, 0.5)
    model = model._replace(words=padded(model.words))
    logits, frames = cases(7, 24, 4, 4)
    expected = {s: -price_of_line(s, 2, encoded, 1.0, 0.5, (3,)) for s in every_string(4, 4)}
    check_search(logits, frames, model, expected.__getitem__)


def test_words_are_encoded_as_a_lexicon_does():
    charset = build_charset("alnum36")
    words = ["It's", "its", " ITS ", "", "café", "12%", "---"]
    trie = Trie.of(words, charset)
    assert trie.size == len(Lexicon(words, charset)) == 3
    ids = [tuple(charset.encode(text)) for text in ("its", "caf", "12", "it")]
    assert accepted(trie.automaton, ids) == [True, True, True, False]
    right_to_left = build_charset("chars:אבג")
    trie = Trie.of(["אב"], right_to_left)
    assert accepted(trie.automaton, [tuple(right_to_left.encode("אב")), (1, 2)]) == [True, False]


@pytest.mark.parametrize(
    ("words", "charset", "options", "says"),
    [
        ([], "alnum36", {}, "the lexicon has no word that the model can read: give"),
        (["", " "], "alnum36", {"sequence": False}, "no word that the model can read"),
        (["--", "?!"], "alnum36", {}, r"\(2 have none of its characters\)"),
        (["a"], "alnum36", {"sequence": True}, "a model that reads spaces"),
        (["א"], "chars:אב .", {"punctuation": "."}, "stands to its left"),
    ],
)
def test_mistakes_take_one_line(words, charset, options, says):
    with pytest.raises(UserError, match=says) as error:
        Trie.of(words, build_charset(charset), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prices", [(-1.0, 0.0), (math.nan, 0.0), (1.0, -0.5), (1.0, math.inf)])
def test_prices_below_nothing_are_refused(prices):
    with pytest.raises(UserError, match="0 or more"):
        Trie.of(["a"], ABC).model(*prices)


def test_files(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffab\nabc\n\nab\n", encoding="utf-8")
    trie = Trie.load(path, ABC)
    assert trie.size == 2
    assert accepted(trie.automaton, [(1, 2), (1, 2, 3), (1,)]) == [True, True, False]
    path.write_bytes(b"a\xff")
    with pytest.raises(UserError, match="is not UTF-8"):
        Trie.load(path, ABC)
    with pytest.raises(UserError, match="cannot be read"):
        Trie.load(tmp_path / "none.txt", ABC)


@pytest.mark.slow
def test_a_large_lexicon(real_data):
    charset = build_charset("alnum36")
    trie = Trie.load(real_data / "lexicons" / "words_90k.txt", charset)
    assert trie.size == 88_172
    assert trie.automaton.bytes < 6e6
    ids = [tuple(charset.encode(text)) for text in ("recognition", "recognitio", "xqzt")]
    assert accepted(trie.automaton, ids) == [True, False, False]
