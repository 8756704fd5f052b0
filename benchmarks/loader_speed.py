"""How fast are batches of real images loaded, against PyTorch's DataLoader on the same LMDB?

    python benchmarks/loader_speed.py --data=lmdb:sroie_train.lmdb

Both read the encoded images from the LMDB, decode, resize to height 32 with the aspect kept (at
most 512 pixels), pad and batch 64 rows in shuffled order, without augmentation. Ours are the
batches of a training run, once with threads and once with two worker processes. The peer is a
Dataset over the LMDB as deep-text-recognition-benchmark's, in a DataLoader with two workers: once
as such recognisers write it, tensors of float32 from -1 to 1 padded to the widest of the batch, and
once in bytes, as ours are. Everything decodes and resizes with Pillow; `--opencv` measures the peer
with OpenCV, too, where it is installed. Turns alternate, medians count; the last line is JSON.
`--memory` reads three epochs of ours instead and prints the resident memory after each.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator

import numpy as np

BATCH, HEIGHT, WIDEST, WORKERS = 64, 32, 512, 2


class LmdbImages:
    """The peer's Dataset: opened in the worker, an item is an image and its text.

    Args:
      folder: of the LMDB.
      form: "tensor", "bytes" or "opencv".
      count: rows; the process that makes it has the LMDB open already.
    """

    def __init__(self, folder: str, form: str, count: int):
        self.folder, self.form, self.count, self.environment = folder, form, count, None

    def _get(self, key: bytes) -> bytes:
        import lmdb

        if self.environment is None:
            self.environment = lmdb.open(
                self.folder, readonly=True, lock=False, readahead=False, meminit=False
            )
        with self.environment.begin() as reader:
            return reader.get(key)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int):
        data, text = self._get(b"image-%09d" % (i + 1)), self._get(b"label-%09d" % (i + 1)).decode()
        if self.form == "opencv":
            import cv2

            grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            height, width = grey.shape
            return cv2.resize(grey, (target(width, height), HEIGHT)), text
        from PIL import Image

        image = Image.open(io.BytesIO(data))
        image = image.convert("L")
        size = target(*image.size), HEIGHT
        pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))
        if self.form == "bytes":
            return pixels, text
        import torch

        return torch.from_numpy(pixels)[None].float().div_(255).sub_(0.5).div_(0.5), text


def target(width: int, height: int) -> int:
    return min(max(round(width * HEIGHT / height), 16), WIDEST)


def collate(items):
    """Pads a batch to its widest image."""
    import torch

    images, texts = zip(*items, strict=True)
    widest = max(image.shape[-1] for image in images)
    first = images[0]
    if isinstance(first, np.ndarray):
        batch = np.zeros((len(images), HEIGHT, widest), np.uint8)
        for row, image in enumerate(images):
            batch[row, :, : image.shape[1]] = image
        return torch.from_numpy(batch), texts
    batch = torch.zeros((len(images), 1, HEIGHT, widest))
    for row, image in enumerate(images):
        batch[row, :, :, : image.shape[-1]] = image
    return batch, texts


def peer(folder: str, form: str, count: int) -> Iterator[None]:
    """Yields after every batch of PyTorch's DataLoader, for ever."""
    import torch

    loader = torch.utils.data.DataLoader(
        LmdbImages(folder, form, count), BATCH, shuffle=True, num_workers=WORKERS,
        collate_fn=collate, drop_last=True, persistent_workers=True,
        multiprocessing_context="spawn",
    )  # fmt: skip
    for _ in itertools.count():
        for _ in loader:
            yield


class Ours:
    """The batches of a training run on the set."""

    def __init__(self, spec: str):
        from crnn_jax import cli
        from crnn_jax.data.training_set import open_training_set
        from crnn_jax.recognizer import preprocess_of

        config = cli.load_experiment(
            "words",
            [
                ("data.train", spec),
                ("data.eval", ""),
                ("charset", "from_data"),
                ("batch_size", str(BATCH)),
                ("data.height", str(HEIGHT)),
                ("data.max_width", str(WIDEST)),
            ],
        )
        self.data = open_training_set(config, preprocess_of(config))

    def batches(self, workers: int, stop: int = 10**6) -> Iterator[object]:
        from crnn_jax.data.pipeline import train_batches

        data = self.data
        return train_batches(
            data.index, data.plan, data.preprocess, 0, stop, data.label_length, workers
        )


def measure(spec: str, folder: str, args: argparse.Namespace) -> dict[str, float]:
    """Returns images per second of every side, medians of turns."""
    ours = Ours(spec)
    sides = {"ours, threads": ours.batches(0), f"ours, {WORKERS} workers": ours.batches(WORKERS)}
    forms = ["tensor", "bytes", *(["opencv"] if args.opencv else [])]
    sides |= {f"DataLoader, {form}": peer(folder, form, len(ours.data.index)) for form in forms}
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(args.repetitions + 1):
        for name, side in sides.items():
            # What the workers did while others were measured must not count.
            for _ in itertools.islice(side, args.ahead):
                pass
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < args.seconds:
                next(side)
                count += 1
            if repetition:  # the first turn is for caches and start-up
                turns[name].append(count * BATCH / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in turns.items()}


def watch_memory(spec: str) -> None:
    """Reads three epochs of ours, and prints the resident memory after each."""
    ours = Ours(spec)
    steps = ours.data.steps_per_epoch
    for step, _ in enumerate(ours.batches(0, 3 * steps), start=1):
        if step % steps == 0:
            with open("/proc/self/statm", encoding="ascii") as file:
                pages = [int(field) for field in file.read().split()]
            anonymous = (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            print(f"after epoch {step // steps}: {anonymous:.0f} MiB resident, files aside")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="lmdb:DIR")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--ahead", type=int, default=24, help="batches left out of every turn")
    parser.add_argument("--opencv", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.repetitions = 2.0, 3
    if args.memory:
        watch_memory(args.data)
        return
    speeds = measure(args.data, args.data.partition(":")[2], args)
    best = max(value for name, value in speeds.items() if name.startswith("ours"))
    for name, value in speeds.items():
        print(f"{name:<24} {value:8.0f} images/s")
    same = speeds["DataLoader, bytes"]
    print(
        json.dumps(
            {
                "ratio": best / speeds["DataLoader, tensor"],
                "ratio_same_decoder_and_form": best / same,
                "images_per_second": speeds,
                "decoder": "Pillow",
            }
        )
    )


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn", force=True)
    main()
