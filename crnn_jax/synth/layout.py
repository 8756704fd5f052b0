"""Where the characters of a text stand, and the map from pixels back to them.

Text space: em, x along the baseline, y downwards, the baseline of the first character at 0. A text
is laid out there, bent, sheared, rotated and tilted, and what comes out is framed by the picture.
All of it can be inverted in closed form, so a pixel finds its place in text space by arithmetic.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32

from crnn_jax.synth.assets import Faces
from crnn_jax.synth.atlas import EM, KERNING_UNITS
from crnn_jax.synth.beside import Beside, choose
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.lettering import jitter, letter
from crnn_jax.synth.staging import settle
from crnn_jax.synth.warp import Canvas, Frame, fit_frame, sometimes

_BINS = 256  # steps, for so many characters, of the table that finds the one at a place
_BINNED = 128
_MOST_SPACED = 6.0  # em between all characters of a text: longer ones would be too small to read
_MIN_EXTENT = 0.5  # em: a lone dot or dash is not blown up to the height of the picture


class Glyphs(NamedTuple):
    """The characters of every text as tiles of the distance field; L columns, R lines."""

    scale: Float[Any, "B L"]  # texels per em
    tilt: Float[Any, "B L"]  # texels per em, of the small rotation
    x: Float[Any, "B L"]  # texel = scale * u + tilt * v + x
    y: Float[Any, "B RL"]  # texel = scale * v - tilt * u + y
    offset: Int32[Any, "B RL"]  # of the tile in the field
    size: Int32[Any, "B RL"]  # width + 65536 * height of the tile
    roll: Float[Any, "B L"]  # em by which a counter's digit has turned
    spacing: Float[Any, " B"]  # em between lines; huge where there is one alone
    middle: Float[Any, " B"]  # v of the middle of the text
    bins: Int32[Any, "B bins"]  # character at a place + 65536 * its nearer neighbour
    bin_map: Float[Any, "B 2"]  # bin = u * bin_map[0] + bin_map[1]
    beside: Beside | None = None


def choose_faces(
    covered: Bool[Array, "F A"],
    glyphs: Int[Array, "B L"],
    lengths: Int[Array, " B"],
    draws: Draws,
    mixed_share: float,
) -> Int32[Array, "B L"]:
    """Returns a face for every character that has it; one per text unless faces are mixed.

    Args:
      covered: which faces may draw which characters; at least one has them all.
      glyphs, lengths: the texts.
      draws: of the images.
      mixed_share: probability that the characters of a text get faces of their own.
    """
    count, columns = covered.shape[0], glyphs.shape[1]
    used = jnp.arange(columns)[None, :] < lengths[:, None]
    has = covered.T[glyphs] | ~used[:, :, None]  # (B, L, F)
    whole = jnp.all(has, axis=1)
    scores = jnp.where(whole, draws.uniform("face", 0.0, 1.0, count), -1.0)
    face = jnp.argmax(scores, axis=1).astype(jnp.int32)[:, None]
    faces = jnp.broadcast_to(face, glyphs.shape)
    if mixed_share:
        other = draws.integers("mixed faces", count, columns)
        known = jnp.take_along_axis(has, other[:, :, None], axis=2)[:, :, 0]
        mixed = draws.chosen("mixed", mixed_share)[:, None]
        faces = jnp.where(mixed & known, other, faces)
    return faces


def strokes(draws: Draws, knobs: Any) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Returns by how much strokes are bolder, and the width of the line around them, em."""
    outline = sometimes(draws, "outline", knobs.outline_share, knobs.outline)
    return draws.between("weight", knobs.weight), outline


