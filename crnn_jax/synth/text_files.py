"""Files of texts, with or without counts."""

from __future__ import annotations

import math
import os
import pathlib
import unicodedata

from crnn_jax.errors import UserError


def read_texts(path: str) -> dict[str, float]:
    """Returns the texts of a UTF-8 file with their counts.

    A line is a text, or a text, TAB and its count; spaces between words become one.
    """
    try:
        data = pathlib.Path(os.path.expanduser(path)).read_bytes()
    except OSError as error:
        raise UserError(f"text_file {path}: cannot be read ({error.strerror})") from None
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"text_file {path}, line {row}: not UTF-8; save it as UTF-8") from None
    counts: dict[str, float] = {}
    for row, line in enumerate(lines, start=1):
        text, tab, count = line.partition("\t")
        text = " ".join(unicodedata.normalize("NFC", text).split())
        if text:
            more = _count(count, f"text_file {path}, line {row}") if tab else 1.0
            counts[text] = counts.get(text, 0.0) + more
    if not counts:
        raise UserError(f"text_file {path} holds no text: give one text per line")
    return counts


def _count(text: str, where: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not 0 < count < math.inf:
        raise UserError(
            f"{where}: {text.strip()!r} is no count: write the text, or the text, TAB and a number "
            "above 0"
        )
    return count
