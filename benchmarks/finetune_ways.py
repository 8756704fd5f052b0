"""Fine-tuning: what is augmentation worth, and what some of the weights that it began with?

    python benchmarks/finetune_ways.py --model=tiny-latin --out=runs/ways \\
        --words=tsv:ic15_train --group='word_(\\d*)\\d\\.' --other=tsv:iiit5k_train

For each number of words and each preset of augmentation the model is fine-tuned with its recipe
(`crnn_jax.recipes`). 80 % of the words' groups may train, the next tenth chooses the checkpoint and
the last one is read at the end, as is a set of another kind; both by 36 characters. Every result is
read with some shares of the first weights in it, too (`bundle --mix`). The table is Markdown; the
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys

from finetune_curve import evaluate, table, train

from crnn_jax import recipes
from crnn_jax.data.sources import open_source


def mixed(run: pathlib.Path, model: str, share: float) -> pathlib.Path:
    """Returns a run with a share of the first weights; the run itself where that is none."""
    if not share:
        return run
    out = run / f"mixed_{share:g}.crnn"
    command = [sys.executable, "-m", "crnn_jax.bundle", f"--run={run}", f"--out={out}"]
    subprocess.run([*command, f"--mix={model}", f"--share={share}"], check=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="to go on from")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--words", required=True, metavar="SPEC", help="kind:location")
    parser.add_argument("--group", required=True, help="REGEX: what belongs together in a key")
    parser.add_argument("--other", required=True, metavar="SPEC", help="words of another kind")
    parser.add_argument("--sizes", default="100,500,5000", help="words to train on, at most")
    parser.add_argument("--augment", default=",clean,document", help="presets; empty is none")
    parser.add_argument("--shares", default="0,0.25,0.5", help="of the first weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    group = f"::group={args.group}"
    held_out = f"{args.words}{group},split=90:100,name=held_out"
    sets = [held_out, f"{args.other}::name=other"]
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"the model as it is": evaluate(args.model, sets, args.out / "before.json")}
    for size in map(int, args.sizes.split(",")):
        words = f"{args.words}{group},split=0:80,limit={size}"
        rows = len(open_source(words))
        replay = recipes.replay_share(rows)
        for preset in args.augment.split(","):
            run = args.out / f"{size}_{preset or 'none'}_{args.seed}"
            train(
                run, f"finetune:model={args.model},rows={rows}",
                f"--config.data.train={1 - replay:g}*{words} + {replay:g}*synth:scene",
                f"--config.data.eval={args.words}{group},split=80:90",
                f"--config.data.augment={preset}", "--config.protocol=36",
                f"--config.seed={args.seed}",
            )  # fmt: skip
            for share in map(float, args.shares.split(",")):
                name = f"{rows:,} words, {preset or 'none'}, {share:g}"
                model = mixed(run, args.model, share)
                results[name] = evaluate(model, sets, run / f"results_{share:g}.json")
                print(name, results[name], flush=True)
    print(table(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
