"""What can be wrong with the images of a set: sizes, aspects, and the frames that labels need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from crnn_jax.auditing.findings import Collector, Finding
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.charset import Charset
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import count_repeats

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

TALL = 1.5  # height / width; single letters and pairs of narrow ones may be that tall
TALL_LENGTH = 3  # characters of a label that makes it suspicious
PAGE_SIDE = 600  # pixels of the shorter side; crops of words are seldom that high
PAGE_ASPECT = (0.4, 2.5)  # width / height: paper and photographs, upright or lying
BLANK = 2.0  # grey levels of contrast, JPEG noise included
_FEWEST = 20  # rows: fewer have no distribution to be outside of
_OWN_CLASS = 50  # rows of one label length that are compared among themselves
_OUTLIER = 4.5  # robust standard deviations: 1 in 150,000 of a normal distribution
_LEAST_SPREAD = 0.15  # in log space, so that sets of one size do not report rounding


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Returns the QUANTILES of some values by name, '0.5' the median; none of no values."""
    if not len(values):
        return {}
    found = np.quantile(values.astype(np.float64), QUANTILES)
    return {str(q): round(float(value), 4) for q, value in zip(QUANTILES, found, strict=True)}


def label_lengths(audited: AuditSet) -> Int64[np.ndarray, " N"]:
    """Returns the code points of every label, blanks around it aside."""
    return np.array([len(audited.source.label(i).strip()) for i in range(len(audited.source))])


def check_shapes(number: int, audited: AuditSet) -> list[Finding]:
    """Returns the findings about what the images of set `number` look like."""
    images, lengths = audited.images, label_lengths(audited)
    kinds = ("unreadable_image", "page", "tall_image", "aspect_outlier", "blank_image")
    found = {kind: Collector(kind, number) for kind in kinds}
    readable = images.readable
    for i in np.flatnonzero(~readable).tolist():
        found["unreadable_image"].add([Row(number, i)], images.errors.get(i, ""))

    def report(kind: str, which: np.ndarray, detail: Callable[[int], str]) -> None:
        for i in which.tolist():
            size = {"width": int(images.widths[i]), "height": int(images.heights[i])}
            found[kind].add([Row(number, i)], detail(i), **size)

    def size(i: int) -> str:
        return f"{images.widths[i]} x {images.heights[i]} px"

    shorter = np.minimum(images.widths, images.heights)
    low, high = PAGE_ASPECT
    page = (shorter >= PAGE_SIDE) & (low <= images.aspects) & (images.aspects <= high)
    report("page", np.flatnonzero(page), size)
    tall = readable & ~page & (lengths >= TALL_LENGTH) & (images.aspects <= 1 / TALL)
    report("tall_image", np.flatnonzero(tall), size)
    report(
        "blank_image",
        np.flatnonzero(readable & (images.contrasts < BLANK)),
        lambda i: f"standard deviation {images.contrasts[i]:.1f} of 255 grey levels",
    )
    scores = aspect_scores(images.aspects, lengths, readable & ~page & ~tall & (lengths > 0))
    outliers = np.flatnonzero(np.abs(scores) > _OUTLIER)
    outliers = outliers[np.argsort(-np.abs(scores[outliers]), kind="stable")]
    report(
        "aspect_outlier",
        outliers,
        lambda i: (
            f"{size(i)} for {_characters(int(lengths[i]))}, {abs(scores[i]):.1f} deviations too "
            + ("long" if scores[i] > 0 else "short")
        ),
    )
    return [finding for each in found.values() for finding in each.findings()]


def aspect_scores(
    aspects: np.ndarray, lengths: np.ndarray, usable: Bool[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """Returns how far each image is from the length that its label lets expect; 0 where unusable.

    In log space, and in robust standard deviations (of the median's absolute deviation) of the
    rows with labels of the same length where there are enough of them, else of all rows: short
    labels have relatively wider margins and vary more.
    """
    scores = np.zeros(len(aspects))
    if np.count_nonzero(usable) < _FEWEST:
        return scores
    per_character = np.log(np.where(usable, aspects / np.maximum(lengths, 1), 1.0))
    common = _centre_and_spread(per_character[usable])
    for length in np.unique(lengths[usable]):
        rows = usable & (lengths == length)
        own = np.count_nonzero(rows) >= _OWN_CLASS
        centre, spread = _centre_and_spread(per_character[rows]) if own else common
        scores[rows] = (per_character[rows] - centre) / spread
    return scores


def _centre_and_spread(values: np.ndarray) -> tuple[float, float]:
    centre = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - centre)))  # of a normal distribution: sigma
    return centre, max(spread, _LEAST_SPREAD)


def check_frames(
    number: int,
    audited: AuditSet,
    charset: Charset,
    preprocess: Preprocess,
    num_frames: Callable[[Any], Any],
) -> list[Finding]:
    """Returns the finding about labels that CTC cannot spell in the frames of their images.

    A label needs a frame per character and one more between equal neighbours. Characters outside
    the charset are left out of it, as they are reported on their own.

    Args:
      number: of the set.
      audited: the set.
      charset: of the model.
      preprocess: decides the width that an image comes out with.
      num_frames: frames that the model makes of images of such widths (an array).
    """
    found = Collector("too_long_label", number)
    rows = np.flatnonzero(audited.images.readable)
    sizes = zip(audited.images.widths[rows], audited.images.heights[rows], strict=True)
    widths = np.array([preprocess.target_width(int(w), int(h)) for w, h in sizes], np.int64)
    frames = np.asarray(num_frames(widths)) if len(widths) else widths
    for i, width, have in zip(rows.tolist(), widths.tolist(), frames.tolist(), strict=True):
        ids = charset.encode_known(audited.source.label(i))
        needed = len(ids) + count_repeats(ids)
        if needed > have:
            detail = f"needs {needed} frames, {width} px give {have}"
            found.add([Row(number, i)], detail, needed=needed, frames=have, width=width)
    return found.findings()


def _characters(count: int) -> str:
    return f"{count} character" + ("" if count == 1 else "s")
