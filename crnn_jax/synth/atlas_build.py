"""Builds a glyph atlas: draws every character of every face and joins the results."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from crnn_jax.charset import PRESETS
from crnn_jax.errors import UserError
from crnn_jax.synth import distance, faces, font_files, glyph_check, kerning, styles
from crnn_jax.synth.atlas import EM, KERNING_UNITS, TAGS, Atlas, AtlasFile, Report, named

_LOG = logging.getLogger("crnn_jax")
_FEWEST = 10  # characters that make a face worth its room
_SAME_PLACE, _SAME_GREY = 0.01, 2.0  # em, and of 255: how far copies of a face may differ
_WIDEST = 2  # ems from one pen position to the next


class _FaceArrays(NamedTuple):
    """What one face contributes; arrays as in `Atlas` without the leading axis."""

    path: str
    name: str
    fields: list[np.ndarray | None]
    measures: np.ndarray  # float64 [A, 7]: left, top, advance, ink
    kerning: np.ndarray
    tags: np.ndarray
    shapes: glyph_check.Shapes

    def resembles(self, other: _FaceArrays) -> bool:
        """Whether another face is this one, perhaps under another name or in another format."""
        mine, its = self.shapes, other.shapes
        if (mine.drawn != its.drawn).any() or np.abs(mine.boxes - its.boxes).max() > _SAME_PLACE:
            return False
        difference = np.abs(mine.images.astype(np.int16) - its.images)[mine.drawn]
        return bool(difference.size == 0 or difference.mean() < _SAME_GREY)

    def only(self, right: np.ndarray) -> _FaceArrays:
        """Returns the face without the glyphs that are not right."""
        fields = [f if ok else None for f, ok in zip(self.fields, right, strict=True)]
        gone = np.array([f is not None for f in self.fields]) & ~right
        measures = np.where(gone[:, None], 0, self.measures)
        kern = np.where(gone[:, None] | gone, np.int8(0), self.kerning)
        return self._replace(fields=fields, measures=measures, kerning=kern)


def build_atlas(
    fonts: Sequence[font_files.FontFile], characters: str, progress: bool = False
) -> tuple[AtlasFile, Report]:
    """Draws characters in all faces of some font files.

    Args:
      fonts: as of `font_files.find_fonts`; files that cannot be used are named in the log.
      characters: what to draw; the space is added. Those that no face has are left out, and so
        are those that the most complete face lacks.
      progress: whether to show a progress bar.

    Raises:
      UserError: when no face is left.
    """
    wanted = "".join(sorted({" ", *characters}))
    drawn: list[_FaceArrays] = []
    skipped: list[tuple[str, str]] = []
    for font in tqdm(fonts, "drawing fonts", unit=" files", disable=None if progress else True):
        path = font.path
        for face in faces.open_faces(path):
            if isinstance(face, faces.FaceError):
                _skip(skipped, path, str(face))
                continue
            try:
                arrays = _draw_face(face, font, wanted)
            except Exception as error:  # fontTools reads tables when they are needed
                _skip(skipped, path, f"{face.name} is damaged ({error!r:.80})")
                continue
            same = next(filter(arrays.resembles, drawn), None)
            if same is None:
                drawn.append(arrays)
            else:
                _skip(skipped, path, f"{face.name} is the same as {same.name}", quiet=True)
    kept, refused = [], 0
    before = [arrays for arrays in drawn if _enough(arrays, wanted, skipped)]
    for arrays, after in zip(before, _checked(before, wanted), strict=True):
        wrong = sum(map(_differ, arrays.fields, after.fields))
        if _enough(after, wanted, skipped):
            kept.append(after)
            refused += wrong
    if not kept:
        raise UserError(
            f"no face of {len(fonts)} font files draws enough of the characters asked for: "
            "give other fonts"
        )
    result, dropped = _assemble(sorted(kept, key=lambda a: (a.name, a.measures.tobytes())), wanted)
    return result, Report(tuple(skipped), dropped, refused)


def _differ(before: np.ndarray | None, after: np.ndarray | None) -> bool:
    return (before is None) != (after is None)


def _skip(skipped: list[tuple[str, str]], path: str, reason: str, quiet: bool = False) -> None:
    skipped.append((path, reason))
    _LOG.log(logging.DEBUG if quiet else logging.WARNING, "%s skipped: %s", path, reason)


def _enough(face: _FaceArrays, wanted: str, skipped: list[tuple[str, str]]) -> bool:
    """Whether a face has enough characters to be worth its room; says so where it has not."""
    count = sum(field is not None for field in face.fields)
    if count >= min(_FEWEST, len(wanted) - 1):
        return True
    _skip(skipped, face.path, f"{face.name} draws {count} of the characters right")
    return False


def _checked(built: list[_FaceArrays], wanted: str) -> list[_FaceArrays]:
    """Returns the faces without glyphs that show another character."""
    trusted = {font.path for font in font_files.default_fonts()}
    judged = [i for i, arrays in enumerate(built) if arrays.path not in trusted]
    if not judged:
        return built
    characters = "".join(sorted({*wanted, *PRESETS["latin"]}))
    references = _reference_shapes(tuple(font_files.default_fonts()), characters)
    rows = np.array([characters.index(c) for c in wanted])
    candidates = [built[i].shapes.spread(rows, len(characters)) for i in judged]
    right = glyph_check.right_glyphs(candidates, references, characters)
    result = list(built)
    for i, of_face in zip(judged, right, strict=True):
        result[i] = built[i].only(of_face[rows])
    return result


@functools.lru_cache(maxsize=1)
def _reference_shapes(
    fonts: tuple[font_files.FontFile, ...], characters: str
) -> list[glyph_check.Shapes]:
    """Returns the faces that others are compared with; drawn once per process."""
    opened = (face for font in fonts for face in faces.open_faces(font.path))
    return [_draw_shapes(face, characters) for face in opened if isinstance(face, faces.Face)]


def _draw_shapes(face: faces.Face, characters: str) -> glyph_check.Shapes:
    """Draws a face for comparison alone."""
    shapes = glyph_check.Shapes.empty(face.name, len(characters))
    for i, char in enumerate(characters):
        if drawing := face.draw(char):
            shapes.add(i, *drawing)
    return shapes


def _draw_face(face: faces.Face, font: font_files.FontFile, characters: str) -> _FaceArrays:
    """Returns what a face contributes."""
    measures = np.zeros((len(characters), 7))
    fields: list[np.ndarray | None] = [None] * len(characters)
    shapes = glyph_check.Shapes.empty(face.name, len(characters))
    for i, char in enumerate(characters):
        drawing = face.draw(char)
        if drawing is None or not 0 <= face.advance(char) <= _WIDEST:
            continue
        pixels, left, top = drawing
        shapes.add(i, pixels, left, top)
        tile = distance.distance_tile(pixels, left, top)
        fields[i] = tile.field
        ink = np.array([left, top, left + pixels.shape[1], top + pixels.shape[0]]) / faces.PIXELS
        first = (np.array([tile.left, tile.top]) + 0.5) / EM
        measures[i] = [*first, face.advance(char), *ink]
    space = characters.index(" ")
    measures[space, 2] = face.advance(" ") if face.glyph(" ") else 0
    if not 0.05 <= measures[space, 2] <= _WIDEST:
        measures[space, 2] = 0.28
    used = [
        face.glyph(char) if field is not None or char == " " else None
        for char, field in zip(characters, fields, strict=True)
    ]
    kern = kerning.kerning(face.font, used) / face.units * KERNING_UNITS
    tags = styles.style_tags(face, font.tags)
    return _FaceArrays(
        font.path,
        face.name,
        fields,
        measures,
        np.rint(np.clip(kern, -127, 127)).astype(np.int8),
        np.array([tag in tags for tag in TAGS]),
        shapes,
    )


def _lines(characters: str, ink: np.ndarray) -> np.ndarray:
    """Measures ascent, cap height, x-height and descent on letters; what lacks them is guessed."""

    def measure(letters: str, side: int) -> float | None:
        sign = -1 if side == 1 else 1
        values = [
            sign * ink[characters.index(c), side]
            for c in letters
            if c in characters and ink[characters.index(c)].any()
        ]
        return float(np.median(values)) if values else None

    cap = measure("HEITX", 1) or measure("0123456789", 1) or measure("bdhkl", 1)
    cap = cap if cap and cap > 0 else float(max(-ink[:, 1].min(), 0.1))
    x_height = measure("xzvuwn", 1) or measure("aceosr", 1)
    ascent = measure("bdhkl", 1)
    descent = measure("pqgyj", 3)
    lines = (
        ascent if ascent and ascent > 0 else cap,
        cap,
        x_height if x_height and x_height > 0 else 0.7 * cap,
        descent if descent and descent > 0 else 0.3 * cap,
    )
    return np.array(lines, np.float32)


def _assemble(built: list[_FaceArrays], wanted: str) -> tuple[AtlasFile, str]:
    """Joins faces; drops the characters that the most complete face lacks."""
    has = np.array([[field is not None for field in a.fields] for a in built])
    has[:, wanted.index(" ")] = True
    best = int(has.sum(1).argmax())
    keep = np.flatnonzero(has[best])
    none = "".join(c for i, c in enumerate(wanted) if not has[:, i].any())
    if none:
        _LOG.warning("no face has %s: left out", _shown(none))
    some = "".join(c for i, c in enumerate(wanted) if has[:, i].any() and not has[best, i])
    if some:
        _LOG.warning(
            "no face has all characters: those of %s are kept, %s are left out",
            built[best].name, _shown(some),
        )  # fmt: skip
    characters = "".join(wanted[i] for i in keep)
    covered = has[:, keep]
    empty = np.zeros((1, 1), np.uint8)
    tiles = [[f if f is not None else empty for f in (a.fields[i] for i in keep)] for a in built]
    shapes = np.array([[tile.shape for tile in row] for row in tiles], np.int32)
    sizes = np.where(covered, shapes.prod(-1), 0)
    sizes[:, characters.index(" ")] = 0
    # The empty tile comes first and serves all that have none.
    ends = 1 + sizes.reshape(-1).cumsum()
    offset = np.where(sizes > 0, (ends - sizes.reshape(-1)).reshape(sizes.shape), 0)
    tail = np.zeros(1 + int(shapes[..., 1].max()), np.uint8)
    drawn = [t.reshape(-1) for row, s in zip(tiles, sizes, strict=True)
             for t, size in zip(row, s, strict=True) if size]  # fmt: skip
    measures = np.stack([a.measures[keep] for a in built]).astype(np.float32)
    atlas = Atlas(
        field=np.concatenate([empty.reshape(-1), *drawn, tail]),
        offset=offset.astype(np.int32),
        width=shapes[..., 1],
        height=shapes[..., 0],
        left=measures[..., 0],
        top=measures[..., 1],
        advance=measures[..., 2],
        ink=measures[..., 3:],
        kerning=np.stack([a.kerning[np.ix_(keep, keep)] for a in built]),
        covered=covered,
        lines=np.stack([_lines(wanted, a.measures[:, 3:]) for a in built]),
        tags=np.stack([a.tags for a in built]),
    )
    atlas = Atlas(*(np.ascontiguousarray(value) for value in atlas))
    names = _unique([a.name for a in built])
    return named(atlas, characters, names), none + some


def _shown(characters: str) -> str:
    listed = " ".join(characters[:40])
    return f"{len(characters)} characters ({listed}{' ...' if len(characters) > 40 else ''})"


def _unique(names: list[str]) -> tuple[str, ...]:
    """Numbers the names that occur more than once."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return tuple(unique)
