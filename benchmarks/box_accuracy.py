"""How well are characters found in images? Against the renderer, which knows where it drew them.

    python benchmarks/box_accuracy.py --model=runs/quickstart --preset=clean --preset=scene

Reads rendered words and looks at those that it reads right: intersection over union along x of
every character's box with the extent of its ink, and how many glyphs the middle of the box is off,
0 where it lies nearest to its own glyph. The last line is JSON; `ratio` is the mean IoU by 0.6.
"""

from __future__ import annotations

import argparse
import json

import jax
import numpy as np
from tqdm import tqdm

from crnn_jax.charset import build_charset
from crnn_jax.recognizer import Recognizer
from crnn_jax.synth import places, presets, renderer
from crnn_jax.synth.warp import Canvas

_BLOCK = 64


def rendered(preset: str, count: int, seed: int):
    """Yields images (H, W, 1), what they say, and where: pixels (L, 2)."""
    charset = build_charset("alnum62", "keep")
    canvas = Canvas(32, 512, channels=1, keep=True)
    render, assets = renderer.build_renderer(
        presets.get_preset(preset), charset, canvas, lambda width: width // 4, side="test"
    )
    assets = jax.device_put(assets)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, start + _BLOCK, dtype=np.uint32)
        keys = renderer.row_keys(np.uint32(seed), f"boxes {preset}", rows)
        batch, where = jax.device_get(places.program(render, assets, keys))
        for image, width, ids, length, place in zip(*batch, where, strict=True):
            text = charset.decode(ids[:length])
            yield image[:, :width], text, place[:length]


def compare(characters, place: np.ndarray) -> tuple[list[float], int]:
    """Returns the IoU of every character, and by how many glyphs the worst is off."""
    boxes = np.array([(c.x0, c.x1) for c in characters])
    over = np.minimum(boxes[:, 1], place[:, 1]) - np.maximum(boxes[:, 0], place[:, 0])
    union = np.maximum(boxes[:, 1], place[:, 1]) - np.minimum(boxes[:, 0], place[:, 0])
    middles, true = boxes.mean(axis=1), place.mean(axis=1)
    nearest = np.abs(middles[:, None] - true[None, :]).argmin(axis=1)
    off = int(np.abs(nearest - np.arange(len(nearest))).max())
    return (np.maximum(over, 0) / union).tolist(), off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--preset", action="append", default=[])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="512 images")
    args = parser.parse_args()
    model, results = Recognizer.load(args.model), []
    count = 512 if args.quick else args.images
    for preset in args.preset or ["clean", "scene"]:
        ious: list[float] = []
        offs: list[int] = []
        rows = list(tqdm(rendered(preset, count, args.seed), total=count, delay=3, disable=None))
        readings = model.read([image for image, _, _ in rows], batch_size=64)
        for reading, (_, text, place) in zip(readings, rows, strict=True):
            right = reading.text == model.charset.normalise(text)
            if right and len(place) == len(reading.characters) and np.isfinite(place).all():
                iou, off = compare(reading.characters, place)
                ious += iou
                offs.append(off)
        within = float(np.mean(np.array(offs) <= 1))
        result = {
            "preset": preset,
            "right": len(offs),
            "of": len(rows),
            "mean_iou": round(float(np.mean(ious)), 3),
            "median_iou": round(float(np.median(ious)), 3),
            "iou_below_0.3": round(float(np.mean(np.array(ious) < 0.3)), 4),
            "at_most_one_glyph_off": round(within, 4),
            "all_on_their_glyph": round(float(np.mean(np.array(offs) == 0)), 4),
        }
        results.append(result)
        print(result, flush=True)
    worst = min(r["mean_iou"] for r in results)
    print(json.dumps({"ratio": round(worst / 0.6, 3), "presets": results}))


if __name__ == "__main__":
    main()