def lay_out(
    atlas: Faces,
    glyphs: Int[Array, "B L"],
    lengths: Int[Array, " B"],
    least_widths: Int[Array, " B"],
    draws: Draws,
    knobs: Any,
    canvas: Canvas,
) -> tuple[Glyphs, Frame]:
    """Places the characters of every text and frames the picture around their ink.

    Args:
      atlas: the faces.
      glyphs: characters as numbers of the atlas.
      lengths: characters per text, at least one of them with ink.
      least_widths: pixels that the labels need when the aspect is kept.
      draws: of the images.
      knobs: static, see `knobs`.
      canvas: the picture.
    """
    columns = glyphs.shape[1]
    used = jnp.arange(columns)[None, :] < lengths[:, None]
    faces = choose_faces(atlas.covered, glyphs, lengths, draws, knobs.mixed_faces_share)
    faces = settle(faces)
    entry = settle(faces * atlas.covered.shape[1] + glyphs)
    ink = settle(atlas.ink[entry])
    has_ink = used & (ink[..., 2] > ink[..., 0])

    size, y, angle = letter(has_ink, atlas.lines[faces[:, 0]][:, 1], draws, knobs)
    x = settle(_pens(atlas, faces, glyphs, lengths, entry, size, draws, knobs))
    grown = jnp.maximum(sum(strokes(draws, knobs)), 0.0)[:, None]
    left, top = x + size * ink[..., 0] - grown, y + size * ink[..., 1] - grown
    right, bottom = x + size * ink[..., 2] + grown, y + size * ink[..., 3] + grown

    right = jnp.where(has_ink, right, x)  # a space stands where the pen is
    far = jnp.where(has_ink, 0.0, math.inf)
    start, end = jnp.min(left + far, axis=1), jnp.max(right - far, axis=1)
    upper, lower = jnp.min(top + far, axis=1), jnp.max(bottom - far, axis=1)
    upper, lower = _line_box(atlas, faces[:, 0], upper, lower, draws, knobs.line_box_share)
    centre = jnp.stack([(start + end) / 2, (upper + lower) / 2], axis=1)

    start, end, upper, lower = (settle(edge) for edge in (start, end, upper, lower))
    # The outline of the ink: corners of every character's box, and of the line at its ends.
    corners_u = jnp.stack([left, left, right, right], axis=2)
    corners_v = jnp.stack([top, bottom, top, bottom], axis=2)
    first, last, beside = start, end, None
    if knobs.beside_share:
        beside, (first, last) = choose((left, right), has_ink, (start, end), draws, knobs)
    ends_u = jnp.stack([first, first, last, last, centre[:, 0], centre[:, 0]], axis=1)
    ends_v = jnp.stack([upper, lower] * 3, axis=1)
    here = has_ink[:, :, None]
    points_u = jnp.where(here, corners_u, start[:, None, None]).reshape(len(start), -1)
    points_v = jnp.where(here, corners_v, upper[:, None, None]).reshape(len(start), -1)
    points = (
        jnp.concatenate([points_u, ends_u], axis=1),
        jnp.concatenate([points_v, ends_v], axis=1),
    )
    spacing = _spacing(atlas, faces[:, 0], draws, knobs)
    extents = jnp.stack([end - start, lower - upper], axis=1)
    frame = fit_frame(points, extents, centre, least_widths, draws, knobs, canvas)
    lines, roll = _lines(atlas, glyphs, lengths, spacing, draws, knobs)
    bins, bin_map = _bins(left, right, has_ink, start, end)
    scale, tilt, tile_x, tile_y, offset, tile_size = _tiles(
        atlas, faces, lines, (x, y, size, angle), ink
    )
    laid = Glyphs(
        scale=scale,
        tilt=tilt,
        x=tile_x,
        y=tile_y,
        offset=offset,
        size=tile_size,
        roll=roll,
        spacing=spacing,
        middle=centre[:, 1],
        bins=bins,
        bin_map=bin_map,
        beside=beside,
    )
    return laid, frame


def _pens(atlas, faces, glyphs, lengths, entry, size, draws, knobs) -> Float[Array, "B L"]:
    """Returns where the pen stands before each character."""
    count = atlas.covered.shape[1]
    pairs = entry[:, :-1] * count + glyphs[:, 1:]
    kern = atlas.kerning[pairs].astype(jnp.float32) / KERNING_UNITS
    same = faces[:, :-1] == faces[:, 1:]
    advance = atlas.advance[entry] * size
    gaps = draws.between("tracking", knobs.tracking)
    if knobs.spaced_share:
        wide = jnp.minimum(draws.between("spaced", knobs.spaced), _MOST_SPACED / lengths)
        gaps = jnp.where(draws.chosen("spaced", knobs.spaced_share), wide, gaps)
    gaps = gaps[:, None] + jitter(draws, "spacing", knobs.spacing_jitter, glyphs.shape[1])
    # Characters may touch, but never swap places.
    moved = jnp.maximum(advance + gaps, 0.5 * advance)[:, :-1] + jnp.where(same, kern, 0.0)
    # A sum over all characters before; a product compiles sooner than a scan.
    before = jnp.triu(jnp.ones((glyphs.shape[1] - 1, glyphs.shape[1])), 1)
    return jnp.matmul(moved, before, precision="highest")


def _line_box(atlas, face, upper, lower, draws, share) -> tuple[Array, Array]:
    """Returns the top and bottom of what the picture has to hold."""
    ascent, _, x_height, descent = (atlas.lines[face][:, i] for i in range(4))
    if share:
        roomy = draws.chance("line box", share)
        upper = jnp.where(roomy, jnp.minimum(upper, -ascent), upper)
        lower = jnp.where(roomy, jnp.maximum(lower, descent), lower)
    small = lower - upper < _MIN_EXTENT
    upper = jnp.where(small, jnp.minimum(upper, -x_height), upper)
    return upper, jnp.where(small, jnp.maximum(lower, 0.0), lower)


