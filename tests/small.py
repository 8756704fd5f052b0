"""A tiny run, for tests."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax import cli


def small_config(**overrides):
    pairs = [(key, str(value)) for key, value in overrides.items()]
    return cli.load_experiment("quickstart:smoke,loaded", pairs)


def write_words(folder, labels):
    """Writes a picture of noise for every label, each wider than the last, and labels.tsv."""
    rng = np.random.default_rng(0)
    lines = []
    for i, label in enumerate(labels):
        pixels = rng.integers(0, 256, (20, 40 + 3 * i), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png\t{label}\n")
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")


def train_command(
    config: str, workdir: pathlib.Path, knobs: Mapping[str, Any] | Iterable[tuple[str, Any]]
) -> list[str]:
    """Returns the command that trains an experiment with other knobs, in a process of its own."""
    flags = [f"--config.{key}={value}" for key, value in dict(knobs).items()]
    run = [sys.executable, "-m", "crnn_jax.main", f"--config={config}", f"--workdir={workdir}"]
    return [*run, *flags]
