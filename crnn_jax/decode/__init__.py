"""From logits to readings: decoders by name, and what they search with."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Loads decoders when they are asked for: commands of this folder answer --help before JAX."""
    if name in ("DECODERS", "Decoder", "make_decoder"):
        from crnn_jax.decode import decoders

        return getattr(decoders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
