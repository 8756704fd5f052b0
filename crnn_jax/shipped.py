"""Models that come with the package: bundles that are opened by name."""

from __future__ import annotations

import pathlib

from crnn_jax import bundle_zip
from crnn_jax.errors import UserError, unknown_name

FOLDER = pathlib.Path(__file__).parent / "shipped"  # of the bundles; installed with the package
SUFFIX = ".crnn"

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
    if name and path.exists():
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
    """Returns a line for every shipped model: size, scores in its run, charset, licence."""
    from crnn_jax.bundle_file import load_bundle

    lines = []
    for name, path in shipped().items():
        try:
            _check(name, path)
            bundle = load_bundle(path)
        except UserError as error:
            lines.append(f"{name:<24} {error}")
            continue
        scores = ", ".join(
            f"{of} {100 * found['word_accuracy']:.1f} %"
            for of, found in bundle.metrics.get("eval", {}).items()
            if found.get("word_accuracy") is not None
        )
        facts = [
            f"{bundle.parameters / 1e6:5.2f} M  {scores}",
            f"{len(bundle.charset.classes)} characters, case {bundle.charset.case}",
            f"{path.stat().st_size / 1e6:.1f} MB",
            bundle.licence,
        ]
        lines.append(f"{name:<24} {'; '.join(facts)}")
    return lines


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
