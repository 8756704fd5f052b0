"""Keeps XLA's CPU compiler from computing one thing many times over."""

from __future__ import annotations

import jax
from jaxtyping import Array


def settle(array: Array) -> Array:
    """Returns the same array, computed once.

    XLA fuses cheap operations into whatever uses them, and computes a long chain of them again for
    every use: for every tap of a blur, for every gather. Optimisation barriers are gone by then on
    a CPU, but it does not look through an update in place: of one element by itself.
    """
    corner = (0,) * array.ndim
    return jax.lax.dynamic_update_slice(
        array, jax.lax.slice(array, corner, (1,) * array.ndim), corner
    )
