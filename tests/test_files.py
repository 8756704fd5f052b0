"""Files that are whole or not there, and what is said where they cannot be written."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
from collections.abc import Callable

import pytest

from crnn_jax import files


@pytest.fixture
def write(run_command: Callable) -> Callable:
    """Writes a file as a command does."""

    def run(path: pathlib.Path, size: int = 10):
        def main(argv: object) -> int:
            files.write_bytes(path, b"x" * size)
            return 0

        return run_command(main)

    return run


def test_a_full_disk_is_one_line_and_leaves_the_file_as_it_was(
    write: Callable, file_limit: Callable, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "model.onnx"
    assert write(path).code == 0
    with file_limit(1000):
        code, _, err = write(path, 2000)
    assert (code, len(err)) == (1, 1)
    assert err[0].startswith(f"error: {path}: File too large; check ")
    assert path.read_bytes() == b"x" * 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_one_line(write: Callable, tmp_path: pathlib.Path) -> None:
    code, _, err = write(tmp_path / "none" / "x.json")
    assert (code, len(err)) == (1, 1)
    assert err[0].startswith(f"error: {tmp_path}/none/x.json: No such file or directory; check ")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_on_a_full_disk_is_one_line() -> None:
    code = "from crnn_jax import cli\ncli.run(lambda argv: print('x' * 100_000) or 0)"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: No space left on device; check ")
    assert done.returncode == 1


def test_errors_of_other_kinds_keep_their_traceback(run_command: Callable) -> None:
    def main(argv: object) -> int:
        raise OSError("of a library, without a number")

    with pytest.raises(OSError, match="of a library"):
        run_command(main)


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_readable_to_whom_the_umask_lets_it_be(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_names_that_are_no_text_are_written_and_read_again(tmp_path):
    """As Python has them of a file system; JSON's own escapes are the same."""
    name = os.fsdecode(b"w\xff.txt")
    files.write_json(tmp_path / "x.json", {"lexicon": name, "model": "Zür"})
    assert files.read_json(tmp_path / "x.json") == {"lexicon": name, "model": "Zür"}
    assert "Zür" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_a_long_name_is_one_as_a_short_one(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")  # 255 bytes
    files.write_text(path, "text")
    assert path.read_text() == "text"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
