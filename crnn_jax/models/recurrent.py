"""Recurrent layers over frames: LSTM and GRU, in one or two directions.

A layer is one projection of all frames (hoisted out of the recurrence) and one `lax.scan` that
advances both directions together. The backward direction reads the sequence flipped within its
real length, so padding never enters a state that a real frame sees.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax import types
from crnn_jax.errors import unknown_name

Step = Float[Array, "N B G"]  # gate pre-activations of one frame, both directions
State = Float[Array, "N B H"]


def flip_sequences(x: Float[Array, "B T D"], lengths: types.FrameCounts) -> Float[Array, "B T D"]:
    """Reverses each row within its length: [a b c . .] of length 3 becomes [c b a . .]."""
    t = jnp.arange(x.shape[1])[None, :]
    source = jnp.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return jnp.take_along_axis(x, source[:, :, None], axis=1)


def _recur(state: State, kernel: Float[Array, "N H G"]) -> Step:
    return jnp.einsum("nbh,nhg->nbg", state, kernel)


def lstm_step(
    carry: tuple[State, State], projected: Step, kernel: Float[Array, "N H G"]
) -> tuple[tuple[State, State], State]:
    """One LSTM step (Hochreiter and Schmidhuber, 1997); gates in the order i, f, g, o."""
    h, c = carry
    gates = projected + _recur(h.astype(projected.dtype), kernel)
    i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h.astype(projected.dtype)


def gru_step(
    carry: tuple[State], projected: Step, kernel: Float[Array, "N H G"], bias: Float[Array, "N H"]
) -> tuple[tuple[State], State]:
    """One GRU step, reset applied after the product as in cuDNN and ONNX; gates r, z, n.

    `bias` is the recurrent bias of n, which the reset gate scales; those of r and z are part of
    the projection.
    """
    (h,) = carry
    r, z, n = jnp.split(projected.astype(jnp.float32), 3, axis=-1)
    recurrent = _recur(h.astype(projected.dtype), kernel).astype(jnp.float32)
    hr, hz, hn = jnp.split(recurrent, 3, axis=-1)
    r = jax.nn.sigmoid(r + hr)
    z = jax.nn.sigmoid(z + hz)
    n = jnp.tanh(n + r * (hn + bias[:, None, :]))
    h = (1 - z) * n + z * h
    return (h,), h.astype(projected.dtype)


GATES = {"lstm": 4, "gru": 3}  # blocks of `hidden` pre-activations per step
CELLS = ("none", *GATES)


def check_cell(name: str) -> None:
    """Raises a UserError for a recurrence that does not exist."""
    if name not in CELLS:
        raise unknown_name("recurrence", name, CELLS)


class RecurrentLayer(nn.Module):
    """A layer of LSTM or GRU cells over padded sequences.

    Attributes:
      cell: "lstm" or "gru".
      hidden: units per direction.
      bidirectional: whether a second direction reads each row from its last real frame.
      dtype: of the products; states are float32.
    """

    cell: str
    hidden: int
    bidirectional: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: types.Frames, lengths: types.FrameCounts) -> types.FramesOut:
        """Maps (B, T, D) to (B, T, N * hidden), zero beyond each row's length."""
        batch, frames, depth = x.shape
        n, hidden = 2 if self.bidirectional else 1, self.hidden
        width = GATES[self.cell] * hidden
        kernel = self.param(
            "kernel", _gatewise(nn.initializers.glorot_uniform(), hidden), (n, depth, width)
        )
        recurrent = self.param(
            "recurrent_kernel",
            _gatewise(nn.initializers.orthogonal(), hidden),
            (n, hidden, width),
        )
        bias = self.param("bias", _forget_bias(self.cell, hidden), (n, width))
        projected = jnp.einsum(
            "btd,ndg->nbtg", x.astype(self.dtype), kernel.astype(self.dtype)
        ) + bias[:, None, None, :].astype(self.dtype)
        if self.bidirectional:
            projected = jnp.stack([projected[0], flip_sequences(projected[1], lengths)])

        recurrent = recurrent.astype(self.dtype)
        zeros = jnp.zeros((n, batch, hidden), jnp.float32)
        carry: tuple[Array, ...]
        if self.cell == "lstm":
            carry = (zeros, zeros)

            def step(carry: Any, frame: Any) -> Any:
                return lstm_step(carry, frame, recurrent)

        else:
            carry = (zeros,)
            reset_bias = self.param("reset_bias", nn.initializers.zeros, (n, hidden))

            def step(carry: Any, frame: Any) -> Any:
                return gru_step(carry, frame, recurrent, reset_bias)

        _, out = jax.lax.scan(step, carry, projected.transpose(2, 0, 1, 3))
        out = out.transpose(1, 2, 0, 3)  # (N, B, T, H)
        if self.bidirectional:
            out = jnp.concatenate([out[0], flip_sequences(out[1], lengths)], axis=-1)
        else:
            out = out[0]
        real = jnp.arange(frames)[None, :, None] < lengths[:, None, None]
        return jnp.where(real, out, 0)


def _gatewise(initializer: Any, hidden: int) -> Any:
    """Initialises every direction's and gate's (inputs, hidden) block of a kernel by itself."""

    def init(key: Any, shape: Any, dtype: Any = jnp.float32) -> Any:
        n, inputs, width = shape
        gates = width // hidden
        keys = jax.random.split(key, n * gates)
        # Not under vmap: two batched QR decompositions of one program (one per layer) can wait
        # for each other for ever on a CPU with two threads.
        blocks = jnp.stack([initializer(k, (inputs, hidden), dtype) for k in keys])
        return blocks.reshape(n, gates, inputs, hidden).transpose(0, 2, 1, 3).reshape(shape)

    return init


def _forget_bias(cell: str, hidden: int) -> Any:
    """A forget gate that starts open (bias 1) lets gradients through from the first step."""

    def init(key: Any, shape: Any, dtype: Any = jnp.float32) -> Any:
        bias = jnp.zeros(shape, dtype)
        return bias.at[:, hidden : 2 * hidden].set(1.0) if cell == "lstm" else bias

    return init
