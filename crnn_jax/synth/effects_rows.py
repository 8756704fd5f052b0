"""Which rows of a batch an effect is computed for, and which of those it changes.

An effect with share s is computed for ceil(8 s) of every 8 rows only, and of those an image is
chosen with probability 8 s / ceil(8 s). An image that is not chosen keeps its bits, and what
happens to a row depends on its own draws and its place in the batch, never on other rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.staging import settle

Pictures = Float[Array, "B H W C"]  # 0 black, 1 white
Mask = Float[Array, "B H W"]
Limits = tuple[float | int, float | int]  # a knob with a range
NOMINAL_HEIGHT = 32  # pixels; lengths of the knobs are for this height


class Place(NamedTuple):
    """The rows that an effect is computed for.

    Attributes:
      first: the first of the rows, among 8; the last ones if it leaves too few.
      stride: 1 takes single rows of every 8; 8 takes runs of 8 rows of every 64, where the batch
        is a multiple of 64. Effects of different stride meet as often as chance has it.
    """

    first: int
    stride: int = 1


EVERYWHERE = Place(-1)


def unit(batch: int) -> int:
    """Returns the rows that effects see as one: a batch cut between such units stays as it was."""
    return 64 if batch % 64 == 0 else 8


def change(
    images: Pictures,
    draws: Draws,
    name: str,
    share: float,
    place: Place,
    effect: Callable[[Pictures, Draws], Pictures],
) -> Pictures:
    """Returns the images, some of them changed by an effect.

    Args:
      images: 0..1.
      draws: of the same rows.
      name: of the effect; names the draw that chooses images.
      share: probability that an image is changed; at 0 nothing is added to the program.
      place: the rows to compute; EVERYWHERE where computing is cheaper than cutting rows out.
      effect: from images and their draws to changed images, clipped to 0..1 here.
    """
    if share <= 0:
        return images
    batch, columns = len(images), math.ceil(min(share, 1.0) * 8)
    if place is EVERYWHERE or batch % 8 or columns == 8:
        return settle(_choose(images, draws, name, share, effect))
    stride = place.stride if batch % (8 * place.stride) == 0 else 1
    first = min(place.first, 8 - columns)

    some, own = cut((images, draws), first, columns, stride)
    part = _choose(some, own, name, share * 8 / columns, effect)
    groups = _grouped(images, stride)
    part = part.reshape(groups.shape[0], columns, *groups.shape[2:])
    parts = [groups[:, :first], part, groups[:, first + columns :]]
    return settle(jnp.concatenate(parts, axis=1).reshape(images.shape))


def _grouped(array: Any, stride: int) -> Any:
    """Returns (B, ...) as (B / (8 stride), 8, stride, ...)."""
    return array.reshape(len(array) // (8 * stride), 8, stride, *array.shape[1:])


def cut(tree: Any, first: int, columns: int, stride: int = 1) -> Any:
    """Returns `columns` of every 8 rows of arrays, from `first` on; see `Place` for the stride."""
    return jax.tree.map(
        lambda array: _grouped(array, stride)[:, first : first + columns].reshape(
            -1, *array.shape[1:]
        ),
        tree,
    )


def _choose(
    images: Pictures,
    draws: Draws,
    name: str,
    share: float,
    effect: Callable[[Pictures, Draws], Pictures],
) -> Pictures:
    changed = jnp.clip(effect(images, draws), 0.0, 1.0)
    if share >= 1 and draws.calm is None:
        return changed
    return jnp.where(per_image(draws.chosen(name, share)), changed, images)


def per_image(values: Any) -> Any:
    """Returns (B,) as (B, 1, 1, 1), or (B, C) as (B, 1, 1, C)."""
    if values.ndim == 1:
        return values[:, None, None, None]
    return values[:, None, None, :]


def pixels(images: Pictures, limits: Limits) -> Limits:
    """Returns limits in pixels of the images from limits in pixels at a height of 32."""
    scale = images.shape[1] / NOMINAL_HEIGHT
    return limits[0] * scale, limits[1] * scale
