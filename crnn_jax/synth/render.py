"""Draws laid out texts: distance fields sampled pixel by pixel, then ink on ground.

A pixel finds its place in text space, the two characters nearest to it, and in their distance
fields how far the outline is, in pixels across the outline. Fill, weight, outline, glow and bevel
are functions of that one distance.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax.synth.atlas import EM, SPREAD
from crnn_jax.synth.beside import look
from crnn_jax.synth.contrast import survive
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.layout import Glyphs, strokes
from crnn_jax.synth.lettering import angles_differ, sizes_differ
from crnn_jax.synth.staging import settle, staged
from crnn_jax.synth.warp import Canvas, sometimes

LEAST_CONTRAST = 0.15  # of full scale: what a person still reads
_GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue (ITU-R BT.601)


class Distance(NamedTuple):
    """Distance to the nearest outline, positive inside, per pixel (B, H, W)."""

    em: Array
    pixel: Array  # em that one pixel covers across the outline
    slope_x: Array  # direction of the outline's inside in the picture, of length one
    slope_y: Array


def sample(
    field: Array, glyphs: Glyphs, u: Float[Array, "B H1 W1"], v: Float[Array, "B H1 W1"], knobs: Any
) -> Distance:
    """Returns the distance to the outlines of the characters, pixel by pixel.

    Args:
      field: packed distance fields, four neighbours to a word (see `assets`).
      glyphs: the texts.
      u, v: places of the pixels' corners, em.
      knobs: static, see `knobs`.
    """
    u, du_dx, du_dy = (settle(x) for x in _centres(u))
    v, dv_dx, dv_dy = (settle(x) for x in _centres(v))
    away: Array | float = 0.0
    if glyphs.beside is not None:
        u, away = (settle(x) for x in look(glyphs.beside, u))
    rows = jnp.arange(len(u), dtype=jnp.int32)[:, None, None]
    scale, start = (glyphs.bin_map[:, i][:, None, None] for i in (0, 1))
    bins = glyphs.bins.shape[1]
    place = jnp.clip(u * scale + start, 0, bins - 1).astype(jnp.int32)
    pair = settle(_take(glyphs.bins, rows * bins + place))
    found = []
    for slot in (pair & 0xFFFF, pair >> 16):
        em, slope_u, slope_v = glyph_distance(field, glyphs, slot, u, v, knobs)
        across_x = slope_u * du_dx + slope_v * dv_dx
        across_y = slope_u * du_dy + slope_v * dv_dy
        pixel = jnp.maximum(jnp.sqrt(across_x**2 + across_y**2), 1e-6)
        found.append(tuple(settle(x) for x in (em, pixel, across_x, across_y)))
    first, second = found
    # The fields are unions of shapes: the larger distance, in pixels, is the nearer ink.
    nearer = first[0] * second[1] >= second[0] * first[1]
    em, pixel, x, y = (jnp.where(nearer, a, b) for a, b in zip(first, second, strict=True))
    return Distance(settle(em - away), settle(pixel), x / pixel, y / pixel)


def _centres(corners: Array) -> tuple[Array, Array, Array]:
    """Returns a quantity at the centres of pixels, and its slopes, from its values at corners."""
    a, b = corners[:, :-1, :-1], corners[:, :-1, 1:]
    c, d = corners[:, 1:, :-1], corners[:, 1:, 1:]
    return (a + b + c + d) / 4, (b + d - a - c) / 2, (c + d - a - b) / 2


def _take(table: Array, index: Array) -> Array:
    """Returns elements of a table, counted through all of it; the numbers must be valid."""
    return table.reshape(-1).at[index].get(mode="promise_in_bounds")


def glyph_distance(field, glyphs, slot, u, v, knobs) -> tuple[Array, Array, Array]:
    """Returns the distance to one character per pixel, em, and its gradient in text space."""
    batch, columns = glyphs.x.shape
    rows = jnp.arange(batch, dtype=jnp.int32)[:, None, None]
    lines = glyphs.offset.shape[1] // columns
    slot = settle(rows * columns + slot)
    entry = slot
    if lines > 1:  # the pixel belongs to the line that is nearest
        spacing = glyphs.spacing[:, None, None]
        if knobs.rolling_share:
            v = v + _take(glyphs.roll, slot)
        line = jnp.clip(jnp.floor((v - glyphs.middle[:, None, None]) / spacing + 0.5), -1, 1)
        v = v - line * spacing
        # Tables of several lines have the lines of an image one after another.
        entry = settle(slot + (rows * (lines - 1) + 1 + line.astype(jnp.int32)) * columns)
    scale: Array | float = EM
    tilt: Array | float = 0.0
    x, y = _take(glyphs.x, slot), _take(glyphs.y, entry)
    turned = angles_differ(knobs)
    if turned or sizes_differ(knobs):
        scale = settle(_take(glyphs.scale, slot))
    if turned:
        tilt = settle(_take(glyphs.tilt, slot))
        x, y = x + tilt * v, y - tilt * u
    size = _take(glyphs.size, entry)
    tile_width, tile_height = size & 0xFFFF, size >> 16
    x = settle(jnp.clip(x + scale * u, 0.0, (tile_width - 1).astype(jnp.float32)))
    y = settle(jnp.clip(y + scale * v, 0.0, (tile_height - 1).astype(jnp.float32)))
    column, row = x.astype(jnp.int32), y.astype(jnp.int32)  # both are positive
    texel = _take(glyphs.offset, entry) + row * tile_width + column
    four = settle(field.at[settle(texel)].get(mode="promise_in_bounds"))
    right, down = x - column.astype(jnp.float32), y - row.astype(jnp.float32)
    a, b, c, d = (((four >> s) & 255).astype(jnp.float32) for s in (0, 8, 16, 24))
    top, bottom = a + right * (b - a), c + right * (d - c)
    value = top + down * (bottom - top)
    slope_x = (b - a) + down * ((d - c) - (b - a))
    slope_y = bottom - top
    # From texels of the field to em of text space; where the field is flat any direction serves.
    length = jnp.sqrt(slope_x**2 + slope_y**2)
    flat = length < 4.0
    slope_x = jnp.where(flat, math.sqrt(0.5), slope_x / jnp.maximum(length, 1.0))
    slope_y = jnp.where(flat, math.sqrt(0.5), slope_y / jnp.maximum(length, 1.0))
    if turned:
        unit = tilt / scale
        slope_x, slope_y = slope_x - unit * slope_y, slope_y + unit * slope_x
    em = (value * (1 / 255) - 0.5) * (2 * SPREAD) / scale
    return em, slope_x, slope_y


def coverage(distance: Distance, weight: Any = 0.0) -> Float[Array, "B H W"]:
    """Returns the share of every pixel that lies inside the outlines grown by `weight` em."""
    return jnp.clip(0.5 + (distance.em + weight) / distance.pixel, 0.0, 1.0)


def paint(
    distance: Distance, textures: Array, draws: Draws, knobs: Any, canvas: Canvas
) -> Float[Array, "B H W C"]:
    """Puts ink on ground: colours, contrast, textures, outline, shadow, glow and bevel.

    Args:
      distance: to the outlines.
      textures: bank of grounds, uint8 (N, S, S, C).
      draws: of the images.
      knobs: static, see `knobs`.
      canvas: the picture.
    """
    dark, light, is_dark, contrast = _tones(draws, knobs)
    ink_tone, ground_tone = (
        jnp.where(is_dark, a, b)[:, None, None] for a, b in ((dark, light), (light, dark))
    )
    half = contrast[:, None, None] / 2

    weight, outline = (width[:, None, None] for width in strokes(draws, knobs))
    fill = settle(coverage(distance, weight))
    ground = jnp.broadcast_to(ground_tone, fill.shape)
    ink = jnp.broadcast_to(ink_tone, fill.shape)
    sign = jnp.where(is_dark, 1.0, -1.0)[:, None, None]  # from ink to ground
    if knobs.gradient_share:
        amount = sometimes(draws, "gradient", knobs.gradient_share, knobs.gradient)
        ink = ink + sign * half * amount[:, None, None] * (1 + _ramp(draws, canvas))
    if knobs.ink_texture_share:
        worn = sometimes(draws, "ink texture", knobs.ink_texture_share, knobs.ink_texture)
        texture = take_texture(textures, draws, "ink", canvas)[..., 0]
        ink = ink + sign * half * worn[:, None, None] * (texture + 1)
    if knobs.bevel_share:
        ink = ink + half * settle(_bevel(distance, draws, knobs))
    colour_ground, colour_ink = ground[..., None], ink[..., None]
    if canvas.channels == 3:
        ground_chroma, ink_chroma = _chromas(draws, knobs)
        colour_ground, colour_ink = colour_ground + ground_chroma, colour_ink + ink_chroma
    if knobs.texture_share:
        strength = sometimes(draws, "texture", knobs.texture_share, knobs.texture)
        strength = (strength * contrast * 0.5)[:, None, None, None]
        texture = take_texture(textures, draws, "ground", canvas)
        # The ground may come nearer to the ink, but not by more than half of the contrast.
        colour_ground = colour_ground + strength * texture
    picture = colour_ground
    if knobs.shadow_share:
        opacity = sometimes(draws, "shadow", knobs.shadow_share, knobs.shadow)[:, None, None]
        shade = opacity * _cast(fill, draws, knobs, canvas)
        tone = jnp.where(draws.chance("shadow tone", 0.85), 0.0, 1.0)[:, None, None]
        # A shadow in the colour of the ink would write the text twice.
        tone = jnp.where(jnp.abs(tone - ink_tone) < 2 * half, (ground_tone + tone) / 2, tone)
        picture = _over(picture, tone[..., None], shade[..., None])
    if knobs.glow_share:
        reach = sometimes(draws, "glow", knobs.glow_share, knobs.glow)[:, None, None]
        halo = jnp.exp(jnp.minimum(distance.em + weight, 0.0) / jnp.maximum(reach, 1e-3))
        halo = settle(jnp.where(reach > 0, 0.7 * halo, 0.0))
        tone = jnp.clip(ground_tone + sign * half, 0.0, 1.0)  # away from the ink
        picture = _over(picture, tone[..., None], halo[..., None])
    if knobs.outline_share:
        picture, colour_ink = _outlined(
            picture,
            colour_ink,
            colour_ground,
            distance,
            (weight, outline),
            (sign, half),
            draws,
            knobs,
        )
    return jnp.clip(_over(picture, colour_ink, fill[..., None]), 0.0, 1.0)


def _over(below: Array, above: Array, opacity: Array) -> Array:
    return below + (above - below) * opacity


def _tones(draws: Draws, knobs: Any) -> tuple[Array, Array, Array, Array]:
    """Returns the darker and the lighter tone, which of them is the ink, and their distance."""
    contrast = jnp.maximum(draws.between("contrast", knobs.contrast), LEAST_CONTRAST)
    dark = draws.uniform("tone") * (1 - contrast)
    dark, light = survive(dark, dark + contrast, LEAST_CONTRAST, draws, knobs)
    return dark, light, draws.chance("dark", knobs.dark_share), light - dark


def _ramp(draws: Draws, canvas: Canvas) -> Float[Array, "B H W"]:
    """Returns a linear ramp from -1 to 1 over the picture, along a random direction."""
    angle = draws.uniform("ramp", 0.0, 2 * math.pi)[:, None, None]
    width = canvas.width if draws.widths is None else draws.widths[:, None, None]
    x = jnp.minimum((2 * jnp.arange(canvas.width)[None, None, :] + 1) / width - 1, 1.0)
    y = jnp.linspace(-1.0, 1.0, canvas.height)[None, :, None]
    cos, sin = settle(jnp.cos(angle)), settle(jnp.sin(angle))
    return (cos * x + sin * y) / (jnp.abs(cos) + jnp.abs(sin))


def _bevel(distance: Distance, draws: Draws, knobs: Any) -> Array:
    """Returns light and shade along the inner side of the outlines."""
    strength = sometimes(draws, "bevel", knobs.bevel_share, knobs.bevel)[:, None, None]
    angle = draws.uniform("light from", 0.0, 2 * math.pi)[:, None, None]
    cos, sin = settle(jnp.cos(angle)), settle(jnp.sin(angle))
    facing = distance.slope_x * cos + distance.slope_y * sin
    edge = jnp.exp(-((distance.em / 0.04) ** 2))
    return strength * edge * facing


def _chromas(draws: Draws, knobs: Any) -> tuple[Array, Array]:
    """Returns colours without luma, (B, 1, 1, 3) each, for ground and ink."""
    luma = jnp.array(_GREY)[None, :]
    chromas = []
    for name in ("ground", "ink"):
        colour = draws.uniform(f"{name} colour", -1.0, 1.0, 3)
        colour = colour - jnp.sum(colour * luma, axis=1, keepdims=True)
        amount = draws.between(f"{name} saturation", knobs.saturation)[:, None]
        chromas.append((colour * amount)[:, None, None, :])
    return chromas[0], chromas[1]


def take_texture(
    textures: Array, draws: Draws, name: str, canvas: Canvas
) -> Float[Array, "B H W C"]:
    """Returns a random crop of a random texture per image, its values spread over -1 to 1."""
    count, size, _, channels = textures.shape
    which = draws.integers(f"{name} texture", count)
    zoom = draws.log_uniform(f"{name} zoom", (0.35, 1.4)) * (32 / canvas.height)
    offsets = (draws.uniform(f"{name} {axis}", 0.0, float(size)) for axis in "xy")
    rows, columns = (
        settle(_reflected(offset, zoom, pixels, size))
        for offset, pixels in zip(offsets, (canvas.height, canvas.width), strict=True)
    )
    flat = ((which[:, None] * size + rows) * size)[:, :, None] + columns[:, None, :]
    flat = flat[..., None] * channels + jnp.arange(channels)[None, None, None, :]
    values = staged(which[0] >= 0, _take, textures, flat)
    return values.astype(jnp.float32) * (2 / 255) - 1


def _reflected(offset: Array, zoom: Array, pixels: int, size: int) -> Array:
    """Returns texel numbers (B, pixels) of a walk that turns round at the borders."""
    place = offset[:, None] + zoom[:, None] * jnp.arange(pixels)[None, :]
    turned = jnp.mod(place.astype(jnp.int32), 2 * size)
    return jnp.where(turned < size, turned, 2 * size - 1 - turned)


def _cast(fill: Array, draws: Draws, knobs: Any, canvas: Canvas) -> Array:
    """Returns the coverage of the shadow: a copy, or the side of a solid letter."""
    distance = draws.between("shadow offset", knobs.shadow_offset) * (canvas.height / 32)
    angle = draws.uniform("shadow angle", 0.0, 2 * math.pi)
    way = jnp.round(jnp.stack([distance * jnp.cos(angle), distance * jnp.sin(angle)]))
    far = math.ceil(knobs.shadow_offset[1] * canvas.height / 32) + 1
    if not knobs.solid_share:
        return _moved(fill, way, far)
    # What a letter covers as it goes there in three steps, each with all that was covered before.
    solid = draws.chosen("solid", knobs.solid_share)
    swept = fill
    steps = jnp.round(way / 4), jnp.trunc(way / 2)
    for step in steps:
        swept = jnp.maximum(swept, _moved(swept, step, far))
    last = jnp.where(solid, way - sum(steps), way)
    return _moved(jnp.where(solid[:, None, None], swept, fill), last, far)


def _moved(fill: Array, way: Float[Array, "2 B"], far: int) -> Array:
    """Returns coverage moved by whole pixels along x and y, at most `far`."""
    x, y = way.astype(jnp.int32)
    batch, height, width = fill.shape
    padded = jnp.pad(fill, ((0, 0), (far, far), (far, far)))
    rows = jnp.arange(height)[None, :] + far - y[:, None]
    columns = jnp.arange(width)[None, :] + far - x[:, None]
    rows = rows + (jnp.arange(batch, dtype=jnp.int32) * (height + 2 * far))[:, None]
    flat = settle(rows * (width + 2 * far))[:, :, None] + settle(columns)[:, None, :]
    return staged(rows[0, 0] >= 0, _take, padded, flat)


def _outlined(picture, ink, ground, distance, widths, contrast, draws, knobs):
    """Draws a line around the characters; hollow ones keep the ground inside."""
    sign, half = contrast
    weight, width = widths
    hollow = draws.chance("hollow", knobs.hollow_share)[:, None, None] & (width > 0)
    # The line is all that is seen of hollow characters: a pixel of it at least.
    drawn = jnp.where(hollow, jnp.maximum(width, distance.pixel), width)
    edge = settle(jnp.where(width > 0, coverage(distance, weight + drawn), 0.0))
    hollow = hollow[..., None]
    # Around filled characters the line is lighter or darker than the ground, away from the ink.
    line = jnp.clip(ground + (sign * half)[..., None], 0.0, 1.0)
    picture = _over(picture, jnp.where(hollow, ink, line), edge[..., None])
    return picture, jnp.where(hollow, ground, ink)
