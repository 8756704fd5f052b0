"""The processes of a run, and what they tell one another; one process is the usual case."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from crnn_jax.errors import UserError
from crnn_jax.parallel import Layout

AUTO = "auto"  # instead of a coordinator
_LOG = logging.getLogger("crnn_jax")


def connect(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Joins the processes of a run; without arguments those that SLURM has started, if any.

    Args:
      coordinator: HOST:PORT of process 0, or "auto": JAX asks the machine, as in a TPU pod or under
        Open MPI, for all three.
      processes: how many there are.
      process: which of them this is, from 0.

    Raises:
      UserError: when only some of the three are given, or the others cannot be reached.
    """
    automatic = coordinator == AUTO
    given = (bool(coordinator), processes > 0, process >= 0)
    if automatic and any(given[1:]):
        raise UserError(
            "--coordinator=auto finds --processes and --process by itself: leave them out, or give "
            "--coordinator=HOST:PORT"
        )
    if any(given) and not all(given) and not automatic:
        raise UserError(
            "--coordinator, --processes and --process belong together: give all three, as in "
            "--coordinator=node1:9876 --processes=2 --process=0, or none under SLURM"
        )
    if not any(given) and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return
    if all(given) and not process < processes:
        raise UserError(f"--process={process}: give a number from 0 to {processes - 1}")
    arguments = (coordinator, processes, process) if all(given) else ()
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if automatic:
            raise UserError(
                f"--coordinator=auto: JAX finds no processes to join here ({reason}): give "
                "--coordinator=HOST:PORT, --processes and --process"
            ) from None
        raise UserError(
            f"the processes of the run cannot be joined ({reason}): check that every node reaches "
            "the coordinator, and that each process has a number of its own"
        ) from None
    _meet()
    if jax.process_index():
        _LOG.setLevel(logging.WARNING)
    _LOG.info("%d processes, %d devices", jax.process_count(), jax.device_count())


def _meet() -> None:
    """Connects the devices while all processes are about as far.

    The first sum over devices that needs a connection makes it, and on CPUs the others have half a
    minute to come; where that sum is in a train step, a process that compiles slowly comes later.
    """
    collect(None)  # one device of each process
    everywhere = Layout()
    ones = everywhere.split(np.ones(jax.local_device_count(), np.int32))
    jax.block_until_ready(jax.jit(jnp.sum, out_shardings=everywhere.replicated)(ones))


def is_main() -> bool:
    """Returns whether this process is the one that writes."""
    return jax.process_index() == 0


def place() -> tuple[int, int]:
    """Returns which process this is and how many there are."""
    return jax.process_index(), jax.process_count()


def collect(value: Any) -> list[Any]:
    """Returns what each process gives, by its number; anything that JSON holds."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([len(data)]))[:, 0]
    data = np.pad(data, (0, int(sizes.max()) - len(data)))
    found = multihost_utils.process_allgather(data)
    return [json.loads(bytes(row[:size])) for row, size in zip(found, sizes, strict=True)]


def agree(value: Any) -> Any:
    """Returns the value of the process that writes."""
    return collect(value)[0]


def main_first(function: Callable[[], Any]) -> Any:
    """Calls a function in the process that writes, then in the others; returns what it gives.

    Raises:
      UserError: in every process, if it did so in the first.
    """
    result, reason = None, ""
    if is_main():
        try:
            result = function()
        except UserError as error:
            reason = str(error)
    reason = agree(reason)
    if reason:
        raise UserError(reason)
    return result if is_main() else function()
