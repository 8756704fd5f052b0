"""From any depth and colour space to 8-bit grey or RGB, as the standalone reader does it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from crnn_jax import runtime
from crnn_jax.errors import ImageError
from crnn_jax.runtime import MAX_PIXELS

Pixels = UInt8[np.ndarray, "H W C"]


@contextlib.contextmanager
def _as_image_error() -> Iterator[None]:
    try:
        yield
    except runtime.ReadError as error:
        raise ImageError(str(error)) from error


def check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raises ImageError for an image without pixels, or with too many, in all or on a side."""
    with _as_image_error():
        runtime.check_size(width, height, max_pixels)


def check_scans(file: io.BufferedIOBase, pixels: int) -> None:
    """Raises ImageError for a JPEG that takes minutes, see `runtime.check_scans`."""
    with _as_image_error():
        runtime.check_scans(file, pixels)


def flatten(image: Image.Image, channels: int) -> Image.Image:
    """Returns a loaded image in mode L or RGB, see `runtime.flatten`; else raises ImageError."""
    with _as_image_error():
        return runtime.flatten(image, channels)


def seen(image: Image.Image, view: runtime.View, height: int) -> Image.Image:
    """Returns a view of an image, see `runtime.View.of`; else raises ImageError."""
    with _as_image_error():
        return view.of(image, height)


def from_array(array: np.ndarray) -> Image.Image:
    """Returns an image of 8 bits from HxW, HxWx1, HxWx3 or HxWx4; else raises ImageError."""
    with _as_image_error():
        return runtime.from_array(array)


def encode_png(array: np.ndarray) -> bytes:
    """Returns the PNG file of an image, see `from_array`."""
    buffer = io.BytesIO()
    from_array(array).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_array(image: Image.Image) -> Pixels:
    """Returns uint8[H, W, channels], writable, of an image in mode L or RGB."""
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array


def one_line(error: Exception) -> str:
    """Returns the error's message as one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
