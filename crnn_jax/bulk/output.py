"""Readings in a file that can be gone on with: one line per item, in the items' order.

The file is its own journal. Lines are appended in order, so that a killed reading leaves so many
whole lines and perhaps a part of one, which is cut: no row is lost or doubled. Beside it FILE.job
says what it holds the readings of, so that nothing else is put behind them; a lock on it keeps a
second process from appending the same rows.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from crnn_jax import files
from crnn_jax.errors import UserError

PARTS = ".parts"  # behind the file's name: the folder in which jobs of a cluster leave theirs


def check_same(path: pathlib.Path, told: pathlib.Path, job: dict[str, Any], otherwise: str) -> None:
    """Checks that what is in a path is of a job.

    Args:
      path: of the readings.
      told: file that says what they are of.
      job: what they have to be of; other values that the file has are not looked at.
      otherwise: what to do where they are not.

    Raises:
      UserError: they are of another job, or the file cannot be read.
    """
    begun = files.read_json(told)
    for key, value in job.items():
        if begun.get(key) != value:
            raise UserError(
                f"{path} was begun with {key} {begun.get(key)!r:.80} and not {value!r:.80}: go on "
                f"with the same command, or {otherwise}"
            )


class Output:
    """A file of readings.

    Attributes:
      rows: lines that it holds.
      failed: of these, those that `is_error` says yes to.

    Args:
      path: of the file.
      job: what it holds the readings of, as JSON values; what was begun with another is refused.
      is_error: whether a line tells of an image that could not be read.

    Raises:
      UserError: the file is of another job, another process writes it, or it cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], job: dict[str, Any], is_error: Callable[[bytes], bool]
    ):
        self.path = pathlib.Path(path)
        existed = self.path.exists()
        try:
            self._file = open(self.path, "ab")  # noqa: SIM115  closed at the end
            try:
                self._lock()
                self._check(job, existed)
                self.rows, self.failed = self._whole_lines(is_error)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror})") from None

    def _lock(self) -> None:
        """Keeps a second process out until this one closes the file, or dies."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.path} is being written by another process: wait for its end, or name "
                "another file"
            ) from None
        except OSError:  # a file system without locks
            pass

    def _check(self, job: dict[str, Any], existed: bool) -> None:
        """Refuses what is of another job; notes the job beside a file without lines.

        Not where jobs of a cluster have begun on it, whose lines are in a folder of their own.
        """
        beside, parts = (self.path.with_name(self.path.name + x) for x in (".job", PARTS))
        empty = not os.fstat(self._file.fileno()).st_size
        if empty and not (existed and beside.exists() and parts.exists()):
            files.write_json(beside, job)
        elif not beside.exists():
            raise UserError(
                f"{self.path} exists and is no begun reading: move it away, or name another"
            )
        else:
            check_same(self.path, beside, job, "name another file")

    def _whole_lines(self, is_error: Callable[[bytes], bool]) -> tuple[int, int]:
        """Counts the lines, and cuts what follows the last whole one."""
        rows = failed = whole = 0
        with open(self.path, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    rows, failed, whole = rows + 1, failed + is_error(line), whole + len(line)
        self._file.truncate(whole)
        return rows, failed

    def append(self, lines: Sequence[str], failed: int) -> None:
        """Appends lines, so many of which tell of images that could not be read.

        Raises:
          UserError: the disk is full; the same command goes on where there is room again.
        """
        text = "".join(f"{line}\n" for line in lines)
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
            self._file.flush()
        except OSError as error:
            raise self._full(error) from None
        self.rows += len(lines)
        self.failed += failed

    def _full(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path} cannot be written on ({error.strerror}): {self.rows:,} rows are in it; "
            "make room, and the same command goes on"
        )

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._file.close()  # tries once more to write what it could not
        except OSError as error:
            if exception[0] is None:
                raise self._full(error) from None
