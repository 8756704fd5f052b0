"""A seven-segment face, as on meters and clocks, made of our own polygons."""

from __future__ import annotations

import functools
import io

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

NAME = "Seven Segment LED"

# Segments: a top, b and c right, d bottom, e and f left, g middle; p the point, k the colon.
# Left out: letters that look like digits (B I O S Z g i l q s z) or like one another.
CHARACTERS: dict[str, str] = {
    "0": "abcdef",
    "1": "bc",
    "2": "abdeg",
    "3": "abcdg",
    "4": "bcfg",
    "5": "acdfg",
    "6": "acdefg",
    "7": "abc",
    "8": "abcdefg",
    "9": "abcdfg",
    "A": "abcefg",
    "C": "adef",
    "E": "adefg",
    "F": "aefg",
    "H": "bcefg",
    "J": "bcde",
    "L": "def",
    "P": "abefg",
    "U": "bcdef",
    "b": "cdefg",
    "c": "deg",
    "d": "bcdeg",
    "h": "cefg",
    "n": "ceg",
    "o": "cdeg",
    "r": "eg",
    "t": "defg",
    "u": "cde",
    "y": "bcdfg",
    "-": "g",
    "_": "d",
    "=": "dg",
    ".": "p",
    ":": "k",
}

_UNITS = 1000
_HEIGHT, _WIDTH = 720, 400  # between the middles of the outer segments: 640 and 320
_THICK = 80
_GAP = 10  # between the ends of two segments, measured along one of them
_BEARING = 90
_NARROW = 220  # advance of the point and the colon


def _segment(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[int, int]]:
    """Returns a bar with pointed ends from one point to another, clockwise."""
    half = _THICK / 2
    (x0, y0), (x1, y1) = start, end
    if y0 == y1:
        x0, x1 = x0 + _GAP, x1 - _GAP
        points = [(x0, y0), (x0 + half, y0 + half), (x1 - half, y0 + half), (x1, y0)]
        points += [(x1 - half, y0 - half), (x0 + half, y0 - half)]
    else:
        y0, y1 = y0 + _GAP, y1 - _GAP
        points = [(x0, y0), (x0 - half, y0 + half), (x0 - half, y1 - half), (x0, y1)]
        points += [(x0 + half, y1 - half), (x0 + half, y0 + half)]
    return [(round(x), round(y)) for x, y in points]


def _square(x: float, y: float) -> list[tuple[int, int]]:
    half = 0.6 * _THICK
    corners = ((-half, -half), (-half, half), (half, half), (half, -half))
    return [(round(x + dx), round(y + dy)) for dx, dy in corners]


def _polygons(segments: str) -> list[list[tuple[int, int]]]:
    """Returns the outlines of some segments in font units."""
    left, right = _BEARING + _THICK / 2, _BEARING + _WIDTH - _THICK / 2
    low, high = _THICK / 2, _HEIGHT - _THICK / 2
    middle = (low + high) / 2
    bars = {
        "a": ((left, high), (right, high)),
        "b": ((right, middle), (right, high)),
        "c": ((right, low), (right, middle)),
        "d": ((left, low), (right, low)),
        "e": ((left, low), (left, middle)),
        "f": ((left, middle), (left, high)),
        "g": ((left, middle), (right, middle)),
    }
    squares: dict[str, tuple[tuple[float, float], ...]] = {
        "p": ((_NARROW / 2, 0.6 * _THICK),),
        "k": ((_NARROW / 2, 0.28 * _HEIGHT), (_NARROW / 2, 0.72 * _HEIGHT)),
    }
    polygons = [_segment(*bars[name]) for name in segments if name in bars]
    return polygons + [_square(*at) for name in segments for at in squares.get(name, ())]


@functools.cache
def font_bytes() -> bytes:
    """Returns the face as a TrueType font."""
    names = {char: f"uni{ord(char):04X}" for char in (" ", *CHARACTERS)}
    builder = FontBuilder(_UNITS, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(char): name for char, name in names.items()})
    glyphs, metrics = {".notdef": TTGlyphPen(None).glyph()}, {".notdef": (_UNITS, 0)}
    for char, name in names.items():
        pen = TTGlyphPen(None)
        polygons = _polygons(CHARACTERS.get(char, ""))
        for polygon in polygons:
            pen.moveTo(polygon[0])
            for point in polygon[1:]:
                pen.lineTo(point)
            pen.closePath()
        glyphs[name] = pen.glyph()
        bearing = min((x for polygon in polygons for x, _ in polygon), default=0)
        metrics[name] = (_NARROW if char in ".:" else _WIDTH + 2 * _BEARING, bearing)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(metrics)
    builder.setupHorizontalHeader(ascent=_HEIGHT, descent=0)
    builder.setupNameTable({"familyName": NAME, "styleName": "Regular", "fullName": NAME})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost(isFixedPitch=0)
    builder.font["head"].created = builder.font["head"].modified = 0  # the same bytes each time
    file = io.BytesIO()
    builder.font.recalcTimestamp = False
    builder.save(file)
    return file.getvalue()
