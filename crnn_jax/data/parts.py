"""What a batch is made of, from a config: loaded rows, rendered rows, rows of a bank."""

from __future__ import annotations

import functools
import glob
import logging
import os
import unicodedata
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from crnn_jax import models
from crnn_jax.charset import Charset
from crnn_jax.ctc.loss import check_labels
from crnn_jax.data.feeds import BankArrays, BankRows, RenderedRows
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import WIDEN, Index, IndexReport, build_index, refuse_unreadable
from crnn_jax.data.spec import Spec
from crnn_jax.errors import UserError
from crnn_jax.synth import presets
from crnn_jax.synth.bank import load_bank
from crnn_jax.synth.renderer import build_renderer
from crnn_jax.synth.warp import Canvas

_LOG = logging.getLogger("crnn_jax")


def index_rows(
    config: Any,
    sources: list[Any],
    charset: Charset,
    preprocess: Preprocess,
    resized: bool = True,
) -> Index:
    """Returns the index of labelled sources under a config's policies.

    Images that have been resized before cannot be widened: such rows are skipped.
    """
    index = build_index(
        sources,
        charset,
        preprocess,
        _frames(config),
        unknown="error" if config.unknown == WIDEN else config.unknown,  # the charset has grown
        infeasible=config.infeasible if resized or config.infeasible != WIDEN else "skip",
    )
    refuse_unreadable(index, preprocess)
    # The loss would count an id out of range as certain; here it is seen once, not in every step.
    ids = index.labels.flat
    check_labels(ids[None], np.array([len(ids)]), charset.num_classes)
    return index


def _frames(config: Any) -> Any:
    return functools.partial(models.num_frames, config.model.encoder)


def augmentation(config: Any) -> FrozenConfigDict | None:
    """Returns the knobs of the effects on loaded images; None for none."""
    if not config.data.augment:
        return None
    return FrozenConfigDict(presets.of_run(config.synth, config.data.augment))


def rendered_rows(
    config: Any, spec: Spec, rows: int, charset: Charset, preprocess: Preprocess
) -> tuple[RenderedRows, Any]:
    """Returns the part of every batch that is rendered, and its arrays."""
    if spec != Spec("synth", spec.location, limit=spec.limit, seed=spec.seed, name=spec.name):
        raise UserError(
            f"{spec} in config.data.train: training on rendered text takes seed=, limit= and name= "
            "alone; its characters are those of config.charset, its languages those of "
            "config.synth.languages"
        )
    shaped = [c for c in charset.classes if _needs_shaping(c)]
    if shaped:
        raise UserError(
            f"{spec} draws characters one beside the other, and {shaped[0]!r} of config.charset "
            "joins its neighbours: train on images of this script, or take such characters out"
        )
    canvas = Canvas(
        preprocess.height,
        preprocess.widest,
        preprocess.channels,
        preprocess.fit == "keep",
        preprocess.min_width,
    )
    renderer, assets = build_renderer(
        presets.of_run(config.synth, spec.location), charset, canvas, _frames(config)
    )
    name = spec.name or spec.location
    return RenderedRows(name, renderer, rows, spec.seed, spec.limit), assets


def _needs_shaping(name: str) -> bool:
    """Returns whether a class is drawn otherwise, or elsewhere, beside others: Arabic, marks."""
    return any(
        unicodedata.category(c).startswith("M") or unicodedata.bidirectional(c) == "AL"
        for c in name
    )


def bank_rows(
    config: Any,
    spec: Spec,
    rows: int,
    source: Any,
    charset: Charset,
    preprocess: Preprocess,
    knobs: FrozenConfigDict | None,
) -> tuple[BankRows, BankArrays, IndexReport]:
    """Returns the part of every batch that comes from a bank on the device, and its arrays.

    Returns also what became of the bank's rows.
    """
    if not os.path.exists(spec.location) and glob.has_magic(spec.location):
        raise UserError(
            f"{spec} in config.data.train: a bank to train on is one file; name each with a "
            "weight, as in '0.5*bank:a.npz + 0.5*bank:b.npz', or make one of all their sets"
        )
    bank = load_bank(spec.location)
    height, width, channels = bank.images.shape[1:]
    wanted = (preprocess.height, preprocess.channels)
    squash = preprocess.fit == "squash"
    fits = (bank.widths == preprocess.width).all() if squash else width <= preprocess.widest
    if (height, channels) != wanted or not fits or bank.fit not in ("", preprocess.fit):
        fit = f" (--fit={bank.fit})" if bank.fit else ""
        raise UserError(
            f"{spec}: its images are {height} x {width}{fit} with {channels} channel(s), this "
            f"run's {wanted[0]} x {preprocess.widest} (--fit={preprocess.fit}) with {wanted[1]}: "
            "make the bank with the same --height, --width, --fit and --channels"
        )
    index = index_rows(config, [source], charset, preprocess, resized=False)
    if index.report.skipped_counts:
        _LOG.warning("%s: %s", source.name, index.report.summary())
    chosen = [int(source.key(row)) for row in index.rows.tolist()]  # after rows=, split=, limit=
    labels = np.zeros((len(index), index.max_label_length), np.int32)
    for row in range(len(index)):
        labels[row, : len(index.labels[row])] = index.labels[row]
    images, widths = bank.images, bank.widths
    if chosen != list(range(len(images))):  # else a copy of what may be gigabytes
        images, widths = images[chosen], widths[chosen]
    arrays = BankArrays(images, widths, labels, index.labels.lengths.astype(np.int32))
    return BankRows(source.name, rows, knobs), arrays, index.report
