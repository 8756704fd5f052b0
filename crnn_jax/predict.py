"""Reads the text in images: files, folders, globs, tars and standard input."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, files, shipped
from crnn_jax import decoder_options as options
from crnn_jax.bulk import cluster
from crnn_jax.bulk.inputs import STDIN, Inputs
from crnn_jax.bulk.rows import FORMATS, line_for, open_stream
from crnn_jax.errors import DataError, UserError, unknown_name
from crnn_jax.slurm import LAUNCHERS, LOCAL, SLURM

if TYPE_CHECKING:
    from crnn_jax.recognizer import Reading

_EXAMPLE = """example:
  python -m crnn_jax.predict --model=runs/quickstart word.png photos/ 'scans/*.jpg'
  python -m crnn_jax.predict word.png
  curl https://example.org/word.png | python -m crnn_jax.predict -
  python -m crnn_jax.predict --model=runs/quickstart --format=json photos/ > readings.jsonl
  python -m crnn_jax.predict --images_from=list.txt scans.tar --out=readings.tsv --jobs=8
  python -m crnn_jax.predict --images_from=list.txt --out=readings.tsv --launcher=slurm --shards=20
Images that cannot be read are named on stderr and the rest goes on; the exit code is 1 then."""

RUNS = pathlib.Path("runs")
_SUFFIXES = {".tsv": "tsv", ".jsonl": "json", ".json": "json"}


def list_models() -> str:
    """Returns the shipped models and the runs of the current folder, one per line."""
    lines = shipped.describe()
    for path in sorted(RUNS.glob("*/summary.json")):
        try:
            summary = files.read_json(path)
            scores = filter(None, map(_score, summary["eval"].items()))
            told = f"{summary['parameters'] / 1e6:5.2f} M  {', '.join(scores)}"
        except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"its summary cannot be read: {error}"
        lines.append(f"{path.parent!s:<24} {told}")
    if not any(RUNS.glob("*/summary.json")):
        lines.append("no finished runs in runs/; train one with: make train")
    return "\n".join(lines)


def _score(entry: tuple[str, Any]) -> str:
    """Returns the word accuracy of a set in a summary; of replicas with its deviation."""
    name, scores = entry
    accuracy, deviation = scores["word_accuracy"], ""
    if isinstance(accuracy, dict):
        accuracy, std = accuracy["mean"], accuracy["std"]
        deviation = "" if std is None else f" +- {100 * std:.1f}"
    return "" if accuracy is None else f"{name} {100 * accuracy:.1f}{deviation} %"


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)
    if args.list:
        print(list_models())
        return cli.DONE

    inputs = Inputs.find(args.paths, args.images_from)
    if args.launcher == SLURM:
        return cluster.launch(args, inputs)
    rows = cluster.rows_of(args, inputs)
    if args.out:
        with cluster.open_output(args, inputs, rows) as output:
            return cluster.read_into(output, args, inputs, rows)
    return _print_all(args, inputs, rows)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments and checks what can be checked before a model is loaded."""
    parser = cli.Parser(prog="python -m crnn_jax.predict", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="image, folder, glob or .tar; - is an image on stdin",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="a run's workdir, a bundle or a shipped model; several read together; default: "
        f"{shipped.DEFAULT}",
    )
    parser.add_argument("--format", help="text, tsv or json (one object per line)")
    options.add_options(parser)
    parser.add_argument(
        "--batch_size", type=cli.positive_int, default=32, help="most images per step"
    )
    parser.add_squeeze()
    parser.add_argument(
        "--rotations",
        action="store_true",
        help="also turns images by 90, 180 and 270 degrees, and keeps the surest reading",
    )
    parser.add_careful()
    parser.add_argument(
        "--images_from", action="append", default=[], metavar="FILE",
        help="text file with the path of an image per line",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FILE",
        help="file for the readings, a line per image in their order: .tsv, or .jsonl; the same "
        "command goes on where it was stopped or killed",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=cli.positive_int,
        help="processes that read into --out; default: one per GPU, else per core",
    )  # fmt: skip
    parser.add_argument(
        "--shard", default="", metavar="I/N",
        help="only the I-th of N parts, from 0, for several machines with an --out each",
    )  # fmt: skip
    parser.add_argument(
        "--launcher", default=LOCAL,
        help="local, or slurm: reads the parts of --shards as a job array, and joins them",
    )  # fmt: skip
    parser.add_argument(
        "--shards", type=cli.positive_int, metavar="N", help="jobs of --launcher=slurm; default: 8"
    )
    parser.add_argument(
        "--resources", default="", metavar="KEY=VALUE,...",
        help="of each of these jobs: minutes=60,cpus=2,gpus=0,memory_gb=8,partition=NAME",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="shows the models there are")
    args = parser.parse_args(argv)
    if args.list:
        return args
    if args.jobs and not args.out:
        raise UserError("--jobs reads into a file: give one with --out=FILE")
    args.format = args.format or (_format_of(args.out) if args.out else "text")
    if args.format not in FORMATS or (args.out and args.format == "text"):
        raise unknown_name(
            "format", args.format, [f for f in FORMATS if f != "text" or not args.out]
        )
    _check_launcher(args)
    if not args.paths and not args.images_from:
        raise UserError("no images given: name files, folders or globs after the options")
    _check_stdin(args)
    options.check_options(args)
    if options.describe_lexicon(args) == options.OWN_WORDS:
        raise UserError("--decoder=lexicon: images have no words here; give --lexicon=FILE")
    cli.check_output(args.out)
    return args


