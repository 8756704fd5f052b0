"""Sets in one file or a few: LMDB, Parquet, MJSynth's folder and tar."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from concurrent import futures

import pytest
from source_files import keys, labels, png, refused, write_lmdb

from crnn_jax.data import lmdb_files, parquet_source
from crnn_jax.data.sources import Source, open_source
from crnn_jax.errors import DataError, ImageError, UserError

WORDS = ("Lube", "spencerian", "ACCOMMODATINGLY")


def check_words(source: Source) -> None:
    assert isinstance(source, Source)
    assert tuple(labels(source)) == WORDS
    assert [source.image_size(i) for i in range(3)] == [(20, 10), (21, 10), (22, 10)]
    assert source.image_bytes(2) == png(22)
    with pytest.raises(IndexError):
        source.label(3)
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint([0, 2]) == source.fingerprint([0, 2]) != source.fingerprint([0, 1])
    with futures.ThreadPoolExecutor(4) as pool:
        assert (
            list(pool.map(source.image_bytes, [0, 1, 2] * 20)) == [png(20), png(21), png(22)] * 20
        )


# lmdb:


def test_lmdb(tmp_path):
    folder = write_lmdb(tmp_path / "d", WORDS, **{"lexicon-000000002": "lube spencerian word"})
    source = open_source(f"lmdb:{folder}")
    check_words(source)
    assert (source.name, source.key(1)) == ("d", "image-000000002")
    assert [source.lexicon(i) for i in (0, 1)] == [(), ("lube", "spencerian", "word")]
    assert labels(open_source(f"lmdb:{folder}::rows=1:2")) == ["spencerian"]
    assert not list(folder.glob("lock.mdb*.*"))


def test_lmdb_below_a_folder_are_one_set(tmp_path):
    write_lmdb(tmp_path / "train" / "MJ" / "a", WORDS[:1])
    write_lmdb(tmp_path / "train" / "ST", WORDS[1:])
    source = open_source(f"lmdb:{tmp_path}/train")
    assert (source.name, labels(source)) == ("train", list(WORDS))
    assert keys(f"lmdb:{tmp_path}/train")[0] == "MJ/a/image-000000001"
    assert len(open_source(f"lmdb:{tmp_path}/train/S*")) == 2


def read_by_threads(pickled: bytes) -> list[bytes]:
    """Reads the first row by four threads at once, in a process that has nothing open."""
    source, together = pickle.loads(pickled), threading.Barrier(4)
    with futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: (together.wait(), source.image_bytes(0))[1], range(4)))


def test_lmdb_is_opened_once_by_threads_and_anew_by_children(tmp_path):
    source = open_source(f"lmdb:{write_lmdb(tmp_path / 'd', WORDS)}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_by_threads, (pickle.dumps(source),)) == [png(20)] * 4
    code = """
import os, sys
from crnn_jax.data.sources import open_source
source = open_source(sys.argv[1])
child = os.fork()
size = len(source.image_bytes(0))
if not child:
    os._exit(size)
print(size, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    read = subprocess.run(
        [sys.executable, "-c", code, f"lmdb:{tmp_path}/d"], capture_output=True, text=True
    )
    assert read.stdout.split() == [str(len(png(20)))] * 2, read.stderr


def test_more_lmdb_than_are_kept_open_are_read_by_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_files, "_KEPT", 2)
    for i in range(6):
        write_lmdb(tmp_path / f"{i}", WORDS[:1])
    source = open_source(f"lmdb:{tmp_path}")
    with futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(source.image_bytes, list(range(6)) * 30))
    assert found == [png(20)] * 180


def test_lmdb_made_anew_is_opened_anew(tmp_path):
    folder = write_lmdb(tmp_path / "d", WORDS[:1])
    assert len(open_source(f"lmdb:{folder}")) == 1
    shutil.rmtree(folder)
    write_lmdb(folder, WORDS)
    check_words(open_source(f"lmdb:{folder}"))


def test_lmdb_that_the_caller_has_open_is_told(tmp_path, monkeypatch):
    import lmdb

    monkeypatch.setattr(lmdb_files, "_PATIENCE", 0.05)
    folder = write_lmdb(tmp_path / "d", WORDS)
    with lmdb.open(str(folder), readonly=True, lock=False):
        assert "is open in this process, by lmdb.open: close it" in refused(f"lmdb:{folder}")
    check_words(open_source(f"lmdb:{folder}"))


