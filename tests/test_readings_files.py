"""Every format of readings, a miniature of each and the mistakes in it."""

from __future__ import annotations

import json
import pathlib

import pytest

from crnn_jax import evaluate
from crnn_jax.errors import DataError, UserError
from crnn_jax.scoring.readings_files import FORMATS, open_readings

FILES = {
    "crnn_jax": "a/1.png\tHaus\thaus\t0.500000\n2.png\tx y\t\tnan\n",
    "predict": "a/1.png\thaus\t0.500000\n2.png\t\t\t2.png: cannot be read\n",
    "tsv": "a/1.png\thaus\n2.png\t\n",
    "plain": "a/1.png haus\n2.png \n",
    "parseq": "a/1.png: haus\n2.png: \n",
    "paddle": "a/1.png\thaus\t0.5\n2.png\t\t0.25\n",
    "paddle_json": '{"input_path": "a/1.png", "page_index": null, "rec_text": "haus", '
    '"rec_score": 0.5}\n{"res": {"input_path": "2.png", "rec_text": "", "rec_score": 0.25}}\n',
}


def write(folder: pathlib.Path, text: str | bytes, name: str = "r.out") -> pathlib.Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("named", [True, False])
def test_a_miniature_of_each_format(tmp_path: pathlib.Path, form: str, named: bool) -> None:
    path = write(tmp_path, FILES[form], "r.json" if form == "paddle_json" else "r.out")
    found = open_readings(f"{path}:{form}" if named else str(path))
    assert found.format == form
    assert [(row.key, row.text) for row in found.rows] == [("a/1.png", "haus"), ("2.png", "")]
    scores = {"crnn_jax": [0.5, None], "paddle": [0.5, 0.25], "paddle_json": [0.5, 0.25]}
    scores["predict"] = [0.5, 0.0]
    assert [row.confidence for row in found.rows] == scores.get(form, [None, None])
    labels = ["Haus", "x y"] if form == "crnn_jax" else [None, None]
    assert [row.label for row in found.rows] == labels


def test_all_formats_are_tried() -> None:
    assert set(FILES) | {"tesseract"} == set(FORMATS)


def test_our_own_predictions_come_back(tmp_path: pathlib.Path) -> None:
    rows = [
        evaluate.Row("a.png", "two\twords", "to  words ", 0.125),
        evaluate.Row("b.png", "x", "", float("nan")),
    ]
    evaluate.write_predictions(tmp_path / "p.tsv", [evaluate.Result("s", {}, rows)])
    found = open_readings(str(tmp_path / "p.tsv"))
    assert [(r.key, r.label, r.text, r.confidence) for r in found.rows] == [
        ("a.png", "two words", "to  words ", 0.125),
        ("b.png", "x", "", None),
    ]


def test_what_predict_writes_may_begin_with_an_image_that_cannot_be_read(
    tmp_path: pathlib.Path,
) -> None:
    lines = FILES["predict"].splitlines(keepends=True)
    found = open_readings(str(write(tmp_path, "".join(reversed(lines)))))
    assert found.format == "predict"
    assert [(row.key, row.text) for row in found.rows] == [("2.png", ""), ("a/1.png", "haus")]
    empty = open_readings(str(write(tmp_path, "2.png\t\t\t0.250000\n1.png\ta\tb\t1\n")))
    assert empty.format == "crnn_jax", "a number is no reason"


@pytest.mark.parametrize(
    ("form", "row", "key", "text"),
    [
        ("tsv", "my images/1.png\ttwo words", "my images/1.png", "two words"),
        ("plain", "1.png two words", "1.png", "two words"),
        ("parseq", "my images/1.png: two: words", "my images/1.png", "two: words"),
        ("paddle", "my images/1.png\ttwo words\t1", "my images/1.png", "two words"),
    ],
)
def test_spaces_within_paths_and_readings(
    tmp_path: pathlib.Path, form: str, row: str, key: str, text: str
) -> None:
    found = open_readings(str(write(tmp_path, row)))
    assert found.format == form
    assert [(r.key, r.text) for r in found.rows] == [(key, text)]


def test_paddles_label_files(tmp_path: pathlib.Path) -> None:
    two = {"Teacher": {"label": "no", "score": 0.1}, "Student": {"label": "haus", "score": 0.9}}
    for value in (two, {"Any": two["Student"]}, two["Student"]):
        found = open_readings(str(write(tmp_path, f"1.png\t{json.dumps(value)}\n")))
        assert found.format == "paddle"
        assert (found.rows[0].text, found.rows[0].confidence) == ("haus", 0.9)


