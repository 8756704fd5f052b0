"""Readings as lines: text for people, TSV, or a JSON object each."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import decoder_options as options
from crnn_jax import shipped
from crnn_jax.bulk.inputs import Item
from crnn_jax.errors import DataError, ImageError, printable

if TYPE_CHECKING:
    from crnn_jax.bulk.workers import Lines, Read
    from crnn_jax.recognizer import Reading

_ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # a row stays one line


def _text(name: str, found: Reading | DataError) -> str:
    if isinstance(found, DataError):
        return str(found)
    return printable(f"{name}: {found.text}  ({found.confidence:.2f})")


def _tsv(name: str, found: Reading | DataError) -> str:
    cells = [name, "", "", str(found)]
    if not isinstance(found, DataError):
        cells = [name, found.text, f"{found.confidence:.6f}"]
    return "\t".join(cell.translate(_ESCAPED) for cell in cells)


def _json(name: str, found: Reading | DataError, plain: bool = False) -> str:
    if isinstance(found, DataError):
        return json.dumps({"path": name, "error": str(found)})
    from crnn_jax import runtime  # late: it needs Pillow, and --help does not

    return json.dumps(runtime.record(name, found), ensure_ascii=plain)


FORMATS: dict[str, Callable[[str, Any], str]] = {"text": _text, "tsv": _tsv, "json": _json}


def line_for(format_name: str, encoding: str | None) -> Callable[[str, Any], str]:
    """Returns what makes lines of readings for a stream of an encoding."""
    if format_name == "json" and (encoding or "").lower() not in ("utf-8", "utf8"):
        return functools.partial(_json, plain=True)  # its own escapes would be none of JSON
    return FORMATS[format_name]


def is_error(line: bytes) -> bool:
    """Returns whether a line of TSV or JSON tells of an image that could not be read."""
    return line.count(b"\t") == 3 or b'", "error": "' in line


def lost(format_name: str, item: Item) -> str:
    """Returns the line of an item that ends the process which reads it."""
    return FORMATS[format_name](item.name, DataError(f"{item.name}: reading it ends the process"))


def open_stream(
    args: argparse.Namespace,
) -> Callable[[Sequence[Item]], Iterator[tuple[int, Reading | DataError]]]:
    """Returns the function that reads items as the arguments of `predict` want it.

    It yields positions in what it is given, and readings whose characters have their places in
    pixels where the format has places.
    """
    from crnn_jax import ensembles
    from crnn_jax.careful import Careful
    from crnn_jax.data.image_file import quiet_libtiff
    from crnn_jax.data.images import image_size
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.rotations import stream_rotated
    from crnn_jax.runtime import View, turned_size

    quiet_libtiff()
    model = ensembles.combine([Recognizer.load(name) for name in args.model or [shipped.DEFAULT]])
    decoder = ensembles.decoder_of(model, functools.partial(options.build_decoder, args))
    if not args.squeeze:
        model = model.in_windows()
    reader = Careful(model) if args.careful else model
    arguments = {
        "batch_size": args.batch_size,
        "decoder": decoder,
        "characters": args.format == "json",
    }

    sizes: dict[int, tuple[int, int]] = {}  # noted by the threads that load

    def load(numbered: tuple[int, Item], rotation: int = 0) -> Any:
        position, item = numbered
        content = item.content()
        if arguments["characters"] and not rotation:  # once for all four ways
            sizes[position] = image_size(content)
        return reader.preprocess(content, view=View(rotation))

    def stream(items: Sequence[Item]) -> Iterator[tuple[int, Reading | DataError]]:
        numbered = enumerate(items)
        if args.rotations:
            found = stream_rotated(reader, numbered, load, **arguments)
        else:
            found = reader.stream(numbered, load, **arguments)
        for position, reading in found:
            # Here, not in `load`: several models decode an image after it.
            if isinstance(reading, ImageError) and not items[position].is_file:
                reading = ImageError(f"{items[position].name}: {reading}")
            if not isinstance(reading, DataError) and reading.characters:
                width, _ = turned_size(*sizes[position], reading.rotation)
                reading = reading.in_pixels(width)
            sizes.pop(position, None)
            yield position, reading

    return stream


def make_reader(args: argparse.Namespace) -> Read:
    """Returns the function that makes lines of items, for `Workers`."""
    stream = open_stream(args)

    def read(items: Sequence[Item]) -> Lines:
        found = dict(stream(items))
        to_line = FORMATS[args.format]
        return [
            (to_line(item.name, found[i]), isinstance(found[i], DataError))
            for i, item in enumerate(items)
        ]

    return read
