"""The map between the picture and text space: bends, rotation, perspective, framing.

Forward, text space (u, v) in em: wave, arc, then rotation, shear and stretch, then perspective;
the outline of the ink so mapped, with margins, is the picture. `locate` goes back, pixel by pixel.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import some_rows
from crnn_jax.synth.staging import settle

_MAX_CURVATURE = 0.35  # 1 / em: sharper arcs squeeze the feet of the characters together
_MIN_CURVATURE = 1e-3  # below it the formulas lose digits; 10 em rise by 0.01 em
_WIDEST_ARC = math.radians(160)  # characters at the ends of a wider one would lie on their sides
_STEEPEST = 1.2  # tangent of half the angle from the middle of an arc: 100 degrees to either side
_MAX_RISE = 0.5  # of the line's height: a long line turned further would be a thin diagonal
_ELASTIC_CELL = 12  # pixels of 32 between the knots of the elastic displacement


class Canvas(NamedTuple):
    """The picture to fill; static.

    Attributes:
      height, width: pixels.
      channels: 1 grey, 3 colour.
      keep: whether the aspect of the text decides the real width, `width` at most.
      min_width: pixels of the narrowest picture, when the aspect is kept.
    """

    height: int
    width: int
    channels: int = 1
    keep: bool = False
    min_width: int = 16


class Frame(NamedTuple):
    """The map from the picture to text space, per image."""

    origin: Float[Any, "B 2"]  # corner of the picture in the plane of the mapped text
    step: Float[Any, "B 2"]  # of one pixel there
    tilt: Float[Any, "B 2"]  # perspective: r = q / (1 + tilt . q)
    linear: Float[Any, "B 4"]  # stretch, shear and rotation, by rows: q = linear p
    curvature: Float[Any, " B"]  # 1 / em; 0 is straight
    wave: Float[Any, "B 3"]  # amplitude (em), frequency (rad / em), phase
    centre: Float[Any, "B 2"]  # of the text, about which it is bent
    widths: Int32[Any, " B"]  # real pixels


def sometimes(draws: Draws, name: str, share: float, limits: tuple[float, float]) -> Any:
    """Returns a number per image from a range where an effect is on, else 0."""
    if not share:
        return jnp.zeros(draws.seeds.shape[:1])
    return jnp.where(draws.chosen(name, share), draws.between(name, limits), 0.0)


def _columns(values: Array) -> tuple[Array, ...]:
    """Returns the columns of (B, n) as n arrays of (B, 1), to broadcast over points."""
    return tuple(values[:, i : i + 1] for i in range(values.shape[1]))


def _bend(frame: Frame, u: Array, v: Array, knobs: Any) -> tuple[Array, Array]:
    """Maps points (B, N) of text space by wave and arc; the centre becomes the origin."""
    centre_u, centre_v = _columns(frame.centre)
    x, y = u - centre_u, v - centre_v
    if knobs.wave_share:
        amplitude, frequency, phase = _columns(frame.wave)
        y = y + amplitude * jnp.sin(frequency * x + phase)
    if knobs.arc_share:
        k = frame.curvature[:, None]
        safe = jnp.where(k == 0, 1.0, k)
        radius = 1 / safe - y
        angle = safe * x
        x = jnp.where(k == 0, x, radius * jnp.sin(angle))
        y = jnp.where(k == 0, y, 1 / safe - radius * jnp.cos(angle))
    return x, y


def _unbend(frame: Frame, x: Array, y: Array, knobs: Any) -> tuple[Array, Array]:
    """The inverse of `_bend`."""
    if knobs.arc_share:
        k = frame.curvature[:, None]
        safe = jnp.where(k == 0, 1.0, k)
        across, along = safe * x, 1 - safe * y
        e = across * across - 2 * safe * y + (safe * y) ** 2
        radius = jnp.sqrt(jnp.maximum(1 + e, 0.0))
        # The tangent of half the angle. Beyond the text the circle turns back: stop before.
        half = jnp.clip(across / jnp.maximum(radius + along, 1e-6), -_STEEPEST, _STEEPEST)
        x = jnp.where(k == 0, x, 2 * _arctan(half) / safe)
        # 1 - sqrt(1 + e) without the loss of digits for small e.
        y = jnp.where(k == 0, y, -e / (1 + radius) / safe)
    if knobs.wave_share:
        amplitude, frequency, phase = _columns(frame.wave)
        y = y - amplitude * jnp.sin(frequency * x + phase)
    centre_u, centre_v = _columns(frame.centre)
    return x + centre_u, y + centre_v


def _arctan(t: Array) -> Array:
    """Returns arctan within 2e-6 for |t| <= 1, 2e-3 to _STEEPEST; faster than the library's."""
    s = t * t
    return t * (
        0.99997726
        + s
        * (-0.33262347 + s * (0.19354346 + s * (-0.11643287 + s * (0.05265332 - s * 0.01172120))))
    )


