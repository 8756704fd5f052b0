"""A run that goes on from a trained model: its first state, and what became of every character."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from crnn_jax import bundle, bundle_file, compare, evaluate, files, growth, processes, surgery
from crnn_jax.charset import Charset
from crnn_jax.recognizer import Recognizer, default_protocol
from crnn_jax.step import TrainState, begin_averages

if TYPE_CHECKING:
    from crnn_jax.data.training_set import TrainingSet

BUNDLE_FILE = "model.crnn"
_BEFORE = "before.json"  # readings of the model that the run began with
_LOG = logging.getLogger("crnn_jax")


class Origin:
    """The model that a run begins with.

    Attributes:
      charset: of the model.
      lineage: trainings that led to it, as `run.json` keeps them.
    """

    def __init__(self, config: ConfigDict):
        """Reads the model; raises a UserError when it cannot be, or is of another network."""
        self._bundle = bundle.open_model(config.init_from)
        self.charset = self._bundle.charset
        self.lineage = [ancestor.to_json() for ancestor in self._bundle.lineage]
        self._config = config
        if config.init_weights == "all":
            surgery.check_same_network(self._bundle.config, config)
        knobs = surgery.input_knobs(config.data.fit)
        shown = surgery.differing_knobs(self._bundle.config, config, knobs)
        if shown:
            _LOG.warning(
                "the model in config.init_from was trained on other input: %s there; what it has "
                "learnt may not help",
                ", ".join(shown),
            )

    def adapt(self, state: TrainState, charset: Charset) -> TrainState:
        """Returns a first state with the model's weights, for the charset of the run."""
        fresh = {"params": state.params, "batch_stats": state.batch_stats}
        variables, known, name = self._bundle.variables, self.charset, self._bundle.name
        if self._config.init_weights == "alike":
            grown = growth.grow(variables, self._bundle.config, self._config, fresh)
            _LOG.info("going on from %s; %s", name, grown)
            variables = grown.variables
            known = self.charset if grown.keeps_classifier else charset
        variables, report = surgery.adapt(variables, known, charset, fresh)
        if known is self.charset:
            _LOG.info("going on from %s; %s", name, report)
        variables = jax.tree.map(jnp.asarray, variables)
        params, batch_stats = variables["params"], variables["batch_stats"]
        ema = begin_averages(params, batch_stats) if state.ema else {}
        return state.replace(params=params, batch_stats=batch_stats, ema=ema)

    def read(self, config: ConfigDict, data: TrainingSet, folders: Sequence[pathlib.Path]) -> None:
        """Reads the validation sets before anything is learnt, and keeps that in folders."""
        results = _evaluate(self._bundle.recognizer(), config, data)
        kept: dict[str, Any] = {"charset": self.charset.to_json(), "sets": {}}
        for result in results:
            _LOG.info(
                "before  %s: word accuracy %.4f on %d images",
                result.name, result.metrics["word_accuracy"] or 0.0, result.metrics["count"],
            )  # fmt: skip
            kept["sets"][result.name] = {
                "metrics": result.metrics,
                "rows": [[row.key, row.label, row.reading] for row in result.rows],
            }
        if processes.is_main():
            for folder in folders:
                files.write_json(folder / _BEFORE, kept)


def finish(config: ConfigDict, data: TrainingSet, folder: pathlib.Path) -> None:
    """Compares a finished run's best checkpoint with the model it began with, and bundles it.

    Writes `characters_SET.tsv` for every validation set and `model.crnn`, and says what changed.
    """
    found = bundle.bundle_of_run(folder)
    if (folder / _BEFORE).is_file():
        kept = files.read_json(folder / _BEFORE)
        if isinstance(kept["charset"], list):  # a run that an earlier version has begun
            old = Charset(tuple(kept["charset"]), kept.get("case", data.charset.case))
        else:
            old = Charset.from_json(kept["charset"])
        for result in _evaluate(found.recognizer(), config, data):
            if result.name not in kept["sets"]:
                continue
            rows = [
                evaluate.Row(key, label, reading, 0.0)
                for key, label, reading in kept["sets"][result.name]["rows"]
            ]
            before = evaluate.Result(result.name, kept["sets"][result.name]["metrics"], rows)
            changes = compare.compare(before, result, old, _protocol(config, data))
            path = folder / f"characters_{result.name.replace('/', '_')}.tsv"
            if processes.is_main():
                changes.write_tsv(path)
            _LOG.info(
                "%s, before and after (step %d): word accuracy %.4f and %.4f\n%s\nall characters: "
                "%s",
                result.name, found.lineage[-1].steps, before.metrics["word_accuracy"] or 0.0,
                result.metrics["word_accuracy"] or 0.0, changes.table(), path,
            )  # fmt: skip
            if (result.metrics["word_accuracy"] or 0.0) < (before.metrics["word_accuracy"] or 0.0):
                _LOG.warning(
                    "%s is read worse than before: keep %s, or train with more rows, more replay "
                    "or a lower config.optimizer.learning_rate",
                    result.name, config.init_from,
                )  # fmt: skip
    if not processes.is_main():
        return
    bundle_file.save_bundle(folder / BUNDLE_FILE, found)
    _LOG.info("%s: licence %s", folder / BUNDLE_FILE, found.licence)
    for note in found.other_licences():
        _LOG.warning("%s", note)


def _evaluate(
    recognizer: Recognizer, config: ConfigDict, data: TrainingSet
) -> Iterable[evaluate.Result]:
    results = evaluate.evaluate_sources(
        recognizer, data.eval_sources, _protocol(config, data), config.eval_batch_size
    )
    assert results is not None  # nothing interrupts it
    return results.values()


def _protocol(config: ConfigDict, data: TrainingSet) -> str:
    return config.protocol or default_protocol(data.charset)
