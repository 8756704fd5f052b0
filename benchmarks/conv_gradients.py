"""Gradients of convolutions on a CPU: ours against those that XLA derives, layer by layer.

    taskset -c 0 python benchmarks/conv_gradients.py [--encoder tiny] [--loop]

Every convolution of an encoder that is not in a residual block, at 32 x 100; milliseconds of
processor time, the least of the turns. With `--loop` inside `lax.map`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import time

import duel
import jax

from crnn_jax.models import encoders
from crnn_jax.models.convolution import convolve
from crnn_jax.models.layers import output_size


def by_xla(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, stride, [(p, p) for p in padding], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def gradients(function, layer: encoders.Conv, loop: bool):
    """Returns the compiled function of (x, kernel, gradient of the output)."""

    def both(x, kernel, grad):
        def layer_of(x, kernel):
            return function(x, kernel, layer.stride, layer.padding)

        return jax.vjp(layer_of, x, kernel)[1](grad)

    def looped(x, kernel, grad):
        return jax.lax.map(lambda xs: both(xs[0], kernel, xs[1]), (x[None], grad[None]))

    return jax.jit(looped if loop else both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", default="vgg")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--loop", action="store_true", help="inside lax.map: XLA takes minutes")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    duel.start()
    size, depth, rows = (duel.HEIGHT, 100), 1, []
    for layer in encoders.get_encoder(args.encoder):
        shape = (args.batch, *size, depth)
        size = tuple(
            output_size(size[axis], layer.kernel[axis], layer.stride[axis], layer.padding[axis])
            for axis in (0, 1)
        )
        if not isinstance(layer, encoders.Conv):
            depth = getattr(layer, "features", depth)
            continue
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], shape)
        kernel = jax.random.normal(keys[1], (*layer.kernel, depth, layer.features))
        grad = jax.random.normal(keys[2], (args.batch, *size, layer.features))
        took = {}
        for name, function in (("ours", convolve), ("XLA's", by_xla)):
            program = gradients(function, layer, args.loop)
            jax.block_until_ready(program(x, kernel, grad))
            times = []
            for _ in range(args.repetitions):
                start = time.process_time()
                jax.block_until_ready(program(x, kernel, grad))
                times.append(time.process_time() - start)
            took[name] = 1e3 * min(times)
        rows.append(
            {"input": shape[1:], "kernel": kernel.shape, "stride": layer.stride}
            | {f"{name}, ms": duel.significant(ms) for name, ms in took.items()}
            | {"ratio": duel.significant(took["XLA's"] / took["ours"])}
        )
        print(duel.table(rows[-1:]).splitlines()[-1], flush=True)
        depth = layer.features
    duel.report(rows, encoder=args.encoder, batch=args.batch, loop=args.loop)


if __name__ == "__main__":
    main()
