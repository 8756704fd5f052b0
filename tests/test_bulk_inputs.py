"""What is read in bulk: lists, folders, tars and parts of them, in order; what is none of these."""

from __future__ import annotations

import os
import pathlib
import shutil
import tarfile

import pytest

from crnn_jax import predict, shipped
from crnn_jax.bulk.inputs import Inputs
from crnn_jax.bulk.reading import parse_shard, shard_of
from crnn_jax.errors import DataError, UserError

MODEL = "--model=quickstart"


def test_lists_files_and_tars_are_read_in_their_order(bulk_folder, tmp_path) -> None:
    found = Inputs.find(
        [str(bulk_folder / "words"), str(bulk_folder / "words.tar")],
        [str(bulk_folder / "list.txt")],
    )
    assert len(found) == 27
    names = [pathlib.Path(item.name).name for item in found]
    assert names[:9] == names[18:] == sorted(names[:9])
    assert sorted(names[9:18]) == names[:9]
    for item in found:
        content = item.content()
        if isinstance(content, str):
            content = pathlib.Path(content).read_bytes()
        path = bulk_folder / "words" / pathlib.Path(item.name).name
        assert content == path.read_bytes()
    with pytest.raises(IndexError):
        found[27]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("a.png\nb.png", 2),
        ("a.png\r\n\n\nb c.png\n", 2),
        ("é.png", 1),
        ("\r\na.png\r\n\r\nb.png\r\n\r", 2),
    ],
)
def test_lines_of_a_list(tmp_path, content, lines) -> None:
    (tmp_path / "list").write_text(content, encoding="utf-8", newline="")
    found = Inputs.find([], [str(tmp_path / "list")])
    assert [item.name for item in found] == [x for x in content.splitlines() if x]
    assert len(found) == lines


def test_the_mark_that_windows_puts_before_a_list_is_no_part_of_a_path(tmp_path) -> None:
    (tmp_path / "list").write_text("a.png\nb.png\n", encoding="utf-8-sig")
    assert [item.name for item in Inputs.find([], [str(tmp_path / "list")])] == ["a.png", "b.png"]
    (tmp_path / "list").write_text("", encoding="utf-8-sig")
    with pytest.raises(UserError, match="is empty"):
        Inputs.find([], [str(tmp_path / "list")])


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x" * 300, "x" * 300 + "/y.png"])
def test_a_path_that_is_too_long_is_an_item_that_fails(run_command, bulk_folder, name) -> None:
    assert [item.name for item in Inputs.find([name])] == [name]
    done = run_command(predict.main, MODEL, name, bulk_folder / "words" / "0.png")
    assert (done.code, len(done.out)) == (1, 1)
    assert "the image cannot be opened (File name too long)" in done.err[0]
    with pytest.raises(UserError, match="model"):
        shipped.find(name)


def test_a_folder_that_may_not_be_looked_into_is_passed_over(tmp_path, monkeypatch) -> None:
    """As where its permissions lack x; the tests may run as root, who may always."""
    (tmp_path / "a.png").touch()
    real = os.stat

    def stat(path, **kwargs):
        if str(path).endswith("closed.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, **kwargs)

    (tmp_path / "closed.png").touch()
    monkeypatch.setattr(os, "stat", stat)
    found = Inputs.find([str(tmp_path), str(tmp_path / "closed.png")])
    assert [pathlib.Path(item.name).name for item in found] == ["a.png", "closed.png"]


def test_lists_and_tars_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    with pytest.raises(UserError, match="is empty"):
        Inputs.find([], [str(tmp_path / "empty")])
    with pytest.raises(UserError, match="cannot be read"):
        Inputs.find([], [str(tmp_path / "none")])
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(UserError, match="is no file but a pipe, a folder or a device: write"):
            Inputs.find([], [str(tmp_path / name)])
    with pytest.raises(UserError, match="unpack it once"):
        Inputs.find([str(tmp_path / "x.tar.gz")])
    (tmp_path / "x.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match="not a tar that can be read"):
        Inputs.find([str(tmp_path / "x.tar")])


def test_tars_in_a_folder_are_told(bulk_folder, tmp_path, caplog) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "words.tar").write_bytes((bulk_folder / "words.tar").read_bytes())
    (tmp_path / "a" / "._words.tar").touch()  # as macOS leaves it
    told = f"tars in a folder are left out: name them, as {tmp_path}/a/words.tar"
    with pytest.raises(UserError, match=f"no images .*; {told}"):
        Inputs.find([str(tmp_path)])
    (tmp_path / "word.png").touch()
    assert len(Inputs.find([str(tmp_path)])) == 1
    assert caplog.messages == [f"{tmp_path}: {told}"]


def add_link(tar: tarfile.TarFile, name: str, target: str, kind: bytes) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = kind, target
    tar.addfile(link)


def test_links_in_a_tar_have_the_bytes_of_their_targets(tmp_path, bulk_folder) -> None:
    word = sorted((bulk_folder / "words").iterdir())[0]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(word, "./x/word.png")
        add_link(tar, "x/hard.png", "./x/word.png", tarfile.LNKTYPE)
        add_link(tar, "x/soft.png", "hard.png", tarfile.SYMTYPE)
        add_link(tar, "x/none.png", "../missing.png", tarfile.SYMTYPE)
        add_link(tar, "x/round.png", "round.png", tarfile.SYMTYPE)
    found = {pathlib.Path(item.name).name: item.content() for item in Inputs.find([f"{tar.name}"])}
    assert found == {
        **dict.fromkeys(("word.png", "hard.png", "soft.png"), word.read_bytes()),
        **dict.fromkeys(("none.png", "round.png"), b""),
    }


def test_tars_that_cat_has_joined_are_refused(tmp_path, bulk_folder) -> None:
    twice = (bulk_folder / "words.tar").read_bytes() * 2
    (tmp_path / "ab.tar").write_bytes(twice)
    with pytest.raises(DataError, match="goes on behind the end of a tar"):
        Inputs.find([str(tmp_path / "ab.tar")])


def test_a_glob_of_tars_is_of_what_they_hold(tmp_path, bulk_folder) -> None:
    for name in ("a.tar", "c.tar"):
        shutil.copy(bulk_folder / "words.tar", tmp_path / name)
    (tmp_path / "b.png").touch()
    names = [item.name.removeprefix(f"{tmp_path}/") for item in Inputs.find([f"{tmp_path}/*"])]
    assert [name.partition("/")[0] for name in names] == ["a.tar"] * 9 + ["b.png"] + ["c.tar"] * 9
    (tmp_path / "d.tar.gz").touch()
    with pytest.raises(UserError, match=r"d\.tar\.gz is compressed"):
        Inputs.find([f"{tmp_path}/*"])


@pytest.mark.parametrize("text", ["3/3", "a/2", "1", "-1/2", "1/0"])
def test_shards_are_written_as_parts(text) -> None:
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text)


@pytest.mark.parametrize(("total", "count"), [(9, 2), (9, 4), (2, 5)])
def test_shards_are_every_row_once_in_order(total, count) -> None:
    parts = [shard_of(total, i, count) for i in range(count)]
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
