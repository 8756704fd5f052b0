"""What the speed benchmarks share: our network behind a thin layer, fair turns, counted work.

Import it before jax: it stops XLA from taking all memory of a GPU, of which PyTorch needs some.
"""

from __future__ import annotations

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # the package of this checkout

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import cli, flops, memory, train, types
from crnn_jax.data.feeds import Feed
from crnn_jax.data.training_set import open_training_set
from crnn_jax.decode.greedy import best_path
from crnn_jax.models import num_frames
from crnn_jax.recognizer import preprocess_of

HEIGHT, CLASSES = 32, 37
_PAUSE = 0.1  # seconds; the threads of one framework fall asleep before the other's turn


def configure(batch: int, width: int, encoder: str = "vgg", **overrides: str) -> Any:
    """Returns the experiment of the paper's network, with AdamW, which PyTorch has as well."""
    return cli.load_experiment(
        "crnn_paper",
        [
            ("batch_size", str(batch)),
            ("data.width", str(width)),
            ("data.eval", ""),
            ("model.encoder", encoder),
            ("optimizer.name", "adamw"),
            ("optimizer.learning_rate", "0.001"),
            ("optimizer.epsilon", "1e-8"),
            *overrides.items(),
        ],
    )


def draw_batch(
    batch: int,
    width: int,
    lengths: tuple[int, int] = (3, 12),
    classes: int = CLASSES,
    encoder: str = "vgg",
) -> types.Batch:
    """Returns noise with random labels that its frames can spell."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, HEIGHT, width, 1), np.uint8)
    count = rng.integers(lengths[0], lengths[1] + 1, batch).astype(np.int32)
    # No two neighbours alike, so that a label needs no more frames than it has characters.
    leaps = rng.integers(1, classes - 1, (batch, lengths[1]))
    labels = (np.cumsum(leaps, axis=1) % (classes - 1) + 1).astype(np.int32)
    real = np.arange(lengths[1])[None, :] < count[:, None]
    labels = np.where(real, labels, np.int32(0))
    assert lengths[1] <= num_frames(encoder, width), "labels too long"
    return types.Batch(images, np.full(batch, width, np.int32), labels, count)


class OurTrainer:
    """Our training step, as a run compiles it: the one place that knows its signature."""

    def __init__(self, config: Any, batch: types.Batch | None, classes: int = CLASSES):
        data = None if batch is not None else open_training_set(config, preprocess_of(config))
        classes = data.charset.num_classes if data else classes
        model, tx, _ = train.build(config, classes, warmup=0, total=1000)
        self.state = jax.jit(lambda: train.create_train_state(config, model, tx))()
        step = train.compile_train_step(model, tx, config, data.feed if data else Feed())
        self.arguments = jax.device_put((batch, data.assets if data else ()))
        start = time.perf_counter()
        self.program = step.lower(self.state, *self.arguments).compile()
        self.compile_seconds = time.perf_counter() - start
        self.sums: Any = None

    def step(self) -> None:
        self.state, self.sums = self.program(self.state, *self.arguments)

    def wait(self) -> None:
        jax.block_until_ready((self.state, self.sums))


class OurReader:
    """Logits and greedy decoding, without the scores and losses of the evaluation."""

    def __init__(self, config: Any, batch: types.Batch):
        model, tx, _ = train.build(config, CLASSES, warmup=0, total=1000)
        state = jax.jit(lambda: train.create_train_state(config, model, tx))()
        variables = state.eval_variables()
        self.arguments = (variables, *jax.device_put((batch.images, batch.widths)))
        self.program = (
            jax.jit(lambda *arguments: best_path(*model.apply(*arguments)))
            .lower(*self.arguments)
            .compile()
        )
        self.out: Any = None

    def step(self) -> None:
        self.out = self.program(*self.arguments)

    def wait(self) -> None:
        jax.block_until_ready(self.out)


def seconds_per_step(
    sides: dict[str, tuple[Callable[[], None], Callable[[], None]]],
    seconds: float,
    repetitions: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Times several sides in turns; every side's first steps are warm-up.

    Args:
      sides: (step, wait for all steps) by name.
      seconds: that a turn lasts, about.
      repetitions: turns of each.
      clock: what is measured by; processor time where others use the machine.

    Returns:
      Seconds per step of each turn.
    """
    steps, found = {}, {name: [] for name in sides}
    for name, (step, wait) in sides.items():
        for _ in range(2):
            step()
        wait()
        start = time.perf_counter()
        step()
        wait()
        steps[name] = max(round(seconds / (time.perf_counter() - start)), 1)
    for _ in range(repetitions):
        for name, (step, wait) in sides.items():
            time.sleep(_PAUSE)
            start = clock()
            for _ in range(steps[name]):
                step()
            wait()
            found[name].append((clock() - start) / steps[name])
    return found


def forward_flops(encoder: str, width: int, classes: int = CLASSES) -> float:
    """Returns the floating-point operations of the products for one image."""
    config = configure(1, width, encoder)
    model, _, _ = train.build(config, classes, warmup=0, total=1)
    return flops.per_image(config, model, width) / flops.TRAINING


def peak_flops() -> float | None:
    """Returns what the device can at most, in bfloat16; None where that is not known."""
    return flops.peak(jax.devices()[0], jnp.bfloat16)


def our_peak_bytes() -> int | None:
    """Returns the most memory that JAX has held on the device so far; None on a CPU."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns rows as a Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'-|' * len(names)}"]
    for row in rows:
        cells = (row[name] for name in names)
        lines.append(f"| {' | '.join('n/a' if c is None else str(c) for c in cells)} |")
    return "\n".join(lines)


def significant(value: float | None) -> float | None:
    """Rounds to three digits, for tables."""
    return None if value is None else float(f"{value:.3g}")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Returns how far apart the turns are: (slowest - fastest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


def report(rows: Sequence[dict[str, Any]], **more: Any) -> None:
    """Prints the table, and everything as a last line of JSON."""
    print("\n" + table(rows))
    device = jax.devices()[0].device_kind
    print(json.dumps({"device": device, "jax": jax.__version__, "rows": list(rows)} | more))


def start() -> str:
    """Prepares the process as all commands do; returns PyTorch's name of the device."""
    memory.keep_freed_memory()
    return "cpu" if jax.default_backend() == "cpu" else "cuda"
