"""A tiny run, for tests."""

from __future__ import annotations

from crnn_jax import cli


def small_config(**overrides):
    pairs = [(key, str(value)) for key, value in overrides.items()]
    return cli.load_experiment("quickstart:smoke,loaded", pairs)
