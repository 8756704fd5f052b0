"""Lists of labels and folders in the forms of other recognisers: what is read, what is refused."""

from __future__ import annotations

import json
import pickle
import re

import pytest
from source_files import keys, labels, png, refused

from crnn_jax.data.sources import Source, open_source
from crnn_jax.errors import ImageError


def write(folder, file: str, content: str | bytes, images: tuple[str, ...] = ()):
    folder.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    (folder / file).write_bytes(data)
    for number, name in enumerate(images):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(20 + number))
    return folder / file


def check_two_rows(source: Source, names: tuple[str, str], texts: tuple[str, str]) -> None:
    """Checks names, labels and that the images are those written for these names."""
    assert isinstance(source, Source)
    assert tuple(source.key(i) for i in range(len(source))) == names
    assert tuple(labels(source)) == texts
    assert [source.image_size(i) for i in (0, 1)] == [(20, 10), (21, 10)]
    assert source.image_bytes(1) == png(21)
    again = pickle.loads(pickle.dumps(source))
    assert labels(again) == list(texts)
    assert again.fingerprint() == source.fingerprint() != source.fingerprint([0])


def test_csv_by_usual_names_keeps_leading_zeros(tmp_path):
    path = write(
        tmp_path / "d", "w.csv", "filename,words\na.png,007\nb.png,1.50\n", ("a.png", "b.png")
    )
    check_two_rows(open_source(f"csv:{path}"), ("a.png", "b.png"), ("007", "1.50"))


def test_csv_with_names_quotes_and_another_folder(tmp_path):
    content = 'id;scan;said\r\n1;x/a.png;"one ""two"";\nthree"\r\n\r\n2;b.png; four \r\n'
    path = write(tmp_path / "d", "w.csv", content)
    write(tmp_path / "photos", "unused", "", ("x/a.png", "b.png"))
    spec = f"csv:{path}::image=scan,text=said,root={tmp_path}/photos"
    source = open_source(spec)
    check_two_rows(source, ("x/a.png", "b.png"), ('one "two";\nthree', " four "))
    # A quoted cell spans two lines, so the second row begins on the fifth.
    assert source.where(1) == "w.csv row 5 (b.png)"
    assert str(source.name) == "d"


def test_csv_without_a_header_by_numbers(tmp_path):
    path = write(tmp_path / "d", "w.csv", "A,a.png\nB,b.png\n", ("a.png", "b.png"))
    check_two_rows(open_source(f"csv:{path}::image=2,text=1"), ("a.png", "b.png"), ("A", "B"))
    path.write_text("a.png,\nb.png,B\n")  # a label may be empty
    check_two_rows(open_source(f"csv:{path}::image=1,text=2"), ("a.png", "b.png"), ("", "B"))


def test_jsonl(tmp_path):
    lines = ['{"file_name": "a.png", "text": "grüß"}', "", '{"text": "2", "file_name": "b.png"}']
    path = write(tmp_path / "d", "metadata.jsonl", "\n".join(lines), ("a.png", "b.png"))
    check_two_rows(open_source(f"jsonl:{path.parent}"), ("a.png", "b.png"), ("grüß", "2"))


def test_doctr(tmp_path):
    content = json.dumps({"a.png": "one", "b.png": ""})
    path = write(tmp_path / "d", "labels.json", content, ("images/a.png", "images/b.png"))
    check_two_rows(open_source(f"doctr:{path.parent}"), ("a.png", "b.png"), ("one", ""))


def test_paddle_with_root_and_several_files_for_a_label(tmp_path):
    write(tmp_path / "d", "unused", "", ("t/a.png", "t/b.png"))
    path = write(tmp_path, "rec.txt", '["t/a.png", "t/b.png"]\tone two\n')
    source = open_source(f"paddle:{path}::root={tmp_path}/d")
    check_two_rows(source, ("t/a.png", "t/b.png"), ("one two", "one two"))


def test_pairs_of_image_and_text(tmp_path, caplog):
    folder = tmp_path / "d"
    write(folder, "a.gt.txt", "\ufeffone two\r\n", ("a.bin.png", "b.JPG", "unlabelled.png"))
    write(folder, "b.gt.txt", "")
    write(folder, "lonely.gt.txt", "x")
    caplog.set_level("WARNING", logger="crnn_jax")
    source = open_source(f"pairs:{folder}")
    check_two_rows(source, ("a.bin.png", "b.JPG"), ("one two", ""))
    assert "1 image(s) without a text are left out, the first is unlabelled.png" in caplog.text
    assert "1 text(s) without an image are left out, the first is lonely.gt.txt" in caplog.text


