"""What does a second look cost?

    python benchmarks/careful_cost.py --data=tsv:ic15_train::limit=500 --data=tsv:iiit5k_train

Reads each set as it is and carefully, in turns, both compiled beforehand. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time

from crnn_jax.careful import Careful
from crnn_jax.data.sources import open_source
from crnn_jax.recognizer import Recognizer

TURNS = 2  # after the first, which compiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="small-94", help="a run, a bundle or a shipped model")
    parser.add_argument("--data", action="append", required=True, metavar="SPEC", help="a set")
    args = parser.parse_args()
    model = Recognizer.load(args.model).in_windows()
    ways = {"as it is": model, "carefully": Careful(model)}
    results = []
    for spec in args.data:
        source = open_source(spec)
        images = [source.image_bytes(i) for i in range(len(source))]
        seconds = dict.fromkeys(ways, 0.0)
        for turn in range(1 + TURNS):
            for name, way in ways.items():
                before = time.perf_counter()
                for _ in way.stream(images, way.preprocess):
                    pass
                seconds[name] += (time.perf_counter() - before) * (turn > 0)
        rates = {name: TURNS * len(images) / s for name, s in seconds.items()}
        ratio = rates["as it is"] / rates["carefully"]
        told = ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items())
        print(f"{source.name}: {told}; carefully takes {ratio:.1f} times as long")
        results.append({"set": source.name, "images_per_second": rates, "ratio": ratio})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
