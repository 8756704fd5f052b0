"""The plan of a split that is being prepared, and what is there of it."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_jax import files
from crnn_jax.errors import ImageError, UserError

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

SHARD_BYTES = 256 << 20  # of a shard of a large set
_LEAST_BYTES = 16 << 20  # of a shard of a small one, which has up to this many:
_SPREAD = 16  # so that several processes have work
_SAMPLED_ROWS = 512

Unreadable = tuple[int, str, str]  # row, where it stands, reason


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the rows of a source become the shards of a split.

    Attributes:
      folder: of the set's version, where the shards appear.
      name: of the set.
      split: of the rows.
      rows: of the source.
      shards: how many.
    """

    folder: pathlib.Path
    name: str
    split: str
    rows: int
    shards: int

    @property
    def working(self) -> pathlib.Path:
        """Folder of what is known about shards until all are there."""
        return self.folder / f".prepare_{self.split}"

    def rows_of(self, shard: int) -> range:
        """Returns the rows of a shard."""
        return range(
            self.rows * shard // self.shards,
            self.rows * (shard + 1) // self.shards,
        )

    def file(self, shard: int) -> pathlib.Path:
        """Returns the file of a shard."""
        from crnn_jax.data.tfds_rows import shard_file

        return self.folder / shard_file(self.name, self.split, shard, self.shards)


class Shard(NamedTuple):
    """What is in a finished shard."""

    rows: int
    num_bytes: int  # of its records
    unreadable: list[Unreadable]


def estimate_bytes(source: Source) -> int:
    """Returns about how many bytes the records of a source have, from some of its rows."""
    step = max(1, len(source) // _SAMPLED_ROWS)
    sizes = []
    for row in range(0, len(source), step):
        words = (*source.lexicon(row), source.label(row), source.key(row))
        try:
            size = len(source.image_bytes(row))
        except ImageError:
            continue
        sizes.append(size + sum(len(word.encode()) + 2 for word in words) + 60)
    return int(len(source) * sum(sizes) / max(len(sizes), 1))


def count_shards(num_bytes: int, rows: int) -> int:
    """Returns into how many shards a set is cut; the same for any number of processes."""
    spread = min(_SPREAD, num_bytes // _LEAST_BYTES)
    return min(max(1, math.ceil(num_bytes / SHARD_BYTES), spread), rows)


def read_finished(plan: Plan) -> dict[int, Shard]:
    """Returns the finished shards by number."""
    finished = {}
    for number in range(plan.shards):
        if plan.file(number).is_file() and (path := note_file(plan, number)).is_file():
            note = files.read_json(path)
            unreadable = [tuple(row) for row in note["unreadable"]]
            finished[number] = Shard(note["rows"], note["num_bytes"], unreadable)
    return finished


def note_file(plan: Plan, number: int) -> pathlib.Path:
    """Returns the file that says what is in a shard."""
    return plan.working / f"{number:05d}.json"


def find_plan(
    source: Source,
    folder: pathlib.Path,
    name: str,
    split: str,
    told: dict[str, Any],
    data: str,
    shards: int | None,
    overwrite: bool,
) -> tuple[Plan, pathlib.Path]:
    """Returns a plan, one that was begun or a new one, and the file that tells that it is done.

    Args:
      source: of the rows.
      folder: of the set's version.
      name: of the set.
      split: of the rows.
      told: what tells the source from others.
      data: how the source is written.
      shards: how many; by the size when None.
      overwrite: whether what is there is removed, unless it is the same and not done.

    Raises:
      UserError: other data are there.
    """
    from crnn_jax.data.tfds_rows import read_splits

    shards = min(shards, len(source)) if shards else None
    plan = Plan(folder, name, split, len(source), shards or 1)
    record, begun = folder / f"prepared_{split}.json", plan.working / "plan.json"
    there = split in read_splits(folder)
    if there and not record.is_file():
        raise UserError(
            f"{folder} has a split {split!r} that this command did not prepare: give another "
            "--name or --split"
        )
    if record.is_file() and not there:  # stopped between the two
        record.unlink()
    for path in (record, begun):
        if not path.is_file():
            continue
        found = files.read_json(path)
        same = {key: found.get(key) for key in told} == told and shards in (None, found["shards"])
        if same and not (overwrite and path == record):
            return Plan(folder, name, split, len(source), found["shards"]), record
        if not overwrite:
            state = "holds" if path == record else "was begun with"
            raise UserError(
                f"{folder}: its split {split!r} {state} {found.get('data')!r} in "
                f"{found['shards']} shards, of {found.get('rows'):,} rows, which is not what "
                f"{data!r} is now: give another --name or --split, or --overwrite"
            )
        _remove(plan)
    plan = Plan(
        folder, name, split, len(source),
        shards or count_shards(estimate_bytes(source), len(source)),
    )  # fmt: skip
    plan.working.mkdir(exist_ok=True)
    files.write_json(begun, told | {"data": data, "shards": plan.shards})
    return plan, record


def _remove(plan: Plan) -> None:
    """Removes a split, begun or done; what is left never opens half of it."""
    from crnn_jax.data.tfds_rows import INFO_FILE, read_splits, write_metadata

    splits = read_splits(plan.folder)
    if splits.pop(plan.split, None):
        if splits:
            write_metadata(plan.folder, plan.name, list(splits.values()))
        else:
            (plan.folder / INFO_FILE).unlink()
    shutil.rmtree(plan.working, ignore_errors=True)
    for pattern in (
        f"{plan.name}-{plan.split}.*",
        f"prepared_{plan.split}.json",
        f"{plan.split}_left_out.tsv",
    ):
        for path in plan.folder.glob(pattern):
            path.unlink()
