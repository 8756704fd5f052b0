"""Takes a model out: as ONNX, for any runtime, or as StableHLO; what reads otherwise is refused."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from crnn_jax import cli, decoder_options, files
from crnn_jax.errors import UserError, unknown_name

if TYPE_CHECKING:
    import argparse

    from crnn_jax.bundle_file import Bundle
    from crnn_jax.recognizer import Recognizer

_EXAMPLE = """example:
  python -m crnn_jax.export --model=runs/mine --to=onnx --out=mine.onnx --with-runtime
  python mine_reader.py word.png        needs numpy, Pillow and onnxruntime alone
  python -m crnn_jax.export --model=small-94 --to=onnx --out=x.onnx --with-runtime --lm=english
  python -m crnn_jax.export --model=tiny-latin --to=onnx --out=tiny8.onnx --int8
  python -m crnn_jax.export --model=mine.crnn --to=stablehlo --out=mine.stablehlo"""

FORMATS = ("onnx", "stablehlo")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax.bundle import open_model

    bundle = open_model(args.model)
    recognizer = bundle.recognizer()

    language = _language_model(args, bundle) if args.lm else b""

    from crnn_jax.exporting.parity import parity_images

    images = parity_images(recognizer, args.data)
    if args.to == "onnx":
        lines = _export_onnx(args, bundle, recognizer, images, language)
    else:
        lines = _export_stablehlo(args, bundle, recognizer, images)
    for line in lines:
        print(line, flush=True)
    return cli.DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m crnn_jax.export", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument(
        "--model", required=True, help="a run's workdir, a bundle or a shipped model"
    )
    parser.add_argument("--to", required=True, help=" or ".join(FORMATS))
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--data",
        metavar="SPEC",
        action=cli.Once,
        help="images on which the artefact is compared with the model; default: rendered words",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="8-bit weights and activations, unless they lose more than half a point of accuracy",
    )
    parser.add_argument(
        "--with-runtime",
        action="store_true",
        help="puts a reader beside the ONNX file that needs neither JAX nor this package",
    )
    about = "language model, which is written beside the ONNX file as NAME_lm.npz"
    decoder_options.add_lm_options(parser, about)
    args = parser.parse_args(argv)
    if args.to not in FORMATS:
        raise unknown_name("format", args.to, FORMATS)
    if args.to != "onnx" and (args.int8 or args.with_runtime or args.lm):
        raise UserError("--int8, --with-runtime and --lm belong to --to=onnx")
    decoder_options.check_lm_options(args)
    if args.lm_bonus and not args.lm:
        raise UserError(
            "--lm_bonus is written with a language model: add --lm=english or --lm=FILE"
        )
    cli.check_output(args.out)
    if args.to == "onnx":
        try:
            import onnx  # noqa: F401  an extra; its lack is told before anything is computed
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--to=onnx needs {error.name}, which is not installed: "
                "pip install 'crnn_jax[onnx]'"
            ) from None
    return args


def _language_model(args: argparse.Namespace, bundle: Bundle) -> bytes:
    """Returns the language model as the reader opens it; raises a UserError where it would not."""
    from crnn_jax import runtime
    from crnn_jax.exporting.language import pack

    model = decoder_options.build_lm(args, bundle.charset)
    content = pack(pathlib.Path(args.lm).name, model, bundle.charset)
    try:
        runtime.LanguageModel.parse(content)
    except runtime.ReadError as error:
        raise UserError(
            f"--lm={args.lm}: the reader would refuse it ({error}); give a lower --lm_order, "
            "--lm_weight or --lm_bonus"
        ) from None
    return content


def _export_onnx(
    args: argparse.Namespace,
    bundle: Bundle,
    recognizer: Recognizer,
    images: list[Any],
    language: bytes,
) -> Iterator[str]:
    """Writes the ONNX file and what goes with it, and yields what is to be told."""
    import jax

    from crnn_jax.exporting import metadata
    from crnn_jax.exporting.onnx_model import to_onnx
    from crnn_jax.exporting.onnx_run import open_session, runner
    from crnn_jax.models import CRNN

    model = to_onnx(recognizer)
    # The file computes in float32, whatever the model does on this device.
    network = cast(CRNN, recognizer.model).clone(dtype=jax.numpy.float32)
    exact = dataclasses.replace(recognizer, model=network)
    with jax.default_matmul_precision("float32"):
        told = _checked(args, exact, runner(open_session(model)), images)
    yield told
    metadata.attach(model, bundle)
    if args.int8:
        from crnn_jax.exporting import quantize
        from crnn_jax.recognizer import default_protocol

        source = quantize.comparison_set(bundle.charset, args.data)
        small = quantize.quantize(model, recognizer.preprocess, source)
        cost = quantize.check_cost(model, small, source, default_protocol(bundle.charset))
        yield str(cost)
        model = small
    path = pathlib.Path(args.out)
    files.write_bytes(path, model.SerializeToString())
    yield f"{path}: {path.stat().st_size / 1e6:.1f} MB, ONNX, {_signature(recognizer)}"
    if args.with_runtime:
        from crnn_jax import runtime

        reader = path.with_name(runtime.reader_name(path.name))
        code = pathlib.Path(runtime.__file__).read_text(encoding="utf-8")
        files.write_text(reader, code)
        needed = "numpy, Pillow and onnxruntime"
        if bundle.charset.right_to_left:
            needed = "numpy, Pillow, onnxruntime and python-bidi"
        found = "" if path.suffix == ".onnx" else f" --model={path}"  # what it looks for by itself
        yield f"{reader}: python {reader}{found} IMAGE; needs {needed} alone"
    if language:
        from crnn_jax import runtime

        beside = path.with_name(runtime.lm_name(path.name))
        files.write_bytes(beside, language)
        size = len(language) / 1e6
        yield f"{beside}: {size:.1f} MB, language model; the reader takes it as --lm={beside}"


def _export_stablehlo(
    args: argparse.Namespace, bundle: Bundle, recognizer: Recognizer, images: list[Any]
) -> Iterator[str]:
    """Writes the program and its description, and yields what is to be told."""
    from crnn_jax.exporting import metadata, stablehlo

    content = stablehlo.to_stablehlo(recognizer)
    path = pathlib.Path(args.out)
    yield _checked(args, recognizer, stablehlo.loaded(content), images)
    files.write_bytes(path, content)
    beside = path.with_name(f"{path.name}.json")
    files.write_json(beside, metadata.describe(bundle))
    megabytes = path.stat().st_size / 1e6
    yield (
        f"{path}: {megabytes:.1f} MB, StableHLO for {', '.join(stablehlo.PLATFORMS)}, "
        f"{_signature(recognizer)}; {beside} has its charset and the rest"
    )


def _checked(args: argparse.Namespace, recognizer: Recognizer, run: Any, images: list[Any]) -> str:
    """Returns what the comparison with the model says; a difference is a UserError."""
    from crnn_jax.exporting import parity

    try:
        return str(parity.check_parity(recognizer, run, images))
    except parity.ParityError as error:
        from crnn_jax.data.pixels import encode_png

        shown = pathlib.Path(f"{args.out}.refused.png")
        files.write_bytes(shown, encode_png(error.image))
        raise UserError(
            f"{args.out} is not written, it reads otherwise than {args.model}: {error}; see "
            f"{shown}, and report it"
        ) from None


def _signature(recognizer: Recognizer) -> str:
    data = recognizer.preprocess
    return f"uint8 images (batch, {data.height}, width, {data.channels}) and widths in"


if __name__ == "__main__":
    cli.run(main)
