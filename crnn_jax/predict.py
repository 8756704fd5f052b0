"""Reads the text in images: files, folders and globs."""

from __future__ import annotations

import functools
import glob
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, files, shipped
from crnn_jax import decoder_options as options
from crnn_jax.errors import DataError, UserError, unknown_name

if TYPE_CHECKING:
    import argparse

    from crnn_jax.recognizer import Reading

_EXAMPLE = """example:
  python -m crnn_jax.predict --model=runs/quickstart word.png photos/ 'scans/*.jpg'
  python -m crnn_jax.predict word.png
  python -m crnn_jax.predict --model=runs/quickstart --format=json photos/ > readings.jsonl
Images that cannot be read are named on stderr and the rest goes on; the exit code is 1 then."""

RUNS = pathlib.Path("runs")


def find_images(paths: Sequence[str]) -> Iterator[pathlib.Path]:
    """Yields image files: a file as it is, a folder's images in order, what a glob matches.

    A path that names nothing is yielded, too: reading it fails and says why.

    Raises:
      UserError: for a folder without images or a glob that matches nothing.
    """
    from crnn_jax.data.folders import SUFFIXES

    for path in paths:
        if glob.has_magic(path) and not pathlib.Path(path).exists():
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise UserError(f"{path}: nothing matches; check the pattern, or quote it")
            found = [p for match in matches if not (p := pathlib.Path(match)).is_dir()]
        elif pathlib.Path(path).is_dir():
            found = sorted(p for p in pathlib.Path(path).rglob("*") if p.is_file())
            # macOS leaves ._NAME.png beside NAME.png
            found = [
                p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
            ]
            if not found:
                raise UserError(f"{path}: no images in this folder ({' '.join(SUFFIXES)})")
        else:
            found = [pathlib.Path(path)]
        yield from found


def _text(path: pathlib.Path, reading: Reading) -> str:
    return f"{path}: {reading.text}  ({reading.confidence:.2f})"


def _tsv(path: pathlib.Path, reading: Reading) -> str:
    return f"{path}\t{reading.text}\t{reading.confidence:.6f}"


def record(path: str, reading: Reading) -> dict[str, Any]:
    """Returns a reading as JSON values."""
    found: dict[str, Any] = {
        "path": path,
        "text": reading.text,
        "confidence": round(reading.confidence, 6),
        "chars": [
            {
                "char": c.char,
                "confidence": round(c.confidence, 6),
                "x0": round(c.x0, 2),
                "x1": round(c.x1, 2),
            }
            for c in reading.characters
        ],
        "alternatives": [
            {"text": other.text, "confidence": round(other.confidence, 6)}
            for other in reading.alternatives
        ],
    }
    if reading.rotation:
        found["rotation"] = reading.rotation
    return found


def _json(path: pathlib.Path, reading: Reading) -> str:
    return json.dumps(record(str(path), reading), ensure_ascii=False)


FORMATS = {"text": _text, "tsv": _tsv, "json": _json}


def list_models() -> str:
    """Returns the shipped models and the runs of the current folder, one per line."""
    lines = shipped.describe()
    for path in sorted(RUNS.glob("*/summary.json")):
        try:
            summary = files.read_json(path)
            scores = filter(None, map(_score, summary["eval"].items()))
            told = f"{summary['parameters'] / 1e6:5.2f} M  {', '.join(scores)}"
        except (UserError, KeyError, TypeError) as error:
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
    parser = cli.Parser(prog="python -m crnn_jax.predict", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="image, folder or glob")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="a run's workdir, a bundle or a shipped model; several read together; default: "
        f"{shipped.DEFAULT}",
    )
    parser.add_argument("--format", default="text", help="text, tsv or json (one object per line)")
    options.add_options(parser)
    parser.add_argument(
        "--batch_size", type=cli.positive_int, default=32, help="most images per step"
    )
    parser.add_argument(
        "--squeeze", action="store_true",
        help="squeezes lines wider than those of training, instead of reading them in windows",
    )  # fmt: skip
    parser.add_argument(
        "--rotations",
        action="store_true",
        help="also turns images by 90, 180 and 270 degrees, and keeps the surest reading",
    )
    parser.add_argument("--list", action="store_true", help="shows the models there are")
    args = parser.parse_args(argv)
    if args.list:
        print(list_models())
        return cli.DONE
    if args.format not in FORMATS:
        raise unknown_name("format", args.format, FORMATS)
    if not args.paths:
        raise UserError("no images given: name files, folders or globs after the options")
    options.check_options(args)
    if options.describe_lexicon(args) == options.OWN_WORDS:
        raise UserError("--decoder=lexicon: images have no words here; give --lexicon=FILE")

    from tqdm import tqdm

    images = list(find_images(args.paths))
    stream = _stream(args, images)
    done: dict[int, Reading | DataError] = {}  # readings whose predecessors are still under way
    printed, failed = 0, 0
    # A bar would run through the readings where both go to the same terminal.
    hide = True if sys.stdout.isatty() else None
    with tqdm(total=len(images), unit="img", delay=3, disable=hide) as bar:
        for position, reading in stream:
            done[position] = reading
            bar.update()
            while printed in done:
                path, reading = images[printed], done.pop(printed)
                printed += 1
                if isinstance(reading, DataError):
                    failed += 1
                    print(reading, file=sys.stderr)
                    if args.format == "json":
                        print(json.dumps({"path": str(path), "error": str(reading)}), flush=True)
                else:
                    if reading.characters:
                        reading = reading.in_pixels(_width(path, reading.rotation))
                    print(FORMATS[args.format](path, reading), flush=True)
    if failed:
        print(f"{failed} of {len(images)} images could not be read", file=sys.stderr)
    return cli.FAILED if failed else cli.DONE


def _stream(
    args: argparse.Namespace, images: list[pathlib.Path]
) -> Iterator[tuple[int, Reading | DataError]]:
    """Yields the readings of images as checked arguments want them."""
    from crnn_jax import ensembles
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.rotations import stream_rotated

    model = ensembles.combine([Recognizer.load(name) for name in args.model or [shipped.DEFAULT]])
    decoder = ensembles.decoder_of(model, functools.partial(options.build_decoder, args))
    if not args.squeeze:
        model = model.in_windows()
    arguments = {
        "batch_size": args.batch_size,
        "decoder": decoder,
        "characters": args.format == "json",
    }
    if args.rotations:

        def load(path: pathlib.Path, rotation: int) -> Any:
            return model.preprocess(path, rotation=rotation)

        return stream_rotated(model, images, load, **arguments)
    return model.stream(images, model.preprocess, **arguments)


def _width(path: pathlib.Path, rotation: int) -> int:
    """Returns the pixels along the lines of an image that was turned to be read."""
    from crnn_jax.data.images import image_size

    width, height = image_size(path)
    return height if rotation in (90, 270) else width


if __name__ == "__main__":
    cli.run(main)
