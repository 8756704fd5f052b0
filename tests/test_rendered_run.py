"""A run on rendered text, from its command to its summary."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from crnn_jax import cli, train
from crnn_jax.checkpoint import Checkpointer

_RUN = """
import sys
from crnn_jax import cli, train
from crnn_jax.checkpoint import Checkpointer
train.train_and_evaluate(cli.load_experiment("quickstart:smoke"), sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.slow
def test_runs_without_loader_and_goes_on_exactly(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    command = [sys.executable, "-c", _RUN, str(whole)]
    # As many devices as here, so that both use the same compiled programs: those in the cache for
    # another number may be of a process that was kept to one core, and add up in another order.
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(jax.local_device_count())}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    modules = done.stdout.splitlines()[-1].split()
    assert "optax" in modules
    assert not {"tensorflow_datasets", "grain", "tensorflow", "array_record"} & set(modules)
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["step"] == 4
    assert summary["eval"]["plain"]["count"] == 16

    # As a run that was killed after step 2 has left its folder.
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoints" / "4")
    (resumed / "summary.json").unlink()
    config = cli.load_experiment("quickstart:smoke")
    state, again = train.train_and_evaluate(config, resumed)
    assert again["step"] == 4
    _, shapes = train.abstract_state(config, charset_of(whole))
    expected = Checkpointer(whole).restore(4, shapes)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


def charset_of(workdir):
    from crnn_jax.charset import Charset

    return Charset.load(workdir / "charset.json")
