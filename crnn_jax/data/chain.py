"""Several sets read as one: what a location with wildcards matches."""

from __future__ import annotations

import bisect
import dataclasses
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crnn_jax.data.files_of_rows import digest, is_utf8
from crnn_jax.data.folders import SUFFIXES, TEXT_SUFFIX
from crnn_jax.data.listed import FORMS
from crnn_jax.data.lmdb_files import LMDB_FILE
from crnn_jax.data.spec import Spec, tfds_splits
from crnn_jax.errors import DataError

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

_NOT_FILES = ("tfds", "synth")  # their locations are names
# Kinds of which a location is a folder, and how the names of files in such a folder end.
_FOLDERS = {"names": SUFFIXES, "pairs": (TEXT_SUFFIX,), "lmdb": (LMDB_FILE,)}
_FOLDERS |= {"iiit5k": ("data.mat",), "svt": (".xml",)}


def open_all(spec: Spec, open_one: Callable[[Spec], Source]) -> Source:
    """Opens what a SPEC's location matches, in the order of the paths, as one set.

    Raises:
      DataError: as the opener does; nothing matches.
    """
    pattern = os.path.expanduser(spec.location)
    exists = os.path.exists(pattern)  # brackets may be part of a name
    if spec.kind == "lmdb" and exists and not os.path.exists(os.path.join(pattern, LMDB_FILE)):
        pattern = os.path.join(glob.escape(pattern), "**")  # a folder of such folders
    elif spec.kind in _NOT_FILES or exists or not glob.has_magic(pattern):
        return open_one(spec)
    base = _fixed_part(pattern)
    found = glob.iglob(pattern, recursive=True)
    paths = sorted({os.path.normpath(path) for path in found if _is_meant(spec.kind, path)})
    sources = [open_one(dataclasses.replace(spec, location=path)) for path in paths]
    if not sources:
        what = "folder of it" if spec.kind in _FOLDERS else "file"
        raise DataError(
            f"{spec.kind}:{spec.location} matches no {what}: looked below {os.path.abspath(base)}"
        )
    prefixes = [os.path.relpath(path, base).replace(os.sep, "/") for path in paths]
    if odd := [prefix for prefix in prefixes if not is_utf8(prefix)]:
        raise DataError(
            f"{spec.kind}:{spec.location}: the name {os.fsencode(odd[0])!r} is not UTF-8: rename it"
        )
    return _ChainSource(sources, prefixes, os.path.basename(os.path.abspath(base)))


def root(spec: Spec) -> str:
    """Returns the place that the keys of a SPEC's rows count from, as KIND:PATH.

    With the key behind it, it is the same for one row, however the SPECs that read it are written:
    `tsv:DIR` and `tsv:DIR/*.tsv`, or a folder of LMDB folders and one of them. Slices of a TFDS
    split are taken away: their keys are those of the whole split.
    """
    location = os.path.expanduser(spec.location)
    if spec.kind == "tfds":
        folder, _, split = location.rpartition("/")
        if os.path.isdir(folder):
            versions = glob.glob(os.path.join(glob.escape(folder), "*", "dataset_info.json"))
            folder = os.path.realpath(os.path.dirname(versions[0]) if versions else folder)
        parts = sorted(set(tfds_splits(split)))
        return f"tfds:{folder}/{'+'.join(parts)}"
    if not os.path.exists(location) and glob.has_magic(location):
        location = _fixed_part(location)
    elif spec.kind in FORMS and os.path.isdir(location):
        location = os.path.join(location, FORMS[spec.kind].file)
    return f"{spec.kind}:{os.path.realpath(location) if os.path.exists(location) else location}"


def join(sources: Sequence[Source]) -> Source:
    """Returns sources, one after another, as one set; a single one as it is."""
    if len(sources) == 1:
        return sources[0]
    prefixes = [f"{number}_{source.name}" for number, source in enumerate(sources, start=1)]
    return _ChainSource(sources, prefixes, "+".join(source.name for source in sources))


def _fixed_part(pattern: str) -> str:
    """Returns the folder that all matches of a pattern lie below."""
    parts = []
    for part in pattern.split("/")[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    if parts == [""]:
        return "/"
    return "/".join(parts) or "."


def _is_meant(kind: str, path: str) -> bool:
    """Returns whether a path that a wildcard matches is one that the kind reads."""
    if kind not in _FOLDERS:
        return os.path.isfile(path)
    if not os.path.isdir(path):
        return False
    endings = _FOLDERS[kind]
    return any(n.lower().endswith(endings) and not n.startswith(".") for n in os.listdir(path))


class _ChainSource:
    """Sources one after another; a row's key begins with the path of its source.

    Args:
      sources: at least one.
      prefixes: of their keys.
      name: of the whole.
    """

    def __init__(self, sources: Sequence[Source], prefixes: Sequence[str], name: str):
        self.name = name
        self._sources, self._prefixes = list(sources), list(prefixes)
        self._stops = np.cumsum([len(source) for source in sources]).tolist()

    def _find(self, i: int) -> tuple[int, int]:
        """Returns the number of a row's source, and the row's number in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        which = bisect.bisect_right(self._stops, i)
        return which, i - (self._stops[which - 1] if which else 0)

    def __len__(self) -> int:
        return self._stops[-1]

    def key(self, i: int) -> str:
        which, row = self._find(i)
        return f"{self._prefixes[which]}/{self._sources[which].key(row)}"

    def label(self, i: int) -> str:
        which, row = self._find(i)
        return self._sources[which].label(row)

    def lexicon(self, i: int) -> tuple[str, ...]:
        which, row = self._find(i)
        return self._sources[which].lexicon(row)

    def image_bytes(self, i: int) -> bytes:
        which, row = self._find(i)
        return self._sources[which].image_bytes(row)

    def image_size(self, i: int) -> tuple[int, int]:
        which, row = self._find(i)
        return self._sources[which].image_size(row)

    def where(self, i: int) -> str:
        which, row = self._find(i)
        return f"{self._prefixes[which]}: {self._sources[which].where(row)}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        own: list[list[int]] = [[] for _ in self._sources]
        for i in range(len(self)) if rows is None else rows:
            which, row = self._find(int(i))
            own[which].append(row)
        return digest(_prints(self._sources, self._prefixes, own))


def _prints(
    sources: Sequence[Source], prefixes: Sequence[str], rows: Sequence[list[int]]
) -> Iterable[str]:
    for source, prefix, own in zip(sources, prefixes, rows, strict=True):
        if own:
            yield f"{prefix}\0{source.fingerprint(own)}"
