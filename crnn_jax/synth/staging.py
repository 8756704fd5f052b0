"""Keeps XLA's CPU compiler from computing one thing many times over.

It fuses cheap operations into whatever uses them, and computes a long chain of them again for
every use: for every tap of a blur, for every gather. Optimisation barriers are gone by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Shaped

# XLA cannot know that this is True: the first offset of the faces' tiles, for instance, is >= 0.
Always = Shaped[jax.Array, ""]


def settle(array: Shaped[jax.Array, "..."]) -> Shaped[jax.Array, "..."]:
    """Returns the same array; most of what uses it reads it instead of computing it again.

    XLA does not look through an update in place, here of one element by itself, when that costs
    it more than a few operations. Cheap, but not certain: `staged` is.
    """
    corner = (0,) * array.ndim
    first = jax.lax.slice(array, corner, (1,) * array.ndim)
    return jax.lax.dynamic_update_slice(array, first, corner)


def staged(always: Always, function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns `function(*arguments)`, computed by itself from finished arguments, once.

    The branch of a conditional is compiled apart from what surrounds it. On other platforms this
    is a plain call: a conditional would make a GPU wait for the host.

    Args:
      always: True, but not known to be so when the program is compiled.
      function: of arrays or pytrees of them.
      arguments: what it is called with.
    """
    if jax.default_backend() != "cpu":
        return function(*arguments)
    shapes = jax.eval_shape(function, *arguments)

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    return jax.lax.cond(always, function, never, *arguments)
