"""Reads items into a file, by one process or several."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crnn_jax import cli
from crnn_jax.bulk.inputs import Inputs, Item
from crnn_jax.bulk.output import Output
from crnn_jax.bulk.workers import Read, Workers
from crnn_jax.errors import UserError
from crnn_jax.signals import StopSignal

_LEAST, _MOST = 32, 512  # items that are given out, and written, together
_ROUNDS = 4  # at least so many blocks for each process, as they are of different speed


def parse_shard(text: str) -> tuple[int, int]:
    """Parses `i/n`, the i-th of n parts, from 0.

    Raises:
      UserError: for anything else.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UserError(f"--shard={text}: write i/n, the part and their number, from 0/n to n-1/n")
    return int(number), int(count)


def shard_of(total: int, number: int, count: int) -> range:
    """Returns the rows of a part: parts are contiguous, so that their files only need joining."""
    return range(total * number // count, total * (number + 1) // count)


def fingerprint(inputs: Inputs, rows: range) -> str:
    """Returns a hash of the names of items, in their order."""
    found = hashlib.blake2b(digest_size=16)
    for i in rows:
        found.update(inputs[i].name.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()


def block_size(items: int, jobs: int, batch_size: int) -> int:
    """Returns how many items are given out together, so that every process has some to read.

    At the end of a block batches are not full, which costs the more, the fewer of them it has.
    """
    from crnn_jax.data.stream import WINDOW  # late: it needs Pillow, and --help does not

    most = max(_MOST, WINDOW * batch_size)
    return min(most, max(_LEAST, items // (_ROUNDS * jobs))) if jobs > 1 else most


def read_into(
    output: Output,
    inputs: Inputs,
    rows: range,
    make: Callable[[Any], Read],
    argument: Any,
    jobs: int,
    batch_size: int,
    lost: Callable[[Item], str],
) -> int:
    """Reads what is missing in a file; returns an exit code.

    Args:
      output: that is appended to.
      inputs: of which `rows` are read.
      rows: positions.
      make, argument, lost: see `Workers`.
      jobs: processes; with 1 this one reads.
      batch_size: most images that are read at once.

    Raises:
      UserError: as `make` does, or where the file cannot be written.
    """
    from tqdm import tqdm

    check_rows(output, len(rows))
    if output.rows == len(rows):
        return tell(output)  # without loading what would read

    size = block_size(len(rows) - output.rows, jobs, batch_size)

    def blocks() -> Iterator[Sequence[Item]]:
        for start in range(output.rows, len(rows), size):
            yield [inputs[i] for i in rows[start : start + size]]

    workers = None
    with (
        StopSignal() as stop,
        tqdm(total=len(rows), initial=output.rows, unit="img", delay=3, disable=None) as bar,
    ):
        try:
            if jobs > 1:
                workers = Workers(make, argument, jobs, lost)
                done = workers.read(blocks())
            else:
                read = make(argument)
                done = map(read, blocks())
            for lines in done:
                output.append([line for line, _ in lines], sum(failed for _, failed in lines))
                bar.update(len(lines))
                if stop.requested:
                    break
        finally:
            if workers:
                workers.close()
    if output.rows < len(rows):
        told = f"{output.path}: {output.rows:,} of {len(rows):,} images"
        print(f"{told}, stopped by {stop.requested}; the same command goes on", file=sys.stderr)
        return cli.FAILED
    return tell(output)


def check_rows(output: Output, images: int, whole: bool = False) -> None:
    """Raises a UserError for a file of more rows than images, or, as a whole, of fewer."""
    if output.rows > images or (whole and output.rows < images):
        raise UserError(
            f"{output.path} has {output.rows:,} rows, and there are {images:,} images: it was "
            "changed by something else; move it away, and begin anew"
        )


def tell(output: Output) -> int:
    """Says what is in a file that is whole; returns an exit code."""
    told = f"{output.path}: {output.rows:,} of {output.rows:,} images"
    if output.failed:
        print(f"{told}, {output.failed:,} of which could not be read", file=sys.stderr)
        return cli.FAILED
    print(told, file=sys.stderr)
    return cli.DONE