def test_folders(tmp_path: pathlib.Path) -> None:
    pages, objects = tmp_path / "pages", tmp_path / "objects"
    pages.mkdir()
    objects.mkdir()
    write(pages, "HAUS\n\n\f", "1.txt")
    write(pages, "two\nlines\n\f", "2.jpg.txt")
    write(pages, "\f", "3.txt")
    found = open_readings(str(pages))
    assert found.format == "tesseract"
    assert [(row.key, row.text) for row in found.rows] == [
        ("1", "HAUS"), ("2.jpg", "two lines"), ("3", "")
    ]  # fmt: skip
    assert [r.text for r in open_readings(f"{pages / '1.txt'}:tesseract").rows] == ["HAUS"]
    value = {"input_path": "x/1.png", "rec_text": "haus", "rec_score": 0.5}
    write(objects, json.dumps(value, indent=2), "1_res.json")
    assert [(r.key, r.text) for r in open_readings(str(objects)).rows] == [("x/1.png", "haus")]
    write(objects, "", "x.txt")
    with pytest.raises(
        DataError, match=r"both .txt and .json files: name the format, as in .*:tess"
    ):
        open_readings(str(objects))


def test_lists_byte_order_marks_and_windows_line_ends(tmp_path: pathlib.Path) -> None:
    text = "\ufeff1.png\thaus\r\n\r\n2.png\tcafé\u2028\r\n"
    assert [(r.key, r.text) for r in open_readings(str(write(tmp_path, text))).rows] == [
        ("1.png", "haus"), ("2.png", "café\u2028")
    ]  # fmt: skip
    values = [{"input_path": p, "rec_text": p, "rec_score": 1} for p in "ab"]
    found = open_readings(str(write(tmp_path, json.dumps(values), "r.json")))
    assert [row.key for row in found.rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("crnn_jax", "1\ta\tb\t1\n2\ta\tb\n", "row 2: 3 columns instead of 4; expected crnn_jax"),
        ("crnn_jax", "1\ta\tb\tsure\n", "row 1: 'sure' is no number; expected"),
        ("predict", "1\ta\t0.5\n2\tb\t1\twhy\n", "row 2: 4 columns instead of 3; expected"),
        ("tsv", "1\ta\n\n2\n", "row 3: 1 columns instead of 2; expected tsv: PATH, TAB, READING"),
        ("tsv", "1\ta\n2\t\xff\n".encode("latin-1"), "row 2: not UTF-8; convert the file"),
        ("plain", "1.png a\n2.png\n", "row 2: no space after the path, '2.png'; expected plain"),
        ("parseq", "1.png: a\n2: b\n", "row 2: no name of an image and a colon, '2: b'; expected"),
        ("paddle", "1\ta\t0.5\n2\tb\n", "row 2: not JSON .*; expected paddle: PATH"),
        ("paddle", "1\ta\thigh\n", "row 1: 'high' is no number"),
        ("paddle", '1\t{"A": {"label": "x"}, "B": {"label": "y"}}', "row 1: no label of one"),
        ("paddle_json", '{"input_path": "1"}', "no rec_text; expected objects"),
        ("paddle_json", '{"rec_text": "1"}\n{"rec_text": "2"}', "row 1: no input_path; expected"),
        ("paddle_json", '{"input_path"', "row 1: not JSON"),
        ("tsv", "\n", "holds no readings; expected tsv"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named(
    tmp_path: pathlib.Path, form: str, text: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_readings(f"{write(tmp_path, text)}:{form}")
    assert str(tmp_path / "r.out") in str(error.value)


def test_mistakes_of_the_argument(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, FILES["tsv"])
    with pytest.raises(
        UserError, match="unknown format of readings 'padle': did you mean 'paddle'"
    ):
        open_readings(f"{path}:padle")
    for argument in (f"{tmp_path}/no.tsv", f"{tmp_path}/no.tsv:tsv", f"{tmp_path}/no.tsv:tvs"):
        with pytest.raises(DataError, match=r"no.tsv.* does not exist: give a file of readings"):
            open_readings(argument)
    with pytest.raises(DataError, match=r"row 1: of no known format, 'one'; name it, as in .*:tsv"):
        open_readings(str(write(tmp_path, "one\n")))
    with pytest.raises(DataError, match="is a folder; the format tsv is a file"):
        open_readings(f"{tmp_path}:tsv")
    with pytest.raises(DataError, match=r"holds neither .txt nor .json files"):
        open_readings(str(tmp_path))
