"""Rows of the rendered words: row i is a pure function of (settings, split, i).

Workers import this module and what it imports: neither JAX nor TFDS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator
from typing import IO

import numpy as np
import PIL
from PIL import features

from crnn_jax.data import pillow_render, words
from crnn_jax.errors import DataError

VERSION = "1.0.1"  # of what a row looks like: raise it with any change of the texts or pixels

_CHUNK = 200  # rows that a worker renders and sends at once
_MIN_ROWS_PER_WORKER = 1_000  # a worker takes half a second to start
_WORKER = "from crnn_jax.data import word_rows; word_rows._work()"

_Job = tuple["RowSettings", str, int, int, int]  # settings, split, rows, first chunk, chunk step


@dataclasses.dataclass(frozen=True)
class RowSettings:
    """What the rows of all splits depend on."""

    seed: int = 0
    random_share: float = words.RANDOM_SHARE  # of the texts, the share of random strings


@functools.cache
def _sampler(split: str, random_share: float) -> words.TextSampler:
    return words.TextSampler(split, random_share)


def make_row(settings: RowSettings, split: str, row: int) -> tuple[bytes, str]:
    """Returns the JPEG file and the text of one row, a pure function of the arguments."""
    key = (settings.seed, words.SPLITS.index(split), row)
    rng = np.random.default_rng(np.random.SeedSequence(key))
    text = _sampler(split, settings.random_share)(rng)
    image = pillow_render.render_word(text, rng)
    return pillow_render.encode_jpeg(image, quality=int(rng.integers(50, 96))), text


@functools.cache
def ingredients() -> str:
    """Returns a hash of all that rows are made of but the settings.

    That is the fonts, the words, VERSION, and the releases of the libraries that draw, compress and
    count.
    """
    digest = hashlib.sha256(VERSION.encode())
    for face in pillow_render.FACES:
        digest.update(hashlib.sha256(pillow_render.font_path(face).read_bytes()).digest())
    digest.update(hashlib.sha256(words.dictionary_bytes()).digest())
    codecs = [str(features.version(name)) for name in ("freetype2", "jpg", "libjpeg_turbo")]
    digest.update(json.dumps([np.__version__, PIL.__version__, *codecs]).encode())
    return digest.hexdigest()


def render_rows(
    settings: RowSettings, split: str, count: int, workers: int | None = None
) -> Generator[tuple[bytes, str], None, None]:
    """Yields the rows 0 to count - 1 of a split, in order.

    Args:
      settings: what the rows depend on.
      split: "train" or "test".
      count: number of rows.
      workers: processes that render, none of them this one; 0 renders here; None uses all cores,
        or none beside this one where starting them takes longer than the rows.
    """
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = min(cores or 1, 16, count // _MIN_ROWS_PER_WORKER)
        workers = workers if workers > 1 else 0
    if workers == 0:
        yield from (make_row(settings, split, row) for row in range(count))
        return
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(_start_worker((settings, split, count, first, workers)))
            for first in range(workers)
        ]
        for chunk in range(-(-count // _CHUNK)):
            process = started[chunk % workers]
            try:
                rows = pickle.load(_stdout(process))
            except (EOFError, pickle.UnpicklingError) as error:
                raise _death(process) from error
            yield from rows


@contextlib.contextmanager
def _start_worker(job: _Job) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process that renders chunks of rows into its standard output.

    Not a multiprocessing pool: a forked child of a process that runs JAX may deadlock, and a
    spawned one imports the caller's main module, which may import JAX or lack a __main__ guard.
    A worker whose parent was killed ends when it next writes.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
    )
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            pickle.dump(job, stdin)
        yield process
    finally:
        process.kill()
        _stdout(process).close()
        process.wait()


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _death(process: subprocess.Popen[bytes]) -> Exception:
    """Returns why a process wrote no more rows: it was killed, or failed."""
    _stdout(process).close()  # one that still writes ends
    code = process.wait()
    if code < 0:
        return DataError(
            f"a process that rendered words was killed by signal {-code}, often for want of "
            "memory: free some, or let fewer processes render (taskset -c 0), then run this again"
        )
    return RuntimeError("a process that rendered words died; its own message, if any, is above")


def _work() -> None:
    """Renders every n-th chunk of the rows of the job that comes on standard input."""
    try:
        settings, split, count, first, step = pickle.load(sys.stdin.buffer)
        for start in range(first * _CHUNK, count, step * _CHUNK):
            stop = min(start + _CHUNK, count)
            rows = [make_row(settings, split, row) for row in range(start, stop)]
            sys.stdout.buffer.write(pickle.dumps(rows))
            sys.stdout.buffer.flush()
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        os._exit(1)  # the parent is gone: nobody is left to tell, and flushing would fail again
