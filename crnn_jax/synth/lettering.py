"""Sizes, heights and angles of single characters: jitter, letters that dance, large initials."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.warp import sometimes

# Of letters that dance at strength 1, standard deviations.
_DANCING_SIZE = 0.12  # of the logarithm
_DANCING_BASELINE = 0.06  # em
_DANCING_TILT = 7.0  # degrees
_HANGING = 0.4  # share of large initials that reach below the baseline


class Lettering(NamedTuple):
    """How every character differs from the others of its face."""

    size: Float[Array, "B L"]  # factor
    y: Float[Array, "B L"]  # em below the baseline
    angle: Float[Array, "B L"]  # radians


def sizes_differ(knobs: Any) -> bool:
    """Returns whether characters of a text may have other sizes."""
    return bool(knobs.size_jitter or knobs.dancing_share or knobs.initial_share)


def angles_differ(knobs: Any) -> bool:
    """Returns whether characters of a text may have other angles."""
    return bool(knobs.tilt_jitter or knobs.dancing_share)


def jitter(draws: Draws, name: str, deviation: float, columns: int) -> Float[Array, "B L"]:
    """Returns normal numbers per character, of a standard deviation."""
    if not deviation:
        return jnp.zeros((draws.seeds.shape[0], columns))
    return deviation * draws.normal(name, columns)


def letter(
    has_ink: Bool[Array, "B L"], caps: Float[Array, " B"], draws: Draws, knobs: Any
) -> Lettering:
    """Returns sizes, heights and angles of the characters of every text.

    Args:
      has_ink: the characters that are drawn; words begin after one that is not.
      caps: height of the capitals, em.
      draws: of the images.
      knobs: static, see `knobs`.
    """
    columns = has_ink.shape[1]
    size = jitter(draws, "size", knobs.size_jitter, columns)
    y = jitter(draws, "baseline", knobs.baseline_jitter, columns)
    angle = jitter(draws, "tilt", knobs.tilt_jitter, columns)
    if knobs.dancing_share:
        lively = sometimes(draws, "dancing", knobs.dancing_share, knobs.dancing)[:, None]
        size = size + _DANCING_SIZE * lively * draws.normal("dancing size", columns)
        y = y + _DANCING_BASELINE * lively * draws.normal("dancing baseline", columns)
        angle = angle + _DANCING_TILT * lively * draws.normal("dancing tilt", columns)
    size = jnp.exp(size)
    if knobs.initial_share:
        before = jnp.pad(has_ink, ((0, 0), (1, 0)))[:, :-1]
        shown = draws.chosen("initial", knobs.initial_share)[:, None] & has_ink & ~before
        grown = jnp.where(shown, draws.between("initial", knobs.initial)[:, None], 1.0)
        hangs = draws.chance("initial hangs", _HANGING)
        depth = jnp.where(hangs, draws.uniform("initial depth"), 0.0)
        size, y = size * grown, y + (depth * caps)[:, None] * (grown - 1)
    return Lettering(size, y, jnp.deg2rad(angle))
