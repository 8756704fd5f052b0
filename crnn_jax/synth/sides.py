"""Which texts belong to the "train" and which to the "test" side: a hash of every token decides.

Case and the punctuation around a token do not count. One formula, in NumPy for the texts of a bank
and in JAX for those drawn on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.synth.draws import mix

HELD_OUT = 0.05  # share of all tokens that belongs to the test side
PUNCTUATION = ".,!?:;\"'()[]“”‘’„«»"  # around a token, it does not count for the side
_START, _PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)  # FNV-1a


class SideHash(NamedTuple):
    """State of the hash that decides the sides, one per text; NumPy or JAX arrays.

    Attributes:
      running: FNV-1a of the token's lower-case code points, from its first core character on.
      core: the same up to its last core character.
      good: the tokens before are on the right side.
    """

    running: Any
    core: Any
    good: Any


def start_hash(count: int, xp: Any) -> SideHash:
    """Returns the state before the first character; xp is numpy or jax.numpy."""
    start = xp.full((count,), _START, "uint32")
    return SideHash(start, start, xp.ones((count,), bool))


def absorb(state: SideHash, code: Any, core: Any, ends: Any, test: bool, xp: Any) -> SideHash:
    """Returns the state one character later.

    Args:
      code: uint32 code points in lower case.
      core: whether they are core characters.
      ends: whether they are spaces that end a token.
    """
    begun = core | (state.running != _START)
    running = xp.where(begun, (state.running ^ code) * _PRIME, state.running)
    held = xp.where(core, running, state.core)
    good = state.good & (~ends | (held_out(state.core) == test))
    return SideHash(xp.where(ends, _START, running), xp.where(ends, _START, held), good)


def held_out(core: Any) -> Any:
    """Whether the tokens of the hashes belong to the test side; without a core: to "train"."""
    return mix(core) < np.uint32(HELD_OUT * 2**32)


def on_side(state: SideHash, test: bool) -> Any:
    """Whether the texts whose last character was absorbed are on a side."""
    return state.good & (held_out(state.core) == test)


def belongs(texts: Sequence[str], side: str, whole: bool = False) -> np.ndarray:
    """Whether each text belongs to a side: bool[N].

    Args:
      whole: a text with spaces is decided as a whole, not token by token.
    """
    codes = code_points(texts)
    outside = np.array([ord(char) for char in f"\0 {PUNCTUATION}"], np.uint32)
    core = ~np.isin(codes, outside)
    state, test = start_hash(len(texts), np), side == "test"
    for code, is_core in zip(codes.T, core.T, strict=True):
        state = absorb(state, code, is_core, (code == 32) & (not whole), test, np)
    return on_side(state, test)


def code_points(texts: Sequence[str]) -> np.ndarray:
    """Returns uint32[N, longest]: lower-case code points, padded with 0."""
    width = max(map(len, texts), default=1)
    codes = np.array(texts, f"U{width}").view(np.uint32).reshape(len(texts), width)
    found = np.flatnonzero(np.bincount(codes.reshape(-1)))
    lower = np.zeros(found[-1] + 1, np.uint32)
    lower[found] = [ord(lower_case(chr(code))) for code in found.tolist()]
    return lower[codes]


def lower_case(char: str) -> str:
    """Returns a character in lower case, or itself where that would be several."""
    return char.lower() if len(char.lower()) == 1 else char
