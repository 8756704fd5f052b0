"""How fast is beam search on a processor core, against fast-ctc-decode and pyctcdecode?

    python benchmarks/decode_speed.py --model=runs/quickstart --data=tsv:svt_test/labels.tsv

Posteriors of a trained model on real images, found beforehand; only decoding is counted, at a beam
of 16 strings without a language model, on one core. Ours takes batches of logits on the device and
also scores its four best strings exactly; the peers take rows of probabilities, and those their
logarithms, as they want them. Every decoder leaves out the classes that are less likely than
`--prune`: the peers by probability, ours by its ratio to the frame's best, which spares as many or
more, and keeps the eight likeliest characters of a frame. pyctcdecode keeps its other defaults
(beam_prune_logp -10). Turns alternate, medians count; the last line is JSON.

Agreement is with fast-ctc-decode: how many strings are equal and, where they differ, whose is the
likelier one by the exact forward score. Both peers are in the extra `decoders`, except that
pyctcdecode asks for NumPy 1 without a need: pip install --no-deps pyctcdecode pygtrie hypothesis
sortedcontainers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import math
import os
import statistics
import sys
import time
from collections.abc import Callable

CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
if CORE is not None:  # before JAX counts the cores
    os.sched_setaffinity(0, {CORE})
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import numpy as np  # noqa: E402

WIDTH, TIE = 16, 1e-4  # strings kept; nats

Piece = tuple[np.ndarray, np.ndarray]  # logits (B, T, K) and frames (B,)


def posteriors(model: str, spec: str, limit: int, batch_size: int) -> list[Piece]:
    """Returns the logits of a set's images, in batches of one padded width as when reading."""
    from crnn_jax.data.sources import open_source
    from crnn_jax.data.stream import stream_batches
    from crnn_jax.recognizer import Recognizer

    recognizer, source = Recognizer.load(model), open_source(spec)
    step = jax.jit(recognizer.model.apply)
    pieces = []
    for batch, positions, error in stream_batches(
        range(min(limit, len(source))),
        lambda i: recognizer.preprocess(source.image_bytes(i)),
        recognizer.preprocess,
        batch_size,
    ):
        if error is None:
            logits, frames = step(recognizer.variables, batch.images, batch.widths)
            frames = np.where(np.arange(len(frames)) < len(positions), frames, 0)
            pieces.append((np.asarray(logits, np.float32), frames.astype(np.int32)))
    return pieces


def rows_of(pieces: list[Piece]) -> list[np.ndarray]:
    return [x[:n] for logits, frames in pieces for x, n in zip(logits, frames, strict=True) if n]


def ours(pieces: list[Piece], prune: float) -> Callable[[], list[tuple[int, ...]]]:
    from crnn_jax.decode.beam import BeamOptions, nbest

    options = BeamOptions(width=WIDTH, prune=-math.log(prune))
    step = jax.jit(lambda logits, frames: nbest(logits, frames, options))
    placed = [jax.device_put(piece) for piece in pieces]

    def decode() -> list[tuple[int, ...]]:
        strings = []
        for found, (_, frames) in zip([step(*p) for p in placed], pieces, strict=True):
            ids, lengths = np.asarray(found.ids[:, 0]), np.asarray(found.lengths[:, 0])
            strings += [tuple(ids[row, : lengths[row]].tolist()) for row in np.flatnonzero(frames)]
        return strings

    return decode


def peers(pieces: list[Piece], prune: float, share: int) -> dict[str, Callable[[], list]]:
    """Returns the peers; pyctcdecode, being slow, decodes only one row of `share`."""
    logging.disable(logging.WARNING)  # of an alphabet without a space
    import fast_ctc_decode
    import pyctcdecode

    classes = pieces[0][0].shape[2]
    first = 0x4E00  # a character of its own for each class; none is a space
    alphabet = [chr(first + k) for k in range(classes)]
    p = [np.asarray(jax.nn.softmax(x)) for x in rows_of(pieces)]
    log_p = [np.log(np.maximum(x, 1e-30)) for x in p[::share]]
    if not prune < 1 / classes:
        sys.exit(f"error: --prune={prune}: fast-ctc-decode takes less than 1 / {classes} classes")
    model = pyctcdecode.build_ctcdecoder(["", *alphabet[1:]])

    def ids(text: str) -> tuple[int, ...]:
        return tuple(ord(c) - first for c in text)

    def fast() -> list[tuple[int, ...]]:
        search = fast_ctc_decode.beam_search
        return [ids(search(x, alphabet, WIDTH, prune)[0]) for x in p]

    def slow() -> list[tuple[int, ...]]:
        return [
            ids(model.decode(x, beam_width=WIDTH, token_min_logp=math.log(prune))) for x in log_p
        ]

    return {"fast-ctc-decode": fast, "pyctcdecode": slow}


