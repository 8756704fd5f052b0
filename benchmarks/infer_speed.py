"""How fast is reading against PyTorch, with the paper's network at 32 x 100?

    python benchmarks/infer_speed.py [--batch 1 64]

Counted are the network and greedy decoding (best path, repeats and blanks removed, ids
left-justified) of images on the device, in both; neither scores readings nor fetches them. float32
on a CPU, bfloat16 products on a GPU; PyTorch at its fastest setting (`benchmarks/torch_twin.py`).
Turns alternate; medians; the last line is JSON.
"""

from __future__ import annotations

import argparse
import time

import duel

try:
    import torch
    import torch_twin
except ImportError:
    torch = None


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peer(device: str, images, args: argparse.Namespace):
    """Returns the fastest setting and its (step, wait)."""
    found = {}
    for setting in torch_twin.settings(device, args.compile):
        if setting.cudnn_ctc:  # nothing to do with reading
            continue
        reader = torch_twin.Reader(device, setting)
        placed = torch_twin.to_images(images, device, setting)
        side = (lambda r=reader, p=placed: r.read(p), lambda: wait(device))
        try:
            turns = duel.seconds_per_step({"": side}, args.seconds / 2, 2, args.clock)[""]
        except RuntimeError as error:  # out of memory, or no compiler for torch.compile
            print(f"PyTorch, {setting}: {str(error).splitlines()[0]}", flush=True)
            continue
        found[setting] = min(turns), side
        print(f"PyTorch, {setting}: {1e3 * min(turns):.2f} ms", flush=True)
    best = min(found, key=lambda setting: found[setting][0])
    return best, found[best][1]


def compare(size: int, device: str, args: argparse.Namespace) -> dict:
    """Returns the row of a batch size."""
    batch = duel.draw_batch(size, args.width)
    ours = duel.OurReader(duel.configure(size, args.width), batch)
    sides, setting = {"ours": (ours.step, ours.wait)}, None
    if torch:
        setting, sides["torch"] = peer(device, batch.images, args)
    turns = duel.seconds_per_step(sides, args.seconds, args.repetitions, args.clock)
    seconds = {name: duel.median(each) for name, each in turns.items()}
    ratio = seconds["torch"] / seconds["ours"] if torch else None
    work, peak = duel.forward_flops("vgg", args.width), duel.peak_flops()
    return {
        "batch": size,
        "ours, ms": duel.significant(1e3 * seconds["ours"]),
        "PyTorch, ms": duel.significant(1e3 * seconds["torch"]) if torch else None,
        "ours, images/s": duel.significant(size / seconds["ours"]),
        "PyTorch, images/s": duel.significant(size / seconds["torch"]) if torch else None,
        "ratio": duel.significant(ratio),
        "ours, MFU": duel.significant(size * work / seconds["ours"] / peak) if peak else None,
        "ours, spread": round(duel.spread(turns["ours"]), 2),
        "PyTorch, spread": round(duel.spread(turns["torch"]), 2) if torch else None,
        "PyTorch's setting": str(setting) if torch else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn, about")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each")
    parser.add_argument("--compile", action="store_true", help="also try torch.compile")
    parser.add_argument("--cpu_time", action="store_true", help="processor time, not the clock's")
    args = parser.parse_args()
    args.clock = time.process_time if args.cpu_time else time.perf_counter
    device = duel.start()
    if not torch:
        print("PyTorch is not installed: ours alone")
    rows = []
    for size in args.batch:
        rows.append(compare(size, device, args))
        print(duel.table(rows[-1:]), flush=True)
    duel.report(rows, torch=torch.__version__ if torch else None, width=args.width)


if __name__ == "__main__":
    main()
