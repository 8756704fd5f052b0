"""Word recognition sets as their publishers distribute them."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import re
from concurrent import futures

import numpy as np
import pytest
from PIL import Image
from publisher_files import (
    SVT_BOXES,
    WORD_XML,
    WORDS,
    iiit5k_rows,
    mat_bytes,
    photograph,
    svt_xml,
    write_icdar,
    write_icdar03_scenes,
    write_icdar03_words,
    write_iiit5k,
    write_svt,
)
from source_files import keys, labels, png, refused

from crnn_jax.data.publishers import crops
from crnn_jax.data.sources import Source, open_source, row_groups
from crnn_jax.data.spec import parse_spec
from crnn_jax.errors import DataError, ImageError, UserError


def check(spec: str, expected: list[str]) -> Source:
    """Checks what all sources promise: labels, pickling, threads, fingerprints."""
    source = open_source(spec)
    assert isinstance(source, Source)
    assert labels(source) == expected
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint() != source.fingerprint([0])
    rows = range(len(source))
    stored = [source.image_bytes(i) for i in rows]
    for i in rows:
        assert Image.open(io.BytesIO(stored[i])).size == source.image_size(i)
    with futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(again.image_bytes, [*rows] * 20)) == stored * 20
    return source


# iiit5k:


@pytest.mark.parametrize("compressed", [False, True])
def test_iiit5k(tmp_path, compressed):
    folder = write_iiit5k(tmp_path / "IIIT5K", do_compression=compressed)
    source = check(f"iiit5k:{folder}::part=test", list(WORDS))
    assert (source.name, source.key(1)) == ("iiit5k_test", "test/0_1.png")
    assert source.image_bytes(2) == png(22)
    assert source.lexicon(1) == ("spencerian", "the", "word1")
    medium = open_source(f"iiit5k:{folder}::part=test,lexicon=medium")
    assert medium.lexicon(1) == ("spencerian", "a", "of", "b")
    assert source.where(0) == "testdata.mat row 1 (test/0_0.png)"
    spec = parse_spec(f"iiit5k:{folder}::part=test,group=^[^_]+")
    assert row_groups(keys(str(spec)), spec) == ["test/0", "test/0", "test/1"]


def test_iiit5k_texts_of_every_kind(tmp_path):
    rows = [
        ("train/1_1.png", "", [], ["x"] * 40),
        ("train/1_2.png", "caf\xe9", ["\u0416", "", "longer than a tag"], []),
    ]
    (tmp_path / "traindata.mat").write_bytes(mat_bytes("train", rows))
    source = open_source(f"iiit5k:{tmp_path}")
    assert labels(source) == ["", "caf\xe9"]
    assert [source.lexicon(i) for i in range(2)] == [(), ("\u0416", "longer than a tag")]
    with pytest.raises(ImageError, match=r"row 1 \(train/1_1.png\): the image file is missing"):
        source.image_bytes(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"no such file" * 20,
            "testdata.mat is damaged, cut short or no MATLAB",
        ),
        (b"MATLAB 7.3".ljust(124) + b"\0\2IM", "version 7.3: save it in MATLAB with save"),
        (
            mat_bytes("test", iiit5k_rows("test"))[:-60],
            "testdata.mat is damaged, cut short or no MATLAB",
        ),
        (mat_bytes("test", iiit5k_rows("test"), do_compression=True)[:-9], "is damaged, cut short"),
        (mat_bytes("train", iiit5k_rows("x")), "no variable 'testdata' but other, traindata"),
        (
            mat_bytes("test", [("a", "b", [])], ("ImgName", "GroundTruth", "lexi")),
            "no field 'smallLexi' in 'testdata', whose fields are ImgName, GroundTruth, lexi",
        ),
        (mat_bytes("test", [("a", "b", [], []), (7.0, "b", [], [])]), "row 2: is no text but an"),
        (mat_bytes("test", [(["a"], "b", [], [])]), "row 1 has no ImgName or GroundTruth"),
        (mat_bytes("test", []), "has no rows: copy it again"),
    ],
)
def test_iiit5k_that_cannot_be_read(tmp_path, data, message):
    (tmp_path / "testdata.mat").write_bytes(data)
    assert message in refused(f"iiit5k:{tmp_path}::part=test")


def test_iiit5k_options(tmp_path):
    write_iiit5k(tmp_path)
    assert "has no traindata.mat: give the folder IIIT5K" in refused(f"iiit5k:{tmp_path}")
    with pytest.raises(UserError, match=r"unknown part of IIIT5K 'val'.*valid: test, train"):
        open_source(f"iiit5k:{tmp_path}::part=val")
    with pytest.raises(UserError, match="unknown lexicon of IIIT5K 'smal': did you mean 'small'"):
        open_source(f"iiit5k:{tmp_path}::part=test,lexicon=smal")


# svt:


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_svt_words_are_crops(tmp_path):
    source = check(f"svt:{write_svt(tmp_path / 'svt1')}::part=test", list(WORDS))
    assert (source.name, source.key(1)) == ("svt_test", "img/14_03.png#1")
    assert keys(f"svt:{tmp_path}/svt1::part=test")[2] == "img/14_04.png#0"
    assert source.lexicon(1) == ("LUBE", "SPENCERIAN", "THE")
    assert source.lexicon(2) == ("ACCOMMODATINGLY", "THE")
    assert [source.image_size(i) for i in range(3)] == [(20, 10), (21, 10), (22, 10)]
    whole = np.asarray(photograph())
    np.testing.assert_array_equal(pixels(source.image_bytes(0)), whole[7:17, 5:25])
    np.testing.assert_array_equal(pixels(source.image_bytes(1)), whole[30:40, 0:21])  # clamped
    spec = parse_spec(f"svt:{tmp_path}/svt1::part=test,group=^[^#]+")
    assert row_groups(keys(str(spec)), spec) == ["img/14_03.png"] * 2 + ["img/14_04.png"]


def test_svt_photographs_are_decoded_once_for_neighbours(tmp_path, monkeypatch):
    source = open_source(f"svt:{write_svt(tmp_path)}::part=test")
    decoded = []
    stored_image = crops.images.stored_image
    monkeypatch.setattr(
        crops.images, "stored_image", lambda path: decoded.append(path) or stored_image(path)
    )
    first = [source.image_bytes(i) for i in (0, 1, 0, 2, 0)]
    assert len(decoded) == 2
    photograph(61, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "img/14_03.png")
    assert source.image_bytes(0) != first[0]  # the file has changed
    monkeypatch.setattr(crops, "_HELD_PIXELS", 0)
    assert source.image_bytes(2) == first[3]
    assert len(decoded) == 4


def test_svt_rectangles_without_a_pixel_stay_rows(tmp_path):
    boxes = ((100, 7, 20, 10), (5, 5, 0, 10), SVT_BOXES[2])
    source = open_source(f"svt:{write_svt(tmp_path, xml=svt_xml(boxes))}::part=test")
    assert len(source) == 3
    message = (
        "test.xml rectangle img/14_03.png#0: a rectangle of 20 x 10 pixels at 100, 7 has none of "
        "the photograph's 60 x 40: mend"
    )
    for read in (source.image_bytes, source.image_size):
        with pytest.raises(ImageError, match=re.escape(message)):
            read(0)
    with pytest.raises(ImageError, match="#1: a rectangle of 0 x 10"):
        source.image_bytes(1)
    (tmp_path / "img" / "14_04.png").unlink()
    with pytest.raises(ImageError, match=r"14_04.png#0: .*14_04.png: the image cannot be opened"):
        source.image_bytes(2)
    source.fingerprint()


def test_svt_rectangles_are_those_of_the_pixels_as_stored(tmp_path):
    write_svt(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 6
    photograph().save(tmp_path / "img" / "14_03.png", exif=turned)
    source = open_source(f"svt:{tmp_path}::part=test")
    whole = np.asarray(photograph())
    np.testing.assert_array_equal(pixels(source.image_bytes(0)), whole[7:17, 5:25])


BOMB = '<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (svt_xml()[:500], "test.xml line 14 is not XML"),
        (svt_xml().replace("</tag>", "</tga>", 1), "line 10 is not XML (mismatched tag)"),
        (svt_xml().replace("<tagset>", BOMB + "<tagset>"), "test.xml declares entities"),
        (svt_xml().replace("tagset", "tagsets"), "is an XML file of <tagsets>, not of <tagset>"),
        (svt_xml().replace('x="5"', 'x="five"'), "rectangle 0 of img/14_03.png has no tag, or x"),
        (svt_xml().replace('y="7"', 'y="nan"'), "that are not all numbers"),
        (svt_xml().replace(' height="10"', "", 1), "rectangle 0 of img/14_03.png has no tag, or"),
        (svt_xml().replace("tag>", "label>"), "rectangle 0 of img/14_03.png has no tag"),
        (svt_xml().replace("img/14_04.png", " "), "image 2 has no imageName"),
        ("<tagset></tagset>", "has no tagged rectangles"),
        ("", "line 1 is not XML (no element found)"),
    ],
)
def test_svt_that_cannot_be_read(tmp_path, xml, message):
    assert message in refused(f"svt:{write_svt(tmp_path, xml=xml)}::part=test")


def test_svt_without_the_part(tmp_path):
    assert "has no train.xml: give the folder svt1" in refused(f"svt:{write_svt(tmp_path)}")
    with pytest.raises(UserError, match="unknown part of SVT 'tset': did you mean 'test'"):
        open_source(f"svt:{tmp_path}::part=tset")


# icdar03:


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_icdar03_single_words(tmp_path, encoding):
    declared = WORD_XML if encoding == "latin-1" else WORD_XML.replace("ISO-8859-1", "UTF-8")
    folder = write_icdar03_words(tmp_path / "TrialTest")
    (folder / "word.xml").write_bytes(declared.encode(encoding))
    source = check(f"icdar03:{folder}", ["self", '"caf\xe9" & \xa3'])
    assert (source.name, source.key(0)) == ("TrialTest", "word/1/1.png")
    assert labels(open_source(f"icdar03:{folder}/word.xml")) == labels(source)


def test_icdar03_with_another_encoding_than_it_says(tmp_path):
    folder = write_icdar03_words(tmp_path)
    for header in ('encoding="UTF-8"', 'encoding="no-such"', ""):
        text = WORD_XML.replace('encoding="ISO-8859-1"', header)
        (folder / "word.xml").write_bytes(text.encode("latin-1"))
        assert labels(open_source(f"icdar03:{folder}"))[1] == '"caf\xe9" & \xa3'
    (folder / "word.xml").write_bytes(WORD_XML.replace("ISO-8859-1", "UTF-16").encode("utf-16"))
    assert labels(open_source(f"icdar03:{folder}"))[1] == '"caf\xe9" & \xa3'


def test_icdar03_scenes(tmp_path):
    folder = write_icdar03_scenes(tmp_path / "SceneTrialTest")
    source = open_source(f"icdar03:{folder}")
    assert (source.name, labels(source)) == ("SceneTrialTest", ["Department"])
    assert source.key(0) == "apanar_06.08.2002/IMG_1261.png#0"
    assert source.lexicon(0) == ()
    whole = np.asarray(photograph())
    np.testing.assert_array_equal(pixels(source.image_bytes(0)), whole[9:29, 17:45])  # outwards


def test_icdar03_that_cannot_be_read(tmp_path):
    assert "holds no word.xml or words.xml: give the folder" in refused(f"icdar03:{tmp_path}")
    (tmp_path / "x.xml").write_text("<images/>")
    assert "an XML file of <images>, not of <tagset>" in refused(f"icdar03:{tmp_path}/x.xml")
    (tmp_path / "x.xml").write_text('<imagelist><image file="a.jpg"/></imagelist>')
    assert "image 1 has no file= or no tag=" in refused(f"icdar03:{tmp_path}/x.xml")
    (tmp_path / "x.xml").write_text("<imagelist/>")
    assert "x.xml has no rows: copy it again" in refused(f"icdar03:{tmp_path}/x.xml")


# icdar:


def test_icdar_words(tmp_path):
    texts = ["Tiredness", 'a, "b" \\ c', "caf\xe9"]
    source = check(f"icdar:{write_icdar(tmp_path / 'train')}", texts)
    assert (source.name, source.key(0)) == ("train", "word_1.png")
    assert source.where(2) == "gt.txt row 4 (word_3.png)"
    name = "Challenge2_Test_Task3_GT.txt"
    write_icdar(tmp_path / "ic13", name, tmp_path / "ic13" / "photos")
    source = check(f"icdar:{tmp_path}/ic13/{name}::root={tmp_path}/ic13/photos", texts)
    assert source.image_bytes(0) == png(21)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('word_1.png, "a"\nword_2.png "b"\n', "row 2 is 'word_2.png \"b\"': write image file, com"),
        ("word_1.png, a\n", "row 1 is 'word_1.png, a'"),
        ('word_1.png, "\n', "row 1 is"),
        (', "a"\n', "row 1 is"),
        ("", 'gt.txt has no rows: write lines of image file, comma, "text"'),
    ],
)
def test_icdar_that_cannot_be_read(tmp_path, text, message):
    assert message in refused(f"icdar:{write_icdar(tmp_path, text=text)}")


# All of them.


def test_published_sets_in_spawned_processes(tmp_path):
    specs = (
        f"iiit5k:{write_iiit5k(tmp_path / 'a')}::part=test",
        f"svt:{write_svt(tmp_path / 'b')}::part=test",
        f"icdar03:{write_icdar03_words(tmp_path / 'c')}",
        f"icdar:{write_icdar(tmp_path / 'd')}",
    )
    sources = [open_source(spec) for spec in specs]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(_rows_of, [pickle.dumps(source) for source in sources])
    assert found == [_rows(source) for source in sources]


def _rows_of(data: bytes) -> list[tuple]:
    return _rows(pickle.loads(data))


def _rows(source: Source) -> list[tuple]:
    return [(source.label(i), source.key(i), source.image_bytes(i)) for i in range(len(source))]


def test_a_file_that_changed_is_told(tmp_path):
    source = pickle.dumps(open_source(f"svt:{write_svt(tmp_path)}::part=test"))
    (tmp_path / "test.xml").write_text(svt_xml() + " ")
    with pytest.raises(DataError, match="has changed since it was opened"):
        pickle.loads(source).label(0)


def test_wildcards(tmp_path):
    write_svt(tmp_path / "x" / "svt1")
    write_svt(tmp_path / "y" / "svt1")
    assert keys(f"svt:{tmp_path}/*/svt1::part=test")[3] == "y/svt1/img/14_03.png#0"
    write_iiit5k(tmp_path / "z")
    assert len(open_source(f"iiit5k:{tmp_path}/z*::part=test")) == 3
