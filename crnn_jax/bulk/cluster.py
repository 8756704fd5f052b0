"""One reading of very many images: here, a part of it, or all parts as a job array of SLURM."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import logging
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, files, shipped, slots, slurm
from crnn_jax import decoder_options as options
from crnn_jax.bulk import reading
from crnn_jax.bulk.contents import contents
from crnn_jax.bulk.output import PARTS, Output, check_same
from crnn_jax.bulk.rows import is_error, lost, make_reader
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.bulk.inputs import Inputs

_LOG = logging.getLogger("crnn_jax")
_SHARDS = 8
_JOB = "job.json"  # in the folder of parts: what they are of
_JOINED = 4096  # lines at a time


def rows_of(args: argparse.Namespace, inputs: Inputs) -> range:
    """Returns the rows that the arguments of `predict` ask for."""
    if not args.shard:
        return range(len(inputs))
    return reading.shard_of(len(inputs), *reading.parse_shard(args.shard))


def open_output(args: argparse.Namespace, inputs: Inputs, rows: range) -> Output:
    """Opens the file of a reading, new or begun by the same command; raises as `Output` does."""
    return Output(args.out, _job(args, inputs, rows, contents(args)), is_error)


def _job(
    args: argparse.Namespace, inputs: Inputs, rows: range, found: dict[str, str]
) -> dict[str, Any]:
    """Returns all that makes a reading what it is; `found` are the `contents` of its files."""
    return {
        "model": args.model or [shipped.DEFAULT],
        "decoder": options.describe_decoder(args),
        "lexicon": options.describe_lexicon(args),
        "lm_order": args.lm_order,
        "format": args.format,
        "squeeze": args.squeeze,
        "rotations": args.rotations,
        "careful": args.careful,
        "shard": args.shard,
        "images": len(rows),
        "names": reading.fingerprint(inputs, rows),
        **found,
    }


def read_into(output: Output, args: argparse.Namespace, inputs: Inputs, rows: range) -> int:
    """Reads what is missing in a file; returns an exit code."""
    jobs = args.jobs or slots.default_jobs()
    gone = functools.partial(lost, args.format)
    return reading.read_into(output, inputs, rows, make_reader, args, jobs, args.batch_size, gone)


def _read_part(args: argparse.Namespace) -> int:
    """Reads a part into its file, and leaves a second file where it is whole; a job's task."""
    from crnn_jax.bulk.inputs import Inputs

    inputs = Inputs.find(args.paths, args.images_from)
    rows = rows_of(args, inputs)
    folder = pathlib.Path(args.out).parent
    # While the job waited its model may have been trained on, or images have been added: parts
    # are of one model, and of the same images.
    found = contents(args)
    names = reading.fingerprint(inputs, range(len(inputs)))
    same = {"images": len(inputs), "names": names, **found}
    check_same(folder, folder / _JOB, same, "begin anew with another file")
    with Output(args.out, _job(args, inputs, rows, found), is_error) as output:
        read_into(output, args, inputs, rows)
        if output.rows < len(rows):
            return cli.FAILED
    files.write_json(_whole(args.out), {"images": output.rows, "failed": output.failed})
    return cli.DONE


def _whole(part: str) -> pathlib.Path:
    return pathlib.Path(f"{part}.whole")


def launch(args: argparse.Namespace, inputs: Inputs) -> int:
    """Reads all parts as jobs, joins them into one file, and returns an exit code.

    The parts lie in a folder beside the file until they are joined. The same command looks at its
    jobs again, and joins what they have left.

    Raises:
      UserError: for resources that there are not, or as `slurm.launch` and `Output` do.
    """
    from crnn_jax import config as config_lib

    defaults = dataclasses.asdict(slurm.Resources())
    needs = slurm.Resources(**vars(config_lib.parse_arg(args.resources, **defaults)))
    folder = pathlib.Path(args.out + PARTS)
    job = _job(args, inputs, range(len(inputs)), contents(args))
    _check_parts(folder, job)
    with Output(args.out, job, is_error) as output:  # of which there is one at a time
        if output.rows < len(inputs):
            folder.mkdir(exist_ok=True)
            files.write_json(folder / _JOB, job)
            tasks = _tasks(args, folder, needs, min(args.shards or _SHARDS, len(inputs)))
            if not _run(tasks, folder, needs, len(inputs)):
                return cli.FAILED
            _join(output, [folder / task.name for task in tasks])
        reading.check_rows(output, len(inputs), whole=True)
        shutil.rmtree(folder, ignore_errors=True)
        return reading.tell(output)


def _check_parts(folder: pathlib.Path, job: dict[str, Any]) -> None:
    """Raises a UserError where a folder has parts of another reading."""
    if (folder / _JOB).is_file():
        check_same(folder, folder / _JOB, job, "move that folder away")
    elif any(folder.glob("*_of_*")):
        raise UserError(f"{folder} holds parts of another reading: move that folder away")


def _tasks(
    args: argparse.Namespace, folder: pathlib.Path, needs: slurm.Resources, count: int
) -> list[slurm.Task]:
    """Returns the tasks, named as the files of their parts."""
    tasks = []
    for number in range(count):
        name = f"{number:0{len(str(count))}d}_of_{count}"
        part = argparse.Namespace(**vars(args))
        part.shard, part.out = f"{number}/{count}", str(folder.resolve() / name)
        part.jobs = args.jobs or needs.gpus or needs.cpus
        done = _whole(part.out).is_file
        tasks.append(
            slurm.Task(name, functools.partial(_read_part, part), folder / f"{name}.log", done)
        )
    return tasks


def _run(
    tasks: Sequence[slurm.Task], folder: pathlib.Path, needs: slurm.Resources, total: int
) -> bool:
    """Runs the jobs behind a bar; returns whether all are done, and says which have failed."""
    from tqdm import tqdm

    counts = [_Lines(folder / task.name) for task in tasks]
    last: dict[str, str] = {}
    with tqdm(total=total, unit="img", disable=None) as bar:

        def show(states: Mapping[str, str]) -> None:
            last.update(states)
            bar.update(sum(count.new() for count in counts))

        done = slurm.launch("predict", folder / "slurm", tasks, needs, 0, show)
    for task in tasks:
        if last.get(task.name) == slurm.FAILED:
            said = slurm.last_line(task.log)
            _LOG.error("%s: failed: %s; its log is %s", task.name, said, task.log)
    return done


class _Lines:
    """Counts the lines of a file that grows."""

    def __init__(self, path: pathlib.Path):
        self._path, self._seen = path, 0

    def new(self) -> int:
        """Returns how many there are more than at the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._seen)
                content = file.read()
        except OSError:
            return 0
        self._seen += len(content)
        return content.count(b"\n")


def _join(output: Output, parts: Sequence[pathlib.Path]) -> None:
    """Appends the lines of whole parts that are not in a file yet."""
    skipped = output.rows
    for part in parts:
        with open(part, "rb") as file:
            while lines := list(itertools.islice(file, _JOINED)):
                own, skipped = lines[skipped:], max(0, skipped - len(lines))
                texts = [line.decode("utf-8").rstrip("\n") for line in own]
                output.append(texts, sum(map(is_error, own)))