def test_lmdb_is_read_while_it_is_written_to(tmp_path):
    import lmdb

    folder = write_lmdb(tmp_path / "d", WORDS)
    with (
        lmdb.open(str(folder)) as environment,
        environment.begin(write=True) as writer,  # it holds the lock
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        writer.put(b"num-samples", b"1")
        assert pool.map(_labels_of, [f"lmdb:{folder}"]) == [list(WORDS)]


def _labels_of(source: bytes | str) -> list[str]:
    return labels(open_source(source) if isinstance(source, str) else pickle.loads(source))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num-samples": None}, "has no key 'num-samples' among its 6: it is of another layout"),
        ({"num-samples": "many"}, "num-samples is 'many': write the number of rows"),
        ({"num-samples": "4"}, "num-samples is 4, and image-000000004 is missing"),
        ({"label-000000003": None}, "num-samples is 3, and label-000000003 is missing"),
    ],
)
def test_lmdb_of_another_layout(tmp_path, more, message):
    assert message in refused(f"lmdb:{write_lmdb(tmp_path / 'd', WORDS, **more)}")


def test_lmdb_with_rows_that_cannot_be_read(tmp_path):
    gaps = {"image-000000001": None, "label-000000001": None, "label-000000002": b"\xe4"}
    source = open_source(f"lmdb:{write_lmdb(tmp_path / 'd', WORDS, **gaps)}")
    with pytest.raises(ImageError, match="d image-000000001 is missing"):
        source.image_bytes(0)
    with pytest.raises(DataError, match="label-000000001 is missing: write it"):
        source.label(0)
    with pytest.raises(DataError, match=r"label-000000002 is not UTF-8 \(byte 0xe4\)"):
        source.label(1)


def test_lmdb_cut_short_or_none(tmp_path):
    folder = write_lmdb(tmp_path / "d", WORDS, [png(900, 900, i) for i in range(3)])
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data[: len(data) // 4096 // 2 * 4096])
    assert re.search(r"data.mdb is cut short, [\d,]+ of [\d,]+ bytes", refused(f"lmdb:{folder}"))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "data.mdb").write_bytes(b"no database" * 1000)
    assert "cannot be opened as LMDB" in refused(f"lmdb:{tmp_path}/e")
    (tmp_path / "empty").mkdir()
    assert "matches no folder" in refused(f"lmdb:{tmp_path}/empty")


# parquet:


def write_parquet(path, columns: dict, rows: int = 2):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def structs(count: int = 3) -> list[dict]:
    return [{"bytes": png(20 + i), "path": f"{i}.png"} for i in range(count)]


def test_parquet_of_structs_as_hubs_export(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": structs(), "text": list(WORDS)})
    source = open_source(f"parquet:{path}")
    check_words(source)
    assert (source.key(1), source.where(1)) == ("1.png", "a.parquet row 2")


def test_parquet_of_bytes_and_several_files(tmp_path):
    for i, word in enumerate(WORDS):
        columns = {"jpg": [png(20 + i)], "words": [word], "label": [7]}
        write_parquet(tmp_path / f"train-{i}.parquet", columns)
    spec = f"parquet:{tmp_path}/train-*.parquet::image=jpg,text=words"
    check_words(open_source(spec))
    assert keys(spec) == ["train-0.parquet/1", "train-1.parquet/1", "train-2.parquet/1"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"png": [b"x"], "text": ["a"]}, "no column with a usual name of the image"),
        (
            {"image": [b"x"], "label": [3]},
            "column 'label' holds int64, not texts: give text=COLUMN",
        ),
        ({"image": ["x.png"], "text": ["a"]}, "column 'image' holds string, not encoded images"),
        ({"image": [b"x", b"y"], "text": ["a", None]}, r"row 2 has no text \(1 such rows\)"),
    ],
)
def test_parquet_without_the_columns(tmp_path, columns, message):
    assert re.search(message, refused(f"parquet:{write_parquet(tmp_path / 'a.parquet', columns)}"))


