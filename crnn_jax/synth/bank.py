"""A bank of real images in one file, small enough to live on the device and be mixed in there.

    python -m crnn_jax.synth.bank --data=tsv:words/labels.tsv --out=words.npz --width=100

Images are brought to one height; `bank:words.npz` then names the set wherever a SPEC does. Labels
are kept as text, so that one bank serves any charset.
"""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8
from tqdm import tqdm

from crnn_jax import cli, files
from crnn_jax.errors import DataError, ImageError, UserError, without_place

if TYPE_CHECKING:
    from crnn_jax.data.images import Preprocess

_EXAMPLE = """example:
  python -m crnn_jax.synth.bank --data=tsv:words/labels.tsv::split=0:90 --out=words.npz
  python -m crnn_jax.main --config=quickstart \\
      '--config.data.train=0.8*synth:scene + 0.2*bank:words.npz'"""
_BREAKS = {ord("\n"): " ", ord("\r"): " "}  # a line of the file is a text
_LARGEST = 4_000_000_000  # bytes of pixels: more does not belong on a device


class Bank(NamedTuple):
    """Images of one height, padded on the right to one width, their texts, and how they fit it.

    `fit` is that of `Preprocess`; empty in banks that do not tell.
    """

    images: UInt8[np.ndarray, "N H W C"]
    widths: Int32[np.ndarray, " N"]
    texts: tuple[str, ...]
    fit: str = ""


def load_bank(path: str) -> Bank:
    """Reads a bank; raises DataError for a file that is missing, damaged or no bank."""
    try:
        loaded = np.load(os.path.expanduser(path), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("an array by itself")
        with loaded as file:
            images, widths = file["images"], file["widths"]
            texts = bytes(file["texts"]).decode("utf-8").split("\n")
            fit = str(file["fit"]) if "fit" in file else ""
    except OSError as error:
        raise DataError(f"bank:{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # NumPy, zip and zlib raise whatever the damage leads them to
        raise DataError(
            f"bank:{path} is no bank of images ({error}): make one with python -m "
            "crnn_jax.synth.bank"
        ) from None
    count = len(images)
    if not (images.ndim == 4 and images.dtype == np.uint8 and count == len(widths) == len(texts)):
        raise DataError(f"bank:{path} is damaged: its parts do not fit together; make it again")
    if not count or widths.min() < 1 or widths.max() > images.shape[2]:
        raise DataError(f"bank:{path} is damaged: an image has no pixels; make it again")
    return Bank(images, widths.astype(np.int32), tuple(texts), fit)


def save_bank(path: str, bank: Bank) -> None:
    """Writes a bank, whole or not at all."""
    buffer = io.BytesIO()
    texts = np.frombuffer("\n".join(bank.texts).encode(), np.uint8)
    np.savez_compressed(
        buffer, images=bank.images, widths=bank.widths, texts=texts, fit=np.array(bank.fit)
    )
    files.write_bytes(path, buffer.getvalue())


class BankSource:
    """A bank as an image set, for evaluation and inspection."""

    def __init__(self, path: str):
        self._path = path
        self._bank = load_bank(path)
        self.name = pathlib.Path(path).stem

    def __len__(self) -> int:
        return len(self._bank.texts)

    def key(self, i: int) -> str:
        """Returns the row's number."""
        return f"{i:06d}"

    def label(self, i: int) -> str:
        """Returns the row's text."""
        return self._bank.texts[i]

    def lexicon(self, i: int) -> tuple[str, ...]:
        """Returns no words."""
        return ()

    def image_bytes(self, i: int) -> bytes:
        """Returns the image as a PNG file."""
        from crnn_jax.data.pixels import encode_png

        return encode_png(self._bank.images[i, :, : self._bank.widths[i]])

    def image_size(self, i: int) -> tuple[int, int]:
        """Returns (width, height)."""
        return int(self._bank.widths[i]), self._bank.images.shape[1]

    def where(self, i: int) -> str:
        """Returns the file and the row."""
        return f"{self._path} row {i}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        """Returns a hash of the rows' texts and pixels."""
        digest = hashlib.blake2b(digest_size=16)
        for i in range(len(self)) if rows is None else rows:
            digest.update(f"{self._bank.texts[i]}\n{self._bank.widths[i]}\n".encode())
            digest.update(self._bank.images[i].tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        BankSource.__init__(self, state["path"])


def make_bank(sources: Sequence[Any], preprocess: Preprocess) -> tuple[Bank, list[str]]:
    """Returns the images of sources in turn, and a line for each that could not be read.

    Raises:
      UserError: when nothing is left, or it is too large for a device.
    """
    images, texts, failed, widest = [], [], [], 0
    rows = [(source, i) for source in sources for i in range(len(source))]
    for source, i in tqdm(rows, desc="bank", unit="img", disable=None):
        try:
            images.append(preprocess(source.image_bytes(i)))
        except ImageError as error:
            where = source.where(i)
            failed.append(f"{where}: {without_place(error, where)}")
            continue
        texts.append(source.label(i).translate(_BREAKS))
        widest = max(widest, images[-1].shape[1])
        if len(images) * preprocess.height * widest * preprocess.channels > _LARGEST:
            raise UserError(
                f"{len(images):,} images up to {widest} pixels wide, of {len(rows):,} that were "
                f"asked for, are more than {_LARGEST:,} bytes: give fewer (limit=N), or train from "
                "the files themselves"
            )
    if not images:
        names = ", ".join(source.name for source in sources)
        first = f"; the first: {failed[0]}" if failed else ""
        raise UserError(f"no image of {names} can be read{first}")
    shape = len(images), preprocess.height, widest, preprocess.channels
    pixels = np.zeros(shape, np.uint8)
    for i, image in enumerate(images):
        pixels[i, :, : image.shape[1]] = image
    widths = np.array([image.shape[1] for image in images], np.int32)
    return Bank(pixels, widths, tuple(texts), preprocess.fit), failed


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.synth.bank", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument(
        "--data", action="append", required=True, metavar="SPEC", help="the image set, or several"
    )
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="the bank")
    parser.add_argument("--height", type=cli.positive_int, default=32, help="pixels")
    parser.add_argument(
        "--width", type=cli.positive_int, default=100, help="pixels; widest if kept"
    )
    parser.add_argument("--fit", default="squash", help="squash to the width, or keep the aspect")
    parser.add_argument("--channels", type=cli.positive_int, default=1, help="1 grey, 3 colour")
    args = parser.parse_args(argv)
    cli.check_output(args.out)

    from crnn_jax import runtime
    from crnn_jax.data.images import Preprocess
    from crnn_jax.data.sources import open_source

    if args.height * args.width > runtime.MOST_INPUT:
        raise UserError(
            f"images of {args.width} x {args.height} pixels: at most {runtime.MOST_INPUT:,} pixels "
            "can be read by a network; lower --height or --width"
        )
    preprocess = Preprocess(
        args.height, args.channels, args.fit, args.width, min(16, args.width), args.width
    )
    bank, failed = make_bank([open_source(spec) for spec in args.data], preprocess)
    save_bank(args.out, bank)
    for line in failed:
        print(f"left out: {line}", file=sys.stderr)
    size = pathlib.Path(args.out).stat().st_size
    print(f"{args.out}: {len(bank.texts):,} images, {len(failed)} left out, {size / 1e6:.1f} MB")
    return cli.FAILED if failed else cli.DONE


if __name__ == "__main__":
    cli.run(main)
