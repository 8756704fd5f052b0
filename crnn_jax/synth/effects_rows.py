"""Which rows of a batch an effect is computed for, and which of those it changes.

A costly effect with share s is computed for ceil(8 s) of every 8 rows only, and of those an image
is chosen with probability 8 s / ceil(8 s). Where among the 8 they are, the first of the rows draws
for every effect: so an image has each effect with its share, whatever its place and the others that
it has. An image that is not chosen keeps its bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.staging import settle

Pictures = Float[Array, "B H W C"]  # 0 black, 1 white
Mask = Float[Array, "B H W"]
Limits = tuple[float | int, float | int]  # a knob with a range
NOMINAL_HEIGHT = 32  # pixels; lengths of the knobs are for this height
GROUP = 8  # rows of a batch of which a part is computed


class Some(NamedTuple):
    """Some rows of every group of a batch.

    Attributes:
      each: how many of a group.
      share: probability with which each of them is changed.
      rows: their numbers in the batch.
      slots: the place of every row of a group among them; from `each` on it is none of them.
    """

    each: int
    share: float
    rows: Int32[Array, " n"]
    slots: Int32[Array, "G 8"]

    def take(self, tree: Any) -> Any:
        """Returns these rows of arrays (B, ...)."""
        return jax.tree.map(lambda array: _rows(array, self.rows), tree)

    def put(self, some: Any, others: Any) -> Any:
        """Returns (B, ...) with these rows from `some` (n, ...), the rest from `others`."""
        groups = jnp.arange(len(self.slots), dtype=jnp.int32)[:, None]
        source = groups * self.each + jnp.minimum(self.slots, self.each - 1)
        ours = (self.slots < self.each).reshape(-1, *[1] * (some.ndim - 1))
        return jnp.where(ours, _rows(some, source.reshape(-1)), others)


def _rows(array: Array, numbers: Int32[Array, " n"]) -> Array:
    return array.at[numbers].get(mode="promise_in_bounds")


def some_rows(draws: Draws, name: str, share: float) -> Some | None:
    """Returns the rows that an effect is computed for; None for all of them."""
    batch, count = len(draws.seeds), math.ceil(min(share, 1.0) * GROUP)
    if batch % GROUP or count == GROUP:
        return None
    first = Draws(draws.seeds[::GROUP]).integers(f"{name} rows", GROUP)[:, None]
    place = jnp.arange(GROUP, dtype=jnp.int32)[None, :]
    rows = jnp.arange(0, batch, GROUP, dtype=jnp.int32)[:, None] + (first + place) % GROUP
    return Some(count, share * GROUP / count, rows[:, :count].reshape(-1), (place - first) % GROUP)


def change(
    images: Pictures,
    draws: Draws,
    name: str,
    share: float,
    effect: Callable[[Pictures, Draws], Pictures],
    cheap: bool = False,
) -> Pictures:
    """Returns the images, some of them changed by an effect.

    Args:
      images: 0..1.
      draws: of the same rows.
      name: of the effect; names the draws that choose images.
      share: probability that an image is changed; at 0 nothing is added to the program.
      effect: from images and their draws to changed images, clipped to 0..1 here.
      cheap: computing it for all rows costs less than taking some of them out.
    """
    if share <= 0:
        return images
    some = None if cheap else some_rows(draws, name, share)
    if some is None:
        return settle(_choose(images, draws, name, share, effect))
    own, part = some.take(draws), some.take(images)
    part = _choose(part, own, name, some.share, effect)
    return settle(some.put(part, images))


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


def real_widths(images: Pictures, draws: Draws) -> Float[Array, " B"]:
    """Returns the pixels of every row that belong to the picture, which is at the left."""
    if draws.widths is None:
        return jnp.full(len(images), float(images.shape[2]))
    return draws.widths


def real_pixels(images: Pictures, draws: Draws) -> Bool[Array, "B 1 W 1"]:
    """Returns which pixels belong to the picture."""
    columns = jnp.arange(images.shape[2])[None, :] < real_widths(images, draws)[:, None]
    return columns[:, None, :, None]


def real_mean(images: Pictures, draws: Draws, axis: tuple[int, ...]) -> Float[Array, "B 1 1 _"]:
    """Returns the mean over axes, rows and columns among them, of what belongs to the pictures."""
    if draws.widths is None:
        return images.mean(axis=axis, keepdims=True)
    total = jnp.where(real_pixels(images, draws), images, 0.0).sum(axis=axis, keepdims=True)
    channels = images.shape[3] if 3 in axis else 1
    return total / per_image(draws.widths * (images.shape[1] * channels))
