from __future__ import annotations

import math
import random
from functools import cache

import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.metrics import (
    PROTOCOLS,
    RecognitionMetrics,
    apply_protocol,
    edit_distance,
    one_minus_ned,
    wilson_interval,
)


def brute_force_distance(a, b) -> int:
    """Levenshtein's recursion, word for word."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    return distance(len(a), len(b))


def random_text(rng: random.Random, alphabet: str = "abé ", longest: int = 8) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(0, longest)))


def random_rows(seed: int, count: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    rows = [(random_text(rng, "aB1 !"), random_text(rng, "aB1 !")) for _ in range(count)]
    return rows + [(label, label) for label, _ in rows[: count // 3]]


def measure(rows: list[tuple[str, str]], protocol: str = "exact") -> RecognitionMetrics:
    metrics = RecognitionMetrics(protocol)
    for label, reading in rows:
        metrics.update(label, reading)
    return metrics


# Distances


def test_edit_distance_is_levenshteins():
    rng = random.Random(0)
    for _ in range(1000):
        a, b = random_text(rng), random_text(rng)
        assert edit_distance(a, b) == brute_force_distance(a, b)


def test_edit_distance_of_words_and_ids():
    rng = random.Random(1)
    words = ["the", "then", "a", "b"]
    for _ in range(300):
        a, b = (rng.choices(words, k=rng.randint(0, 6)) for _ in range(2))
        assert edit_distance(a, b) == brute_force_distance(a, b)
        ids_a, ids_b = [words.index(w) + 1 for w in a], [words.index(w) + 1 for w in b]
        assert edit_distance(ids_a, ids_b) == edit_distance(a, b)


def test_edit_distance_known_values():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    assert edit_distance("", "") == 0


def test_one_minus_ned():
    assert one_minus_ned("", "") == 1.0
    assert one_minus_ned("abc", "") == 0.0
    assert one_minus_ned("", "abc") == 0.0
    assert one_minus_ned("abcd", "abXd") == 0.75
    assert one_minus_ned("ab", "abcd") == 0.5  # the longer of both is what counts


# Protocols


@pytest.mark.parametrize(
    ("protocol", "text", "expected"),
    [
        ("36", "It's", "its"),
        ("36", "!!!", ""),
        ("36", "Café 21", "caf21"),
        ("36", "Cafe\u0301", "caf"),  # as the composed é, not as e
        ("62", "It's", "Its"),
        ("62", "A-b 3", "Ab3"),
        ("94", "It's 5€", "It's5"),
        ("94", "~!\x7f", "~!"),
        ("exact", "It's 5€", "It's 5€"),
        ("exact", "Cafe\u0301", "Café"),
    ],
)
def test_protocols(protocol: str, text: str, expected: str):
    assert apply_protocol(text, protocol) == expected


@pytest.mark.parametrize(
    ("protocol", "kept"),
    [
        ("36", set("0123456789abcdefghijklmnopqrstuvwxyz")),
        ("62", set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")),
        ("94", {chr(i) for i in range(33, 127)}),
    ],
)
def test_protocols_keep_their_characters_only(protocol: str, kept: set[str]):
    assert set(apply_protocol("".join(map(chr, range(0x2100))), protocol)) == kept
    assert len(kept) == int(protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_applying_a_protocol_twice_changes_nothing(protocol: str):
    rng = random.Random(2)
    for _ in range(500):
        once = apply_protocol(random_text(rng, "aZ9 !ée\u0301İẞſ", 10), protocol)
        assert apply_protocol(once, protocol) == once


def test_unknown_protocol_is_told_the_valid_ones():
    for fail in (lambda: apply_protocol("a", "63"), lambda: RecognitionMetrics("63")):
        with pytest.raises(UserError, match=r"unknown protocol '63'.*valid: 36, 62, 94, exact"):
            fail()


# Metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_identical_texts_are_perfect(protocol: str):
    rows = [(label, label) for label, _ in random_rows(3, 100)]
    metrics = measure(rows, protocol)
    result = metrics.compute()
    assert 0 < result.pop("count") == len(rows) - metrics.skipped
    assert result == {"word_accuracy": 1.0, "cer": 0.0, "wer": 0.0, "one_minus_ned": 1.0}


def test_metrics_by_hand():
    metrics = measure([("ab cd", "ab cx"), ("a", "a"), ("abc", ""), ("x", "xyz")])
    assert metrics.compute() == {
        "count": 4,
        "word_accuracy": 1 / 4,
        "cer": (1 + 0 + 3 + 2) / (5 + 1 + 3 + 1),
        "wer": (1 + 0 + 1 + 1) / (2 + 1 + 1 + 1),
        "one_minus_ned": pytest.approx((4 / 5 + 1 + 0 + 1 / 3) / 4, abs=1e-15),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metrics_agree_with_their_definitions(protocol: str):
    rows = random_rows(4, 200)
    pairs = [tuple(apply_protocol(text, protocol) for text in row) for row in rows]
    pairs = [(label, reading) for label, reading in pairs if label]
    metrics = measure(rows, protocol)
    assert metrics.skipped == len(rows) - len(pairs) > 0
    distances = [brute_force_distance(*pair) for pair in pairs]
    words = [(label.split(), reading.split()) for label, reading in pairs]
    longest = [max(map(len, pair)) for pair in pairs]
    similarities = [1 - d / n for d, n in zip(distances, longest, strict=True)]
    word_errors = sum(brute_force_distance(*pair) for pair in words)
    assert metrics.compute() == {
        "count": len(pairs),
        "word_accuracy": np.mean([label == reading for label, reading in pairs]),
        "cer": sum(distances) / sum(len(label) for label, _ in pairs),
        "wer": word_errors / sum(len(label) for label, _ in words),
        "one_minus_ned": pytest.approx(np.mean(similarities), abs=1e-14),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_merged_parts_equal_the_whole_exactly(protocol: str):
    rows = random_rows(5, 150)
    whole = measure(rows, protocol)
    rng = random.Random(6)
    for _ in range(20):
        rng.shuffle(rows)
        ends = sorted(rng.choices(range(len(rows) + 1), k=3))
        merged = RecognitionMetrics(protocol)
        for start, end in zip([0, *ends], [*ends, len(rows)], strict=True):
            assert merged.merge(measure(rows[start:end], protocol)) is merged
        assert merged == whole
        assert merged.compute() == whole.compute()


def test_merging_leaves_the_other_alone():
    first, second = measure([("a", "b")]), measure([("c", "c")])
    first.merge(second)
    assert second == measure([("c", "c")])
    assert first.count == 2


def test_protocols_do_not_merge():
    with pytest.raises(ValueError, match="'36' with '62'"):
        RecognitionMetrics("36").merge(RecognitionMetrics("62"))


def test_both_sides_pass_the_protocol():
    metrics = measure([("It's", "ITS!"), ("its", "it"), ("Café", "cafe\u0301")], "36")
    assert metrics.correct == 2
    assert measure([("It's", "ITS!")], "62").correct == 0
    assert measure([("Cafe\u0301", "Café")], "exact").correct == 1


def test_labels_empty_under_the_protocol_are_left_out_and_counted():
    metrics = measure([("!!!", "a"), ("!!!", ""), ("a", "!!!"), ("", "")], "36")
    assert metrics.skipped == 3
    assert metrics.compute()["count"] == 1
    assert metrics.compute()["word_accuracy"] == 0.0
    assert measure([("!!!", "!!!")]).skipped == 0


def test_rows_without_a_reading_are_wrong():
    result = measure([("ab", ""), ("cd", "cd")]).compute()
    assert result["count"] == 2
    assert result["word_accuracy"] == 0.5
    assert result["cer"] == 0.5


def test_error_rates_may_exceed_one():
    assert measure([("a", "b c d e")]).compute()["cer"] == 7.0
    assert measure([("a", "b c d e")]).compute()["wer"] == 4.0


def test_nothing_measured_is_not_a_number():
    result = RecognitionMetrics().compute()
    assert result.pop("count") == 0
    assert len(result) == 4
    assert all(math.isnan(value) for value in result.values())


# Intervals


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_known_values(successes: int, n: int, low: float, high: float):
    # The last row is Newcombe, Statistics in Medicine 17 (1998), table I.
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_solve_the_score_equation():
    z = 1.96
    for successes, n in [(1, 7), (3, 9), (50, 3000), (2999, 3000)]:
        for end in wilson_interval(successes, n, z):
            assert (successes / n - end) ** 2 == pytest.approx(z * z * end * (1 - end) / n)


def test_wilson_holds_the_proportion_and_narrows():
    widths = []
    for n in (1, 10, 100, 1000):
        for successes in range(0, n + 1, max(1, n // 10)):
            low, high = wilson_interval(successes, n)
            assert 0.0 <= low <= successes / n <= high <= 1.0
        low, high = wilson_interval(n // 2, n)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert wilson_interval(np.int64(5), np.int32(10)) == wilson_interval(5, 10)


def test_wilson_at_the_edges():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 5)[0] == 0.0
    assert wilson_interval(5, 5)[1] == 1.0
    for successes, n in [(6, 5), (-1, 5), (0, -1)]:
        with pytest.raises(ValueError, match="need 0 <= successes <= n"):
            wilson_interval(successes, n)
