"""Thousands of images and models that go wrong: none may crash, hang or eat memory.

    python tests/fuzz/fuzz.py --images=10000 --bundles=1000 --seed=0

Every input is either read, or refused in one line; it takes at most five seconds and the process
at most 2 GB. Inputs that do otherwise are kept in --out, with the command that repeats them. The
last line is JSON; the exit code is 1 where anything failed. One in some 1,500 exported models whose
graph is damaged ends the process inside of onnxruntime, which nothing here can catch.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from fuzz_child import random_of
from fuzz_predict import NAME as PREDICT
from fuzz_predict import predicted
from fuzz_targets import TARGETS
from fuzz_watch import Event, Limits, watched
from tqdm import tqdm

_COUNTS = {"images": "images", "reader": "images", PREDICT: "images", "bundles": "bundles",
           "models": "models", "demo": "requests"}  # fmt: skip
_SHOWN = 40  # kinds of refusals in the summary


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    limits = Limits(args.seconds, args.megabytes)
    whole: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        base = pathlib.Path(temporary)
        if {"reader", "models"} & set(args.targets):
            from fuzz_models import export
            from fuzz_targets import SMALL

            (base / "base.onnx").write_bytes(export(SMALL))
        for target in args.targets:
            count = getattr(args, _COUNTS[target])
            numbers = range(args.first, args.first + count)
            folder = base / target
            folder.mkdir()
            run = predicted if target == PREDICT else _of(target)
            events = run(folder, args.seed, numbers, limits)
            whole[target] = _tally(target, folder, events, count, args)
            print(f"{target}: {json.dumps(whole[target])}", flush=True)
    failures = sum(found["failures"] for found in whole.values())
    inputs = sum(found["inputs"] for found in whole.values())
    print(json.dumps({"inputs": inputs, "failures": failures, "seed": args.seed, **whole}))
    return 1 if failures else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, help="for each target of images")
    parser.add_argument("--bundles", type=int, default=1_000)
    parser.add_argument("--models", type=int, default=500, help="exported ones")
    parser.add_argument("--requests", type=int, default=500, help="of the demo, with Gradio")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=float, default=Limits().seconds)
    parser.add_argument("--megabytes", type=float, default=Limits().megabytes)
    there = [name for name in _COUNTS if name != "demo" or importlib.util.find_spec("gradio")]
    parser.add_argument("--targets", nargs="+", choices=list(_COUNTS), default=there)
    parser.add_argument("--out", default="fuzz-failures", help="folder for inputs that failed")
    return parser.parse_args(argv)


def _of(target: str) -> Callable[..., Iterator[Event]]:
    return lambda *args: watched(target, *args)


def _tally(
    target: str,
    folder: pathlib.Path,
    events: Iterator[Event],
    count: int,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Goes through a target's inputs; returns what is to be said of them."""
    outcomes: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    failed: list[dict[str, Any]] = []
    slowest, most = (0.0, -1, ""), (0.0, -1, "")
    start = time.monotonic()
    with tqdm(total=count, desc=target, unit="input", mininterval=5) as bar:
        for event in events:
            bar.update()
            outcomes[event.outcome] += 1
            slowest = max(slowest, (event.seconds, event.number, event.kind))
            most = max(most, (round(event.megabytes), event.number, event.kind))
            if event.outcome == "refused":
                refusals[_kind(event.told)] += 1
            elif event.outcome == "failed":
                failed.append(_keep(target, folder, event, args))
                bar.write(f"{target} {event.number} ({event.kind}): {event.told[-300:]}")
    told = dict(refusals.most_common(_SHOWN))
    return {
        "inputs": sum(outcomes.values()),
        "readings": outcomes["read"],
        "refusals": outcomes["refused"],
        "failures": outcomes["failed"],
        "slowest": slowest,
        "most_megabytes": most,
        "seconds": round(time.monotonic() - start, 1),
        "kinds_of_refusals": len(refusals),
        "kinds": told,
        "failed": failed[:20],
        "stderr": _stderr(folder),
    }


def _kind(told: str) -> str:
    """Returns a refusal without what is different from input to input."""
    told = re.sub(r"\S*/\S*?(?=[: ])", "PATH", told)
    told = re.sub(r"b?(['\"]).*?\1", "'...'", told)
    return re.sub(r"[\d.,]*\d", "N", told)[:90]


def _keep(
    target: str, folder: pathlib.Path, event: Event, args: argparse.Namespace
) -> dict[str, Any]:
    """Writes a failing input, and what repeats it, into the folder of failures."""
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    again = (
        f"python tests/fuzz/fuzz.py --targets {target} --seed={args.seed} --first={event.number} "
        f"--{_COUNTS[target]}=1"
    )
    name = out / f"{target}-{args.seed}-{event.number}"
    content = b""
    for source in (folder / "images").glob(f"{event.number:06}*"):
        content = source.read_bytes()
    if target in TARGETS and event.number >= args.first:
        case = _case(target, folder, random_of(args.seed, target, event.number))
        content = case.content if isinstance(case.content, bytes) else repr(case.content).encode()
    name.with_suffix(".bin").write_bytes(content)
    told = {"kind": event.kind, "told": event.told, "again": again}
    name.with_suffix(".json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return {"number": event.number, "kind": event.kind, "told": event.told[-400:]}


def _case(target: str, folder: pathlib.Path, rng: Any) -> Any:
    """Returns an input once more; without a target's process, which may have ended with it."""
    if target == "demo":
        from fuzz_demo import request_case

        return request_case(rng)
    made = object.__new__(TARGETS[target])
    if target == "bundles":
        from fuzz_targets import SMALL

        from crnn_jax import shipped

        made._base = shipped.find(SMALL).read_bytes()
    elif target == "models":
        made._base = (folder.parent / "base.onnx").read_bytes()
    return made.case(rng)


def _stderr(folder: pathlib.Path) -> str:
    """Returns the end of what processes wrote past Python's streams: crashes, libraries' notes."""
    path = folder / "stderr.txt"
    if folder.name == PREDICT or not path.exists():  # whose lines have been checked
        return ""
    return path.read_text("utf-8", "replace")[-600:]


if __name__ == "__main__":
    sys.exit(main())
