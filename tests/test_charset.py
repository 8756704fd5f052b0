from __future__ import annotations

import itertools
import json
import pickle
import random
import subprocess
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest

from crnn_jax import charset as charset_lib
from crnn_jax.charset import PRESETS, Charset, UnknownCharacterError, build_charset, resolve_case
from crnn_jax.errors import UserError

SPECS = [*PRESETS, *(f"{name}+space" for name in PRESETS)]


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Presets


def test_presets_hold_what_their_names_say():
    assert PRESETS["digits"] == "0123456789"
    assert PRESETS["alnum36"] == "0123456789abcdefghijklmnopqrstuvwxyz"
    assert PRESETS["alnum62"] == PRESETS["alnum36"] + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert PRESETS["latin94"] == "".join(c for c in map(chr, range(128)) if c.isprintable())[1:]
    assert {name: len(text) for name, text in PRESETS.items()} == {
        "digits": 10,
        "alnum36": 36,
        "alnum62": 62,
        "latin94": 94,
        "latin": 206,
    }


def test_latin_extends_latin94_without_moving_ids():
    latin, latin94 = build_charset("latin"), build_charset("latin94")
    assert latin.classes[:94] == latin94.classes
    assert latin.encode("Text!") == latin94.encode("Text!")


@pytest.mark.parametrize(
    ("language", "letters"),
    [
        ("French", "àâæçéèêëîïôœùûüÿ"),
        ("German", "äöüßẞ"),
        ("Spanish", "áéíñóúü"),
        ("Portuguese", "ãáàâçéêíóôõúü"),
        ("Italian", "àèéìíîòóùú"),
        ("Dutch", "áéëïíóöúü"),
        ("Swedish, Finnish", "åäöšž"),
        ("Danish, Norwegian", "æøåéóòô"),
        ("Icelandic", "áðéíóúýþæö"),
        ("Catalan", "àçèéíïòóúü"),
    ],
)
def test_latin_reads_the_languages_of_western_europe(language: str, letters: str):
    latin = build_charset("latin")
    upper = "".join(c.upper() for c in letters if len(c.upper()) == 1)  # ß has no single one
    assert latin.unknown(letters + upper) == [], language


def test_latin_holds_common_signs():
    signs = "€£¥§©®™°±×÷µ¿¡«»“”‘’„–—…•½¼¾²³ªº·¢¹‹›‚†‡‰¶"
    assert build_charset("latin").unknown(signs) == []


@pytest.mark.parametrize("spec", SPECS)
def test_encode_and_decode_are_inverse(spec: str):
    charset = build_charset(spec)
    everything = "".join(charset.classes)
    assert charset.encode(everything) == list(range(1, charset.num_classes))
    assert charset.decode(range(1, charset.num_classes)) == everything
    rng = random.Random(0)
    for length in range(30):
        text = "".join(rng.choices(charset.classes, k=length))
        assert charset.decode(charset.encode(text)) == text
        ids = rng.choices(range(1, charset.num_classes), k=length)
        assert charset.encode(charset.decode(ids)) == ids


def test_space_follows_a_preset_as_the_last_class():
    for name in PRESETS:
        with_space = build_charset(f"{name}+space")
        assert with_space.classes == (*build_charset(name).classes, " ")
        assert build_charset(name).unknown("1 2") == [" "]


# Normal form and case


def test_composed_and_decomposed_text_are_one():
    latin = build_charset("latin")
    assert latin.normalise("cafe\u0301") == "café"
    assert latin.encode("cafe\u0301") == latin.encode("café")
    assert build_charset("chars:e\u0301a").classes == ("é", "a")


def test_case_folds_for_alnum36_alone():
    assert resolve_case("alnum36", "auto") == "fold"
    assert resolve_case("alnum36+space", "auto") == "fold"
    for spec in ("digits", "alnum62", "latin94", "latin+space", "from_data", "abc"):
        assert resolve_case(spec, "auto") == "keep"
    assert resolve_case("alnum36", "keep") == "keep"
    assert resolve_case("abc", "fold") == "fold"
    with pytest.raises(UserError, match="did you mean 'fold'"):
        resolve_case("abc", "folded")


def test_folding_lowers_before_encoding():
    folded, kept = build_charset("alnum36"), build_charset("alnum36", "keep")
    assert folded.encode("Hello7") == kept.encode("hello7")
    assert kept.unknown("Hello7") == ["H"]
    # A dotted capital I lowers to two code points, of which one is known.
    assert folded.unknown("İ") == ["\u0307"]


