"""Processes that read blocks of items, whose lines come back in the items' order."""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

from crnn_jax import slots
from crnn_jax.bulk.inputs import Item
from crnn_jax.errors import UserError

Lines = list[tuple[str, bool]]  # a line per item, and whether it tells of a failure
Read = Callable[[Sequence[Item]], Lines]

_AHEAD = 2  # blocks per process that are given out
_MOST_DEATHS = 10  # without a line in between: more than four images in a row cause
_MOST_STARTS = 3  # of processes that end before they read

_reader: list[Any] = []  # of a worker: its reading function, or the error of making it


class Workers:
    """A pool of processes with a reader each.

    A process that dies, as of a file that a decoder crashes on, costs one item: those under way are
    read again one by one, by one process, and the item that kills it twice becomes its own line.

    Args:
      make: makes the reading function in a process; it and its argument are pickled.
      argument: of `make`.
      jobs: processes.
      lost: the line of an item whose reading ends its process.
    """

    def __init__(
        self, make: Callable[[Any], Read], argument: Any, jobs: int, lost: Callable[[Item], str]
    ):
        self._make, self._argument, self._jobs, self._lost = make, argument, jobs, lost
        self._deaths = 0  # since the last line
        self._pool = self._start(jobs)

    def _start(self, processes: int) -> futures.ProcessPoolExecutor:
        context = get_context("spawn")  # a fork of JAX's threads may hang
        numbers = context.Queue()
        for number in range(self._jobs):
            numbers.put(number)
        gpus, cores = slots.available_gpus(), slots.available_cores()
        shares = [slots.share(n, self._jobs, gpus, cores) for n in range(self._jobs)]
        return futures.ProcessPoolExecutor(
            processes, context, _begin, (numbers, shares, self._make, self._argument)
        )

    def read(self, blocks: Iterable[Sequence[Item]]) -> Iterator[Lines]:
        """Yields the lines of blocks, in their order.

        Raises:
          UserError: as `make` does, or when processes end whatever they read.
        """
        source = iter(blocks)
        waiting: collections.deque[tuple[Sequence[Item], futures.Future]] = collections.deque()
        while True:
            while len(waiting) < _AHEAD * self._jobs and (block := next(source, None)) is not None:
                waiting.append((block, self._submit(block)))
            if not waiting:
                return
            block, future = waiting.popleft()
            try:
                lines = future.result()
            except BrokenProcessPool:
                self._count_death(block[0])
                yield self._one_by_one(block)
                self._restart(self._jobs)
                waiting = collections.deque((b, self._submit(b)) for b, _ in waiting)
            else:
                self._deaths = 0
                yield lines

    def _submit(self, block: Sequence[Item]) -> futures.Future:
        try:
            return self._pool.submit(_read, block)
        except BrokenProcessPool as error:  # a process has died since the last result
            failed: futures.Future = futures.Future()
            failed.set_exception(error)
            return failed

    def _one_by_one(self, block: Sequence[Item]) -> Lines:
        self._restart(1)
        lines: Lines = []
        for item in block:
            for last in (False, True):
                try:
                    lines += self._submit([item]).result()
                    self._deaths = 0
                    break
                except BrokenProcessPool:
                    self._count_death(item)
                    self._restart(1)
                    if last:
                        lines.append((self._lost(item), True))
        return lines

    def _count_death(self, item: Item) -> None:
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise UserError(
                f"the processes that read end again and again, now at {item.name}: give fewer with "
                "--jobs if memory is short, or leave such images out"
            )

    def _restart(self, processes: int) -> None:
        """Starts a new pool and waits until one of its processes can read.

        What ends before that is no item's fault.
        """
        for _ in range(_MOST_STARTS):
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start(processes)
            try:
                return self._pool.submit(_begun).result()
            except BrokenProcessPool:
                continue
        raise UserError(
            "the processes that read end before they begin, perhaps for want of memory: give fewer "
            "with --jobs"
        )

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        # Python has a public way from 3.14 on; without it a stop would wait for whole blocks.
        processes = getattr(self._pool, "_processes", None) or {}
        for process in list(processes.values()):
            process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _begin(numbers: Any, shares: Any, make: Callable[[Any], Read], argument: Any) -> None:
    # Stopping is for the one that gives out blocks: its whole group may get the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    variables, cores = shares[numbers.get()]
    os.environ.update(variables)
    parent = parent_process()
    assert parent is not None, "a worker is started by a pool"
    assert parent.pid is not None
    slots.settle_down(cores, parent.pid, signal.SIGKILL)
    try:
        _reader.append(make(argument))
    except Exception as error:  # raised by the first block: here it would only break the pool
        _reader.append(error)


def _begun() -> None:
    """Does nothing, behind `_begin`."""


def _read(block: Sequence[Item]) -> Lines:
    if isinstance(_reader[0], Exception):
        raise _reader[0]
    return _reader[0](block)
