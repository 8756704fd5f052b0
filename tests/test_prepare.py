"""TFDS sets made of any image set: the same rows, whatever happens on the way."""

from __future__ import annotations

import json
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import publisher_files
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from source_files import labels, png, write_lmdb

from crnn_jax.data import prepare as prepare_lib
from crnn_jax.data import shard_plan, shards, tfds_rows, tfds_source
from crnn_jax.data.prepare import main, prepare
from crnn_jax.data.sources import Source, open_source
from crnn_jax.errors import DataError, ImageError, UserError

WORDS = [f"wört{i}" for i in range(10)]


@pytest.fixture
def words(tmp_path) -> str:
    """SPEC of ten words with keys of photographs, the third with a lexicon."""
    folder = tmp_path / "words"
    folder.mkdir()
    rows = [f"{i // 3}_{i}.png\t{word}" for i, word in enumerate(WORDS)]
    rows[2] += "\twört2|x"
    (folder / "labels.tsv").write_text("\n".join(rows))
    for i in range(10):
        (folder / f"{i // 3}_{i}.png").write_bytes(png(20 + i))
    return f"tsv:{folder}"


def check_same(prepared: Source, source: Source) -> None:
    assert len(prepared) == len(source)
    for i in range(len(source)):
        for method in ("label", "key", "lexicon", "image_bytes", "image_size"):
            assert getattr(prepared, method)(i) == getattr(source, method)(i)


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.array_record*")}


def test_rows_come_back_as_they_were(words, tmp_path, monkeypatch):
    done = prepare(words, "mine", data_dir=tmp_path / "out", shards=3)
    assert (done.rows, done.shards, done.unreadable) == (10, 3, [])
    assert done.spec == f"tfds:{tmp_path}/out/mine/train"
    source = open_source(done.spec)
    check_same(source, open_source(words))
    assert source.fingerprint() == open_source(words).fingerprint()
    check_same(open_source(f"tfds:{done.folder}/train"), open_source(words))
    assert source.where(4) == "mine record train/4 (1_4.png)"
    assert source.lexicon(2) == ("wört2", "x")
    reads = []
    monkeypatch.setattr(source, "_reading", lambda *args: reads.append(args) or nullcontext())
    assert [len(source.lexicon(i)) for i in range(10)] == [0, 0, 2, *[0] * 7]
    assert len(reads) == 1  # the others have none, which is known
    monkeypatch.undo()
    group = "split=0:50,group=^[^_]+"
    assert labels(open_source(f"{done.spec}::{group}")) == labels(open_source(f"{words}::{group}"))
    assert labels(open_source(f"tfds:{done.folder}/train[2:4]")) == WORDS[2:4]
    assert sorted(path.name for path in done.folder.iterdir()) == [
        ".lock",
        "dataset_info.json",
        "features.json",
        *(f"mine-train.array_record-0000{i}-of-00003" for i in range(3)),
        "prepared_train.json",
    ]
    assert str(tmp_path) not in (done.folder / "dataset_info.json").read_text()


def test_tfds_itself_decodes_them(words, tmp_path):
    done = prepare(words, "mine", data_dir=tmp_path)
    builder = tfds.builder("mine", data_dir=tmp_path)
    records = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    assert records[3]["label"] == "wört3".encode()
    assert builder.info.splits["train"].num_examples == 10
    assert builder.info.splits["train"].num_bytes > 10 * len(png())
    assert done.spec == f"tfds:{tmp_path}/mine/train"


def test_a_damaged_shard_is_told_in_one_line(words, tmp_path):
    done = prepare(words, "mine", data_dir=tmp_path, shards=1)
    source = open_source(done.spec)
    assert labels(source) == WORDS
    (shard,) = done.folder.glob("*.array_record*")
    whole = shard.read_bytes()
    middle = len(whole) // 2
    shard.write_bytes(whole[:middle] + bytes(b ^ 255 for b in whole[middle:-64]) + whole[-64:])
    damaged = open_source(done.spec)
    with pytest.raises(ImageError, match=r"split train: records cannot be read .* copy the set"):
        b"".join(map(damaged.image_bytes, range(len(WORDS))))
    with pytest.raises(DataError, match=r"split train: records cannot be read .* copy the set"):
        open_source(done.spec).label(0)


