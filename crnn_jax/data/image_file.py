"""Encoded images as files: opened with care, and named where something is wrong with them."""

from __future__ import annotations

import codecs
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
_SPEC_ADVICE = "a labelled set is read by crnn_jax.evaluate, with --data"
_LIST_ADVICE = "a list of images has a path per line, and no labels"
_FORMATS = "use PNG, JPEG, WebP, BMP, TIFF or GIF"
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
        advice = _advice(shown)
        raise ImageError(f"{shown}: the image cannot be opened ({told}): {advice}") from error
    if file is None:
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ImageError(f"{shown}: the image cannot be opened (it is {kind}): {_ADVICE}")
    with file:
        yield file


def _advice(path: str) -> str:
    """Returns what to do about a path that leads nowhere."""
    from crnn_jax.data.spec import KINDS

    if "\t" in path:
        return _LIST_ADVICE
    return _SPEC_ADVICE if path.partition(":")[0] in KINDS else _ADVICE


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


def not_an_image(start: bytes) -> ImageError:
    """Returns the error of a file by what it begins with, its first 16 bytes."""
    if start.startswith(b"%PDF"):
        found, advice = "a PDF", "turn its pages into images, and cut the words or lines out"
    elif start[4:8] == b"ftyp":
        found, advice = "HEIC, AVIF or a video", "save the picture as JPEG or PNG"
    elif _is_text(start):
        found = "a text"
        advice = f"{_FORMATS}; images that a text file lists are read with predict --images_from"
    else:
        found, advice = f"it begins with {start[:8]!r}", _FORMATS
    return ImageError(f"not an image ({found}): {advice}")


def _is_text(start: bytes) -> bool:
    try:  # not to its end: the last character may be cut
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\r\n" for char in text)
