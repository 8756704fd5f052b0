"""The command `predict` over a folder of images that go wrong: one process for all of them."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator

from fuzz_child import random_of
from fuzz_images import image_case
from fuzz_targets import MODEL, Wrong, odd_path, one_line
from fuzz_watch import Event, Limits, Process

NAME = "predict"
_ODD = ("/dev/null", "/proc/self/mem", "broken link", "fifo", "loop", "missing", "/dev/zero")
_START = 300  # seconds of work until the first line: the model is loaded, programs are compiled
_BETWEEN = 60  # between lines, which come in order and in batches, some after one more compiling


def write_images(folder: pathlib.Path, seed: int, numbers: range) -> dict[str, str]:
    """Writes the images of a folder; returns what was done to them, by path."""
    kinds = {}
    for number in numbers:
        rng = random_of(seed, NAME, number)
        case = image_case(rng, in_memory=False)
        while isinstance(case.content, str):  # a folder's odd paths are left out by the command
            case = image_case(rng, in_memory=False)
        suffix = rng.choice(("", " ", "\n", "é", "\x1b[31m")) if rng.random() < 0.02 else ""
        path = folder / f"{number:06}{suffix}{case.suffix}"
        path.write_bytes(case.content)
        kinds[str(path)] = case.kind
    return kinds


def predicted(folder: pathlib.Path, seed: int, numbers: range, limits: Limits) -> Iterator[Event]:
    """Yields what becomes of each image of a folder, and of some paths that are no files."""
    images = folder / "images"
    images.mkdir()
    kinds = write_images(images, seed, numbers)
    odd = [odd_path(name, folder) for name in _ODD]
    listed = folder / "list.txt"
    listed.write_bytes(
        b"".join(name + b"\n" for name in (b"a\0b.png", b"\xff.png", b" ", b"x" * 9999))
    )
    errors = folder / "stderr.txt"
    argv = [sys.executable, "-X", "faulthandler", "-m", "crnn_jax.predict", "--format=json"]
    argv += [f"--model={MODEL}", str(images), *odd, f"--images_from={listed}"]
    process = Process(argv, errors)
    expected, seen, refused, peak = len(kinds) + len(odd) + 4, 0, [], 0.0
    try:
        while (
            text := process.line(_BETWEEN if seen else _START, 2 * limits.megabytes)
        ) is not None:
            row = json.loads(text)
            number = numbers.start + seen
            seen += 1
            outcome, told = _judged(row)
            if "error" in row:
                refused.append(row["error"])
            peak = max(peak, process.most)
            kind = kinds.get(row["path"], "odd path")
            yield Event(number, kind, outcome, told, 0.0, process.most)
    except (TimeoutError, MemoryError) as error:
        told = f"{type(error).__name__} after {seen} of {expected} images"
        yield Event(numbers.start + seen, "command", "failed", told, 0.0, process.most)
        return
    finally:
        code = process.end()
    lines = errors.read_text("utf-8", "replace").splitlines()
    last = f"{len(refused)} of {expected} images could not be read"
    wrong = ""
    if seen != expected or code != 1:
        wrong = f"{seen} of {expected} lines, exit code {code}: {lines[-3:]}"
    elif len(lines) != len(refused) + 1 or lines[-1] != last:
        known = set(refused)
        strange = [line for line in lines if line not in known]
        wrong = f"{len(lines)} lines on stderr for {len(refused)} refusals: {strange[:5]}"
    elif peak > limits.megabytes:
        wrong = f"takes {peak:.0f} MB"
    if wrong:
        yield Event(numbers.start + seen, "command", "failed", wrong, 0.0, peak)


def _judged(row: dict) -> tuple[str, str]:
    """Returns what a line of the command tells: "read", "refused" or "failed", and the error."""
    try:
        if "error" in row:
            return "refused", one_line(ValueError(row["error"]))
        for key in ("text", "confidence", "chars", "alternatives"):
            if key not in row:
                raise Wrong(f"a line without {key}: {row}")
        sure = [row["confidence"], *(c["confidence"] for c in row["chars"])]
        if not all(0 <= value <= 1 for value in sure):
            raise Wrong(f"confidences that are none: {row}")
    except Wrong as error:
        return "failed", str(error)
    return "read", ""
