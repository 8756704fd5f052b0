"""A run's folder: what it was started with, whether it may go on, and what came out."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax import evaluate, files, processes
from crnn_jax.charset import Charset
from crnn_jax.data.spec import ON_DEVICE, parse_mixture
from crnn_jax.data.training_set import TrainingSet
from crnn_jax.errors import UserError
from crnn_jax.recognizer import default_protocol

CONFIG_FILE, CHARSET_FILE, RUN_FILE, SUMMARY_FILE = (
    "config.json",
    "charset.json",
    "run.json",
    "summary.json",
)

# Knobs that change nothing of what comes out.
HELPERS = ("checkpoint_every_", "log_every_", "grid_images", "data.workers", "eval_batch_size",
           "parallel", "devices", "data.audit", "steps_per_dispatch", "replica_axis", "profile",
           "licence", "keep_checkpoints")  # fmt: skip

# Knobs that may change when a run goes on: they decide how long, how often and with how many
# helpers, not what is learnt.
_FREE = (*HELPERS, "total_", "eval_every_", "protocol", "data.eval", "data.train", "charset",
         "init_from")  # fmt: skip

_LOG = logging.getLogger("crnn_jax")
_MOST_CHARACTERS = 8  # named in a message


def replica_folders(workdir: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Returns the folder of every replica of a run; that of a run without is the workdir."""
    return [workdir] if count == 1 else [workdir / f"replica_{r}" for r in range(count)]


def changed_knobs(before: ConfigDict, now: ConfigDict, free: tuple[str, ...] = _FREE) -> list[str]:
    """Returns what makes a config another run than the one before, a few words for each knob.

    Args:
      before, now: the configs.
      free: beginnings of the knobs that may differ; by default, those of a run that goes on.
    """
    there, here = config_lib.flatten(before), config_lib.flatten(now)
    return [
        f"{key} ({there[key]!r} there, {here[key]!r} here)"
        for key in here
        if there[key] != here[key] and not key.startswith(free)
    ]


@contextlib.contextmanager
def alone(*paths: pathlib.Path) -> Iterator[None]:
    """Holds the folders of a run, and of its replicas: a process that comes later waits.

    It would write over their metrics and checkpoints otherwise. Of several processes of a run the
    one that writes holds them for all, and does not wait, as the others could not.

    Raises:
      UserError: a folder cannot be made, or written to.
    """
    with contextlib.ExitStack() as stack:

        def hold() -> None:
            for path in dict.fromkeys(paths) if processes.is_main() else ():
                _make(path)
                told, wait = f"trains in {path}", jax.process_count() == 1
                try:
                    stack.enter_context(files.locked(path / ".lock", told, wait))
                except OSError as error:
                    raise _unwritable(path, error) from None

        processes.main_first(hold)
        yield


def _make(path: pathlib.Path) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"--workdir={path}: is a file; give a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError(f"--workdir={path}: cannot be written ({error.strerror})")


