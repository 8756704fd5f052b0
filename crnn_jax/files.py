"""Files that are never seen half-written, and JSON that any reader takes."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pathlib
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from crnn_jax.errors import UserError

_TAIL = 65_536  # bytes: an evaluation of many sets is a long line


def default_cache_dir() -> pathlib.Path:
    """Returns the folder for prepared data: $CRNN_JAX_CACHE, else crnn_jax in the user's cache."""
    if folder := os.environ.get("CRNN_JAX_CACHE"):
        return pathlib.Path(folder).expanduser()
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(user_cache).expanduser() / "crnn_jax"


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], what: str, wait: bool = True) -> Iterator[None]:
    """Holds a lock that the system frees when its holder dies.

    Where the file system has none, that is told, and nothing is held.

    Args:
      path: the file of the lock, which stays.
      what: the holder does, for those who wait.
      wait: until it is free.

    Raises:
      UserError: it is held, and not to be waited for.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not wait:
            raise UserError(
                f"another process {what}: wait for its end, and start the same command again"
            ) from None
        print(f"waiting for the process that {what}", file=sys.stderr)
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        print(f"{path}: no locks there; start no other process that {what}", file=sys.stderr)
    try:
        yield
    finally:
        lock.release()


def tail(path: str | os.PathLike[str]) -> list[str]:
    """Returns the last lines of a text file, the first of them perhaps without its beginning."""
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL))
        return file.read().decode("utf-8", "replace").splitlines()


def beside(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of what will be renamed to `path` when it is whole: hidden, and new."""
    if not path.name:  # of a folder, as "."
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 text file as `write_bytes` does; names that are no text are escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file so that readers see the old one or the new one, whole.

    Raises:
      OSError: it cannot be written, as on a full disk; it names the file.
    """
    path = pathlib.Path(path)
    try:
        temporary = beside(path)
        try:
            with open(temporary, "xb") as file:  # readable to whom the user's umask lets it be
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:  # which would name the temporary file, or none
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all; NaN as null."""
    value = finite(value)
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      UserError: when the file is missing, damaged or holds anything but an object.
    """
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged, not JSON ({error}); restore the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged, not a JSON object but {value!r:.40}; restore the file")
    return value


def finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
