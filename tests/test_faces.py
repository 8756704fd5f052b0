"""Fonts that cannot be trusted: wrong glyphs, broken files, copies."""

from __future__ import annotations

import functools
import io
import logging
import pathlib
import sys

import numpy as np
import pytest
from fontTools import subset, ttLib
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from crnn_jax.charset import PRESETS
from crnn_jax.errors import UserError
from crnn_jax.synth import faces, font_files, glyph_check
from crnn_jax.synth.atlas import AtlasFile, Report, build_atlas

ASCII = PRESETS["latin94"]
LOWER, UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def default_font(name: str) -> font_files.FontFile:
    found = [f for f in font_files.default_fonts() if pathlib.Path(f.path).stem == name]
    assert len(found) == 1
    return found[0]


def covered(file: AtlasFile, face: str) -> str:
    row = file.atlas.covered[file.faces.index(face)]
    return "".join(c for c, has in zip(file.characters, row, strict=True) if has)


@functools.cache
def small_font(stem: str) -> bytes:
    """A default font with the characters that the tests draw, which is quick to save."""
    options = subset.Options(layout_features=[], notdef_outline=True, name_IDs=[1, 2, 4, 6])
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "FFTM", "kern"]
    font = ttLib.TTFont(default_font(stem).path, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=ASCII + " £–—˝")
    subsetter.subset(font)
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def changed_font(
    path: pathlib.Path, name: str, source: str = "DejaVuSerif", **glyph_of: str
) -> pathlib.Path:
    """Copies a font under another name, some characters drawn as others."""
    font = ttLib.TTFont(io.BytesIO(small_font(source)), recalcTimestamp=False)
    best = font.getBestCmap()
    for table in font["cmap"].tables:
        table.cmap |= {ord(char): best[ord(other)] for char, other in glyph_of.items()}
    for record in font["name"].names:
        record.string = name
    font.save(path)
    return path


def build(*paths: pathlib.Path, characters: str = ASCII) -> tuple[AtlasFile, Report]:
    return build_atlas([font_files.FontFile(str(path)) for path in paths], characters)


def boxes_font(path: pathlib.Path) -> pathlib.Path:
    """A font that draws the same box for every character, as LastResort does."""
    pen = TTGlyphPen(None)
    for x0, x1, y0, y1 in ((50, 550, 0, 700), (500, 100, 50, 650)):
        pen.moveTo((x0, y0))
        for point in ((x0, y1), (x1, y1), (x1, y0)):
            pen.lineTo(point)
        pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "box"])
    builder.setupCharacterMap(dict.fromkeys(map(ord, ASCII), "box"))
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "box": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (600, 0), "box": (600, 50)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupPost()
    builder.save(path)
    return path


def test_wrong_glyphs_are_refused_and_right_ones_kept(tmp_path: pathlib.Path) -> None:
    caps = changed_font(tmp_path / "caps.ttf", "Caps", **dict(zip(LOWER, UPPER, strict=True)))
    small = changed_font(tmp_path / "small.ttf", "Small", **dict(zip(UPPER, LOWER, strict=True)))
    wrong = {"$": "£", "{": "–", "}": "˝", "|": "—", "4": "k", "R": "g"}
    symbols = changed_font(tmp_path / "symbols.ttf", "Symbols", "DejaVuSansMono-Bold", **wrong)
    copy = changed_font(tmp_path / "copy.ttf", "Copy", "STIXGeneralItalic")
    result, report = build(caps, small, symbols, copy, boxes_font(tmp_path / "boxes.ttf"))
    everything = set(ASCII) | {" "}
    assert set(covered(result, "Caps")) == everything - set(LOWER)
    assert set(covered(result, "Small")) == everything - set(UPPER)
    assert set(covered(result, "Symbols")) == everything - set(wrong)
    assert set(covered(result, "Copy")) == everything
    assert "Boxes" not in "".join(result.faces)
    assert any("Boxes" in reason for _, reason in report.skipped)
    assert report.refused == 2 * 26 + len(wrong)
    # Nothing of a refused glyph is left, and lines are measured on what is.
    face, glyph = result.faces.index("Caps"), result.characters.index("a")
    assert result.atlas.width[face, glyph] == 1
    assert not result.atlas.ink[face, glyph].any()
    assert not result.atlas.kerning[face, glyph].any()


