"""Models that come with the package: bundles that are opened by name."""

from __future__ import annotations

import os
import pathlib

from crnn_jax import bundle_zip, cli
from crnn_jax.errors import UserError, unknown_name

FOLDER = pathlib.Path(__file__).parent / "shipped"  # of the bundles; installed with the package
SUFFIX = ".crnn"
DEFAULT = "small-94"  # what reads where no model is named
_TITLES = ("shipped model", "characters", "weights", "word accuracy", "ms a word", "MB", "licence")

_PATHS = (
    "the workdir of a run (it holds config.json), as in runs/quickstart, or a bundle, as in "
    "mine.crnn"
)


def shipped() -> dict[str, pathlib.Path]:
    """Returns the bundles that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


def find(model: str | pathlib.Path) -> pathlib.Path:
    """Returns the file or folder of a model: a path that exists, else a shipped model of the name.

    Raises:
      UserError: when there is neither, or the shipped file is damaged.
    """
    name, path, known = str(model), pathlib.Path(model), shipped()
    if name and os.path.exists(path):  # `Path.exists` raises for a path that is too long
        return path
    if name not in known:
        is_path = path.name != name or path.suffix == SUFFIX
        if is_path or not known:
            raise no_model(path)
        raise UserError(f"{unknown_name('model', name, known)}; or give {_PATHS}")
    _check(name, known[name])
    return known[name]


def no_model(path: pathlib.Path) -> UserError:
    """Returns the error for a path that is no model."""
    known = shipped()
    hidden = f"; the shipped model of that name is {known[str(path)]}" if str(path) in known else ""
    return UserError(
        f"{path}: not a model; give {_PATHS}, or the name of a shipped model: "
        f"{', '.join(known) or 'there is none'}{hidden}"
    )


def describe() -> list[str]:
    """Returns a table of the shipped models, a line each below a line of titles.

    Word accuracy is that on labelled sets where the bundle tells of any, else that in its run.
    """
    from crnn_jax import model_card
    from crnn_jax.bundle_file import load_bundle

    rows: list[tuple[str, ...]] = []
    for name, path in shipped().items():
        try:
            _check(name, path)
            bundle = load_bundle(path)
            scores = model_card.scores_of(bundle.metrics)
            speed = model_card.speed_of(bundle.metrics)
        except UserError as error:
            rows.append((name, str(error)))
            continue
        told = [str(score) for score in scores] or [
            f"{of} {100 * found['word_accuracy']:.1f} %"
            for of, found in bundle.metrics.get("eval", {}).items()
            if found.get("word_accuracy") is not None
        ]
        protocols = {score.protocol for score in scores}
        by = f" (protocol {', '.join(sorted(protocols))})" if protocols else ""
        rows.append(
            (
                name,
                f"{len(bundle.charset.classes)}, case {bundle.charset.case}",
                f"{bundle.parameters / 1e6:.2f} M",
                ", ".join(told) + by,
                f"{speed.ms:.1f}" if speed else "-",
                f"{path.stat().st_size / 1e6:.1f}",
                bundle.licence,
            )
        )
    return cli.aligned([_TITLES, *rows], first=24) if rows else []  # as wide as the runs' names


def _check(name: str, path: pathlib.Path) -> None:
    """Raises a UserError for a file that an installation has cut or changed.

    The SHA-256 at a bundle's end, of every byte before it, tells. It is no signature: who changes a
    file on purpose can write a new one.
    """
    try:
        bundle_zip.read(path)
    except UserError as error:
        raise UserError(
            f"the shipped model {name} cannot be used: install crnn_jax again ({error})"
        ) from None
