"""Images: decoding them as people have them, and bringing them to the model's height.

Everything is decided from the header before any pixel is decoded, so an image that is too large
costs no memory. The formats' own readers are called directly instead of `PIL.Image.open`: its
pixel limit is a global setting that belongs to the caller's program, and it tries dozens of
formats that no text image comes in.
"""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from crnn_jax import memory, runtime
from crnn_jax.data.image_file import first_bytes, named, not_an_image, opened
from crnn_jax.data.pixels import (
    MAX_PIXELS,
    Pixels,
    check_scans,
    check_size,
    flatten,
    from_array,
    one_line,
    seen,
    to_array,
)
from crnn_jax.errors import ImageError, UserError, unknown_name
from crnn_jax.runtime import AS_IT_IS, View

FITS = ("squash", "keep")

# First bytes -> reader. WebP is told apart from other RIFF files in `_reader`.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"II*\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00*": TiffImagePlugin.TiffImageFile,
    b"II+\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00+": TiffImagePlugin.TiffImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}

# EXIF orientation -> what turns the stored pixels upright.
_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION_TAG, _SIZE_TAGS = 0x0112, (0x0100, 0x0101)  # width and height

_LARGE = MAX_PIXELS // 4  # pixels of images of which one at a time is decoded

_MOST_CHUNKS, _LONGEST_EXIF = 100_000, 2**16  # of a PNG; bytes

_large_lock = threading.RLock()
# Pillow logs what it also raises; without a handler of the caller's that would go to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Preprocess:
    """From any image to uint8[height, W', channels], by antialiased bilinear resizing.

    Attributes:
      height: pixels.
      channels: 1 (grey) or 3 (RGB).
      fit: 'squash' gives every image the same `width`; 'keep' keeps the aspect ratio.
      width: W' of 'squash'; unused by 'keep'.
      min_width: 'keep' stretches narrower images to this width; unused by 'squash'.
      max_width: 'keep' squeezes wider images to this width; unused by 'squash'.
    """

    height: int = 32
    channels: int = 1
    fit: str = "squash"
    width: int = 100
    min_width: int = 16
    max_width: int = 1024

    def __post_init__(self):
        if self.fit not in FITS:
            raise unknown_name("fit", self.fit, FITS)
        if self.channels not in (1, 3):
            raise UserError(f"channels={self.channels}: write 1 (grey) or 3 (RGB)")
        for field in ("height", "width", "min_width", "max_width"):
            if getattr(self, field) < 1:
                raise UserError(f"{field}={getattr(self, field)}: write at least 1 pixel")
        if self.min_width > self.max_width:
            raise UserError(
                f"min_width={self.min_width} is above max_width={self.max_width}: "
                "lower the one or raise the other"
            )

    @property
    def narrowest(self) -> int:
        """Pixels of the narrowest image that comes out."""
        return self.width if self.fit == "squash" else self.min_width

    @property
    def widest(self) -> int:
        """Pixels of the widest image that comes out."""
        return self.width if self.fit == "squash" else self.max_width

    def target_width(self, width: int, height: int) -> int:
        """Returns the width, in pixels, that an upright image of width x height comes out with."""
        if self.fit == "squash":
            return self.width
        scaled = (2 * width * self.height + height) // (2 * height)  # rounded, half up
        return min(max(scaled, self.min_width), self.max_width)

    def __call__(
        self,
        image: bytes | str | Path | np.ndarray | Image.Image,
        width: int | None = None,
        view: View = AS_IT_IS,
    ) -> Pixels:
        """Decodes and resizes one image.

        Args:
          image: an encoded image (bytes), the path of one, a PIL image, or an array HxW, HxWx1,
            HxWx3 or HxWx4 (alpha last) of uint8, uint16, or floats in 0..1.
          width: W', where it is not to be that of the image.
          view: of the upright image.

        Returns:
          uint8[height, W', channels]; by default, W' = target_width of the upright image.

        Raises:
          ImageError: as `decode_image`.
        """
        if isinstance(image, np.ndarray):
            pixels = flatten(from_array(image), self.channels)
        elif isinstance(image, Image.Image):
            pixels = _from_pil(image, self.channels)
        else:
            pixels = _decode(image, self.channels, MAX_PIXELS)
        pixels = seen(pixels, view, self.height)
        natural = self.target_width(view.stretched(pixels.width), pixels.height)
        size = (width or natural, self.height)
        return to_array(pixels.resize(size, Image.Resampling.BILINEAR))


