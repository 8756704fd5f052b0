"""Are the labels of rendered text right? An independent recogniser reads it.

    pip install rapidocr onnxruntime
    python benchmarks/read_renderings.py --preset=clean --preset=document --preset=scene

The recogniser is PP-OCRv6 (small) as the package rapidocr ships it. Texts are compared without
case, spaces and full-width forms (`text`), and by their letters and digits alone (`alnum`). A real
set (`--data=tsv:...`) shows what the same recogniser makes of photographs. `--misses=DIR` writes a
picture of the misses of each set. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
import unicodedata
from typing import Any

import numpy as np


def normal(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def alnum(text: str) -> str:
    return "".join(c for c in normal(text) if c.isascii() and c.isalnum())


def read_all(reader: Any, images: list[np.ndarray]) -> list[str]:
    found = []
    for image in images:
        colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        texts = reader(colour, use_det=False, use_cls=False, use_rec=True).txts
        found.append(texts[0] if texts else "")
    return found


def rendered(preset: str, count: int, height: int, charset: str, seed: int) -> list[Any]:
    from crnn_jax.synth.preview import rendered as render

    arguments = argparse.Namespace(
        preset=preset, height=height, width=height * 16, charset=charset, seed=seed,
        colour=False, squash=False,
    )  # fmt: skip
    return render(arguments, [], count)


def loaded(spec: str, count: int, height: int) -> list[Any]:
    from crnn_jax.synth.preview import beside

    arguments = argparse.Namespace(
        beside=spec, height=height, width=height * 16, colour=False, squash=False
    )
    return beside(arguments, count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", action="append", default=[])
    parser.add_argument("--data", action="append", default=[], metavar="SPEC")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--height", type=int, default=48, help="pixels; the recogniser's own is 48")
    parser.add_argument("--charset", default="latin94")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--misses", type=pathlib.Path, metavar="DIR")
    args = parser.parse_args()
    try:
        import rapidocr
    except ImportError:
        print("error: rapidocr is missing; pip install rapidocr onnxruntime", file=sys.stderr)
        return 2
    reader = rapidocr.RapidOCR(params={"Global.log_level": "error", "Global.text_score": 0.0})
    results = {}
    for name in [*args.preset, *args.data]:
        if name in args.preset:
            pairs = rendered(name, args.count, args.height, args.charset, args.seed)
        else:
            pairs = loaded(name, args.count, args.height)
        start = time.perf_counter()
        readings = read_all(reader, [image for image, _ in pairs])
        seconds = time.perf_counter() - start
        labels = [label for _, label in pairs]
        both = list(zip(labels, readings, strict=True))
        results[name] = {
            "text": round(np.mean([normal(a) == normal(b) for a, b in both]).item(), 4),
            "alnum": round(np.mean([alnum(a) == alnum(b) for a, b in both]).item(), 4),
            "count": len(both),
        }
        print(f"{name}: {results[name]}, {seconds:.0f} s", flush=True)
        if args.misses:
            from crnn_jax.pictures import labelled_grid

            wrong = [i for i, (a, b) in enumerate(both) if alnum(a) != alnum(b)][:120]
            texts = [f"{labels[i]}  |  {readings[i]}" for i in wrong]
            args.misses.mkdir(parents=True, exist_ok=True)
            grid = labelled_grid([pairs[i][0] for i in wrong], texts, 6)
            grid.save(args.misses / f"{name.replace('/', '_').replace(':', '_')}.png")
    print(json.dumps({"height": args.height, "sets": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
