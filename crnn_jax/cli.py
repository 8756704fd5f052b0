"""What all command lines share: one-line errors, exit codes, experiments by name."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from crnn_jax.errors import UserError, printable, unknown_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DONE, FAILED, MISTAKE = 0, 1, 2  # exit codes

PROTOCOLS = "36, 62, 94, exact or fold"  # those of `crnn_jax.metrics`, which is slow to import
_MOST_TOLD = 200  # characters of another's message
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

    def add_squeeze(self) -> None:
        """Adds `--squeeze`."""
        squeezed = "squeezes lines wider than those of training, instead of reading them in windows"
        self.add_argument("--squeeze", help=squeezed, action="store_true")

    def add_careful(self) -> None:
        """Adds `--careful`."""
        careful = (
            "where a reading is unsure, looks again: with margins, stretched, with more contrast, "
            "straightened as if the text climbed or fell, tall images turned; the surest counts"
        )
        self.add_argument("--careful", help=careful, action="store_true")

    def add_protocol(self) -> None:
        """Adds how texts are compared."""
        self.add_argument("--protocol", default="", help=f"{PROTOCOLS}; default: the model's")

    def parse_args(  # type: ignore[override]  # typeshed has overloads; here args are given
        self, args: Sequence[str], namespace: Any = None
    ) -> argparse.Namespace:
        """Parses all of `args`; an unknown one is told with the nearest that there is."""
        parsed, extra = self.parse_known_args(args, namespace)
        if extra:
            name = extra[0].partition("=")[0]
            raise unknown_name("argument", name, self._option_string_actions)
        return parsed


class _Checked(argparse.Action):
    """An option that keeps its value, or is refused with a UserError."""

    def refusal(self, before: Any, value: Any) -> str:
        """Returns why the value is refused, where it is; `before` is what the option has had."""
        raise NotImplementedError

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keeps the value, unless it is refused."""
        if told := self.refusal(getattr(namespace, self.dest), values):
            parser.error(f"{option_string} {told}")
        setattr(namespace, self.dest, values)


class Once(_Checked):
    """An option that may be given once: of two sets, others would take the last one silently."""

    def refusal(self, before: Any, value: Any) -> str:
        """Refuses a second value."""
        return "" if before is None else f"is given twice, {before} and {value}: give it once"


class Filled(_Checked):
    """An option whose value may not be empty, as that of an unset variable of the shell is."""

    def refusal(self, before: Any, value: Any) -> str:
        """Refuses an empty value."""
        return "" if value else "is empty: give a value, or leave the option out"


def positive_int(text: str) -> int:
    """Parses a positive whole number, for `add_argument(type=...)`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def seed(text: str) -> int:
    """Parses the seed of random numbers, for `add_argument(type=...)`."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1:,}")
    return int(text)


def positive_float(text: str) -> float:
    """Parses a positive number, for `add_argument(type=...)`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def check_output(path: str | None, option: str = "", suffixes: Sequence[str] = ()) -> None:
    """Raises a UserError where a file cannot be written, before what it is for is computed.

    Args:
      path: of the file; None where none is asked for.
      option: that names it.
      suffixes: of which it has to have one, where there are any.
    """
    if path is None:
        return
    file = pathlib.Path(path).absolute()
    if not file.parent.is_dir():
        raise UserError(f"{path}: its folder does not exist; create it first")
    if file.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if file.exists() and not file.is_file():  # which the finished file would take the place of
        raise UserError(f"{path}: is a device or a pipe; give the name of a file")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written; check the permissions of its folder")
    if suffixes and file.suffix.lower() not in suffixes:
        what = "the picture is a PNG; " if ".png" in suffixes else ""
        names = " or ".join(f"FILE{suffix}" for suffix in suffixes)
        raise UserError(f"{option}={path}: {what}name it {names}")


def check_outputs(outputs: Sequence[tuple[str, str | None, Sequence[str]]]) -> None:
    """Raises a UserError as `check_output`, and where two options name the same file.

    Args:
      outputs: (option, path, suffixes) of each.
    """
    written: dict[str, str] = {}
    for option, path, suffixes in outputs:
        check_output(path, option, suffixes)
        if not path:
            continue
        if other := written.get(os.path.realpath(path)):
            raise UserError(f"{option}={path} is the file of {other}, too: give two names")
        written[os.path.realpath(path)] = option


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a command's `main(argv)` and exits with its code.

    Mistakes end in one line and 2, files that cannot be read or written in one line and 1.
    """
    settle_process()
    # File names may hold what the terminal's encoding, or any encoding, does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = MISTAKE
    except RuntimeError as error:  # JAX's of a device
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        told = printable(" ".join(str(error).split()))[:_MOST_TOLD]
        print(
            f"error: the device's memory is too small ({told}): lower config.batch_size or "
            "--batch_size, or raise config.accumulate",
            file=sys.stderr,
        )
        code = FAILED
    except MemoryError as error:
        told = " ".join(str(error).split())
        print(
            f"error: this machine's memory is too small ({told or 'no more of it'}): lower "
            "config.batch_size or --batch_size, or give smaller files",
            file=sys.stderr,
        )
        code = FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = FAILED
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        _drop_output()
        code = FAILED
    except OSError as error:
        if not error.strerror:  # not of the system
            raise
        file = "" if error.filename is None else f"{error.filename}: "
        told = f"{file}{error.strerror}; check the path, its permissions and the room on its disk"
        print(f"error: {printable(told)}", file=sys.stderr)
        _drop_output()
        code = FAILED
    sys.exit(code)