def decode_image(data: bytes | str | Path, channels: int, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes an encoded image (PNG, JPEG, WebP, BMP, TIFF or GIF; its first frame).

    EXIF rotation is applied, transparency composited on white, 16-bit scaled to 8 bits. TIFFs of
    floats or 32-bit integers are read as 0..1, 0..255 or (integers) 0..65535, whichever is the
    narrowest range that holds their values.

    Args:
      data: the encoded bytes, or the path of a file.
      channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
      max_pixels: larger images are refused before they are decoded.

    Returns:
      uint8[H, W, channels].

    Raises:
      ImageError: not an image, truncated, empty, too large, no such file.
    """
    if channels not in (1, 3):
        raise UserError(f"channels={channels}: write 1 (grey) or 3 (RGB)")
    return to_array(_decode(data, channels, max_pixels))


def stored_image(data: bytes | str | Path) -> Image.Image:
    """Returns the RGB pixels of an encoded image as they are stored, EXIF rotation ignored.

    Raises:
      ImageError: as `decode_image`.
    """
    return _decode(data, 3, MAX_PIXELS, upright=False)


def image_size(
    data: bytes | str | Path, max_pixels: int = MAX_PIXELS, upright: bool = True
) -> tuple[int, int]:
    """Returns (width, height) from the header alone, of the upright or of the stored image.

    Raises:
      ImageError: not an image, empty, too large, no such file.
    """
    with opened(data) as file, named(data), _alone(file, max_pixels):
        _, orientation, size = _read_header(file, max_pixels)
    return size[::-1] if orientation in _SIDEWAYS and not upright else size


def size_of(image: bytes | str | Path | np.ndarray | Image.Image) -> tuple[int, int]:
    """Returns (width, height) of an upright image, given as `Preprocess` takes it."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    if isinstance(image, Image.Image):
        width, height = image.size
        return (height, width) if _exif_orientation(image) in _SIDEWAYS else (width, height)
    return image_size(image)


def _decode(
    data: bytes | str | Path, channels: int, max_pixels: int, upright: bool = True
) -> Image.Image:
    pixels = _load(data, channels, max_pixels, upright)
    if pixels.width * pixels.height > _LARGE:
        memory.give_back()  # up to a gigabyte, of what has been freed by now
    return pixels


def _load(data: bytes | str | Path, channels: int, max_pixels: int, upright: bool) -> Image.Image:
    with opened(data) as file, named(data), _alone(file, max_pixels):
        image, orientation, (width, height) = _read_header(file, max_pixels)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            check_scans(file, width * height)
        # Images are decoded by several threads, each of which may take half a gigabyte.
        with _large_lock if width * height > _LARGE else contextlib.nullcontext():
            try:
                with runtime.quiet:
                    image.load()
            except Exception as error:  # a damaged file makes the readers raise almost anything
                raise ImageError(
                    f"damaged or truncated {image.format} image ({one_line(error)}): "
                    "replace the file"
                ) from error
            check_size(*image.size, max_pixels)  # the header of a damaged file may say otherwise
            pixels = flatten(image, channels)
    turned = upright and orientation in _UPRIGHT
    return pixels.transpose(_UPRIGHT[orientation]) if turned else pixels


def _from_pil(image: Image.Image, channels: int) -> Image.Image:
    check_size(*image.size, MAX_PIXELS)
    try:
        with runtime.quiet:
            image.load()
    except Exception as error:  # as above; the image may have been opened lazily
        raise ImageError(f"the image cannot be loaded ({one_line(error)})") from error
    orientation = _exif_orientation(image)
    pixels = flatten(image, channels)
    return pixels.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else pixels


def _read_header(
    file: io.BufferedIOBase, max_pixels: int
) -> tuple[ImageFile.ImageFile, int, tuple[int, int]]:
    """Returns the unloaded image, the orientation left to apply after loading, the upright size."""
    reader = _reader(file)
    try:
        with runtime.quiet:
            image = reader(cast(IO[bytes], file))  # typeshed keeps the two apart
            tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # The reader turns TIFFs itself; whether `size` says so depends on its version.
                orientation = image.tag_v2.get(_ORIENTATION_TAG, 1)
                width, height = map(operator.index, (image.tag_v2[t] for t in _SIZE_TAGS))
            else:
                if isinstance(image, PngImagePlugin.PngImageFile) and (late := _late_exif(file)):
                    image.info.setdefault("exif", late)
                orientation = _exif_orientation(image)
                width, height = image.size
    except Image.DecompressionBombError as error:  # a GIF's frame beyond the GIF's own size
        raise ImageError(f"the image is too large ({one_line(error)})") from error
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise ImageError(f"damaged image header ({one_line(error)}): replace the file") from error
    check_size(width, height, max_pixels)
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    return image, 1 if tiff else orientation, size


def _late_exif(file: io.BufferedIOBase) -> bytes:
    """Returns the metadata that stand behind the pixels of a PNG, as ImageMagick writes them."""
    place, found = file.tell(), b""
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            found = file.read(min(size, _LONGEST_EXIF))
            break
        file.seek(size + 4, io.SEEK_CUR)
    file.seek(place)
    return found


def _reader(file: io.BufferedIOBase) -> type[ImageFile.ImageFile]:
    start = first_bytes(file, 16)
    if not start:
        raise ImageError("the image is empty (0 bytes): replace the file")
    for magic, reader in _READERS.items():
        if start.startswith(magic) and (magic != b"RIFF" or start[8:12] == b"WEBP"):
            return reader
    raise not_an_image(start)


def _exif_orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 when there is none or the metadata are damaged."""
    try:
        # The base class's method: PNG's own decodes the whole image in search of late metadata.
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # the pixels are fine, and viewers show such images as they are stored
        return 1


@contextlib.contextmanager
def _alone(file: io.BufferedIOBase, max_pixels: int) -> Iterator[None]:
    """Lets one large WebP at a time be opened: its reader takes 16 bytes a pixel to begin with."""
    width, height = runtime.webp_canvas(first_bytes(file, 30))
    check_size(width, height, max_pixels)
    with _large_lock if width * height > _LARGE else contextlib.nullcontext():
        yield
