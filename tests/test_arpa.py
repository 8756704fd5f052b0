"""ARPA files: what is written comes back, what others write is read, what is wrong is named."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
from plain_ngrams import listed, text_score

from crnn_jax.charset import build_charset
from crnn_jax.decode import arpa
from crnn_jax.decode.kneser_ney import train
from crnn_jax.errors import UserError

TEXTS = [("ab a", 3), ("b", 2), ("a|b", 1), ("▁a", 1), ("c c", 1)]
BIGRAMS = """
\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.30103
-0.5\t</s>
-0.6\ta\t-0.2
-0.7\tb\t0.1

\\2-grams:
-0.3\t<s> a
-0.4\ta b
-0.1\tb </s>
-0.9\ta a

\\end\\
"""


def write(tmp_path, text, name="model.arpa"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_round_trip(tmp_path, name, order):
    charset = build_charset("chars:abc |▁é", "keep")
    model = train(TEXTS, charset, order).model
    arpa.write(tmp_path / name, model)
    assert arpa.is_arpa(tmp_path / name)
    found = arpa.read(tmp_path / name, charset.classes)
    assert found.tokens == model.tokens
    assert found.counts == model.counts
    mine, theirs = listed(model), listed(found)
    assert list(mine) == list(theirs)
    np.testing.assert_allclose(list(theirs.values()), list(mine.values()), atol=1e-6)
    arpa.write(tmp_path / f"again{name}", found)
    assert (tmp_path / f"again{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_packed_and_plain_hold_the_same(tmp_path):
    model = train(TEXTS, build_charset("ab", "keep"), 3).model
    arpa.write(tmp_path / "a.arpa", model)
    arpa.write(tmp_path / "a.arpa.gz", model)
    plain = (tmp_path / "a.arpa").read_bytes()
    assert gzip.decompress((tmp_path / "a.arpa.gz").read_bytes()) == plain
    assert b"<unk>" not in plain


def test_backing_off_in_a_file_written_by_hand(tmp_path):
    model = arpa.read(write(tmp_path, BIGRAMS))
    grams = listed(model)
    charset = build_charset("abz", "keep")
    symbols = model.symbols_of(charset)
    for text, log10 in {
        "": -0.30103 - 0.5,
        "ab": -0.3 - 0.4 - 0.1,
        "ba": -0.30103 - 0.7 + 0.1 - 0.6 - 0.2 - 0.5,
        "az": -0.3 - 0.2 - 1.0 - 0.5,
    }.items():
        found = model.log_probability([symbols[charset.encode(text)]])[0]
        assert found == pytest.approx(log10 * math.log(10))
        plain = text_score(grams, text.replace("z", "?"), 2)
        assert found == pytest.approx(plain)


@pytest.mark.parametrize("blank", ["<space>", "▁", "|"])
def test_tokens_for_the_blank(tmp_path, blank):
    path = write(tmp_path, BIGRAMS.replace("\tb", f"\t{blank}").replace("a b", f"a {blank}"))
    path.write_text(path.read_text().replace(f"\t{blank} <", f"\t{blank} <"))
    assert arpa.read(path).tokens[3:] == ("a", " ")
    if blank != "<space>":  # a character of the charset is itself
        assert arpa.read(path, ("a", blank)).tokens[3:] == ("a", blank)


def test_a_blank_beside_a_character_that_others_write_for_it(tmp_path):
    text = BIGRAMS.replace("1=5", "1=6").replace("\n-0.7\tb", "\n-0.7\t<space>\n-0.7\tb")
    path = write(tmp_path, text.replace("b", "|"))
    assert arpa.read(path).tokens[3:] == ("a", " ", "|")


def test_other_ways_to_write_the_same(tmp_path):
    expected = arpa.read(write(tmp_path, BIGRAMS))
    other = (
        "a model by hand\n\n" + BIGRAMS.replace("\t", " ").replace("<unk>", "<UNK>")
    ).replace("\n", "\r\n").replace("-99 ", "-inf ")  # fmt: skip
    found = arpa.read(write(tmp_path, "\ufeff" + other))
    assert listed(found) == listed(expected)
    last = BIGRAMS.replace("-0.9\ta a", "-0.9\ta a\t0")  # a back-off weight of nothing
    assert listed(arpa.read(write(tmp_path, last))) == listed(expected)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("\\data\\", "\\dato\\", None, "before \\data\\"),
        ("ngram 2=4", "ngram 3=4", 4, "ngram 2=COUNT should be"),
        ("ngram 2=4", "ngrams: 4", 4, "ngram 2=COUNT should be"),
        ("ngram 2=4", "ngram 2=99999999", 6, "write a model of a lower order"),
        ("ngram 2=4", "ngram 2=5", 19, "perhaps a back-off weight"),
        ("ngram 2=4", "ngram 2=3", 17, "where \\end\\ should be"),
        ("ngram 1=5", "ngram 1=6", 13, "a probability, a token"),
        ("ngram 1=5", "ngram 1=4", 11, "where \\2-grams: should be"),
        ("\\end\\", "", None, "before \\end\\"),
        ("-0.4\ta b", "-0.4\ta", 15, "a probability, 2 tokens"),
        ("-0.4\ta b", "-0.4\ta b a a", 15, "a probability, 2 tokens"),
        ("-0.4\ta b", "x\ta b", 15, "'x' is no number"),
        ("-0.4\ta b", "nan\ta b", 15, "logarithm of no probability"),
        ("-0.4\ta b", "0.4\ta b", 15, "logarithm of no probability"),
        ("-0.4\ta b", "-0.4\ta b\t-1", 15, "no back-off weight of the longest"),
        ("-0.6\ta\t-0.2", "-0.6\ta\tinf", 10, "no back-off weight"),
        ("-0.4\ta b", "-0.4\ta x", 15, "'x' is not among the 1-grams"),
        ("-0.4\ta b", "-0.4\tx b", 15, "'x' begins an n-gram"),
        ("-0.4\ta b", "-0.3\t<s> a", 15, "'<s> a' is listed twice"),
        ("-0.7\tb\t0.1", "-0.6\ta\t0.1", 11, "'a' is listed twice"),
        ("-0.7\tb\t0.1", "-0.7\thello\t0.1", 11, "'hello' is a word"),
        ("-0.5\t</s>", "-0.5\tx", 11, "lack </s>"),
        ("-99\t<s>", "-99\tx", 11, "lack <s>"),
        ("-0.7\tb\t0.1", "-0.7\t<UNK>", 11, "<unk> twice"),
        ("-0.7\tb", "-0.7\t" + "b" * 2000, 11, "longer than 1024 bytes"),
    ],
)
def test_malformed_files(tmp_path, old, new, line, says):
    assert old in BIGRAMS
    path = write(tmp_path, BIGRAMS.replace(old, new, 1))
    with pytest.raises(UserError) as error:
        arpa.read(path)
    text = str(error.value)
    assert says in text
    assert "\n" not in text
    assert text.startswith(f"{path}, line {line}: " if line else f"{path}: ")


def test_an_order_that_is_too_high(tmp_path):
    lines = "".join(f"ngram {n}=1\n" for n in range(1, 12))
    path = write(tmp_path, BIGRAMS.replace("ngram 1=5\nngram 2=4\n", lines))
    with pytest.raises(UserError, match="order 11: 1 to 10"):
        arpa.read(path)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "model.arpa"
    path.write_bytes(BIGRAMS.encode().replace(b"a b", b"\xff b"))
    with pytest.raises(UserError, match="line 15: not UTF-8"):
        arpa.read(path)
    packed = gzip.compress(BIGRAMS.encode(), mtime=0)
    for data in (packed[:-20], packed[:40], packed[:20] + b"\0" * 30):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"damaged \.gz"):
            arpa.read(path)
    with pytest.raises(UserError, match="cannot be read"):
        arpa.read(tmp_path / "none.arpa")
    with pytest.raises(UserError, match="cannot be read"):
        arpa.is_arpa(tmp_path)


def test_what_is_an_arpa_file(tmp_path):
    for data, answer in (
        (BIGRAMS.encode(), True),
        (gzip.compress(BIGRAMS.encode(), mtime=0), True),
        (b"words\nand words\n", False),
        (b"\\data\\ and more\n", False),
        (b"x" * 5000, False),
        (b"caf\xe9\n\\data\\\n", False),
        (b"", False),
    ):
        path = tmp_path / "file"
        path.write_bytes(data)
        assert arpa.is_arpa(path) is answer


def test_characters_that_cannot_be_tokens(tmp_path):
    model = train([("a", 1)], build_charset("chars:a\t", "keep"), 2).model
    with pytest.raises(UserError, match="take it out of the charset"):
        arpa.write(tmp_path / "model.arpa", model)
    model = train([("a", 1)], build_charset("a", "keep"), 2).model
    with pytest.raises(UserError, match="cannot be written"):
        arpa.write(tmp_path / "none" / "model.arpa", model)
