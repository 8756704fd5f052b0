"""Looks at rendered text: a grid of pictures with what they say, alone or beside real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crnn_jax import cli

_EXAMPLE = """example:
  python -m crnn_jax.synth.preview --preset=scene --out=grid.png
  python -m crnn_jax.synth.preview --preset=scene --beside=tsv:words/labels.tsv --out=grid.png
  python -m crnn_jax.synth.preview --preset=receipt --config.synth.rotation=-5:5 --out=grid.png"""


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(
        prog="python -m crnn_jax.synth.preview", description=__doc__, epilog=_EXAMPLE
    )
    parser.add_argument("--preset", default="scene", help="see crnn_jax.synth.presets")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="the picture")
    parser.add_argument("--beside", metavar="SPEC", help="real images for the right half")
    parser.add_argument("--rows", type=cli.positive_int, default=12, help="of the grid")
    parser.add_argument("--columns", type=cli.positive_int, default=4, help="of the grid")
    parser.add_argument("--charset", default="latin94+space", help="characters that may occur")
    parser.add_argument("--height", type=cli.positive_int, default=32, help="pixels of an image")
    parser.add_argument("--width", type=cli.positive_int, default=160, help="pixels at most")
    parser.add_argument("--squash", action="store_true", help="every image as wide as the widest")
    parser.add_argument("--colour", action="store_true", help="three channels")
    parser.add_argument("--seed", type=cli.seed, default=0, help="of the pictures")
    overrides, own = cli.split_overrides(argv)
    args = parser.parse_args(own)
    cli.check_output(args.out, "--out", (".png",))
    count = args.rows * args.columns
    pictures = rendered(args, overrides, count)
    columns = args.columns
    if args.beside:  # real images in the right half of every row
        real = beside(args, count)
        rows = range(0, count, args.columns)
        pictures = [p for i in rows for part in (pictures, real) for p in part[i : i + columns]]
        columns *= 2
    from crnn_jax import pictures as pictures_lib

    images, texts = zip(*pictures, strict=True)
    pictures_lib.write(args.out, pictures_lib.labelled_grid(images, texts, columns))
    print(f"{args.out}: {len(pictures)} pictures, {columns} in a row")
    return cli.DONE


def rendered(args: Any, overrides: list[tuple[str, str]], count: int) -> list[tuple[Any, str]]:
    """Returns pictures (H, W, C) uint8 of a preset, cut to their real widths, and their texts."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from crnn_jax import config as config_lib
    from crnn_jax.charset import build_charset
    from crnn_jax.synth import renderer
    from crnn_jax.synth.warp import Canvas

    config = config_lib.default_config()
    config_lib.apply_overrides(config, [("synth.preset", args.preset), *overrides])
    charset = build_charset(args.charset, "keep")
    canvas = Canvas(args.height, args.width, 3 if args.colour else 1, not args.squash)
    render, assets = renderer.build_renderer(config.synth, charset, canvas, lambda w: w // 4)
    padded = -(-count // renderer.ROWS) * renderer.ROWS
    keys = renderer.row_keys(args.seed, f"preview {args.preset}", jnp.arange(padded))
    batch = jax.device_get(jax.jit(render)(assets, keys))
    return [
        (
            np.asarray(batch.images[i, :, : batch.widths[i]]),
            charset.decode(batch.labels[i, : batch.label_lengths[i]]),
        )
        for i in range(count)
    ]


def beside(args: Any, count: int) -> list[tuple[Any, str]]:
    """Returns images spread over the rows of a set, and their labels."""
    from crnn_jax.data.images import Preprocess
    from crnn_jax.data.sources import open_source
    from crnn_jax.errors import ImageError

    source = open_source(args.beside)
    preprocess = Preprocess(
        args.height, 3 if args.colour else 1, "squash" if args.squash else "keep", args.width,
        min(16, args.width), args.width,
    )  # fmt: skip
    found = []
    for i in range(count):
        row = i * len(source) // count
        try:
            found.append((preprocess(source.image_bytes(row)), source.label(row)))
        except ImageError as error:
            raise ImageError(f"{error}; leave the image out with rows= or limit=") from error
    return found


if __name__ == "__main__":
    cli.run(main)
