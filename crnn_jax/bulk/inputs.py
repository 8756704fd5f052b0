"""What to read: files, folders, globs, lists of paths, and tars, one item after the other."""

from __future__ import annotations

import bisect
import codecs
import glob
import itertools
import logging
import os
import pathlib
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax.errors import DataError, UserError

_LOG = logging.getLogger("crnn_jax")

STDIN = "-"  # instead of a path
TAR = ".tar"
_MOST_PIPED = 2**28  # bytes of an image
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Item(NamedTuple):
    """An image to read.

    Attributes:
      name: that readings are told under.
      path: of its file, or of the tar that holds it.
      offset, size: of its bytes in a tar; -1: the whole file.
      piped: its bytes, where it is no file.
    """

    name: str
    path: str
    offset: int = -1
    size: int = -1
    piped: bytes | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a whole file, which errors about its content name."""
        return self.piped is None and self.offset < 0

    def content(self) -> bytes | str:
        """Returns what `Preprocess` takes: the path, or the bytes of a pipe or a tar's member."""
        if self.piped is not None:
            return self.piped
        if self.offset < 0:
            return self.path
        try:
            with open(self.path, "rb") as file:
                return os.pread(file.fileno(), self.size, self.offset)
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error.strerror})") from None


class Files:
    """Files by their paths."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Item:
        return Item(self._paths[i], self._paths[i])


class Piped:
    """The one image that comes through standard input, which is read to its end.

    Raises:
      DataError: it is longer than any image that is read.
    """

    def __init__(self):
        self._content = sys.stdin.buffer.read(_MOST_PIPED + 1)
        if len(self._content) > _MOST_PIPED:
            limit = f"{_MOST_PIPED >> 20} MiB"
            raise DataError(f"{STDIN}: more than {limit}: name the image's file instead")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> Item:
        return Item(STDIN, STDIN, piped=self._content)


class ListFile:
    """The paths that a UTF-8 text file lists, one per line; where lines begin is kept in memory.

    Relative paths are those of the current folder. Blank lines are left out.

    Raises:
      UserError: the list cannot be read, or is empty.
    """

    def __init__(self, path: str):
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                raise UserError(
                    f"list {path} is no file but a pipe, a folder or a device: write the paths "
                    "into a file, and name that"
                )
            data = np.memmap(path, np.uint8, "r") if state.st_size else np.zeros(0, np.uint8)
        except OSError as error:
            raise UserError(f"list {path} cannot be read ({error.strerror})") from None
        ends = np.flatnonzero(data == ord("\n"))
        if len(data) and data[-1] != ord("\n"):
            ends = np.append(ends, len(data))
        first = len(codecs.BOM_UTF8) if data[:3].tobytes() == codecs.BOM_UTF8 else 0
        starts = np.concatenate([[first], ends[:-1] + 1]) if len(ends) else ends
        ends = ends - ((ends > starts) & (data[ends - 1] == ord("\r")))  # lines of Windows
        kept = ends > starts
        self._data, self._starts, self._ends = data, starts[kept], ends[kept]
        if not len(self._starts):
            raise UserError(f"list {path} is empty: write a path per line")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: int) -> Item:
        line = self._data[self._starts[i] : self._ends[i]].tobytes()
        name = line.decode("utf-8", "surrogateescape")
        return Item(name, name)


class Tar:
    """The images in an uncompressed tar, in its order; its headers are gone through once.

    Raises:
      DataError: as `tar_members` does, or where there are no images.
    """

    def __init__(self, path: str):
        from crnn_jax.data.folders import SUFFIXES
        from crnn_jax.data.tar_members import tar_members

        self._path = path
        self._names: list[str] = []
        places: list[tuple[int, int]] = []
        targets: dict[int, str] = {}
        for name, offset, size, target in tar_members(path):
            hidden = pathlib.PurePosixPath(name).name.startswith(".")
            if name.lower().endswith(SUFFIXES) and not hidden:
                if target:
                    targets[len(places)] = target
                self._names.append(name)
                places.append((offset, size))
        if not places:
            raise DataError(f"{path} holds no images ({' '.join(SUFFIXES)})")
        self._places = np.array(places, np.int64)
        self._follow(targets)

    def _follow(self, targets: dict[int, str]) -> None:
        """Gives links the bytes of their targets; one whose target is no image here has none."""
        if not targets:
            return
        position = {name: i for i, name in enumerate(self._names)}
        for link in targets:
            found, visited = link, set()
            while found in targets and found not in visited:
                visited.add(found)
                found = position.get(targets[found], found)
            self._places[link] = self._places[found]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, i: int) -> Item:
        offset, size = self._places[i].tolist()
        return Item(f"{self._path}/{self._names[i]}", self._path, offset, size)


Part = Files | ListFile | Piped | Tar


class Inputs(Sequence[Item]):
    """Items of several parts, in their order.

    Args:
      parts: of which each is asked for items when they are needed.
    """

    def __init__(self, parts: Sequence[Part]):
        self._parts = list(parts)
        self._ends = list(itertools.accumulate(map(len, self._parts)))

    @classmethod
    def find(cls, paths: Sequence[str], lists: Sequence[str] = ()) -> Inputs:
        """Returns what paths and lists name: files, the images of folders, what globs match, tars.

        STDIN is the image that comes through standard input. A path that names nothing is an item,
        too: reading it fails and says why.

        Raises:
          UserError: for a folder or tar without images, a glob that matches nothing, or a list that
            cannot be read; standard input that is too long.
        """
        parts: list[Part] = []
        piped = Piped() if STDIN in paths else None
        for path in paths:
            if piped and path == STDIN:
                parts.append(piped)
                continue
            # Neighbours that are files are one part, and every tar is one.
            for is_tar, group in itertools.groupby(_find(path), _is_tar):
                found = list(group)
                parts += map(Tar, found) if is_tar else [Files(found)]
        return cls([*parts, *map(ListFile, lists)])

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> Item:  # type: ignore[override]  # nobody takes slices
        if not 0 <= i < len(self):
            raise IndexError(f"item {i} of {len(self)}")
        number = bisect.bisect_right(self._ends, i)
        return self._parts[number][i - (self._ends[number - 1] if number else 0)]


def _is_tar(path: str) -> bool:
    """Returns whether a path is that of a tar to look into; raises UserError for a packed one."""
    if path.lower().endswith(_PACKED):
        raise UserError(f"{path} is compressed, which has no random access: unpack it once")
    return path.lower().endswith(TAR) and os.path.isfile(path)


def _find(path: str) -> Iterator[str]:
    """Yields a file as it is, a folder's images in order, or what a glob matches."""
    from crnn_jax.data.folders import SUFFIXES

    # Not by the methods of `Path`, which raise for a path that is too long, or not to be looked at.
    if glob.has_magic(path) and not os.path.exists(path):
        matches = sorted(m for m in glob.glob(path, recursive=True) if not os.path.isdir(m))
        if not matches:
            raise UserError(f"{path}: nothing matches; check the pattern, or quote it")
        yield from matches
    elif os.path.isdir(path):
        found = sorted(p for p in pathlib.Path(path).rglob("*") if os.path.isfile(p))
        # macOS leaves ._NAME.png beside NAME.png
        found = [p for p in found if not p.name.startswith(".")]
        tars = [p for p in found if p.suffix.lower() == TAR]
        found = [p for p in found if p.suffix.lower() in SUFFIXES]
        inside = f"tars in a folder are left out: name them, as {tars[0]}" if tars else ""
        if not found:
            hint = f"; {inside}" if tars else ""
            raise UserError(f"{path}: no images in this folder ({' '.join(SUFFIXES)}){hint}")
        if tars:
            _LOG.warning("%s: %s", path, inside)
        yield from map(str, found)
    else:
        yield path
