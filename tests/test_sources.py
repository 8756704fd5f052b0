"""Sources: what is read from where, what is refused and how, and splits that hold."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from source_files import keys, labels, png, refused

from crnn_jax.data.sources import SOURCES, Source, open_source
from crnn_jax.data.spec import KINDS, Spec
from crnn_jax.errors import DataError, ImageError, UserError


def write_tsv(folder, table: str | bytes, images: tuple[str, ...] = ()):
    folder.mkdir(exist_ok=True)
    data = table if isinstance(table, bytes) else table.encode("utf-8")
    (folder / "labels.tsv").write_bytes(data)
    for number, name in enumerate(images):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png(20 + number))
    return folder


# tsv:


def test_tsv_reads_files_labels_and_lexicons(tmp_path):
    table = "a.png\tHello\nb.png\tgrüß dich \tgrüß|dich||du\nc.png\t\n"
    folder = write_tsv(tmp_path / "words", table, ("a.png", "images/b.png", "images/a.png"))
    source = open_source(f"tsv:{folder}")
    assert isinstance(source, Source)
    assert source.name == "words"
    assert labels(source) == ["Hello", "grüß dich ", ""]
    assert source.lexicon(0) == ()
    assert source.lexicon(1) == ("grüß", "dich", "du")
    # Beside the labels file comes before images/.
    assert source.image_bytes(0) == (folder / "a.png").read_bytes()
    assert source.image_size(1) == (21, 10)
    assert source.where(1) == "labels.tsv row 2 (b.png)"
    assert labels(open_source(f"tsv:{folder}/labels.tsv")) == labels(source)
    other = folder / "other.txt"
    other.write_text("a.png\tx\n")
    assert labels(open_source(f"tsv:{other}::name=mine")) == ["x"]
    assert open_source(f"tsv:{other}::name=mine").name == "mine"


def test_tsv_location_may_be_relative_or_in_the_home_folder(tmp_path, monkeypatch):
    write_tsv(tmp_path / "words", "a.png\tx\n")
    monkeypatch.chdir(tmp_path / "words")
    assert open_source("tsv:labels.tsv").name == "words"
    assert open_source("tsv:.").name == "words"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert labels(open_source("tsv:~/words")) == ["x"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_tsv_of_any_editor(tmp_path, end, mark):
    table = mark + end.join(["a.png\tx", "", "  \t", "b.png\ty\tx|y"]).encode()
    source = open_source(f"tsv:{write_tsv(tmp_path / 'd', table, ('a.png', 'b.png'))}")
    assert [source.key(i) for i in range(len(source))] == ["a.png", "b.png"]
    assert labels(source) == ["x", "y"]
    assert source.lexicon(1) == ("x", "y")
    assert source.where(1) == "labels.tsv row 4 (b.png)"  # as an editor counts
    assert source.image_size(0) == (20, 10)


def test_unicode_line_separators_do_not_end_a_row(tmp_path):
    folder = write_tsv(tmp_path / "d", "a.png\tx\u2028y\x0bz\x85\n")
    assert labels(open_source(f"tsv:{folder}")) == ["x\u2028y\x0bz\x85"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"a.png\tx\n\nb.png y\n", r"labels.tsv row 3 has 1 column\(s\) in 'b.png y': write file"),
        (b"a.png\tx\ty\tz\n", r"row 1 has 4 column\(s\)"),
        (b"a.png\tx\n\ty\n", "row 2 has no file name in '.ty': write file name, TAB, label"),
        (b"a.png\tx\nb.png\t\xe4\n", r"row 2 is not UTF-8 \(byte 0xe4 at 7\): save the file as"),
        ("a.png\tx\n".encode("utf-16"), "row 1 is not UTF-8"),
        ("a.png\tx\n".encode("utf-16-le"), "row 1 holds NUL bytes, as UTF-16 files do"),
        (b"", "labels.tsv has no rows: write lines of file name, TAB, label"),
        (b"\xef\xbb\xbf\r\n \n", "labels.tsv has no rows"),
    ],
)
def test_tsv_mistakes_name_the_row(tmp_path, table, message):
    assert re.search(message, refused(f"tsv:{write_tsv(tmp_path / 'd', table)}"))


def test_places_that_hold_no_set(tmp_path):
    folder = write_tsv(tmp_path / "words", "a.png\tx\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"did you mean 'words'? looked for {tmp_path / 'wrods'}" in refused(
        f"tsv:{tmp_path}/wrods"
    )
    assert "does not exist: looked for" in refused(f"names:{tmp_path}/no/such/folder")
    assert "is a folder without labels.tsv: give the file of the labels (or names:" in refused(
        f"tsv:{empty}"
    )
    assert "holds no images (.png .jpg .jpeg .bmp .webp .tif .tiff .gif)" in refused(
        f"names:{empty}"
    )
    assert "labels.tsv is a file: give the folder" in refused(f"names:{folder}/labels.tsv")
    with pytest.raises(UserError, match="unknown kind of image set"):
        open_source(f"cvs:{folder}")


def test_a_missing_image_stays_a_row_that_says_where(tmp_path):
    table = "a.png\tx\ngone.png\ty\nc.png\tz\n"
    folder = write_tsv(tmp_path / "d", table, ("a.png", "c.png"))
    (folder / "c.png").write_bytes(b"")
    source = open_source(f"tsv:{folder}::rows=1:3")
    assert labels(source) == ["y", "z"]
    with pytest.raises(ImageError, match=r"^labels.tsv row 2 \(gone.png\): the image file is miss"):
        source.image_bytes(0)
    with pytest.raises(ImageError, match=r"gone\.png: the image cannot be opened"):
        source.image_size(0)
    assert source.image_bytes(1) == b""
    with pytest.raises(ImageError, match=r"c\.png: the image is empty \(0 bytes\)"):
        source.image_size(1)
    (folder / "c.png").unlink()
    (folder / "c.png").mkdir()
    with pytest.raises(ImageError, match=r"^labels.tsv row 3 \(c.png\): .* cannot be read"):
        source.image_bytes(1)


# names:


def test_names_are_labels_in_order(tmp_path):
    folder = tmp_path / "captcha"
    folder.mkdir()
    for name in ("b2.png", "a1.JPG", "äü.webp", "x.y.tiff", "._b2.png", "notes.txt"):
        (folder / name).write_bytes(png())
    (folder / "folder.png").mkdir()
    source = open_source(f"names:{folder}")
    assert isinstance(source, Source)
    assert source.name == "captcha"
    assert labels(source) == ["a1", "b2", "x.y", "äü"]
    assert source.key(0) == "a1.JPG"
    assert source.lexicon(0) == ()
    assert source.where(1) == "captcha/b2.png"
    assert source.image_bytes(1) == png()
    assert source.image_size(1) == (20, 10)
    (folder / "b2.png").unlink()
    with pytest.raises(ImageError, match=r"^captcha/b2\.png: the image file is missing"):
        source.image_bytes(1)


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_file_name_that_is_not_utf8(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
            file.write(png())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert r"is not UTF-8, 'caf\udce9.png': rename it" in refused(f"names:{tmp_path}")


# Options.


@pytest.fixture
def thousand(tmp_path):
    """A set of 1000 rows PHOTO_WORD.png, four words to a photograph; no images are needed."""
    rows = [f"{i // 4}_{i % 4}.png\tw{i}" for i in range(1000)]
    return write_tsv(tmp_path / "photos", "\n".join(rows))


def test_rows_then_limit(thousand):
    source = open_source(f"tsv:{thousand}::rows=10:20,limit=3")
    assert labels(source) == ["w10", "w11", "w12"]
    assert source.name == "photos"
    assert source.where(0) == "labels.tsv row 11 (2_2.png)"
    assert len(open_source(f"tsv:{thousand}::limit=5000")) == 1000
    message = refused(f"tsv:{thousand}::rows=990:1001")
    assert "rows=990:1001 goes beyond the end" in message
    assert "which has 1000 rows: write at most rows=990:1000" in message


def test_split_is_disjoint_and_covers(thousand):
    parts = [keys(f"tsv:{thousand}::split={part}") for part in ("0:90", "90:95.5", "95.5:100")]
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(keys(f"tsv:{thousand}"))
    assert 860 < len(parts[0]) < 940  # 900 expected, within 4 sigma
    order = keys(f"tsv:{thousand}")
    for part in parts:
        assert part == [key for key in order if key in set(part)]
    assert keys(f"tsv:{thousand}::split=0:100") == order


def test_split_is_the_same_on_every_machine(tmp_path):
    folder = write_tsv(tmp_path / "d", "".join(f"{i}.png\tx\n" for i in range(12)))
    assert keys(f"tsv:{folder}::split=0:50") == ["1.png", "3.png", "8.png", "9.png", "10.png"]
    # A name in decomposed form, as macOS may write it, is the same name.
    composed = write_tsv(tmp_path / "c", "".join(f"é{i}.png\tx\n" for i in range(12)))
    decomposed = write_tsv(tmp_path / "e", "".join(f"e\u0301{i}.png\tx\n" for i in range(12)))
    one, other = (labels_of(f, "0:50") for f in (composed, decomposed))
    assert one == other
    assert 0 < len(one) < 12


def labels_of(folder, split: str) -> list[int]:
    source = open_source(f"tsv:{folder}::split={split}")
    return [int(source.where(i).split()[2]) for i in range(len(source))]


def test_added_rows_move_no_old_row(thousand):
    before = keys(f"tsv:{thousand}::split=0:90")
    rows = (thousand / "labels.tsv").read_text().splitlines()
    added = [f"new{i}.png\tn" for i in range(10)]
    (thousand / "labels.tsv").write_text("\n".join(added[:5] + rows + added[5:]))
    after = keys(f"tsv:{thousand}::split=0:90")
    assert [key for key in after if not key.startswith("new")] == before
    assert any(key.startswith("new") for key in after)
    # Nor do the rows that rows= leaves out.
    assert set(keys(f"tsv:{thousand}::rows=0:500,split=0:90")) <= set(after)


@pytest.mark.parametrize("group", ["^[^_]+", r"^(\d+)_", r"(\d+)_\d"])
def test_groups_never_straddle(thousand, group):
    train = keys(f"tsv:{thousand}::split=0:80,group={group}")
    held_out = keys(f"tsv:{thousand}::split=80:100,group={group}")
    assert len(train) + len(held_out) == 1000
    assert 700 < len(train) < 900
    photos = [{key.split("_")[0] for key in part} for part in (train, held_out)]
    assert not photos[0] & photos[1]
    # Without groups nearly every photograph is on both sides.
    train, held_out = (keys(f"tsv:{thousand}::split={part}") for part in ("0:80", "80:100"))
    photos = [{key.split("_")[0] for key in part} for part in (train, held_out)]
    assert len(photos[0] & photos[1]) > 100


def test_rows_without_a_match_are_groups_of_their_own(tmp_path):
    rows = [f"{i}_0.png\tx" for i in range(5)] + [f"single{i}.png\tx" for i in range(100)]
    folder = write_tsv(tmp_path / "d", "\n".join(rows))
    with_group = keys(f"tsv:{folder}::split=0:50,group=^\\d+(?=_)")
    singles = [key for key in with_group if key.startswith("single")]
    without = [key for key in keys(f"tsv:{folder}::split=0:50") if key.startswith("single")]
    assert singles == without
    # A group that does not take part in the match gives way to the whole match.
    assert keys(f"tsv:{folder}::split=0:50,group=^(x)?\\d+(?=_)") == with_group


def test_options_that_leave_or_match_nothing(thousand):
    assert "group=^z matches no row" in refused(f"tsv:{thousand}::split=0:90,group=^z")
    assert "leaves no rows: widen the split" in refused(f"tsv:{thousand}::rows=0:3,split=0:0.001")
    with pytest.raises(UserError, match="is not a regular expression"):
        open_source(f"tsv:{thousand}::split=0:90,group=(_")


def test_a_parsed_spec_opens_too(thousand):
    source = open_source(Spec("tsv", str(thousand), rows=(0, 2), name="two"))
    assert (source.name, len(source)) == ("two", 2)
    assert set(SOURCES) == set(KINDS)


# Fingerprints.


def test_fingerprint_sees_keys_labels_and_sizes(tmp_path):
    table = "a.png\tx\nb.png\ty\n"
    folder = write_tsv(tmp_path / "d", table, ("a.png", "b.png"))
    spec = f"tsv:{folder}"
    original = open_source(spec).fingerprint()
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert open_source(f"tsv:{moved}").fingerprint() == original
    assert open_source(f"tsv:{folder}::name=other").fingerprint() == original
    first = open_source(f"{spec}::limit=1").fingerprint()
    assert first != original

    (folder / "b.png").write_bytes(png(99, 99))
    assert open_source(spec).fingerprint() != original
    assert open_source(f"{spec}::limit=1").fingerprint() == first  # of its own rows only
    shutil.copy(moved / "b.png", folder)
    for other in ("a.png\tx\nb.png\tz\n", "b.png\ty\na.png\tx\n", "a.png\tx\n"):
        (folder / "labels.tsv").write_text(other)
        assert open_source(spec).fingerprint() != original


# Worker processes.


def _read_in_worker(source: Source) -> tuple[str, int, str, bytes, tuple[int, int], str]:
    last = len(source) - 1
    return (
        source.name,
        len(source),
        source.label(last),
        source.image_bytes(last),
        source.image_size(last),
        source.fingerprint(),
    )


def test_sources_pickle_small_and_notice_change(tmp_path):
    rows = [f"{i}.png\tlabel {i}" for i in range(2000)]
    folder = write_tsv(tmp_path / "d", "\n".join(rows), ("0.png", "1.png"))
    whole, part = open_source(f"tsv:{folder}"), open_source(f"tsv:{folder}::rows=0:1999")
    names = open_source(f"names:{folder}")
    for source in (whole, part, names):
        stored = pickle.dumps(source)
        assert len(stored) < 1000
        again = pickle.loads(stored)
        assert labels(again) == labels(source)
        assert again.fingerprint() == source.fingerprint()
    stored = pickle.dumps(whole), pickle.dumps(names)
    (folder / "labels.tsv").write_text("\n".join(rows[1:]))
    (folder / "0.png").unlink()
    for data in stored:
        with pytest.raises(DataError, match="has changed since it was opened: start again"):
            pickle.loads(data).label(0)


# tfds:


class MiniWords(tfds.core.GeneratorBasedBuilder):
    """Seven words in "train", three in "test"."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None
    label_feature = tfds.features.Text()

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        features = tfds.features.FeaturesDict({"image": image, "label": self.label_feature})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(7), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": png(20 + i), "label": f"wört{i}"}


