"""Random numbers by name: cheap, the same bits everywhere, and independent of one another.

Every image has a few dozen random words from JAX's generator. A number per image is two of them,
chosen and combined by a hash of its name, so that a new draw changes no other; a field of noise
hashes a seed and the position, a few integer operations per pixel and a tenth of a cryptographic
generator's cost. The hash is the finaliser of MurmurHash3 (Appleby).
"""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt32

WORDS = 50  # per image
_GOLDEN = 0x9E3779B9
# Sum of the four bytes of 32 random bits: mean 4 * 127.5, variance 4 * (256**2 - 1) / 12.
_BYTES_MEAN, _BYTES_STD = 510.0, math.sqrt((256**2 - 1) / 3)


def mix(x: Any) -> Any:
    """Returns uint32 numbers (NumPy or JAX) scrambled: each bit changes half of the output."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


class Draws(NamedTuple):
    """The random numbers of a batch of images; a pytree.

    Attributes:
      seeds: WORDS random words per image; the first two are those of fields.
      calm: images that get no optional effect; None where there are none.
      widths: pixels of the pictures, where they differ; the rest of a row is padding.
    """

    seeds: UInt32[Any, "B words"]
    calm: Bool[Any, " B"] | None = None
    widths: Float[Any, " B"] | None = None

    @classmethod
    def from_keys(cls, keys: Any) -> Draws:
        """Returns the draws of images whose typed PRNG keys are given, shape (B,)."""
        return cls(jax.vmap(lambda key: jax.random.bits(key, (WORDS,)))(keys))

    def bits(self, name: str, *shape: int) -> UInt32[Array, "B ..."]:
        """Returns uint32 of shape (B, *shape)."""
        tag = zlib.crc32(name.encode())
        if not shape:
            pool = WORDS - 2
            first, second = tag % pool, tag // pool % (pool - 1)
            second += second >= first
            turn = 1 + (tag >> 16) % 31
            word = self.seeds[:, 2 + second]
            turned = (word << jnp.uint32(turn)) | (word >> jnp.uint32(32 - turn))
            return self.seeds[:, 2 + first] ^ turned
        start = mix(self.seeds[:, 0] ^ jnp.uint32(tag)) + self.seeds[:, 1]
        position = jnp.arange(math.prod(shape), dtype=jnp.uint32) * jnp.uint32(_GOLDEN)
        return mix(mix(start)[:, None] + position[None, :]).reshape(-1, *shape)

    def uniform(
        self, name: str, low: Any = 0.0, high: Any = 1.0, *shape: int
    ) -> Float[Array, "B ..."]:
        """Returns numbers in [low, high) of shape (B, *shape)."""
        unit = (self.bits(name, *shape) >> 8).astype(jnp.float32) * 2.0**-24
        return low + unit * (high - low)

    def between(self, name: str, limits: tuple[float, float], *shape: int) -> Any:
        """Returns numbers in [limits[0], limits[1]) of shape (B, *shape)."""
        return self.uniform(name, *limits, *shape)

    def log_uniform(self, name: str, limits: tuple[float, float], *shape: int) -> Any:
        """Returns positive numbers whose logarithm is uniform, of shape (B, *shape)."""
        low, high = map(math.log, limits)
        return jnp.exp(self.uniform(name, low, high, *shape))

    def chance(self, name: str, share: Any, *shape: int) -> Bool[Array, "B ..."]:
        """Returns True with the given probability, of shape (B, *shape)."""
        return self.uniform(name, 0.0, 1.0, *shape) < share

    def calming(self, share: float) -> Draws:
        """Returns the same draws, with so many of the images calm."""
        return self._replace(calm=self.chance("calm", share)) if share else self

    def chosen(self, effect: str, share: float) -> Bool[Array, " B"]:
        """Returns which images get an effect: those that are not calm, with a probability."""
        drawn = self.chance(f"{effect}?", share)
        return drawn if self.calm is None else drawn & ~self.calm

    def integers(self, name: str, count: Any, *shape: int) -> Any:
        """Returns int32 in [0, count), of shape (B, *shape); count may be an array."""
        drawn = jnp.floor(self.uniform(name, 0.0, 1.0, *shape) * count).astype(jnp.int32)
        return jnp.minimum(drawn, count - 1)

    def normal(self, name: str, *shape: int) -> Float[Array, "B ..."]:
        """Returns nearly normal numbers (a sum of four bytes: at most 3.45 standard deviations)."""
        bits = self.bits(name, *shape)
        total = (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24)
        return (total.astype(jnp.float32) - _BYTES_MEAN) / _BYTES_STD
