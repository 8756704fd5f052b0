"""Lines several times as wide as those of training: whole, in windows, or squeezed?

    python benchmarks/long_lines.py --model=runs/receipts --data=lmdb:sroie::rows=27450:30500 --join

Reads the same lines three ways: whole, by the network as it is, whatever their width; in
overlapping windows of the training width, as `predict` and `evaluate` read them; and squeezed to
the training width. Without `--join` these are the rows of the set that are wide enough. With it
neighbouring rows are set side by side, a blank of half their height between them, and their labels
joined by a space.

Receipts, a network of 1 million parameters: trained to 704 px and read at 1,979 (joined), whole
0.90, in windows 0.88, squeezed 68.5 % of the characters are wrong; trained to 236 px and read at
643 (joined) 1.45, 1.52 and 15.6 %, and on 43 single lines of 621 px 2.42, 2.36 and 5.28 %.

The last line is JSON; `ratio` is the character error rate of whole lines by that of windows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time

import numpy as np

from crnn_jax.data.sources import open_source
from crnn_jax.metrics import RecognitionMetrics
from crnn_jax.recognizer import Recognizer, default_protocol

_LEAST = 0.8  # of the width that is asked for


def long_lines(recognizer: Recognizer, spec: str, times: float, join: bool) -> list:
    """Returns images (H, W, C) at the model's height, and their labels."""
    source, widest = open_source(spec), times * recognizer.preprocess.max_width
    natural = dataclasses.replace(recognizer.preprocess, max_width=1 << 16)
    rows = ((natural(source.image_bytes(i)), source.label(i)) for i in range(len(source)))
    if not join:
        return [(x, label) for x, label in rows if _LEAST * widest <= x.shape[1] <= widest]
    lines, parts, labels = [], [], []
    for image, label in rows:
        gap = np.full((image.shape[0], image.shape[0] // 2, image.shape[2]), np.median(image))
        if sum(part.shape[1] for part in parts) + image.shape[1] > widest:
            lines.append((np.concatenate(parts[:-1], axis=1), " ".join(labels)))
            parts, labels = [], []
        parts += [image, gap.astype(np.uint8)]
        labels.append(label)
    return [line for line in lines if line[0].shape[1] >= _LEAST * widest]


def error_rate(recognizer: Recognizer, lines: list, batch_size: int) -> tuple[float, float]:
    """Returns the character error rate and the lines per second, compilation included."""
    scores = RecognitionMetrics(default_protocol(recognizer.charset))
    start = time.perf_counter()

    def load(i: int) -> np.ndarray:
        return recognizer.preprocess(lines[i][0])

    for i, reading in recognizer.stream(range(len(lines)), load, batch_size):
        scores.update(lines[i][1], reading.text)
    return scores.compute()["cer"], len(lines) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="of a run whose images keep their aspect")
    parser.add_argument("--data", required=True, metavar="SPEC", help="kind:location")
    parser.add_argument("--times", type=float, default=3.0, help="the training width")
    parser.add_argument("--join", action="store_true", help="sets rows side by side")
    parser.add_argument("--batch_size", type=int, default=8)
    args = parser.parse_args()
    squeezed = Recognizer.load(args.model)
    lines = long_lines(squeezed, args.data, args.times, args.join)
    longest = max(image.shape[1] for image, _ in lines)
    wide = dataclasses.replace(squeezed.preprocess, max_width=-(-longest // 4) * 4)
    ways = {
        "whole": dataclasses.replace(squeezed, preprocess=wide),
        "windows": squeezed.in_windows(),
        "squeezed": squeezed,
    }
    found = {name: error_rate(way, lines, args.batch_size) for name, way in ways.items()}
    trained = squeezed.preprocess.max_width
    mean = np.mean([image.shape[1] for image, _ in lines])
    print(f"{len(lines)} lines, {mean:.0f} px wide on average; trained to {trained} px")
    for name, (cer, rate) in found.items():
        print(f"{name:<9} CER {100 * cer:6.2f} %  {rate:6.1f} lines/s")
    whole, windows = found["whole"][0], found["windows"][0]
    result = {
        "lines": len(lines),
        "cer": {name: round(cer, 5) for name, (cer, _) in found.items()},
        "loss_in_points": round(100 * (windows - whole), 3),
        "ratio": round(whole / windows, 3) if windows else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