def test_a_label_that_is_not_utf8_is_told_in_one_line(words, tmp_path, monkeypatch):
    done = prepare(words, "mine", data_dir=tmp_path)
    read = tfds_source._TfdsSource.__dict__["_records"].func

    class Latin:
        def __init__(self, source):
            self.records = read(source)

        def __len__(self):
            return len(self.records)

        def __getitems__(self, rows):
            changed = {"label": "w\xf6rt".encode("latin-1")}
            return [record | changed for record in self.records.__getitems__(rows)]

    monkeypatch.setattr(tfds_source._TfdsSource, "_records", property(Latin))
    with pytest.raises(DataError, match=r"train: label of record 0 is not UTF-8 \(b'w\\xf6rt'\)"):
        open_source(done.spec).label(0)


def test_the_number_of_processes_does_not_matter(words, tmp_path):
    one = prepare(words, "mine", data_dir=tmp_path / "one", shards=4)
    two = prepare(words, "mine", data_dir=tmp_path / "two", shards=4, processes=2)
    assert files_of(one.folder) == files_of(two.folder)
    assert len(files_of(one.folder)) == 4


def test_more_shards_than_rows(words, tmp_path):
    for _ in range(2):  # the same command twice
        done = prepare(f"{words}::limit=2", "mine", data_dir=tmp_path, shards=5)
        assert (done.rows, done.shards) == (2, 2)


def test_a_stopped_run_goes_on(words, tmp_path, monkeypatch):
    write_rows = shards._write_rows

    def stop(source, rows, *args):
        if rows.start == 6:
            raise KeyboardInterrupt
        return write_rows(source, rows, *args)

    monkeypatch.setattr(shards, "_write_rows", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(words, "mine", data_dir=tmp_path, shards=3)
    folder = tmp_path / "mine" / tfds_rows.VERSION
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.array_record*")}
    assert len(before) == 2
    assert not list(folder.glob(".prepare_train/*.tmp"))
    with pytest.raises(DataError, match="neither the folder of a prepared set"):
        open_source(f"tfds:{tmp_path}/mine/train")

    monkeypatch.undo()
    (folder / ".prepare_train" / "00002.tmp").write_bytes(b"of a run that was killed")
    done = prepare(words, "mine", data_dir=tmp_path)
    check_same(open_source(done.spec), open_source(words))
    assert done.shards == 3
    for name, changed in before.items():
        assert (folder / name).stat().st_mtime_ns == changed


def stop_at(monkeypatch, module, name: str, words: str, data_dir: pathlib.Path) -> None:
    """Prepares ten words up to where a function is called."""

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(words, "mine", data_dir=data_dir)


def test_stopped_before_the_metadata_it_goes_on(words, tmp_path, monkeypatch):
    stop_at(monkeypatch, tfds_rows, "write_metadata", words, tmp_path)
    check_same(open_source(prepare(words, "mine", data_dir=tmp_path).spec), open_source(words))


def test_what_is_done_is_not_done_again(words, tmp_path, monkeypatch):
    done = prepare(words, "mine", data_dir=tmp_path)
    monkeypatch.setattr(shards, "_write_rows", None)
    assert prepare(words, "mine", data_dir=tmp_path) == done


def test_other_data_are_refused_unless_asked_for(words, tmp_path):
    prepare(words, "mine", data_dir=tmp_path, shards=2)
    prepare(f"{words}::rows=0:4", "mine", "test", data_dir=tmp_path)
    with pytest.raises(UserError, match=r"'train' holds 'tsv:.*' in 2 shards, of 10 rows.*--over"):
        prepare(f"{words}::rows=0:9", "mine", data_dir=tmp_path)
    with pytest.raises(UserError, match="--overwrite"):
        prepare(words, "mine", data_dir=tmp_path, shards=3)
    done = prepare(f"{words}::rows=0:9", "mine", data_dir=tmp_path, overwrite=True)
    assert labels(open_source(done.spec)) == WORDS[:9]
    assert labels(open_source(f"tfds:{tmp_path}/mine/test")) == WORDS[:4]
    assert len(files_of(done.folder)) == 2
    only = prepare(f"{words}::rows=0:3", "mine", "test", data_dir=tmp_path, overwrite=True)
    assert labels(open_source(only.spec)) == WORDS[:3]


def test_a_set_is_not_overwritten_by_itself(words, tmp_path, monkeypatch):
    """Its rows would be removed before they are read."""
    done = prepare(words, "mine", data_dir=tmp_path)
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path))
    for spec, folder in ((done.spec, tmp_path), (f"tfds:{tmp_path}/mine/train[:50%]", tmp_path),
                         ("tfds:mine/train", None)):  # fmt: skip
        with pytest.raises(UserError, match=r"'train', which tfds:.* reads: give another --name"):
            prepare(spec, "mine", data_dir=folder, shards=2, overwrite=True)
    assert labels(open_source(done.spec)) == WORDS
    again = prepare(done.spec, "mine", "test", data_dir=tmp_path, overwrite=True)
    assert labels(open_source(again.spec)) == WORDS


