"""The folder of a run: one process at a time."""

from __future__ import annotations

import errno
import pathlib
import subprocess
import sys

import jax
import pytest

from crnn_jax import processes, workdir
from crnn_jax.errors import UserError

_COMMAND = """
import pathlib, sys
from crnn_jax import workdir
with workdir.alone(pathlib.Path(sys.argv[1])):
    print("its turn", flush=True)
"""


def test_a_second_process_waits_for_the_first(tmp_path):
    """As where a launcher was killed and begins anew while its worker still saves."""
    folder = tmp_path / "run"
    with workdir.alone(folder):
        second = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = iter(second.stderr.readline, "")  # JAX may have something to say before
        assert f"waiting for the process that trains in {folder}\n" in lines
        assert second.poll() is None
    assert second.communicate(timeout=60)[0] == "its turn\n"


def test_of_several_processes_all_are_told_and_none_waits(tmp_path, monkeypatch):
    """The others could not wait with the one that writes, and would stand still for ever."""
    folder = tmp_path / "run"
    with workdir.alone(folder):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(processes, "collect", lambda value: [value])
        told = []
        for main in (True, False):
            monkeypatch.setattr(processes, "is_main", lambda main=main: main)
            if not main:  # what the first has said
                monkeypatch.setattr(processes, "agree", lambda value: told[0])
            with pytest.raises(UserError, match="wait for its end") as error, workdir.alone(folder):
                pass
            told.append(str(error.value))
    assert told[0] == told[1]
    assert f"trains in {folder}" in told[0]


def test_replicas_are_held_with_their_run(tmp_path):
    with workdir.alone(tmp_path / "run", tmp_path / "run" / "replica_0"):
        second = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(tmp_path / "run" / "replica_0")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert any(line.startswith("waiting for") for line in iter(second.stderr.readline, ""))
    assert second.communicate(timeout=60)[0] == "its turn\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_goes_on(tmp_path, monkeypatch, capsys, number):
    import fcntl

    def refuse(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with workdir.alone(tmp_path / "run"):
        assert "no locks there" in capsys.readouterr().err
    assert pathlib.Path(tmp_path / "run").is_dir()
