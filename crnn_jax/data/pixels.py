"""From loaded pixels of any depth and colour space to 8-bit grey or RGB."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from crnn_jax.errors import ImageError

MAX_PIXELS = 64_000_000  # larger images are refused, encoded ones from their header
MAX_SIDE = 1_000_000  # pixels; readers hold whole rows in up to 16 bytes a pixel
_STRIP = 1 << 20  # pixels of an image that are converted together

Pixels = UInt8[np.ndarray, "H W C"]


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageError for an image without pixels, or with too many, in all or on a side."""
    if width < 1 or height < 1:
        raise ImageError(f"the image has no pixels ({width} x {height})")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"the image is too large: {width:,} x {height:,} pixels, at most {max_pixels:,} in "
            f"all and {MAX_SIDE:,} on a side are read; crop it or make it smaller"
        )


def flatten(image: Image.Image, channels: int) -> Image.Image:
    """Returns a loaded image in mode L or RGB, transparency composited on white."""
    mode = "L" if channels == 1 else "RGB"
    try:
        if image.mode in ("I", "F"):  # whose values are looked at together
            image = Image.fromarray(_wide_to_uint8(np.asarray(image)))
        if image.mode == mode and not image.has_transparency_data:
            return image
        if image.width * image.height <= _STRIP:
            return _flatten(image, mode)
        # Strip by strip, since on the way there are up to five images of four bytes a pixel.
        whole = Image.new(mode, image.size)
        for box in _strips(image.size):
            whole.paste(_flatten(image.crop(box), mode), box)
        return whole
    except ImageError:
        raise
    except Exception as error:  # Pillow raises almost anything for modes that it does not convert
        raise ImageError(
            f"pixels of mode {image.mode} cannot be converted ({one_line(error)}): "
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


def _flatten(image: Image.Image, mode: str) -> Image.Image:
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
    raise ImageError(
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


def from_array(array: np.ndarray) -> Image.Image:
    """Returns an image of 8 bits from HxW, HxWx1, HxWx3 or HxWx4; else raises ImageError."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"an array of shape {array.shape} is not an image: give HxW, HxWx1, HxWx3 or HxWx4"
        )
    check_size(array.shape[1], array.shape[0], MAX_PIXELS)
    if array.dtype == np.uint16:
        array = _uint16_to_uint8(array)
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # also false for NaN
            raise ImageError(
                f"a float image has values from {array.min():g} to {array.max():g}: "
                "give 0..1, or uint8"
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"an array of {array.dtype} is not an image: give uint8, uint16 or floats in 0..1"
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


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
