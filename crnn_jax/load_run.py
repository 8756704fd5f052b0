"""The model of a run, from its workdir."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax

from crnn_jax import calibration_file, ensembles, shipped, types
from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.errors import UnavailableError, UserError
from crnn_jax.models.crnn import AUXILIARY
from crnn_jax.recognizer import Recognizer, preprocess_of


def load(workdir: pathlib.Path) -> Recognizer:
    """Returns the best checkpoint of a run; of a run of replicas, all of them as one.

    Raises:
      UserError: when there is no such run or it cannot be read.
    """
    folders = _replicas(workdir)
    if not folders:
        return load_run(workdir)[0]
    # Replicas may be calibrated alone; together they are calibrated anew.
    members = [dataclasses.replace(load_run(f)[0], temperature=1.0) for f in folders]
    together = ensembles.combine(members)
    assert isinstance(together, Recognizer)  # replicas have one config, and frames of one meaning
    temperature = calibration_file.temperature_of(workdir, together.variables)
    return dataclasses.replace(together, name=workdir.name, temperature=temperature)


def _replicas(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders of a run's replicas; none for a run without, or for no run."""
    from crnn_jax.workdir import replica_folders

    if not (workdir / "config.json").is_file():
        return []
    count = config_lib.load(workdir / "config.json").replicas
    return replica_folders(workdir, count) if count > 1 else []


def load_run(workdir: pathlib.Path, average: int = 1) -> tuple[Recognizer, Any, int]:
    """Returns the best checkpoint of a run as a recogniser, the run's config, and its step.

    Args:
      workdir: of the run.
      average: above 1 the mean of the weights of so many of the newest checkpoints instead.

    Raises:
      UserError: when there is no such run or it cannot be read.
    """
    from crnn_jax import train
    from crnn_jax.workdir import replica_folders

    if not (workdir / "config.json").is_file():
        raise shipped.no_model(workdir)
    config = config_lib.load(workdir / "config.json")
    if config.replicas > 1:
        raise UserError(
            f"{workdir} holds {config.replicas} replicas: name one of them, as in "
            f"{replica_folders(workdir, config.replicas)[0]}"
        )
    charset = Charset.load(workdir / "charset.json")
    network, shapes = train.abstract_state(config, charset)
    try:
        step, found = _read(workdir, config.keep_checkpoints, average, shapes)
    except UnavailableError:  # a run that is under way may have saved a better one meanwhile
        step, found = _read(workdir, config.keep_checkpoints, average, shapes)
    variables = found[0]
    if average > 1:
        variables = jax.tree.map(lambda *arrays: sum(arrays) / len(arrays), *found)
    temperature = calibration_file.temperature_of(workdir, variables)
    network = network.clone(auxiliary=False)
    recognizer = Recognizer(
        network, variables, charset, preprocess_of(config), workdir.name, temperature=temperature
    )
    return recognizer, config, step


def _read(
    workdir: pathlib.Path, keep: int, average: int, shapes: Any
) -> tuple[int, list[types.Variables]]:
    """Returns a step and the weights of the best checkpoint, or of several of the newest."""
    from crnn_jax import checkpoint

    saved = checkpoint.Checkpointer(workdir, read_only=True)
    try:
        step = saved.best_step()
        if step is None:
            raise UserError(
                f"{workdir}: the run has no checkpoint yet; train it further with "
                f"python -m crnn_jax.main --config=NAME --workdir={workdir}"
            )
        # Beyond those that are kept as the newest is the best one, of long ago perhaps.
        newest = saved.steps()[-checkpoint.newest_kept(keep) :]
        if len(newest) < average:
            raise UserError(
                f"{workdir}: {average} checkpoints are to be averaged, and the newest that are "
                f"kept are {len(newest)}; keep more of them with config.keep_checkpoints"
            )
        steps = newest[-average:] if average > 1 else [step]
        states = [checkpoint.restore_state(saved, step, shapes) for step in steps]
    finally:
        saved.close()
    found = [state.eval_variables() for state in states]
    for variables in found:
        variables["params"].pop(AUXILIARY, None)
    return steps[-1], found