class MiniDigits(MiniWords):
    """The same with a label that is no text."""

    label_feature = tfds.features.Scalar(np.int64)

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": png(), "label": i}


def prepare(builder_class, folder, **options) -> str:
    tfds.disable_progress_bar()
    builder = builder_class(data_dir=folder)
    builder.download_and_prepare(file_format="array_record", **options)
    return str(builder.data_path)


@pytest.fixture(scope="module")
def mini_words(tmp_path_factory):
    return prepare(MiniWords, tmp_path_factory.mktemp("tfds"))


def test_tfds_reads_encoded_bytes_and_text(mini_words):
    source = open_source(f"tfds:{mini_words}/train")
    assert isinstance(source, Source)
    assert source.name == "mini_words"
    assert labels(source) == [f"wört{i}" for i in range(7)]
    assert source.image_bytes(3) == png(23)
    assert source.image_size(3) == (23, 10)
    assert source.lexicon(3) == ()
    assert source.key(3) == "train/3"
    assert source.where(3) == "mini_words record train/3"
    assert labels(open_source(f"tfds:{mini_words}/test::rows=1:3")) == ["wört1", "wört2"]


def test_tfds_slices_keep_their_keys(mini_words):
    assert keys(f"tfds:{mini_words}/train[2:4]") == ["train/2", "train/3"]
    assert keys(f"tfds:{mini_words}/train[-1:]+test[:1]") == ["train/6", "test/0"]
    both = open_source(f"tfds:{mini_words}/train[-1:]+test[:1]")
    assert labels(both) == ["wört6", "wört0"]
    split = keys(f"tfds:{mini_words}/train::split=0:50")
    sliced = keys(f"tfds:{mini_words}/train[1:]::split=0:50")
    assert sliced == [key for key in split if key != "train/0"]
    assert 0 < len(split) < 7


