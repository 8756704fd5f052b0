"""How fast is the training step against PyTorch, with the paper's network at 32 x 100?

    python benchmarks/train_speed.py                  # batch 64 on a CPU; 64 to 2,048 on a GPU
    python benchmarks/train_speed.py --end_to_end     # fed with rendered text, at 32 x 128
    taskset -c 0 python benchmarks/train_speed.py --cpu_time    # on a machine that others use

Both do the same: forward, CTC on random labels of 3 to 12 characters, backward, clipping, AdamW;
float32 on a CPU, bfloat16 products on a GPU. Batches lie on the device. PyTorch is run in several
settings and the fastest is the peer (`benchmarks/torch_twin.py`). Turns alternate; medians. With
`--end_to_end` our text is rendered in the program of the step, and PyTorch gets pictures that
Pillow draws on all cores (`benchmarks/pillow_scenes.py`). Memory is the most held so far, so give
batch sizes in rising order; FLOPs are counted from the layers, three times the forward ones for a
step. The last line is JSON.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import time

import duel
import jax
import numpy as np
import pillow_scenes

try:
    import torch
    import torch_twin
except ImportError:
    torch = None

_LABEL_LENGTH = 24  # columns of the labels of Pillow's pictures


def fastest(device: str, batch, args: argparse.Namespace):
    """Returns a ready trainer of the fastest setting, its arguments, and what all of them took."""
    found = {}
    for setting in torch_twin.settings(device, args.compile):
        trainer = torch_twin.Trainer(device, setting)
        placed = trainer.place(batch.images, batch.labels, batch.label_lengths)
        try:
            turns = duel.seconds_per_step(
                {"": (lambda t=trainer, p=placed: t.step(*p), lambda: wait(device))},
                args.seconds / 2, 2, args.clock,
            )[""]  # fmt: skip
        except RuntimeError as error:  # out of memory, or no compiler for torch.compile
            print(f"PyTorch, {setting}: {str(error).splitlines()[0]}", flush=True)
            continue
        found[setting] = min(turns)
        print(f"PyTorch, {setting}: {len(batch.images) / found[setting]:,.0f} images/s", flush=True)
        del trainer, placed
    best = min(found, key=found.get)
    trainer = torch_twin.Trainer(device, best)
    return trainer, trainer.place(batch.images, batch.labels, batch.label_lengths), best


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def compare(size: int, device: str, args: argparse.Namespace) -> dict:
    """Returns the row of a batch size."""
    batch = duel.draw_batch(size, args.width)
    sides, peer = {}, None
    if args.peer:
        trainer, placed, peer = fastest(device, batch, args)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        sides["torch"] = (lambda: trainer.step(*placed), lambda: wait(device))
    ours = duel.OurTrainer(duel.configure(size, args.width), batch)
    sides = {"ours": (ours.step, ours.wait), **sides}
    seconds = duel.seconds_per_step(sides, args.seconds, args.repetitions, args.clock)
    if args.trace:
        trace(ours, args.trace / f"trace_{size}")
    memory = {"ours": duel.our_peak_bytes()}
    if args.peer and device == "cuda":
        memory["torch"] = torch.cuda.max_memory_allocated()
        del trainer, placed, sides
        torch.cuda.empty_cache()
    return row_of(size, seconds, memory, peer, args.width)


def row_of(size: int, seconds: dict, memory: dict, peer, width: int) -> dict:
    speed = {name: size / duel.median(turns) for name, turns in seconds.items()}
    work, peak = 3 * duel.forward_flops("vgg", width), duel.peak_flops()

    def giga(name: str) -> float | None:
        return duel.significant(memory[name] / 1e9) if memory.get(name) else None

    return {
        "batch": size,
        "ours, images/s": duel.significant(speed["ours"]),
        "PyTorch, images/s": duel.significant(speed.get("torch")),
        "ratio": duel.significant(speed["ours"] / speed["torch"]) if peer else None,
        "ours, GB": giga("ours"),
        "PyTorch, GB": giga("torch"),
        "ours, MFU": duel.significant(speed["ours"] * work / peak) if peak else None,
        "PyTorch, MFU": duel.significant(speed["torch"] * work / peak) if peak and peer else None,
        "ours, spread": round(duel.spread(seconds["ours"]), 2),
        "PyTorch, spread": round(duel.spread(seconds["torch"]), 2) if peer else None,
        "PyTorch's setting": str(peer) if peer else None,
    }


def trace(ours: duel.OurTrainer, target: pathlib.Path) -> None:
    """Writes a profile of five steps to `target`.zip."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(5):
                ours.step()
            ours.wait()
        target.parent.mkdir(parents=True, exist_ok=True)
        archive = pathlib.Path(shutil.make_archive(str(target), "zip", folder))
    print(f"trace: {archive}, {archive.stat().st_size / 2**20:.1f} MiB")