@pytest.mark.parametrize("case", ["keep", "fold"])
def test_normalising_twice_changes_nothing(case: str):
    charset = Charset(("a",), case)
    rng = random.Random(1)
    points = [*range(0x20, 0x600), *range(0x900, 0x980), *range(0x1E00, 0x2130), 0x1D15E]
    for _ in range(2000):
        once = charset.normalise("".join(map(chr, rng.choices(points, k=6))))
        assert charset.normalise(once) == once
        assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize("spec", ["alnum62", "latin94+space", "latin", "chars:abC"])
def test_folding_with_upper_case_classes_is_refused(spec: str):
    with pytest.raises(UserError, match="could never be read") as error:
        build_charset(spec, "fold")
    assert "'keep'" in one_line(error)
    assert repr(spec) in one_line(error)


# Unknown characters


def test_unknown_characters_are_all_found_in_order():
    charset = build_charset("alnum36")
    assert charset.unknown("It's a «test»!") == ["'", " ", " ", "«", "»", "!"]
    assert Counter(charset.unknown("!?!")) == {"!": 2, "?": 1}
    assert charset.unknown("plain") == []
    assert charset.encode_known("It's!") == charset.encode("its")
    assert charset.encode_known("!!!") == []


def test_unknown_character_is_named_with_text_and_advice():
    charset = build_charset("alnum36", "keep")
    with pytest.raises(UnknownCharacterError) as error:
        charset.encode("caf\u00e9")
    message = one_line(error)
    assert "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) of 'café'" in message
    assert "fold" not in message
    with pytest.raises(UnknownCharacterError, match="case 'fold' reads it as 'c'"):
        charset.encode("Cafe")
    with pytest.raises(UnknownCharacterError, match=r"U\+000A unnamed") as error:
        charset.encode("a\nb")
    one_line(error)


def test_known_and_unknown_make_up_the_text():
    charset = build_charset("latin94")
    rng = random.Random(2)
    for _ in range(300):
        text = charset.normalise("".join(rng.choices("ab é\u0301ñ漢 !", k=rng.randrange(12))))
        unknown = charset.unknown(text)
        known = charset.decode(charset.encode_known(text))
        assert Counter(known) + Counter(unknown) == Counter(text)
        if unknown:
            with pytest.raises(UnknownCharacterError):
                charset.encode(text)
        else:
            assert charset.encode(text) == charset.encode_known(text)


@pytest.mark.parametrize("ids", [[0], [1, 0, 2], [-1], [11], [1, 2, 99]])
def test_decode_refuses_ids_without_a_character(ids: list[int]):
    with pytest.raises(UserError, match="ids run from 1 to 10"):
        build_charset("digits").decode(ids)


def test_decode_takes_arrays_and_keeps_repeats():
    digits = build_charset("digits")
    assert digits.decode(np.array([2, 2, 3], np.int32)) == "112"
    assert digits.decode([]) == ""


# Classes of several code points


def test_longest_class_wins():
    charset = Charset(("a", "b", "ab", "abc", "c"), "keep")
    assert charset.encode("abcabacb") == [4, 3, 1, 5, 2]
    assert charset.unknown("abxab") == ["x"]
    assert charset.encode_known("abxab") == [3, 3]
    with pytest.raises(UnknownCharacterError, match=r"U\+0078"):
        charset.encode("abx")


def test_clusters_agree_with_an_exhaustive_match():
    classes = ("a", "b", "aa", "bab", "ab")
    charset = Charset(classes, "keep")
    for text in map("".join, itertools.product("ab", repeat=7)):
        ids, rest = [], text
        while rest:
            longest = max((c for c in classes if rest.startswith(c)), key=len)
            ids.append(classes.index(longest) + 1)
            rest = rest[len(longest) :]
        assert charset.encode(text) == ids
        assert charset.decode(ids) == text


def test_decoded_marks_join_the_letter_before():
    charset = Charset(("e", "\u0301", "é"), "keep")
    assert charset.decode([1, 2]) == "é"


# Where characters come from


def test_from_data_sorts_the_normalised_characters():
    labels = ["ba", "Cafe\u0301", "b"]
    assert build_charset("from_data", labels=labels).classes == ("C", "a", "b", "f", "é")
    assert build_charset("from_data", "fold", iter(labels)).classes == ("a", "b", "c", "f", "é")
    assert build_charset("from_data", labels=["\ufeffab"]).classes == ("a", "b")


def test_from_data_encodes_every_label_it_saw():
    rng = random.Random(3)
    for case in ("keep", "fold"):
        labels = ["".join(map(chr, rng.choices(range(0x20, 0x500), k=8))) for _ in range(200)]
        charset = build_charset("from_data", case, labels)
        for label in labels:
            assert charset.decode(charset.encode(label)) == charset.normalise(label)


