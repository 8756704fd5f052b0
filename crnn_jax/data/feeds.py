"""Rows of a batch that are made on the device: rendered text, and banks of real images.

A feed gives its rows of step i as a pure function of (seed, i), to be compiled into the train step.
Several devices make their rows each; the whole batch is the same on any number of them.
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
from crnn_jax.parallel import ALONE, Axis
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.renderer import ROWS, Renderer, row_keys


class BankArrays(NamedTuple):
    """A bank with its labels encoded; goes to the device as one."""

    images: Any  # uint8 (N, H, W, C)
    widths: Any  # int32 (N,)
    labels: Any  # int32 (N, L)
    label_lengths: Any  # int32 (N,)


class Rows(NamedTuple):
    """Rows of a step: those of this device, or, where they do not split evenly, those of all."""

    batch: types.Batch
    whole: bool


@dataclasses.dataclass(frozen=True)
class RenderedRows:
    """Rows of rendered text; static.

    Attributes:
      name: of the preset.
      renderer: what draws them.
      rows: per step.
      seed: of the stream; None: the run's.
      limit: after so many the same texts in the same faces come again; None: never.
    """

    name: str
    renderer: Renderer
    rows: int
    seed: int | None = None
    limit: int | None = None

    def __call__(self, assets: Any, step: Any, seed: Any, axis: Axis = ALONE) -> Rows:
        """Returns the rows of a step."""
        # The renderer wants a multiple; what is too much is cut off.
        count = -(-self.rows // ROWS) * ROWS
        shared = count == self.rows and _splits(count, axis)
        if shared:
            count //= axis.size
        numbers = jnp.arange(count, dtype=jnp.uint32)
        if shared:
            numbers = numbers + jnp.uint32(count) * jnp.uint32(axis.index())
        numbers = numbers + step.astype(jnp.uint32) * jnp.uint32(self.rows)
        if self.limit:
            numbers = numbers % jnp.uint32(self.limit)
        seed = seed if self.seed is None else self.seed
        batch = self.renderer(assets, row_keys(seed, f"train {self.name}", numbers))
        return Rows(jax.tree.map(lambda x: x[: self.rows], batch), not shared)


@dataclasses.dataclass(frozen=True)
class BankRows:
    """Rows drawn at random from a bank of images; static.

    Attributes:
      name: of the bank.
      rows: per step.
      knobs: of the augmentation; None leaves the images as they are.
    """

    name: str
    rows: int
    knobs: Any = None

    def __call__(self, assets: BankArrays, step: Any, seed: Any, axis: Axis = ALONE) -> Rows:
        """Returns the rows of a step."""
        key = named_key(seed, f"bank {self.name}", step)
        chosen = jax.random.randint(key, (self.rows,), 0, len(assets.widths))
        keys = jax.random.split(jax.random.fold_in(key, 1), self.rows)
        shared = _splits(self.rows, axis)
        if shared:
            chosen, keys = axis.own((chosen, keys))
        batch = types.Batch(*(part[chosen] for part in assets))
        if self.knobs is not None:
            batch = augment(batch, Draws.from_keys(keys), self.knobs)
        return Rows(batch, not shared)


@dataclasses.dataclass(frozen=True)
class Feed:
    """Puts a step's batch together: loaded rows, then those made on the device; static.

    Attributes:
      parts: the rows made on the device.
      knobs: of the augmentation of loaded rows; None leaves the images as they are.
      loaded: rows that the host loads per step (by columns: on average); what is more than that
        was added by `parallel.Layout.split`.
    """

    parts: tuple[RenderedRows | BankRows, ...] = ()
    knobs: Any = None
    loaded: int = 0

    def __call__(
        self,
        assets: Sequence[Any],
        step: Any,
        loaded: types.Batch | None,
        seed: Any,
        axis: Axis = ALONE,
    ) -> types.Batch:
        """Returns this device's rows of the batch of a step; pure.

        Args:
          assets: arrays of the parts, in their order.
          step: int32 scalar.
          loaded: rows from the host, where there are any; those of this device.
          seed: of the run.
          axis: the devices that share the batch.
        """
        found = []
        if loaded is not None:
            found.append(self._loaded(loaded, step, seed, axis))
        found += [part(own, step, seed, axis) for part, own in zip(self.parts, assets, strict=True)]
        if len(found) == 1 and not found[0].whole:
            return found[0].batch
        # Which rows are whose follows from their place in the whole batch.
        wholes = [rows.batch if rows.whole else axis.gather(rows.batch) for rows in found]
        return axis.own(join(wholes))

    def _loaded(self, loaded: types.Batch, step: Any, seed: Any, axis: Axis) -> Rows:
        whole = axis.size > 1 and bool(self.loaded % axis.size)
        if whole:
            each = self.loaded // axis.processes
            loaded = axis.gather(loaded)
            loaded = jax.tree.map(lambda x: _shares(x, axis.processes, each), loaded)
        if self.knobs is None:
            return Rows(loaded, whole)
        if not whole and not _splits(len(loaded.widths) * axis.size, axis):
            loaded, whole = axis.gather(loaded), True
        numbers = jnp.arange(len(loaded.widths), dtype=jnp.uint32)
        if not whole:
            numbers = numbers + jnp.uint32(len(numbers)) * jnp.uint32(axis.index())
        # Batches by columns differ in their rows: `loaded` is their mean, and the same in all.
        numbers = numbers + step.astype(jnp.uint32) * jnp.uint32(self.loaded)
        draws = Draws.from_keys(row_keys(seed, "augment", numbers))
        return Rows(augment(loaded, draws, self.knobs), whole)


def _shares(array: Any, processes: int, each: int) -> Any:
    """Returns the first `each` rows of every process's equal part of an array."""
    parts = array.reshape(processes, -1, *array.shape[1:])[:, :each]
    return parts.reshape(-1, *array.shape[1:])


def _splits(count: int, axis: Axis) -> bool:
    """Returns whether rows made on the device are the same when each makes its share of them.

    Else every device makes them all.
    """
    return axis.size == 1 or count % (axis.size * ROWS) == 0


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
