"""Processes side by side on one machine: each has cores, or a GPU, of its own."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Sequence

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_GROUPS, _OWN_GROUP = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")


def default_jobs(gpus: Sequence[str] | None = None, cores: Sequence[int] | None = None) -> int:
    """Returns how many processes go side by side: one per GPU, else one per core.

    None stands for those that this process may use.

    A small network uses one core fully and two badly: two processes of a core each are together up
    to 1.7 times as fast as one after the other.
    """
    gpus = available_gpus() if gpus is None else gpus
    return len(gpus) or len(available_cores() if cores is None else cores)


def available_gpus() -> list[str]:
    """Returns the GPUs that processes may have, as CUDA_VISIBLE_DEVICES names them.

    None where JAX would compute on the CPU whatever the machine has.
    """
    if not _uses_gpus():
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    found = sorted(pathlib.Path("/dev").glob("nvidia[0-9]*"))
    return [path.name.removeprefix("nvidia") for path in found]


def _uses_gpus() -> bool:
    """Returns whether JAX may and can compute on GPUs; the package itself is not imported."""
    platforms = os.environ.get("JAX_PLATFORMS", "").lower()
    if platforms and not any(name in platforms for name in ("cuda", "gpu", "rocm")):
        return False
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return any("cuda" in plugin.name or "rocm" in plugin.name for plugin in plugins)


def available_cores() -> list[int]:
    """Returns the cores that this process may use, fewer where a container has a share of them."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    count = len(cores)
    for group in _control_groups():
        quota, _, period = _content(group / "cpu.max").partition(" ")
        if quota.isdecimal():  # else "max"
            count = min(count, max(1, int(quota) // int(period)))
    return cores[:count]


def free_memory() -> float:
    """Returns the bytes that processes may still take, of the machine or of its container."""
    found = kernel_bytes("/proc/meminfo", "MemAvailable")
    free = math.inf if found is None else found
    for group in _control_groups():
        most, used = (_content(group / f"memory.{name}") for name in ("max", "current"))
        if most.isdecimal() and used.isdecimal():
            # Files that were read count as used, and give way.
            cached = re.search(r"^inactive_file (\d+)$", _content(group / "memory.stat"), re.M)
            free = min(free, float(most) - float(used) + float(cached[1] if cached else 0))
    return free


def kernel_bytes(path: str, key: str) -> float | None:
    """Returns a number of bytes from a file of the kernel; None where there is no such file."""
    for line in _content(pathlib.Path(path)).splitlines():
        if line.startswith(f"{key}:"):
            return 1024.0 * int(line.split()[1])
    return None


def _control_groups() -> list[pathlib.Path]:
    """Returns the folders of this process's control group (version 2) and of those around it."""
    for line in _content(_OWN_GROUP).splitlines():
        if line.startswith("0::/"):
            own = _GROUPS / line.removeprefix("0::/")
            return [own, *(folder for folder in own.parents if folder.is_relative_to(_GROUPS))]
    return []


def _content(path: pathlib.Path) -> str:
    """Returns the content of a file of the kernel; nothing where there is no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


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
