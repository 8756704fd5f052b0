"""Makes a TFDS set in ArrayRecord files of any image set, read as tfds:NAME/SPLIT.

Image bytes stay as they are; labels, lexica and keys (for group=) come along. Keys of sets that are
joined begin with number and name, 1_words/a.png. Several processes write whole shards. The same
command goes on where it was stopped, and NAME takes further splits. Images that cannot be read are
left out, counted, and named in SPLIT_left_out.tsv (exit status 1).
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_jax import cli, files
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.data.shard_plan import Plan, Shard, Unreadable
    from crnn_jax.data.sources import Source

_EXAMPLE = """example:
  python -m crnn_jax.data.prepare --data=lmdb:training/MJ --name=mj --processes=8
  python -m crnn_jax.data.prepare --data=iiit5k:IIIT5K::part=test --name=iiit5k --split=test
  python -m crnn_jax.evaluate --model=runs/mine --data=tfds:iiit5k/test"""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LEFT_OUT_NAMED = 3  # on standard error; the file names all


class Prepared(NamedTuple):
    """A split that is ready to be read."""

    folder: pathlib.Path
    spec: str  # it is read as
    rows: int
    shards: int
    unreadable: list[Unreadable]
    left_out: pathlib.Path | None  # the file that names them


def open_data(data: str) -> tuple[Source, str]:
    """Opens SPECs joined by ` + ` as one set, one after the other.

    Returns:
      The source, and what tells it from others besides its fingerprint.

    Raises:
      UserError: as `parse_sets` and `open_source`.
    """
    from crnn_jax.data import chain
    from crnn_jax.data.sources import open_source
    from crnn_jax.data.spec import parse_sets

    specs = parse_sets(data, "--data")
    sources = [open_source(spec) for spec in specs]
    lexica = ",".join(spec.lexicon or "" for spec in specs)
    return chain.join(sources), lexica


def prepare(
    data: str,
    name: str,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    processes: int = 1,
    shards: int | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Prepares a split of a set, or goes on with it; nothing is done twice.

    Args:
      data: SPECs.
      name: of the set.
      split: of the rows.
      data_dir: folder of prepared sets; TFDS's own when None.
      processes: that write.
      shards: files of the split; by its size when None.
      overwrite: whether what this name and split hold is removed first, done or of other data.

    Raises:
      UserError: data that cannot be opened, other data under that name, a disk that is full.
    """
    from crnn_jax.data.shard_plan import find_plan
    from crnn_jax.data.tfds_rows import set_folder

    _check_names(name, split)
    source, lexica = open_data(data)
    told = {"rows": len(source), "fingerprint": source.fingerprint(), "lexicon": lexica}
    folder = set_folder(_data_dir(data_dir), name)
    if overwrite:
        _check_apart(data, folder, name, split)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder / ".lock", f"prepares {folder}"):
            plan, record = find_plan(source, folder, name, split, told, data, shards, overwrite)
            if not record.is_file():
                _write(source, plan, record, told | {"data": data}, processes)
            shutil.rmtree(plan.working, ignore_errors=True)  # only shards to come need it
            return _prepared(plan, record, data_dir)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error}): make room there or give another --dir; the "
            "same command goes on, finished shards are kept"
        ) from None


def _check_names(name: str, split: str) -> None:
    """Raises a UserError for names that TFDS does not take, or has given to sets of its own."""
    import tensorflow_datasets as tfds

    from crnn_jax.data import builders
    from crnn_jax.data.tfds_source import RENDERED_WORDS

    for option, text in (("--name", name), ("--split", split)):
        if not _NAME.fullmatch(text) or text == "all":
            raise UserError(
                f"{option}={text}: write small letters, digits and '_', a letter first, and not "
                "'all'"
            )
    theirs = {*tfds.list_builders(with_community_datasets=False), *RENDERED_WORDS}
    if name in theirs - set(builders.BUILDERS):
        raise UserError(
            f"--name={name}: TFDS knows another set by that name; give a name of its own"
        )


def _check_apart(data: str, folder: pathlib.Path, name: str, split: str) -> None:
    """Raises a UserError where the rows to read are those that would be removed first."""
    from crnn_jax.data import chain
    from crnn_jax.data.spec import parse_mixture, tfds_splits

    for _, spec in parse_mixture(data):
        if spec.kind != "tfds":
            continue
        place, _, splits = spec.location.rpartition("/")
        by_name = place == name and _data_dir(None) / name == folder.parent
        by_path = chain.root(spec).startswith(f"tfds:{os.path.realpath(folder)}/")
        if split in tfds_splits(splits) and (by_name or by_path):
            raise UserError(
                f"--overwrite would remove {folder}'s split {split!r}, which {spec} reads: give "
                "another --name, and remove the old set when the new one is there"
            )