def test_overwriting_makes_it_anew(words, tmp_path):
    broken = tmp_path / "words" / "0_1.png"
    data = broken.read_bytes()
    broken.write_bytes(data[:40].ljust(len(data)))  # the fingerprint sees sizes alone
    assert prepare(words, "mine", data_dir=tmp_path).rows == 9
    broken.write_bytes(data)
    assert prepare(words, "mine", data_dir=tmp_path).rows == 9
    done = prepare(words, "mine", data_dir=tmp_path, overwrite=True)
    assert (done.rows, done.left_out) == (10, None)


def test_begun_with_other_data(words, tmp_path, monkeypatch):
    stop_at(monkeypatch, shards, "_write_rows", words, tmp_path)
    with pytest.raises(UserError, match=r"'train' was begun with 'tsv:.*give another --name"):
        prepare(f"{words}::rows=0:9", "mine", data_dir=tmp_path)
    done = prepare(f"{words}::rows=0:9", "mine", data_dir=tmp_path, overwrite=True)
    assert labels(open_source(done.spec)) == WORDS[:9]


def test_another_split_keeps_the_first(words, tmp_path):
    train = prepare(words, "mine", data_dir=tmp_path, shards=2)
    before = files_of(train.folder)
    test = prepare(f"{words}::rows=2:4", "mine", "test", data_dir=tmp_path)
    assert before.items() < files_of(test.folder).items()
    check_same(open_source(train.spec), open_source(words))
    assert labels(open_source(test.spec)) == WORDS[2:4]


def test_unreadable_images_are_left_out_and_named(words, tmp_path, run_command):
    folder = tmp_path / "words"
    (folder / "0_1.png").write_bytes(png(21)[:40])
    (folder / "2_6.png").unlink()
    argv = (f"--data={words}", "--name=mine", f"--dir={tmp_path}", "--shards=2")
    outcome = run_command(main, *argv)
    assert outcome.code == 1
    assert outcome.out == [
        f"{tmp_path}/mine/1.0.0: 8 images in 2 shards, read as tfds:{tmp_path}/mine/train"
    ]
    assert outcome.err[0].startswith("left out: labels.tsv row 2 (0_1.png): damaged")
    named = tmp_path / "mine" / "1.0.0" / "train_left_out.tsv"
    assert outcome.err[-1].endswith(
        f"2 images cannot be read and are left out; all are named in {named}"
    )
    lines = named.read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["row", "1", "6"]
    source = open_source(f"tfds:{tmp_path}/mine/train")
    assert labels(source) == [word for i, word in enumerate(WORDS) if i not in (1, 6)]
    assert run_command(main, *argv).code == 1  # as it was


def test_a_set_without_a_readable_image(words, tmp_path, mistake):
    for path in (tmp_path / "words").glob("*.png"):
        path.write_bytes(b"no image")
    for processes in (1, 2):  # the second time all shards are there
        argv = (f"--data={words}", "--name=mine", f"--dir={tmp_path}", f"--processes={processes}")
        assert "none of the 10 images can be read: not an image" in mistake(main, *argv)


def test_a_full_disk_is_told_and_the_run_goes_on(tmp_path, mistake):
    rng = np.random.default_rng(0)
    folder = tmp_path / "big"
    folder.mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (100, 100), np.uint8)).save(folder / f"w{i}.png")
    argv = (f"--data=names:{folder}", "--name=big", f"--dir={tmp_path}", "--shards=2")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        line = mistake(main, *argv)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "1.0.0 cannot be written (" in line
    assert "File too large" in line
    assert "make room there and start the same command again" in line
    out = tmp_path / "big" / "1.0.0"
    assert not files_of(out)
    assert not list(out.glob(".prepare_train/*.tmp"))
    check_same(open_source(prepare(*_arguments(argv)).spec), open_source(f"names:{folder}"))


def test_what_cannot_be_read_is_not_put_on_the_disk_that_is_written(words, tmp_path, monkeypatch):
    def fail(self, i):
        raise OSError("stale file handle")

    monkeypatch.setattr(type(open_source(words)), "image_bytes", fail)
    plan = shard_plan.Plan(tmp_path, "mine", "train", 10, 1)
    plan.working.mkdir()
    with pytest.raises(DataError, match=r"row 1 \(0_0.png\) cannot be read \(stale file handle\)"):
        list(shards.write_shards(open_source(words), plan, [0], 1, lambda rows: None))
    assert not list(plan.working.iterdir())


