"""Rows of a batch that are made on the device: rendered text, and banks of real images.

A feed gives its rows of step i as a pure function of (seed, i), to be compiled into the train step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax import types
from crnn_jax.data.augment import augment
from crnn_jax.keys import named_key
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.renderer import ROWS, Renderer, row_keys


class BankArrays(NamedTuple):
    """A bank with its labels encoded; goes to the device as one."""

    images: Any  # uint8 (N, H, W, C)
    widths: Any  # int32 (N,)
    labels: Any  # int32 (N, L)
    label_lengths: Any  # int32 (N,)


@dataclasses.dataclass(frozen=True)
class RenderedRows:
    """Rows of rendered text; static.

    Attributes:
      name: of the preset.
      renderer: what draws them.
      rows: per step.
      seed: of the stream.
      limit: after so many the same ones come again; None: never.
    """

    name: str
    renderer: Renderer
    rows: int
    seed: int
    limit: int | None = None

    def __call__(self, assets: Any, step: Any) -> types.Batch:
        """Returns the rows of a step."""
        # The renderer wants a multiple; what is too much is cut off.
        count = jnp.arange(-(-self.rows // ROWS) * ROWS, dtype=jnp.uint32)
        numbers = step.astype(jnp.uint32) * jnp.uint32(self.rows) + count
        if self.limit:
            numbers = numbers % jnp.uint32(self.limit)
        batch = self.renderer(assets, row_keys(self.seed, f"train {self.name}", numbers))
        return jax.tree.map(lambda x: x[: self.rows], batch)


@dataclasses.dataclass(frozen=True)
class BankRows:
    """Rows drawn at random from a bank of images; static.

    Attributes:
      name: of the bank.
      rows: per step.
      seed: of the stream.
      knobs: of the augmentation; None leaves the images as they are.
    """

    name: str
    rows: int
    seed: int
    knobs: Any = None

    def __call__(self, assets: BankArrays, step: Any) -> types.Batch:
        """Returns the rows of a step."""
        key = named_key(self.seed, f"bank {self.name}", step)
        chosen = jax.random.randint(key, (self.rows,), 0, len(assets.widths))
        batch = types.Batch(*(part[chosen] for part in assets))
        if self.knobs is not None:
            keys = jax.random.split(jax.random.fold_in(key, 1), self.rows)
            batch = augment(batch, Draws.from_keys(keys), self.knobs)
        return batch


@dataclasses.dataclass(frozen=True)
class Feed:
    """Puts a step's batch together: loaded rows, then those made on the device; static.

    Attributes:
      parts: the rows made on the device.
      seed: of the augmentation of loaded rows.
      knobs: of that augmentation; None leaves the images as they are.
    """

    parts: tuple[RenderedRows | BankRows, ...]
    seed: int
    knobs: Any = None

    def __call__(self, assets: Sequence[Any], step: Any, loaded: types.Batch | None) -> types.Batch:
        """Returns the batch of a step; pure.

        Args:
          assets: arrays of the parts, in their order.
          step: int32 scalar.
          loaded: rows from the host, where there are any.
        """
        batches = []
        if loaded is not None:
            if self.knobs is not None:
                numbers = step.astype(jnp.uint32) * jnp.uint32(len(loaded.widths))
                numbers = numbers + jnp.arange(len(loaded.widths), dtype=jnp.uint32)
                draws = Draws.from_keys(row_keys(self.seed, "augment", numbers))
                loaded = augment(loaded, draws, self.knobs)
            batches.append(loaded)
        batches += [part(own, step) for part, own in zip(self.parts, assets, strict=True)]
        return join(batches)


def join(batches: Sequence[types.Batch]) -> types.Batch:
    """Returns the rows of several batches as one; narrower ones are padded on the right."""
    if len(batches) == 1:
        return batches[0]
    width = max(batch.images.shape[2] for batch in batches)
    length = max(batch.labels.shape[1] for batch in batches)

    def pad(x: Any, axis: int, size: int) -> Any:
        amounts = [(0, 0)] * x.ndim
        amounts[axis] = (0, size - x.shape[axis])
        return jnp.pad(x, amounts)

    return types.Batch(
        images=jnp.concatenate([pad(batch.images, 2, width) for batch in batches]),
        widths=jnp.concatenate([batch.widths for batch in batches]),
        labels=jnp.concatenate([pad(batch.labels, 1, length) for batch in batches]),
        label_lengths=jnp.concatenate([batch.label_lengths for batch in batches]),
    )
