"""Images in any order and of any size to padded batches, with few shapes and bounded memory.

Evaluation and prediction read through here: rows are loaded by threads a window ahead, gathered by
padded width, and sent out as soon as a batch is full. A row that cannot be loaded is passed on as
its error and costs nothing else.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import NamedTuple, TypeVar

import numpy as np

from crnn_jax.data.images import Preprocess
from crnn_jax.errors import DataError, UserError
from crnn_jax.types import Batch

T = TypeVar("T")

_THREADS = 4  # decoding and resizing release the interpreter lock
WINDOW = 4  # batches of images that are loaded ahead
_SIZES = (1, 8, 64, 512)  # rows of batches that are not full: few shapes, each is compiled
_NEAR = 2.0  # times as wide as a row may be a batch that it is put into to save one of its own
_GROWTH = 1.5  # of the padded widths: eight shapes from 16 to 512 pixels


class Streamed(NamedTuple):
    """A batch and where its rows came from; or a single row's error."""

    batch: Batch | None
    positions: list[int]  # in the input; rows of the batch beyond it are padding
    error: DataError | None


def padded_widths(preprocess: Preprocess) -> tuple[int, ...]:
    """Returns the widths to which batches are padded: one when squashing, else a ladder."""
    if preprocess.fit == "squash":
        return (preprocess.widest,)
    ladder, width = [], preprocess.min_width
    while width < preprocess.max_width:
        ladder.append(width)
        width = -(-round(width * _GROWTH) // 4) * 4
    return (*ladder, preprocess.max_width)


def stack(images: list[np.ndarray], width: int, rows: int, labels: np.ndarray) -> Batch:
    """Pads images on the right to `width` and the batch to `rows` invalid rows."""
    height, _, channels = images[0].shape
    pixels = np.zeros((rows, height, width, channels), np.uint8)
    widths = np.zeros(rows, np.int32)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1]] = image
        widths[row] = image.shape[1]
    lengths = np.zeros(rows, np.int32)
    lengths[: len(images)] = np.count_nonzero(labels, axis=1)
    ids = np.zeros((rows, labels.shape[1]), np.int32)
    ids[: len(images)] = labels
    return Batch(pixels, widths, ids, lengths)


def stream_batches(
    items: Iterable[T],
    load: Callable[[T], np.ndarray],
    preprocess: Preprocess,
    batch_size: int,
    label: Callable[[T], list[int]] | None = None,
    label_length: int = 1,
) -> Iterator[Streamed]:
    """Yields batches of loaded items; every input position comes out exactly once.

    Args:
      items: what to read, in order; may be endless.
      load: makes pixels (H, W, C) uint8 of an item, or raises a DataError.
      preprocess: the model's, for the padded widths.
      batch_size: most rows of a batch. A batch that is not full is padded to 1, 8, 64, 512 or all.
      label: class ids of an item, where they are known (at most `label_length` of them).
      label_length: columns of the labels.

    Raises:
      UserError: a batch of none.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: give a number of images, 1 or more")
    ladder = padded_widths(preprocess)
    waiting: dict[int, list[tuple[int, np.ndarray, list[int]]]] = collections.defaultdict(list)

    def send(width: int) -> Streamed:
        rows = waiting.pop(width)
        size = min(batch_size, next((s for s in _SIZES if s >= len(rows)), batch_size))
        labels = np.zeros((len(rows), label_length), np.int32)
        for row, (_, _, ids) in enumerate(rows):
            labels[row, : len(ids)] = ids
        batch = stack([image for _, image, _ in rows], width, size, labels)
        return Streamed(batch, [position for position, _, _ in rows], None)

    for position, item, loaded in _load_ahead(items, load, WINDOW * batch_size):
        if isinstance(loaded, DataError):
            yield Streamed(None, [position], loaded)
        else:
            width = next(w for w in ladder if w >= loaded.shape[1])
            waiting[width].append((position, loaded, label(item) if label else []))
            if len(waiting[width]) == batch_size:
                yield send(width)
        # A rare width must not hold its rows back for ever: readings come out in input order.
        if waiting:
            oldest = min(waiting, key=lambda w: waiting[w][0][0])
            if position - waiting[oldest][0][0] >= WINDOW * batch_size:
                yield send(oldest)
    # What is left over shares batches: every width apart would compile a program of its own.
    wider = 0
    for width in sorted(waiting, reverse=True):
        near = width < wider <= _NEAR * width
        if near and len(waiting[wider]) + len(waiting[width]) <= batch_size:
            waiting[wider] += waiting.pop(width)
        else:
            wider = width
    for width in sorted(waiting):
        yield send(width)


def _load_ahead(
    items: Iterable[T], load: Callable[[T], np.ndarray], window: int
) -> Iterator[tuple[int, T, np.ndarray | DataError]]:
    def attempt(item: T) -> np.ndarray | DataError:
        try:
            return load(item)
        except DataError as error:
            return error

    with futures.ThreadPoolExecutor(_THREADS) as pool:
        source = enumerate(items)
        pending = collections.deque(
            (position, item, pool.submit(attempt, item))
            for position, item in itertools.islice(source, window)
        )
        try:
            while pending:
                position, item, future = pending.popleft()
                yield position, item, future.result()
                for position, item in itertools.islice(source, 1):
                    pending.append((position, item, pool.submit(attempt, item)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