def test_names_without_what_strip_finds(tmp_path):
    folder = tmp_path / "d"
    write(folder, "unused", "", ("ab_01.png", "c_d_22.png"))
    source = open_source(f"names:{folder}::strip=_[0-9]+$")
    check_two_rows(source, ("ab_01.png", "c_d_22.png"), ("ab", "c_d"))


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("csv", "", "has no rows: write a header"),
        (
            "csv",
            "a.png,x\n",
            "header has no column with a usual name of the image: give image=",
        ),
        ("csv", "file,image,text\n", r"several columns that may hold the image \(image, file\)"),
        ("csv", "file,text\na.png,x\nb.png\n", r"row 3 has 1 column\(s\), or no image file in it"),
        ("csv", "file,text\na.png,x\n,y\n", r"row 3 has 2 column\(s\), or no image file in it"),
        ("csv", 'file,text\na.png,"x"y\n', "row 2: .*quote cells"),
        (
            "csv",
            "file,text\na.png,x,\nb.png,a, b\n",
            "row 3 has 3 cells and the first row 2: .* in q",
        ),
        ("csv", "file,text,,\na.png,1,5\n", r"row 2 has 3 cells and the first row 2: write a text"),
        ("csv", b"file,text\na.png,x\nb.png,\xe4\n", "row 3 is not UTF-8"),
        ("jsonl", "", 'has no rows: write lines of {"file_name"'),
        ("jsonl", "[1]\n", "row 1 is no JSON object"),
        ("jsonl", '{"file": "a", "text": "b"}\n{"file": "a"\n', "row 2 is not JSON"),
        ("jsonl", '{"file": "a", "text": 12}\n', "row 1: 'text' is 12: write it in quotes"),
        ("jsonl", '{"file": "a", "say": "x"}\n', "no column with a usual name of the text"),
        (
            "jsonl",
            '{"file": "a", "text": "b\\u0000c"}\n',
            "row 1 holds a character that no text has, NUL",
        ),
        ("jsonl", '{"file": "a", "text": "\\ud800"}\n', "row 1 holds a character that no text has"),
        ("doctr", "{}", "has no rows"),
        ("doctr", "[]", "holds no object"),
        ("doctr", '{"a.png": {"polygons": []}}', r"entry 1 \(a.png\) has no text"),
        ("doctr", '{"a.png": "x", "a.png": "y"}', "entry 2: a.png has a label already"),
        ("doctr", '{"a.png": ', "is not JSON"),
        ("paddle", "a.png x\n", "row 1 is 'a.png x': write image file, TAB, label"),
        (
            "paddle",
            'p.jpg\t[{"transcription": "x"}]\n',
            "row 1 has boxes, as lists for text det",
        ),
        ("tsv", "filename\tLabel\na.png\tx\n", r"row 1 names columns \(filename, Label\), but a l"),
        (
            "paddle",
            "image\ttext\n",
            "row 1 names columns .*take the row out, or read the list as csv",
        ),
        ("paddle", '["a.png"\tx\n', "row 1 is not JSON"),
        ("paddle", "[1]\tx\n", "row 1: 1 is not a file name in quotes"),
    ],
)
def test_mistakes_name_the_row(tmp_path, kind, content, message):
    assert re.search(message, refused(f"{kind}:{write(tmp_path / 'd', 'list', content)}"))


def test_a_text_where_the_image_is_expected(tmp_path):
    path = write(tmp_path / "d", "labels.tsv", "one\ta.png\n", ("images/a.png",))
    assert "row 1 has the text 'one' where its image is expected" in refused(f"tsv:{path}")
    assert labels(open_source(f"csv:{path}::image=2,text=1")) == ["one"]


def test_mistakes_of_pairs(tmp_path):
    folder = write(tmp_path / "d", "a.png", png()).parent
    line = refused(f"pairs:{folder}")
    assert "no pair of an image and a text (1 images, 0 texts): write NAME.png and NAME.gt" in line
    write(folder, "a.gt.txt", "one\ntwo\n")
    assert "a.gt.txt holds several lines: cut the image" in refused(f"pairs:{folder}")
    write(folder, "a.gt.txt", b"\xe4")
    assert "a.gt.txt is not UTF-8" in refused(f"pairs:{folder}")


def test_a_root_that_is_missing(tmp_path):
    path = write(tmp_path / "d", "rec.txt", "a.png\tx\n")
    assert "does not exist" in refused(f"paddle:{path}::root={tmp_path}/nowhere")
    source = open_source(f"paddle:{path}")
    with pytest.raises(ImageError, match=r"rec.txt row 1 \(a.png\): the image file is missing"):
        source.image_bytes(0)


def test_wildcards_read_all_that_match_as_one_set(tmp_path):
    for folder in ("b", "a", "a/deep"):
        content = f"1.png\t{folder}\n2.png\t{folder}2\n"
        write(tmp_path / "all" / folder, "labels.tsv", content, ("1.png",))
    source = open_source(f"tsv:{tmp_path}/all/**/labels.tsv")
    assert source.name == "all"
    assert labels(source) == ["a/deep", "a/deep2", "a", "a2", "b", "b2"]
    assert source.key(1) == "a/deep/labels.tsv/2.png"
    assert source.where(5) == "b/labels.tsv: labels.tsv row 2 (2.png)"
    assert source.image_size(4) == (20, 10)
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint()
    assert source.fingerprint([0, 4]) != source.fingerprint([0, 5])
    assert len(open_source(f"tsv:{tmp_path}/all/*/labels.tsv")) == 4
    assert keys(f"names:{tmp_path}/all/**") == ["a/1.png", "a/deep/1.png", "b/1.png"]
    assert keys(f"names:{tmp_path}/all/**::group=^[^/]+,split=0:100,limit=1") == ["a/1.png"]
    assert "matches no file: looked below" in refused(f"csv:{tmp_path}/all/*.csv")


def test_brackets_in_a_name_are_no_wildcards(tmp_path):
    path = write(tmp_path / "d [1]", "labels.tsv", "a.png\tx\n", ("a.png",))
    assert labels(open_source(f"tsv:{path}")) == ["x"]
