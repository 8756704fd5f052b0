"""Makes a model of the weights of a PyTorch CRNN, for evaluate, predict and Recognizer.load.

Reads .pth and .pt files of torch.save and .safetensors, executes nothing in them, and needs no
PyTorch. Layouts: `port` is the widely used PyTorch port of the CRNN; `dtrb_vgg` and `dtrb_resnet`
are deep-text-recognition-benchmark's networks with CTC and without transformation.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from crnn_jax import types
    from crnn_jax.charset import Charset

_EXAMPLE = """example:
  python -m crnn_jax.convert --weights=crnn.pth --charset=alnum36 --out=runs/port
  python -m crnn_jax.predict --model=runs/port word.png
The order of the charset is that of the classes, the blank before it. For the 94 characters of
deep-text-recognition-benchmark's --sensitive it is digits, a-z, A-Z, then punctuation:
  --charset='chars:0123456789abc...zABC...Z!"#$...'"""
_SHOWN = 40  # characters of the charset in the last line


def model_config(
    encoder: str, variables: types.Variables, charset: str, case: str, width: int
) -> ConfigDict:
    """Returns the config of a converted network; what its weights do not show is the default.

    Args:
      encoder: name of a layer table.
      variables: as the functions of `crnn_jax.pytorch.networks` return them.
      charset, case: as in a config.
      width: pixels to which images are squashed.
    """
    from crnn_jax import config as config_lib

    config, params = config_lib.default_config(), variables["params"]
    config.charset, config.case = charset, case
    config.data.width = width
    config.data.channels = params["encoder"]["conv_1"]["kernel"].shape[2]
    config.model.encoder = encoder
    if "recurrent_1" in params:
        config.model.hidden = params["recurrent_1"]["recurrent_kernel"].shape[1]
        config.model.projection = params["projection_1"]["bias"].size
    else:
        config.model.recurrence = "none"
    return config


def save_model(
    out: str | pathlib.Path, config: ConfigDict, charset: Charset, variables: types.Variables
) -> None:
    """Writes a model that `Recognizer.load` reads: a run's state at step 0 with these weights.

    The folder appears whole or not at all.

    Raises:
      UserError: when it exists, or cannot be written.
    """
    import jax

    from crnn_jax import config as config_lib
    from crnn_jax import files, train, workdir
    from crnn_jax.checkpoint import Checkpointer
    from crnn_jax.step import create_train_state

    model, tx, _ = train.build(config, charset.num_classes, warmup=0, total=1)
    # In one program, which then leaves out the drawing of weights that are replaced.
    create = jax.jit(lambda given: create_train_state(config, model, tx).replace(**given))
    state = create(variables)

    out = check_folder(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = files.beside(out)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"--out={out}: cannot be made ({error.strerror})") from None
    try:
        with contextlib.closing(Checkpointer(temporary)) as checkpoints:
            checkpoints.save(0, state)
            checkpoints.wait()
        charset.save(temporary / workdir.CHARSET_FILE)
        files.write_text(temporary / workdir.CONFIG_FILE, config_lib.to_json(config))
        made = {"command": sys.argv, "data": {}, "lineage": []}  # nothing is known of its training
        files.write_json(temporary / workdir.RUN_FILE, made)
        # With it the model is listed by predict --list.
        summary = {
            "step": 0,
            "seconds": 0.0,
            "images_per_second": 0.0,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
            "eval": {},
        }
        files.write_json(temporary / workdir.SUMMARY_FILE, summary)
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(out: str | pathlib.Path) -> pathlib.Path:
    """Returns the absolute path of a folder that is to be made; a UserError if it exists."""
    path = pathlib.Path(out).absolute()
    if path.exists() or path.is_symlink():
        raise UserError(f"--out={out}: exists already; give a new folder, or remove this one")
    return path


def _check_classes(weights: str, classes: int, charset: Charset, spec: str) -> None:
    if classes != charset.num_classes:
        raise UserError(
            f"{weights}: {classes} classes, but charset {spec:.40} has {len(charset.classes)} "
            f"characters and the blank, {charset.num_classes} classes: give the --charset that the "
            "network was trained with"
        )


def convert(path: str, layout: str, charset: str, case: str, width: int, out: str) -> str:
    """Converts a file; returns the line that says what was made.

    Raises:
      UserError: for a file, layout, charset or folder that does not do.
    """
    from crnn_jax.charset import build_charset
    from crnn_jax.pytorch.weights import read_weights

    check_folder(out)
    characters = build_charset(charset, case)
    weights = read_weights(path)

    from crnn_jax.pytorch.networks import find_layout

    try:
        found = find_layout(weights, layout)
        variables: Any = found.convert(weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    classes = variables["params"]["classifier"]["bias"].size
    _check_classes(path, classes, characters, charset)
    config = model_config(found.encoder, variables, charset, case, width)
    save_model(out, config, characters, variables)
    shown = "".join(characters.classes)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    colours = "grey" if config.data.channels == 1 else "colour"
    return (
        f"{out}: encoder {found.encoder}, recurrence {config.model.recurrence}, {colours} images "
        f"32x{width}; classes in order: blank {shown}"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.convert", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--weights", required=True, metavar="FILE", help="a state_dict")
    parser.add_argument(
        "--charset", required=True, help="the network's: preset, chars:STRING or file:PATH"
    )
    parser.add_argument("--case", default="auto", help="keep, fold or auto: fold for alnum36")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the model; made, never changed"
    )
    parser.add_argument(
        "--layout", default="auto", help="auto (by the keys), port, dtrb_vgg or dtrb_resnet"
    )
    parser.add_argument(
        "--width", type=cli.positive_int, default=100, help="pixels that images are squashed to"
    )
    args = parser.parse_args(argv)
    print(convert(args.weights, args.layout, args.charset, args.case, args.width, args.out))
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
