"""Sources: random access to the labelled images of a set, whatever form it is stored in.

A source opens completely when it is made, so that a mistake shows at once; it pickles as a path
and reopens where it is unpickled, in a worker process for instance. To add a kind: a class with
the methods of `Source`, an opener in `SOURCES`, an example in `spec.KINDS`.
"""

from __future__ import annotations

import collections
import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from crnn_jax import bidi
from crnn_jax.data import chain, folders, listed, lmdb_source, mjsynth_source
from crnn_jax.data.publishers import iiit5k, tagsets
from crnn_jax.data.spec import Spec, parse_spec
from crnn_jax.errors import DataError, UserError


@runtime_checkable
class Source(Protocol):
    """Labelled images, counted from 0. Methods are safe to call from several threads."""

    name: str

    def __len__(self) -> int: ...

    def key(self, i: int) -> str:
        """Returns the row's file name or record key: what `group=` is applied to."""
        ...

    def label(self, i: int) -> str:
        """Returns the row's text, as stored."""
        ...

    def lexicon(self, i: int) -> tuple[str, ...]:
        """Returns the words that the row's text is known to be among; empty when not given."""
        ...

    def image_bytes(self, i: int) -> bytes:
        """Returns the encoded image. Raises ImageError, which says where, if there is none."""
        ...

    def image_size(self, i: int) -> tuple[int, int]:
        """Returns (width, height) from the header. Raises ImageError, as `images.image_size`."""
        ...

    def where(self, i: int) -> str:
        """Returns where the row stands, for messages: 'labels.tsv row 17 (img.png)'."""
        ...

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        """Returns a hash of keys, labels and image file sizes, of all rows or of these."""
        ...


class _Subset:
    """Some rows of a source, under a name of their own."""

    def __init__(self, source: Source, rows: range | np.ndarray, name: str):
        self.name = name
        self._source = source
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, i: int) -> str:
        return self._source.key(int(self._rows[i]))

    def label(self, i: int) -> str:
        return self._source.label(int(self._rows[i]))

    def lexicon(self, i: int) -> tuple[str, ...]:
        return self._source.lexicon(int(self._rows[i]))

    def image_bytes(self, i: int) -> bytes:
        return self._source.image_bytes(int(self._rows[i]))

    def image_size(self, i: int) -> tuple[int, int]:
        return self._source.image_size(int(self._rows[i]))

    def where(self, i: int) -> str:
        return self._source.where(int(self._rows[i]))

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        own = self._rows if rows is None else [self._rows[i] for i in rows]
        return self._source.fingerprint([int(row) for row in own])


class _Turned(_Subset):
    """Rows of which the texts stand in the order of the picture, in the order of reading."""

    def label(self, i: int) -> str:
        return bidi.reorder(super().label(i))

    def lexicon(self, i: int) -> tuple[str, ...]:
        return tuple(map(bidi.reorder, super().lexicon(i)))

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        return f"turned {super().fingerprint(rows)}"


def open_source(spec: str | Spec) -> Source:
    """Opens an image set with its options applied: rows, then split, then limit.

    `split=` puts whole groups on one side. Words cut from one photograph must not be on both:
    iiit5k_train names its files PHOTO_WORD.jpg, so `group=^[^_]+` (all before the first `_`) makes
    `tsv:iiit5k_train::split=0:90,group=^[^_]+` and `...split=90:100,group=^[^_]+` free of leaks,
    where a split without groups has the other words of most of its photographs on the other side.

    Raises:
      UserError: a SPEC that does not parse.
      DataError: a set that cannot be opened, or of which the options leave nothing.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    source = chain.open_all(spec, SOURCES[spec.kind])
    part = range(len(source))
    if not part:
        raise DataError(f"{spec.kind}:{spec.location} has no rows: give one that has")
    if spec.rows is not None:
        start, stop = spec.rows
        if stop > len(source):
            raise DataError(
                f"rows={start}:{stop} goes beyond the end of {spec.kind}:{spec.location}, "
                f"which has {len(source)} rows: write at most rows={start}:{len(source)}"
            )
        part = range(start, stop)
    rows: range | np.ndarray = part
    if spec.split is not None:
        percents = _percents([source.key(i) for i in part], spec)
        low, high = spec.split
        rows = part.start + np.flatnonzero((low <= percents) & (percents < high)).astype(np.int32)
        if not len(rows):
            raise DataError(f"{spec} leaves no rows: widen the split or give more rows")
    rows = rows[: spec.limit]
    if spec.order == "picture":
        return _Turned(source, rows, spec.name or source.name)
    if spec.name is None and len(rows) == len(source):
        return source
    return _Subset(source, rows, spec.name or source.name)


def check_names(sources: Sequence[Source], where: str = "") -> None:
    """Raises a UserError, which begins with `where`, for sets that no result could tell apart."""
    counts = collections.Counter(source.name for source in sources)
    if several := [name for name, count in counts.items() if count > 1]:
        raise UserError(
            f"{where}two sets have one name ({several[0]}): tell them apart with ::name=NAME"
        )


def _percents(keys: list[str], spec: Spec) -> np.ndarray:
    """Returns where each row's group falls in [0, 100), by its hash alone."""
    return np.array([_hash_fraction(group) for group in row_groups(keys, spec)]) * 100


def row_groups(keys: list[str], spec: Spec) -> list[str]:
    """Returns the group of each row by its key: what `group=` finds there, else the key itself.

    Raises:
      DataError: `group=` matches none of the keys.
    """
    if spec.group is None:
        return keys
    pattern = re.compile(spec.group)
    matches = [pattern.search(key) for key in keys]
    if not any(matches):
        raise DataError(
            f"group={spec.group} matches no row of {spec.kind}:{spec.location}, "
            f"whose first key is {keys[0]!r}: mend the regular expression"
        )
    return [key if m is None else _group(m) for key, m in zip(keys, matches, strict=True)]


def _group(match: re.Match) -> str:
    return match[1] if match.re.groups and match[1] is not None else match[0]


def _hash_fraction(group: str) -> float:
    # File systems disagree about the normal form of one and the same name.
    text = unicodedata.normalize("NFC", group)
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # exact, below 1


def _open_parquet(spec: Spec) -> Source:
    from crnn_jax.data import parquet_source  # needs pyarrow, an extra

    return parquet_source.open_parquet(spec)


def _open_tfds(spec: Spec) -> Source:
    from crnn_jax.data import tfds_source  # imports TFDS, which takes seconds

    return tfds_source.open_tfds(spec.location)


def _open_synth(spec: Spec) -> Source:
    from crnn_jax.synth import source  # imports JAX

    return source.SynthSource(spec)


def _open_bank(spec: Spec) -> Source:
    from crnn_jax.synth import bank

    return bank.BankSource(spec.location)


# kind -> opener of a SPEC, its options aside; the kinds' examples are in `spec.KINDS`.
SOURCES: dict[str, Callable[[Spec], Source]] = {
    **dict.fromkeys(("tsv", "csv", "jsonl", "doctr", "paddle", "icdar"), listed.open_listed),
    "names": folders.open_names,
    "pairs": folders.open_pairs,
    "iiit5k": iiit5k.open_iiit5k,
    "svt": tagsets.open_svt,
    "icdar03": tagsets.open_icdar03,
    "lmdb": lmdb_source.open_lmdb,
    "mjsynth": mjsynth_source.open_mjsynth,
    "parquet": _open_parquet,
    "tfds": _open_tfds,
    "synth": _open_synth,
    "bank": _open_bank,
}
