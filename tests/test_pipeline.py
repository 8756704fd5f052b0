from __future__ import annotations

import itertools
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from crnn_jax.charset import build_charset
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.data import pipeline
from crnn_jax.data.buckets import choose_buckets
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import Index, build_index
from crnn_jax.data.pipeline import load_batch, train_batches
from crnn_jax.data.plan import EpochPlan
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.types import Batch

KEEP = Preprocess(height=8, fit="keep", min_width=4, max_width=64)
LETTERS = build_charset("chars:abcdefgh")
BUCKETS = (16, 32, 64)
LABEL_LENGTH = 6
COUNT, BROKEN, MISSING = 45, 7, 20  # rows, one with a damaged image, one without an image


def write_words(folder: pathlib.Path) -> Index:
    rng = np.random.default_rng(0)
    lines = []
    for i in range(COUNT):
        label = "".join(rng.choice(list("abcdefgh"), 1 + i % LABEL_LENGTH))
        pixels = rng.integers(0, 256, (8, int(rng.integers(12, 64))), np.uint8)
        if i != MISSING:
            Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png\t{label}\n")
    # The header still tells a size, so only decoding finds out.
    damaged = (folder / f"{BROKEN}.png").read_bytes()
    (folder / f"{BROKEN}.png").write_bytes(damaged[:60])
    (folder / "labels.tsv").write_text("".join(lines))
    return build_index([open_source(f"tsv:{folder}")], LETTERS, KEEP, lambda width: width)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def plan(index) -> EpochPlan:
    return EpochPlan(index, 6, BUCKETS, seed=3)


def train(index, plan, start, stop, **kwargs) -> list[Batch]:
    return list(train_batches(index, plan, KEEP, start, stop, LABEL_LENGTH, **kwargs))


def assert_same(batches: list[Batch], expected: list[Batch]) -> None:
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            assert part.dtype == other_part.dtype
            assert np.array_equal(part, other_part)


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("grain")]


