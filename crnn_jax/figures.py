"""Diagrams by matplotlib, which is imported where one is drawn."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from crnn_jax import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def literal(text: str) -> str:
    """Returns a text whose dollars begin no formula; parse_math=False does not reach wrapping."""
    return text.replace("$", r"\$")


def write(path: str | os.PathLike[str], figure: Figure) -> None:
    """Writes a diagram as PNG, whole or not at all."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    files.write_bytes(path, encoded.getvalue())
