"""How fast do exported models read photographed words on a CPU, beside what others read with?

    pip install -e '.[onnx]' rapidocr tesserocr torch==2.13.0  # a peer that lacks is left out
    apt-get install tesseract-ocr
    python benchmarks/export_latency.py --data=tsv:svt_test::limit=200 --models tiny-latin

One at a time, in one thread, from pixels to text: all read twenty images in turn, then the next
twenty, and the median over images counts; beside it the time of the network alone. (In turn after
every image, each would find the processor's caches full of another's weights.) Peers are
PP-OCRv6's small recogniser as rapidocr brings it (ONNX, at its least width of 320 pixels, memory
arena on, no detection) and Tesseract 5 (`eng`, single word, in the same process). `paper` is the
paper's network with drawn weights, which reads nothing right. The other table: images per second of
the networks, batches of 32 in two threads, beside PyTorch with the paper's. Accuracy is of protocol
36. `ratio` says how many times as fast as PP-OCRv6 a row reads (of batches: as PyTorch). The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}  # Tesseract's; before it is loaded

import duel
import jax
import numpy as np
from PIL import Image

from crnn_jax import cli, runtime
from crnn_jax.bundle import open_model
from crnn_jax.bundle_file import Ancestor, Bundle
from crnn_jax.charset import build_charset
from crnn_jax.data.images import decode_image
from crnn_jax.data.sources import Source, open_source
from crnn_jax.exporting import metadata, quantize
from crnn_jax.exporting.onnx_model import to_onnx
from crnn_jax.metrics import apply_protocol
from crnn_jax.recognizer import network_of, preprocess_of

PEER, TORCH = "PP-OCRv6 small", "PyTorch, paper's"
BATCH, THREADS = 32, 2
TURN = 20  # images that one reads before the next reads them
_TESSDATA = "/usr/share/tesseract-ocr/5/tessdata"


class Side(NamedTuple):
    """Something that reads.

    Attributes:
      read: the text of an image (H, W, 3) uint8.
      network: runs the network alone, on prepared input of the median width; None: cannot be told.
      batch: the same of BATCH images in THREADS threads; None: cannot be told.
    """

    read: Callable[[np.ndarray], str]
    network: Callable[[], Any] | None = None
    batch: Callable[[], Any] | None = None


def paper() -> Bundle:
    """Returns the paper's network with drawn weights."""
    config = cli.load_experiment("paper36")
    charset = build_charset(config.charset)
    preprocess = preprocess_of(config)
    network = network_of(config, charset.num_classes)
    shape = (1, preprocess.height, preprocess.widest, preprocess.channels)
    drawn = network.init(jax.random.key(0), np.zeros(shape, np.uint8), np.array([shape[2]]))
    return Bundle(config, charset, drawn, (Ancestor("paper"),))


def exported(bundle: Bundle, source: Source, images: list[np.ndarray]) -> dict[str, Side]:
    """Returns a model as ONNX, in float32 and with 8 bits that a source's rows have calibrated."""
    recognizer = bundle.recognizer()
    model = to_onnx(recognizer)
    metadata.attach(model, bundle)
    small = quantize.quantize(model, recognizer.preprocess, source)
    return {
        name: ours(content.SerializeToString(), images)
        for name, content in ((bundle.name, model), (f"{bundle.name}, int8", small))
    }


def ours(content: bytes, images: list[np.ndarray]) -> Side:
    reader = runtime.Reader(runtime.open_session(content, 1))
    several = runtime.open_session(content, THREADS)
    prepare = reader.preprocess
    prepared = [prepare(runtime.load_image(image, prepare.channels)) for image in images]
    width = int(statistics.median(array.shape[1] for array in prepared))
    one, many = ours_input(prepare, 1, width), ours_input(prepare, BATCH, width)
    alone = runtime.open_session(content, 1)
    return Side(
        lambda image: reader.read([image], characters=False)[0].text,
        lambda: runtime.run_session(alone, *one),
        lambda: runtime.run_session(several, *many),
    )