def _check_stdin(args: argparse.Namespace) -> None:
    """Raises a UserError where an image on standard input cannot be had."""
    if STDIN not in args.paths:
        return
    if args.out:
        raise UserError("- is read here, and --out by other processes: leave one of them out")
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("-: no image comes through standard input: add < word.png")


def _check_launcher(args: argparse.Namespace) -> None:
    """Raises a UserError where what is said of a cluster does not go together."""
    if args.launcher not in LAUNCHERS:
        raise unknown_name("launcher", args.launcher, LAUNCHERS)
    if args.launcher == LOCAL and (args.shards or args.resources):
        raise UserError("--shards and --resources are of jobs: add --launcher=slurm")
    if args.launcher == SLURM and (args.shard or not args.out):
        raise UserError("--launcher=slurm reads into a file: give --out=FILE, and no --shard")


def _format_of(out: str) -> str:
    """Returns the format that a file's name asks for."""
    suffix = pathlib.Path(out).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(f"--out={out}: name it .tsv or .jsonl, or say --format=tsv or json")
    return _SUFFIXES[suffix]


def _print_all(args: argparse.Namespace, inputs: Inputs, rows: range) -> int:
    """Prints readings as they come, in the order of the images; returns the exit code."""
    from tqdm import tqdm

    from crnn_jax import runtime

    items = [inputs[i] for i in rows]
    stream = open_stream(args)(items)
    to_line = line_for(args.format, sys.stdout.encoding)
    done: dict[int, Reading | DataError] = {}  # readings whose predecessors are still under way
    printed, failed, unsure = 0, 0, 0
    # A bar would run through the readings where both go to the same terminal.
    hide = True if sys.stdout.isatty() else None
    with tqdm(total=len(items), unit="img", delay=3, disable=hide) as bar:
        for position, found in stream:
            done[position] = found
            bar.update()
            while printed in done:
                name, found = items[printed].name, done.pop(printed)
                printed += 1
                if isinstance(found, DataError):
                    failed += 1
                    print(found, file=sys.stderr)
                    if args.format != "json":
                        continue
                else:
                    unsure += found.confidence < runtime.SURE
                print(to_line(name, found), flush=True)
    if failed:
        print(f"{failed} of {len(items)} images could not be read", file=sys.stderr)
    if unsure and not args.careful and sys.stderr.isatty():  # for people
        print(
            f"{unsure} of {len(items) - failed} readings are unsure (below {runtime.SURE}): "
            "--careful looks at such images again",
            file=sys.stderr,
        )
    return cli.FAILED if failed else cli.DONE


if __name__ == "__main__":
    cli.run(main)