def _drop_output() -> None:
    """Keeps the flush at exit from failing, too, where what was printed cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def aligned(rows: Sequence[Sequence[str]], first: int = 0) -> list[str]:
    """Returns lines whose columns stand below each other.

    Args:
      rows: cells; those of fewer cells than the first row widen no column.
      first: least width of the first column.
    """
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    widths[0] = max(widths[0], first)
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]


def settle_process() -> None:
    """Does what every process of ours begins with, before jax is imported."""
    from crnn_jax.memory import keep_freed_memory
    from crnn_jax.progress import start_logging
    from crnn_jax.startup import keep_programs

    start_logging()
    keep_freed_memory()
    keep_programs()


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

    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError) as error:
        return f"cannot be read: {error}".split("\n")[0]
    return (ast.get_docstring(tree) or "").split("\n")[0]


def load_experiment(name: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """Returns the config of `NAME_OR_PATH[:ARG]` with command line overrides applied.

    Raises:
      UserError: for an unknown name, argument or key.
    """
    from ml_collections import ConfigDict

    from crnn_jax import config as config_lib

    path, arg = find_experiment(name)
    module = load_module(path)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path}: not an experiment, it has no get_config(arg)")
    config = in_experiment(path, lambda: module.get_config(arg))
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: its get_config(arg) returns no config; end it in: return config")
    config.lock()
    config_lib.apply_overrides(config, list(overrides))
    return config


def find_experiment(name: str) -> tuple[pathlib.Path, str]:
    """Returns the file and the argument of `NAME_OR_PATH[:ARG]`; an unknown one is a UserError."""
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
            raise unknown_name("config file", str(path), (f"experiments/{n}.py" for n in known))
        path = known[named]
    return path, match["arg"] or ""


def load_module(path: pathlib.Path) -> types.ModuleType:
    """Runs an experiment's file and returns what it defines."""
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    assert spec is not None  # there is a loader for .py
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    assert loader is not None
    in_experiment(path, lambda: loader.exec_module(module))
    return module


def in_experiment(path: pathlib.Path, call: Callable[[], Any]) -> Any:
    """Calls into an experiment's file; what goes wrong in it is told with its line."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}{_line(path, error)}: {type(error).__name__}: {error!s:.120}"
        ) from error


def _line(path: pathlib.Path, error: Exception) -> str:
    """Returns the place of an error in a file, " line 7", or "" for an error about all of it."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    numbers = [f.lineno for f in frames if pathlib.Path(f.filename) == path.absolute()]
    return f" line {numbers[-1]}" if numbers else ""


def run_name(name: str) -> str:
    """Returns the folder name of an experiment's run: `experiments/words.py:smoke` is "words"."""
    path = re.sub(r"(\.py)?(:.*)?$", "", name)
    return pathlib.PurePath(path).name or "run"


def split_overrides(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Takes `--config.KEY=VALUE` and `--config.KEY VALUE` out of the arguments.

    Returns:
      Pairs of key and text, and the other arguments.
    """
    pairs, others, left = [], [], list(argv)
    while left:
        item = left.pop(0)
        key, has_value, text = item.removeprefix("--config.").partition("=")
        if not item.startswith("--config."):
            others.append(item)
            continue
        if not has_value:
            if not left or left[0].startswith("--"):
                raise UserError(f"{item} has no value: write {item}=VALUE")
            text = left.pop(0)
        pairs.append((key, text))
    return pairs, others
