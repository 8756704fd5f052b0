"""Strict settings for the whole suite: several CPU devices, no silent rank promotion."""

from __future__ import annotations

import os
import pathlib

import jax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()

_ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def real_data() -> pathlib.Path:
    """Folder of real image sets; a test that needs it is skipped where it is absent."""
    folder = pathlib.Path(os.environ.get("CRNN_JAX_REAL_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real image sets are not on this machine (set CRNN_JAX_REAL_DATA)")
    return folder