def test_parquet_cut_short(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": structs(), "text": list(WORDS)})
    path.write_bytes(path.read_bytes()[:-20])
    assert "is not a whole Parquet file" in refused(f"parquet:{path}")
    assert f"give its files, as in parquet:{tmp_path}/*.parquet" in refused(f"parquet:{tmp_path}")


def test_parquet_holds_few_row_groups_whatever_the_order(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    decoded = []
    decode = parquet_source._ParquetSource._decode
    monkeypatch.setattr(
        parquet_source._ParquetSource, "_decode",
        lambda self, group: decoded.append(group) or decode(self, group),
    )  # fmt: skip
    for name in "abc":
        images = [png(20 + i) for i in range(8)]
        write_parquet(tmp_path / f"{name}.parquet", {"image": images, "text": ["x"] * 8})
    source = open_source(f"parquet:{tmp_path}/*.parquet")
    rows = [5, 0, 17, 9, 23, 14, 2, 7] * 20

    for most, groups in (1 << 20, 8), (0, 2):
        monkeypatch.setattr(parquet_source, "_HELD_BYTES", most)
        monkeypatch.setattr(parquet_source, "_held", held := parquet_source._Held())
        decoded.clear()
        with futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(source.image_bytes, rows))
        assert found == [png(20 + row % 8) for row in rows]
        assert len(held._groups) == groups
        assert held._bytes == sum(group.nbytes for group in held._groups.values())
        assert (len(decoded) == groups) is bool(most)  # those held are decoded once


def test_parquet_with_a_damaged_row_group(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(20 + i) for i in range(4)],
                                                  "text": list("abcd")})  # fmt: skip
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(data)
    source = open_source(f"parquet:{path}")
    for read in (source.image_bytes, source.image_size):
        with pytest.raises(ImageError, match=r"a.parquet row 2: row group 1 .* copy the file"):
            read(1)
    assert source.image_bytes(2) == png(22)


def test_parquet_with_damaged_texts(tmp_path):
    pa = pytest.importorskip("pyarrow")
    latin = pa.array(["café".encode("latin-1")], pa.binary()).view(pa.string())
    path = write_parquet(tmp_path / "a.parquet", {"image": [png()], "text": latin})
    assert "column 'text' cannot be decoded ('utf-8' codec" in refused(f"parquet:{path}")
    path = write_parquet(tmp_path / "b.parquet", {"image": [png()], "text": ["word" * 30]})
    data = bytearray(path.read_bytes())
    start = pa.parquet.ParquetFile(path).metadata.row_group(0).column(1).dictionary_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)
    assert re.search("column 'text' cannot be decoded .* copy the", refused(f"parquet:{path}"))


@pytest.mark.parametrize("images", [[None, png()], [None, {"bytes": png(), "path": "b.png"}]])
def test_parquet_row_without_an_image(tmp_path, images):
    path = write_parquet(tmp_path / "a.parquet", {"image": images, "text": ["a", "b"]})
    source = open_source(f"parquet:{path}")
    assert source.image_bytes(1) == png()
    assert [source.key(i) for i in range(2)] == ["1", "2"]
    with pytest.raises(ImageError, match=r"a.parquet row 1: the row holds no image bytes"):
        source.image_bytes(0)


# mjsynth:

ANNOTATION = "".join(f"./7/{i}/{i}_{word}_{i}00.jpg {i}00\n" for i, word in enumerate(WORDS))
BASE = "mnt/ramdisk/max/90kDICT32px"


def mjsynth_files() -> dict[str, bytes]:
    files = {f"7/{i}/{i}_{word}_{i}00.jpg": png(20 + i) for i, word in enumerate(WORDS)}
    return files | {"annotation_train.txt": ANNOTATION.encode(), "lexicon.txt": b"lube\n"}