def test_characters_that_faces_draw_alike() -> None:
    characters = PRESETS["latin"] + "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    alike = glyph_check.alike_characters(characters)
    assert (alike == alike.T).all()
    count = len(PRESETS["latin"])
    assert (alike[count:] == np.eye(len(characters), dtype=bool)[count:]).all()
    pairs = {a + b for a, b in np.array(list(characters))[np.argwhere(alike)].tolist()}
    assert pairs >= {"aa", "cC", "éê", "Óö", "O0", "Il", "l|", "B8", "“”", "ÐD"}
    assert not pairs & {"rR", "Éê", "áA", "ab", "O8", "cO", "1O"}


def test_styles_that_no_reference_has_are_kept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed_font(tmp_path / "unseen.ttf", "Unseen", "STIXGeneralItalic")
    known = [default_font(n) for n in ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold")]
    monkeypatch.setattr(font_files, "default_fonts", lambda: known)
    result, _ = build(path)
    assert len(covered(result, "Unseen")) > 0.95 * len(ASCII)


def test_broken_fonts_are_named_and_the_others_used(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = pathlib.Path(default_font("DejaVuSansMono").path)
    data = good.read_bytes()
    cut, empty, text = tmp_path / "cut.ttf", tmp_path / "empty.otf", tmp_path / "text.ttf"
    cut.write_bytes(data[: len(data) // 3])
    empty.write_bytes(b"")
    text.write_text("no font at all")
    lying = tmp_path / "lying.ttc"
    lying.write_bytes(b"ttcf" + bytes([0, 1, 0, 0]) + (10**9).to_bytes(4, "big"))
    missing = tmp_path / "missing.ttf"
    caplog.set_level(logging.WARNING, "crnn_jax")
    result, report = build(cut, empty, good, text, lying, missing)
    assert result.faces == ("DejaVu Sans Mono",)
    assert {path for path, _ in report.skipped} == set(map(str, (cut, empty, text, lying, missing)))
    for path in (cut, empty, text, lying, missing):
        lines = [m for m in caplog.messages if str(path) in m]
        assert len(lines) == 1
        assert "\n" not in lines[0]
    with pytest.raises(UserError, match="no face"):
        build(cut, empty)


def test_collections_and_woff_are_read_and_copies_dropped(tmp_path: pathlib.Path) -> None:
    collection = ttLib.TTCollection()
    for stem in ("DejaVuSans", "DejaVuSansMono-Oblique"):
        collection.fonts.append(ttLib.TTFont(io.BytesIO(small_font(stem))))
    collection.save(tmp_path / "two.ttc")
    woff = ttLib.TTFont(io.BytesIO(small_font("DejaVuSerif-Italic")))
    woff.flavor = "woff"
    woff.save(tmp_path / "packed.woff")
    copy = changed_font(tmp_path / "again.ttf", "Again", "DejaVuSans")
    result, report = build(tmp_path / "two.ttc", tmp_path / "packed.woff", copy)
    assert result.faces == ("DejaVu Sans", "DejaVu Sans Mono Oblique", "DejaVu Serif Italic")
    assert report.skipped == ((str(copy), "Again is the same as DejaVu Sans"),)
    assert (result.atlas.covered.mean(1) > 0.98).all()


def test_woff2_without_brotli_says_what_to_install(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "packed.woff2"
    path.write_bytes(b"wOF2" + bytes(200))
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    (error,) = faces.open_faces(str(path))
    assert isinstance(error, faces.FaceError)
    assert "pip install 'crnn_jax[fonts]'" in str(error)


def test_one_face_has_all_characters(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "crnn_jax")
    result, report = build(
        pathlib.Path(default_font("DejaVuSans").path), characters=ASCII + "あé中"
    )
    assert result.characters == "".join(sorted(ASCII + " é"))
    assert report.dropped == "あ中"
    assert result.atlas.covered.all(1).any()
    assert len([m for m in caplog.messages if "あ 中" in m]) == 1
