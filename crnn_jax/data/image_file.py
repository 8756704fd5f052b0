"""Encoded images as files: opened with care, and named where something is wrong with them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

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
    shown = os.fspath(data)
    shown = f"{shown[:300]}..." if len(shown) > 300 else shown
    try:
        mode = os.stat(data).st_mode
        # Opening a pipe would wait, perhaps for ever, for one who writes into it.
        file = open(data, "rb") if stat.S_ISREG(mode) else None  # noqa: SIM115  closed below
    except (OSError, ValueError) as error:  # ValueError: of NUL characters in the path
        told = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{shown}: the image cannot be opened ({told}): {_ADVICE}") from error
    if file is None:
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ImageError(f"{shown}: the image cannot be opened (it is {kind}): {_ADVICE}")
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


def quiet_libtiff() -> None:
    """Keeps libtiff from writing to stderr about damaged files, of which readers tell anyway.

    It changes all of the process, so programs call it and libraries do not.
    """
    with contextlib.suppress(OSError, AttributeError):  # where it is not to be found so
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


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
