"""Random keys by purpose and number: nothing about them needs saving."""

from __future__ import annotations

import zlib
from typing import Any

import jax


def named_key(seed: Any, name: str, number: Any) -> jax.Array:
    """Returns the key of one purpose at one step, or of one row of a stream."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, number)
