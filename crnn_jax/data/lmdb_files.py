"""Environments of LMDB that are open in this process, which may open each of them once."""

from __future__ import annotations

import collections
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from crnn_jax.errors import DataError

if TYPE_CHECKING:
    import lmdb

LMDB_FILE = "data.mdb"
_KEPT = 256  # open although nobody reads them just now
_PATIENCE = 2.0  # seconds for which a thread may still read what is opened anew


class _Opened:
    """What one process has open: the last ones opened, and those that a thread still reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[str, lmdb.Environment] = collections.OrderedDict()
        self._alive: weakref.WeakValueDictionary[str, lmdb.Environment]
        self._alive = weakref.WeakValueDictionary()
        self._stamps: dict[str, tuple[int, ...]] = {}

    def get(self, folder: str, fresh: bool) -> lmdb.Environment:
        kept = self._kept.get(folder)
        if kept is not None and not fresh:
            return kept
        with self._lock:
            stamp = _stamp(folder)
            environment = self._alive.get(folder)
            if environment is None or (fresh and self._stamps.get(folder) != stamp):
                self._kept.pop(folder, None)  # which closes it, as soon as nobody reads it
                self._alive.pop(folder, None)
                del environment
                environment = _open(folder)
            self._alive[folder], self._stamps[folder] = environment, stamp
            self._kept[folder] = environment
            self._kept.move_to_end(folder)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return environment


_opened = _Opened()


def _begin_anew() -> None:
    """A child must not use what its parent has opened, nor wait for its threads."""
    global _opened
    _opened = _Opened()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def environment(folder: str, fresh: bool = False) -> lmdb.Environment:
    """Returns an environment, open for reading.

    Args:
      folder: its real path.
      fresh: whether it may have been made anew since it was opened.

    Raises:
      DataError: it cannot be opened, or is cut short: no page of such a file may be touched.
    """
    return _opened.get(folder, fresh)


def _stamp(folder: str) -> tuple[int, ...]:
    try:
        found = os.stat(os.path.join(folder, LMDB_FILE))
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _open(folder: str) -> lmdb.Environment:
    import lmdb

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            found = lmdb.open(
                folder, readonly=True, lock=False, readahead=False, create=False, max_spare_txns=16
            )
            info, page = found.info(), found.stat()["psize"]
            break
        except lmdb.Error as error:
            if "already open" not in str(error):
                raise DataError(
                    f"{folder} cannot be opened as LMDB ({error}): copy {LMDB_FILE} again"
                ) from None
            if time.monotonic() > until:
                raise DataError(
                    f"{folder} is open in this process, by lmdb.open: close it there first"
                ) from None
            time.sleep(0.01)
    size, needed = os.path.getsize(os.path.join(folder, LMDB_FILE)), (info["last_pgno"] + 1) * page
    if size < needed:
        found.close()
        raise DataError(
            f"{folder}/{LMDB_FILE} is cut short, {size:,} of {needed:,} bytes: copy it again"
        )
    return found