def wait_until(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_load_batch_pads_images_and_labels(index):
    rows = np.array([3, 11])
    batch = load_batch(index, rows, 64, LABEL_LENGTH, KEEP)
    assert [(part.shape, part.dtype) for part in batch] == [
        ((2, 8, 64, 1), np.uint8),
        ((2,), np.int32),
        ((2, LABEL_LENGTH), np.int32),
        ((2,), np.int32),
    ]
    for i, row in enumerate(rows):
        source, source_row = index.locate(int(row))
        pixels = KEEP(source.image_bytes(source_row))
        width = pixels.shape[1]
        assert batch.widths[i] == width == index.widths[row]
        assert np.array_equal(batch.images[i, :, :width], pixels)
        assert pixels.any()
        assert not batch.images[i, :, width:].any()
        ids = LETTERS.encode(source.label(source_row))
        assert batch.labels[i].tolist() == ids + [0] * (LABEL_LENGTH - len(ids))
        assert batch.label_lengths[i] == len(ids)


def test_unreadable_images_stay_in_place_as_invalid_rows(index):
    rows = np.array([1, BROKEN, MISSING, 2])
    batch = load_batch(index, rows, 64, LABEL_LENGTH, KEEP)
    assert (batch.widths > 0).tolist() == [True, False, False, True]
    assert batch.label_lengths[1:3].tolist() == [0, 0]
    assert not batch.labels[1:3].any()
    assert not batch.images[1:3].any()
    assert_same([Batch(*(part[[0, 3]] for part in batch))], [
        load_batch(index, np.array([1, 2]), 64, LABEL_LENGTH, KEEP)
    ])  # fmt: skip


def test_images_that_become_readable_stay_invalid(index, caplog):
    late = replace(index, widths=np.where(np.arange(COUNT) == 3, 0, index.widths))
    batch = load_batch(late, np.array([3, 4]), 64, LABEL_LENGTH, KEEP)
    assert (batch.widths > 0).tolist() == [False, True]
    assert load_batch(late, np.array([3]), 4, LABEL_LENGTH, KEEP).label_lengths.tolist() == [0]
    assert "(3.png): it could not be read when the images were measured" in caplog.text


def test_each_unreadable_image_is_logged_once(index, caplog, tmp_path):
    pipeline._warn.cache_clear()
    Checkpointer(tmp_path).close()  # silences what Orbax logs, which is not ours
    with caplog.at_level("WARNING", logger="crnn_jax"):
        for _ in range(3):
            load_batch(index, np.array([1, BROKEN, MISSING]), 64, LABEL_LENGTH, KEEP)
    missing, damaged = sorted(caplog.messages, key=lambda text: "damaged" in text)
    assert f"labels.tsv row {BROKEN + 1} ({BROKEN}.png): damaged" in damaged
    assert f"labels.tsv row {MISSING + 1} ({MISSING}.png): the image file is missing" in missing


def test_load_batch_in_colour(index):
    colour = Preprocess(height=8, channels=3, fit="squash", width=20)
    index = replace(index, widths=np.full(len(index), 20, np.int32))
    batch = load_batch(index, np.arange(4), 24, LABEL_LENGTH, colour)
    assert batch.images.shape == (4, 8, 24, 3)
    assert batch.widths.tolist() == [20] * 4


def test_what_does_not_fit_is_an_error_that_names_the_row(index):
    widest = int(index.widths.argmax())
    with pytest.raises(ValueError, match=rf"labels.tsv row {widest + 1} .*do not fit into 16 px"):
        load_batch(index, np.array([widest]), 16, LABEL_LENGTH, KEEP)
    with pytest.raises(ValueError, match="and 2 ids"):
        load_batch(index, np.array([5]), 64, 2, KEEP)
    with pytest.raises(UserError, match=r"longest label has 6 .* raise it to 6"):
        train_batches(index, EpochPlan(index, 6, BUCKETS, 0), KEEP, 0, 4, 5)


def test_train_batches_are_those_of_the_plan(index, plan):
    stop = 2 * plan.steps_per_epoch + 3
    batches = train(index, plan, 0, stop)
    expected = []
    for i in range(stop):
        width, rows = plan.step(i)
        expected.append(load_batch(index, rows, width, LABEL_LENGTH, KEEP))
    assert_same(batches, expected)
    assert {batch.images.shape[2] for batch in batches} == set(BUCKETS)
    invalid = sum(int((batch.widths == 0).sum()) for batch in batches[: plan.steps_per_epoch])
    assert invalid in (1, 2), "both unreadable rows stay, unless the remainder leaves one out"


def test_resumed_batches_are_the_tail_of_the_full_run(index, plan):
    full = train(index, plan, 0, 20)
    for start in (1, plan.steps_per_epoch, 13, 19):
        assert_same(train(index, plan, start, 20), full[start:])
    assert train(index, plan, 20, 20) == []


def test_worker_processes_give_the_same_batches(index, plan):
    full = train(index, plan, 0, 9)
    batches = train(index, plan, 0, 9, workers=2)
    assert_same(batches, full)
    assert all(type(part) is np.ndarray for batch in batches for part in batch), "no shared memory"


@pytest.mark.slow
def test_worker_processes_resume_alike_in_any_number(index, plan):
    full = train(index, plan, 0, 9)
    assert_same(train(index, plan, 4, 9, workers=2), full[4:])
    assert_same(train(index, plan, 2, 9, workers=3), full[2:])
    assert_same(train(index, plan, 8, 9, workers=2), full[8:])  # fewer steps than workers


def test_hosts_share_each_batch(index, plan):
    whole = train(index, plan, 0, 9)
    for hosts in (2, 3):
        shares = [
            train(index, plan, 0, 9, process_index=i, process_count=hosts) for i in range(hosts)
        ]
        for batch, *parts in zip(whole, *shares, strict=True):
            merged = Batch(*map(np.concatenate, zip(*parts, strict=True)))
            assert_same([merged], [batch])
    by_columns = EpochPlan(index, 8, BUCKETS, seed=3, batch_by="columns")
    with pytest.raises(UserError, match=r"over 8 hosts: make the .* multiple of 128 times config"):
        train(index, by_columns, 0, 9, process_count=8)
    with pytest.raises(UserError, match="batch of 6 rows does not split over 4 hosts"):
        train(index, plan, 0, 1, process_count=4)
    with pytest.raises(ValueError, match="process 2 of 2"):
        train(index, plan, 0, 1, process_index=2, process_count=2)


def test_at_most_the_stated_number_of_batches_is_held(index, plan, monkeypatch):
    started = []
    load = pipeline.load_batch

    def counting(*args):
        started.append(args)
        return load(*args)

    monkeypatch.setattr(pipeline, "load_batch", counting)
    batches = train_batches(index, plan, KEEP, 0, 200, LABEL_LENGTH)
    for consumed in range(1, 6):
        next(batches)
        assert wait_until(lambda: len(started) >= consumed + pipeline.MAX_BATCHES_AHEAD)  # noqa: B023
        time.sleep(0.05)
        assert len(started) == consumed + pipeline.MAX_BATCHES_AHEAD
    batches.close()


class LoggingPlan(EpochPlan):
    """Writes down each step it is asked for, in whatever process."""

    log: pathlib.Path

    def step(self, i):
        with self.log.open("a") as file:
            file.write(f"{i} ")
        return super().step(i)


@pytest.mark.slow
def test_at_most_the_stated_number_of_batches_is_held_per_worker(index, tmp_path):
    plan = LoggingPlan(index, 6, BUCKETS, seed=3)
    plan.log = tmp_path / "steps"
    batches = train_batches(index, plan, KEEP, 0, 1_000, LABEL_LENGTH, workers=2)

    def started():
        return len(plan.log.read_text().split())

    for consumed in range(1, 6):
        next(batches)
        # Of each of two workers: in hand, queued, received, being handed over.
        allowed = consumed + 2 * 4
        assert wait_until(lambda: started() >= allowed)  # noqa: B023
        time.sleep(0.2)
        assert started() == allowed
    batches.close()
    assert not multiprocessing.active_children()


def test_loading_runs_ahead_of_the_consumer(index, plan, monkeypatch):
    names = []
    load = pipeline.load_batch

    def spying(*args):
        names.append(threading.current_thread().name)
        return load(*args)

    monkeypatch.setattr(pipeline, "load_batch", spying)
    batches = train_batches(index, plan, KEEP, 0, 20, LABEL_LENGTH)
    next(batches)
    assert wait_until(lambda: len(names) > 4)
    assert threading.current_thread().name not in names
    batches.close()


@pytest.mark.parametrize("leave", ["exhausted", "broken off"])
def test_threads_end_with_the_iterator(index, plan, leave):
    assert wait_until(lambda: not loader_threads())
    batches = train_batches(index, plan, KEEP, 0, 12, LABEL_LENGTH)
    for _ in batches if leave == "exhausted" else itertools.islice(batches, 2):
        assert loader_threads()
    del batches
    assert wait_until(lambda: not loader_threads())


def test_an_error_while_loading_reaches_the_consumer(index, plan, monkeypatch):
    def failing(*args):
        raise OSError("disk on fire")

    batches = train_batches(index, plan, KEEP, 0, 12, LABEL_LENGTH)
    monkeypatch.setattr(pipeline, "load_batch", failing)
    with pytest.raises(OSError, match="disk on fire"):
        next(batches)


def test_stopping_is_for_the_process_that_reads(index, plan):
    """A terminal's Ctrl-C goes to all; a worker that is killed is told in one line."""
    batches = train_batches(index, plan, KEEP, 0, 1_000, LABEL_LENGTH, workers=2)
    first = next(batches), next(batches)  # one of each: both have started
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
    assert_same([*first, *itertools.islice(batches, 19)], train(index, plan, 0, 21))
    assert all(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.kill()
    with pytest.raises(UserError, match=r"config\.data\.workers was killed.* goes on"):
        list(batches)


PROGRAM = """
import multiprocessing, pathlib, sys

sys.path.insert(0, sys.argv[2])

if __name__ == "__main__":
    import test_pipeline as t

    index = t.write_words(pathlib.Path(sys.argv[1]))
    plan = t.EpochPlan(index, 6, t.BUCKETS, seed=3)
    workers = int(sys.argv[3])
    stop = int(sys.argv[4])
    batches = t.train_batches(index, plan, t.KEEP, 0, stop, t.LABEL_LENGTH, workers=workers)
    for number, batch in enumerate(batches):
        print(batch.widths.tolist())
        if number == 2 and stop > 3:
            break
    print(len(multiprocessing.active_children()), "workers")
"""


@pytest.mark.parametrize(
    ("workers", "stop"), [(0, 10_000), (2, 10_000), pytest.param(2, 3, marks=pytest.mark.slow)]
)
def test_a_program_ends_that_holds_the_iterator(index, plan, tmp_path, workers, stop):
    """It parses no flags, reads three batches, and exits without closing anything."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "words").mkdir()
    here = str(pathlib.Path(__file__).parent)
    command = [sys.executable, "program.py", "words", here, str(workers), str(stop)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert not re.search("Exception|Traceback|leaked", ran.stderr), ran.stderr
    expected = [str(batch.widths.tolist()) for batch in train(index, plan, 0, 3)]
    assert ran.stdout.splitlines() == [*expected, f"{workers if stop > 3 else 0} workers"]


def test_real_words_through_the_whole_pipeline(real_data):
    source = open_source(f"tsv:{real_data / 'svt_test'}::limit=64")
    keep = Preprocess(height=32, fit="keep", max_width=256)
    index = build_index([source], build_charset("alnum36"), keep, lambda w: w // 4)
    buckets = choose_buckets(index.widths, 3)
    plan = EpochPlan(index, 16, buckets, seed=0)
    length = index.max_label_length
    batches = list(train_batches(index, plan, keep, 0, plan.steps_per_epoch, length))
    assert sorted(np.concatenate([b.widths for b in batches])) == sorted(index.widths)
    assert all((b.images.reshape(16, -1).std(axis=1) > 5).all() for b in batches), "no blank image"
