"""Random keys by purpose and number, where nothing needs saving, and hashes of arrays."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import jax
import numpy as np


def named_key(seed: Any, name: str, number: Any) -> jax.Array:
    """Returns the key of one purpose at one step, or of one row of a stream."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, number)


def digest(*parts: Any) -> str:
    """Returns a hash of strings and of the arrays of pytrees."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        for leaf in jax.tree.leaves(part):
            data = leaf.encode() if isinstance(leaf, str) else _bytes_of(leaf)
            found.update(data)
            found.update(b"\0")
    return found.hexdigest()


def _bytes_of(array: Any) -> memoryview:
    """Returns the bytes of an array, without a copy where they lie together."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
