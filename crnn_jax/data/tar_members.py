"""The files in an uncompressed tar, found by going through its headers once."""

from __future__ import annotations

import os
import pathlib
import posixpath
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from crnn_jax.errors import DataError

_GZIP = b"\x1f\x8b"
_END = 1024  # bytes: a tar ends with two blocks of zeros


class Member(NamedTuple):
    """A file in a tar: its name, and where its bytes are.

    A link has no bytes of its own, but the name of another member as its `target`.
    """

    name: str
    offset: int
    size: int
    target: str = ""


def tar_members(path: str | os.PathLike[str]) -> Iterator[Member]:
    """Yields a tar's regular files and links, in its order; on long work behind a progress bar.

    Raises:
      DataError: a compressed tar, something else, one that is cut short or damaged, or several in
        one file.
    """
    from tqdm import tqdm

    total, count, end = os.path.getsize(path), 0, 0
    with (
        _open(path) as tar,
        tqdm(total=total, desc=f"reading {pathlib.Path(path).name}", unit="B", unit_scale=True,
             delay=3, disable=None) as bar,
    ):  # fmt: skip
        try:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would keep every header
                end = member.offset_data + member.size
                if end > total:
                    raise tarfile.ReadError("unexpected end of data")
                if member.isfile():
                    count += 1
                    yield Member(member.name.removeprefix("./"), member.offset_data, member.size)
                elif member.islnk() or member.issym():
                    folder = posixpath.dirname(member.name) if member.issym() else ""
                    target = posixpath.normpath(posixpath.join(folder, member.linkname))
                    yield Member(member.name.removeprefix("./"), 0, 0, target)
                bar.update(end - bar.n)
            # tarfile takes a cut between two members, or in a header, for the end.
            if not count or total - end < _END:
                raise tarfile.ReadError("its end is missing")
            # What fills the last block of a file may be anything.
            bar.update(_check_zeros(path, -(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE) - bar.n)
        except (OSError, tarfile.TarError) as error:
            raise DataError(
                f"{path} is cut short or damaged after {count:,} files ({error}): copy it again"
            ) from None


def _check_zeros(path: str | os.PathLike[str], place: int) -> int:
    """Checks that nothing stands behind a tar's last file, and returns the size of the tar."""
    with open(path, "rb") as file:
        file.seek(place)
        while block := file.read(2**20):
            if block.count(0) < len(block):
                raise DataError(
                    f"{path} goes on behind the end of a tar, as several joined by cat do: give "
                    "them one by one, or join them by tar --concatenate"
                )
        return file.tell()


def _open(path: str | os.PathLike[str]) -> tarfile.TarFile:
    try:
        with open(path, "rb") as file:
            if file.read(2) == _GZIP:
                raise DataError(
                    f"{path} is compressed, which has no random access: unpack it once, "
                    f"gunzip --keep {pathlib.Path(path).name}"
                )
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} is not a tar that can be read ({error})") from None
