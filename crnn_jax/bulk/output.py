"""Readings in a file that can be gone on with: one line per item, in the items' order.

The file is its own journal. Lines are appended in order, so that a killed reading leaves so many
whole lines and perhaps a part of one, which is cut: no row is lost or doubled. Beside it FILE.job
says what it holds the readings of, so that nothing else is put behind them.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from crnn_jax import files
from crnn_jax.errors import UserError


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
      UserError: the file is of another job, or cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], job: dict[str, Any], is_error: Callable[[bytes], bool]
    ):
        self.path = pathlib.Path(path)
        beside = self.path.with_name(f"{self.path.name}.job")
        if self.path.exists() and not beside.exists():
            raise UserError(f"{path} exists and is no begun reading: move it away, or name another")
        if self.path.exists():
            begun = files.read_json(beside)
            for key in {**job, **begun}:
                if begun.get(key) != job.get(key):
                    raise UserError(
                        f"{path} was begun with {key} {begun.get(key)!r:.80} and not "
                        f"{job.get(key)!r:.80}: go on with the same command, or name another file"
                    )
        try:
            if not self.path.exists():
                files.write_json(beside, job)
            self._file = open(self.path, "ab")  # noqa: SIM115  closed at the end
            self.rows, self.failed = self._whole_lines(is_error)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror})") from None

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
            raise UserError(
                f"{self.path} cannot be written on ({error.strerror}): {self.rows:,} rows are in "
                "it; make room, and the same command goes on"
            ) from None
        self.rows += len(lines)
        self.failed += failed

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
