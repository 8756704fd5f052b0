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
    """Networks of one charset and the same frames as one: the mean of their frame posteriors.

    Static, as networks are.

    Attributes:
      members: the networks.
      temperatures: by which the logits of each are divided first.
    """

    members: tuple[CRNN, ...]
    temperatures: tuple[float, ...]

    @staticmethod
    def gather(variables: Sequence[types.Variables]) -> types.Variables:
        """Returns the variables of the members as those of the ensemble."""
        digits = len(str(len(variables)))  # trees sort their keys
        return {f"member_{i:0{digits}d}": own for i, own in enumerate(variables)}

    def apply(
        self, variables: types.Variables, images: types.Images, widths: types.Widths
    ) -> tuple[types.Logits, types.FrameCounts]:
        """Returns log posteriors (B, T, K) and frames; `gather` makes the variables."""
        logs = []
        for model, temperature, own in zip(
            self.members, self.temperatures, variables.values(), strict=True
        ):
            outputs: Any = model.apply(own, images, widths)
            logits, frames = outputs
            logs.append(jax.nn.log_softmax(logits / temperature))
        mean = jax.nn.logsumexp(jnp.stack(logs), axis=0) - jnp.log(float(len(logs)))
        return mean, frames
