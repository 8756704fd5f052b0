"""What does rendered text teach? Small networks trained on it, judged on photographs.

    python benchmarks/realism.py --out=runs/realism --table=presets \\
        --data=tsv:iiit5k_train --data=tsv:svt_test

Trains the quickstart network for the same number of images on each preset and on the words that
Pillow draws (table `presets`), or on `scene` with one part of the network or of its data changed,
in all faces of `make fonts` (table `parts`); and evaluates each on the given sets (36 characters,
greedy). Finished runs are kept, so that the command goes on where
it was stopped; several of them side by side, each with `--only` and on a core of its own
(`taskset -c 0`), are up to 1.7 times as fast as one that has two cores. The table is Markdown; the
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import training_runs

PARTS = {  # what is changed -> overrides of a run on `scene` with all faces
    "as it is": {},
    "no recurrence": {"model.recurrence": "none"},
    "LSTM, one direction": {"model.bidirectional": "False"},
    "GRU": {"model.recurrence": "gru"},
    "two layers of LSTM": {"model.layers": "2"},
    "CTC before the recurrence, too": {"model.auxiliary": "0.3"},
    "64 pixels wide": {"data.width": "64"},
    "128 pixels wide": {"data.width": "128"},
    "160 pixels wide": {"data.width": "160"},
    "16 faces": {"synth.atlas": ""},
    "no textures": {"synth.texture_share": "0", "synth.ink_texture_share": "0"},
    "photographs as grounds": {"synth.textures": "../shared/data/textures"},
    "preset clean": {"data.train": "synth:clean"},
    "94 characters": {"charset": "latin94"},
    "encoder small": {"model.encoder": "small"},
    "encoder resnet": {"model.encoder": "resnet"},
    "encoder vgg": {"model.encoder": "vgg"},
}


def runs(table: str) -> dict[str, list[str]]:
    """Returns the arguments of every run of a table, by its name."""
    if table == "presets":
        names = ("plain", "clean", "document", "receipt", "scene", "captcha")
        found = {name: [f"--config.data.train=synth:{name}"] for name in names}
        found["Pillow words"] = ["--config.data.train=tfds:rendered_words/train"]
        return found
    base = {"data.train": "synth:scene", "synth.atlas": "build/fonts.npz"}
    return {
        name: [f"--config.{key}={value}" for key, value in (base | changed).items()]
        for name, changed in PARTS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--table", choices=("presets", "parts"), default="presets")
    parser.add_argument("--data", action="append", required=True, metavar="SPEC")
    parser.add_argument("--images", type=int, default=50_000, help="that each run trains on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", default=[""], help="entries whose names hold one of these"
    )
    args = parser.parse_args()
    results = {}
    for name, arguments in runs(args.table).items():
        if not any(part in name for part in args.only):
            continue
        folder = "".join(c if c.isalnum() else "_" for c in name)
        workdir = args.out / f"{folder}_{args.images}_{args.seed}"
        training_runs.train(
            workdir, "quickstart", "--config.data.eval=",
            f"--config.total_examples={args.images}", f"--config.seed={args.seed}", *arguments,
        )  # fmt: skip
        results[name] = training_runs.evaluate(workdir, args.data)
        print(name, results[name], flush=True)
    print(training_runs.table(args.table, results))
    print(json.dumps({"images": args.images, "seed": args.seed, "results": results}))


if __name__ == "__main__":
    main()
