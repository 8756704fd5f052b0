"""The index of a training or evaluation set: every usable row with its size and its label ids.

Labels that CTC cannot learn from (unknown characters, empty, longer than the frames of the image)
are found here, named and counted, before anything trains on them.
"""

from __future__ import annotations

import array
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64
from tqdm import tqdm

from crnn_jax.charset import Charset, UnknownCharacterError
from crnn_jax.data.images import Preprocess
from crnn_jax.data.sources import Source
from crnn_jax.errors import DataError, unknown_name, without_place

UNKNOWN_POLICIES = ("error", "drop", "skip")
WIDEN = "widen"  # the image; of unknown characters, the charset before an index is built
INFEASIBLE_POLICIES = ("error", "skip", WIDEN)

MAX_NAMED = 100_000  # rows a report names; it counts all of them
_HEADER_THREADS = 16  # reading headers waits for the disk or the network, not for a core
_HEADER_CHUNK = 256  # rows per task, so that millions of rows are thousands of tasks
_TRIED = 16  # images, whether any can be read, where no sizes are
_PROGRESS_ROWS = 5_000  # fewer headers are read in about a second


@dataclass(frozen=True)
class RaggedLabels:
    """Label ids of all rows in two arrays; row i is `flat[offsets[i]:offsets[i + 1]]`."""

    flat: Int32[np.ndarray, " ids"]
    offsets: Int64[np.ndarray, " rows_and_one"]

    @classmethod
    def from_lengths(
        cls, flat: Int32[np.ndarray, " ids"], lengths: Int[np.ndarray, " rows"]
    ) -> RaggedLabels:
        """Cuts ids that follow one another into rows of the given lengths."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Int32[np.ndarray, " length"]:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, " rows"]:
        """Number of ids per row."""
        return np.diff(self.offsets)

    def select(self, mask: Bool[np.ndarray, " rows"]) -> RaggedLabels:
        """Keeps the rows where `mask` is true."""
        lengths = self.lengths
        return self.from_lengths(self.flat[np.repeat(mask, lengths)], lengths[mask])


@dataclass
class IndexReport:
    """What became of the rows of the sources."""

    rows_total: int = 0
    rows_usable: int = 0
    unknown_characters: Counter[str] = field(default_factory=Counter)  # occurrences, all rows
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (where, reason), MAX_NAMED rows
    skipped_counts: Counter[str] = field(default_factory=Counter)  # kind of reason -> rows
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # their rows stay
    unreadable_count: int = 0
    widened: int = 0  # rows whose images are stretched for their labels
    _first: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)  # per kind

    def skip(self, kind: str, where: str, reason: str) -> None:
        """Counts a row that is left out, and names it while there is room."""
        self.skipped_counts[kind] += 1
        self._first.setdefault(kind, (where, reason))
        if len(self.skipped) < MAX_NAMED:
            self.skipped.append((where, reason))

    def refuse(self, kind: str, advice: str) -> None:
        """Raises a DataError if a row was left out for a reason of this kind."""
        if kind in self._first:
            where, reason = self._first[kind]
            rows = f"{self.skipped_counts[kind]:,} of {self.rows_total:,} rows: {kind}"
            raise DataError(f"{where}: {reason} ({rows}); {advice}")

    def summary(self) -> str:
        """One line for the log."""
        text = f"{self.rows_usable:,} of {self.rows_total:,} rows usable"
        if self.skipped_counts:
            kinds = (f"{count:,} {kind}" for kind, count in sorted(self.skipped_counts.items()))
            text += f"; left out: {', '.join(kinds)}"
        if self.widened:
            text += f"; {self.widened:,} stretched for their labels"
        if self.unknown_characters:
            most = " ".join(repr(char) for char, _ in self.unknown_characters.most_common(10))
            text += f"; characters outside the charset: {most}"
        if self.unreadable_count:
            text += f"; {self.unreadable_count:,} with an unreadable image"
        return text


@dataclass(frozen=True)
class Index:
    """The usable rows of all sources, as arrays: compact and picklable for millions of rows."""

    sources: list[Source]
    source_ids: Int32[np.ndarray, " N"]  # which source
    rows: Int32[np.ndarray, " N"]  # which row of that source
    widths: Int32[np.ndarray, " N"]  # pixels that images are brought to; 0: no header to read
    labels: RaggedLabels
    report: IndexReport

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, row: int) -> tuple[Source, int]:
        """Returns the source of a row of the index and the row's number there."""
        return self.sources[self.source_ids[row]], int(self.rows[row])

    def where(self, row: int) -> str:
        """Names a row of the index for messages."""
        return _where(*self.locate(row))

    def select(self, mask: Bool[np.ndarray, " N"]) -> Index:
        """Keeps the rows where `mask` is true."""
        return replace(
            self,
            source_ids=self.source_ids[mask],
            rows=self.rows[mask],
            widths=self.widths[mask],
            labels=self.labels.select(mask),
        )

    @property
    def max_label_length(self) -> int:
        """Ids in the longest label."""
        return int(self.labels.lengths.max())


