"""What is fuzzed: targets that take an input, and either read it or refuse it in one line."""

from __future__ import annotations

import contextlib
import io
import math
import os
import pathlib
import random
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fuzz_bundles import bundle_case
from fuzz_images import ODD_PATHS, Case, image_case, seeds
from PIL import Image

MODEL = "tiny-latin"
SMALL = "quickstart"  # of the shipped models the one whose bundle is smallest
_MOST = 1300  # characters of a line

TAKEN = (bytes, str, os.PathLike, np.ndarray, Image.Image)  # what may be given as an image


class Wrong(AssertionError):
    """A target did what it must not do."""


def one_line(error: Exception) -> str:
    """Returns an error's message; raises Wrong where it is not one line that people can read."""
    message = str(error)
    if (
        len(message.splitlines()) != 1
        or len(message) > _MOST + len(os.getcwd())
        or not message.strip()
    ):
        raise Wrong(f"refused, but not in one line: {message!r:.1000}")
    if re.search("[\x00-\x1f\x7f-\x9f]", message):
        raise Wrong(f"the message holds characters that terminals obey: {message!r:.1000}")
    return message


def check_reading(reading: Any) -> None:
    """Raises Wrong for what is no reading."""
    sure = [reading.confidence, *(c.confidence for c in reading.characters)]
    places = [x for c in reading.characters for x in (c.x0, c.x1)]
    if not all(0 <= value <= 1 for value in sure) or not all(map(math.isfinite, places)):
        raise Wrong(f"confidences or places that are none: {reading!r:.500}")


def check_pixels(image: Any, preprocess: Any) -> None:
    """Raises Wrong where an image is not made what a model reads, or its header says otherwise."""
    from crnn_jax.data.images import image_size

    pixels = preprocess(image)
    width = pixels.shape[1]
    if isinstance(image, bytes | str | os.PathLike):
        width = preprocess.target_width(*image_size(image))
    if pixels.dtype != np.uint8 or pixels.shape != (preprocess.height, width, preprocess.channels):
        raise Wrong(f"pixels {pixels.dtype} {pixels.shape} of an image {width} wide")


def placed(case: Case, folder: pathlib.Path, as_path: bool) -> Any:
    """Returns what a target is given: the content of a case itself, or the path of its file."""
    content = case.content
    if isinstance(content, str):
        return odd_path(content, folder)
    if not isinstance(content, bytes) or not as_path:
        return content
    path = folder / f"input{case.suffix}"
    path.write_bytes(content)
    return path


def odd_path(name: str, folder: pathlib.Path) -> str:
    """Returns a path that is no regular file, or none at all; makes what has to be there."""
    path = folder / name.replace(" ", "_")
    if name.startswith("sparse "):
        with open(path, "wb") as file:
            file.write(b"PK\x03\x04")
            file.truncate(int(name.removeprefix("sparse ")))
    elif name not in ODD_PATHS or name.startswith("/"):
        return name
    elif name == "long name":
        return str(folder / ("a" * 5000))
    elif name == "NUL in the name":
        return f"{folder}/a\0b.png"
    elif name == "below a file":
        path.write_bytes(b"")
        return str(path / "x.png")
    elif not os.path.lexists(path) and name != "missing":
        make: dict[str, Callable] = {
            "fifo": os.mkfifo,
            "folder": os.mkdir,
            "loop": lambda p: os.symlink(p, p),
            "broken link": lambda p: os.symlink(f"{p} is not there", p),
        }
        make[name](path)
    return str(path)


class Images:
    """`Recognizer.read`, and `Preprocess` as other models want it: in colour, or wide."""

    def __init__(self, folder: pathlib.Path):
        from crnn_jax.data.images import Preprocess
        from crnn_jax.recognizer import Recognizer

        self._folder = folder
        self._model = Recognizer.load(MODEL)
        self._others = [
            Preprocess(channels=3),
            Preprocess(height=48, fit="keep", min_width=8, max_width=9000),
        ]

    def warm_up(self) -> None:
        """Compiles what is compiled once for many images, for texts of several lengths."""
        noise = np.random.default_rng(0).integers(0, 256, (32, 128), np.uint8)
        for image in (seeds()["PNG L"], noise, np.full((32, 128), 255, np.uint8)):
            self._model.read([image])

    def case(self, rng: random.Random) -> Case:
        return image_case(rng)

    def run(self, case: Case, rng: random.Random) -> str | None:
        from crnn_jax.errors import DataError

        given = placed(case, self._folder, rng.random() < 0.5)
        try:
            if rng.random() < 0.3:
                check_pixels(given, rng.choice(self._others))
                return None
            (reading,) = self._model.read([given])
        except DataError as error:
            return one_line(error)
        check_reading(reading)
        return None


