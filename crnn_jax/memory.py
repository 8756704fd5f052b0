"""Keeps freed memory for the next step, instead of giving it back and asking for it again."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of glibc's mallopt, from malloc.h


def keep_freed_memory() -> None:
    """Tells glibc's allocator not to return large blocks to the system; elsewhere does nothing.

    XLA on a CPU allocates and frees the intermediates of a program whenever it runs. By default
    blocks of tens of megabytes go back to the kernel each time and come again as new pages, which
    have to be zeroed: up to half of the time of a program that is bound by memory. The price is
    that the process stays as large as it once was.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
