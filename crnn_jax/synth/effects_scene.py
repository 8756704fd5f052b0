"""Things in the picture besides the text: ruled lines, strokes, blots, something in front."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import (
    Limits,
    Mask,
    Pictures,
    change,
    per_image,
    pixels,
    real_mean,
    real_widths,
)

_STROKES = 3  # across the text, at most
_FAR = 1e4  # pixels: where the absent sides of a rectangle are


def rules(images: Pictures, draws: Draws, share: float) -> Pictures:
    """Draws an underline, a box, lines at the edges or another ground beyond the edge of a sign.

    They keep near the borders, where there is little text.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        height, width = images.shape[1], real_widths(images, draws)
        kind = draws.integers("rules.kind", 4)  # underline, box, lines at the edges, sign
        inside = draws.uniform("rules.sides", 0.0, 0.08 * height, 4)  # distance from the borders
        shown = draws.chance("rules.shown", 0.6, 4) | (kind == 1)[:, None]
        shown = shown & ((kind != 2)[:, None] | jnp.array([[False, False, True, True]]))
        # Lines at the edges: at least the lower one; signs: at least the left edge.
        always = jnp.stack([kind == 3, kind < 0, kind < 0, kind == 2], axis=1)
        inside = jnp.where(shown | always, inside, -_FAR)
        left, right = inside[:, 0], width - inside[:, 1]
        top, bottom = inside[:, 2], height - inside[:, 3]

        under = kind == 0
        level = draws.uniform("rules.under", 0.86 * height, 0.97 * height)
        ends = draws.uniform("rules.ends", -0.3, 0.12, 2) * width[:, None]
        left, right = (
            jnp.where(under, ends[:, 0], left),
            jnp.where(under, width - ends[:, 1], right),
        )
        top, bottom = jnp.where(under, level, top), jnp.where(under, level, bottom)
        radius = draws.uniform("rules.radius", 0.0, 0.25 * height) * (kind % 2 == 1)
        angle = draws.uniform("rules.angle", -0.012, 0.012)

        y, x = _grid(images)
        middle = (width / 2)[:, None, None]
        y, x = _turned(y - height / 2, x - middle, angle)
        y, x = y + height / 2, x + middle
        outside = _rectangle(y, x, left, right, top, bottom, radius)
        thick = draws.uniform("rules.thick", *pixels(images, (0.5, 2.0)))[:, None, None]
        line = jnp.clip(thick / 2 + 0.5 - jnp.abs(outside), 0.0, jnp.minimum(thick, 1.0))
        region = jnp.clip(outside + 0.5, 0.0, 1.0)
        mask = jnp.where((kind == 3)[:, None, None], region, line)
        return _paint(images, mask, _visible(images, draws, "rules"))

    return change(images, draws, "rules", share, effect)