def _data_dir(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    if data_dir is None:
        from tensorflow_datasets.core import constants

        data_dir = constants.DATA_DIR
    return pathlib.Path(data_dir).expanduser().absolute()


def _write(
    source: Source, plan: Plan, record: pathlib.Path, told: dict[str, Any], processes: int
) -> None:
    """Writes the shards that are missing, and then the metadata."""
    import logging

    from tqdm import tqdm

    from crnn_jax.data import tfds_rows
    from crnn_jax.data.shard_plan import read_finished
    from crnn_jax.data.shards import write_shards

    finished = read_finished(plan)
    missing = [number for number in range(plan.shards) if number not in finished]
    before = sum(len(plan.rows_of(number)) for number in finished)
    log = logging.getLogger("crnn_jax")
    if finished:
        log.info("going on: %d of %d shards are there", len(finished), plan.shards)
    with tqdm(
        total=plan.rows, initial=before, unit="img", desc=f"preparing {plan.name}/{plan.split}",
        disable=None, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        writing = write_shards(source, plan, missing, processes, bar.update)
        with contextlib.closing(writing):
            for number, shard in writing:
                finished[number] = shard
                if bar.disable:
                    log.info("shard %d: %d of %d", number, len(finished), plan.shards)
    done = [finished[number] for number in range(plan.shards)]
    if not any(shard.rows for shard in done):
        raise UserError(f"none of the {plan.rows:,} images can be read: {done[0].unreadable[0][2]}")
    _write_left_out(plan, done)
    info = tfds_rows.split_info(
        plan.folder, plan.name, plan.split,
        [shard.rows for shard in done], sum(shard.num_bytes for shard in done),
    )  # fmt: skip
    told |= {"shards": plan.shards, "written": sum(shard.rows for shard in done)}
    files.write_json(record, told)
    splits = tfds_rows.read_splits(plan.folder) | {plan.split: info}
    tfds_rows.write_metadata(plan.folder, plan.name, list(splits.values()))


def _left_out_file(plan: Plan) -> pathlib.Path:
    return plan.folder / f"{plan.split}_left_out.tsv"


def _write_left_out(plan: Plan, done: Sequence[Shard]) -> None:
    """Names the rows that were left out; no file where there are none."""
    path = _left_out_file(plan)
    rows = [row for shard in done for row in shard.unreadable]
    if not rows:
        path.unlink(missing_ok=True)
        return
    lines = ["\t".join(" ".join(str(cell).split()) for cell in row) for row in rows]
    files.write_text(path, "\n".join(["row\twhere\treason", *lines]) + "\n")


def _prepared(
    plan: Plan, record: pathlib.Path, data_dir: str | os.PathLike[str] | None
) -> Prepared:
    path = _left_out_file(plan)
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    unreadable = [
        (int(row), where, reason) for row, where, reason in (line.split("\t") for line in lines)
    ]
    place = plan.name if data_dir is None else str(plan.folder.parent)
    return Prepared(
        plan.folder,
        f"tfds:{place}/{plan.split}",
        files.read_json(record)["written"],
        plan.shards,
        unreadable,
        path if unreadable else None,
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(
        prog="python -m crnn_jax.data.prepare", description=__doc__, epilog=_EXAMPLE
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        action=cli.Once,
        help="any set, or several joined by ' + '",
    )
    parser.add_argument("--name", required=True, help="of the TFDS set")
    parser.add_argument("--split", default="train", help="of the set: train, test, ...")
    parser.add_argument("--dir", metavar="DIR", help="TFDS's data folder by default")
    parser.add_argument(
        "--processes", type=cli.positive_int, default=1, metavar="N", help="that write"
    )
    parser.add_argument(
        "--shards", type=cli.positive_int, metavar="N", help="files; about 256 MB each by default"
    )
    parser.add_argument("--overwrite", action="store_true", help="makes a split anew that is there")
    args = parser.parse_args(argv)
    done = prepare(
        args.data,
        args.name,
        args.split,
        args.dir,
        processes=args.processes,
        shards=args.shards,
        overwrite=args.overwrite,
    )
    print(f"{done.folder}: {done.rows:,} images in {done.shards} shards, read as {done.spec}")
    if not done.unreadable:
        return cli.DONE
    import sys

    for _, where, reason in done.unreadable[:_LEFT_OUT_NAMED]:
        print(f"left out: {where}: {reason}", file=sys.stderr)
    print(
        f"{len(done.unreadable):,} images cannot be read and are left out; all are named in "
        f"{done.left_out}",
        file=sys.stderr,
    )
    return cli.FAILED


if __name__ == "__main__":
    cli.run(main)