def _spacing(atlas, face, draws, knobs) -> Float[Array, " B"]:
    """Returns the distance of the lines above and below, in em; huge where there are none."""
    spacing = jnp.full(face.shape, 1e6)
    if knobs.neighbours_share:
        shown = draws.chosen("neighbours", knobs.neighbours_share)
        ascent, descent = atlas.lines[face][:, 0], atlas.lines[face][:, 3]
        gap = draws.between("neighbours", knobs.neighbours) * (ascent + descent)
        spacing = jnp.where(shown, gap, spacing)
    if knobs.rolling_share:
        cap = atlas.lines[face][:, 1]
        spacing = jnp.where(draws.chosen("rolling", knobs.rolling_share), 1.35 * cap, spacing)
    return spacing


def _lines(atlas, glyphs, lengths, spacing, draws, knobs) -> tuple[list[Array], Array]:
    """Returns the characters above, in and below the text, and how far counters have turned."""
    zero = jnp.zeros(glyphs.shape)
    if not knobs.neighbours_share and not knobs.rolling_share:
        return [glyphs], zero
    if not knobs.rolling_share:
        return [_rotated(glyphs, lengths, 1), glyphs, _rotated(glyphs, lengths, 2)], zero
    # Every wheel of a counter shows its next digit below; the last one is on its way there.
    columns = jnp.arange(glyphs.shape[1])[None, :]
    last = columns == lengths[:, None] - 1
    turned = draws.between("rolling", knobs.rolling) * jnp.where(spacing < 1e5, spacing, 0.0)
    lines = [atlas.preceding[glyphs], glyphs, atlas.following[glyphs]]
    return lines, jnp.where(last, turned[:, None], 0.0)


def _rotated(glyphs, lengths, by: int) -> Int[Array, "B L"]:
    """Returns every text begun at another of its characters."""
    columns = jnp.arange(glyphs.shape[1])[None, :]
    return jnp.take_along_axis(glyphs, (columns + by) % lengths[:, None], axis=1)


def _tiles(atlas, faces, lines, placed, ink) -> tuple[Array, ...]:
    """Returns the maps from text space to texels and the tiles of all lines, as in `Glyphs`."""
    x, y, size, angle = placed
    count = atlas.covered.shape[1]
    scale = EM / size
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Characters turn about the middle of their ink.
    middle_u = x + size * (ink[..., 0] + ink[..., 2]) / 2
    middle_v = y + size * (ink[..., 1] + ink[..., 3]) / 2
    shift_u = (1 - cos) * middle_u - sin * middle_v
    shift_v = (1 - cos) * middle_v + sin * middle_u
    ys, offsets, sizes = [], [], []
    left = EM * atlas.left[faces * count + lines[len(lines) // 2]]
    for line in lines:
        entry = faces * count + line
        ys.append(scale * (shift_v - y) - EM * atlas.top[entry])
        offsets.append(atlas.offset[entry])
        sizes.append(atlas.size[entry])
    columns = (jnp.concatenate(parts, axis=1) for parts in (ys, offsets, sizes))
    return scale * cos, scale * sin, scale * (shift_u - x) - left, *columns


def _bins(left, right, has_ink, start, end) -> tuple[Int32[Array, "B bins"], Float[Array, "B 2"]]:
    """Returns a table over places along the baseline: the character there and its nearer neighbour.

    Where characters overlap, as slanted and kerned ones do, a pixel looks at both.
    """
    start, extent = start - 0.25, end - start + 0.5
    bins = _BINS * math.ceil(left.shape[1] / _BINNED)
    place = start[:, None] + extent[:, None] * (jnp.arange(bins)[None, :] + 0.5) / bins
    # A space has no ink and no place: the gap belongs to the characters at its sides.
    far = jnp.where(has_ink, 0.0, jnp.inf)
    middles = (left + right) / 2 + far
    gaps = (jnp.pad(right[:, :-1], ((0, 0), (1, 0))) + left) / 2 + far
    numbers = jnp.arange(left.shape[1], dtype=jnp.int32)[:, None, None]

    def last_before(limits: Array) -> Array:
        """Returns the number of the last limit (B, L) at or before every place, or -1."""
        passed = place[None, :, :] >= limits.T[:, :, None]
        return jnp.max(jnp.where(passed, numbers, -1), axis=0)

    slot = jnp.maximum(last_before(gaps), 0)
    passed = last_before(middles) + 1
    last = jnp.max(jnp.where(has_ink, numbers[:, 0].T, 0), axis=1, keepdims=True)
    other = jnp.clip(jnp.where(passed > slot, slot + 1, slot - 1), 0, last)
    scale = bins / extent
    return slot + 65536 * other, jnp.stack([scale, -start * scale], axis=1)
