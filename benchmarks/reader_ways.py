"""What do a language model and a second look bring the reader without JAX?

    pip install -e '.[onnx]'
    python benchmarks/reader_ways.py --model=small-94 --data tsv:svt_test tsv:ic03_test

Word accuracy by protocol 36 of the exported model by `greedy`, `beam`, with `english`, greedily
with a second look (`careful`), and with both; how long a word takes in one thread, of greedy
reading (twenty images in turn); and how many of the readings are those of the package. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from crnn_jax import runtime
from crnn_jax.careful import Careful
from crnn_jax.data.sources import open_source
from crnn_jax.decode import lm
from crnn_jax.decode.beam import Beam
from crnn_jax.metrics import apply_protocol
from crnn_jax.recognizer import Recognizer

TURN = 20  # images that one way reads before the next reads them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="small-94", help="a run, a bundle or a shipped model")
    parser.add_argument("--data", nargs="+", required=True, metavar="SPEC", help="kind:location")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "model.onnx")
        command = [sys.executable, "-m", "crnn_jax.export", f"--model={args.model}", "--to=onnx"]
        subprocess.run([*command, f"--out={out}", "--lm=english"], check=True)
        reader = runtime.Reader.load(out, threads=1)
        model = runtime.LanguageModel.load(out.with_name(runtime.lm_name(out.name)))
    package = Recognizer.load(args.model).in_windows()
    careful = Careful(package)
    decoder = Beam(model=lm.weighted("english", package.charset))
    theirs: dict[str, Callable[[list], list]] = {
        "greedy": package.read,
        "english": functools.partial(package.read, decoder=decoder),
        "careful": careful.read,
        "both": functools.partial(careful.read, decoder=decoder),
    }
    ways: dict[str, dict] = {
        "greedy": {"decoder": "greedy"},
        "beam": {"decoder": "beam"},
        "english": {"lm": model},
        "careful": {"careful": True},
        "both": {"lm": model, "careful": True},
    }
    results = {}
    for spec in args.data:
        source = open_source(spec)
        images = [source.image_bytes(i) for i in range(len(source))]
        labels = [apply_protocol(source.label(i), "36") for i in range(len(source))]
        found: dict[str, list[str]] = {name: [] for name in ways}
        seconds = dict.fromkeys(ways, 0.0)
        for start in range(0, len(images), TURN):
            for name, way in ways.items():
                before = time.perf_counter()
                for image in images[start : start + TURN]:
                    (reading,) = reader.read([image], characters=False, **way)
                    found[name].append(reading.text)
                seconds[name] += time.perf_counter() - before
        results[source.name] = {
            name: {
                "accuracy": round(
                    sum(apply_protocol(t, "36") == w for t, w in zip(texts, labels, strict=True))
                    / len(labels),
                    4,
                ),
                "times_greedy": round(seconds[name] / seconds["greedy"], 2),
            }
            for name, texts in found.items()
        }
        for name, read in theirs.items():
            same = sum(a == b.text for a, b in zip(found[name], read(images), strict=True))
            results[source.name][name]["as_package"] = f"{same} of {len(images)}"
        print(source.name, results[source.name], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
