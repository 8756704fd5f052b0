from __future__ import annotations

import io
import itertools
import json
import pathlib
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features
from scipy import ndimage

from crnn_jax.charset import PRESETS
from crnn_jax.errors import UserError
from crnn_jax.synth import atlas as atlas_lib
from crnn_jax.synth import distance, font_files, seven_segment
from crnn_jax.synth.atlas import EM, KERNING_UNITS, SPREAD, TAGS, AtlasFile, build_atlas, load_atlas

ASCII = PRESETS["latin94"]
LOWER, UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def default_font(name: str) -> font_files.FontFile:
    found = [f for f in font_files.default_fonts() if pathlib.Path(f.path).stem == name]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def built() -> AtlasFile:
    """Five faces of the default atlas, ASCII alone."""
    names = ("DejaVuSans", "DejaVuSerif-BoldItalic", "DejaVuSansMono", "STIXGeneral")
    fonts = [*map(default_font, names), font_files.FontFile(font_files.SEVEN_SEGMENT)]
    result, report = build_atlas(fonts, ASCII)
    assert (report.skipped, report.dropped, report.refused) == ((), "", 0)
    return result


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("CRNN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def covered(file: AtlasFile, face: str) -> str:
    row = file.atlas.covered[file.faces.index(face)]
    return "".join(c for c, has in zip(file.characters, row, strict=True) if has)


# The reference: Pillow's text, drawn large and averaged.


def pens(file: AtlasFile, face: int, text: str) -> tuple[list[int], np.ndarray]:
    glyphs = [file.characters.index(c) for c in text]
    steps = file.atlas.advance[face, glyphs].astype(float)
    for i, pair in enumerate(itertools.pairwise(glyphs)):
        steps[i] += file.atlas.kerning[face, pair[0], pair[1]] / KERNING_UNITS
    return glyphs, np.concatenate([[0], steps.cumsum()])[: len(text)]


def from_fields(file: AtlasFile, face: int, text: str, em: float, width: int) -> np.ndarray:
    """Bilinear samples of the fields; coverage is half a pixel more than the distance."""
    a, height = file.atlas, round(1.6 * em)
    y = (np.arange(height)[:, None] + 0.5) / em - 1.1
    x = (np.arange(width)[None, :] + 0.5) / em - 0.2
    field = np.full((height, width), -1.0)
    for glyph, pen in zip(*pens(file, face, text), strict=True):
        h, w, start = (int(v[face, glyph]) for v in (a.height, a.width, a.offset))
        tile = a.field[start : start + h * w].reshape(h, w) / 255 - 0.5
        rows = np.broadcast_to((y - a.top[face, glyph]) * EM, field.shape)
        columns = np.broadcast_to((x - pen - a.left[face, glyph]) * EM, field.shape)
        sampled = ndimage.map_coordinates(tile, [rows, columns], order=1, cval=-0.5)
        field = np.maximum(field, sampled * 2 * SPREAD / EM)
    return np.clip(0.5 + field * em, 0, 1)


def from_pillow(
    file: AtlasFile, face: int, path: str, text: str, em: int, width: int
) -> np.ndarray:
    fine, height = 8, round(1.6 * em)
    font = ImageFont.truetype(path, fine * em, layout_engine=ImageFont.Layout.BASIC)
    canvas = np.zeros((height * fine, width * fine))
    for char, pen in zip(text, pens(file, face, text)[1], strict=True):
        image = Image.new("L", (width * fine, height * fine))
        at = (fine * em * (0.2 + pen), fine * em * 1.1)
        ImageDraw.Draw(image).text(at, char, fill=255, font=font, anchor="ls")
        canvas = np.maximum(canvas, np.asarray(image) / 255)
    return canvas.reshape(height, fine, width, fine).mean((1, 3))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of images in [0, 1] (Wang et al. 2004)."""

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x, 1.5)

    var_a, var_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    cov = mean(a * b) - mean(a) * mean(b)
    light = (2 * mean(a) * mean(b) + 0.01**2) / (mean(a) ** 2 + mean(b) ** 2 + 0.01**2)
    return float((light * (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)).mean())


@pytest.mark.parametrize("em", [16, 32, 48])
def test_fields_reproduce_the_text_that_pillow_draws(built: AtlasFile, em: int) -> None:
    paths = {"DejaVu Sans": "DejaVuSans", "STIXGeneral-Regular": "STIXGeneral"}
    for name, text in itertools.product(paths, ("Hamburg 389", "AV{jW}g$&?")):
        face, path = built.faces.index(name), default_font(paths[name]).path
        width = round(9 * em)
        ours = from_fields(built, face, text, em, width)
        assert ours.max() > 0.9
        assert ssim(ours, from_pillow(built, face, path, text, em, width)) > 0.96


def test_distances_are_exact_to_a_tenth_of_a_texel() -> None:
    scale, size = distance.OVERSAMPLING, 90
    fine = (np.arange(size * 16) + 0.5) / 16
    x, y = fine[None, :], fine[:, None]

    def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 31.4 - np.hypot(x - 44.3, y - 43.8)

    def bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = (x - 44.3) * np.cos(0.3) + (y - 43.8) * np.sin(0.3)
        v = (y - 43.8) * np.cos(0.3) - (x - 44.3) * np.sin(0.3)
        a, b = np.abs(u) - 28, np.abs(v) - 5.3
        return -np.hypot(np.maximum(a, 0), np.maximum(b, 0)) - np.minimum(np.maximum(a, b), 0)

    for shape in (disc, bar):
        grey = (shape(x, y) > 0).reshape(size, 16, size, 16).mean((1, 3))
        tile = distance.distance_tile(np.rint(255 * grey).astype(np.uint8), -7, -33)
        h, w = tile.field.shape
        texel_x = (np.arange(w)[None, :] + tile.left + 0.5) * scale + 7
        texel_y = (np.arange(h)[:, None] + tile.top + 0.5) * scale + 33
        true = shape(texel_x, texel_y) / scale
        found = (tile.field / 255 - 0.5) * 2 * SPREAD
        near = np.abs(true) < SPREAD - 0.5
        assert near.sum() > 200
        assert np.abs(found - true)[near].max() < 0.12
        assert (found[true > SPREAD] == SPREAD).all()


def test_tiles_are_apart_and_end_outside_the_ink(built: AtlasFile) -> None:
    a = built.atlas
    inked = a.covered & (np.array(list(built.characters)) != " ")
    spans = sorted(
        (int(o), int(o + h * w))
        for o, h, w in zip(a.offset[inked], a.height[inked], a.width[inked], strict=True)
    )
    assert spans[0][0] == 1  # after the empty tile
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
    assert spans[-1][1] + a.width.max() < len(a.field)  # one row and column past the end
    gaps = []
    for face, glyph in np.argwhere(inked):
        h, w, start = a.height[face, glyph], a.width[face, glyph], a.offset[face, glyph]
        tile = a.field[start : start + h * w].reshape(h, w)
        assert tile.max() > 127
        assert max(tile[0].max(), tile[-1].max(), tile[:, 0].max(), tile[:, -1].max()) == 0
        first_x, first_y = a.left[face, glyph] * EM, a.top[face, glyph] * EM
        rows, columns = (tile > 127).any(1).nonzero()[0], (tile > 127).any(0).nonzero()[0]
        inside = first_x + columns[0], first_y + rows[0], first_x + columns[-1], first_y + rows[-1]
        margins = (inside - a.ink[face, glyph] * EM) * (1, 1, -1, -1)
        assert margins.min() > -0.1  # no texel outside the ink
        gaps.append(margins.max())
    assert np.median(gaps) < 1  # only tips thinner than a texel are lost
    empty = ~inked
    assert (a.width[empty] == 1).all()
    assert (a.height[empty] == 1).all()
    assert (a.field[a.offset[empty]] == 0).all()


def test_space_advances_without_ink(built: AtlasFile) -> None:
    space = built.characters.index(" ")
    a = built.atlas
    assert a.covered[:, space].all()
    assert (a.advance[:, space] > 0.05).all()
    assert not a.ink[:, space].any()
    assert built.characters == "".join(sorted(built.characters))


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow without Raqm cannot kern")
def test_kerning_is_that_of_a_shaping_engine(built: AtlasFile) -> None:
    for face, stem in (("DejaVu Sans", "DejaVuSans"), ("STIXGeneral-Regular", "STIXGeneral")):
        row = built.atlas.kerning[built.faces.index(face)]
        font = ImageFont.truetype(default_font(stem).path, 1280)
        off = ["-liga", "-clig", "-calt", "-ccmp"]
        for pair in ("AV", "To", "P.", "Ty", "xx", "11", "VA", "fi"):
            true = font.getlength(pair, features=off) - sum(map(font.getlength, pair))
            ours = row[built.characters.index(pair[0]), built.characters.index(pair[1])]
            assert abs(ours - true / 1280 * KERNING_UNITS) < 1, pair
        assert row[built.characters.index("A"), built.characters.index("V")] < -5


def test_measures_and_styles_of_known_faces(built: AtlasFile) -> None:
    tags = {
        face: {t for t, on in zip(TAGS, row, strict=True) if on}
        for face, row in zip(built.faces, built.atlas.tags, strict=True)
    }
    assert tags == {
        "DejaVu Sans": {"sans"},
        "DejaVu Serif Bold Italic": {"serif", "bold", "italic"},
        "DejaVu Sans Mono": {"sans", "mono"},
        "STIXGeneral-Regular": {"serif"},
        seven_segment.NAME: {"led"},
    }
    ascent, cap, x_height, descent = built.atlas.lines[built.faces.index("DejaVu Sans")]
    assert abs(ascent - 0.76) < 0.01
    assert abs(cap - 0.73) < 0.01
    assert abs(x_height - 0.55) < 0.01
    assert abs(descent - 0.21) < 0.01
    assert (built.atlas.lines > 0).all()
    mono = built.atlas.advance[built.faces.index("DejaVu Sans Mono")]
    assert np.ptp(mono) == 0


def test_seven_segment_digits_are_unlike_one_another(built: AtlasFile) -> None:
    assert covered(built, seven_segment.NAME) == "".join(sorted(" " + "".join(_segments())))
    lit = list(_segments().values())
    assert len(set(lit)) == len(lit)
    assert seven_segment.CHARACTERS["8"] == "abcdefg"
    assert seven_segment.CHARACTERS["1"] == "bc"


def _segments() -> dict[str, str]:
    return seven_segment.CHARACTERS


# Files, the cache and the command line.


def test_saved_atlas_is_read_back_the_same(built: AtlasFile, tmp_path: pathlib.Path) -> None:
    atlas_lib.save_atlas(built, tmp_path / "a.npz")
    again = load_atlas(str(tmp_path / "a.npz"))
    assert (again.characters, again.faces, again.digest) == (
        built.characters,
        built.faces,
        built.digest,
    )
    for ours, theirs in zip(built.atlas, again.atlas, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    other = built.atlas._replace(advance=built.atlas.advance + 0.01)
    assert atlas_lib.named(other, built.characters, built.faces).digest != built.digest


def test_an_atlas_that_could_not_be_read_is_not_written(built, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(atlas_lib, "_MOST_BYTES", 1 << 10)
    with pytest.raises(UserError, match=r"take .* MiB, and an atlas at most 0: give fewer faces"):
        atlas_lib.save_atlas(built, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_damaged_files_end_in_one_line(built: AtlasFile, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.npz"
    atlas_lib.save_atlas(built, path)
    data = path.read_bytes()
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    bad = {
        "cut": data[: len(data) // 2],
        "flipped": data[:5000] + bytes(b ^ 255 for b in data[5000:5100]) + data[5100:],
        "empty": b"",
        "text": b"not an atlas",
        "zip": _packed({"about": np.zeros(3, np.uint8)}),
        "pickle": _packed({**arrays, "field": np.array([{}], dtype=object)}),
        "offset": _packed({**arrays, "offset": arrays["offset"] + (1 << 20)}),
        "shape": _packed({**arrays, "advance": arrays["advance"][:, 1:]}),
        "nan": _packed({**arrays, "advance": arrays["advance"] * np.float32(np.nan)}),
    }
    for name, content in bad.items():
        broken = tmp_path / f"{name}.npz"
        broken.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npz"):
            load_atlas(str(broken))
    header = json.loads(bytes(arrays["about"]))
    header["version"] += 1
    about = np.frombuffer(json.dumps(header).encode(), np.uint8)
    path.write_bytes(_packed({**arrays, "about": about}))
    with pytest.raises(UserError, match="another version"):
        load_atlas(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        load_atlas(str(tmp_path / "none.npz"))


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_files_that_unpack_too_large_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas_lib, "_MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("field.npy", bytes(2 << 20))
    with pytest.raises(UserError, match="unpacked"):
        load_atlas(str(tmp_path / "bomb.npz"))


def test_default_atlas_is_built_once(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = [default_font("DejaVuSans")]
    monkeypatch.setattr(font_files, "default_fonts", lambda: fonts)
    first = load_atlas("")
    assert set(first.characters) == set(PRESETS["latin"]) | {" "}
    written = sorted(p.name for p in (cache / "atlas").iterdir())
    assert len(written) == 2  # the atlas and its report, no leftovers

    def fail(*args: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(atlas_lib, "build_atlas", fail)
    start = time.perf_counter()
    second = load_atlas("")
    assert time.perf_counter() - start < 1
    assert second.digest == first.digest


def test_damaged_cache_is_built_anew(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = [default_font("DejaVuSansMono")]
    first, _ = atlas_lib.cached_atlas(fonts, "0123456789abc")
    (path,) = (cache / "atlas").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    again, _ = atlas_lib.cached_atlas(fonts, "0123456789abc")
    assert again.digest == first.digest
    other, _ = atlas_lib.cached_atlas(fonts, "0123456789abd")
    assert other.digest != first.digest
    assert len(list((cache / "atlas").glob("*.npz"))) == 2


def test_command_line_builds_an_atlas(
    cache: pathlib.Path, tmp_path: pathlib.Path, run_command: Callable
) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0broken")
    serif = default_font("DejaVuSerif").path + "\tdisplay|script"
    lines = ["# fonts", "  # of two files", serif, "broken.ttf"]
    listed = tmp_path / "fonts.txt"
    listed.write_text("\n".join([*lines, font_files.SEVEN_SEGMENT, ""]))
    out = tmp_path / "out.npz"
    code, printed, _ = run_command(
        atlas_lib.main, f"--fonts={listed}", "--charset=digits", f"--out={out}"
    )
    assert code == 0
    assert len(printed) == 1
    assert "2 faces" in printed[0]
    assert "11 characters" in printed[0]
    assert "1 fonts or faces skipped" in printed[0]
    file = load_atlas(str(out))
    assert file.characters == " 0123456789"
    serif = file.atlas.tags[file.faces.index("DejaVu Serif")]
    assert serif[TAGS.index("display")]
    assert serif[TAGS.index("script")]


def test_mistakes_on_the_command_line_end_in_one_line(
    tmp_path: pathlib.Path, mistake: Callable
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("font.ttf\tserf\n")
    out = f"--out={tmp_path / 'o.npz'}"
    assert "no fonts" in mistake(atlas_lib.main, f"--fonts={tmp_path / 'empty'}", out)
    assert "no such" in mistake(atlas_lib.main, f"--fonts={tmp_path / 'nothing'}", out)
    assert "'serif'" in mistake(atlas_lib.main, f"--fonts={tmp_path / 'list.txt'}", out)
    assert "latin94" in mistake(atlas_lib.main, "--charset=latin95", out)
    assert "folder does not exist" in mistake(atlas_lib.main, f"--out={tmp_path}/no/o.npz")
    assert "--out" in mistake(atlas_lib.main)


def test_importing_the_atlas_needs_no_jax() -> None:
    script = (
        "import sys, crnn_jax.synth.atlas;"
        "print([m for m in ('jax', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
