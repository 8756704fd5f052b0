"""The folder of a run: one process at a time."""

from __future__ import annotations

import subprocess
import sys

from crnn_jax import workdir

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
