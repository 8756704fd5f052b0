"""How a run is spread over devices and processes.

Every device computes its own rows of a batch, and all of them the same update: the state is
replicated, rows are split, sums cross the devices. One function of a device's rows is compiled by
`jit` over a mesh of devices (the default) or by `pmap`, and gives the same numbers. What a row
holds and which random numbers it gets follow from its number in the whole batch, so that the
layout changes nothing but rounding.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from crnn_jax import flops
from crnn_jax.errors import UserError, unknown_name

AXIS = "data"  # of the mesh, and of rows
MODES = ("jit", "pmap")
_LOG = logging.getLogger("crnn_jax")


@dataclasses.dataclass(frozen=True)
class Axis:
    """The devices that share a batch, as the program of one of them sees them; static.

    Attributes:
      size: their number; with 1 there is nothing to share, and no axis to name.
      processes: that these devices belong to, in equal parts.
    """

    size: int = 1
    processes: int = 1

    @property
    def name(self) -> str | None:
        """The axis' name, for modules that sum over it; None where there is none."""
        return AXIS if self.size > 1 else None

    def index(self) -> Any:
        """Returns which of the devices this is."""
        return jax.lax.axis_index(AXIS) if self.size > 1 else 0

    def sum(self, tree: Any) -> Any:
        """Returns the sums over the devices."""
        return jax.lax.psum(tree, AXIS) if self.size > 1 else tree

    def gather(self, rows: Any) -> Any:
        """Returns the rows of all devices, in the order of the whole batch."""
        if self.size == 1:
            return rows
        return jax.lax.all_gather(rows, AXIS, tiled=True)

    def own(self, rows: Any) -> Any:
        """Returns this device's share of rows that all devices have."""
        if self.size == 1:
            return rows

        def take(array: Any) -> Any:
            count = len(array) // self.size
            return jax.lax.dynamic_slice_in_dim(array, self.index() * count, count)

        return jax.tree.map(take, rows)


ALONE = Axis()