def fit_frame(
    points: tuple[Float[Array, "B N"], Float[Array, "B N"]],
    extents: Float[Array, "B 2"],
    centre: Float[Array, "B 2"],
    least_widths: Int32[Array, " B"],
    draws: Draws,
    knobs: Any,
    canvas: Canvas,
    widths: Int32[Array, " B"] | None = None,
) -> Frame:
    """Draws the bends and frames the picture around what becomes of the points.

    Args:
      points: u and v of the outline of the ink, em.
      extents: width and height of the ink, em.
      centre: of the ink.
      least_widths: pixels that the labels need when the aspect is kept.
      draws: of the images.
      knobs: static, see `knobs`.
      canvas: the picture.
      widths: real pixels, where they are given and not to be found.
    """
    size = len(extents)
    length, height = extents[:, 0], extents[:, 1]
    steepest = jnp.arctan(_MAX_RISE * height / length)
    angle = _angles(draws, "rotation", knobs.rotation_share, knobs.rotation, steepest)
    slant = jnp.tan(jnp.deg2rad(sometimes(draws, "slant", knobs.slant_share, knobs.slant)))
    stretch = draws.log_uniform("stretch", knobs.stretch)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # rotation @ [[stretch, -slant], [0, 1]]: text leans to the right for positive slants
    linear = jnp.stack(
        [cos * stretch, -cos * slant - sin, sin * stretch, cos - sin * slant], axis=1
    )
    widest = jnp.minimum(_MAX_CURVATURE * length, _WIDEST_ARC)
    curvature = _angles(draws, "arc", knobs.arc_share, knobs.arc, widest) / length
    curvature = jnp.where(jnp.abs(curvature) < _MIN_CURVATURE, 0.0, curvature)
    wave = jnp.stack(
        [
            sometimes(draws, "wave", knobs.wave_share, knobs.wave),
            draws.uniform("wave length", 0.6, 1.6) * (2 * math.pi) / jnp.maximum(length, 2.5),
            draws.uniform("wave phase", 0.0, 2 * math.pi),
        ],
        axis=1,
    )
    # Perspective along a direction that is mostly that of the line; in units of half extents.
    amount = sometimes(draws, "perspective", knobs.perspective_share, knobs.perspective)
    amount = amount / (2 - amount)
    direction = draws.uniform("perspective direction", 0.0, 2 * math.pi)
    tilt = jnp.stack(
        [
            amount * jnp.cos(direction) / (0.5 * length * stretch),
            0.5 * amount * jnp.sin(direction) / (0.5 * height),
        ],
        axis=1,
    )
    zeros = jnp.zeros((size, 2))
    frame = Frame(zeros, zeros, tilt, linear, curvature, wave, centre, least_widths)

    x, y = _bend(frame, *points, knobs)
    a, b, c, d = _columns(linear)
    x, y = a * x + b * y, c * x + d * y
    if knobs.perspective_share:
        tilt_x, tilt_y = _columns(tilt)
        # Arcs and rotation may reach beyond the extents that the tilt was scaled to.
        depth = jnp.maximum(1 + tilt_x * x + tilt_y * y, 0.3)
        x, y = x / depth, y / depth
    low = jnp.stack([jnp.min(x, axis=1), jnp.min(y, axis=1)], axis=1)
    high = jnp.stack([jnp.max(x, axis=1), jnp.max(y, axis=1)], axis=1)
    return _add_margins(frame, low, high, least_widths, draws, knobs, canvas, widths)


def _angles(
    draws: Draws, name: str, share: float, limits: tuple[float, float], most: Array
) -> Array:
    """Returns radians from a range of degrees; where it is wider than `most`, all of it shrinks."""
    widest = math.radians(max(map(abs, limits))) or 1.0
    return jnp.deg2rad(sometimes(draws, name, share, limits)) * jnp.minimum(1.0, most / widest)


