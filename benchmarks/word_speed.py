"""How long does a model take for one word, on one CPU core?

    python benchmarks/word_speed.py --model=quickstart --out=speed.json

`Recognizer.read` of one image at a time, from pixels to text and confidence, the program compiled
before: median over words that the benchmark renders. The process keeps to one core. The file is
for `python -m crnn_jax.bundle --speed=FILE`. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import time

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before XLA counts the cores
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # the package of this checkout


def processor() -> str:
    """Returns what the kernel calls the processor."""
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()

    from crnn_jax.data.images import decode_image
    from crnn_jax.data.sources import open_source
    from crnn_jax.recognizer import Recognizer

    model = Recognizer.load(args.model)
    source = open_source(f"synth:scene::seed=2,limit={args.words},charset=alnum62")
    images = [decode_image(source.image_bytes(i), channels=1) for i in range(len(source))]
    for image in images[:8]:
        model.read([image])
    seconds = []
    for image in images:
        start = time.perf_counter()
        model.read([image])
        seconds.append(time.perf_counter() - start)
    found = {
        "ms": round(1e3 * statistics.median(seconds), 2),
        "device": f"one core of {processor()}",
    }
    print(json.dumps({"model": args.model, **found}))
    if args.out:
        args.out.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
