"""What all command lines share: one-line errors, exit codes, experiments by name."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from crnn_jax.errors import UserError, unknown_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DONE, FAILED, MISTAKE = 0, 1, 2  # exit codes

_PACKAGE = pathlib.Path(__file__).parent


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help shows examples as written."""

    def __init__(self, **kwargs: Any):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs
        )

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing usage and exiting."""
        raise UserError(f"{message} (see {self.prog} --help)")


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a command's `main(argv)` and exits with its code; mistakes end in one line and 2."""
    from crnn_jax.progress import start_logging

    start_logging()
    try:
        code = main(sys.argv[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = FAILED
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        code = FAILED
    sys.exit(code)


def experiment_folder() -> pathlib.Path:
    """Returns the folder of experiments: here, in the checkout, or installed with the package."""
    for folder in (pathlib.Path("experiments"), _PACKAGE.parent / "experiments"):
        if (folder / "quickstart.py").is_file():
            return folder
    return _PACKAGE / "experiments"


def experiments() -> dict[str, pathlib.Path]:
    """Returns all experiments by name; those in subfolders are "ablations/NAME"."""
    folder = experiment_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.py"))
        if not path.name.startswith("_")
    }


def purpose(path: pathlib.Path) -> str:
    """Returns the first line of an experiment's docstring, without running it."""
    import ast

    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def load_experiment(name: str, overrides: list[tuple[str, str]] | None = None) -> ConfigDict:
    """Returns the config of `NAME_OR_PATH[:ARG]` with command line overrides applied.

    Raises:
      UserError: for an unknown name, argument or key.
    """
    from crnn_jax import config as config_lib

    match = re.fullmatch(r"(?P<path>.+?\.py|[^:]+)(?::(?P<arg>.*))?", name)
    if not match:
        raise UserError("--config is empty: give an experiment's name, as in --config=quickstart")
    path, known = pathlib.Path(match["path"]), experiments()
    if path.suffix != ".py":
        if match["path"] not in known:
            raise unknown_name("experiment", match["path"], known)
        path = known[match["path"]]
    elif not path.is_file():
        named = path.with_suffix("").as_posix().removeprefix("experiments/")
        if named not in known:
            raise UserError(f"{path}: there is no such config file; try {', '.join(known)}")
        path = known[named]
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path}: not an experiment, it has no get_config(arg)")
    config = module.get_config(match["arg"] or "")
    config.lock()
    config_lib.apply_overrides(config, overrides or [])
    return config


def run_name(name: str) -> str:
    """Returns the folder name of an experiment's run: `experiments/words.py:smoke` is "words"."""
    path = re.sub(r"(\.py)?(:.*)?$", "", name)
    return pathlib.PurePath(path).name or "run"


def split_overrides(extra: list[str]) -> list[tuple[str, str]]:
    """Turns what argparse left over into (key, text) pairs; `--config.KEY VALUE` is fine, too.

    Raises:
      UserError: for anything but config overrides.
    """
    pairs, rest = [], list(extra)
    while rest:
        item = rest.pop(0)
        key, has_value, text = item.removeprefix("--config.").partition("=")
        if not item.startswith("--config.") or not key:
            raise unknown_name("argument", item, FLAGS)
        if not has_value:
            if not rest:
                raise UserError(f"{item} has no value: write {item}=VALUE")
            text = rest.pop(0)
        pairs.append((key, text))
    return pairs


FLAGS = ("--config=NAME", "--config.KEY=VALUE", "--workdir=DIR", "--list", "--print_config")