class Workdir:
    """The files of a run beside its checkpoints."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)

    def prepare(
        self, config: ConfigDict, data: TrainingSet, lineage: Sequence[dict[str, Any]] | None = ()
    ) -> None:
        """Writes what the run is, or checks that it is the run that is already there.

        Data sets are compared by their rows, not by where they lie, so a folder may have moved.

        Args:
          config: of the run.
          data: what it trains on.
          lineage: trainings that led to the model it begins with, oldest first; None where a
            checkpoint takes its place.

        Raises:
          UserError: when the folder holds another run, or the same run's data has changed.
        """
        _make(self.path)
        try:
            goes_on = (self.path / CONFIG_FILE).exists()
            if not goes_on:
                # config.json last: with it the folder counts as a run.
                files.write_json(
                    self.path / RUN_FILE, _provenance(data) | {"lineage": list(lineage or ())}
                )
                data.charset.save(self.path / CHARSET_FILE)
                files.write_text(self.path / CONFIG_FILE, config_lib.to_json(config))
        except OSError as error:
            raise _unwritable(self.path, error) from None
        if goes_on:
            self._check(config, data, lineage)
        data.write_skipped(self.path)

    def _check(
        self, config: ConfigDict, data: TrainingSet, lineage: Sequence[dict[str, Any]] | None
    ) -> None:
        began, run = config_lib.load(self.path / CONFIG_FILE), self._run_file()
        changed = changed_knobs(began, config)
        advice = "go on with the same config, or start in another --workdir"
        if _loaded_weights(began) != _loaded_weights(config):
            changed.append(
                f"the weights in data.train ({began.data.train!r} there, {config.data.train!r} "
                "here)"
            )
        if changed:
            raise UserError(f"{self.path} holds another run: {', '.join(changed)}; {advice}")
        old, new = Charset.load(self.path / CHARSET_FILE), data.charset
        if old != new:
            raise UserError(
                f"{self.path} holds a run with another charset ({_difference(old, new)}); {advice}"
            )
        if began.init_from != config.init_from:
            if lineage is not None and run.get("lineage", []) != list(lineage):
                raise UserError(
                    f"{self.path} holds a run that began with {_model(began)} and has no "
                    f"checkpoint yet, and config.init_from is {config.init_from!r}: {advice}"
                )
            if lineage is None:
                _LOG.warning(
                    "%s goes on from its checkpoint and began with %s: config.init_from=%s is not "
                    "read", self.path, _model(began), config.init_from,
                )  # fmt: skip
        before, now = run["data"], data.fingerprints()
        there, here = (
            (next((name for name in sets if name.startswith("eval: ")), ""), _protocol(knobs, new))
            for sets, knobs in ((before, began), (now, config))
        )
        if there[0] and here[0] and there != here:  # its scores would be those of different exams
            judges = [f"{n.removeprefix('eval: ')} by protocol {p}" for n, p in (there, here)]
            raise UserError(
                f"{self.path}: the best checkpoint is chosen by the first validation set "
                f"({judges[0]} there, {judges[1]} here): give new sets after it in "
                f"config.data.eval, leave config.protocol, or start in another --workdir"
            )
        # Other validation sets may come and go; one of the same name must be the same.
        names = [
            name
            for name in {**before, **now}
            if before.get(name) != now.get(name)
            and (name.startswith("train") or (name in before and name in now))
        ]
        if names:
            raise UserError(
                f"{self.path}: the data has changed since the run began ({', '.join(names)}) and "
                "it cannot go on exactly; restore the data, or start in another --workdir"
            )
        if processes.is_main():
            self._keep(began, config, run | {"data": before | now})

    def _keep(self, began: ConfigDict, config: ConfigDict, run: dict[str, Any]) -> None:
        """Writes down what another call has changed: helping knobs, and more validation sets."""
        for key, value in config_lib.flatten(config).items():
            if key.startswith(HELPERS):
                config_lib.set_knob(began, key, value)
        try:
            files.write_json(self.path / RUN_FILE, run)
            files.write_text(self.path / CONFIG_FILE, config_lib.to_json(began))
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _run_file(self) -> dict[str, Any]:
        """Returns what the run began with: `lineage`, and fingerprints of its `data`."""
        path = self.path / RUN_FILE
        found = files.read_json(path)
        if not isinstance(found.get("data"), dict):
            raise UserError(f"{path}: damaged, it names no data; restore the file")
        return found

    def forget_end(self) -> None:
        """Removes `summary.json`, of a run that has ended and goes on."""
        if processes.is_main():
            (self.path / SUMMARY_FILE).unlink(missing_ok=True)

    def summarise(
        self,
        step: int,
        seconds: float,
        images: int,
        params: Any,
        results: dict[str, evaluate.Result],
    ) -> dict[str, Any]:
        """Writes and returns `summary.json`.

        Args:
          step: of the final state.
          seconds: wall time of the run, evaluation included.
          images: trained on in that time.
          params: the weights, to be counted.
          results: of the last evaluation, by set.
        """
        summary = {
            "step": step,
            "seconds": round(seconds, 1),
            "images_per_second": round(images / seconds, 1),
            "parameters": sum(p.size for p in jax.tree.leaves(params)),
            "eval": {
                name: {
                    key: result.metrics[key]
                    for key in ("count", "word_accuracy", "cer", "one_minus_ned")
                }
                for name, result in results.items()
            },
        }
        if processes.is_main():
            files.write_json(self.path / SUMMARY_FILE, summary)
        return summary


def _loaded_weights(config: ConfigDict) -> list[float] | None:
    """Returns how loaded rows are shared among their sets; None where nothing is said of it.

    Rows made on the device have theirs in the fingerprints of their sets.
    """
    mixture = parse_mixture(config.data.train)
    weights = [w for w, spec in mixture if w is not None and spec.kind not in ON_DEVICE]
    return [round(weight / sum(weights), 6) for weight in weights] or None


def _model(config: ConfigDict) -> str:
    return config.init_from or "no other model"


def _protocol(config: ConfigDict, charset: Charset) -> str:
    return config.protocol or default_protocol(charset)


def _difference(old: Charset, new: Charset) -> str:
    """Says briefly how the charset of a run differs from the one that is asked for."""
    there, here = set(old.classes) - set(new.classes), set(new.classes) - set(old.classes)
    if not there and not here:
        return "the same characters in another order or case"
    return "; ".join(
        f"only {side}: {' '.join(sorted(chars)[:_MOST_CHARACTERS])}"
        for side, chars in (("there", there), ("here", here))
        if chars
    )


def _provenance(data: TrainingSet) -> dict[str, Any]:
    """Returns what made the run: code, versions, device, command and data."""
    packages = ("crnn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
    device = jax.devices()[0]
    return {
        "commit": _commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
        "data": data.fingerprints(),
    }


def _commit() -> str | None:
    """Returns the checkout's commit, "+" after it when files have changed; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(pathlib.Path(__file__).parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        head, dirty = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if dirty else "")
