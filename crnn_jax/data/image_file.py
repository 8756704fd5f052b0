"""Encoded images as files: opened with care, and named where something is wrong with them."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from crnn_jax.errors import ImageError

_ADVICE = "give the path of an image's file"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def opened(data: bytes | str | Path) -> Iterator[io.BufferedIOBase]:
    """Opens encoded bytes, or a file.

    Raises:
      ImageError: there is no such file, it is none, or it cannot be read.
    """
    if isinstance(data, bytes):
        yield io.BytesIO(data)
        return
    if not isinstance(data, str | os.PathLike):
        raise ImageError(
            f"a value of type {type(data).__name__} is not an image: give a path, bytes, an array "
            "or a Pillow image"
        )
    try:
        # Opening a pipe would wait, perhaps for ever, for one who writes into it.
        mode = os.stat(data).st_mode
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "no file")
            raise ImageError(f"{data}: the image cannot be opened (it is {kind}): {_ADVICE}")
        file = open(data, "rb")  # noqa: SIM115  closed below
    except OSError as error:
        shown = os.fspath(data)
        if len(shown) > 300:
            shown = f"{shown[:300]}..."
        raise ImageError(
            f"{shown}: the image cannot be opened ({error.strerror}): {_ADVICE}"
        ) from error
    except ValueError as error:  # of NUL characters in the path
        raise ImageError(
            f"{os.fspath(data)!r}: the image cannot be opened ({error}): {_ADVICE}"
        ) from None
    with file:
        yield file


@contextlib.contextmanager
def named(data: bytes | str | Path) -> Iterator[None]:
    """Puts the path in front of an error's message, where there is a path."""
    try:
        yield
    except ImageError as error:
        if isinstance(data, bytes):
            raise
        raise ImageError(f"{os.fspath(data)}: {error}") from error


def first_bytes(file: io.BufferedIOBase, count: int) -> bytes:
    """Returns what a file begins with; raises ImageError where it cannot be read."""
    try:
        start = file.read(count)
        file.seek(0)
    except OSError as error:  # a disk or a network that fails
        raise ImageError(
            f"the image cannot be read ({error.strerror}): copy the file to another disk"
        ) from error
    return start
