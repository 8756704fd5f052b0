"""The process that is watched: gives one input after the other to a target, and tells of each.

    python tests/fuzz/fuzz_child.py TARGET FOLDER SEED FIRST STOP

A line of JSON before each input, and one after it.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
import time
import warnings


def random_of(seed: int, target: str, number: int) -> random.Random:
    """Returns what draws an input: a function of the run's seed, the target and the number."""
    return random.Random(f"{seed}/{target}/{number}")


def main(argv: list[str]) -> None:
    name, folder, seed, first, stop = argv[0], pathlib.Path(argv[1]), *map(int, argv[2:])
    from fuzz_targets import TARGETS, attempt

    from crnn_jax import cli

    cli.settle_process()
    sys.setswitchinterval(0.005)
    channel = sys.stdout

    def tell(**fields: object) -> None:
        channel.write(json.dumps(fields) + "\n")
        channel.flush()

    target = TARGETS[name](folder)
    target.warm_up()
    compiled = _compilations()
    warnings.simplefilter("always")  # a user would see each of them once, and so must we
    warnings.simplefilter("ignore", DeprecationWarning)  # of packages: Python hides it from users
    # As this one: Gradio leaves loops, which it makes for its locks, to the garbage collector.
    warnings.filterwarnings("ignore", "unclosed event loop", ResourceWarning)
    tell(ready=True)
    for number in range(first, stop):
        rng = random_of(seed, name, number)
        case = target.case(rng)
        tell(begin=number, kind=case.kind)
        start, before = time.process_time(), compiled()
        outcome, told = attempt(target, case, rng)
        seconds = time.process_time() - start - (compiled() - before)
        tell(end=number, outcome=outcome, told=told, seconds=round(max(seconds, 0), 4))


def _compilations():
    """Returns what tells the seconds that XLA has compiled for, which new shapes cost once."""
    if "jax" not in sys.modules:
        return lambda: 0.0
    from crnn_jax.startup import Compilations

    since = Compilations()
    return lambda: since.seconds


if __name__ == "__main__":
    main(sys.argv[1:])
