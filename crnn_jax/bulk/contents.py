"""What a reading depends on besides its options: the content of the files that these name."""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
from collections.abc import Iterator

from crnn_jax import shipped
from crnn_jax.decode import lm
from crnn_jax.errors import UserError


def contents(args: argparse.Namespace) -> dict[str, str]:
    """Returns a hash of each file and model that the arguments of `predict` name.

    It is told from files alone: JAX, once it has looked at a GPU, would keep it from the processes
    that read.

    Raises:
      UserError: there is no such model, or a file cannot be read.
    """
    found = {}
    for name in args.model or [shipped.DEFAULT]:
        found[f"content of {name}"] = _digest(_files_of(shipped.find(name)))
    if args.lexicon:
        found[f"content of {args.lexicon}"] = _digest([pathlib.Path(args.lexicon)])
    if args.lm:
        found[f"content of {args.lm}"] = _digest(lm.files_of(args.lm))
    return found


def _files_of(model: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a bundle, or of a run or its replicas what is read with, which training may change."""
    if model.is_file():  # a pipe would wait; loading says what is wrong with it
        yield model
    for folder in (model, *sorted(model.glob("replica_*"))):
        for name in ("config.json", "charset.json", "calibration.json"):
            if (folder / name).is_file():
                yield folder / name
        if checkpoint := best_checkpoint(folder):
            yield from sorted(path for path in checkpoint.rglob("*") if path.is_file())


def best_checkpoint(workdir: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of `Checkpointer.best_step`, without Orbax, which would start JAX."""
    folders = [path for path in workdir.glob("checkpoints/*") if path.name.isdecimal()]
    folders.sort(key=lambda path: int(path.name))
    scored = [(score, folder) for folder in folders if (score := _score(folder)) is not None]
    if scored:
        return max(reversed(scored), key=lambda pair: pair[0])[1]  # the newest of the best
    return folders[-1] if folders else None


def _score(checkpoint: pathlib.Path) -> float | None:
    try:
        return float(json.loads((checkpoint / "metrics" / "metrics").read_bytes())["score"])
    except (OSError, ValueError, KeyError, TypeError):  # saved between two evaluations
        return None


def _digest(paths: Iterator[pathlib.Path] | list[pathlib.Path]) -> str:
    """Returns a hash of what is in files, in their order."""
    found = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
    return found.hexdigest()