def write_tar(path, mode: str = "w"):
    with tarfile.open(path, mode) as tar:
        for name, data in mjsynth_files().items():
            member = tarfile.TarInfo(f"./{BASE}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CRNN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tar_index"


def test_mjsynth_folder(tmp_path):
    for name, data in mjsynth_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = open_source(f"mjsynth:{tmp_path}")
    check_words(source)
    assert source.name == "mjsynth_train"
    assert source.where(1) == "annotation_train.txt row 2 (7/1/1_spencerian_100.jpg)"
    assert re.search(r"annotation_val.txt cannot be read", refused(f"mjsynth:{tmp_path}::part=val"))
    with pytest.raises(UserError, match="unknown part of MJSynth 'tran': did you mean 'train'"):
        open_source(f"mjsynth:{tmp_path}::part=tran")


def test_mjsynth_tar_is_indexed_once(tmp_path, cache):
    path = write_tar(tmp_path / "mj.tar")
    check_words(open_source(f"mjsynth:{path}"))
    (index,) = cache.iterdir()
    before = index.stat().st_mtime_ns
    check_words(open_source(f"mjsynth:{path}"))
    assert index.stat().st_mtime_ns == before
    index.write_bytes(b"damaged")
    check_words(open_source(f"mjsynth:{path}"))


def test_mjsynth_tar_that_cannot_be_used(tmp_path, cache):
    path = write_tar(tmp_path / "mj.tar")
    data = path.read_bytes()
    for length in (512 * 4, 512 * 4 + 10, 512 * 3 + 20):  # between members, in a header, in data
        path.write_bytes(data[:length])
        assert "mj.tar is cut short or damaged after" in refused(f"mjsynth:{path}")
    packed = write_tar(tmp_path / "mj.tar.gz", "w:gz")
    assert "is compressed, which has no random access: unpack it once, gunzip" in refused(
        f"mjsynth:{packed}"
    )
    assert "has no annotation_val.txt among its 5 files" in refused(
        f"mjsynth:{write_tar(tmp_path / 'mj.tar')}::part=val"
    )
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    assert "x.tar is not a tar" in refused(f"mjsynth:{tmp_path}/x.tar")
    assert not cache.exists()


def test_mjsynth_rows_that_do_not_parse(tmp_path):
    (tmp_path / "annotation_train.txt").write_text("./1/1/1_A_2.jpg 3\n\n./1/1/word.jpg 3\n")
    assert "row 3 is b'./1/1/word.jpg 3': expected" in refused(f"mjsynth:{tmp_path}")


# All of them.


def test_containers_in_spawned_processes(tmp_path, cache):
    lmdb = write_lmdb(tmp_path / "d", WORDS)
    parquet = write_parquet(tmp_path / "a.parquet", {"image": structs(), "text": list(WORDS)})
    specs = (f"lmdb:{lmdb}", f"parquet:{parquet}", f"mjsynth:{write_tar(tmp_path / 'mj.tar')}")
    pickled = [pickle.dumps(open_source(spec)) for spec in specs]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_labels_of, pickled) == [list(WORDS)] * 3


def test_real_receipts(real_data):
    source = open_source(f"lmdb:{real_data}/sroie_train.lmdb")
    assert (source.name, len(source), source.label(0)) == (
        "sroie_train.lmdb",
        30500,
        "TAN WOON YANN",
    )
    assert all(source.image_size(i)[1] <= 40 for i in range(0, len(source), 500))


def test_of_members_of_one_name_the_last_one_counts(tmp_path, cache):
    path = write_tar(tmp_path / "mj.tar")
    name = next(name for name, data in mjsynth_files().items() if data == png(20))
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo(f"./{BASE}/{name}")
        member.size = len(png(25))
        tar.addfile(member, io.BytesIO(png(25)))
    source = open_source(f"mjsynth:{path}")
    assert source.image_bytes(0) == png(25)
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        source.image_bytes(0)


def test_an_empty_index_is_made_again(tmp_path, cache):
    path = write_tar(tmp_path / "mj.tar")
    open_source(f"mjsynth:{path}")
    (index,) = cache.glob("*.npz")
    index.write_bytes(b"")
    check_words(open_source(f"mjsynth:{path}"))


def test_parquet_without_rows_is_told(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    schema = pa.schema([("image", pa.binary()), ("text", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "empty.parquet")
    assert "has no rows" in refused(f"parquet:{tmp_path}/empty.parquet")


@pytest.mark.parametrize("kind", ["dictionary", "string_view", "large_string"])
def test_parquet_of_other_kinds_of_text(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    kinds = {
        "dictionary": pa.dictionary(pa.int32(), pa.string()), "string_view": pa.string_view(),
        "large_string": pa.large_string(),
    }  # fmt: skip
    images = pa.array([png(20 + i) for i in range(3)], pa.binary())
    path = write_parquet(
        tmp_path / "a.parquet", {"image": images, "text": pa.array(WORDS, kinds[kind])}
    )
    check_words(open_source(f"parquet:{path}"))


def test_parquet_with_paths_that_are_numbers(tmp_path):
    images = [{"bytes": png(20 + i), "path": i} for i in range(3)]
    path = write_parquet(tmp_path / "a.parquet", {"image": images, "text": list(WORDS)})
    assert len(open_source(f"parquet:{path}::split=0:100")) == 3
    assert keys(f"parquet:{path}") == ["1", "2", "3"]


def test_parquet_with_two_columns_of_a_name(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = [pa.array([png()]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.table(columns, names=["image", "text", "text"]), tmp_path / "a.parquet")
    assert "has several columns 'text'" in refused(f"parquet:{tmp_path}/a.parquet")
