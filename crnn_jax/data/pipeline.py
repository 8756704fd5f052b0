"""Loads the batches that a plan names: decoding runs ahead in threads or worker processes.

grain executes, and decides nothing: the position is the step, so nothing here is checkpointed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Int, UInt8

from crnn_jax import slots
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import Index
from crnn_jax.data.plan import FINENESS, EpochPlan
from crnn_jax.errors import DataError, UserError, without_place
from crnn_jax.types import Batch

MAX_BATCHES_AHEAD = 8  # batches held by the threads, finished or being loaded
_LOGGED_FAILURES = 100  # different images
_LOG = logging.getLogger("crnn_jax")
_THREADS = 4  # they overlap waiting for the disk or the network
_READ_ROWS = 16  # encoded images that a thread holds

# Decoding a word is half Python: two threads at it take turns at the interpreter and together are
# a fifth slower than one. More cores are for worker processes.
_decoding = threading.Lock()
_running: weakref.WeakSet[Generator] = weakref.WeakSet()


def load_batch(
    index: Index,
    rows: Int[np.ndarray, " B"],
    width: int,
    label_length: int,
    preprocess: Preprocess,
) -> Batch:
    """Decodes the rows of one batch.

    An unreadable image leaves an invalid row in its place: width 0, no label.

    Args:
      index: the rows that `rows` points into.
      rows: numbers of rows of the index.
      width: pixels that every image is padded to on the right, with zeros.
      label_length: ids that every label is padded to.
      preprocess: makes pixels of an encoded image.

    Raises:
      ValueError: an image or a label does not fit.
    """
    shape = (len(rows), preprocess.height, width, preprocess.channels)
    images = np.zeros(shape, np.uint8)
    widths = np.zeros(len(rows), np.int32)
    labels = np.zeros((len(rows), label_length), np.int32)
    label_lengths = np.zeros(len(rows), np.int32)
    numbers = rows.tolist()
    for start in range(0, len(numbers), _READ_ROWS):
        chunk = numbers[start : start + _READ_ROWS]
        encoded = [_read(index, row) for row in chunk]
        with _decoding:
            for i, (row, data) in enumerate(zip(chunk, encoded, strict=True), start):
                image = _decode(index, row, data, preprocess)
                if image is None:
                    continue
                label = index.labels[row]
                if image.shape[1] > width or len(label) > label_length:
                    raise ValueError(
                        f"{index.where(row)}: image of {image.shape[1]} px and label of"
                        f" {len(label)} ids do not fit into {width} px and {label_length} ids"
                    )
                images[i, :, : image.shape[1]] = image
                widths[i] = image.shape[1]
                labels[i, : len(label)] = label
                label_lengths[i] = len(label)
    return Batch(images, widths, labels, label_lengths)


def train_batches(
    index: Index,
    plan: EpochPlan,
    preprocess: Preprocess,
    start_step: int,
    stop_step: int,
    label_length: int,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields the batches of steps `start_step` to `stop_step` (exclusive), always the same ones.

    Args:
      index: the rows that the plan points into.
      plan: width and rows of each step.
      preprocess: makes pixels of an encoded image.
      start_step: first step; on resume the step of the checkpoint.
      stop_step: step that is not run any more.
      label_length: ids that every label is padded to.
      workers: processes that decode; 0 decodes in threads of this process.
      process_index: which host this is; it loads that part of the rows of each batch.
      process_count: how many hosts share each batch.
    """
    _check_labels(index, label_length)
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} of {process_count}")
    for rows in map(plan.batch_rows, plan.bucket_widths):
        if rows % process_count:
            by_columns = plan.batch_size % process_count == 0
            advice = (
                f"of {FINENESS * process_count} times config.accumulate, or set "
                "config.data.batch_by to rows"
                if by_columns
                else f"of {process_count}"
            )
            raise UserError(
                f"a batch of {rows} rows does not split over {process_count} hosts:"
                f" make the batch size a multiple {advice}"
            )
    if workers < 0:
        raise UserError(f"workers={workers}: 0 (threads) or the number of processes")
    share = process_index, process_count
    load = functools.partial(_load_step, index, plan, preprocess, label_length, share)
    return _execute(load, start_step, stop_step, workers)


