"""Shards of a set that is being prepared, written by any number of processes.

A shard appears by one rename, after the file that says what is in it, so a killed run goes on with
the shards that are missing.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import process
from typing import TYPE_CHECKING, Any

from crnn_jax import files, slots
from crnn_jax.data.shard_plan import Plan, Shard, note_file
from crnn_jax.errors import DataError, ImageError, UserError, without_place

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

_COUNTED_ROWS = 64  # told to the progress bar at a time
_POLL_SECONDS = 0.3
_TEMPORARY = ".tmp"


def write_shards(
    source: Source, plan: Plan, numbers: Sequence[int], processes: int, count: Callable[[int], Any]
) -> Generator[tuple[int, Shard], None, None]:
    """Writes shards; yields number and content of each as it is finished.

    Args:
      source: of the rows.
      plan: of the shards.
      numbers: of those to write.
      processes: that write; 1 writes here.
      count: is called with numbers of rows that are done.

    Raises:
      UserError: the disk is full, or a process died.
      DataError: a row of the source cannot be used.
    """
    for path in plan.working.glob(f"*{_TEMPORARY}"):
        path.unlink()  # of a run that was killed
    if processes == 1 or len(numbers) <= 1:
        for number in numbers:
            yield number, _write_shard(source, plan, number, count, lambda: False)
        return
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    pool = process.ProcessPoolExecutor(
        min(processes, len(numbers)), context, _start, (pickle.dumps(source), plan, done, stop)
    )
    try:
        waiting = {pool.submit(_work, number): number for number in numbers}
        told = 0
        while waiting:
            ready, _ = concurrent.futures.wait(
                waiting, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            now = done.value  # once: other processes go on counting
            count(now - told)
            told = now
            for future in ready:
                yield waiting.pop(future), future.result()
    except process.BrokenProcessPool:
        raise UserError(
            "a process that wrote shards was killed, for want of memory perhaps: start the same "
            "command again with fewer --processes; finished shards are kept"
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}


def _start(source: bytes, plan: Plan, done: Any, stop: Any) -> None:
    """Makes a process ready to write shards."""
    slots.follow_parent()  # which says stop

    def count(rows: int) -> None:
        with done.get_lock():
            done.value += rows

    _worker.update(source=pickle.loads(source), plan=plan, count=count, stopped=stop.is_set)


def _work(number: int) -> Shard:
    return _write_shard(number=number, **_worker)


class _Stopped(Exception):
    """The run ends before the shard does."""


def _write_shard(
    source: Source,
    plan: Plan,
    number: int,
    count: Callable[[int], Any],
    stopped: Callable[[], bool],
) -> Shard:
    """Writes one shard, from the first row to the rename."""
    from array_record.python import array_record_module

    temporary = plan.working / f"{number:05d}{_TEMPORARY}"
    try:
        with _writing(plan):
            # Records one by one, as TFDS writes them: any of them is read without the others.
            writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")

        def write(record: bytes) -> None:
            with _writing(plan):
                writer.write(record)

        try:
            shard = _write_rows(source, plan.rows_of(number), write, count, stopped)
        finally:
            with _writing(plan):
                writer.close()
        with _writing(plan):
            _check(temporary, shard.rows)
            files.write_json(note_file(plan, number), shard._asdict())
            temporary.replace(plan.file(number))
    finally:
        temporary.unlink(missing_ok=True)
    return shard


@contextlib.contextmanager
def _writing(plan: Plan) -> Iterator[None]:
    """Raises a UserError for what the disk that is written to refuses, and not for reading."""
    try:
        yield
    except (RuntimeError, OSError) as error:  # the writer's and ours
        raise UserError(
            f"{plan.folder} cannot be written ({error!s:.160}): make room there and start the same "
            "command again; finished shards are kept"
        ) from None


def _write_rows(
    source: Source,
    rows: range,
    write: Callable[[bytes], Any],
    count: Callable[[int], Any],
    stopped: Callable[[], bool],
) -> Shard:
    from crnn_jax.data.tfds_rows import Serializer, make_example

    serialize, unreadable = Serializer(), []
    written = num_bytes = 0
    for done, row in enumerate(rows, start=1):
        try:
            record = serialize(make_example(source, row))
        except ImageError as error:
            where = source.where(row)
            unreadable.append((row, where, without_place(error, where)))
        except OSError as error:
            raise DataError(
                f"{source.where(row)} cannot be read ({error!s:.160}): mend that and start the "
                "same command again; finished shards are kept"
            ) from None
        else:
            write(record)
            written += 1
            num_bytes += len(record)
        if done % _COUNTED_ROWS == 0 or done == len(rows):
            count((done - 1) % _COUNTED_ROWS + 1)
            if stopped():
                raise _Stopped
    return Shard(written, num_bytes, unreadable)


def _check(path: pathlib.Path, rows: int) -> None:
    """Brings a file to the disk; raises an OSError if it holds another number of records."""
    from array_record.python import array_record_module

    with open(path, "rb") as file:
        os.fsync(file.fileno())
    reader = array_record_module.ArrayRecordReader(str(path))
    found = reader.num_records()
    reader.close()
    if found != rows:
        raise OSError(f"{path.name} holds {found} records instead of {rows}")