def test_from_data_needs_labels_with_characters():
    with pytest.raises(UserError, match="needs labels") as error:
        build_charset("from_data")
    one_line(error)
    for empty in ([], ["", ""]):
        with pytest.raises(UserError, match="at least one character"):
            build_charset("from_data", labels=empty)


@pytest.mark.parametrize(
    ("content", "classes"),
    [
        ("abc\nde\n", "abcde"),
        ("a\nb\n\n \nc", "ab c"),
        ("\ufeffab", "ab"),
        ("\ufeffa\r\nb\r\n", "ab"),
        ("xe\u0301", "xé"),
        ("\u3000\n一\n乙\n", "\u3000一乙"),
        ("क्षत", ["क", "्", "ष", "त"]),  # one line: code points
        ("त\nक्ष\nकि\n", ["त", "क्ष", "कि"]),  # one class per line
        ("a\n👩\u200d💻\n", ["a", "👩\u200d💻"]),
        ("त\nकि\nabc\n", ["त", "क", "ि", "a", "b", "c"]),  # abc is no one character
        ("क\nि्\n", ["क", "ि", "्"]),  # marks alone are no character either
    ],
)
def test_file_charsets(tmp_path, content: str, classes: str | list[str]):
    path = tmp_path / "chars.txt"
    path.write_bytes(content.encode())
    assert build_charset(f"file:{path}").classes == tuple(classes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least one character"),
        (b"\xef\xbb\xbf\n", "at least one character"),
        (b"aba", r"repeated characters 'a' \(U\+0061"),
        ("Å\u212b".encode(), r"U\+00C5"),  # the same after NFC
        ("ab".encode("utf-16"), "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_unusable_files_are_told_in_one_line(tmp_path, content: bytes | None, message: str):
    path = tmp_path / "chars.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        build_charset(f"file:{path}")
    assert "chars.txt" in one_line(error) or "file:" in one_line(error)


def test_file_needs_a_path():
    with pytest.raises(UserError, match="lacks the path"):
        build_charset("file:")


def test_literal_strings_are_their_characters():
    for text in ("abc", "0123456789+-", "ACGT", "a:b", "abc \u00e9", "x"):
        assert build_charset(text).classes == tuple(text)
        assert build_charset(f"chars:{text}").classes == tuple(text)
    assert build_charset("chars:alnum63").classes == tuple("alnum63")
    assert build_charset("chars:digts").classes == tuple("digts")


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("alnum63", "alnum62"),
        ("alnum37", "alnum36"),
        ("digit", "digits"),
        ("Latin", "latin"),
        ("latin_94", "latin94"),
        (" digits", "digits"),
        ("alnum36+spce", "alnum36+space"),
        ("alnum63+space", "alnum62+space"),
        ("from-data", "from_data"),
        ("from_data+space", "from_data"),
        ("files:chars.txt", "file:PATH"),
        ("char:abc", "chars:STRING"),
        ("digits\n", "digits"),
    ],
)
def test_misspelled_names_are_told_the_nearest(spec: str, near: str):
    with pytest.raises(UserError) as error:
        build_charset(spec)
    message = one_line(error)
    assert f"did you mean {near!r}?" in message
    assert repr(f"chars:{spec}") in message


@pytest.mark.parametrize("spec", ["", "chars:", "\ufeff"])
def test_empty_charset_is_refused(spec: str):
    with pytest.raises(UserError, match="at least one character"):
        build_charset(spec)


def test_duplicates_are_named():
    with pytest.raises(UserError, match="repeated") as error:
        build_charset("chars:abcabdefgd")
    message = one_line(error)
    assert all(f"'{c}' (U+" in message for c in "abd")
    assert "'c' (U+" not in message
    with pytest.raises(UserError, match=r"'a'.*and 1 more"):
        build_charset("chars:abcdabcd")
    with pytest.raises(UserError, match="file:PATH"):  # a file name without file: says so
        build_charset("dict.txt")


def test_space_follows_presets_only():
    with pytest.raises(UserError, match="may follow a preset"):
        build_charset("xyz+space")


# The class itself


