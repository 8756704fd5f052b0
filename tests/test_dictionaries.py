"""The language models that come with the package."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.charset import build_charset
from crnn_jax.decode import dictionaries, lm
from crnn_jax.decode.language import string_score
from crnn_jax.errors import UserError

LATIN = build_charset("latin94+space")


@pytest.fixture(scope="module")
def tables():
    return lm.load("english", LATIN, 4).tables(LATIN)


def score(tables, text, charset=LATIN):
    ids = jnp.array(charset.encode(text))
    return float(string_score(tables, ids, jnp.int32(len(text))))


def test_words_are_likelier_than_what_looks_like_them(tables):
    for word, other in {"Hotel": "H0tel", "STREET": "STRFET", "the": "tbe", "2024": "2O24"}.items():
        assert score(tables, word) > score(tables, other) + 2


def test_case_makes_no_difference(tables):
    assert score(tables, "Hotel") == score(tables, "HOTEL") == score(tables, "hotel")


def test_what_is_between_words_begins_them_anew(tables):
    """A text's words are scored as they are alone; what is between them costs the same anywhere."""
    end = score(tables, "end")
    assert score(tables, "end.") == pytest.approx(end + math.log(0.1) + math.log(0.5), abs=1e-3)
    two = score(tables, "at") + end + math.log(0.1) + math.log(0.5)
    assert score(tables, "at end") == pytest.approx(two, abs=1e-3)
    assert score(tables, "at, end") == pytest.approx(two + math.log(0.05), abs=1e-3)
    assert score(tables, "$at") == pytest.approx(score(tables, "at") + math.log(0.025), abs=1e-3)
    assert score(tables, "at.end") == score(tables, "at-end") == score(tables, "at end")


def test_every_state_leads_to_one_and_all_are_finite(tables):
    tables = jax.device_get(tables)
    states = len(tables.ends)
    assert tables.log_probs.shape == tables.following.shape == (states, 37)
    assert tables.following.min() >= 0
    assert tables.following.max() == states - 1
    assert np.isfinite(tables.log_probs).all()
    assert np.isfinite(tables.ends).all()
    assert len(set(tables.columns[1:].tolist())) == 37  # 26 letters, 10 digits, and all others


def test_languages_have_letters_with_marks_of_their_own():
    charset = build_charset("latin+space")
    german, both = (
        lm.load(name, charset, 4).tables(charset) for name in ("german", "3*english|german")
    )
    for word, other in {"Müller": "Muller", "Straße": "StraBe"}.items():
        assert score(german, word, charset) > score(german, other, charset) + 1
    street = score(both, "street", charset)
    assert score(german, "street", charset) < street < score(both, "the", charset)


def test_languages_are_told_from_files():
    assert lm.languages_of("3*english|german") == {"english": 0.75, "german": 0.25}
    for path in ("./english", "words.txt", "english|words.txt", ""):
        assert lm.languages_of(path) == {}
    with pytest.raises(UserError, match="english is given twice"):
        lm.load("english|english", LATIN)
    assert lm.default_weight("dutch") == lm.DICTIONARY_WEIGHT
    assert [path.name for path in lm.files_of("dutch|german")] == ["nl.json.gz", "de.json.gz"]
    assert [str(path) for path in lm.files_of("words.txt")] == ["words.txt"]


def test_accents_are_letters_without_them():
    charset = build_charset("latin+space")
    found = lm.load("english", charset, 2).tables(charset)
    at = found.columns[jnp.array(charset.encode("aÀéeß!"))].tolist()
    assert [at[0], at[2], at[4]] == [at[1], at[3], at[5]]
    assert len(set(at)) == 3


def test_orders_are_what_is_asked_for():
    assert dictionaries.train({"english": 1.0}, 2).order == 2
    assert lm.load("english", LATIN, 3).order == 3
    with pytest.raises(UserError, match="none of the charset's characters"):
        dictionaries.train({"english": 1.0}, 1).tables(build_charset("ΑΒΓ", "keep"))