def test_tfds_by_registered_name(mini_words, tmp_path, monkeypatch):
    root = mini_words.split("/mini_words/")[0]
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", root)
    assert len(open_source("tfds:mini_words/train")) == 7
    assert len(open_source("tfds:mini_words:1.0.0/train[:50%]")) == 4
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    message = refused("tfds:mini_words/train")
    assert "tfds:mini_words is not prepared in" in message
    assert "download_and_prepare(file_format='array_record'), or set TFDS_DATA_DIR" in message


def test_tfds_mistakes(mini_words, tmp_path):
    assert "has no split 'trian': valid: train, test, or a slice" in refused(
        f"tfds:{mini_words}/trian"
    )
    assert "has no split 'train[2:'" in refused(f"tfds:{mini_words}/train[2:")
    assert "tfds:mini_words names no split: write tfds:NAME/SPLIT" in refused("tfds:mini_words")
    for unknown in ("rendered_word", "mini_words:9.9.9", "mini_words/config", "no/such/folder"):
        message = refused(f"tfds:{unknown}/train")
        assert f"tfds:{unknown} is neither the folder of a prepared set" in message
    assert "did you mean 'rendered_words'? Dataset rendered_word not found" in refused(
        "tfds:rendered_word/train"
    )
    digits = prepare(MiniDigits, tmp_path)
    assert "has the features image, label: a set needs 'image', an encoded image, and 'label'" in (
        refused(f"tfds:{digits}/train")
    )


