"""What a run has left behind, read from its folder: files, best checkpoint, replicas."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from crnn_jax import checkpoint, durations, files, metric_lines, train, workdir
from crnn_jax import config as config_lib
from crnn_jax.auditing import before_training
from crnn_jax.charset import Charset
from crnn_jax.data.training_set import SKIPPED_FILE
from crnn_jax.errors import UserError
from crnn_jax.load_run import load_run
from crnn_jax.recognizer import Recognizer, default_protocol


@dataclass(frozen=True)
class Course:
    """What the newest checkpoint knows of the run's course.

    Attributes:
      step: of that checkpoint.
      skipped: updates left out because a gradient was not finite.
      rollbacks: returns to an earlier checkpoint.
    """

    step: int
    skipped: int
    rollbacks: int


@dataclass(frozen=True)
class Run:
    """A run, or one of its replicas.

    Attributes:
      path: its folder.
      config: as it was started.
      provenance: `run.json`.
      summary: `summary.json`; None while the run has not ended.
      lines: of training in `metrics.jsonl`, in order.
      evals: lines of evaluations there.
      recognizer: of the best checkpoint.
      best: step of that checkpoint.
      course: see `Course`; None where the newest checkpoint cannot be read.
      replica: number of the replica that this is; None for a run without.
      replicas: summaries of all replicas, None for one that has not ended.
      together: `summary.json` of all replicas.
      skipped_rows: (where, reason) of rows that training left out; the file names so many at most.
      audit: `audit.json`, where every image was looked at before training.
      audit_page: the page beside it; it need not be there.
    """

    path: pathlib.Path
    config: ConfigDict
    provenance: dict[str, Any]
    summary: dict[str, Any] | None
    lines: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    recognizer: Recognizer
    best: int
    course: Course | None
    replica: int | None = None
    replicas: list[dict[str, Any] | None] = field(default_factory=list)
    together: dict[str, Any] | None = None
    skipped_rows: list[tuple[str, str]] = field(default_factory=list)
    audit: dict[str, Any] | None = None
    audit_page: pathlib.Path = pathlib.Path(before_training.PAGE_FILE)

    @property
    def name(self) -> str:
        """Of the run, and of the replica."""
        path = self.path.resolve()
        return path.name if self.replica is None else f"{path.parent.name}, {path.name}"

    @property
    def protocol(self) -> str:
        """How the run compares texts, a name of `crnn_jax.metrics.PROTOCOLS`."""
        return self.config.protocol or default_protocol(self.recognizer.charset)

    @property
    def step(self) -> int:
        """The last step that is known of."""
        steps = [line["step"] for line in (*self.lines, *self.evals)]
        return max([*steps, self.best, self.summary["step"] if self.summary else 0])

    @property
    def total(self) -> int | None:
        """Steps of the whole run; None where its data decide and it has not ended."""
        try:
            return durations.steps(self.config, "total", None)
        except UserError:  # in epochs
            return self.summary["step"] if self.summary else None

    @property
    def seconds(self) -> float:
        """Wall time so far, evaluations included."""
        if self.summary:
            return float(self.summary["seconds"])
        return max((line["seconds"] for line in (*self.lines, *self.evals)), default=0.0)

    @property
    def images(self) -> tuple[int, bool]:
        """Images trained on so far, and whether that is exact."""
        if self.config.data.batch_by == "rows":
            return self.step * self.config.batch_size, True
        if self.summary:
            return round(self.summary["images_per_second"] * self.summary["seconds"]), False
        return self.step * self.config.batch_size, False

    @property
    def eval_names(self) -> list[str]:
        """Names of the sets that were evaluated during training."""
        return list(dict.fromkeys(name for line in self.evals for name in line["eval"]))


def load(path: pathlib.Path) -> Run:
    """Reads a run; of a run of replicas the first one, with the summaries of all.

    Raises:
      UserError: when the folder is not a run's, or has no checkpoint.
    """
    config_file = path / workdir.CONFIG_FILE
    count = config_lib.load(config_file).replicas if config_file.is_file() else 1
    folders = workdir.replica_folders(path, count)
    folder, several = folders[0], count > 1
    recognizer, config, best = load_run(folder)
    lines = metric_lines.read(folder)
    return Run(
        path=folder,
        config=config,
        provenance=_json(folder / workdir.RUN_FILE) or {},
        summary=_json(folder / workdir.SUMMARY_FILE),
        lines=[line for line in lines if "eval" not in line],
        evals=[line for line in lines if "eval" in line],
        recognizer=recognizer,
        best=best,
        course=_course(folder, config, recognizer.charset),
        replica=0 if several else None,
        replicas=[_json(one / workdir.SUMMARY_FILE) for one in folders] if several else [],
        together=_json(path / workdir.SUMMARY_FILE) if several else None,
        skipped_rows=_skipped_rows(folder / SKIPPED_FILE),
        audit=_json(path / before_training.JSON_FILE),
        audit_page=path / before_training.PAGE_FILE,
    )


def _course(folder: pathlib.Path, config: ConfigDict, charset: Charset) -> Course | None:
    saved = checkpoint.Checkpointer(folder, read_only=True)
    try:
        step = saved.latest_step()
        if step is None:
            return None
        shapes = train.abstract_state(config, charset)[1]
        state = checkpoint.restore_state(saved, step, shapes)
        return Course(step, int(state.skipped), int(state.rollbacks))
    except UserError:  # a run that goes on may have replaced it by now
        return None
    finally:
        saved.close()


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    return files.read_json(path) if path.is_file() else None


def _skipped_rows(path: pathlib.Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(where, reason) for where, _, reason in (line.rpartition("\t") for line in lines)]
