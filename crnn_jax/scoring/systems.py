"""What reads the sets: models, and files of readings in their place."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crnn_jax import metrics
from crnn_jax.errors import UserError
from crnn_jax.scoring.matching import match
from crnn_jax.scoring.published import PROTOCOL
from crnn_jax.scoring.readings_files import ReadingsFile, open_readings
from crnn_jax.scoring.report import System
from crnn_jax.scoring.results import Row, score

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source
    from crnn_jax.ensembles import Voters
    from crnn_jax.recognizer import Recognizer

_LOG = logging.getLogger("crnn_jax")


def read_from_file(
    name: str, file: ReadingsFile, sources: Sequence[Source], protocol: str
) -> System:
    """Scores the readings of a file; a row without one is a wrong reading.

    Args:
      name: for tables.
      file: the readings.
      sources: the sets.
      protocol: how texts are compared, a name of `crnn_jax.metrics.PROTOCOLS`.

    Raises:
      DataError: when the file's readings are not of these sets.
    """
    sets = [(s.name, [Row(s.key(i), s.label(i), "", 0.0) for i in range(len(s))]) for s in sources]
    matching = match(file, sets)
    results = []
    for (set_name, rows), readings in zip(sets, matching.sets, strict=True):
        read = []
        for row, reading in zip(rows, readings, strict=True):
            if reading is not None:
                confidence = math.nan if reading.confidence is None else reading.confidence
                row = dataclasses.replace(row, reading=reading.text, confidence=confidence)
            read.append(row)
        results.append(score(set_name, read, protocol, None))
    return System(name, tuple(results), matching)


def check_published(wanted: bool, protocol: str) -> None:
    """Raises a UserError where published results would stand beside those of another protocol."""
    if wanted and protocol != PROTOCOL:
        raise UserError(
            f"--published: those results are of protocol {PROTOCOL}, this evaluation is of "
            f"{protocol}; add --protocol={PROTOCOL}"
        )


def load_models(
    arguments: Sequence[str], squeeze: bool = False, together: bool = False
) -> dict[str, Recognizer | Voters]:
    """Loads models; returns them by name.

    Args:
      arguments: runs, bundles and shipped models.
      squeeze: whether lines wider than those of training are squeezed, not read in windows.
      together: whether all of them as one come last.
    """
    from crnn_jax import ensembles
    from crnn_jax.recognizer import Recognizer

    models = [Recognizer.load(argument) for argument in arguments]
    names = _apart([model.name for model in models], arguments, "--model")
    found: dict[str, Recognizer | Voters] = dict(zip(names, models, strict=True))
    if together:
        name = "ensemble"
        while name in found:  # a run may be called so
            name += " of all"
        found[name] = ensembles.combine(models)
    return found if squeeze else {name: model.in_windows() for name, model in found.items()}


def common_protocol(models: Mapping[str, Recognizer | Voters]) -> str:
    """Returns the protocol by which all models are judged unless told otherwise.

    Raises:
      UserError: when they are judged by different ones.
    """
    from crnn_jax.recognizer import default_protocol

    protocols = {name: default_protocol(model.charset) for name, model in models.items()}
    if len(set(protocols.values())) > 1:
        each = ", ".join(f"{name} by {protocol}" for name, protocol in protocols.items())
        raise UserError(f"the models are judged by different protocols, {each}: add --protocol")
    return next(iter(protocols.values()))


def warn_of_unwritable(
    models: Mapping[str, Recognizer | Voters], sources: Sequence[Source], protocol: str
) -> None:
    """Logs how many labels each model can read right under no circumstances.

    Those that hold, as the protocol compares them, a character of no class of its charset.
    """
    if not models:  # there may be many labels to go through
        return
    texts = [
        [metrics.apply_protocol(source.label(i), protocol) for i in range(len(source))]
        for source in sources
    ]
    for name, model in models.items():
        classes = map(metrics.apply_protocol, model.charset.classes, itertools.repeat(protocol))
        written = set().union(*classes)
        for source, labels in zip(sources, texts, strict=True):
            strange = [foreign for text in labels if (foreign := set(text) - written)]
            if strange:
                shown = sorted(set().union(*strange))
                _LOG.warning(
                    "%s cannot write %d of %d labels of %s, which hold %s%s: they count as wrong "
                    "(protocol %s; --protocol=36 leaves out case, signs and other scripts)",
                    name,
                    len(strange),
                    len(labels),
                    source.name,
                    " ".join(shown[:10]),
                    " and others" if len(shown) > 10 else "",
                    protocol,
                )


def open_files(arguments: Sequence[str], sources: Sequence[Source], protocol: str) -> list[System]:
    """Reads files of readings, FILE or FILE:FORMAT, and scores them."""
    found = [open_readings(argument) for argument in arguments]
    names = _apart([file.name for file in found], arguments, "file")
    return [
        read_from_file(name, file, sources, protocol)
        for name, file in zip(names, found, strict=True)
    ]


def _apart(names: Sequence[str], arguments: Sequence[str], what: str) -> Sequence[str]:
    """Returns the names, or the arguments where names are the same."""
    if len(set(names)) == len(names):
        return names
    for argument in arguments:
        if arguments.count(argument) > 1:
            raise UserError(f"{what} {argument} is given twice: give it once")
    return arguments
