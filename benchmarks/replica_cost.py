"""What do replicas cost? Time per step of R seeds in one program, by the way through them.

    python benchmarks/replica_cost.py --replicas=1,2,4,8

Trains the quickstart network on rendered scenes for some steps with every number of replicas and
every method of `config.replica_axis`, in turns, and prints the median time per step and per
replica, against a run of one seed. The table is Markdown; the last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time


def build(count: int, method: str, batch: int, encoder: str):
    """Returns a function that makes one step of so many replicas, and the seconds to compile it."""
    import jax

    from crnn_jax import cli, parallel, replicas, train
    from crnn_jax.data.training_set import open_training_set
    from crnn_jax.recognizer import preprocess_of

    config = cli.load_experiment(
        "quickstart",
        [
            ("data.train", "synth:scene"),
            ("data.eval", ""),
            ("replicas", str(count)),
            ("replica_axis", method),
            ("batch_size", str(batch)),
            ("model.encoder", encoder),
            ("devices", "1"),
        ],
    )
    layout = parallel.choose_layout(config)
    data = open_training_set(config, preprocess_of(config))
    model, tx, _ = train.build(config, data.charset.num_classes, warmup=1, total=100)
    create = jax.jit(functools.partial(train.create_train_state, config, model, tx))
    states = [create(seed) for seed in range(count)]
    state = replicas.place(states, layout)
    step = train.compile_train_step(model, tx, config, data.feed, layout)
    assets = layout.replicate(data.assets)
    start = time.perf_counter()
    step = step.lower(state, None, assets).compile()
    seconds = time.perf_counter() - start
    held = [state]

    def once() -> None:
        held[0], sums = step(held[0], None, assets)
        jax.block_until_ready(sums)

    once()
    return once, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--replicas", default="1,2,4,8", help="numbers of replicas")
    parser.add_argument("--methods", default="unrolled,vmap,map", help="of config.replica_axis")
    parser.add_argument("--batch", type=int, default=64, help="images of each replica per step")
    parser.add_argument("--encoder", default="tiny", help="as config.model.encoder")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each")
    args = parser.parse_args()
    counts = [int(text) for text in args.replicas.split(",")]
    cases = [(count, method) for count in counts for method in args.methods.split(",")]
    cases = [(count, method) for count, method in cases if count > 1]
    programs = {case: build(*case, args.batch, args.encoder) for case in [(1, "unrolled"), *cases]}
    seconds = {case: [] for case in programs}
    for _ in range(args.rounds):
        for case, (once, _) in programs.items():
            start = time.perf_counter()
            once()
            seconds[case].append(time.perf_counter() - start)
    medians = {case: statistics.median(values) for case, values in seconds.items()}
    alone = medians[1, "unrolled"]
    print("| replicas | method | ms per step | per replica, of a single run | seconds to compile |")
    print("|-|-|-|-|-|")
    rows = []
    for (count, method), median in medians.items():
        compiling = programs[count, method][1]
        share = median / count / alone
        print(f"| {count} | {method} | {1e3 * median:.0f} | {share:.2f} | {compiling:.0f} |")
        rows.append(
            {"replicas": count, "method": method, "seconds": median, "share": share}
            | {"compile_seconds": compiling}
        )
    import jax

    device = jax.devices()[0].device_kind
    print(json.dumps({"device": device, "batch": args.batch, "rows": rows}))


if __name__ == "__main__":
    main()
