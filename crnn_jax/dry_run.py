"""What a run would cost: parameters, frames, memory, shapes and time, before it starts."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from crnn_jax import durations, finetune, models, parallel, replicas, train, types
from crnn_jax.data.training_set import TrainingSet, open_training_set
from crnn_jax.recognizer import preprocess_of
from crnn_jax.validation import validate

_TIMED_STEPS = 3


class Cost(NamedTuple):
    """What a run would cost.

    Attributes:
      seconds: of the run, evaluations left out.
      compiling: of these, before the first step.
      steps: of the run.
      classes: that the network tells apart, the blank included.
      width: of the widest images.
      rows: what `describe` tells, names and texts.
    """

    seconds: float
    compiling: float
    steps: int
    classes: int
    width: int
    rows: list[tuple[str, str]]


def describe(config: ConfigDict) -> str:
    """Returns what a run would cost, for people; see `measure`."""
    return "\n".join(f"{name:<14} {text}" for name, text in measure(config).rows)


def open_data(config: ConfigDict) -> TrainingSet:
    """Opens what a run trains on, with the characters of the model that it begins with."""
    known = finetune.Origin(config).charset if config.init_from else None
    return open_training_set(config, preprocess_of(config), known)


def measure(config: ConfigDict) -> Cost:
    """Opens the data, compiles the step for the widest batch and times it.

    Raises:
      UserError: for whatever would stop the run at its start.
    """
    validate(config)
    preprocess = preprocess_of(config)
    data = open_data(config)
    total, warmup, _, _ = durations.lengths(config, data.steps_per_epoch)
    layout = parallel.choose_layout(config)
    replicas.check(config, data, layout.size)
    model, tx, _ = train.build(config, data.charset.num_classes, warmup, total, layout.axis)
    first = jax.jit(lambda: train.create_train_state(config, model, tx))()
    state = replicas.place([first] * config.replicas, layout)
    widths = data.plan.bucket_widths if data.plan else (preprocess.widest,)
    most = data.batch_rows(max(widths))  # rows of the widest batch
    loaded = layout.split(_batch(config, data, max(widths)))
    assets = layout.replicate(data.assets)
    start = time.perf_counter()
    step_fn: Any = train.compile_train_step(model, tx, config, data.feed, layout)  # compiled by jit
    step = step_fn.lower(state, loaded, assets).compile()
    compiling = time.perf_counter() - start
    memory = step.memory_analysis()
    seconds = []
    for _ in range(_TIMED_STEPS + 1):
        start = time.perf_counter()
        state, sums = step(state, loaded, assets)
        jax.block_until_ready(sums)
        seconds.append(time.perf_counter() - start)
    per_step = float(np.median(seconds[1:])) / config.steps_per_dispatch
    images = most * config.replicas
    # Time goes with the pixels: those of the mean batch.
    epoch = [data.plan.step(i)[0] for i in range(data.plan.steps_per_epoch)] if data.plan else []
    columns = np.mean([width * data.batch_rows(width) for width in epoch] or most * max(widths))
    all_compiling = compiling * len(widths)
    estimate = total * per_step * columns / (most * max(widths)) + all_compiling
    parameters = sum(p.size for p in jax.tree.leaves(first.params))
    state_bytes = sum(x.nbytes for x in jax.tree.leaves(state))
    frames = ", ".join(f"{w} px: {models.num_frames(config.model.encoder, w)}" for w in widths)
    sizes = dict.fromkeys(map(data.batch_rows, widths))
    shape = (" ".join(map(str, sizes)), config.data.height, "width", config.data.channels)
    rows = [
        ("charset", f"{len(data.charset.classes)} characters and the blank, {data.charset.case}"),
        ("parameters", f"{parameters:,}"),
        ("data", data.summary()),
        ("batches", f"{' x '.join(map(str, shape))}, {data.label_length} label ids"),
        ("frames", frames),
        ("steps", f"{total:,} ({_epochs(data)}warm-up {warmup:,})"),
        ("memory", f"{_mega(state_bytes)} state, {_working(memory)} working"),
        (
            "devices",
            f"{layout.size} x {jax.devices()[0].device_kind} ({jax.default_backend()})",
        ),
        ("speed", f"{images / per_step:,.0f} images/s at the widest batch"),
        ("time", f"about {estimate / 60:,.1f} minutes, evaluation left out"),
    ]
    return Cost(estimate, all_compiling, total, data.charset.num_classes, max(widths), rows)


def _epochs(data: TrainingSet) -> str:
    return f"{data.steps_per_epoch:,} per epoch, " if data.steps_per_epoch else ""


def _batch(config: ConfigDict, data: TrainingSet, width: int) -> types.Batch | None:
    """Returns noise in the shapes of the loaded rows, if any; their labels are real ones."""
    if data.index is None or data.plan is None:
        return None
    rng = np.random.default_rng(0)
    size = data.plan.batch_rows(width)
    labels = np.zeros((size, data.label_length), np.int32)
    lengths = np.zeros(size, np.int32)
    for row in range(size):
        ids = data.index.labels[row % len(data.index)]
        labels[row, : len(ids)], lengths[row] = ids, len(ids)
    shape = (size, config.data.height, width, config.data.channels)
    images = rng.integers(0, 256, shape, np.uint8)
    return types.Batch(images, np.full(size, width, np.int32), labels, lengths)


def _mega(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _working(memory: Any) -> str:
    return _mega(memory.temp_size_in_bytes) if memory is not None else "unknown"
