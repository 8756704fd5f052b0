"""Style tags of faces, from their names, their tables and, where these lie, their shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from crnn_jax.synth.faces import Face

_WORDS = {  # in the names of fonts
    "script": r"script|hand(?!ed)|brush|callig|cursive|chancery|writing|marker|schrift",
    "display": r"display|decorative|titl|shadow|outline|stencil|blackletter|fraktur|poster|sketch",
    "bold": r"bold|black\b|heavy\b|fat\b|bd\b",
    "italic": r"italic|oblique|slanted|kursiv",
    "condensed": r"cond|narrow|compressed|\bcn\b|etroit",
    "led": r"\bled\b|\blcd\b|dseg|(7|seven|14|fourteen).?seg",
}
_SERIF_FOOT = 1.4  # width of a stem at its foot, of its width; without serifs 0.8 to 1.2
_NARROW = 0.58  # width of the ink of capitals, of their height; usual are 0.7 to 0.9


def style_tags(face: Face, listed: Iterable[str] = ()) -> set[str]:
    """Returns the TAGS of a face.

    Args:
      face: the face.
      listed: tags that the list of fonts gives it.
    """
    tags = {t for t, words in _WORDS.items() if re.search(words, face.name, re.IGNORECASE)}
    tags |= set(listed) | _table_tags(face)
    if _fixed_pitch(face):
        tags.add("mono")
    if _is_narrow(face) and "led" not in tags:
        tags.add("condensed")
    if not tags & {"script", "led"}:
        foot = _foot_width(face)
        if foot is not None:
            tags |= {"serif"} if foot > _SERIF_FOOT else {"sans"}
    return tags


def _table_tags(face: Face) -> set[str]:
    """Returns what the tables say that is true of most fonts: serifs and pitch are not."""
    font, tags = face.font, set()
    style = font["head"].macStyle
    tags |= {tag for bit, tag in ((0, "bold"), (1, "italic"), (5, "condensed")) if style >> bit & 1}
    if "post" in font and abs(font["post"].italicAngle) >= 1:
        tags.add("italic")
    if "OS/2" not in font:
        return tags
    os2 = font["OS/2"]
    if 600 <= os2.usWeightClass <= 1000:
        tags.add("bold")
    if 1 <= os2.usWidthClass <= 3:
        tags.add("condensed")
    if os2.panose.bFamilyType == 3 or os2.sFamilyClass >> 8 == 10:
        tags.add("script")
    if os2.panose.bFamilyType == 4 or os2.sFamilyClass >> 8 == 9:
        tags.add("display")
    return tags


def _fixed_pitch(face: Face) -> bool:
    """Whether wide and slim letters are equally wide."""
    widths = [face.advance(c) for c in "iIlmMwW.,1" if face.glyph(c)]
    return len(widths) >= 5 and max(widths) - min(widths) < 0.02 * max(widths)


def _is_narrow(face: Face) -> bool:
    shapes = [drawn[0].shape for c in "HNEUXZ08" if (drawn := face.draw(c))]
    return bool(shapes) and float(np.median([w / h for h, w in shapes])) < _NARROW


def _foot_width(face: Face) -> float | None:
    """Returns how much wider stems are at the foot than above it, the median of some letters."""
    for letters in ("HFPTMK", "hnmri"):
        ratios = []
        for char in letters:
            drawn = face.draw(char)
            if drawn is None or len(drawn[0]) < 20:
                continue
            ink, height = drawn[0].sum(1) / 255, len(drawn[0])
            stem = np.median(ink[int(0.68 * height) : int(0.8 * height)])
            ratios.append(ink[int(0.93 * height) : int(0.99 * height) + 1].max() / max(stem, 1))
        if ratios:
            return float(np.median(ratios))
    return None