def _arguments(argv):
    values = dict(item.removeprefix("--").split("=", 1) for item in argv)
    return values["data"], values["name"], "train", values["dir"]


def test_lists_of_sets_are_joined(words, tmp_path, mistake):
    lmdb = write_lmdb(tmp_path / "d", ["a", "b"])
    done = prepare(f"{words}::limit=2 + lmdb:{lmdb}", "both", data_dir=tmp_path)
    source = open_source(done.spec)
    assert labels(source) == ["wört0", "wört1", "a", "b"]
    assert [source.key(i) for i in (0, 3)] == ["1_words/0_0.png", "2_d/image-000000002"]
    line = mistake(main, f"--data=0.5*{words} + 0.5*lmdb:{lmdb}", "--name=x", f"--dir={tmp_path}")
    assert "every row is taken once; leave the weights out" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name=My-Set"], "--name=My-Set: write small letters, digits and '_'"),
        (["--name=mine", "--split=all"], "--split=all: write small letters"),
        (["--name=mnist"], "--name=mnist: TFDS knows another set by that name"),
        (["--name=mine", "--procesess=2"], "unknown argument '--procesess': did you mean"),
        (["--name=mine", "--processes=0"], "'0' is not a positive whole number"),
    ],
)
def test_mistakes(words, tmp_path, mistake, options, message):
    assert message in mistake(main, f"--data={words}", f"--dir={tmp_path}", *options)


def test_a_set_that_tfds_prepared_is_not_touched(words, tmp_path):
    done = prepare(words, "mine", data_dir=tmp_path)
    (done.folder / "prepared_train.json").unlink()
    with pytest.raises(UserError, match="has a split 'train' that this command did not prepare"):
        prepare(words, "mine", data_dir=tmp_path, overwrite=True)