class Reader:
    """The reader that stands alone, with a model of ONNX."""

    def __init__(self, folder: pathlib.Path):
        from crnn_jax import runtime

        self._folder, self._lib = folder, runtime
        self._reader = runtime.Reader.load(folder.parent / "base.onnx", threads=1)

    def warm_up(self) -> None:
        self._reader.read([seeds()["PNG L"]])

    def case(self, rng: random.Random) -> Case:
        return image_case(rng)

    def run(self, case: Case, rng: random.Random) -> str | None:
        given = placed(case, self._folder, rng.random() < 0.5)
        try:
            (reading,) = self._reader.read([given])
        except self._lib.ReadError as error:
            return one_line(error)
        check_reading(reading)
        return None


class Models:
    """`runtime.Reader.load` of exported models, and reading an image with what loads."""

    def __init__(self, folder: pathlib.Path):
        from crnn_jax import runtime

        self._folder, self._lib = folder, runtime
        self._base = (folder.parent / "base.onnx").read_bytes()

    def warm_up(self) -> None:
        self.run(Case("good", self._base, ".onnx"), random.Random(0))

    def case(self, rng: random.Random) -> Case:
        from fuzz_models import model_case

        return model_case(rng, self._base)

    def run(self, case: Case, rng: random.Random) -> str | None:
        path = placed(case, self._folder, as_path=True)
        try:
            reader = self._lib.Reader.load(path, threads=1)
            for reading in reader.read([seeds()["PNG L"], np.zeros((9, 900), np.uint8)]):
                check_reading(reading)
        except self._lib.ReadError as error:
            return one_line(error)
        return None


class Bundles:
    """`Recognizer.load` of bundles, what `bundle --show` tells of them, and reading an image."""

    def __init__(self, folder: pathlib.Path):
        from crnn_jax import shipped

        self._folder = folder
        self._base = shipped.find(SMALL).read_bytes()

    def warm_up(self) -> None:
        if told := self.run(Case("good", self._base, ".crnn"), random.Random(0)):
            raise Wrong(told)

    def case(self, rng: random.Random) -> Case:
        return bundle_case(rng, self._base)

    def run(self, case: Case, rng: random.Random) -> str | None:
        from crnn_jax import bundle
        from crnn_jax.errors import UserError
        from crnn_jax.recognizer import Recognizer

        path = placed(case, self._folder, as_path=True)
        told = []
        try:
            model = Recognizer.load(path)
            for reading in model.read([seeds()["PNG L"]]):
                check_reading(reading)
        except UserError as error:
            told.append(one_line(error))
        if os.path.isfile(path):
            try:
                shown = bundle.show(path)
                if re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", shown):
                    raise Wrong(f"shown are characters that terminals obey: {shown!r:.1000}")
            except UserError as error:
                told.append(one_line(error))
        return told[0] if told else None


def demo(folder: pathlib.Path) -> Any:
    """Returns the target of `fuzz_demo`, which needs Gradio."""
    from fuzz_demo import Demo

    return Demo(folder)


TARGETS: dict[str, Callable[[pathlib.Path], Any]] = {
    "images": Images,
    "reader": Reader,
    "bundles": Bundles,
    "models": Models,
    "demo": demo,
}


@contextlib.contextmanager
def quiet_streams(wrong: list[str]):
    """Collects what is printed where nothing should be: warnings and errors of threads."""
    out, hook = io.StringIO(), threading.excepthook
    threading.excepthook = lambda args: wrong.append(f"in a thread: {args.exc_value!r}")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            yield
    finally:
        threading.excepthook = hook
    if out.getvalue().strip():
        wrong.append(f"printed: {out.getvalue()!r:.500}")


def attempt(target: Any, case: Case, rng: random.Random) -> tuple[str, str]:
    """Gives an input to a target; returns "read", "refused" or "failed", and what was told."""
    wrong: Sequence[str] = []
    try:
        with quiet_streams(wrong):
            told = target.run(case, rng)
    except BaseException as error:
        import traceback

        lines = traceback.format_exception(error)
        return "failed", "".join(lines)[-3000:]
    if wrong:
        return "failed", "; ".join(wrong)
    return ("read", "") if told is None else ("refused", told)
