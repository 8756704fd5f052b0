"""The files in an uncompressed tar, found by going through its headers once."""

from __future__ import annotations

import os
import pathlib
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from crnn_jax.errors import DataError

_GZIP = b"\x1f\x8b"
_END = 1024  # bytes: a tar ends with two blocks of zeros


class Member(NamedTuple):
    """A file in a tar: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


def tar_members(path: str | os.PathLike[str]) -> Iterator[Member]:
    """Yields the regular files of a tar, in its order; on long work behind a progress bar.

    Raises:
      DataError: a compressed tar, something else, or one that is cut short or damaged.
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
                bar.update(end - bar.n)
            # tarfile takes a cut between two members, or in a header, for the end.
            if not count or total - end < _END:
                raise tarfile.ReadError("its end is missing")
        except (OSError, tarfile.TarError) as error:
            raise DataError(
                f"{path} is cut short or damaged after {count:,} files ({error}): copy it again"
            ) from None


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
