"""Reads text in images with an exported model; needs only numpy, Pillow and onnxruntime.

This file stands alone: copy it beside a model that `python -m crnn_jax.export --to=onnx` wrote
(`--with-runtime` does so), and

    python reader.py word.png

As a library::

    reader = Reader.load("model.onnx")
    for reading in reader.read(["word.png", array, pillow_image]):
        print(reading.text, reading.confidence)
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import io
import itertools
import json
import logging
import math
import os
import pathlib
import re
import sys
import threading
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps

FORMAT = 1  # of the metadata
LM_FORMAT = 1  # of a language model's file
PREFIX = "crnn_jax."  # of their names
MAX_PIXELS, MAX_SIDE = 64_000_000, 1_000_000
DECODERS = ("greedy", "beam", "lexicon")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
MOST_INPUT = 2**22  # pixels of an image as a network is given it
_STRIP = 1 << 20  # pixels of an image that are converted together
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_MOST_LM = 2**28  # bytes of a language model
_LM_TABLES = (
    "columns", "counts", "entries", "log_probs", "following", "shorter", "back_off",
)  # fmt: skip
_TINY = 1e-300
_NEGLIGIBLE = 1e-9  # of a sum of probabilities
_RESCALED = 4  # frames after which probabilities are made large again
_FAR = 14.0  # nats below the best word, a millionth of its probability
_SLACK = 1e-6  # rounding must not put a bound below a score
_LARGE = MAX_PIXELS // 4  # pixels of images of which one at a time is decoded
_ONE_LARGE = threading.Lock()
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
LONGEST = 16  # windows' widths: a longer line is squeezed to that
SURE = 0.7  # confidence from which an image is read once
SURER = 0.1  # by which another view must be surer than the image as it is
LEAST_LEVEL = 0.25  # of an image's height, that a line of text on a slope may have
_PLENTY = 8  # times a network's height, that an image has before it is cut
_SLOPES = (-28, -19, -10, 10, 19, 28)  # degrees; positive ones fall to the right
_TALL = 1.3  # times as high as wide is what may be a line that goes up or down
_ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # a row of TSV stays one line

# Pillow logs what it also raises; without a handler of the caller's that would go to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ReadError(ValueError):
    """An image, a model or an option cannot be used: one line that says what to do."""

    def __str__(self) -> str:
        return _printable(super().__str__())


def _printable(text: str) -> str:
    """Returns a text as one line: names may hold line breaks, and what terminals obey."""

    def shown(char: str) -> str:
        return repr(char)[1:-1] if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char

    return "".join(map(shown, text))


class Character(NamedTuple):
    """A character of a reading, in the order of the picture.

    Attributes:
      char: the character.
      confidence: p(it | image, the other characters).
      x0, x1: where it begins and ends: pixels of the image, as it was turned to be read, or shares
        of its width (0 to 1) where the package streams readings, whose images' own sizes are not
        known.
    """

    char: str
    confidence: float
    x0: float
    x1: float


class Alternative(NamedTuple):
    """Another text, and p(text | image)."""

    text: str
    confidence: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was read in an image.

    Attributes:
      text: the reading.
      confidence: p(text | image), 0 to 1, of calibrated posteriors where the model is calibrated.
      alternatives: what else the decoder found, best first.
      characters: of the text, in the order of the picture.
      rotation: degrees by which the image was turned counter-clockwise to be read.
      slope: degrees by which the text falls to the right, as which it was read; below 0 it climbs.
    """

    text: str
    confidence: float
    alternatives: tuple[Alternative, ...] = ()
    characters: tuple[Character, ...] = ()
    rotation: int = 0
    slope: int = 0


SomeReading = TypeVar("SomeReading", bound=Reading)


# --- images ---------------------------------------------------------------------------------------


def load_image(image: Any, channels: int) -> Image.Image:
    """Returns an image upright in mode L or RGB.

    Args:
      image: a path, encoded bytes, a Pillow image, or an array (H, W[, C]) of uint8, uint16 or
        floats in 0..1.
      channels: 1 or 3.

    Raises:
      ReadError: it cannot be read, or has more than MAX_PIXELS pixels.
    """
    if isinstance(image, np.ndarray):
        return flatten(from_array(image), channels)
    if isinstance(image, Image.Image):
        try:
            return _decoded(image, channels)
        except ReadError:
            raise
        except Exception as error:  # as below; it may have been opened and not loaded yet
            raise ReadError(f"damaged image ({_told(error)}): replace it") from None
    if not isinstance(image, bytes | str | os.PathLike):
        raise ReadError(
            f"a value of type {type(image).__name__} is no image: give a path, bytes, an array or "
            "a Pillow image"
        )
    name = "" if isinstance(image, bytes) else f"{os.fspath(image)}: "
    try:
        if name and os.path.exists(image) and not os.path.isfile(image):  # a pipe would wait
            raise ReadError("no file but a folder, a pipe or a device: give the path of an image")
        with io.BytesIO(image) if isinstance(image, bytes) else open(image, "rb") as source:
            canvas = webp_canvas(source.read(30))
            check_size(*canvas)
            source.seek(0)
            with _in_turn(*canvas), quiet:
                opened = Image.open(source, formats=_FORMATS)
            with opened:
                return _decoded(opened, channels)
    except ReadError as error:
        raise ReadError(f"{name}{error}") from None
    except FileNotFoundError:
        raise ReadError(f"{name[:300]}no such file") from None
    except Image.DecompressionBombError:  # Pillow's own limit, above ours
        raise ReadError(f"{name}the image has more than {MAX_PIXELS:,} pixels: crop it") from None
    except Image.UnidentifiedImageError:
        raise ReadError(f"{name}not an image: use PNG, JPEG, WebP, BMP, TIFF or GIF") from None
    except OSError as error:
        why = error.strerror or _told(error)
        raise ReadError(f"{name[:300]}damaged image ({why}): replace the file") from None
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise ReadError(f"{name}damaged image ({_told(error)}): replace the file") from None


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _decoded(image: Image.Image, channels: int) -> Image.Image:
    check_size(*image.size)
    # MPO: a JPEG that says it has others behind it. Without a file: the caller has loaded it.
    file = getattr(image, "fp", None)
    if image.format in ("JPEG", "MPO") and file is not None:
        check_scans(file, image.width * image.height)
    with _in_turn(*image.size), quiet:
        image.load()
        check_size(*image.size)
        with contextlib.suppress(Exception):  # damaged metadata: the pixels are fine
            image = ImageOps.exif_transpose(image)
        return flatten(image, channels)


