"""What a training step costs by batch, width, frames, label length and classes.

    python benchmarks/step_cost.py --out step_cost.png                    # on a GPU
    python benchmarks/step_cost.py --out step_cost.png --encoder tiny --batch 16   # on a CPU

One thing changes at a time, from images of 32 x 100 with labels of 8 characters and 37 classes. The
frames of a network follow from the width, so they are changed for the loss alone: CTC and its
gradient on logits. Every line is fitted with an intercept and a slope, that of widths up to 200
pixels, beyond which a step is dearer than linear on a CPU. Medians of turns; the last line is JSON.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import duel
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from crnn_jax.ctc.loss import ctc_loss

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_MOST_FITTED = {"width": 200}
_BASE = {"width": 100, "label length": 8, "classes": 37}


def points(args: argparse.Namespace) -> dict[str, list[int]]:
    """Returns the values of everything that is changed."""
    found = {
        "batch": [args.batch * n // 4 for n in (1, 2, 4, 8)],
        "width": [50, 100, 200, 400],
        "frames": [25, 50, 100, 200],
        "label length": [4, 8, 16, 24],
        "classes": [37, 1500, 3000, 6001],
    }
    if args.quick:
        found = {name: values[:2] for name, values in found.items()}
    return {name: found[name] for name in args.only or found}


def whole_step(args: argparse.Namespace, **changed: int):
    """Returns (step, wait) of the training step."""
    at = _BASE | {"batch": args.batch} | changed
    length, classes = at["label length"], at["classes"]
    config = duel.configure(at["batch"], at["width"], args.encoder)
    batch = duel.draw_batch(at["batch"], at["width"], (length, length), classes, args.encoder)
    ours = duel.OurTrainer(config, batch, classes)
    return ours.step, ours.wait


def loss_alone(args: argparse.Namespace, frames: int):
    """Returns (step, wait) of CTC and its gradient."""
    length, classes = _BASE["label length"], _BASE["classes"]
    batch = duel.draw_batch(args.batch, _BASE["width"], (length, length), classes, args.encoder)
    logits = jax.random.normal(jax.random.key(0), (args.batch, frames, classes))
    counts = jnp.full(args.batch, frames)

    @jax.jit
    def gradient(logits):
        return jax.grad(
            lambda x: jnp.sum(ctc_loss(x, counts, batch.labels, batch.label_lengths)[0])
        )(logits)

    done = []
    return lambda: done.append(gradient(logits)), lambda: (
        jax.block_until_ready(done),
        done.clear(),
    )


def _rounded(value: float) -> str:
    """Returns three digits that count, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("step_cost.png"))
    parser.add_argument("--encoder", default="vgg", help="tiny for a CPU")
    parser.add_argument("--batch", type=int, default=64, help="of the base")
    parser.add_argument(
        "--only", nargs="+", help="what is changed", choices=[*_BASE, "batch", "frames"]
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about")
    parser.add_argument("--repetitions", type=int, default=5, help="turns of each point")
    parser.add_argument("--quick", action="store_true", help="two points each")
    parser.add_argument("--cpu_time", action="store_true", help="processor time, not the clock's")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    duel.start()

    rows, fits = [], {}
    chosen = points(args)
    figure, axes = plt.subplots(1, len(chosen), figsize=(3.2 * len(chosen), 3), squeeze=False)
    for axis, (name, values) in zip(axes[0], chosen.items(), strict=True):
        make = loss_alone if name == "frames" else whole_step
        sides = {str(value): make(args, **{name: value}) for value in values}
        turns = duel.seconds_per_step(sides, args.seconds, args.repetitions, clock)
        took = np.array([1e3 * duel.median(turns[str(value)]) for value in values])
        most = _MOST_FITTED.get(name, max(values))
        near = np.array(values) <= most
        slope, intercept = np.polyfit(np.array(values)[near], took[near], 1)
        fitted = intercept + slope * np.array(values)
        fits[name] = {"ms": float(intercept), "ms per unit": float(slope)}
        for value, ms, fit in zip(values, took, fitted, strict=True):
            rows.append(
                {
                    "changed": name + (" (loss alone)" if name == "frames" else ""),
                    "value": value,
                    "ms": duel.significant(ms),
                    "fit, ms": duel.significant(fit),
                    "spread": round(duel.spread(turns[str(value)]), 2),
                }
            )
        axis.plot(values, took, "o")
        label = f"{_rounded(intercept)} {'-' if slope < 0 else '+'} {_rounded(abs(slope))} x"
        axis.plot(values, fitted, label=label)
        axis.set(xlabel=rows[-1]["changed"], ylabel="ms per step", ylim=(0, 1.1 * took.max()))
        axis.legend()
        print(duel.table(rows[-len(values) :]), flush=True)
        del sides
    figure.suptitle(f"{args.encoder}, batch {args.batch}, {jax.devices()[0].device_kind}")
    figure.tight_layout()
    figure.savefig(args.out, dpi=120)
    duel.report(rows, fits=fits, encoder=args.encoder, batch=args.batch)


if __name__ == "__main__":
    main()