class _Label(NamedTuple):
    ids: tuple[int, ...]  # of the known characters
    repeats: int  # adjacent equal ids: CTC needs a blank between
    unknown: tuple[str, ...]


def build_index(
    sources: Sequence[Source],
    charset: Charset,
    preprocess: Preprocess,
    num_frames: Callable[[int], int],
    unknown: str = "error",
    infeasible: str = "error",
) -> Index:
    """Encodes the labels of all rows, measures the images and leaves out what cannot be used.

    A label is feasible when its ids and its adjacent repeats (each needs a blank between) fit into
    the frames of its image. An image whose header cannot be read stays, with width 0.

    Args:
      sources: row sources; a row of the index remembers which one it came from.
      charset: turns labels into class ids.
      preprocess: decides the width; with `fit='squash'` no image header is read.
      num_frames: frames that the model makes of an image of a width in pixels.
      unknown: characters outside the charset: 'error', 'drop' the characters or 'skip' the row.
      infeasible: empty and too long labels: 'error', 'skip' the row, or 'widen' the image until
        its label fits, where `fit='keep'` and its widest width allow that, and 'skip' it else.

    Raises:
      DataError: under a policy 'error' (names the first row and the count), or no row is left.
    """
    if unknown not in UNKNOWN_POLICIES:
        raise unknown_name("policy for unknown characters", unknown, UNKNOWN_POLICIES)
    if infeasible not in INFEASIBLE_POLICIES:
        raise unknown_name("policy for infeasible labels", infeasible, INFEASIBLE_POLICIES)
    index, repeats = _read_labels(list(sources), charset, unknown)
    report = index.report
    if unknown == "error":
        advice = (
            "extend config.charset, or set config.unknown to 'drop' (the characters), 'skip' (the "
            "rows) or 'widen' (the charset)"
        )
        report.refuse("unknown characters", advice)
    if infeasible == "error":
        report.refuse("empty", "mend the labels, or set config.infeasible to 'skip' (the rows)")

    index = replace(index, widths=_measure(index, preprocess))
    widest = preprocess.max_width if infeasible == WIDEN and preprocess.fit == "keep" else 0
    index = index.select(_feasible(index, repeats, num_frames, widest))
    if infeasible == "error":
        advice = (
            "widen the images (config.data.width, config.data.max_width), or set "
            "config.infeasible to 'skip' (the rows) or, where images keep their aspect, 'widen' "
            "(those images)"
        )
        report.refuse("infeasible", advice)
    report.rows_usable = len(index)
    if not len(index):
        names = ", ".join(source.name for source in sources)
        raise DataError(f"no usable row in {names or 'no source at all'}: {report.summary()}")
    return index


def _read_labels(
    sources: list[Source], charset: Charset, unknown: str
) -> tuple[Index, Int32[np.ndarray, " N"]]:
    """Returns the rows with usable text, not measured yet, and the adjacent repeats of each."""
    report = IndexReport(rows_total=sum(len(source) for source in sources))
    # Large word sets repeat few distinct words.
    encode = functools.lru_cache(maxsize=1 << 16)(functools.partial(_encode, charset))
    source_ids, rows, repeats, flat, lengths = (array.array("i") for _ in range(5))
    for number, source in enumerate(sources):
        for row in range(len(source)):
            label = encode(source.label(row))
            report.unknown_characters.update(label.unknown)
            if label.unknown and unknown != "drop":
                reason = _outside(label.unknown)
                report.skip("unknown characters", _where(source, row), reason)
                continue
            if not label.ids:
                reason = _outside(label.unknown) if label.unknown else "the label is empty"
                report.skip("empty", _where(source, row), reason)
                continue
            source_ids.append(number)
            rows.append(row)
            repeats.append(label.repeats)
            flat.extend(label.ids)
            lengths.append(len(label.ids))
    index = Index(
        sources=sources,
        source_ids=np.array(source_ids, np.int32),
        rows=np.array(rows, np.int32),
        widths=np.zeros(len(rows), np.int32),
        labels=RaggedLabels.from_lengths(np.array(flat, np.int32), np.array(lengths, np.int32)),
        report=report,
    )
    return index, np.array(repeats, np.int32)


