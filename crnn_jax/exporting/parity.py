"""The gate: an artefact that does not read as its checkpoint does is not written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from crnn_jax import runtime
from crnn_jax.data.sources import open_source
from crnn_jax.errors import DataError, UserError

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.recognizer import Recognizer

COUNT = 200  # images
BATCHES = (1, 3, 16)
TOLERANCE = 1e-3  # of a posterior
_WIDTHS = 8  # of the images of a model that keeps the aspect: few, each may be compiled for
_SEED = 7_001

Run = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]  # images and widths -> logits and frames


@dataclasses.dataclass(frozen=True)
class Parity:
    """How close an artefact is to its checkpoint.

    Attributes:
      images: that both have read.
      widths: least and greatest, in pixels.
      difference: greatest of a posterior, on real frames.
      strings: images whose readings differ in some batch, between texts that are as likely within
        the tolerance.
    """

    images: int
    widths: tuple[int, int]
    difference: float
    strings: int

    def __str__(self) -> str:
        low, high = self.widths
        widths = f"{low} pixels wide" if low == high else f"{low} to {high} pixels wide"
        return (
            f"{self.images} images, {widths}, in batches of {', '.join(map(str, BATCHES))}: "
            f"posteriors within {self.difference:.1e}, {self.strings} readings differ"
        )


class ParityError(UserError):
    """An artefact reads otherwise.

    Attributes:
      image: the one that shows it, (H, W, C).
    """

    def __init__(self, message: str, image: np.ndarray):
        super().__init__(message)
        self.image = image


def parity_images(recognizer: Recognizer, data: str | None = None) -> list[np.ndarray]:
    """Returns preprocessed images of several widths: of a set, else rendered words.

    Those that cannot be read are left out.

    Raises:
      DataError: the set cannot be opened, or none of its first images can be read.
    """
    preprocess = recognizer.preprocess
    source = open_source(data or f"synth:scene::seed={_SEED},limit={COUNT}")
    widths = np.array([preprocess.width])
    if preprocess.fit == "keep":
        low, high = max(preprocess.min_width, 32), preprocess.max_width
        widths = np.unique(np.geomspace(low, max(low, high), _WIDTHS).astype(int))
    images = []
    for i in range(min(COUNT, len(source))):
        with contextlib.suppress(DataError):
            own = preprocess.target_width(*source.image_size(i))
            # Every other image about as wide as it is, the others of all widths in turn.
            nearest = int(np.abs(widths - own).argmin()) if i % 2 else i // 2 % len(widths)
            images.append(preprocess(source.image_bytes(i), int(widths[nearest])))
    if not images:
        raise DataError(
            f"{data}: none of its first {min(COUNT, len(source))} images can be read: give another "
            "set with --data=SPEC"
        )
    return images


def check_parity(recognizer: Recognizer, run: Run, images: Sequence[np.ndarray]) -> Parity:
    """Compares an artefact with its checkpoint.

    Args:
      recognizer: the checkpoint.
      run: the artefact.
      images: as `parity_images` returns them.

    Raises:
      ParityError: posteriors are further apart than TOLERANCE, frames are counted otherwise, or a
        reading differs where its two likeliest texts are further apart than that.
    """
    apply = jax.jit(recognizer.model.apply)
    expected = _logits(
        lambda x, w: apply(recognizer.variables, x, w),
        images,
        batch=16,
        width=max(image.shape[1] for image in images),
    )
    worst, differ = 0.0, np.zeros(len(images), bool)
    for batch in BATCHES:
        found = _logits(run, images, batch)
        for i, (image, ours, theirs) in enumerate(zip(images, expected, found, strict=True)):
            where = f"at {image.shape[1]} pixels, batch {batch}"
            if ours.shape != theirs.shape:
                raise ParityError(f"{len(ours)} frames became {len(theirs)} {where}", image)
            a, b = runtime.posteriors(ours, 1.0), runtime.posteriors(theirs, 1.0)
            difference = float(np.abs(a - b).max(initial=0.0))
            if not difference <= TOLERANCE:  # also true for NaN
                raise ParityError(f"a posterior is off by {difference:.2g} {where}", image)
            worst = max(worst, difference)
            if runtime.greedy(a) != runtime.greedy(b):
                _excuse(recognizer.charset, a, b, image, where)
                differ[i] = True
    widths = [image.shape[1] for image in images]
    return Parity(len(images), (min(widths), max(widths)), worst, int(differ.sum()))


def _logits(run: Run, images: Sequence[np.ndarray], batch: int, width: int = 0) -> list[np.ndarray]:
    """Returns the logits (T, K) of images, padded with noise to the widest of their batch."""
    noise, found = np.random.default_rng(0), []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        height, _, channels = part[0].shape
        widths = np.array([image.shape[1] for image in part], np.int32)
        # The last batch is filled up, so that one program serves all.
        missing = batch - len(part) if width else 0
        widest = max(width, int(widths.max()))
        pixels = noise.integers(0, 256, (len(part) + missing, height, widest, channels), np.uint8)
        for row, image in enumerate(part):
            pixels[row, :, : image.shape[1]] = image
        logits, frames = run(pixels, np.pad(widths, (0, missing)))
        counts = np.asarray(frames)[: len(part)]
        found += [np.asarray(own)[:n] for own, n in zip(logits, counts, strict=False)]
    return found


def _excuse(
    charset: Charset, ours: np.ndarray, theirs: np.ndarray, image: np.ndarray, where: str
) -> None:
    """Lets a reading that differs pass where its two likeliest texts are as likely."""
    scores = np.exp(runtime.log_probabilities(ours, runtime.beam(ours)))
    first, second = np.sort(np.append(scores, 0.0))[:-3:-1]
    if first - second > TOLERANCE:
        was, became = (charset.decode(runtime.greedy(p)) for p in (ours, theirs))
        raise ParityError(f"{was!r} became {became!r} {where}", image)
