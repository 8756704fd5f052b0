"""The rows of a set under audit: every image decoded once, and what is kept of it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt64
from PIL import Image
from tqdm import tqdm

from crnn_jax.auditing.near_duplicates import BITS, perceptual_hash
from crnn_jax.data.images import decode_image, image_size
from crnn_jax.data.sources import Source
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, without_place

MAX_NAMED = 10_000  # rows a finding names; it counts all of them
_THREADS = min(os.cpu_count() or 1, 8)  # decoding releases the interpreter lock
_AHEAD = 32  # rows in hand per thread
_LARGE = 4_000_000  # pixels: larger images are decoded one at a time, 64 of these at most


class Row(NamedTuple):
    """A row of one of the sets."""

    set: int
    row: int


@dataclass(frozen=True)
class Images:
    """What is kept of the images of a set, row by row.

    Attributes:
      widths, heights: upright, in pixels; 0 where the image cannot be read.
      digests: hash of size and decoded RGB pixels.
      hashes: perceptual, see `near_duplicates`.
      contrasts: of what was hashed, in grey levels.
      errors: why rows cannot be read, of the first MAX_NAMED.
    """

    widths: Int32[np.ndarray, " N"]
    heights: Int32[np.ndarray, " N"]
    digests: UInt64[np.ndarray, " N"]
    hashes: UInt64[np.ndarray, "N words"]
    contrasts: Float32[np.ndarray, " N"]
    errors: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of_count(cls, count: int) -> Images:
        """Returns `count` rows of nothing yet."""
        return cls(
            np.zeros(count, np.int32),
            np.zeros(count, np.int32),
            np.zeros(count, np.uint64),
            np.zeros((count, BITS // 64), np.uint64),
            np.zeros(count, np.float32),
        )

    @property
    def readable(self) -> Bool[np.ndarray, " N"]:
        """Which rows have an image."""
        return self.widths > 0

    @property
    def aspects(self) -> Float32[np.ndarray, " N"]:
        """Width / height; 1 where the image cannot be read."""
        return np.where(self.readable, self.widths / np.maximum(self.heights, 1), 1).astype(
            np.float32
        )


@dataclass(frozen=True)
class AuditSet:
    """A set under audit.

    Attributes:
      name: unlike that of any other set of the audit.
      spec: what opened it.
      source: its rows.
      images: what is kept of its images.
      against: whether it is only compared with.
    """

    name: str
    spec: Spec
    source: Source
    images: Images
    against: bool = False


class _Seen(NamedTuple):
    width: int
    height: int
    digest: int
    hash: np.ndarray
    contrast: float


_large_lock = threading.Lock()


def read_images(source: Source, progress: bool = True) -> Images:
    """Decodes every image of a source, with a bar on a terminal when that takes seconds.

    An image that cannot be decoded, or has more pixels than `crnn_jax.data.images` allows, is
    kept as its error.
    """
    images = Images.of_count(len(source))
    bar = tqdm(
        total=len(source),
        desc=source.name,
        unit="img",
        delay=1,
        disable=None if progress else True,  # None: only on a terminal
        dynamic_ncols=True,
    )
    with bar:
        for row, seen in _seen(source):
            if isinstance(seen, DataError):
                if len(images.errors) < MAX_NAMED:
                    images.errors[row] = without_place(seen, source.where(row))
            else:
                images.widths[row], images.heights[row] = seen.width, seen.height
                images.digests[row] = seen.digest
                images.hashes[row], images.contrasts[row] = seen.hash, seen.contrast
            bar.update()
    return images


def _seen(source: Source) -> Iterator[tuple[int, _Seen | DataError]]:
    """Yields what was seen of every row, in order, with a bounded number of rows in hand."""
    pending: deque[futures.Future] = deque()
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        try:
            done = 0
            for row in range(len(source)):
                pending.append(pool.submit(_look, source, row))
                if len(pending) == _THREADS * _AHEAD:
                    yield done, pending.popleft().result()
                    done += 1
            while pending:
                yield done, pending.popleft().result()
                done += 1
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _look(source: Source, row: int) -> _Seen | DataError:
    try:
        data = source.image_bytes(row)
        width, height = image_size(data)
        if width * height <= _LARGE:
            return _examine(data)
        with _large_lock:  # each thread holding such an image would fill the memory
            return _examine(data)
    except DataError as error:
        return error


def _examine(data: bytes) -> _Seen:
    pixels = decode_image(data, channels=3)
    height, width, _ = pixels.shape
    digest = hashlib.blake2b(f"{width} {height} ".encode(), digest_size=8)
    digest.update(pixels.data)
    grey = Image.fromarray(pixels).convert("L")
    return _Seen(width, height, int.from_bytes(digest.digest(), "little"), *perceptual_hash(grey))
