"""Beam search that may read only some strings: how right, how fast, and with which settings?

    python benchmarks/constrained_speed.py --model=runs/quickstart --data=tsv:iiit5k_train \
        --lexicon=words_90k.txt
    python benchmarks/constrained_speed.py --model=runs/quickstart --data=tsv:iiit5k_train \
        --pattern=integer

Posteriors of a trained model on real images, found beforehand; only decoding is counted, on one
core. Searches take batches of logits and walk the automaton of a lexicon (`decode.trie`) or of a
pattern (`decode.pattern`), wide or narrow, pruned or not. Beside a lexicon stands what `--lexicon`
of evaluate does without a search (`decode.lexicon`): an image at a time, words near the greedy
reading are scored one by one. Of a pattern only images count whose labels match it. Right is what
has the letters of the label that the model knows; labels outside the lexicon count, too. The last
line is JSON; `ratio`, of a lexicon, is the time of words one by one by that of the search with the
settings that are advised.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time

if hasattr(os, "sched_setaffinity"):  # one core: before JAX counts them
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from decode_speed import Piece, posteriors, rows_of

from crnn_jax.data.sources import open_source
from crnn_jax.decode.automaton import CONSTRAINED
from crnn_jax.decode.beam import BeamOptions, nbest
from crnn_jax.decode.greedy import best_path
from crnn_jax.decode.language import LanguageModel
from crnn_jax.decode.lexicon import Lexicon
from crnn_jax.decode.pattern import compile_pattern
from crnn_jax.decode.trie import Trie
from crnn_jax.recognizer import Recognizer

Ids = tuple[int, ...]
ADVISED = dataclasses.replace(CONSTRAINED, nbest=1)
SETTINGS = [
    BeamOptions(16, 8, -math.log(1e-4), nbest=1),  # the defaults
    BeamOptions(16, 8, math.inf, nbest=1),
    BeamOptions(16, 0, math.inf, nbest=1),
    BeamOptions(64, 8, math.inf, nbest=1),
    ADVISED,
    BeamOptions(64, 0, math.inf, nbest=1),
]
step = jax.jit(nbest, static_argnames="options")


def searched(
    pieces: list[Piece], options: BeamOptions, model: LanguageModel, turns: int
) -> tuple[list[Ids | None], float]:
    """Returns the best string of every image, None where there is none, and seconds per image."""
    placed = [jax.device_put(piece) for piece in pieces]
    jax.block_until_ready([step(*piece, options, model) for piece in placed])
    seconds = []
    for _ in range(turns):
        start = time.process_time()
        found = jax.block_until_ready([step(*piece, options, model) for piece in placed])
        seconds.append(time.process_time() - start)
    strings: list[Ids | None] = []
    for result, (_, frames) in zip(jax.device_get(found), pieces, strict=True):
        for row in np.flatnonzero(frames):
            ids = tuple(result.ids[row, 0, : result.lengths[row, 0]].tolist())
            strings.append(ids if np.isfinite(result.score[row, 0]) else None)
    return strings, float(np.median(seconds)) / len(strings)


def one_by_one(pieces: list[Piece], lexicon: Lexicon) -> tuple[list[str | None], float]:
    """Returns the best word of every image, and seconds per image."""
    images = []
    for logits, frames in pieces:
        log_probs = np.asarray(jax.nn.log_softmax(logits))
        ids, lengths = map(np.asarray, best_path(logits, frames))
        images += [
            (np.array(log_probs[r]), int(frames[r]), ids[r, : lengths[r]].tolist())
            for r in np.flatnonzero(frames)
        ]
    [lexicon.best(*image) for image in images]  # compiles
    start = time.process_time()
    found = [lexicon.best(*image) for image in images]
    seconds = time.process_time() - start
    return [best[0].text if best else None for best in found], seconds / len(images)


class Table:
    """What was right, printed as it is found."""

    def __init__(self, labels: list[Ids], inside: np.ndarray):
        self.labels, self.inside, self.rows = labels, inside, {}

    def add(self, name: str, found: tuple[list[Ids | None], float]) -> None:
        strings, seconds = found
        right = np.array([a == b for a, b in zip(strings, self.labels, strict=True)])
        row = {
            "right": float(right.mean()),
            "right_inside": float(right[self.inside].mean()),
            "none": sum(string is None for string in strings),
            "ms": 1e3 * seconds,
        }
        self.rows[name] = row
        print(
            f"  {name:<30} {100 * row['right']:5.1f} % right, {100 * row['right_inside']:5.1f} % "
            f"of those allowed, {row['none']:3} without, {row['ms']:6.2f} ms",
            flush=True,
        )


def named(options: BeamOptions) -> str:
    return f"width {options.width}, top {options.top}, prune {options.prune:.1f}"


def greedy(pieces: list[Piece]) -> list[Ids]:
    found = []
    for logits, frames in pieces:
        ids, lengths = map(np.asarray, best_path(logits, frames))
        found += [tuple(ids[row, : lengths[row]].tolist()) for row in np.flatnonzero(frames)]
    return found


def with_lexicon(pieces: list[Piece], labels: list[Ids], args: argparse.Namespace) -> dict:
    charset = Recognizer.load(args.model).charset
    start = time.process_time()
    trie = Trie.load(args.lexicon, charset)
    build = time.process_time() - start
    lexicon = Lexicon.load(args.lexicon, charset)
    known = {tuple(charset.encode(word)) for word in lexicon.words}
    inside = np.array([label in known for label in labels])
    print(
        f"{trie.size:,} words: {trie.automaton.following.shape[0]:,} states, "
        f"{trie.automaton.bytes / 1e6:.1f} MB in {build:.1f} s; {len(labels)} images, "
        f"{100 * inside.mean():.1f} % of the labels in the lexicon"
    )
    table = Table(labels, inside)
    table.add("greedy", (greedy(pieces), 0.0))
    words, seconds = one_by_one(pieces, lexicon)
    table.add("words one by one", ([w and tuple(charset.encode(w)) for w in words], seconds))
    for options in SETTINGS:
        table.add(named(options), searched(pieces, options, trie.model(), args.turns))
    for escape in args.escape:
        found = searched(pieces, ADVISED, trie.model(escape), args.turns)
        table.add(f"as advised, escape {escape:g}", found)
    return table.rows | {"ratio": round(1e3 * seconds / table.rows[named(ADVISED)]["ms"], 1)}


def with_pattern(pieces: list[Piece], labels: list[Ids], args: argparse.Namespace) -> dict:
    charset = Recognizer.load(args.model).charset
    automaton = compile_pattern(args.pattern, charset)
    following, accepting, first = map(np.asarray, automaton)
    inside = []
    for label in labels:
        state = int(first)
        for id_ in label:
            state = following[state, id_]
        inside.append(bool(accepting[state]))
    longest = max(logits.shape[1] for logits, _ in pieces)
    wide = [np.pad(x, ((0, 0), (0, longest - x.shape[1]), (0, 0))) for x, _ in pieces]
    frames = np.concatenate([frames for _, frames in pieces])
    chosen = np.flatnonzero(frames)[np.array(inside)]
    kept = [(np.concatenate(wide)[chosen], frames[chosen])]  # one batch: few images match
    labels = [label for label, matches in zip(labels, inside, strict=True) if matches]
    print(f"{len(following)} states, {automaton.bytes:,} bytes; {len(labels)} labels match")
    table = Table(labels, np.ones(len(labels), bool))
    table.add("greedy", (greedy(kept), 0.0))
    for options in SETTINGS:
        table.add(named(options), searched(kept, options, automaton, args.turns))
    return table.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, metavar="SPEC", help="kind:location")
    allowed = parser.add_mutually_exclusive_group(required=True)
    allowed.add_argument("--lexicon", metavar="FILE", help="a word per line")
    allowed.add_argument("--pattern", help="a name, or a regular expression")
    parser.add_argument("--limit", type=int, default=10_000, help="images")
    parser.add_argument("--escape", type=float, nargs="*", default=[3, 5, 8], help="nats")
    parser.add_argument("--turns", type=int, default=3, help="of each search; medians count")
    parser.add_argument("--quick", action="store_true", help="under two minutes: 256 images")
    args = parser.parse_args()
    if args.quick:
        args.limit, args.turns = 256, 1
    charset, source = Recognizer.load(args.model).charset, open_source(args.data)
    pieces = posteriors(args.model, args.data, args.limit, 64)
    count = len(rows_of(pieces))
    labels = [tuple(charset.encode_known(source.label(row))) for row in range(count)]
    print(json.dumps((with_lexicon if args.lexicon else with_pattern)(pieces, labels, args)))


if __name__ == "__main__":
    main()