class Scenes:
    """Pictures and labels by number, as a DataLoader wants them: a batch of them per item."""

    def __init__(self, classes: str, batch: int, batches: int, start: int):
        self.classes, self.batch, self.batches, self.start = classes, batch, batches, start

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = self.start + number * self.batch
        seeds = range(first, first + self.batch)
        labels = np.zeros((self.batch, _LABEL_LENGTH), np.int32)
        lengths = np.zeros(self.batch, np.int32)
        for row, seed in enumerate(seeds):
            text = pillow_scenes.tools()[2](np.random.default_rng(seed))  # what the picture says
            ids = [self.classes.find(char) + 1 for char in text.lower()]
            ids = [i for i in ids if i][:_LABEL_LENGTH]
            labels[row, : len(ids)], lengths[row] = ids, len(ids)
        return pillow_scenes.peer_chunk(seeds)[..., None], labels, lengths


def fed(size: int, device: str, args: argparse.Namespace) -> dict:
    """Returns the row of a batch size with the data's time included."""
    width = pillow_scenes.WIDTH
    config = duel.configure(size, width, **{"data.train": "synth:scene"})
    ours = duel.OurTrainer(config, None)
    peer = trainer = None
    if args.peer:
        trainer, _, peer = fastest(device, duel.draw_batch(size, width), args)
    found, start = {"ours": []} | ({"torch": []} if args.peer else {}), 0
    for _ in range(args.repetitions):
        ours.step()
        ours.wait()
        begun = time.perf_counter()
        for _ in range(args.steps):
            ours.step()
        ours.wait()
        found["ours"].append((time.perf_counter() - begun) / args.steps)
        if not args.peer:
            continue
        # A loader per turn: its workers are idle in our turns, and nothing is drawn in advance.
        loader = torch.utils.data.DataLoader(
            Scenes(config_classes(config), size, args.steps + 1, start),
            batch_size=None,
            num_workers=len(os.sched_getaffinity(0)),
            multiprocessing_context=multiprocessing.get_context("spawn"),
            pin_memory=device == "cuda",
        )
        for number, batch in enumerate(loader):
            trainer.step(*trainer.place(*batch))
            if number == 0:  # by now the workers have started
                wait(device)
                begun = time.perf_counter()
        wait(device)
        found["torch"].append((time.perf_counter() - begun) / args.steps)
        start += (args.steps + 1) * size
    return row_of(size, found, {}, peer, width)


def config_classes(config) -> str:
    from crnn_jax.charset import build_charset

    return "".join(build_charset(config.charset).classes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", help="sizes, rising")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn, about")
    parser.add_argument("--repetitions", type=int, default=5, help="turns of each")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--compile", action="store_true", help="also try torch.compile")
    parser.add_argument("--end_to_end", action="store_true", help="count the data's time, too")
    parser.add_argument("--steps", type=int, default=20, help="of a turn with --end_to_end")
    parser.add_argument("--trace", type=pathlib.Path, help="folder for profiles of five steps")
    parser.add_argument("--cpu_time", action="store_true", help="processor time, not the clock's")
    args = parser.parse_args()
    args.peer = torch is not None and not args.alone
    args.clock = time.process_time if args.cpu_time else time.perf_counter
    return args


def main() -> None:
    args = arguments()
    device = duel.start()
    if args.peer and device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("JAX sees a GPU and PyTorch does not: install PyTorch with CUDA")
    if not args.peer:
        print("ours alone" if torch else "PyTorch is not installed: ours alone")
    rows = []
    for size in args.batch or ([64] if device == "cpu" else [64, 256, 1024, 2048]):
        rows.append((fed if args.end_to_end else compare)(size, device, args))
        print(duel.table(rows[-1:]), flush=True)
    duel.report(rows, torch=torch.__version__ if args.peer else None, width=args.width)


if __name__ == "__main__":
    main()
