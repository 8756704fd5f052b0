"""Does one run of a sweep: trains, goes on where it was stopped, and judges what comes out.

    python -m crnn_jax.sweeps.work DIR [--cores=0,1] [--parent=PID]

DIR holds `job.json`. A launcher starts it; the last file that it writes says that all is done.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax import cli, files, slots
from crnn_jax import config as config_lib
from crnn_jax.errors import UserError
from crnn_jax.signals import StopSignal
from crnn_jax.sweeps.runs import FIGURES, JOB, Figures, readings_file

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source
    from crnn_jax.recognizer import Recognizer


def work(folder: str | pathlib.Path) -> int:
    """Trains and judges the run of a folder; returns an exit code.

    FAILED is a run that a signal stopped, or whose gradients were not finite. It goes on, or is
    tried again, by the same call.

    Raises:
      UserError: as training and evaluation do.
    """
    folder = pathlib.Path(folder)
    job = files.read_json(folder / JOB)
    if "experiment" not in job:
        raise UserError(f"{folder / JOB}: of an earlier version: start the sweep's command again")
    cli.load_experiment(job["experiment"])  # which may have networks of its own
    config = config_lib.from_values(job["config"], f"{folder / JOB}")

    from crnn_jax import startup

    startup.settle(config)
    # Before training: what is wrong with them is not to be told in hours.
    sources = _open(job["data"] or _validation_sets(config.data.eval))

    from crnn_jax import train
    from crnn_jax.recognizer import Recognizer, default_protocol

    _, summary = train.train_and_evaluate(config, folder)
    if summary is None:
        return cli.FAILED
    model = Recognizer.load(folder)
    protocol = config.protocol or default_protocol(model.charset)
    if not _judge(model, sources, protocol, folder):
        return cli.FAILED
    # The last file: with it the run counts as done.
    figures = Figures(
        protocol=protocol,
        sets=[source.name for source in sources],
        parameters=summary["parameters"],
        megaflops=_megaflops(model),
        images_per_second=summary["images_per_second"],
        minutes=summary["seconds"] / 60,
    )
    files.write_json(folder / FIGURES, dataclasses.asdict(figures))
    return cli.DONE


def _open(specs: Sequence[str]) -> list[Source]:
    """Returns the sets that judge a run.

    Raises:
      UserError: there is no set, or two of one name or file; a SPEC that cannot be opened.
    """
    from crnn_jax.data.sources import open_source

    sources = [open_source(spec) for spec in specs]
    names = [source.name for source in sources]
    if not names or len({readings_file(pathlib.Path(), name) for name in names}) < len(names):
        raise UserError(
            f"a sweep is judged by sets of different names, and there are {names}: name them by "
            "add.data(SPEC, ...) or config.data.eval, and tell them apart by name=NAME"
        )
    return sources


def _judge(
    model: Recognizer, sources: Sequence[Source], protocol: str, folder: pathlib.Path
) -> bool:
    """Reads sets, leaves the readings in the folder, and returns whether it was let to end."""
    from crnn_jax.evaluate import evaluate_source, write_predictions

    with StopSignal() as stop:
        for source in sources:
            result = evaluate_source(
                model, source, protocol, interrupted=lambda: bool(stop.requested)
            )
            if result is None:
                return False
            write_predictions(readings_file(folder, source.name), [result])
    return True


def _validation_sets(text: str) -> list[str]:
    from crnn_jax.data.spec import parse_mixture

    return [str(spec) for _, spec in parse_mixture(text)]


def _megaflops(model: Recognizer) -> float:
    """Returns the arithmetic of reading one image of the widest kind, in millions of operations."""
    import jax
    import jax.numpy as jnp

    from crnn_jax import flops

    shown = model.preprocess
    images = jax.ShapeDtypeStruct((1, shown.height, shown.widest, shown.channels), jnp.uint8)
    widths = jax.ShapeDtypeStruct((1,), jnp.int32)
    return flops.count(model.model.apply, model.variables, images, widths) / 1e6


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.sweeps.work", description=__doc__)
    parser.add_argument("folder", help="of the run")
    parser.add_argument("--cores", default="", help="that it keeps to, as in 0,1")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), metavar="PID",
        help="the process with which it ends; default: the one that started it",
    )  # fmt: skip
    args = parser.parse_args(argv)
    slots.settle_down([int(core) for core in args.cores.split(",") if core], args.parent)
    return work(args.folder)


if __name__ == "__main__":
    cli.run(main)
