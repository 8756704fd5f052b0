"""Streamed batches: every item once, with its own label, in few shapes and bounded memory."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from crnn_jax.data.images import Preprocess
from crnn_jax.data.stream import WINDOW, Streamed, padded_widths, stack, stream_batches
from crnn_jax.errors import DataError, ImageError

KEEP = Preprocess(height=4, fit="keep", min_width=8, max_width=64)
SQUASH = Preprocess(height=4, fit="squash", width=16)
BATCH = 8


def image(position: int, width: int) -> np.ndarray:
    """Pixels that tell which item they are of."""
    return np.full((4, width, 1), position % 255 + 1, np.uint8)


def ids(position: int) -> list[int]:
    """A label that tells which item it is of; every seventh is unknown."""
    return [position + 1] * (position % 3 + 1) if position % 7 else []


def positions(streamed: list[Streamed]) -> list[int]:
    return [position for item in streamed for position in item.positions]


@pytest.mark.parametrize("seed", range(6))
def test_every_item_comes_out_once_with_its_pixels_and_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 300))
    widths = rng.integers(8, 65, count) if seed % 2 else rng.choice([8, 64], count, p=[0.97, 0.03])
    broken = rng.random(count) < (0.3 if seed < 4 else 0)
    waits = rng.random(count) * 5e-4

    def load(position: int) -> np.ndarray:
        time.sleep(waits[position])
        if broken[position]:
            raise ImageError(f"item {position}")
        return image(position, widths[position])

    streamed = list(stream_batches(range(count), load, KEEP, BATCH, ids, label_length=3))

    assert sorted(positions(streamed)) == list(range(count))
    errors = {item.positions[0]: str(item.error) for item in streamed if item.error is not None}
    assert errors == {i: f"item {i}" for i in np.flatnonzero(broken)}
    for batch, rows, _ in (item for item in streamed if item.error is None):
        size, _, padded, _ = batch.images.shape
        assert len(rows) <= size <= BATCH
        assert padded == next(w for w in padded_widths(KEEP) if w >= max(widths[rows]))
        for row, position in enumerate(rows):
            width = widths[position]
            assert batch.widths[row] == width
            np.testing.assert_array_equal(batch.images[row, :, :width], image(position, width))
            assert not batch.images[row, :, width:].any()
            length = batch.label_lengths[row]
            assert batch.labels[row, :length].tolist() == ids(position)
            assert not batch.labels[row, length:].any()
        for part in batch:
            assert not part[len(rows) :].any()  # padding is invalid rows


def test_large_batches_that_are_not_full_are_not_padded_to_all() -> None:
    for count, size in ((60, 64), (65, 256)):
        (found,) = stream_batches(range(count), lambda i: image(i, 16), SQUASH, 256)
        assert len(found.batch.images) == size


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [8]), (8, [8]), (9, [20]), (20, [20]), (45, [20, 20, 8])]
)
def test_batches_that_are_not_full_have_few_sizes(count: int, sizes: list[int]) -> None:
    streamed = list(stream_batches(range(count), lambda i: image(i, 16), SQUASH, 20))
    assert [len(item.batch.images) for item in streamed] == sizes
    assert all(item.batch.labels.shape == (len(item.batch.images), 1) for item in streamed)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ([20, 12, 28, 60], {64: [2, 3], 20: [0, 1]}),  # 20 is too narrow for a batch of 64
        ([60] * 7 + [40] * 2, {64: [*range(7)], 48: [7, 8]}),  # no room
        ([8, 64], {64: [1], 8: [0]}),
    ],
)
def test_what_is_left_over_shares_batches(widths: list[int], expected: dict) -> None:
    load = lambda position: image(position, widths[position])  # noqa: E731
    streamed = stream_batches(range(len(widths)), load, KEEP, BATCH)
    found = {item.batch.images.shape[2]: sorted(item.positions) for item in streamed}
    assert found == expected, padded_widths(KEEP)


def test_a_batch_is_never_padded_beyond_its_size() -> None:
    streamed = list(stream_batches(range(11), lambda i: image(i, 16), SQUASH, 6))
    assert [len(item.batch.images) for item in streamed] == [6, 6]
    assert [len(item.positions) for item in streamed] == [6, 5]


def watched(load: Callable[[int], np.ndarray]) -> tuple[Iterator[Streamed], Callable[[], int]]:
    """An endless stream, and how many of its items are held: loaded and not yet come out."""
    started: set[int] = set()
    lock = threading.Lock()

    def watch(position: int) -> np.ndarray:
        with lock:
            started.add(position)
        return load(position)

    done = 0

    def stream() -> Iterator[Streamed]:
        nonlocal done
        for item in stream_batches(itertools.count(), watch, KEEP, BATCH):
            done += len(item.positions)
            yield item

    return stream(), lambda: len(started) - done


def rare_widths(position: int) -> np.ndarray:
    return image(position, 8 if position % 97 else 8 + position % 56)


def mostly_broken(position: int) -> np.ndarray:
    if position % 50:
        raise DataError("broken")
    return image(position, 8)


def all_widths(position: int) -> np.ndarray:
    return image(position, 8 + position * 7 % 57)


@pytest.mark.parametrize("load", [rare_widths, mostly_broken, all_widths])
def test_memory_is_bounded_and_no_item_waits_for_ever(load: Callable) -> None:
    window = WINDOW * BATCH
    stream, held = watched(load)
    most, newest, waiting = 0, 0, set()
    for item in itertools.islice(stream, 600):
        most = max(most, held())
        waiting |= set(range(newest, max(item.positions) + 1))
        newest = max(newest, max(item.positions) + 1)
        waiting -= set(item.positions)
        assert not waiting or newest - min(waiting) <= window + BATCH
    assert newest > 4 * window
    # A window that is being loaded, and at most a window that waits for a batch of its width.
    assert most <= 2 * window + BATCH
    stream.close()


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in itertools.count():
            taken += 1
            yield i

    stream = stream_batches(items(), lambda i: image(i, 16), SQUASH, BATCH)
    for batches in range(1, 20):
        next(stream)
        assert taken <= batches * BATCH + WINDOW * BATCH


def test_leaving_early_ends_the_loading() -> None:
    before = threading.active_count()
    loaded = []

    def load(position: int) -> np.ndarray:
        time.sleep(1e-3)
        loaded.append(position)
        return image(position, 16)

    stream = stream_batches(range(10_000), load, SQUASH, BATCH)
    next(stream)
    stream.close()
    count = len(loaded)
    time.sleep(0.02)
    assert len(loaded) == count < WINDOW * BATCH + BATCH
    assert threading.active_count() == before


def test_a_mistake_in_the_program_is_not_taken_for_a_bad_image() -> None:
    def load(position: int) -> np.ndarray:
        return image(position, 16 // (position - 3))

    with pytest.raises(ZeroDivisionError):
        list(stream_batches(range(3, 9), load, SQUASH, BATCH))


def test_nothing_in_nothing_out() -> None:
    assert list(stream_batches([], lambda i: image(i, 16), SQUASH, BATCH)) == []


def test_padded_widths_are_few_ascending_and_end_at_the_widest() -> None:
    assert padded_widths(SQUASH) == (16,)
    for low, high in ((16, 512), (8, 64), (32, 33), (20, 20), (1, 9)):
        ladder = padded_widths(Preprocess(fit="keep", min_width=low, max_width=high))
        assert list(ladder) == sorted(set(ladder))
        assert ladder[0] == low
        assert ladder[-1] == high
        assert len(ladder) <= 10


def test_stack_marks_padding_as_invalid() -> None:
    batch = stack([image(0, 5), image(1, 9)], 12, 4, np.array([[3, 4], [5, 0]], np.int32))
    assert batch.images.shape == (4, 4, 12, 1)
    assert batch.widths.tolist() == [5, 9, 0, 0]
    assert batch.label_lengths.tolist() == [2, 1, 0, 0]
    assert batch.labels.tolist() == [[3, 4], [5, 0], [0, 0], [0, 0]]
