"""Everything that a run reads, opened from its config: charset, training index, plan, sets."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from typing import Any

import numpy as np

from crnn_jax import models
from crnn_jax.charset import Charset, build_charset
from crnn_jax.ctc.loss import check_labels
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import Index, build_index
from crnn_jax.data.plan import EpochPlan, choose_buckets
from crnn_jax.data.sources import Source, open_source
from crnn_jax.data.spec import parse_mixture
from crnn_jax.errors import UserError

_LOG = logging.getLogger("crnn_jax")
_LABEL_STEP = 8  # label columns are a multiple of it, so that few shapes are compiled
_SKIPPED_FILE = "skipped_rows.tsv"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What a run trains on and what it is judged by."""

    charset: Charset
    preprocess: Preprocess
    index: Index
    plan: EpochPlan
    label_length: int  # columns of the labels of every batch
    eval_sources: list[Source]

    def fingerprints(self) -> dict[str, str]:
        """Returns a hash of every source's rows; resuming on changed data is refused."""
        return {
            f"train {i}: {source.name}": source.fingerprint()
            for i, source in enumerate(self.index.sources)
        } | {f"eval: {source.name}": source.fingerprint() for source in self.eval_sources}

    def write_skipped(self, workdir: pathlib.Path) -> None:
        """Names every row that is left out, and why, in `workdir/skipped_rows.tsv`."""
        skipped = self.index.report.skipped
        if skipped:
            lines = (f"{where}\t{reason}\n" for where, reason in skipped)
            (workdir / _SKIPPED_FILE).write_text("".join(lines), encoding="utf-8")
            _LOG.warning("rows left out are named in %s", workdir / _SKIPPED_FILE)


def open_training_set(config: Any, preprocess: Preprocess) -> TrainingSet:
    """Opens the sets of a config and plans its epochs.

    Raises:
      UserError: for a set that cannot be read, or a row that the config's policies refuse.
    """
    mixture = parse_mixture(config.data.train)
    sources = [open_source(spec) for _, spec in mixture]
    weights = None if mixture[0][0] is None else [weight for weight, _ in mixture]
    charset = build_charset(config.charset, config.case, _labels(sources))
    index = build_index(
        sources,
        charset,
        preprocess,
        lambda width: models.num_frames(config.model.encoder, width),
        unknown=config.unknown,
        infeasible=config.infeasible,
    )
    # The loss would count an id out of range as certain; here it is seen once, not in every step.
    ids = index.labels.flat
    check_labels(ids[None], np.array([len(ids)]), charset.num_classes)
    _LOG.info("training rows: %s", index.report.summary())
    plan = EpochPlan(
        index,
        config.batch_size,
        choose_buckets(index.widths, config.data.buckets),
        config.seed,
        weights,
    )
    evaluated = []
    if config.data.eval:
        evaluated = [open_source(spec) for _, spec in parse_mixture(config.data.eval)]
    names = [source.name for source in evaluated]
    if len(set(names)) < len(names):
        raise UserError(
            f"config.data.eval names a set twice ({', '.join(names)}): tell them apart with "
            "::name=NAME"
        )
    longest = -(-index.max_label_length // _LABEL_STEP) * _LABEL_STEP
    return TrainingSet(charset, preprocess, index, plan, longest, evaluated)


def _labels(sources: list[Source]) -> Any:
    return (source.label(row) for source in sources for row in range(len(source)))