def _add_margins(frame, low, high, least_widths, draws, knobs, canvas, widths) -> Frame:
    """Sets the picture's corner, pixel size and real width."""
    above, below = (draws.between(f"margin {side}", knobs.margin_y) for side in ("top", "bottom"))
    before, after = (draws.between(f"margin {side}", knobs.margin_x) for side in ("left", "right"))
    box_width, box_height = high[:, 0] - low[:, 0], high[:, 1] - low[:, 1]
    height = box_height / (1 - above - below)
    width = box_width + (before + after) * height
    natural = width / height * canvas.height
    if widths is not None:
        pixels = widths.astype(jnp.float32)
    elif canvas.keep:
        least = jnp.maximum(least_widths, canvas.min_width).astype(jnp.float32)
        pixels = jnp.clip(jnp.round(natural), least, float(canvas.width))
    else:
        pixels = jnp.full(natural.shape, float(canvas.width))
    step = jnp.stack([width / pixels, height / canvas.height], axis=1)
    origin = jnp.stack([low[:, 0] - before * height, low[:, 1] - above * height], axis=1)
    return frame._replace(origin=origin, step=step, widths=pixels.astype(jnp.int32))


def locate(
    frame: Frame, draws: Draws, knobs: Any, canvas: Canvas
) -> tuple[Float[Array, "B H1 W1"], Float[Array, "B H1 W1"]]:
    """Returns the place of every pixel's corners in text space, em: H + 1 rows, W + 1 columns."""
    corners = canvas._replace(height=canvas.height + 1, width=canvas.width + 1)
    rows = jnp.arange(corners.height, dtype=jnp.float32)[None, :, None]
    columns = jnp.arange(corners.width, dtype=jnp.float32)[None, None, :]
    if knobs.elastic_share:
        moved_x, moved_y = _displacement(draws, knobs, corners)
        columns, rows = columns + moved_x, rows + moved_y
    size = len(frame.widths)
    shape = (size, corners.height * corners.width)
    step_x, step_y = (s[:, :, None] for s in _columns(frame.step))
    origin_x, origin_y = (o[:, :, None] for o in _columns(frame.origin))
    whole = (size, corners.height, corners.width)
    x = jnp.broadcast_to(origin_x + columns * step_x, whole).reshape(shape)
    y = jnp.broadcast_to(origin_y + rows * step_y, whole).reshape(shape)
    if knobs.perspective_share:
        tilt_x, tilt_y = _columns(frame.tilt)
        depth = jnp.maximum(1 - tilt_x * x - tilt_y * y, 0.05)
        x, y = x / depth, y / depth
    a, b, c, d = _columns(frame.linear)
    determinant = a * d - b * c
    x, y = (d * x - b * y) / determinant, (a * y - c * x) / determinant
    u, v = _unbend(frame, x, y, knobs)
    return u.reshape(whole), v.reshape(whole)


def _displacement(draws: Draws, knobs: Any, canvas: Canvas) -> tuple[Array, Array]:
    """Returns the elastic displacement in pixels along x and y, 0 for images without it.

    Fields are made for so many of every eight images as the share asks for.
    """
    share, some = knobs.elastic_share, some_rows(draws, "elastic", knobs.elastic_share)
    own = draws
    if some is not None:
        share, own = some.share, some.take(draws)
    strength = sometimes(own, "elastic", share, knobs.elastic) * canvas.height
    across = _spline(canvas.width, _ELASTIC_CELL * canvas.height / 32)
    down = _spline(canvas.height, _ELASTIC_CELL * canvas.height / 32)
    moved = []
    for axis in "xy":
        knots = own.normal(f"elastic field {axis}", down.shape[1], across.shape[1])
        knots = knots * strength[:, None, None]
        rows = jnp.matmul(knots, across.T, precision="highest")
        parts = [down[None, :, i, None] * rows[:, None, i] for i in range(down.shape[1])]
        field = settle(functools.reduce(operator.add, parts))
        moved.append(field if some is None else settle(some.put(field, 0.0)))
    return moved[0], moved[1]


def _spline(pixels: int, cell: float) -> Array:
    """Returns the (pixels, knots) matrix of cubic B-spline interpolation."""
    knots = math.ceil(pixels / cell) + 3
    place = (jnp.arange(pixels) + 0.5)[:, None] / cell - jnp.arange(-1, knots - 1)[None, :]
    t = jnp.abs(place)
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = (2 - t) ** 3 / 6
    return jnp.where(t < 1, inner, jnp.where(t < 2, outer, 0.0))
