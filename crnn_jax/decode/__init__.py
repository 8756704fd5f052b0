"""Decoders by name: logits to strings of class ids."""

from crnn_jax.decode.greedy import greedy

DECODERS = {"greedy": greedy}

__all__ = ["DECODERS", "greedy"]