def test_tfds_fingerprint_and_pickle(mini_words, tmp_path):
    source = open_source(f"tfds:{mini_words}/train")
    copied = tmp_path / "mini_words" / "1.0.0"
    shutil.copytree(mini_words, copied)
    assert open_source(f"tfds:{copied}/train").fingerprint() == source.fingerprint()
    part = open_source(f"tfds:{mini_words}/train::limit=3")
    assert part.fingerprint() == open_source(f"tfds:{mini_words}/train[:3]").fingerprint()
    assert part.fingerprint() != source.fingerprint()
    assert len(pickle.dumps(source)) < 1000
    assert labels(pickle.loads(pickle.dumps(source))) == labels(source)


def test_our_own_set_comes_from_its_builder(mini_words, tmp_path, monkeypatch):
    from crnn_jax.data import rendered_words

    root = mini_words.split("/mini_words/")[0]
    monkeypatch.setattr(rendered_words, "open_builder", lambda **_: MiniWords(data_dir=root))
    assert len(open_source("tfds:rendered_words/train")) == 7


def test_sources_work_in_spawned_processes(mini_words, tmp_path):
    folder = write_tsv(tmp_path / "d", "a.png\tx\nb.png\ty\n", ("a.png", "b.png"))
    opened = [
        open_source(spec)
        for spec in (f"tsv:{folder}::rows=1:2", f"names:{folder}", f"tfds:{mini_words}/train")
    ]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_read_in_worker, opened) == [_read_in_worker(s) for s in opened]


