"""Random access to the members of an uncompressed tar of very many files."""

from __future__ import annotations

import array
import hashlib
import io
import itertools
import logging
import os
import zipfile
from pathlib import Path

import numpy as np

from crnn_jax import files
from crnn_jax.data.tar_members import tar_members
from crnn_jax.errors import DataError, ImageError

_LOG = logging.getLogger("crnn_jax")


class TarIndex:
    """Where the members of a tar lie: a hash of the name, place and size, 24 bytes each.

    The tar is gone through once; what was found is kept in the user's cache. Names are those below
    the folder that all of them have in common with `landmark`.

    Args:
      path: the tar.
      landmark: file name of a member in the folder that names are relative to.

    Raises:
      DataError: a compressed tar, one that is cut short, or one without the landmark.
    """

    def __init__(self, path: Path, landmark: str):
        self._path, self._landmark = path, landmark
        status = path.stat()
        told = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{landmark}"
        name = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        cached = files.default_cache_dir() / "tar_index" / f"{name}.npz"
        found = _load(cached)
        if found is None:
            found = self._scan()
            block = io.BytesIO()
            np.savez(block, allow_pickle=False, **found)
            try:
                cached.parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(cached, block.getvalue())
            except OSError as error:
                _LOG.warning("%s cannot be written (%s): the tar is read again", cached, error)
        self._hashes, self._offsets, self._sizes = (found[k] for k in ("hash", "offset", "size"))

    def _scan(self) -> dict[str, np.ndarray]:
        """Goes through the headers of all members."""
        # Millions of members: no object for each. The folder is known when the landmark was met.
        names, ends = bytearray(), array.array("q")
        places = array.array("q")
        base = None
        for name, offset, size, target in tar_members(self._path):
            if target:  # those who publish such tars use no links
                continue
            if name.rpartition("/")[2] == self._landmark:
                base = name.removesuffix(self._landmark)
            names += name.encode("utf-8", "surrogateescape")
            ends.append(len(names))
            places.extend((offset, size))
        if base is None:
            raise DataError(
                f"{self._path} has no {self._landmark} among its {len(ends):,} files: give the "
                "tar that its publishers distribute"
            )
        start = base.encode()
        hashes = np.zeros(len(ends), np.uint64)
        for row, (first, last) in enumerate(itertools.pairwise(itertools.chain([0], ends))):
            if names.startswith(start, first, last):
                hashes[row] = _hash(names[first + len(start) : last])
        order = np.argsort(hashes, kind="stable")
        place = np.frombuffer(places, np.int64).reshape(-1, 2)[order]
        return {"hash": hashes[order], "offset": place[:, 0], "size": place[:, 1]}

    def read(self, name: str) -> bytes:
        """Returns a member's bytes; raises an ImageError when there is no such member."""
        wanted = np.uint64(_hash(name.encode("utf-8", "surrogateescape")))
        # Of members of one name the last one counts, as for tar itself.
        row = int(np.searchsorted(self._hashes, wanted, side="right")) - 1
        if row < 0 or self._hashes[row] != wanted:
            raise ImageError(f"{self._path} has no member {name}")
        try:
            with open(self._path, "rb") as file:
                return os.pread(file.fileno(), int(self._sizes[row]), int(self._offsets[row]))
        except OSError as error:
            raise ImageError(f"{self._path} cannot be read ({error.strerror})") from None


def _hash(name: bytes | bytearray) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _load(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {key: found[key] for key in ("hash", "offset", "size")}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # it is made again
