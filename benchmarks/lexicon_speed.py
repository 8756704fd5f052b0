"""Reading with a large lexicon: how long per word on one core, and is it the best word?

    python benchmarks/lexicon_speed.py --model=runs/quickstart --data=tsv:svt_test \
        --lexicon=words_90k.txt

The network reads the set first. Then each image's word is looked for among those within three edits
of the reading, as `--lexicon` does, and among all words, by their exact CTC scores. Times are those
after the network, medians over the images. The last line is JSON; `ratio` is the median time of all
words by that of near ones.
"""

from __future__ import annotations

import argparse
import json
import os
import time

if hasattr(os, "sched_setaffinity"):  # one core: before JAX counts them
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import numpy as np
from tqdm import tqdm

from crnn_jax.data.sources import open_source
from crnn_jax.decode import lexicon as lexicon_lib
from crnn_jax.decode.lexicon import Lexicon, LexiconDecoder
from crnn_jax.recognizer import Recognizer


class _Posteriors(LexiconDecoder):
    """Keeps what a lexicon's reading begins with."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[np.ndarray, int, list[int]]] = []

    def read(self, found, row, charset, words):
        ids = found.ids[row, : found.lengths[row]].tolist()
        self.found.append((np.array(found.log_probs[row]), int(found.counts[row]), ids))
        return []


def timed(lexicon: Lexicon, images: list) -> tuple[list[str], np.ndarray]:
    """Returns the best word of every image, and the seconds that each took."""
    words, seconds = [], []
    for image in tqdm(images, delay=3, disable=None):
        start = time.perf_counter()
        best = lexicon.best(*image)
        seconds.append(time.perf_counter() - start)
        words.append(best[0].text if best else "")
    return words, np.array(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, metavar="SPEC", help="kind:location")
    parser.add_argument("--lexicon", required=True, metavar="FILE", help="a word per line")
    parser.add_argument("--quick", action="store_true", help="all words are tried for 50 images")
    args = parser.parse_args()
    model, source = Recognizer.load(args.model), open_source(args.data)
    posteriors = _Posteriors()
    for _ in model.stream(
        range(len(source)), lambda i: model.preprocess(source.image_bytes(i)), 32, posteriors
    ):
        pass
    images = posteriors.found
    lexicon = Lexicon.load(args.lexicon, model.charset)
    timed(lexicon, images)  # compiles
    near, seconds = timed(lexicon, images)
    compared = images[:50] if args.quick else images
    lexicon_lib.SMALL = len(lexicon)  # as if it were a small one: every word is scored
    lexicon.best(*images[0])
    every, all_seconds = timed(lexicon, compared)
    equal = float(np.mean([a == b for a, b in zip(near, every, strict=False)]))
    median, all_median = 1e3 * np.median(seconds), 1e3 * np.median(all_seconds)
    print(
        f"{len(lexicon):,} words, {len(images)} images, {jax.devices()[0].device_kind}: "
        f"near words {median:.2f} ms (95 %: {1e3 * np.quantile(seconds, 0.95):.1f} ms), "
        f"all words {all_median:.0f} ms; the same word in {100 * equal:.1f} % of {len(compared)}"
    )
    result = {"ms": round(median, 3), "equal": round(equal, 4), "ratio": all_median / median}
    print(json.dumps(result | {"ratio": round(result["ratio"], 1)}))


if __name__ == "__main__":
    main()