class _Quiet:
    """Silences Pillow's warnings of damaged metadata, which pixels do without; a context manager.

    Filters of warnings belong to the process: the first thread that enters changes them, and the
    last that leaves puts them back, so that no image waits for another.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(*error)


quiet = _Quiet()


def _in_turn(width: int, height: int) -> contextlib.AbstractContextManager[Any]:
    return _ONE_LARGE if width * height > _LARGE else contextlib.nullcontext()


def webp_canvas(start: bytes) -> tuple[int, int]:
    """Returns the sides of a WebP's canvas from its first 30 bytes; (1, 1) for all else.

    To open one takes 16 bytes a pixel, so that its size is to be looked at before.
    """
    if start[:4] != b"RIFF" or start[8:16] != b"WEBPVP8X" or len(start) < 30:
        return 1, 1
    width, height = (1 + int.from_bytes(start[i : i + 3], "little") for i in (24, 27))
    return width, height


def check_scans(file: Any, pixels: int) -> None:
    """Raises ReadError for a JPEG that goes over its pixels so often that it takes minutes.

    In a progressive one every scan refines all pixels, and may be of a few bytes.
    """
    try:
        place = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")
        file.seek(place)
    except OSError as error:  # a disk or a network that fails
        raise ReadError(
            f"the image cannot be read ({error.strerror or error}): copy the file to another disk"
        ) from error
    if scans * pixels > 100 * MAX_PIXELS:  # usual ones have 10 scans or so
        raise ReadError(f"the image has {scans:,} scans, which takes minutes: save it anew")


def check_size(width: int, height: int, max_pixels: int | None = None) -> None:
    """Raises ReadError for an image without pixels, or with too many, in all or on a side.

    Args:
      width, height: of the image.
      max_pixels: None: MAX_PIXELS, as whoever uses the reader has set it.
    """
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if width < 1 or height < 1:
        raise ReadError(f"the image has no pixels ({width} x {height})")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ReadError(
            f"the image is too large: {width:,} x {height:,} pixels, at most {max_pixels:,} in "
            f"all and {MAX_SIDE:,} on a side are read; crop it or make it smaller"
        )


def from_array(array: np.ndarray) -> Image.Image:
    """Returns an image of 8 bits from HxW, HxWx1, HxWx3 or HxWx4; else raises ReadError."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ReadError(
            f"an array of shape {array.shape} is not an image: give HxW, HxWx1, HxWx3 or HxWx4"
        )
    check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = _uint16_to_uint8(array)
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # also false for NaN
            raise ReadError(
                f"a float image has values from {array.min():g} to {array.max():g}: "
                "give 0..1, or uint8"
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ReadError(
            f"an array of {array.dtype} is not an image: give uint8, uint16 or floats in 0..1"
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def flatten(image: Image.Image, channels: int) -> Image.Image:
    """Returns a loaded image in mode L (1 channel) or RGB (3), transparency composited on white.

    Raises:
      ReadError: its pixels have a range or a mode that is not read.
    """
    mode = "L" if channels == 1 else "RGB"
    try:
        if image.mode in ("I", "F"):  # whose values are looked at together
            image = Image.fromarray(_wide_to_uint8(np.asarray(image)))
        if image.mode == mode and not image.has_transparency_data:
            return image
        if image.width * image.height <= _STRIP:
            return _flattened(image, mode)
        # Strip by strip, since on the way there are up to five images of four bytes a pixel.
        whole = Image.new(mode, image.size)
        for box in _strips(image.size):
            whole.paste(_flattened(image.crop(box), mode), box)
        return whole
    except ReadError:
        raise
    except Exception as error:  # Pillow raises almost anything for modes that it does not convert
        raise ReadError(
            f"pixels of mode {image.mode} cannot be converted ({_told(error)}): "
            "save the image as RGB or grey"
        ) from error


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields the boxes of parts of an image, of at most _STRIP pixels each."""
    width, height = size
    columns = min(width, _STRIP)
    rows = max(_STRIP // columns, 1)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _flattened(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        if isinstance(clear := image.info.get("transparency"), int):
            values[values == clear] = 65535
        image = Image.fromarray(_uint16_to_uint8(values))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _wide_to_uint8(values: np.ndarray) -> np.ndarray:
    """Scales 32-bit integers or floats, whose range no header tells, to uint8."""
    low, high = values.min(), values.max()
    whole = values.dtype.kind == "i"
    if low >= 0 and high <= 1 and not whole:
        return _by_rows(lambda rows: np.rint(rows * 255), values)
    if low >= 0 and high <= 255:
        return _by_rows(np.rint, values)
    if low >= 0 and high <= 65535 and whole:
        return _uint16_to_uint8(values)
    allowed = "0..65535" if whole else "0..1 or 0..255"
    raise ReadError(
        f"pixel values from {low:g} to {high:g}, but {allowed} are read: save it with 8 bits"
    )


def _uint16_to_uint8(values: np.ndarray) -> np.ndarray:
    return _by_rows(lambda rows: (rows.astype(np.uint32) * 255 + 32767) // 65535, values)


def _by_rows(change: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Returns uint8 values that are changed few at a time, since copies of all are large."""
    out = np.empty(values.shape, np.uint8)
    flat, there = values.reshape(-1), out.reshape(-1)
    for start in range(0, flat.size, _STRIP):
        there[start : start + _STRIP] = change(flat[start : start + _STRIP])
    return out


# --- views ----------------------------------------------------------------------------------------
# A word whose letters touch the border of its picture is read better with some room around it,
# narrow letters when they are stretched, pale ones and those in glare when all greys are made
# equally frequent. A word on a slope fills its picture from corner to corner, so its letters are
# small once the picture is brought to the network's height: the picture's columns are moved up and
# down until a text of some slope lies level, and what is above and below it then is cut off. Signs
# seen from the side have that shape, their strokes stay upright. And what is much higher than wide
# may be a line that goes up or down.


class View(NamedTuple):
    """A way of looking at an image.

    Attributes:
      rotation: 0, 90, 180 or 270 degrees by which it is turned counter-clockwise.
      slope: degrees by which its text falls to the right, or, below 0, climbs: it is made level.
      stretch: times its width that it is as wide, where the aspect is kept.
      margin: around it, of its height: its border goes on.
      equalized: whether its greys (or the levels of each colour) are made equally frequent.
    """

    rotation: int = 0
    slope: int = 0
    stretch: float = 1.0
    margin: float = 0.0
    equalized: bool = False

    def of(self, image: Image.Image, height: int) -> Image.Image:
        """Returns an image in mode L or RGB turned, equalized, with its margin, and level.

        It is not stretched yet.

        Args:
          image: upright.
          height: pixels that it is to be brought to.

        Raises:
          ReadError: for a slope that leaves no line of text.
        """
        if self.rotation:
            image = image.transpose(_TURNS[self.rotation])
        if self.equalized:
            image = ImageOps.equalize(_reduced(image, height))
        if self.margin:
            image = _reduced(image, height)
            around = self.beside(image.height)
            sides = ((around, around), (around, around), (0, 0))
            pixels = np.asarray(image)
            image = Image.fromarray(np.pad(pixels, sides[: pixels.ndim], "edge"))
        return level(image, self.slope, height) if self.slope else image

    def turned(self, rotation: int) -> View:
        """Returns the same view of an image that has been turned by so many degrees before."""
        return self._replace(rotation=(rotation + self.rotation) % 360)

    def stretched(self, width: int) -> int:
        """Returns the pixels that so many of an image's width are taken for."""
        return max(1, round(width * self.stretch))

    def across(self, x: np.ndarray, width: int, height: int) -> np.ndarray:
        """Returns where shares of a view's width lie in that of the image, from 0 to 1.

        Args:
          x: the shares.
          width, height: pixels of the image as it is turned.
        """
        beside = self.beside(height)
        return np.clip((x * (width + 2 * beside) - beside) / width, 0.0, 1.0)

    def beside(self, height: int) -> int:
        """Returns the pixels of the margin around a (turned) image so high."""
        return max(1, round(self.margin * height)) if self.margin else 0


AS_IT_IS = View()
# What an image of any shape is read again in.
_OTHERS = (View(margin=0.1), View(margin=0.2), View(stretch=1.3), View(stretch=1.3, equalized=True))
DEGREES = (0, 90, 180, 270)  # counter-clockwise, by which an image may be turned


def turned_size(width: int, height: int, rotation: int) -> tuple[int, int]:
    """Returns the (width, height) of an image of width x height once it is turned."""
    return (height, width) if rotation in (90, 270) else (width, height)


def other_views(width: int, height: int) -> list[View]:
    """Returns the views in which an unsure image is read again; slopes where it has room for them.

    Args:
      width, height: pixels of the image.
    """
    views = list(_OTHERS)
    for degrees in _SLOPES:
        if level_share(width, height, degrees) >= LEAST_LEVEL:
            views.append(View(slope=degrees))
    if height > _TALL * width:
        views += [View(rotation=90), View(rotation=270)]
    return views


def surest(plain: SomeReading, others: Iterable[SomeReading]) -> SomeReading:
    """Returns the most confident reading of other views, if it says something and is surer."""
    best = max((r for r in others if r.text), key=lambda r: r.confidence, default=plain)
    return best if best.confidence > plain.confidence + SURER else plain


def likely_upright(readings: Sequence[SomeReading]) -> SomeReading:
    """Returns the most confident of readings of an image that is turned in several ways.

    One without characters is taken only where all are: that an image shows nothing is easily said
    of one that stands on its head.
    """
    return max(readings, key=lambda r: (bool(r.text), r.confidence, -r.rotation))


def level_share(width: int, height: int, slope: int) -> float:
    """Returns the share of an image's height that is left once a slope in degrees is level."""
    return 1 - abs(math.tan(math.radians(slope))) * width / height


def level(image: Image.Image, slope: int, height: int) -> Image.Image:
    """Returns the band of an image in which a text of some slope lies level.

    The band goes from one side of the image to the other, as high as the image's corners allow:
    its columns are moved up and down.

    Args:
      image: in mode L or RGB.
      slope: degrees by which the text falls to the right, or, below 0, climbs.
      height: pixels that the band is to be brought to: a lower one is enlarged before it is cut
        out.

    Raises:
      ReadError: for a slope that leaves less than LEAST_LEVEL of the height.
    """
    if level_share(*image.size, slope) < LEAST_LEVEL:
        raise ReadError(
            f"slope={slope} of an image of {image.width} x {image.height} pixels leaves no line of "
            "text: give a smaller one"
        )
    image = _reduced(image, height)
    rise, band = math.tan(math.radians(slope)), level_share(*image.size, slope)
    scale = height / (band * image.height)
    if scale > 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    first = max(0.0, -rise * image.width)  # row at which the band begins on the left
    return image.transform(
        (image.width, max(1, round(band * image.height))),
        Image.Transform.AFFINE,
        (1, 0, 0, rise, 1, first),
        Image.Resampling.BILINEAR,
    )


def _reduced(image: Image.Image, height: int) -> Image.Image:
    """Returns an image with no more pixels than it needs to be cut and brought to a height."""
    return image.reduce(max(image.height // (_PLENTY * height), 1))


# --- lines ----------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """How a line wider than those of training is cut, and put together again.

    Windows follow one another with an overlap. In its middle half the frame posteriors go over from
    one window to the next; the outer quarters, where a character may be cut, give context alone.

    Attributes:
      width: pixels of a window.
      overlap: pixels that neighbouring windows share; it and the rest of the width are multiples of
        the stride.
      stride: pixels per frame.
    """

    width: int
    overlap: int
    stride: int

    @classmethod
    def of(cls, width: int, stride: int) -> Windows:
        """Returns windows of at most `width` pixels, two strides at least; a quarter is shared."""
        overlap = max(round(width / 4 / stride), 1) * stride
        return cls(max(width // stride * stride, 2 * overlap), overlap, stride)

    @property
    def hop(self) -> int:
        """Pixels from one window's begin to the next one's."""
        return self.width - self.overlap

    def starts(self, width: int) -> range:
        """Returns where the windows begin that a line of so many pixels needs.

        A window is needed if the one before it does not reach the end of the line.
        """
        return range(0, max(width - self.overlap, 1), self.hop)

    def shares(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns how much of each frame of a window counts, (frames,) twice.

        The first beside the window before it, the second beside the one that follows.
        """
        place = self.stride * (np.arange(frames, dtype=np.float32) + 0.5)

        def ramp(x: np.ndarray) -> np.ndarray:
            return np.clip((x - self.overlap / 4) / (self.overlap / 2), 0, 1)

        return ramp(place), 1 - ramp(place - self.hop)

    def merged(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the log posteriors (T, K) of a line from its windows' logits; of one, these."""
        if len(logits) == 1:
            return logits[0]
        step, last = self.hop // self.stride, len(logits) - 1
        found = np.zeros((last * step + len(logits[last]), logits[0].shape[1]))
        for k, own in enumerate(logits):
            rising, falling = self.shares(len(own))
            share = np.where(k == 0, 1, rising) * np.where(k == last, 1, falling)
            found[k * step : k * step + len(own)] += posteriors(own, 1.0) * share[:, None]
        return np.log(np.maximum(found, 1e-30))


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """From an image to uint8 (height, W', channels); see `crnn_jax.data.images.Preprocess`."""

    height: int
    channels: int
    fit: str
    width: int
    min_width: int
    max_width: int

    def __post_init__(self) -> None:
        sizes = (self.height, self.width, self.min_width, self.max_width, self.channels)
        if (
            any(type(size) is not int or size < 1 for size in sizes)
            or self.fit not in ("squash", "keep")
            or self.channels not in (1, 3)
            or self.min_width > self.max_width
        ):
            raise ValueError("its preprocessing is none")

    @property
    def widest(self) -> int:
        """Pixels of the widest image that comes out."""
        return self.width if self.fit == "squash" else self.max_width

    def __call__(self, image: Image.Image, view: View = AS_IT_IS) -> np.ndarray:
        """Resizes a view of an image in mode L or RGB by antialiased bilinear interpolation."""
        image = view.of(image, self.height)
        width, height = view.stretched(image.width), image.height
        scaled = (2 * width * self.height + height) // (2 * height)
        kept = min(max(scaled, self.min_width), self.max_width)
        size = (self.width if self.fit == "squash" else kept, self.height)
        array = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        return array.reshape(self.height, size[0], self.channels)


# --- text -----------------------------------------------------------------------------------------


class Charset:
    """Class ids and text: class 0 is the CTC blank, class i + 1 is `classes[i]`."""

    def __init__(self, classes: Sequence[str], case: str):
        if not classes or not all(isinstance(name, str) and name for name in classes):
            raise ValueError("its characters are none")
        if case not in ("keep", "fold"):
            raise ValueError("its case is none")
        self.classes, self.case = tuple(classes), case
        self._ids = {name: i for i, name in enumerate(self.classes, start=1)}
        self._longest = max(map(len, self.classes))
        self.right_to_left = any(unicodedata.bidirectional(c[0]) in ("R", "AL") for c in classes)
        if self.right_to_left:
            _reorderer()  # its lack is told now, and not at the first word

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of class ids, in NFC."""
        return unicodedata.normalize("NFC", self._turn("".join(self.classes[i - 1] for i in ids)))

    def encode_known(self, text: str) -> tuple[int, ...]:
        """Returns the class ids of a text without the characters that the charset lacks."""
        text, ids, start = self._turn(self.normalise(text)), [], 0
        if self._longest == 1:
            return tuple(self._ids[c] for c in text if c in self._ids)
        while start < len(text):
            pieces = (text[start : start + n] for n in range(self._longest, 0, -1))
            piece = next((piece for piece in pieces if piece in self._ids), "")
            ids += [self._ids[piece]] if piece else []
            start += max(len(piece), 1)
        return tuple(ids)

    def normalise(self, text: str) -> str:
        """Returns the text in NFC, lower-cased where the model's case is folded."""
        text = unicodedata.normalize("NFC", text)
        return unicodedata.normalize("NFC", text.lower()) if self.case == "fold" else text

    def _turn(self, text: str) -> str:
        """Returns a text of right-to-left letters in the other of its orders."""
        return turn(text) if self.right_to_left else text


_STAND_INS = [chr(code) for code in range(0xE0100, 0xE01F0)]  # marks, of which some are free
_ISOLATES = dict.fromkeys(range(0x2066, 0x206A))  # which python-bidi stops at


def _reorderer() -> Callable[..., Any]:
    try:
        from bidi.algorithm import get_display  # the one of its two that mirrors brackets
    except ImportError:
        raise ReadError("right-to-left text needs: pip install python-bidi") from None
    return get_display


def turn(text: str) -> str:
    """Returns a text of right-to-left letters in the other of its orders; others as they are.

    What is not seen (joiners, soft hyphens) stays behind its letter, as marks do. Characters that
    set the direction are gone.
    """
    if text.isascii() or not any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
        return text
    # The algorithm takes invisible characters out (rule X9), and marks along.
    unseen = dict.fromkeys(c for c in text if unicodedata.bidirectional(c) == "BN")
    stand_ins = dict(zip(unseen, (c for c in _STAND_INS if c not in text), strict=False))
    text = text.translate(_ISOLATES | str.maketrans(stand_ins))
    turned, marks = [], []
    for char in _reorderer()(text, base_dir="R"):  # marks go behind their letters
        if unicodedata.category(char) in ("Mn", "Me"):
            marks.append(char)
            continue
        after = unicodedata.bidirectional(char) in ("R", "AL")
        turned += [char, *reversed(marks)] if after else [*marks, char]
        marks = []
    back = str.maketrans({mark: char for char, mark in stand_ins.items()})
    return "".join(turned + marks).translate(back)


def listed_words(text: str) -> list[str]:
    """Returns the words of a list, one per line; counts behind a TAB are no part of them."""
    return [re.sub(r"\t[0-9.]+\s*$", "", line) for line in text.splitlines()]


def spellings(word: str, charset: Any) -> list[tuple[int, ...]]:
    """Returns the class ids of a word as it is, in small letters, in capitals, and capitalised.

    Of these, those that have the fewest characters which the model lacks, as it is first. Where the
    model folds case there is one way to write it.

    Args:
      word: to be written.
      charset: of the model: that of this file or of the package.
    """
    written = [word]
    if charset.case != "fold":
        written += [word.lower(), word.upper(), word[:1].upper() + word[1:].lower()]
    found = []
    for text in map(charset.normalise, written):
        ids = tuple(charset.encode_known(text))
        found.append((len(text) - sum(len(charset.classes[i - 1]) for i in ids), ids))
    fewest = min(lost for lost, _ in found)
    return list(dict.fromkeys(ids for lost, ids in found if ids and lost == fewest))


class Lexicon:
    """Words that a reading is chosen from: exactly those with the best CTC scores.

    Where the model tells capitals from small letters, an image may show a word in either.

    Args:
      words: in any order; those of which the charset knows no character are left out.
      charset: of the model.
    """

    def __init__(self, words: Iterable[str], charset: Charset):
        texts = [charset.normalise(word.strip()) for word in words]
        encoded = [(text, spellings(text, charset)) for text in texts]
        found: dict[tuple[int, ...], str] = {}
        for part in (slice(0, 1), slice(1, None)):  # words as they are given come first
            for text, own in encoded:
                for ids in own[part]:
                    found.setdefault(ids, text)
        if not found:
            raise ReadError("the lexicon has no word that the model can read")
        self.words, self.ids = list(found.values()), list(found)
        # By length: rows, their class ids, and their letters, each once (-1: no more).
        self._groups: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for length in sorted({len(ids) for ids in self.ids}):
            rows = np.array([row for row, ids in enumerate(self.ids) if len(ids) == length])
            strings = np.array([self.ids[row] for row in rows])
            letters = np.sort(strings, axis=1)
            letters[:, 1:][letters[:, 1:] == letters[:, :-1]] = -1
            self._groups[length] = rows, strings, letters

    def best(self, p: np.ndarray, count: int) -> list[tuple[tuple[int, ...], str, float]]:
        """Returns (class ids, word, log p) of the best words, best first.

        Few words are scored. None is likelier than that the text has its length, that it has this
        character at this place from its start or from its end, or that all its letters occur
        somewhere: words are bounded so, and scored from the highest bound down. The first word is
        the best of all; of the others, those far below it (see _FAR) may be missed.
        """
        # No text has more characters than there are frames.
        longest = min(max(self._groups), len(p))
        first, lengths = _places(p, longest)
        last, _ = _places(p[::-1], longest)
        with np.errstate(divide="ignore"):  # of a class that is certain
            # Not 1 - prod(1 - p), which is 0 for what is less likely than rounding.
            occurs = np.append(-np.expm1(np.log1p(-p).sum(axis=0)), 1.0)
        # No lower than what may have underflowed.
        first, last, lengths, occurs = (
            np.log(np.maximum(bound, _TINY)) for bound in (first, last, lengths, occurs)
        )
        best: list[tuple[float, int]] = []
        kept = 4 * count  # a word's other spellings may stand before the next word

        def hopeless(bound: float) -> bool:
            few = len(best) < kept
            limit = best[0][0] - _FAR if best else -np.inf
            return bool(bound + _SLACK < (limit if few else max(limit, best[-1][0])))

        fitting = [length for length in self._groups if length <= longest]
        for length in sorted(fitting, key=lambda n: -lengths[n]):
            if hopeless(lengths[length]):
                break
            rows, ids, letters = self._groups[length]
            place = np.arange(length)
            bounds = np.minimum(
                first[place, ids].min(axis=1), last[place, ids[:, ::-1]].min(axis=1)
            )
            bounds = np.minimum(bounds, occurs[letters].sum(axis=1))
            order, start, size = np.argsort(-bounds, kind="stable"), 0, 64
            while start < len(order) and not hopeless(bounds[order[start]]):
                few = rows[order[start : start + size]]
                scores = log_probabilities(p, [self.ids[row] for row in few])
                best += [(float(s), -int(r)) for s, r in zip(scores, few, strict=True)]
                best = sorted(best, reverse=True)[:kept]
                start, size = start + size, min(2 * size, 1024)
        found: dict[str, tuple[tuple[int, ...], str, float]] = {}
        for score, row in best:
            if np.isfinite(score):
                found.setdefault(self.words[-row], (self.ids[-row], self.words[-row], score))
        return list(found.values())[:count]


def _places(p: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns how likely each class is each of the first characters, and each length of the text.

    Args:
      p: (T, K), posteriors.
      most: characters.

    Returns:
      (most, K + 1), of which the last class is certain, and (most + 1,).
    """
    blank, char = np.zeros(most + 1), np.zeros((most + 1, p.shape[1]))
    blank[0], seen = 1.0, np.zeros((most, p.shape[1]))
    for frame in p:
        either = blank + char.sum(axis=1)
        # Texts that end in another class: summed from both sides, since the difference of all and
        # of this class's own is rounded away where these are nearly all.
        others = np.zeros((most, p.shape[1]))
        others[:, 1:] = np.cumsum(char[:-1, :-1], axis=1)
        others[:, :-1] += np.cumsum(char[:-1, :0:-1], axis=1)[:, ::-1]
        begun = (blank[:-1, None] + others) * frame
        begun[:, 0] = 0.0
        seen += begun
        blank, char = either * frame[0], char * frame
        char[1:] += begun
    seen = np.concatenate([np.minimum(seen, 1.0), np.ones((most, 1))], axis=1)
    return seen, blank + char.sum(axis=1)


class LanguageModel:
    """How likely characters are after others: what the beam search adds to what it sees.

    Attributes:
      name: of the model.
      classes: of the charset that it was exported for.
      first: state of the empty text.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        about = json.loads(str(arrays["about"]))
        if about["format"] != LM_FORMAT:
            raise ReadError(
                f"a language model of format {about['format']!r:.20}, and this reader knows "
                f"{LM_FORMAT}: take the reader that came with it"
            )
        self.name, self.classes = str(about["name"]), tuple(about["classes"])
        self._weight, self._bonus = float(about["weight"]), float(about["bonus"])
        self._columns, self.first = arrays["columns"].astype(np.int64), int(arrays["first"])
        self._width = int(self._columns.max()) + 2  # the end of a text is the last column
        counts, entries = arrays["counts"].astype(np.int64), arrays["entries"].astype(np.int64)
        self._shorter = arrays["shorter"].astype(np.int64)
        self._back_off = arrays["back_off"].astype(np.float64)
        self._log_probs = arrays["log_probs"].astype(np.float64)
        self._following = arrays["following"].astype(np.int64)
        states = np.arange(len(counts))
        self._keys = np.repeat(states, counts) * self._width + entries
        # A search goes to ever shorter histories, and the empty one knows every character.
        sound = (
            all(arrays[name].ndim == 1 for name in _LM_TABLES)
            and len(self._columns) == len(self.classes) + 1
            and len(self._shorter) == len(self._back_off) == len(counts)
            and len(entries) == len(self._log_probs) == len(self._following)
            and bool((self._columns >= 0).all() and (entries >= 0).all())
            and bool((np.diff(self._keys) > 0).all() and (entries < self._width).all())
            and counts[0] == self._width
            and bool((self._shorter[1:] < states[1:]).all() and (self._shorter >= 0).all())
            and bool((self._following >= 0).all() and (self._following < len(counts)).all())
            and 0 <= self.first < len(counts)
            and bool(np.isfinite(self._log_probs).all() and np.isfinite(self._back_off).all())
            and 0 <= self._weight < 1e3
            and abs(self._bonus) < 1e3
        )
        if not sound:
            raise ValueError("its tables do not fit together")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LanguageModel:
        """Opens what `python -m crnn_jax.export --lm=...` wrote.

        Raises:
          ReadError: it cannot be read.
        """
        if not os.path.isfile(path):
            raise ReadError(f"{os.fspath(path)[:300]}: no such language model")
        try:
            return cls.parse(pathlib.Path(path).read_bytes())
        except ReadError as error:
            raise ReadError(f"{path}: {error}") from None
        except OSError as error:
            raise ReadError(f"{path}: {error.strerror or error}") from None

    @classmethod
    def parse(cls, content: bytes) -> LanguageModel:
        """Opens the content of such a file; raises a ReadError as `load` does."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(member.file_size for member in archive.infolist()) > _MOST_LM:
                    raise ValueError(f"more than {_MOST_LM >> 20} MB")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls({name: arrays[name] for name in arrays.files})
        except ReadError:
            raise
        except Exception as error:  # of damaged archives; they have no common class
            raise ReadError(
                f"no language model of crnn_jax ({_told(error)}): export it again"
            ) from None

    def score(self, states: Any, ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns what classes add to a text's log-probability, and the states after them.

        Args:
          states: before the classes; shapes broadcast.
          ids: classes; 0 is the end of the text, after which there is no state.
        """
        states, ids = np.broadcast_arrays(states, ids)
        columns = np.where(ids == 0, self._width - 1, self._columns[ids]).reshape(-1)
        current, total = states.reshape(-1).astype(np.int64), np.zeros(states.size)
        following, open_ = np.zeros(states.size, np.int64), np.arange(states.size)
        while len(open_):
            keys = current[open_] * self._width + columns[open_]
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            found = self._keys[at] == keys
            total[open_[found]] += self._log_probs[at[found]]
            following[open_[found]] = self._following[at[found]]
            open_ = open_[~found]
            total[open_] += self._back_off[current[open_]]
            current[open_] = self._shorter[current[open_]]
        total = self._weight * total + np.where(ids.reshape(-1) == 0, 0.0, self._bonus)
        return total.reshape(states.shape), following.reshape(states.shape)

    def string_score(self, ids: Sequence[int]) -> float:
        """Returns what the model adds to the log-probability of a text, its end included."""
        total, state = 0.0, self.first
        for id_ in (*ids, 0):
            score, following = self.score(state, id_)
            total, state = total + float(score), int(following)
        return total


# --- CTC ------------------------------------------------------------------------------------------


def posteriors(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the class posteriors (T, K) of frames."""
    x = logits.astype(np.float64) / temperature
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def greedy(p: np.ndarray) -> tuple[int, ...]:
    """Returns the class ids of the best path: repeats merged, then blanks removed."""
    path = p.argmax(axis=1)
    keep = (path != 0) & (path != np.concatenate([[0], path[:-1]]))
    return tuple(path[keep].tolist())


def beam(
    p: np.ndarray,
    width: int = 16,
    nbest: int = 4,
    prune: float = 1e-4,
    top: int = 8,
    model: LanguageModel | None = None,
) -> list[tuple[int, ...]]:
    """Returns the strings that a prefix beam search finds, the best path among them.

    Args:
      p: (T, K), posteriors.
      width: strings kept from frame to frame.
      nbest: strings returned, at most, besides the best path.
      prune: classes, the blank too, below this share of a frame's best one are left out there.
      top: characters considered per frame, at most.
      model: whose score is added to the log-probabilities of strings.
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}  # ends in blank, in char
    states: dict[tuple[int, ...], int] = {(): model.first if model else 0}
    for frame in np.where(p >= prune * p.max(axis=1, keepdims=True), p, 0.0):
        order = np.argsort(-frame[1:], kind="stable")[:top] + 1
        order = order[frame[order] > 0]
        chars = list(zip(order.tolist(), frame[order].tolist(), strict=True))
        added: Any = np.ones((len(kept), len(order)))
        if model is not None and chars:
            score, following = model.score(
                np.array([states[string] for string in kept])[:, None], order[None, :]
            )
            added = np.exp(np.clip(score, -500.0, 500.0))  # not 0, and not infinite
            states = {
                (*string, c): state
                for string, row in zip(kept, following.tolist(), strict=True)
                for c, state in zip(order.tolist(), row, strict=True)
            } | {string: states[string] for string in kept}
        after: dict[tuple[int, ...], list[float]] = {}
        for (string, (blank, char)), factors in zip(kept.items(), added.tolist(), strict=True):
            own = after.setdefault(string, [0.0, 0.0])
            own[0] += (blank + char) * float(frame[0])
            if string:
                own[1] += char * float(frame[string[-1]])
            for (c, emitted), factor in zip(chars, factors, strict=True):
                entered = blank if string and string[-1] == c else blank + char
                after.setdefault((*string, c), [0.0, 0.0])[1] += entered * emitted * factor
        ranked = sorted(after.items(), key=lambda item: -sum(item[1]))[:width]
        ranked = [item for item in ranked if sum(item[1])] or ranked[:1]
        scale = sum(ranked[0][1]) or 1.0
        kept = {string: (b / scale, c / scale) for string, (b, c) in ranked}
    found = list(kept)
    if model is not None:
        ends, _ = model.score(np.array([states[string] for string in found]), 0)
        with np.errstate(divide="ignore"):
            totals = np.log([sum(kept[string]) for string in found]) + ends
        found = [found[i] for i in np.argsort(-totals, kind="stable")]
    found, best = found[:nbest], greedy(p)
    return found if best in found else [*found, best]


def log_probabilities(p: np.ndarray, strings: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns log p(string | image) of class ids by the CTC forward recursion."""
    lengths = np.array([len(s) for s in strings])
    ids = np.zeros((max(lengths.max(), 1), len(strings)), int)
    for row, string in enumerate(strings):
        ids[: len(string), row] = string
    repeated = np.zeros(ids.shape, bool)
    repeated[1:] = ids[1:] == ids[:-1]
    # Of the first l characters: paths that end in a blank, and in the last of them.
    blank, char = np.zeros((len(ids) + 1, len(strings))), np.zeros(ids.shape)
    blank[0], logs = 1.0, np.zeros(len(strings))
    for t, frame in enumerate(p):
        either = blank.copy()
        either[1:] += char
        char = (char + np.where(repeated, blank[:-1], either[:-1])) * frame[ids]
        blank = either * frame[0]
        if t % _RESCALED == 0:
            scale = np.maximum(np.maximum(blank.max(axis=0), char.max(axis=0)), _TINY)
            blank, char, logs = blank / scale, char / scale, logs + np.log(scale)
    rows = np.arange(len(strings))
    total = blank[lengths, rows] + np.where(lengths > 0, char[lengths - 1, rows], 0.0)
    with np.errstate(divide="ignore"):
        found = np.log(total) + logs
    far = np.flatnonzero(total == 0)  # of beginnings that are so much likelier that it underflows
    if len(far):
        found[far] = _far_log_probabilities(p, ids[:, far], repeated[:, far], lengths[far])
    return found


def _far_log_probabilities(
    p: np.ndarray, ids: np.ndarray, repeated: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """The same in logarithms, three times as long: nothing underflows."""
    blank = np.full((len(ids) + 1, len(lengths)), -np.inf)
    char = np.full(ids.shape, -np.inf)
    blank[0] = 0.0
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    for frame in logs:
        either = blank.copy()
        either[1:] = np.logaddexp(either[1:], char)
        char = np.logaddexp(char, np.where(repeated, blank[:-1], either[:-1])) + frame[ids]
        blank = either + frame[0]
    rows = np.arange(len(lengths))
    return np.logaddexp(
        blank[lengths, rows], np.where(lengths > 0, char[lengths - 1, rows], -np.inf)
    )


def align(p: np.ndarray, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and last frames (L,) of each character on the likeliest path.

    Both are empty where the text does not fit the frames.
    """
    states = np.zeros(2 * len(ids) + 1, int)
    states[1::2] = ids
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)
    scores[0], back = 0.0, np.zeros((len(p), len(states)), int)
    for t, frame in enumerate(np.log(np.maximum(p, _TINY))):
        ways = np.full((3, len(states)), -np.inf)
        ways[0], ways[1, 1:] = scores, scores[:-1]
        ways[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
        back[t] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + frame[states]
    state = len(states) - 1 - int(len(states) > 1 and scores[-2] > scores[-1])
    if not np.isfinite(scores[state]):
        return np.zeros(0, int), np.zeros(0, int)
    first, last = np.full(len(ids), len(p)), np.full(len(ids), -1)
    for t in range(len(p) - 1, -1, -1):
        if state % 2:
            first[state // 2], last[state // 2] = t, max(last[state // 2], t)
        state -= back[t, state]
    return first, last


def character_posteriors(p: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Returns p(character | image, the rest of the text), (L,).

    The text against all texts with another character in its place, and against the one without it;
    by forward and backward variables, as `crnn_jax.ctc.characters` says.
    """
    y, count = np.asarray(ids, int), len(ids)
    p = p / p.max(axis=1, keepdims=True)  # cancels in the quotient
    blank, char, next_blank, next_char = _paths(p, y)
    left, right = np.concatenate([[0], y[:-1]]), np.concatenate([y[1:], [0]])
    enter, leave = (blank + char)[:-1, :-1], (next_blank + next_char)[1:, 1:]
    # Beside itself a character is entered from, or left by, a blank alone.
    blank_before, blank_behind = blank[:-1, :-1], next_blank[1:, 1:]
    apart, near = left != right, np.stack([left, right])
    enter_near = np.stack([blank_before, np.where(apart, enter, blank_before)], axis=1)
    leave_near = np.stack([np.where(apart, leave, blank_behind), blank_behind], axis=1)
    # In the place there is any character, for some frames in a row: all runs of a length at once.
    runs, runs_near = others, others_near = p[:, 1:], p[:, near]
    total, total_near = np.zeros((count, others.shape[1])), np.zeros(near.shape)
    most = enter.sum(axis=0) * leave.sum(axis=0)
    places = np.nonzero(near)
    for length in range(len(p)):
        if length:
            runs, runs_near = runs[:-1] * others[length:], runs_near[:-1] * others_near[length:]
            if (most * runs.sum(axis=1).max() <= _NEGLIGIBLE * total.sum(axis=1)).all():
                break  # so is what longer ones add
        last = len(p) - length
        total += (enter[:last] * leave[length:]).T @ runs
        total_near += (enter_near[:last] * leave_near[length:] * runs_near).sum(axis=0)
        total[places[1], near[places] - 1] = total_near[places]
    without = ((blank[:, :-1] + apart * char[:, :-1]) * next_char[:, 1:]).sum(axis=0)
    without[-1] = blank[-1, -2] + char[-1, -2]
    return total[np.arange(count), y - 1] / np.maximum(total.sum(axis=1) + without, _TINY)


def _paths(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the sums (T + 1, L + 1) of paths, by what they end or begin in: blank or character.

    Two of the paths of the first t frames that spell the first j characters, by what they end in;
    and two of those of the frames from t on that spell the characters from j on, by what they begin
    with. These are the same, read from the end, and are found in the same loop.
    """
    texts = np.stack([y, y[::-1]])
    emitted = np.stack([p[:, y], p[::-1][:, y[::-1]]], axis=1)  # (T, 2, L)
    pauses = np.stack([p[:, 0], p[::-1, 0]], axis=1)[:, :, None]
    follows = np.zeros(texts.shape, bool)  # a character on the one before, without a blank
    follows[:, 1:] = texts[:, 1:] != texts[:, :-1]
    blank, char = np.zeros((2, len(p) + 1, 2, len(y) + 1))
    blank[0, :, 0] = 1.0
    for t, frame in enumerate(emitted):
        blank[t + 1] = (blank[t] + char[t]) * pauses[t]
        entered = blank[t, :, :-1] + follows * char[t, :, :-1]
        char[t + 1, :, 1:] = (char[t, :, 1:] + entered) * frame
    return blank[:, 0], char[:, 0], blank[::-1, 1, ::-1], char[::-1, 1, ::-1]


# --- reading --------------------------------------------------------------------------------------


def open_session(model: str | bytes, threads: int | None = None) -> Any:
    """Returns an onnxruntime session of a model's file or content; it raises what that raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None and threads < 1:
        raise ReadError(f"{threads} threads: give 1 or more, or leave it to the machine's cores")
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Else it prints that it tries the same again.
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def run_session(
    session: Any, images: np.ndarray, widths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits (B, T, K) and real frames (B,) of images (B, H, W, C) of real widths (B,)."""
    inputs = {"images": images, "widths": widths.astype(np.int32)}
    return tuple(session.run(["logits", "frames"], inputs))


class _Look(NamedTuple):
    """A view of an image, as a network is given it.

    Attributes:
      pixels: (H, W', C).
      view: of the image.
      size: (width, height) of the image as it is turned.
    """

    pixels: np.ndarray
    view: View
    size: tuple[int, int]


class _Way(NamedTuple):
    """How frames are read; see `Reader.read`."""

    decoder: str
    lexicon: Lexicon | None
    lm: LanguageModel | None
    characters: bool
    batch_size: int


class Reader:
    """An exported model that reads images.

    Args:
      session: an onnxruntime session.
      squeeze: squeezes lines wider than those of training to that, instead of reading them in
        windows.

    Raises:
      ReadError: its metadata are not those of an exported recogniser.
    """

    def __init__(self, session: Any, squeeze: bool = False):
        self._session = session
        try:
            found = session.get_modelmeta().custom_metadata_map
            self.metadata = json.loads(found[PREFIX + "model"])
            if self.metadata["format"] != FORMAT:
                raise ReadError(
                    f"a model of format {self.metadata['format']!r:.20}, and this reader knows "
                    f"{FORMAT}: take the reader that came with the model"
                )
            charset = self.metadata["charset"]
            self.charset = Charset(charset["classes"], charset["case"])
            self.preprocess = Preprocess(**self.metadata["preprocess"])
            self.temperature = float(self.metadata["temperature"])
            frames = self.metadata["frames"]
            self._frames = float(frames["step"]), float(frames["start"])
            step, start = self._frames
            if not (1e-3 < self.temperature < 1e3 and 0 < step < 1e6 and abs(start) < 1e6):
                raise ValueError("its temperature or its frames cannot be")
            windows = Windows.of(self.preprocess.widest, max(round(step), 1))
            if self.preprocess.height * max(self.preprocess.widest, windows.width) > MOST_INPUT:
                raise ValueError("its images are too large")
            self._windows: Windows | None = None
            if self.preprocess.fit == "keep" and not squeeze:
                self._windows, longest = windows, LONGEST * windows.width
                self.preprocess = dataclasses.replace(self.preprocess, max_width=longest)
        except (
            AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError,
            RecursionError,
        ) as error:  # fmt: skip
            if isinstance(error, ReadError):
                raise
            raise ReadError(
                f"not a model of crnn_jax ({type(error).__name__}: {_told(error)}): export it again"
            ) from None

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], threads: int | None = None, squeeze: bool = False
    ) -> Reader:
        """Opens a model.

        Args:
          path: of the ONNX file.
          threads: for one reading; None: as many as there are cores.
          squeeze: squeezes lines wider than those of training to that, instead of reading them in
            windows.

        Raises:
          ReadError: it cannot be read.
        """
        if not os.path.isfile(path):
            raise ReadError(f"{os.fspath(path)[:300]}: no such model")
        try:
            session = open_session(os.fspath(path), threads)
        except ImportError as error:
            raise ReadError(
                f"onnxruntime cannot be used ({error}): pip install onnxruntime"
            ) from None
        except ReadError:
            raise
        except Exception as error:  # its errors have no common class
            told = " ".join(str(error).split())[:160]
            raise ReadError(f"{path}: not an ONNX model that can be opened ({told})") from None
        try:
            return cls(session, squeeze)
        except ReadError as error:
            raise ReadError(f"{path}: {error}") from None

    def logits(self, images: Sequence[np.ndarray], batch_size: int = 32) -> list[np.ndarray]:
        """Returns the logits (T, K) of preprocessed images; log posteriors of lines in windows.

        Args:
          images: (H, W', C) each, padded to the widest of a step.
          batch_size: most images, or windows, per step.
        """
        windows = self._windows
        if windows is None:
            return self._in_steps(images, batch_size)
        starts = [windows.starts(image.shape[1]) for image in images]
        pieces = [
            image[:, start : start + windows.width]
            for image, own in zip(images, starts, strict=True)
            for start in own
        ]
        found = iter(self._in_steps(pieces, batch_size))
        try:
            return [windows.merged(list(itertools.islice(found, len(own)))) for own in starts]
        except ValueError as error:  # frames that windows of their widths do not have
            raise ReadError(f"the model cannot read ({_told(error)}): export it again") from None

    def _in_steps(self, images: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """Returns the logits (T, K) of images, of which so many are read in one step."""
        steps = range(0, len(images), batch_size)
        return [own for start in steps for own in self._run(images[start : start + batch_size])]

    def _run(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the logits (T, K) of images that are read in one step."""
        widths = np.array([image.shape[1] for image in images], np.int32)
        height, _, channels = images[0].shape
        batch = np.zeros((len(images), height, widths.max(), channels), np.uint8)
        for row, image in enumerate(images):
            batch[row, :, : image.shape[1]] = image
        try:
            logits, frames = run_session(self._session, batch, widths)
            found = [own[:count] for own, count in zip(logits, frames, strict=True)]
        except Exception as error:  # of a damaged graph; its errors have no common class
            raise ReadError(f"the model cannot read ({_told(error)}): export it again") from None
        classes = len(self.charset.classes) + 1
        if not all(
            own.ndim == 2 and own.shape[1] == classes and np.isfinite(own).all() for own in found
        ):
            raise ReadError(
                f"the model does not tell {classes} classes from each other: export it again"
            )
        return found

    def read(
        self,
        images: Sequence[Any],
        batch_size: int = 32,
        decoder: str | None = None,
        lexicon: Lexicon | Sequence[str] | None = None,
        characters: bool = True,
        lm: LanguageModel | None = None,
        careful: bool = False,
        rotations: bool = False,
    ) -> list[Reading]:
        """Reads images: paths, encoded bytes, arrays or Pillow images, see `load_image`.

        Args:
          images: what to read.
          batch_size: most images per step.
          decoder: one of DECODERS; "lexicon" reads the best of the words of `lexicon`. None: that,
            where there are words, "beam" where there is a language model, else "greedy".
          lexicon: words, for the decoder "lexicon".
          characters: whether to look at the characters, which takes longer than greedy decoding.
          lm: language model, for the decoder "beam".
          careful: looks again at what is unsure, in `other_views`, and takes the surest.
          rotations: also turns images by 90, 180 and 270 degrees, and takes the surest.

        Raises:
          ReadError: for the first image that cannot be read, or an option that cannot be.
        """
        if batch_size < 1:
            raise ReadError(f"batch_size={batch_size}: give a number of images, 1 or more")
        if isinstance(images, str | bytes | bytearray) or not isinstance(images, Sequence):
            raise ReadError("read takes a list of images: put the one into brackets, as in [IMAGE]")
        if decoder is None:
            decoder = "lexicon" if lexicon is not None else "greedy" if lm is None else "beam"
        if decoder not in DECODERS:
            raise ReadError(f"unknown decoder {decoder!r}: valid: {', '.join(DECODERS)}")
        known: Lexicon | None = None
        if decoder == "lexicon":
            if lexicon is None:
                raise ReadError("decoder 'lexicon' needs words: give lexicon=[...]")
            known = lexicon if isinstance(lexicon, Lexicon) else Lexicon(lexicon, self.charset)
        elif lexicon is not None:
            raise ReadError(f"decoder {decoder!r} uses no lexicon: leave one of them out")
        if lm is not None:
            self._check_lm(lm, decoder)
        way = _Way(decoder, known, lm, characters, batch_size)
        turns = DEGREES if rotations else (0,)
        plain: list[_Look] = []
        for i in range(len(images)):
            image = self._load(images, i)
            plain += [self._look(image, View(turn)) for turn in turns]
        readings = self._readings(plain, way)
        unsure = [n for n, r in enumerate(readings) if careful and r.confidence < SURE]
        for start in range(0, len(unsure), batch_size):  # ten views of each are held
            looks: dict[int, list[_Look]] = {}
            chunk = unsure[start : start + batch_size]
            for i, rows in itertools.groupby(chunk, lambda n: n // len(turns)):
                image = self._load(images, i)
                for n in rows:
                    turn = turns[n % len(turns)]
                    views = other_views(*turned_size(*image.size, turn))
                    looks[n] = [self._look(image, view.turned(turn)) for view in views]
            others = iter(self._readings([look for own in looks.values() for look in own], way))
            for n, own in looks.items():
                readings[n] = surest(readings[n], list(itertools.islice(others, len(own))))
        return [
            likely_upright(readings[n : n + len(turns)])
            for n in range(0, len(readings), len(turns))
        ]

    def _load(self, images: Sequence[Any], i: int) -> Image.Image:
        """Returns one of the images; a ReadError says which of them cannot be read."""
        try:
            return load_image(images[i], self.preprocess.channels)
        except ReadError as error:
            raise ReadError(f"image {i}: {error}") from None

    def _look(self, image: Image.Image, view: View) -> _Look:
        """Returns a view of an image as the network is given it."""
        size = turned_size(*image.size, view.rotation)
        return _Look(self.preprocess(image, view), view, size)

    def _readings(self, looks: Sequence[_Look], way: _Way) -> list[Reading]:
        """Returns the readings of views, of which those of alike widths are read together."""
        order = sorted(range(len(looks)), key=lambda i: looks[i].pixels.shape[1])
        readings: dict[int, Reading] = {}
        for start in range(0, len(order), way.batch_size):
            rows = order[start : start + way.batch_size]
            batch = self.logits([looks[i].pixels for i in rows], way.batch_size)
            for row, logits in zip(rows, batch, strict=True):
                readings[row] = self._reading(logits, looks[row], way)
        return [readings[i] for i in range(len(looks))]

    def _check_lm(self, lm: LanguageModel, decoder: str) -> None:
        """Raises a ReadError where a language model is of no use."""
        if not isinstance(lm, LanguageModel):
            raise ReadError("lm= takes what LanguageModel.load(...) returns, as of model_lm.npz")
        if decoder != "beam":
            raise ReadError(f"decoder {decoder!r} uses no language model: leave one of them out")
        if lm.classes != self.charset.classes:
            raise ReadError(
                f"language model {lm.name!r} was exported for other characters: export it with "
                "this model"
            )

    def _reading(self, logits: np.ndarray, look: _Look, way: _Way) -> Reading:
        p = posteriors(logits, 1.0)
        if way.lexicon is not None:
            found = [(ids, text) for ids, text, _ in way.lexicon.best(p, count=5)]
        else:
            strings = [greedy(p)] if way.decoder == "greedy" else beam(p, model=way.lm)
            if len(strings) > 1:
                ranks = log_probabilities(p, strings)
                if way.lm is not None:
                    ranks = ranks + [way.lm.string_score(ids) for ids in strings]
                strings = [strings[i] for i in np.argsort(-ranks, kind="stable")[:4]]
            found = [(ids, self.charset.decode(ids)) for ids in strings]
        if not found:
            return Reading("", 0.0)
        # What is found does not depend on the calibration, how sure it is does.
        calibrated = posteriors(logits, self.temperature)
        scores = log_probabilities(calibrated, [ids for ids, _ in found])
        (ids, text), *_ = found
        sure = np.exp(np.minimum(scores, 0.0)).tolist()
        others = [Alternative(t, s) for (_, t), s in zip(found[1:], sure[1:], strict=True)]
        placed = self._characters(calibrated, ids, look) if way.characters and ids else ()
        view = look.view
        return Reading(text, sure[0], tuple(others), placed, view.rotation, view.slope)

    def _characters(self, p: np.ndarray, ids: Sequence[int], look: _Look) -> tuple[Character, ...]:
        """Returns the characters of a text; each reaches half-way to its neighbours' peaks."""
        first, last = align(p, ids)
        if not len(first):
            return ()
        step, start = self._frames
        width = look.pixels.shape[1]
        peaks = step * ((first + last) / 2 + 0.5) + start
        middles = (peaks[1:] + peaks[:-1]) / 2
        alone = len(ids) == 1
        left = peaks[0] - (width if alone else middles[0] - peaks[0])
        right = peaks[-1] + (width if alone else peaks[-1] - middles[-1])
        edges = np.clip(np.concatenate([[left], middles, [right]]), 0, width) / width
        edges = look.view.across(edges, *look.size) * look.size[0]
        sure = np.fmin(np.fmax(character_posteriors(p, ids), 0.0), 1.0)  # NaN is 0
        return tuple(
            Character(self.charset.classes[i - 1], float(c), float(x0), float(x1))
            for i, c, x0, x1 in zip(ids, sure, edges, edges[1:], strict=False)
        )


# --- command line ---------------------------------------------------------------------------------

_EXAMPLE = """example:
  python %(prog)s word.png photos/
  python %(prog)s --lexicon=words.txt --format=json photos/
  python %(prog)s --lm=model_lm.npz photos/
  python %(prog)s --careful --format=tsv photos/"""


def _find(paths: Sequence[str]) -> Iterator[pathlib.Path]:
    """Yields files as they are, and the images of folders, in order.

    Raises:
      ReadError: a folder has none, or a path is empty.
    """
    for path in paths:
        if not path:
            raise ReadError("an empty path: give that of an image or a folder")
        if not os.path.isdir(path):
            yield pathlib.Path(path)
            continue
        images = [p for p in pathlib.Path(path).rglob("*") if p.suffix.lower() in SUFFIXES]
        # macOS leaves ._NAME.png beside NAME.png
        images = [p for p in images if p.is_file() and not p.name.startswith(".")]
        if not images:
            raise ReadError(f"{path}: no images in this folder ({' '.join(SUFFIXES)})")
        yield from sorted(images)


def reader_name(model: str) -> str:
    """Returns the name, which Python can import, of the reader beside a model's file."""
    return re.sub(r"\W|^(?=\d)", "_", f"{pathlib.PurePath(model).stem}_reader") + ".py"


def lm_name(model: str) -> str:
    """Returns the name of the language model beside a model's file."""
    return f"{pathlib.PurePath(model).stem}_lm.npz"


def _default_model() -> pathlib.Path:
    """Returns the model that this file was written beside, or the only one that there is."""
    here = pathlib.Path(__file__)
    models = sorted(here.parent.glob("*.onnx"))
    found = [model for model in models if reader_name(model.name) == here.name] or models
    if len(found) != 1:
        raise ReadError(f"{len(found)} models beside the reader: name one with --model=FILE.onnx")
    return found[0]


def record(path: str, reading: Reading) -> dict[str, Any]:
    """Returns a reading as JSON values."""
    turned = {"rotation": reading.rotation, "slope": reading.slope}
    return {
        "path": path,
        "text": reading.text,
        "confidence": round(reading.confidence, 6),
        "chars": [
            {"char": c.char, "confidence": round(c.confidence, 6),
             "x0": round(c.x0, 2), "x1": round(c.x1, 2)}
            for c in reading.characters
        ],
        "alternatives": [
            {"text": a.text, "confidence": round(a.confidence, 6)} for a in reading.alternatives
        ],
        **{name: degrees for name, degrees in turned.items() if degrees},
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Returns an exit code.

    0; 1 where an image could not be read, or a reading not be written; 2 where nothing is read.
    Each has its line.
    """
    args = _parse(argv)
    with contextlib.suppress(OSError, AttributeError):  # libtiff tells what is an error here anyway
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be of any bytes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            opened = _open(args)
        except (ReadError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return _print_all(args, *opened)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the other end has gone, as in `... | head`
            print(f"error: readings cannot be written: {error.strerror}", file=sys.stderr)
        # Python tries once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Reads the text in images with an exported model.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image or folder")
    parser.add_argument("--model", help="ONNX file; default: the only one beside this file")
    parser.add_argument(
        "--decoder", choices=DECODERS, help="default: what --lexicon or --lm need, else greedy"
    )
    parser.add_argument("--lexicon", help="text file with a word per line")
    parser.add_argument("--lm", help="language model that was exported with the model (..._lm.npz)")
    parser.add_argument(
        "--squeeze",
        action="store_true",
        help="squeezes lines wider than those of training instead of reading them in windows",
    )
    parser.add_argument(
        "--rotations",
        action="store_true",
        help="also turns images by 90, 180 and 270 degrees, and keeps the surest reading",
    )
    parser.add_argument(
        "--careful",
        action="store_true",
        help="looks again at what is unsure: with margins, stretched, with more contrast, "
        "straightened, turned",
    )
    parser.add_argument("--format", default="text", choices=("text", "tsv", "json"))
    parser.add_argument("--threads", type=int, help="for one reading; default: all cores")
    return parser.parse_args(argv)


def _open(args: argparse.Namespace) -> tuple[list[pathlib.Path], Reader, dict[str, Any]]:
    """Returns the images, the model, and what it is to read with.

    Raises:
      ReadError, OSError: something of it cannot be used.
    """
    if args.decoder == "lexicon" and args.lexicon is None:
        raise ReadError("--decoder=lexicon needs --lexicon=FILE, a word per line")
    if args.decoder not in (None, "lexicon") and args.lexicon is not None:
        raise ReadError(f"--decoder={args.decoder} uses no lexicon: leave one of them out")
    if args.lexicon == "":
        raise ReadError("--lexicon names no file: give one with a word per line, or leave it out")
    if args.lm is not None and (args.lexicon is not None or args.decoder not in (None, "beam")):
        raise ReadError(
            "--lm is for the beam search: leave it, or --lexicon and other decoders, out"
        )
    if args.lm == "":
        raise ReadError(
            "--lm names no file: give what export wrote beside the model, or leave it out"
        )
    paths = list(_find(args.paths))
    if args.model == "":
        raise ReadError("--model names no file: give an ONNX model, or leave it out")
    reader = Reader.load(args.model or _default_model(), args.threads, args.squeeze)
    found: dict[str, Any] = {
        "decoder": args.decoder, "careful": args.careful, "rotations": args.rotations,
    }  # fmt: skip
    if args.lm is not None:
        found["lm"] = LanguageModel.load(args.lm)
        reader._check_lm(found["lm"], "beam")
    if args.lexicon is not None:
        try:
            words = listed_words(pathlib.Path(args.lexicon).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
            raise ReadError(
                f"--lexicon={args.lexicon}: {why}: give a text file with a word per line"
            ) from None
        found["lexicon"] = Lexicon(words, reader.charset)
    return paths, reader, found


def _print_all(
    args: argparse.Namespace, paths: Sequence[pathlib.Path], reader: Reader, way: dict[str, Any]
) -> int:
    """Prints readings as they come; returns the exit code. Raises OSError for what cannot."""
    failed = 0
    for path in paths:
        try:
            (reading,) = reader.read([path], characters=args.format == "json", **way)
        except ReadError as error:
            failed += 1
            told = str(error).removeprefix("image 0: ")
            print(told, file=sys.stderr)
            if args.format == "json":
                print(json.dumps({"path": str(path), "error": told}), flush=True)
            continue
        if args.format == "json":
            # The escapes of another encoding's output are not those of JSON.
            plain = (sys.stdout.encoding or "").lower() != "utf-8"
            line = json.dumps(record(str(path), reading), ensure_ascii=plain)
        elif args.format == "tsv":
            cells = str(path), reading.text, f"{reading.confidence:.6f}"
            line = "\t".join(cell.translate(_ESCAPED) for cell in cells)
        else:
            line = _printable(f"{path}: {reading.text}  ({reading.confidence:.2f})")
        print(line, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
