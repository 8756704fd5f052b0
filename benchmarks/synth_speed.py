"""How fast is scene text rendered, against Pillow and NumPy with comparable effects?

    python benchmarks/synth_speed.py [--quick]

Both sides draw grey 32 x 128 pictures of the same kinds of texts with the effects of the preset
`scene`, at its shares and ranges. The peer (`benchmarks/pillow_scenes.py`) runs in one process per
core, fed with nothing but seeds. Rounds alternate; medians; the last line is JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import statistics
import time

from pillow_scenes import HEIGHT, WIDTH, peer_chunk

CHUNK = 32  # images of the peer at once


def share_of_step(render, assets, batch: int, steps: int) -> float:
    """Returns which part of the paper's network's training step rendering takes."""
    import jax
    import jax.numpy as jnp

    from crnn_jax import config as config_lib
    from crnn_jax import train
    from crnn_jax.data.feeds import Feed, RenderedRows

    config = config_lib.default_config()
    config.batch_size = batch
    config.data.width = WIDTH
    model, tx, _ = train.build(config, num_classes=63, warmup=1, total=100)
    feed = Feed((RenderedRows("scene", render, batch, 0),))
    seconds = {}
    loaded = jax.jit(feed)((assets,), jnp.int32(0), None, jnp.uint32(0))
    for name, arguments in (
        ("loaded", (Feed(), loaded, ())),
        ("rendered", (feed, None, (assets,))),
    ):
        state = jax.jit(lambda: train.create_train_state(config, model, tx))()
        step = train.compile_train_step(model, tx, config, arguments[0])
        times = []
        for _ in range(steps + 1):
            start = time.perf_counter()
            state, sums = step(state, *arguments[1:])
            jax.block_until_ready(sums)
            times.append(time.perf_counter() - start)
        seconds[name] = statistics.median(times[1:])
    return 1 - seconds["loaded"] / seconds["rendered"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--batch", type=int, default=128, help="images of ours at once")
    parser.add_argument("--share", action="store_true", help="also: of the paper's training step")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))

    import jax
    import jax.numpy as jnp

    from crnn_jax.charset import build_charset
    from crnn_jax.memory import keep_freed_memory
    from crnn_jax.synth import presets, renderer
    from crnn_jax.synth.warp import Canvas

    keep_freed_memory()  # as all commands do
    render, assets = renderer.build_renderer(
        presets.get_preset("scene"),
        build_charset("alnum62"),
        Canvas(HEIGHT, WIDTH),
        lambda width: width // 4,
    )
    assets = jax.device_put(assets)
    program = jax.jit(
        lambda assets, start: render(
            assets, renderer.row_keys(0, "speed", start + jnp.arange(args.batch))
        )
    )
    start = time.perf_counter()
    jax.block_until_ready(program(assets, 0))
    compiling = time.perf_counter() - start

    rounds, batches, chunks = (3, 8, 8) if args.quick else (7, 24, 24)
    if jax.default_backend() != "cpu":
        batches *= 20
    ours, peers = [], []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(cores, mp_context=context) as pool:
        list(
            pool.map(peer_chunk, [range(i, i + CHUNK) for i in range(cores * 2)])
        )  # workers start, faces and textures load
        for number in range(rounds):
            start = time.perf_counter()
            for i in range(batches):
                last = program(assets, (number * batches + i) * args.batch)
            jax.block_until_ready(last)
            ours.append(batches * args.batch / (time.perf_counter() - start))
            starts = [CHUNK * (number * chunks + i) for i in range(chunks)]
            seeds = [range(start, start + CHUNK) for start in starts]
            start = time.perf_counter()
            list(pool.map(peer_chunk, seeds))
            peers.append(chunks * CHUNK / (time.perf_counter() - start))
            print(f"round {number}: ours {ours[-1]:,.0f}, Pillow {peers[-1]:,.0f} images/s")
    result = {
        "ratio": round(statistics.median(ours) / statistics.median(peers), 2),
        "images_per_second": round(statistics.median(ours)),
        "peer_images_per_second": round(statistics.median(peers)),
        "compile_seconds": round(compiling, 1),
        "batch": args.batch,
        "cores": cores,
        "device": jax.devices()[0].device_kind,
    }
    if args.share:
        share = share_of_step(render, assets, args.batch, 3 if args.quick else 20)
        result["share_of_training_step"] = round(share, 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
