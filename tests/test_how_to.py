"""The how-tos of the documentation do what they say."""

from __future__ import annotations

import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_an_encoder_is_added_as_written(tmp_path: pathlib.Path) -> None:
    """Follows the page in a copy of the checkout, with the sweep in smoke form."""
    text = (_ROOT / "docs" / "how-to" / "add-an-encoder.md").read_text(encoding="utf-8")
    for folder in ("crnn_jax", "experiments"):
        shutil.copytree(_ROOT / folder, tmp_path / folder)
    files = dict(re.findall(r"^`([\w/.]+\.py)`\n\n```python\n(.*?)```", text, re.M | re.S))
    assert len(files) == 2
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    [lines] = re.findall(r"^```python\n(from crnn_jax\.models\.flat.*?)```", text, re.M | re.S)
    importing, naming = lines.splitlines()
    registry = tmp_path / "crnn_jax" / "models" / "encoders.py"
    source = registry.read_text(encoding="utf-8")
    source = source.replace(
        "from crnn_jax.models.layers", f"{importing}\nfrom crnn_jax.models.layers"
    )
    source = re.sub(r"(^ENCODERS.*= \{$)", rf"\1\n{naming}", source, flags=re.M)
    registry.write_text(source, encoding="utf-8")
    assert sum(len(content.splitlines()) for content in files.values()) + 2 < 60

    [command] = re.findall(r"^(python -m crnn_jax\.sweep .*)$", text, re.M)[-1:]
    command = command.replace("ablations/flat ", "ablations/flat:smoke ")
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "--seeds=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "runs/flat/table.csv").read_text().splitlines()))
    assert [row["cell"] for row in rows] == ["tiny", "flat"]
    assert rows[0]["parameters"] != rows[1]["parameters"]
