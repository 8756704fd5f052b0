"""What are some labelled photographs worth? Fine-tuning, against no training and from scratch.

    python benchmarks/finetune_curve.py --model=runs/quickstart --out=runs/curve \\
        --words=tsv:ic15_train --group='word_(\\d*)\\d\\.' --validation=tsv:iiit5k_train

For each number of words the model is fine-tuned with its recipe (`crnn_jax.recipes`), and networks
of the same shape learn from scratch for as many images: from the same mixture of words and rendered
text, and from the words alone. All are read with 36 characters. 90 % of the words' groups may
train, the others are held out. The best checkpoint of a run is chosen on the validation set, whose
score is therefore a little too good; the held-out words choose nothing. Minutes include compiling
and 20 evaluations. The table is Markdown; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from crnn_jax import recipes
from crnn_jax.data.sources import open_source

_LABELS = ("--config.charset=alnum36", "--config.unknown=drop")


def train(workdir: pathlib.Path, experiment: str, *arguments: str) -> None:
    """Trains a run, or goes on with it; a finished one is left as it is."""
    command = [sys.executable, "-m", "crnn_jax.main", f"--config={experiment}"]
    subprocess.run([*command, f"--workdir={workdir}", *arguments], check=True)


def evaluate(model: pathlib.Path | str, sets: Sequence[str], out: pathlib.Path) -> dict[str, float]:
    """Returns a model's word accuracy on every SPEC, and leaves the results in a file."""
    command = [sys.executable, "-m", "crnn_jax.evaluate", f"--model={model}", f"--out={out}"]
    data = [f"--data={spec}" for spec in sets]
    subprocess.run([*command, *data, "--protocol=36"], check=True, stdout=subprocess.DEVNULL)
    return {s["name"]: s["word_accuracy"] for s in json.loads(out.read_text())["sets"]}


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Returns results as a Markdown table, a run to a line."""
    columns = list(next(iter(results.values())))
    lines = [f"| | {' | '.join(columns)} |", f"|-|{'-|' * len(columns)}"]
    for name, row in results.items():
        lines.append(f"| {name} | {' | '.join(format(row[c], '.3f') for c in columns)} |")
    return "\n" + "\n".join(lines)


def minutes(workdir: pathlib.Path) -> float:
    """Returns how long a finished run took."""
    return json.loads((workdir / "summary.json").read_text())["seconds"] / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="to go on from: a run of quickstart")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--words", required=True, metavar="SPEC", help="kind:location")
    parser.add_argument("--group", required=True, help="REGEX: what belongs together in a key")
    parser.add_argument("--validation", required=True, metavar="SPEC")
    parser.add_argument("--sizes", default="100,500,5000", help="words to train on, at most")
    args = parser.parse_args()

    held_out = f"{args.words}::split=90:100,group={args.group},name=held_out"
    sets = [f"{args.validation}::name=validation", held_out]
    args.out.mkdir(parents=True, exist_ok=True)
    before = evaluate(args.model, sets, args.out / "before.json")
    results = {"the model as it is": before | {"minutes": 0.0}}
    for size in map(int, args.sizes.split(",")):
        words = f"{args.words}::split=0:90,group={args.group},limit={size}"
        rows = len(open_source(words))
        replay = recipes.replay_share(rows)
        mixture = f"{1 - replay:g}*{words} + {replay:g}*synth:scene"
        budget = f"--config.total_examples={recipes.recipe(rows)['total_examples']}"
        common = [*_LABELS, f"--config.data.eval={sets[0]}", "--config.protocol=36"]
        ways = {
            "fine-tuned": (f"finetune:model={args.model},rows={rows}", mixture, []),
            "from scratch, the same mixture": ("quickstart", mixture, [budget]),
            "from scratch, the words alone": ("quickstart", words, [budget]),
        }
        for way, (experiment, given, more) in ways.items():
            workdir = args.out / f"{size}_{way.replace(' ', '_').replace(',', '')}"
            train(
                workdir, experiment, f"--config.data.train={given}", *common,
                "--config.eval_every_percent=5", *more,
            )  # fmt: skip
            scores = evaluate(workdir, sets, workdir / "results.json")
            scores |= {"minutes": minutes(workdir)}
            results[f"{rows:,} words, {way}"] = scores
            print(f"{rows} words, {way}: {scores}", flush=True)
    print(table(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