def agreement(pieces: list[Piece], mine: list, theirs: list) -> dict[str, int]:
    """Returns how many strings are equal, and whose are the likelier ones where they differ."""
    from crnn_jax.ctc.loss import string_log_probability

    score = jax.jit(string_log_probability)
    counts = {"equal": 0, "ours likelier": 0, "tie": 0, "theirs likelier": 0}
    start = 0
    for logits, frames in pieces:
        found = {}
        rows = np.flatnonzero(frames)
        for name, strings in (("mine", mine), ("theirs", theirs)):
            labels = np.zeros(logits.shape[:2], np.int32)
            lengths = np.zeros(len(frames), np.int32)
            for row, string in zip(rows, strings[start : start + len(rows)], strict=True):
                labels[row, : len(string)], lengths[row] = string, len(string)
            found[name] = np.asarray(score(logits, frames, labels, lengths))
        for k, row in enumerate(rows, start=start):
            gain = found["mine"][row] - found["theirs"][row]
            if mine[k] == theirs[k]:
                counts["equal"] += 1
            elif abs(gain) <= TIE:
                counts["tie"] += 1
            else:
                counts["ours likelier" if gain > 0 else "theirs likelier"] += 1
        start += len(rows)
    return counts


def compare(pieces: list[Piece], prune: float, args: argparse.Namespace) -> dict:
    """Returns the row of a pruning threshold."""
    share = args.share
    decoders = {"ours": ours(pieces, prune), **peers(pieces, prune, share)}
    number = len(rows_of(pieces))
    numbers = {"ours": number, "fast-ctc-decode": number, "pyctcdecode": -(-number // share)}
    strings = {name: decode() for name, decode in decoders.items()}  # compiles ours
    turns: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(args.repetitions):
        for name, decode in decoders.items():
            start = time.process_time()
            decode()
            turns[name].append(numbers[name] / (time.process_time() - start))
    speeds = {name: statistics.median(values) for name, values in turns.items()}
    for name, values in turns.items():
        print(f"  {name:<16} {speeds[name]:9.0f} words/s ({min(values):.0f} to {max(values):.0f})")
    return {
        "prune": prune,
        "ratio": speeds["ours"] / speeds["fast-ctc-decode"],
        "ratio_pyctcdecode": speeds["ours"] / speeds["pyctcdecode"],
        "words_per_second": speeds,
        "against_fast_ctc_decode": agreement(pieces, strings["ours"], strings["fast-ctc-decode"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, metavar="SPEC")
    parser.add_argument("--prune", type=float, nargs="+", default=[1e-4], help="probability")
    parser.add_argument("--limit", type=int, default=1024, help="images")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each, at least five")
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    args = parser.parse_args()
    args.share = 4
    if args.quick:
        args.limit, args.repetitions, args.share = 256, 5, 8
    for name in ("fast_ctc_decode", "pyctcdecode"):
        if importlib.util.find_spec(name) is None:
            sys.exit(
                f"error: {name} is not installed: pip install fast-ctc-decode, and "
                "pip install --no-deps pyctcdecode pygtrie hypothesis sortedcontainers"
            )
    pieces = posteriors(args.model, args.data, args.limit, args.batch_size)
    rows = rows_of(pieces)
    frames = [len(row) for row in rows]
    print(f"{len(rows)} images of {min(frames)} to {max(frames)} frames, width {WIDTH}, one core")
    results = []
    for prune in args.prune:
        print(f"classes below {prune} left out:")
        results.append(compare(pieces, prune, args))
        print(f"  {results[-1]['against_fast_ctc_decode']}", flush=True)
    common = {"data": args.data, "images": len(rows), "width": WIDTH, "seconds": "of the processor"}
    print(json.dumps(results[0] | common | {"others": results[1:]}))


if __name__ == "__main__":
    main()
