"""Processes side by side on one machine: each has cores, or a GPU, of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Sequence

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def default_jobs(gpus: Sequence[str] | None = None, cores: Sequence[int] | None = None) -> int:
    """Returns how many processes go side by side: one per GPU, else one per core.

    None stands for those that this process may use.

    A small network uses one core fully and two badly: two processes of a core each are together up
    to 1.7 times as fast as one after the other.
    """
    gpus = available_gpus() if gpus is None else gpus
    return len(gpus) or len(available_cores() if cores is None else cores)


def available_gpus() -> list[str]:
    """Returns the GPUs that processes may have, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    found = sorted(pathlib.Path("/dev").glob("nvidia[0-9]*"))
    return [path.name.removeprefix("nvidia") for path in found]


def available_cores() -> list[int]:
    """Returns the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share(
    slot: int, slots: int, gpus: Sequence[str], cores: Sequence[int]
) -> tuple[dict[str, str], list[int]]:
    """Returns what a slot's process has: variables of its environment, and cores."""
    variables = {}
    if gpus:
        variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    # The first process on a GPU must leave memory for the second.
    if len(gpus) < slots and "XLA_PYTHON_CLIENT_PREALLOCATE" not in os.environ:
        variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return variables, list(cores[slot::slots] or [cores[slot % len(cores)]])


def follow_parent() -> None:
    """Ends this process, which another has started, with that one alone, whatever this is at.

    A terminal's Ctrl-C goes to both, and is left to the parent. Unlike `settle_down`, it does not
    matter which thread has started this process, and whether that lives on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is called in a process that was started"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def settle_down(cores: Sequence[int], parent: int, ends_by: int = signal.SIGTERM) -> None:
    """Keeps this process to some cores, and stops it when its parent dies: nothing stays behind.

    Args:
      cores: that it keeps to; none for all.
      parent: the process that has started it. It may have died before this is called.
      ends_by: the signal that comes when the parent dies.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, ends_by)
    if os.getppid() != parent:
        sys.exit(1)
    if cores:
        os.sched_setaffinity(0, set(cores))
