"""Keeps freed memory for the next step, in huge pages, instead of giving it back each time."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # parameters of glibc's mallopt, from malloc.h
_MADV_HUGEPAGE = 14  # of Linux's madvise

_keeping: list[ctypes.CDLL] = []  # the allocator, once it keeps what is freed


@functools.cache
def keep_freed_memory() -> None:
    """Tells glibc's allocator not to return large blocks to the system; elsewhere does nothing.

    XLA on a CPU allocates and frees the intermediates of a program whenever it runs. By default
    blocks of tens of megabytes go back to the kernel each time and come again as new pages, which
    have to be zeroed: up to half of the time of a program that is bound by memory. The price is
    that the process stays as large as it once was, unless it calls `give_back`. Call it before XLA
    starts its threads: one that has an arena of its own keeps it, and an arena cannot hold large
    blocks.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl has none
        return
    libc.mallopt(_ARENA_MAX, 1)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    _use_huge_pages(libc)
    _keeping.append(libc)


def give_back() -> None:
    """Gives back what is free after all, after something large that is rare.

    What is allocated next comes as new pages again.
    """
    for libc in _keeping:
        libc.malloc_trim(0)
        _use_huge_pages(libc)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Reserves addresses, no memory, for the heap to grow into and asks for huge pages there.

    Matrix products walk down columns: with pages of 4 KiB nearly every step of that is a miss of
    the TLB, which the gradients of wide convolutions wait for.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    size = page * (os.sysconf("SC_PHYS_PAGES") // 2)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if block is None:  # more than this process may have
        return
    libc.madvise(-(-block // page) * page, size - page, _MADV_HUGEPAGE)
    libc.free(block)  # never touched; what is allocated from now on lies there