class Layout:
    """The devices of a run and how its programs are compiled for them.

    Attributes:
      size: number of devices.
      axis: those that share a batch; replicas have devices, or parts of one, to themselves.
    """

    def __init__(self, mode: str = "jit", devices: Any = None, by_replica: bool = False):
        """Args:
          mode: one of MODES.
          devices: to use; all that there are, of all processes, by default.
          by_replica: whether replicas are split among the devices, and not batches.

        Raises:
          UserError: for another mode.
        """
        if mode not in MODES:
            raise unknown_name("value of config.parallel", mode, MODES)
        devices = np.array(jax.devices() if devices is None else devices)
        self._mode = mode
        self._mesh = Mesh(devices, (AXIS,))
        self._by_replica = by_replica
        self.size, self._processes = devices.size, len({d.process_index for d in devices})
        self.axis = ALONE if by_replica else Axis(self.size, self._processes)

    @property
    def replicated(self) -> Sharding:
        """The sharding of what every device has whole."""
        return self._sharding(PartitionSpec())

    @property
    def rows(self) -> Sharding:
        """The sharding of rows that are split among the devices."""
        return self._sharding(PartitionSpec(AXIS))

    def _sharding(self, spec: PartitionSpec) -> Sharding:
        if self.size == 1:  # as programs without a mesh leave their results
            return SingleDeviceSharding(self._mesh.devices.item())
        return NamedSharding(self._mesh, spec)

    def peak(self, dtype: Any) -> float | None:
        """Returns what all devices can do per second in a dtype, where that is known."""
        each = flops.peak(self._mesh.devices.flat[0], dtype)
        return each and each * self.size

    def check_batch(self, batch_size: int, parts: int = 1) -> None:
        """Raises a UserError for a batch that does not split evenly.

        Args:
          batch_size: rows of a batch.
          parts: in which every device computes its rows, one after another.
        """
        if batch_size % (self.size * parts):
            each = f", in {parts} parts each (config.accumulate)" if parts > 1 else ""
            raise UserError(
                f"config.batch_size is {batch_size}, and {self.size} devices share a batch{each}: "
                f"give a multiple of {self.size * parts}, or fewer devices (config.devices)"
            )

    def replicate(self, tree: Any) -> Any:
        """Returns a tree of arrays on every device; arrays that are there already stay.

        A host array that stands in several places goes there once.
        """
        put: dict[int, jax.Array] = {}

        def replicate(array: Any) -> jax.Array:
            if not isinstance(array, np.ndarray):
                return self._replicate(array)
            if id(array) not in put:
                put[id(array)] = self._replicate(array)
            return put[id(array)]

        return jax.tree.map(replicate, tree)

    def _replicate(self, array: Any) -> jax.Array:
        # What lies there without having been put there would be compiled for once more.
        if isinstance(array, jax.Array) and array.committed and array.sharding == self.replicated:
            return array
        if jax.process_count() == 1:
            return jax.device_put(array, self.replicated)
        if isinstance(array, jax.Array):
            array = np.asarray(array.addressable_data(0))
        return jax.make_array_from_callback(np.shape(array), self.replicated, lambda i: array[i])

    def split(self, rows: Any) -> Any:
        """Returns this process's rows, a tree of host arrays, as arrays over all devices.

        Rows that do not split evenly are followed by zeros, which are rows without a width.
        """
        if self.size == 1:
            return jax.device_put(rows, self.rows)
        if self._processes == 1:
            return jax.device_put(jax.tree.map(self._by_device, rows), self.rows)
        with jax.transfer_guard("allow"):  # JAX does not count this call as asking for a transfer
            return jax.tree.map(
                lambda array: jax.make_array_from_process_local_data(
                    self.rows, self._by_device(array)
                ),
                rows,
            )

    def local(self) -> Layout:
        """Returns the layout of this process's devices alone, by `jit`."""
        if jax.process_count() == 1:
            return Layout("jit", self._mesh.devices)
        mine = [d for d in self._mesh.devices.flat if d.process_index == jax.process_index()]
        return Layout("jit", mine)

    def spread(self, rows: Any) -> Any:
        """Returns rows of this process on its devices, split among them if they split evenly."""
        even = not len(jax.tree.leaves(rows)[0]) % self.size
        return jax.device_put(rows, self.rows if even else self.replicated)

    def _by_device(self, array: Any) -> Any:
        """Returns rows for this process's devices; for `pmap` with an axis of these before them."""
        local = self.size // self._processes
        array = np.pad(array, [(0, -len(array) % local), *[(0, 0)] * (array.ndim - 1)])
        if self._mode == "jit":
            return array
        return array.reshape(local, -1, *array.shape[1:])

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the compiled form of `step(state, rows, whole)`, which gives (state, sums).

        Args:
          step: for one device: the state, its rows (a tree, or None), what every device has; the
            new state and sums must be the same on every device, but for replicas, whose states
            are stacked and split. The state is consumed (donated).
        """
        if self.size == 1:
            return jax.jit(step, donate_argnums=0)
        if self._mode == "pmap" and not self._by_replica:
            return _Mapped(step, self.split(np.zeros(self.size // self._processes, np.int32)))
        whole, split = PartitionSpec(), PartitionSpec(AXIS)
        state = split if self._by_replica else whole
        # Sums cross the devices where the step says so; JAX is not to add any of its own.
        return jax.jit(
            jax.shard_map(
                step,
                mesh=self._mesh,
                in_specs=(state, split, whole),
                out_specs=(state, state),
                check_vma=False,
            ),
            donate_argnums=0,
        )


class _Mapped:
    """A step compiled by `pmap`."""

    def __init__(self, step: Callable[..., Any], each: jax.Array):
        """Args:
        step: as in `Layout.compile`.
        each: a number per device: `pmap` wants an argument to map over, and rows may be None.
        """
        self._each = each
        self._function = jax.pmap(
            lambda _, *arguments: step(*arguments),
            AXIS,
            in_axes=(0, None, 0, None),
            out_axes=(None, None),
            donate_argnums=1,
        )

    def __call__(self, *arguments: Any) -> Any:
        return self._function(self._each, *arguments)

    def lower(self, *arguments: Any) -> Any:
        """Returns the lowered program, as `jax.jit` does."""
        return self._function.lower(self._each, *arguments)


def choose_layout(config: Any) -> Layout:
    """Returns the layout that a config asks for.

    Raises:
      UserError: when there are fewer devices, or they cannot share a batch evenly.
    """
    devices = jax.devices()
    if config.parallel == "pmap" and jax.process_count() > 1:
        raise UserError("config.parallel is pmap: several processes share a batch by jit alone")
    if config.devices > len(devices):
        raise UserError(
            f"config.devices is {config.devices}, and there are {len(devices)}: give at most as "
            "many, or 0 for all"
        )
    if config.devices and jax.process_count() > 1 and config.devices < len(devices):
        raise UserError(
            f"config.devices is {config.devices}: several processes use all of their "
            f"{len(devices)} devices; give 0, or hide devices from the processes"
        )
    layout = Layout(config.parallel, devices[: config.devices or None], config.replicas > 1)
    if config.replicas == 1:
        layout.check_batch(config.batch_size, config.accumulate)
    return layout


class Vote:
    """Whether any process wants to stop: all of them learn of it at the same step."""

    def __init__(self, layout: Layout):
        self._last: jax.Array | None = None
        if jax.process_count() > 1:
            local = jax.local_device_count()
            self._wishes = [layout.split(np.full(local, wish, np.int32)) for wish in (0, 1)]
            self._sum = jax.jit(jnp.sum, out_shardings=layout.replicated)

    def __call__(self, wish: bool) -> bool:
        """Returns whether any process wished so; with several, at the call before this one.

        That answer is there already, so that no device waits for the host.
        """
        if jax.process_count() == 1:
            return wish
        before, self._last = self._last, self._sum(self._wishes[wish])
        return before is not None and bool(jax.device_get(before))
