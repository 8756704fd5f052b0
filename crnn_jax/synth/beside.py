"""Pieces of the words beside: what a crop shows of its neighbours, not to be read.

The neighbour is the text itself from one of its characters on: beyond the gap, pixels look there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from crnn_jax.synth.draws import Draws

_SEEN = (-0.15, 0.2)  # em of a neighbour before the margin, which shows as much again
_NONE = 1e6  # em: beyond any picture


class Beside(NamedTuple):
    """Neighbours at the left (-1) and at the right (+1) of every text; em."""

    gap: Float[Any, " B"]
    left: Float[Any, " B"]  # where the left neighbour ends; far away where there is none
    left_source: Float[Any, " B"]  # the place of the text that is seen there
    right: Float[Any, " B"]  # where the right neighbour begins
    right_source: Float[Any, " B"]


def choose(
    boxes: tuple[Float[Array, "B L"], Float[Array, "B L"]],
    has_ink: Bool[Array, "B L"],
    ends: tuple[Float[Array, " B"], Float[Array, " B"]],
    draws: Draws,
    knobs: Any,
) -> tuple[Beside, tuple[Float[Array, " B"], Float[Array, " B"]]]:
    """Draws which texts have neighbours, where, and what is seen of them.

    Args:
      boxes: left and right edges of the characters.
      has_ink: which of them are drawn.
      ends: left and right edge of the text.
      draws: of the images.
      knobs: static, see `knobs`.

    Returns:
      The neighbours, and the left and right edge of what the picture has to hold.
    """
    side = draws.integers("beside side", 3)  # left, right, both
    shown = draws.chosen("beside", knobs.beside_share)
    # Where the text is spaced out, so is the gap: else the piece would be its next character.
    spaced = jnp.maximum(draws.between("tracking", knobs.tracking), 0.0)
    gap = draws.between("beside", knobs.beside) + spaced
    seen = jnp.maximum(gap + draws.between("beside seen", _SEEN), 0.0)  # never into the text
    (start, end), places, edges = ends, [], []
    for name, box, here, edge, sign in (
        ("left", boxes[1], shown & (side != 1), start, -1.0),
        ("right", boxes[0], shown & (side != 0), end, 1.0),
    ):
        scores = draws.uniform(f"beside {name}", 0.0, 1.0, has_ink.shape[1])
        one = jnp.argmax(jnp.where(has_ink, scores, -1.0), axis=1)[:, None]
        source = jnp.take_along_axis(box, one, axis=1)[:, 0]
        places += [edge + sign * jnp.where(here, gap, _NONE), source]
        edges.append(edge + sign * jnp.where(here, seen, 0.0))
    return Beside(gap, *places), (edges[0], edges[1])


def look(beside: Beside, u: Float[Array, "B H W"]) -> tuple[Array, Array]:
    """Returns where pixels look in the text, and how far they are from what they see there, em.

    Args:
      beside: the neighbours.
      u: places along the text.
    """
    gap, left, left_source, right, right_source = (x[:, None, None] for x in beside)
    before, beyond = left - u, u - right  # positive inside the neighbours
    at_left, at_right = before > -gap / 2, beyond > -gap / 2
    place = jnp.where(at_left, left_source - jnp.maximum(before, 0.0), u)
    place = jnp.where(at_right, right_source + jnp.maximum(beyond, 0.0), place)
    inside = jnp.where(at_left, before, jnp.where(at_right, beyond, 0.0))
    return place, jnp.maximum(-inside, 0.0)
