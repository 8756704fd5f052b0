"""Smoothed models against formulas written out, and what holds of all of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from plain_ngrams import PlainKneserNey, backed_off, listed

from crnn_jax.charset import build_charset
from crnn_jax.decode import ngram_counts
from crnn_jax.decode.kneser_ney import FALLBACK, estimate, train
from crnn_jax.decode.ngram_counts import count, encode_all, whole_counts
from crnn_jax.errors import UserError

ABC = build_charset("abc", "keep")


def draw_texts(seed, number, charset="abc", longest=7):
    """Different texts, in which some characters are frequent, and their counts."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(len(charset), 0.7))
    found = {}
    for _ in range(number):
        text = "".join(rng.choice(list(charset), rng.integers(1, longest + 1), p=p))
        found[text] = int(rng.integers(1, 4))
    return list(found.items())


def histories(alphabet, longest):
    """Every history of at most so many symbols."""
    for n in range(longest + 1):
        for text in itertools.product(alphabet, repeat=n):
            yield text
            if n < longest:
                yield ("^", *text)


@pytest.mark.parametrize(("seed", "order"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
def test_probabilities_are_those_of_the_formulas(seed, order):
    texts = draw_texts(seed, 60)
    plain, found = PlainKneserNey(texts, "abc", order), train(texts, ABC, order)
    grams = listed(found.model)
    assert set(grams) == set(plain.raw) | {(c,) for c in "abc"}
    np.testing.assert_allclose(found.discounts, list(plain.discounts.values()))
    for history in histories("abc", min(order, 4)):
        for symbol in "abc$":
            expected = plain.p(symbol, history)
            assert math.exp(backed_off(grams, symbol, history, order)) == pytest.approx(expected)


def test_discounts_are_estimated_and_fall_back():
    """All of the last texts' n-grams of two occur, so that there are enough counts."""
    found = train(draw_texts(5, 200, "abcdefgh"), build_charset("abcdefgh", "keep"), 4)
    assert found.fallen_back == [True, False, False, False]
    assert found.discounts[0] == FALLBACK
    for one, two, three in found.discounts[1:]:
        assert 0 < one <= 1
        assert 0 < two <= 2
        assert 0 < three <= 3


@pytest.mark.parametrize("min_count", [1, 2, 5])
@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_every_history_has_a_distribution(order, min_count):
    texts = draw_texts(6, 80, "abcdef")
    charset = build_charset("abcdefxyz", "keep")  # three never occur
    model = train(texts, charset, order, min_count).model
    grams = listed(model)
    assert (order < 3) or (min_count == 1) == (
        len(grams) == len(listed(train(texts, charset, order).model))
    )
    rng = np.random.default_rng(0)
    for n in range(9):
        for _ in range(20):
            text = tuple(rng.choice(list("abcdefx"), n))
            for history in (text, ("^", *text)):
                p = [math.exp(backed_off(grams, s, history, order)) for s in "abcdefxyz$"]
                assert sum(p) == pytest.approx(1, abs=1e-9)
                assert min(p) > 0


def test_a_single_bigram_by_hand():
    """Texts "ab" twice and "b": bigrams ^a 2, ab 2, ^b 1, b$ 3; nothing to estimate from.

    Continuations: a after ^, b after a and ^, $ after b: 1, 2, 1 of 4; taken .5 + 1 + .5 of 4.
    """
    found = train([("ab", 2), ("b", 1)], ABC, 2)
    grams = {g: (math.exp(p), math.exp(w)) for g, (p, w) in listed(found.model).items()}
    assert found.discounts == [FALLBACK] * 2
    uniform = 0.5 * 1 / 4
    a, b, end = 0.5 / 4 + uniform, 1 / 4 + uniform, 0.5 / 4 + uniform
    assert grams[("a",)][0] == pytest.approx(a)
    assert grams[("b",)][0] == pytest.approx(b)
    assert grams[("c",)] == pytest.approx((uniform, 1))
    assert grams[("^", "a")][0] == pytest.approx((2 - 1) / 3 + (1 + 0.5) / 3 * a)
    assert grams[("^",)][1] == pytest.approx((1 + 0.5) / 3)
    assert grams[("b", "$")][0] == pytest.approx((3 - 1.5) / 3 + 1.5 / 3 * end)
    assert grams[("a", "b")][0] == pytest.approx((2 - 1) / 2 + 1 / 2 * b)


def test_counts_are_repeated_texts():
    texts = draw_texts(7, 40)
    once = [(text, 1) for text, n in texts for _ in range(n)]
    np.random.default_rng(0).shuffle(once)
    a, b = train(texts, ABC, 4).model, train([(t, int(n)) for t, n in once], ABC, 4).model
    for one, other in zip(a.levels, b.levels, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_parts_and_packed_numbers_change_nothing(monkeypatch):
    """Strings that take one number, and two or three; texts counted at once, and in parts."""
    texts = draw_texts(8, 300, "abcdefgh")
    narrow = build_charset("abcdefgh", "keep")
    wide = build_charset("chars:abcdefgh" + "".join(map(chr, range(0x4E00, 0x4E00 + 7000))), "keep")
    expected = count(texts, narrow, 9)
    for charset, chunk in ((narrow, 50), (wide, 1 << 22), (wide, 50)):
        monkeypatch.setattr(ngram_counts, "_CHUNK", chunk)
        found = count(texts, charset, 9)
        np.testing.assert_array_equal(found.windows, expected.windows)
        np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.mark.parametrize(
    "name", ["alnum36", "latin+space", "chars:ab\n", "chars:אבגד", "chars:a\N{COMBINING CEDILLA}bé"]
)
def test_many_texts_are_encoded_as_each_is(name):
    texts = [
        "", "Hotel", "cafe\N{COMBINING ACUTE ACCENT}", "\N{COMBINING ACUTE ACCENT}a", "ΑΣ", "Σα",
        "a\N{COMBINING CEDILLA}b", "אב 12 a", "a😀b", "é", "", "İstanbul", "\ud800a", "",
    ]  # fmt: skip
    charset = build_charset(name)
    for given in (texts, [*texts, "a\nb", "\n"], [], [""], ["", ""]):
        ids, lengths = encode_all(given, charset)
        expected = [charset.encode_known(text) for text in given]
        assert lengths.tolist() == [len(own) for own in expected]
        assert ids.tolist() == [id_ for own in expected for id_ in own]


def test_shortened_counts_are_those_of_a_shorter_order():
    texts = draw_texts(9, 100)
    for order in range(1, 6):
        a, b = count(texts, ABC, 6).shortened(order), count(texts, ABC, order)
        np.testing.assert_array_equal(a.windows, b.windows)
        np.testing.assert_array_equal(a.counts, b.counts)


def test_rare_n_grams_are_left_out():
    texts = [("abc", 5), ("abb", 1)]
    grams = listed(train(texts, ABC, 3, min_count=2).model)
    assert ("a", "b", "c") in grams
    assert ("a", "b", "b") not in grams
    assert ("b", "b") in grams  # all pairs stay
    assert estimate(count(texts, ABC, 3), ABC).model.counts == [5, 6, 5]
    assert train(texts, ABC, 3, min_count=9).model.counts == [5, 6]  # no empty lengths


def test_characters_outside_the_charset_are_left_out():
    a = train([("a-b!", 1), ("??", 3), ("C", 2)], build_charset("abc", "fold"), 3).model
    b = train([("ab", 1), ("c", 2)], ABC, 3).model
    assert listed(a) == listed(b)


def test_a_single_text():
    model = train([("a", 1)], ABC, 5).model
    grams = listed(model)
    assert {len(g) for g in grams} == {1, 2, 3}
    assert model.order == 3  # there is nothing longer
    likeliest = max("abc$", key=lambda s: backed_off(grams, s, ("^",), 5))
    assert likeliest == "a"


@pytest.mark.parametrize("texts", [[], [("", 1)], [("xyz", 2), ("!", 1)]])
def test_nothing_to_train_on(texts):
    with pytest.raises(UserError, match="no text has a character of the charset"):
        train(texts, ABC, 3)


@pytest.mark.parametrize("order", [0, -1, 11])
def test_orders_out_of_range(order):
    with pytest.raises(UserError, match="1 to 10"):
        train([("a", 1)], ABC, order)


def test_whole_counts():
    assert whole_counts([1, 2, 30]).tolist() == [1, 2, 30]
    assert whole_counts([0.5, 0.25, 1]).tolist() == [2, 1, 4]
    assert whole_counts([1e30, 3]).tolist() == [2**40, 3]
    assert whole_counts([]).tolist() == []
