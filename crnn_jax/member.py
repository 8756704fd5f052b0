"""What a run, or one of its replicas, leaves behind while it trains, and what it is judged by."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from crnn_jax import control, evaluate, processes, writers
from crnn_jax import workdir as workdir_lib
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.data.training_set import TrainingSet
from crnn_jax.progress import Pace
from crnn_jax.recognizer import Recognizer, default_protocol
from crnn_jax.step import TrainState


class Member:
    """The folder, checkpoints, metrics and evaluations of one state.

    Attributes:
      run: the folder.
      checkpoints: in it.
      results: of the last evaluation, by set; None before the first, or when it was cut short.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: ConfigDict,
        data: TrainingSet,
        lineage: Sequence[dict[str, Any]] | None = (),
        name: str = "",
    ):
        """Opens the folder; raises a UserError when it holds another run."""
        self._config, self._data, self._name = config, data, name
        self._protocol = config.protocol or default_protocol(data.charset)
        self.run = workdir_lib.Workdir(path)
        processes.main_first(lambda: self.run.prepare(config, data, lineage))
        self.checkpoints = Checkpointer(path, keep=config.keep_checkpoints)
        self.results: dict[str, evaluate.Result] | None = None
        self._writer: writers.MetricWriter | None = None

    def start(self, step: int) -> None:
        """Begins to write, from a step on; lines beyond it are cut off."""
        if self._writer is None:
            self._writer = writers.MetricWriter(
                self.run.path, step, self._data.images_before, processes.is_main(), self._name
            )
        else:
            self._writer.rewind(step)

    @property
    def _started(self) -> writers.MetricWriter:
        assert self._writer is not None, "nothing is written before `start`"
        return self._writer

    def has_evaluation(self, step: int) -> bool:
        """Returns whether the checkpoint of a step is that of after its evaluation."""
        return processes.agree(self.checkpoints.has_score(step))

    def log(self, step: int, sums: dict[str, Any], learning_rate: float, pace: Pace) -> None:
        """Writes a log line, see `writers.MetricWriter.write_train`."""
        self._started.write_train(step, sums, learning_rate, pace)

    def evaluate(
        self, recognizer: Recognizer, interrupted: Callable[[], bool] = lambda: False
    ) -> bool:
        """Evaluates on every validation set of the run; returns False when interrupted."""
        self.results = evaluate.evaluate_sources(
            recognizer,
            self._data.eval_sources,
            self._protocol,
            self._config.eval_batch_size,
            interrupted,
        )
        return self.results is not None

    def judge(self, step: int, state: TrainState) -> tuple[TrainState, float | None]:
        """Writes the last evaluation; returns the state that it leads to, and the score."""
        data, results = self._data, self.results
        assert results is not None, "the last evaluation was cut short"
        self._started.write_eval(
            step, results, data.eval_sources, data.preprocess, self._protocol,
            self._config.grid_images,
        )  # fmt: skip
        first = next(iter(results.values())).metrics
        score = first["word_accuracy"] if first["count"] else None
        return control.judge(state, score, self._config), score

    def summarise(self, step: int, state: TrainState) -> dict[str, Any]:
        """Writes and returns `summary.json`."""
        images = self._data.images_before(step)
        seconds = self._started.seconds
        return self.run.summarise(step, seconds, images, state.params, self.results or {})

    def close(self) -> None:
        """Finishes writing."""
        try:
            self.checkpoints.close()
        finally:
            if self._writer is not None:
                self._writer.close()