def _encode(charset: Charset, text: str) -> _Label:
    try:
        ids, unknown = charset.encode(text), []
    except UnknownCharacterError:
        ids, unknown = charset.encode_known(text), charset.unknown(text)
    return _Label(tuple(ids), count_repeats(ids), tuple(unknown))


def _measure(index: Index, preprocess: Preprocess) -> Int32[np.ndarray, " N"]:
    """Returns widths after preprocessing, from image headers where they decide."""
    if preprocess.fit == "squash":
        return np.full(len(index), preprocess.width, np.int32)
    widths = np.zeros(len(index), np.int32)

    def measure(start: int) -> list[tuple[str, str]]:
        failed = []
        for i in range(start, min(start + _HEADER_CHUNK, len(index))):
            source, row = index.locate(i)
            try:
                widths[i] = preprocess.target_width(*source.image_size(row))
            except DataError as error:
                failed.append(_unreadable(source, row, error))
        return failed

    report, starts = index.report, range(0, len(index), _HEADER_CHUNK)
    bar = tqdm(
        total=len(index),
        desc="image sizes",
        unit=" rows",
        disable=True if len(index) <= _PROGRESS_ROWS else None,  # None: only on a terminal
    )
    with bar, futures.ThreadPoolExecutor(_HEADER_THREADS) as pool:
        for start, failed in zip(starts, pool.map(measure, starts), strict=True):
            bar.update(min(_HEADER_CHUNK, len(index) - start))
            report.unreadable_count += len(failed)
            report.unreadable.extend(failed[: MAX_NAMED - len(report.unreadable)])
    return widths


def refuse_unreadable(index: Index, preprocess: Preprocess) -> None:
    """Raises a DataError where no image of an index can be read: then its list is wrong.

    Where no sizes were read, some rows of the whole index are tried.
    """
    count, failed = len(index), index.report.unreadable
    if preprocess.fit == "keep" and index.report.unreadable_count < count:
        return
    if preprocess.fit == "squash":
        failed = []
        for row in np.linspace(0, count - 1, min(count, _TRIED), dtype=int).tolist():
            source, source_row = index.locate(row)
            try:
                source.image_size(source_row)
                return
            except DataError as error:
                failed.append(_unreadable(source, source_row, error))
    where, reason = failed[0]
    raise DataError(
        f"none of {len(failed):,} images can be read; the first: {where}: {reason}; look at "
        "the folder that the list is for, and at its columns: file name, then label"
    )


def _feasible(
    index: Index, repeats: Int32[np.ndarray, " N"], num_frames: Callable[[int], int], widest: int
) -> Bool[np.ndarray, " N"]:
    """Returns which labels fit into their frames, and reports the others.

    Images up to `widest` are made as wide as their labels need, in place. An unreadable image has
    no frames; its row stays, because it is masked later anyway.
    """
    sizes, which = np.unique(index.widths, return_inverse=True)
    frames = np.array([num_frames(int(width)) if width else 0 for width in sizes])[which]
    needed = index.labels.lengths + repeats
    feasible = (needed <= frames) | (index.widths == 0)
    if widest and not feasible.all():
        wider = np.arange(1, widest + 1)
        has = np.maximum.accumulate([num_frames(int(width)) for width in wider])
        found = np.searchsorted(has, needed)  # the first width with as many frames
        widened = ~feasible & (found < len(wider))
        index.widths[widened] = wider[found[widened]]
        index.report.widened = int(widened.sum())
        feasible |= widened
    for i in np.flatnonzero(~feasible):
        reason = (
            f"the label needs {needed[i]} frames,"
            f" the image of {index.widths[i]} px gives {frames[i]}"
        )
        index.report.skip("infeasible", index.where(int(i)), reason)
    return feasible


def count_repeats(ids: Sequence[int]) -> int:
    """Returns the neighbours that are equal: CTC needs a frame more for each."""
    return sum(a == b for a, b in itertools.pairwise(ids))


def _outside(characters: Sequence[str]) -> str:
    shown = (f"{char!r} (U+{ord(char[0]):04X})" for char in dict.fromkeys(characters))
    return f"outside the charset: {', '.join(shown)}"


def _unreadable(source: Source, row: int, error: DataError) -> tuple[str, str]:
    return _where(source, row), without_place(error, source.where(row))


def _where(source: Source, row: int) -> str:
    return f"{source.name}: {source.where(row)}"
