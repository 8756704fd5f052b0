"""Finds where an image shows each character of a text that is known."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli
from crnn_jax.errors import DataError, UserError

if TYPE_CHECKING:
    import argparse

    from crnn_jax.charset import Charset
    from crnn_jax.reading import Reading
    from crnn_jax.recognizer import Recognizer

_EXAMPLE = """example:
  python -m crnn_jax.align --model=runs/quickstart --text=Hotel hotel.png --picture=hotel_boxes.png
  python -m crnn_jax.align --model=runs/quickstart --data=tsv:words/labels.tsv > aligned.jsonl
Prints one JSON object per image: text, confidence (the posterior of the text), and for each
character its own confidence, x0 and x1 in pixels of the image. An image whose text does not fit
gets an error, and the exit code is 1 then."""


def align(
    recognizer: Recognizer,
    items: Iterable[tuple[Any, str]],
    batch_size: int = 32,
    load: Callable[[Any], Any] = lambda image: image,
) -> Iterator[tuple[int, Reading | DataError]]:
    """Yields (position, reading) of images whose texts are known; places are shares of the width.

    Args:
      recognizer: the model.
      items: an image and its text.
      batch_size: most images per step.
      load: what `Preprocess` takes, of the image of an item; may raise a DataError.
    """
    from crnn_jax.decode.forced import Forced

    texts: dict[int, str] = {}  # of images under way

    def noted() -> Iterator[tuple[Any, str]]:
        for position, item in enumerate(items):
            texts[position] = item[1]
            yield item

    stream = recognizer.stream(
        noted(),
        lambda item: recognizer.preprocess(load(item[0])),
        batch_size,
        Forced(),
        words=lambda item: (item[1],),
        characters=True,
    )
    for position, reading in stream:
        text = texts.pop(position)
        if isinstance(reading, DataError):
            yield position, reading
        elif unknown := recognizer.charset.unknown(text):
            yield position, DataError(_unknown(text, unknown[0], recognizer.charset))
        elif text and not reading.characters:
            yield (
                position,
                DataError(
                    f"text {text!r:.80} does not fit the image: it needs more frames than there "
                    "are; give a wider image"
                ),
            )
        else:
            yield position, reading


def _unknown(text: str, char: str, charset: Charset) -> str:
    return (
        f"text {text!r:.80} has {char!r}, which the model does not read; it reads "
        f"{''.join(charset.classes)[:100]}"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax.bulk.rows import line_for
    from crnn_jax.data.images import size_of
    from crnn_jax.recognizer import Recognizer

    recognizer = Recognizer.load(args.model).in_windows()
    if args.text and (unknown := recognizer.charset.unknown(args.text)):
        raise UserError(_unknown(args.text, unknown[0], recognizer.charset))
    names, items, load = _items(args)
    line = line_for("json", sys.stdout.encoding)
    done: dict[int, Reading | DataError] = {}
    printed = failed = 0
    for position, reading in align(recognizer, items, args.batch_size, load):
        done[position] = reading
        while printed in done:
            reading, name, (image, _) = done.pop(printed), names[printed], items[printed]
            printed += 1
            if isinstance(reading, DataError):
                failed += 1
                print(line(name, reading), flush=True)
                continue
            reading = reading.in_pixels(size_of(load(image))[0])
            print(line(name, reading), flush=True)
            if args.picture:
                _draw(args.picture, load(image), reading)
    return cli.FAILED if failed else cli.DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m crnn_jax.align", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="images that show the text")
    parser.add_argument("--model", required=True, help="a run, a bundle or a shipped model")
    parser.add_argument("--text", help="what the images show")
    parser.add_argument(
        "--data", metavar="SPEC", action=cli.Once, help="a labelled set instead of images"
    )
    parser.add_argument("--picture", metavar="FILE.png", help="draws the image with its characters")
    parser.add_argument("--batch_size", type=cli.positive_int, default=32)
    args = parser.parse_args(argv)
    if bool(args.data) == bool(args.paths):
        raise UserError("give images with --text=TEXT, or a labelled set with --data=SPEC")
    if bool(args.paths) != (args.text is not None):
        raise UserError("--text is the text of the images: give it with them, and not with --data")
    if args.picture and len(args.paths) != 1:
        raise UserError("--picture draws one image: give one")
    cli.check_output(args.picture, "--picture", (".png",))
    return args


def _items(
    args: argparse.Namespace,
) -> tuple[list[str], list[tuple[Any, str]], Callable[[Any], Any]]:
    """Returns what images are called, the images with their texts, and what loads an image."""
    if args.paths:
        return list(args.paths), [(path, args.text) for path in args.paths], pathlib.Path
    from crnn_jax.data.sources import open_source

    source = open_source(args.data)
    rows = range(len(source))
    items = [(row, source.label(row)) for row in rows]
    return [source.key(row) for row in rows], items, source.image_bytes


def _draw(path: str, image: Any, reading: Reading) -> None:
    from crnn_jax import pictures
    from crnn_jax.data.images import decode_image

    pictures.write(path, pictures.character_boxes(decode_image(image, 3), reading))


if __name__ == "__main__":
    cli.run(main)