def ours_input(
    preprocess: runtime.Preprocess, batch: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    shape = (batch, preprocess.height, width, preprocess.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return pixels, np.full(batch, width, np.int32)


def pp_ocr() -> Side | None:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        return None
    import cv2

    cv2.setNumThreads(1)

    def engine(threads: int) -> Any:
        settings = {
            "Global.text_score": 0.0,  # every reading counts, however unsure
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
        }
        made = RapidOCR(params=settings)
        blank = np.full((48, 320, 3), 255, np.uint8)
        made(blank, use_det=False, use_cls=False, use_rec=True)  # loads the recogniser
        return made

    alone, several = engine(1), engine(THREADS)

    def read(image: np.ndarray) -> str:
        # It takes channels in OpenCV's order.
        found = alone(image[..., ::-1], use_det=False, use_cls=False, use_rec=True)
        return " ".join(found.txts or ())

    height, width = alone.text_rec.rec_image_shape[1:]
    pixels = np.random.default_rng(0).random((BATCH, 3, height, width), np.float32) * 2 - 1
    return Side(
        read,
        lambda: alone.text_rec.session(pixels[:1]),
        lambda: several.text_rec.session(pixels),
    )


def tesseract() -> Side | None:
    try:
        import tesserocr
    except ImportError:
        return None
    api = tesserocr.PyTessBaseAPI(path=_TESSDATA, lang="eng", psm=tesserocr.PSM.SINGLE_WORD)

    def read(image: np.ndarray) -> str:
        api.SetImage(Image.fromarray(image))
        return api.GetUTF8Text().strip()

    return Side(read)


def pytorch() -> Side | None:
    try:
        import torch
        import torch_twin
    except ImportError:
        return None
    torch.set_num_threads(THREADS)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 100, 1), np.uint8)
    fastest: Any = None
    for setting in torch_twin.settings("cpu", compiled=False):
        reader = torch_twin.Reader("cpu", setting)
        placed = torch_twin.to_images(pixels, "cpu", setting)
        step = lambda r=reader, p=placed: r.read(p)  # noqa: E731
        seconds = min(duel.seconds_per_step({"": (step, lambda: None)}, 1.0, 3)[""])
        fastest = min((seconds, id(step), step), fastest or (np.inf, 0, None))
    return Side(lambda image: "", None, fastest[2])


def read_all(
    sides: dict[str, Side], images: list[np.ndarray], labels: list[str]
) -> list[dict[str, Any]]:
    """Lets all read the images in turns, alone in one thread; returns rows of the table."""
    names = list(sides)
    seconds = {name: [] for name in names}
    alone = {name: [] for name in names}
    right = dict.fromkeys(names, 0)
    for side in sides.values():
        for image in images[:5]:
            side.read(image)
    turns = [slice(first, first + TURN) for first in range(0, len(images), TURN)]
    for i, turn in enumerate(turns):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            for image, label in zip(images[turn], labels[turn], strict=True):
                start = time.perf_counter()
                text = sides[name].read(image)
                seconds[name].append(time.perf_counter() - start)
                right[name] += apply_protocol(text, "36") == apply_protocol(label, "36")
            if network := sides[name].network:
                for _ in range(TURN):
                    start = time.perf_counter()
                    network()
                    alone[name].append(time.perf_counter() - start)
    ms = {name: 1e3 * statistics.median(seconds[name]) for name in names}
    nets = {name: 1e3 * statistics.median(alone[name]) if alone[name] else None for name in names}
    return [
        {
            "reader": name,
            "word accuracy, %": None
            if name.startswith("paper")
            else 100 * right[name] / len(images),
            "ms per word": duel.significant(ms[name]),
            "network alone, ms": duel.significant(nets[name]),
            "ratio": duel.significant(ms[PEER] / ms[name]) if PEER in ms else None,
            "ratio, network alone": duel.significant(nets[PEER] / nets[name])
            if nets.get(PEER) and nets[name]
            else None,
        }
        for name in names
    ]


def throughput(sides: dict[str, Side], seconds: float, repetitions: int) -> list[dict[str, Any]]:
    """Times batches in two threads; returns rows of the table."""
    steps = {name: (s.batch, lambda: None) for name, s in sides.items() if s.batch}
    turns = duel.seconds_per_step(steps, seconds, repetitions)
    rates = {name: BATCH / duel.median(own) for name, own in turns.items()}
    return [
        {
            "network": name,
            "images/s": duel.significant(rate),
            "ratio": duel.significant(rate / rates[TORCH]) if TORCH in rates else None,
            "spread": round(duel.spread(turns[name]), 2),
        }
        for name, rate in rates.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="SPEC of photographed words")
    parser.add_argument("--models", nargs="*", default=["tiny-latin"])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn with batches")
    parser.add_argument("--repetitions", type=int, default=5, help="of such turns")
    args = parser.parse_args()
    duel.start()
    source = open_source(args.data)
    images = [decode_image(source.image_bytes(i), channels=3) for i in range(len(source))]
    labels = [source.label(i) for i in range(len(source))]
    # Ranges of activations for 8 bits come from rendered words, not from what is read here.
    rendered = open_source("synth:scene::seed=7002,limit=128,charset=alnum62")
    sides: dict[str, Side] = exported(paper(), rendered, images)
    for name in args.models:
        sides |= exported(open_model(name), rendered, images)
    for name, peer in ((PEER, pp_ocr()), ("Tesseract 5", tesseract())):
        if peer:
            sides[name] = peer
        else:
            print(f"{name} is not installed: left out", flush=True)
    alone = read_all(sides, images, labels)
    print(
        f"{len(images)} images of {source.name}, one at a time, one thread\n\n{duel.table(alone)}\n"
    )
    if peer := pytorch():
        sides[TORCH] = peer
    batches = throughput(sides, args.seconds, args.repetitions)
    print(f"batches of {BATCH}, {THREADS} threads\n\n{duel.table(batches)}\n")
    print(json.dumps({"images": len(images), "alone": alone, "batches": batches}))


if __name__ == "__main__":
    main()