# Real sets.


def test_real_sets(real_data):
    train = open_source(f"tsv:{real_data}/iiit5k_train")
    assert (train.name, len(train), train.label(0)) == ("iiit5k_train", 2000, "You")
    svt = open_source(f"tsv:{real_data}/svt_test/labels.tsv")
    assert (svt.name, len(svt)) == ("svt_test", 647)
    sizes = [len(svt.lexicon(i)) for i in range(len(svt))]
    assert 49 < np.mean(sizes) < 51
    assert all(svt.label(i) in svt.lexicon(i) for i in range(len(svt)))
    assert len(open_source(f"tsv:{real_data}/ic03_test")) == 860
    assert len(open_source(f"names:{real_data}/captcha::rows=0:640")) == 640
    held_out = open_source(f"names:{real_data}/captcha::rows=640:840")
    assert len(held_out) == 200
    assert all(len(label) == 5 for label in labels(held_out))
    assert held_out.image_size(0) == (200, 50)
    for source in (train, svt, held_out):
        assert all(source.image_size(i)[0] > 0 for i in range(0, len(source), 50))


def test_real_words_of_one_photograph_stay_together(real_data):
    spec = f"tsv:{real_data}/iiit5k_train"
    both = [keys(f"{spec}::split={part},group=^[^_]+") for part in ("0:90", "90:100")]
    assert sum(map(len, both)) == 2000
    photos = [{key.split("_")[0] for key in part} for part in both]
    assert not photos[0] & photos[1]
    assert 120 < len(both[1]) < 280
