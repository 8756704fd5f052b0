"""Does bulk reading lose nothing, stay at its rate and in its memory? 100,000 images, killed twice.

    python benchmarks/bulk_reading.py --folder=DIR [--images=100000] [--model=tiny-latin] [--jobs=2]

Renders scenes into DIR/images_100000 (kept for the next time), every hundredth of them damaged, and
lets `crnn_jax.predict` read the folder into one file. Its processes are killed (SIGKILL, all at
once) after a tenth and after a fifth of the rows; the third start reads to the end. Then every
image must have one row, in order, and the damaged ones an error. Memory is the proportional set
size (PSS) of all its processes, sampled while the last start reads; the rate is that of the last
start, loading and compiling left out. The last line is JSON. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # the package of this checkout

from tqdm import tqdm

_EVERY = 100  # of which one is damaged
_SAMPLE = 1.0  # seconds


def draw(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Renders what is not there yet; returns all paths, in order."""
    from crnn_jax.data.sources import open_source

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:07d}.png" for i in range(count)]
    if paths[-1].exists():
        return paths
    source = open_source(f"synth:scene::seed=7,limit={count},charset=alnum62")
    for i, path in enumerate(tqdm(paths, unit="img", desc="rendering")):
        content = source.image_bytes(i)
        path.write_bytes(content[: len(content) // 2] if i % _EVERY == 50 else content)
    return paths


def family(pid: int) -> Iterator[int]:
    """Yields a process and all below it."""
    yield pid
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def megabytes(pid: int) -> float:
    """Returns the memory of a process and all below it, what they share counted once."""
    total = 0
    for member in family(pid):
        try:
            found = re.search(
                r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{member}/smaps_rollup").read_text(), re.M
            )
        except OSError:  # it has ended
            continue
        total += int(found[1]) if found else 0
    return total / 1e3


def rows_of(out: pathlib.Path) -> int:
    return out.read_bytes().count(b"\n") if out.exists() else 0


def read_until(
    command: list[str], out: pathlib.Path, rows: int
) -> tuple[float | None, list[tuple[int, float]]]:
    """Reads until there are so many rows, and kills it then, if it has not ended.

    Returns:
      images per second, from the first new row on, and (rows, MB) as they were on the way.
    """
    before = rows_of(out)
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    first: tuple[float, int] | None = None
    last = (time.monotonic(), before)
    samples = []
    while process.poll() is None:
        time.sleep(_SAMPLE)
        now = rows_of(out)
        if now > last[1]:
            last = time.monotonic(), now
            first = first or last
            samples.append((now, megabytes(process.pid)))
        if now >= rows and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            break
    rate = None
    if first and last[0] > first[0]:
        rate = (last[1] - first[1]) / (last[0] - first[0])
    return rate, samples


def memory(samples: list[tuple[int, float]]) -> dict[str, int | None]:
    """Returns MB in the course of a start; nulls for one that found nothing to read."""
    sizes = [size for _, size in samples]
    third = max(1, len(sizes) // 3)
    parts = {
        "MB, first third": sizes[:third],
        "MB, last third": sizes[-third:],
        "MB, most": sorted(sizes)[-1:],
    }
    return {name: round(statistics.median(part)) if part else None for name, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--model", default="tiny-latin")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    paths = draw(args.folder / f"images_{args.images}", args.images)
    out = args.folder / "readings.tsv"
    for old in (out, out.with_name(f"{out.name}.job")):
        old.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "crnn_jax.predict", f"--model={args.model}", f"--out={out}",
        f"--jobs={args.jobs}", str(paths[0].parent),
    ]  # fmt: skip
    for share in (0.1, 0.2):
        read_until(command, out, int(share * args.images))
        print(f"killed with {rows_of(out):,} rows", flush=True)
    rate, samples = read_until(command, out, sys.maxsize)

    rows = [line.split("\t") for line in out.read_text(encoding="utf-8").splitlines()]
    failed = [row[0] for row in rows if len(row) == 4]
    wrong = sum(row[0] != str(path) for row, path in zip(rows, paths, strict=False))
    found = {
        "images": args.images,
        "rows": len(rows),
        "out of place": wrong + abs(len(rows) - len(paths)),
        "refused": len(failed),
        "damaged": len(paths[50::_EVERY]),
        "damaged and refused": len(set(failed) & set(map(str, paths[50::_EVERY]))),
        "images/s": rate and round(rate),
        "jobs": args.jobs,
        **memory(samples),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