def strokes(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Draws one to three lines or arcs across the text.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: thickness, in pixels at a height of 32.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        height, width = images.shape[1], real_widths(images, draws)[:, None, None]
        count = 1 + draws.integers("strokes.count", _STROKES)
        y, x = _grid(images)
        for index in range(_STROKES):
            name = f"strokes.{index}"
            # A parabola through three points: at the left end, in the middle, at the right end.
            ends = draws.uniform(f"{name}.ends", 0.1 * height, 0.9 * height, 2)
            bend = draws.uniform(f"{name}.bend", -0.35 * height, 0.35 * height)
            bend = jnp.where(draws.chance(f"{name}.straight", 0.4), 0.0, bend)
            half = width / 2
            slope = (ends[:, 1] - ends[:, 0])[:, None, None] / width
            bend, middle = bend[:, None, None], ends.mean(axis=1)[:, None, None]
            along = (x - half) / half  # -1..1
            curve = middle + slope * (x - half) + bend * (1 - jnp.square(along))
            steep = slope - 2 * bend * along / half
            distance = jnp.abs(y - curve) * jax.lax.rsqrt(1 + jnp.square(steep))
            thick = draws.uniform(f"{name}.thick", *pixels(images, limits))[:, None, None]
            mask = jnp.clip(thick / 2 + 0.5 - distance, 0.0, jnp.minimum(thick, 1.0))
            cut = draws.uniform(f"{name}.cut", -0.4, 0.2, 2) * width[:, 0]
            mask = mask * jnp.clip(x - cut[:, :1, None], 0.0, 1.0)
            mask = mask * jnp.clip(width - cut[:, 1:, None] - x, 0.0, 1.0)
            mask = mask * (index < count)[:, None, None]
            images = _paint(images, mask, _visible(images, draws, name))
        return images

    return change(images, draws, "strokes", share, effect)


def stains(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Lays one or two soft blots over the picture, some of them darker towards their edge.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: opacity.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        mask = jnp.zeros(images.shape[:3])
        for index in range(2):
            name = f"stains.{index}"
            distance = _ellipse(images, draws, name, (0.15, 0.7))
            softness = draws.uniform(f"{name}.soft", 0.15, 0.8)[:, None, None]
            hollow = draws.uniform(f"{name}.hollow", -0.6, 0.6)[:, None, None]
            edge = jnp.clip((1 - distance) / softness + 0.5, 0.0, 1.0)
            ring = 1 - jax.nn.relu(hollow) * jnp.clip((1.1 - distance) / 0.5, 0.0, 1.0)
            blot = edge * edge * (3 - 2 * edge) * ring
            if index:
                blot = blot * draws.chance(f"{name}.shown", 0.4)[:, None, None]
            mask = jnp.maximum(mask, blot)
        opacity = draws.uniform("stains", *limits)[:, None, None]
        return _paint(images, mask * opacity, _visible(images, draws, "stains"))

    return change(images, draws, "stains", share, effect)


def occlusion(images: Pictures, draws: Draws, share: float, limits: Limits) -> Pictures:
    """Puts something small in front of the text: an ellipse or a rectangle, softly edged.

    Args:
      images: 0..1.
      draws: of the same rows.
      share: probability of the effect.
      limits: longer side, of the height of the picture.
    """

    def effect(images: Pictures, draws: Draws) -> Pictures:
        y, x = _somewhere(images, draws, "occlusion")
        side = draws.uniform("occlusion", *limits) * images.shape[1] / 2
        short = side * draws.uniform("occlusion.flat", 0.5, 1.0)
        round_ = jnp.where(draws.chance("occlusion.round", 0.5), 1.0, 0.2)
        outside = _rectangle(y, x, -side, side, -short, short, round_ * short)
        softness = draws.uniform("occlusion.soft", 1.0, 2.0)[:, None, None]
        mask = jnp.clip(0.5 - outside / softness, 0.0, 1.0)
        channels = images.shape[3]
        return _paint(images, mask, draws.uniform("occlusion.colour", 0.0, 1.0, channels))

    return change(images, draws, "occlusion", share, effect)


def _grid(images: Pictures) -> tuple[Array, Array]:
    """Returns the centres of the pixels: y (1, H, 1) and x (1, 1, W)."""
    _, height, width, _ = images.shape
    y = np.arange(height, dtype=np.float32)[None, :, None] + 0.5
    return jnp.asarray(y), jnp.asarray(np.arange(width, dtype=np.float32)[None, None, :] + 0.5)


def _turned(y: Array, x: Array, angle: Float[Array, " B"]) -> tuple[Mask, Mask]:
    """Returns y and x along axes that are turned."""
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    return cos * y - sin * x, cos * x + sin * y


def _somewhere(images: Pictures, draws: Draws, name: str) -> tuple[Mask, Mask]:
    """Returns y and x of the pixels from a place in the picture, along axes that are turned."""
    place = draws.uniform(f"{name}.place", 0.0, 1.0, 2)
    down, along = place[:, 0] * images.shape[1], place[:, 1] * real_widths(images, draws)
    y, x = _grid(images)
    angle = draws.uniform(f"{name}.angle", 0.0, math.pi)
    return _turned(y - down[:, None, None], x - along[:, None, None], angle)


def _rectangle(y: Mask, x: Mask, left: Any, right: Any, top: Any, bottom: Any, radius: Any) -> Mask:
    """Returns the distance to rectangles with rounded corners, negative inside."""
    left, right, top, bottom, radius = (
        side[:, None, None] for side in (left, right, top, bottom, radius)
    )
    beyond_x = jnp.maximum(left - x, x - right) + radius
    beyond_y = jnp.maximum(top - y, y - bottom) + radius
    corner = jnp.sqrt(jnp.square(jax.nn.relu(beyond_x)) + jnp.square(jax.nn.relu(beyond_y)))
    return corner + jnp.minimum(jnp.maximum(beyond_x, beyond_y), 0.0) - radius


def _ellipse(images: Pictures, draws: Draws, name: str, limits: Limits) -> Mask:
    """Returns the distance from the centre of random ellipses; 1 is their edge.

    Args:
      images: give the size.
      draws: of the same rows.
      name: of the draws.
      limits: semi-axes, of the height of the picture.
    """
    height = images.shape[1]
    axes = draws.uniform(f"{name}.axes", limits[0] * height, limits[1] * height, 2)
    y, x = _somewhere(images, draws, name)
    return jnp.sqrt(jnp.square(y / axes[:, :1, None]) + jnp.square(x / axes[:, 1:, None]))


def _visible(images: Pictures, draws: Draws, name: str) -> Float[Array, "B C"]:
    """Returns a colour that differs from the mean of the image: darker if it is light."""
    mean = real_mean(images, draws, (1, 2))[:, 0, 0]
    room = draws.uniform(f"{name}.contrast", 0.35, 0.95)[:, None]
    light = mean.mean(axis=1, keepdims=True)
    # Seldom the nearer end of the scale; then all the way.
    away = draws.chance(f"{name}.nearer", 0.15)[:, None] & (jnp.abs(light - 0.5) < 0.2)
    darker = (light > 0.5) != away
    colour = jnp.where(darker, mean * (1 - room), mean + (1 - mean) * room)
    if images.shape[3] > 1:
        colour = colour + draws.uniform(f"{name}.tint", -0.15, 0.15, images.shape[3])
    return jnp.clip(colour, 0.0, 1.0)


def _paint(images: Pictures, mask: Mask, colour: Float[Array, "B C"]) -> Pictures:
    """Covers the images with a colour where the mask is 1."""
    return images + mask[..., None] * (per_image(colour) - images)
