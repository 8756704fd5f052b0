"""What sources of image files share: paths that exist, files that are read, fingerprints."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crnn_jax.errors import DataError, ImageError

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source


def existing(kind: str, location: str) -> Path:
    """Returns the absolute path of a location; a DataError names the nearest when it is missing."""
    path = Path(os.path.abspath(os.path.expanduser(location)))
    if not path.exists():
        parent = path.parent
        siblings = os.listdir(parent) if parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"{kind}:{location} does not exist: {hint}looked for {path}")
    return path


def check_unchanged(opened: str, now: str, path: Path) -> str:
    """Returns the hash of a source's rows.

    Args:
      opened: of the rows that a source had which was unpickled; '' while it is opened.
      now: of those that it finds.
      path: for the message.

    Raises:
      DataError: they differ.
    """
    if opened and opened != now:
        raise DataError(f"{path} has changed since it was opened: start again")
    return now


def read_list(path: Path) -> bytes:
    """Returns the bytes of a file that lists rows; raises a DataError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def bytes_digest(data: bytes) -> str:
    """Returns a hash of bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_image(path: Path, where: str) -> bytes:
    """Returns the bytes of an image file; raises an ImageError that says where it stands."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{where}: the image file is missing, looked for {path}") from error
    except OSError as error:
        raise ImageError(f"{where}: {path} cannot be read ({error.strerror})") from error


def file_size(path: Path) -> int:
    """Returns the bytes of a file, -1 when it is missing."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def fingerprint(
    source: Source,
    rows: Sequence[int] | np.ndarray | None,
    num_bytes: Callable[[int], int],
    key: Callable[[int], str] | None = None,
) -> str:
    """Returns a hash of key, label and size of every row, in order.

    Args:
      source: of the rows.
      rows: their numbers; all when None.
      num_bytes: of a row's image file.
      key: of a row; the source's when None.
    """
    key = key or source.key
    chosen = range(len(source)) if rows is None else map(int, rows)
    return digest(f"{key(i)}\0{source.label(i)}\0{num_bytes(i)}" for i in chosen)


def digest(texts: Iterable[str]) -> str:
    """Returns a hash of texts, in order."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        found.update(text.encode("utf-8") + b"\n")
    return found.hexdigest()


def is_utf8(text: str) -> bool:
    """Returns whether a name can be written as UTF-8; a file system may hold any bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