def _read(index: Index, row: int) -> bytes | None:
    source, source_row = index.locate(row)
    try:
        return source.image_bytes(source_row)
    except DataError as error:
        _warn(index.where(row), without_place(error, source.where(source_row)))
        return None


def _decode(
    index: Index, row: int, data: bytes | None, preprocess: Preprocess
) -> UInt8[np.ndarray, "H W C"] | None:
    if data is None:
        return None
    width = int(index.widths[row])  # of a stretched image, not its own
    try:
        image = preprocess(data, width or None)
    except DataError as error:
        _warn(index.where(row), str(error))
        return None
    if not width:  # the plan gave it the narrowest bucket, and a run that goes on would, too
        _warn(index.where(row), "it could not be read when the images were measured")
        return None
    return image


@functools.lru_cache(maxsize=10_000)  # once per image, not in every epoch
def _warn(where: str, reason: str) -> None:
    if _warn.cache_info().misses <= _LOGGED_FAILURES:
        _LOG.warning("masked: %s: %s", where, reason)


def _check_labels(index: Index, label_length: int) -> None:
    if index.max_label_length > label_length:
        raise UserError(
            f"the longest label has {index.max_label_length} characters and label_length is"
            f" {label_length}: raise it to {index.max_label_length} or leave out longer labels"
        )


def _load_step(
    index: Index,
    plan: EpochPlan,
    preprocess: Preprocess,
    label_length: int,
    share: tuple[int, int],
    step: int,
) -> Batch:
    width, rows = plan.step(step)
    process, count = share
    rows = rows.reshape(count, -1)[process]
    return load_batch(index, rows, width, label_length, preprocess)


def _execute(load: Callable[[int], Any], start: int, stop: int, workers: int) -> Iterator[Any]:
    """Yields `load(start)` to `load(stop - 1)`, computed ahead; leaves no thread or process."""
    if start >= stop:
        return iter(())
    import grain  # imports jax

    workers = min(workers, stop - start)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads flags; notebooks and servers parse none
            flags.FLAGS.mark_as_parsed()
        # grain leaves what each worker sends last in a reference cycle. One step more per worker,
        # which is never read, lets that be an empty one, not a batch in shared memory.
        steps = grain.MapDataset.range(start, stop + workers)
        inline = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
        load = functools.partial(_load_until, load, stop)
        batches = steps.map(load).to_iter_dataset(inline).mp_prefetch(options, _follow)
    else:
        ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=MAX_BATCHES_AHEAD)
        batches = grain.MapDataset.range(start, stop).map(load).to_iter_dataset(ahead)
    running = _iterate(batches, stop - start, copy=workers > 0)
    _running.add(running)
    # Registered anew to run before multiprocessing's own clean-up: the last one is the first.
    atexit.unregister(_close_running)
    atexit.register(_close_running)
    return running


def _follow(*_: int) -> None:
    """Leaves stopping to the process that reads; takes a worker's number and their count."""
    slots.follow_parent()


def _load_until(load: Callable[[int], Any], stop: int, step: int) -> Any:
    return load(step) if step < stop else ()


def _iterate(batches: Iterable[Any], count: int, copy: bool) -> Generator[Any, None, None]:
    iterator: Any = iter(batches)  # grain's, which can be closed
    try:
        yield from itertools.islice(map(_plain, iterator) if copy else iterator, count)
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise UserError(
            "a process of config.data.workers was killed, for want of memory perhaps: give fewer "
            "of them, or 0 for threads; the same command goes on"
        ) from error
    finally:
        iterator.close()


def _close_running() -> None:
    """Closes what a program still holds when it ends: later the modules to do it with are gone."""
    for running in list(_running):
        with contextlib.suppress(ValueError):  # a thread is inside it
            running.close()


def _plain(batch: Batch) -> Batch:
    """Copies arrays out of shared memory, which is scarce and would live as long as the batch."""
    return Batch(*(np.array(part) for part in batch))
