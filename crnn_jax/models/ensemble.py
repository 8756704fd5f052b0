"""Several networks that read as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax import types
from crnn_jax.models.crnn import CRNN


def stack(trees: Sequence[Any]) -> Any:
    """Returns trees of the same shapes as one, with a leading axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """Returns the trees of which `stack` made one."""
    return [jax.tree.map(lambda array, r=r: array[r], tree) for r in range(count)]


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The networks of replicas as one: the mean of their frame posteriors; static.

    Attributes:
      model: of every replica.
      count: of replicas.
    """

    model: CRNN
    count: int

    def apply(
        self, variables: types.Variables, images: types.Images, widths: types.Widths
    ) -> tuple[types.Logits, types.FrameCounts]:
        """Returns log posteriors (B, T, K) and frames, of stacked variables."""
        logs = []
        for own in unstack(variables, self.count):
            logits, frames = self.model.apply(own, images, widths)
            logs.append(jax.nn.log_softmax(logits))
        return jax.nn.logsumexp(jnp.stack(logs), axis=0) - jnp.log(float(self.count)), frames
