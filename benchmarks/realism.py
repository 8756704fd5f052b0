"""What does rendered text teach? Small networks trained on it, judged on photographs.

    python benchmarks/realism.py --out=runs/realism --table=presets \\
        --data=tsv:iiit5k_train --data=tsv:svt_test

Trains the quickstart network for the same number of images on each preset and on the words that
Pillow draws (table `presets`), on `scene` with one thing left out at a time (table `knobs`), with
more faces (`make fonts` first) or without standardized images (table `others`), or with one part of
the network or of its data changed, on all faces of `make fonts` (table `parts`); and evaluates each
on the given sets (36 characters, greedy). Finished runs are kept, so that the command goes on where
it was stopped; several of them side by side, each with `--only` and on a core of its own
(`taskset -c 0`), are up to 1.7 times as fast as one that has two cores. The table is Markdown; the
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import training_runs

OFF = {  # group of knobs -> overrides of `scene`
    "no calm images": {"calm_share": "0"},
    "no texture": {"texture_share": "0", "ink_texture_share": "0"},
    "no perspective": {"perspective_share": "0"},
    "no rotation, slant": {"rotation_share": "0", "slant_share": "0"},
    "no arc, wave, elastic": {"arc_share": "0", "wave_share": "0", "elastic_share": "0"},
    "no blur, low resolution": {
        "blur_share": "0", "motion_share": "0", "defocus_share": "0", "lowres_share": "0"
    },
    "no noise of any kind": {
        "noise_share": "0", "shot_share": "0", "speckle_share": "0", "salt_share": "0"
    },
    "no outline, shadow, glow, bevel": {
        "outline_share": "0", "shadow_share": "0", "glow_share": "0", "bevel_share": "0"
    },
    "one weight of strokes": {"weight": "0:0"},
    "words equally often": {"temper": "0"},
}  # fmt: skip

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
    scene = ["--config.data.train=synth:scene"]
    if table == "parts":
        base = {"data.train": "synth:scene", "synth.atlas": "build/fonts.npz"}
        return {
            name: [f"--config.{key}={value}" for key, value in (base | changed).items()]
            for name, changed in PARTS.items()
        }
    if table == "others":
        return {
            "scene": scene,
            "all faces of make fonts": [*scene, "--config.synth.atlas=build/fonts.npz"],
            "pixels not standardized": [*scene, "--config.model.standardize=False"],
        }
    return {"scene": scene} | {
        name: [*scene, *(f"--config.synth.{key}={value}" for key, value in knobs.items())]
        for name, knobs in OFF.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--table", choices=("presets", "knobs", "others", "parts"), default="presets"
    )
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