@pytest.mark.parametrize(
    ("classes", "case", "message"),
    [
        ((), "keep", "at least one"),
        (("a", ""), "keep", "empty or not in NFC"),
        (("e\u0301",), "keep", "empty or not in NFC"),
        (("a", "\ud800"), "keep", "surrogate"),
        (("a", "b", "a"), "keep", "repeated"),
        (("a", "B"), "fold", "could never be read"),
        (("a",), "auto", "unknown case of a charset 'auto'"),
    ],
)
def test_invalid_charsets_are_refused(classes: tuple[str, ...], case: str, message: str):
    with pytest.raises(UserError, match=message) as error:
        Charset(classes, case)
    one_line(error)


def test_charset_is_a_value():
    one, other = build_charset("latin"), build_charset("latin")
    one.encode("x")  # fills caches, which must not count
    assert one == other
    assert hash(one) == hash(other)
    assert one != build_charset("latin+space")
    assert build_charset("alnum36") != build_charset("alnum36", "keep")
    with pytest.raises(AttributeError):
        one.case = "fold"
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.encode("Straße") == one.encode("Straße")


def test_blank_is_class_zero():
    charset = build_charset("digits")
    assert Charset.BLANK == charset.BLANK == 0
    assert charset.num_classes == 11
    assert charset.encode("09") == [1, 10]


# Files


@pytest.mark.parametrize("spec", ["alnum36", "latin+space", 'chars:"\\\u2028漢'])
def test_saved_charset_is_loaded_again(tmp_path, spec: str):
    charset, path = build_charset(spec), tmp_path / "charset.json"
    charset.save(path)
    assert Charset.load(path) == charset
    assert Charset.load(str(path)) == charset
    assert Charset.from_json(json.loads(json.dumps(charset.to_json()))) == charset
    assert [file.name for file in tmp_path.iterdir()] == ["charset.json"]


def test_saved_charset_is_readable(tmp_path):
    path = tmp_path / "charset.json"
    build_charset("chars:aé€").save(path)
    assert path.read_text(encoding="utf-8") == (
        '{\n  "blank": 0,\n  "normal_form": "NFC",\n  "case": "keep",\n'
        '  "classes": ["a", "é", "€"]\n}\n'
    )


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "charset.json"
    build_charset("digits").save(path)

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(charset_lib.os, "replace", fail)
    with pytest.raises(UserError, match="No space left on device"):
        build_charset("latin").save(path)
    assert Charset.load(path) == build_charset("digits")
    assert [file.name for file in tmp_path.iterdir()] == ["charset.json"]


def test_save_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write charset"):
        build_charset("digits").save(tmp_path / "file" / "charset.json")


def test_load_tolerates_a_byte_order_mark(tmp_path):
    path = tmp_path / "charset.json"
    path.write_text(json.dumps(build_charset("digits").to_json()), encoding="utf-8-sig")
    assert Charset.load(path) == build_charset("digits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "found NoneType"),
        ([], "found list"),
        ({}, "a JSON object with blank, normal_form, case, classes"),
        ({"extra": 1}, "found blank, normal_form, case, classes, extra"),
        ({"blank": 36}, "blank 36"),
        ({"normal_form": "NFD"}, "normal_form 'NFD'"),
        ({"case": None}, "case None"),
        ({"case": "lower"}, "unknown case"),
        ({"classes": "abc"}, "list of strings"),
        ({"classes": ["a", 1]}, "list of strings"),
        ({"classes": []}, "at least one"),
        ({"classes": ["a", "a"]}, "repeated"),
        ({"classes": ["e\u0301"]}, "NFC"),
    ],
)
def test_from_json_validates(tmp_path, change: object, message: str):
    data = change
    if isinstance(change, dict) and change:
        data = build_charset("digits").to_json() | change
    with pytest.raises(UserError, match=message) as error:
        Charset.from_json(data)
    one_line(error)
    path = tmp_path / "charset.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=message) as error:
        Charset.load(path)
    assert "charset.json" in one_line(error)


def test_load_names_an_unreadable_file(tmp_path):
    path = tmp_path / "charset.json"
    with pytest.raises(UserError, match=r"charset\.json: No such file"):
        Charset.load(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON") as error:
        Charset.load(path)
    assert "charset.json" in one_line(error)


# Real labels, and lightness


def test_folding_makes_real_labels_readable(real_data):
    lines = (real_data / "iiit5k_train" / "labels.tsv").read_text("utf-8").splitlines()
    labels = [line.split("\t")[1] for line in lines]
    kept, folded = build_charset("alnum36", "keep"), build_charset("alnum36")
    assert len(labels) == 2000
    assert sum(bool(kept.unknown(label)) for label in labels) == 1430
    assert sum(bool(folded.unknown(label)) for label in labels) == 0


def test_importing_needs_no_jax():
    code = "import sys, crnn_jax.charset, crnn_jax.metrics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