class KeyedWords(tfds.core.GeneratorBasedBuilder):
    """A set of somebody else's, with keys."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Text()
        features = {"image": tfds.features.Image(), "label": text, "key": text}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"image": png(20 + i), "label": WORDS[i], "key": f"photo_{i}"}


def test_sets_of_other_features(words, tmp_path):
    tfds.disable_progress_bar()
    KeyedWords(data_dir=tmp_path).download_and_prepare(file_format="array_record")
    source = open_source(f"tfds:{tmp_path}/keyed_words/train")
    assert sorted(source.key(i) for i in range(3)) == ["photo_0", "photo_1", "photo_2"]
    assert source.lexicon(0) == ()
    shutil.copytree(tmp_path / "keyed_words", tmp_path / "theirs")
    with pytest.raises(DataError, match="a set with the features image, key, label, not one"):
        prepare(words, "theirs", "test", data_dir=tmp_path)


def test_shards_by_size():
    megabyte = 1 << 20
    for num_bytes, rows, expected in (
        (0, 5, 1),
        (15 * megabyte, 9_000, 1),
        (90 * megabyte, 30_000, 5),
        (3_000 * megabyte, 10**6, 16),
        (10_000 * megabyte, 9 * 10**6, 40),
        (10_000 * megabyte, 7, 7),
    ):
        assert shard_plan.count_shards(num_bytes, rows) == expected
    plan = shard_plan.Plan(pathlib.Path(), "x", "train", 10, 4)
    assert [row for shard in range(4) for row in plan.rows_of(shard)] == list(range(10))


def test_help_is_quick_and_shows_an_example():
    start = time.perf_counter()
    command = [sys.executable, "-m", "crnn_jax.data.prepare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python -m crnn_jax.data.prepare --data=lmdb:" in done.stdout
    assert time.perf_counter() - start < 5  # far less on an idle machine


@pytest.mark.slow
def test_a_killed_run_with_processes_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "big"
    folder.mkdir()
    for i in range(3_000):
        Image.fromarray(rng.integers(0, 256, (32, 100), np.uint8)).save(folder / f"w{i:04d}.png")
    command = [
        sys.executable, "-m", "crnn_jax.data.prepare", f"--data=names:{folder}", "--name=big",
        f"--dir={tmp_path}", "--shards=6", "--processes=2",
    ]  # fmt: skip
    running = subprocess.Popen(command)
    out = tmp_path / "big" / "1.0.0"
    while not files_of(out):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(0.5)  # for what it had started
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.array_record*")}
    assert not (out / "dataset_info.json").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    check_same(open_source(f"tfds:{tmp_path}/big/train"), open_source(f"names:{folder}"))
    again = prepare(f"names:{folder}", "big", data_dir=tmp_path / "again", shards=6)
    assert files_of(again.folder) == files_of(out)


# Builders of published sets.


@pytest.fixture
def manual(tmp_path, monkeypatch) -> pathlib.Path:
    """TFDS's folder of manual downloads, with a data folder of its own."""
    from tensorflow_datasets.core import constants
    from tensorflow_datasets.core.utils import file_utils

    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(file_utils.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds" / "downloads" / "manual"


def write_all(manual: pathlib.Path) -> dict[str, str]:
    """Returns what each split of each set should read like."""
    for part in ("train", "test"):
        publisher_files.write_iiit5k(manual / "IIIT5K", part)
        publisher_files.write_svt(manual / "svt1", part)
    publisher_files.write_icdar03_scenes(manual / "SceneTrialTest")
    tests = {"Challenge2": "Challenge2_Test_Task3_Images", "Challenge4": "ch4_test_word_images_gt"}
    for challenge, images in tests.items():
        publisher_files.write_icdar(manual, f"{challenge}_Test_Task3_GT.txt", manual / images)
    publisher_files.write_icdar(manual / "ch4_training_word_images_gt")
    folder = manual / "mnt/ramdisk/max/90kDICT32px"
    folder.mkdir(parents=True)
    (folder / "1_Lube_2.png").write_bytes(png())
    (folder / "annotation_val.txt").write_text("./1_Lube_2.png 2\n")
    return {
        "iiit5k_words/train": f"iiit5k:{manual}/IIIT5K::part=train",
        "iiit5k_words/test": f"iiit5k:{manual}/IIIT5K::part=test",
        "svt_words/test": f"svt:{manual}/svt1::part=test",
        "ic03_words/test": f"icdar03:{manual}/SceneTrialTest",
        "mjsynth_words/val": f"mjsynth:{folder}::part=val",
        "ic13_words/test": f"icdar:{manual}/Challenge2_Test_Task3_GT.txt"
        f"::root={manual}/Challenge2_Test_Task3_Images",
        "ic15_words/train": f"icdar:{manual}/ch4_training_word_images_gt",
        "ic15_words/test": f"icdar:{manual}/Challenge4_Test_Task3_GT.txt"
        f"::root={manual}/ch4_test_word_images_gt",
    }


def test_published_sets_are_prepared_on_first_use(manual, capsys):
    for location, spec in write_all(manual).items():
        check_same(open_source(f"tfds:{location}"), open_source(spec))
    assert capsys.readouterr().err.count(", once\n") == 8
    with pytest.raises(DataError, match="has no split 'train'"):
        open_source("tfds:ic13_words/train")


def test_unreadable_images_of_published_sets_are_told(manual, caplog):
    publisher_files.write_svt(manual / "svt1", "test")
    (manual / "svt1" / "img" / "14_04.png").unlink()
    assert len(open_source("tfds:svt_words/test")) == 2
    assert "svt_words/test: 1 image(s) cannot be read and are left out, see /" in caplog.text
    assert caplog.text.count("test_left_out.tsv") == 1


def test_published_sets_that_are_not_there(manual):
    with pytest.raises(DataError, match=r"unpack it into .*manual, so that it holds IIIT5K/tr"):
        open_source("tfds:iiit5k_words/test")
    with pytest.raises(DataError, match="did you mean 'iiit5k_words'"):
        open_source("tfds:iit5k_words/test")


def test_tfds_prepares_published_sets_by_their_builders(manual, tmp_path):
    specs = write_all(manual)
    (manual / "svt1" / "img" / "14_04.png").unlink()
    tfds.disable_progress_bar()
    builder = tfds.builder("svt_words", data_dir=tmp_path / "own")
    config = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(file_format="array_record", download_config=config)
    source = open_source(f"tfds:{tmp_path}/own/svt_words/test")
    check_same(source, open_source(specs["svt_words/test"] + ",limit=2"))  # of the photograph left
    assert builder.info.features.to_json() == tfds_rows.word_features().to_json()


def test_what_is_told_of_a_set_is_json(words, tmp_path):
    done = prepare_lib.prepare(words, "mine", data_dir=tmp_path)
    told = json.loads((done.folder / "prepared_train.json").read_text())
    assert (told["rows"], told["written"], told["data"]) == (10, 10, words)
