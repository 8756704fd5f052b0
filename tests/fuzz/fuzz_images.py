"""Images that go wrong: good ones of every format and mode, and what can happen to their bytes.

Everything is a pure function of a `random.Random`: the long form seeds one per input, Hypothesis
steers the draws of its own and makes failing ones small.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import random
from collections.abc import Callable
from typing import Any

import fuzz_bombs
import fuzz_structure
import numpy as np
from PIL import Image, ImageDraw

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".PNG")
MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV",
    "I", "F", "I;16", "I;16B", "I;16L",
)  # fmt: skip
ODD_PATHS = (
    "fifo", "folder", "loop", "broken link", "/dev/zero", "/dev/null", "/dev/full",
    "/proc/self/mem", "missing", "long name", "NUL in the name", "below a file",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PAGES = {
    "text": b"this is a text\n" * 20,
    "html": b"<!DOCTYPE html><html><body>404 not found</body></html>",
    "json": b'{"image": null}',
    "pickle": b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
    "zip": b"PK\x05\x06" + bytes(18),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(30),
    "program": b"\x7fELF\x02\x01\x01" + bytes(60),
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "PNM": b"P6 4 4 255 " + bytes(48),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "labels": "a.png\tcafé\n".encode("utf-16"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """An input.

    Attributes:
      kind: what was done, for tables.
      content: bytes of a file; one of ODD_PATHS; an array or a Pillow image; or of another type.
      suffix: of the file.
    """

    kind: str
    content: Any
    suffix: str = ".png"


def image_case(rng: random.Random, in_memory: bool = True) -> Case:
    """Returns an input for what reads images.

    Args:
      rng: draws it.
      in_memory: also arrays, Pillow images and Python's other types, which are no files.
    """
    kinds = [(_mutated, 60), (_structured, 24), (_whole, 4), (_no_image, 3), (_bomb, 5), (_odd, 2)]
    if in_memory:
        kinds += [(_array, 2), (_pillow, 2), (_other_type, 0.5)]
    makers, weights = zip(*kinds, strict=True)
    kind, content = rng.choices(makers, weights)[0](rng)
    return Case(kind, content, rng.choice(SUFFIXES))


@functools.cache
def seeds() -> dict[str, bytes]:
    """Returns good images by what they are."""
    word = _word()
    found: dict[str, bytes] = {}

    def save(mode: str, form: str, note: str = "", **options: Any) -> None:
        image = _with_mode(word, mode)
        stream = io.BytesIO()
        image.save(stream, form, **options)
        found[f"{form} {mode} {note}".strip()] = stream.getvalue()

    more = [_with_mode(word.rotate(9), "L"), _with_mode(word.rotate(-9), "L")]
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = {"icc_profile": bytes(range(256)) * 2}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        save(mode, "PNG")
    save("P", "PNG", "one clear colour", transparency=3)
    save("P", "PNG", "clear colours", transparency=bytes(range(0, 250, 10)))
    save("RGB", "PNG", "a clear colour", transparency=(0, 0, 0))
    save("I;16", "PNG", "a clear grey", transparency=128)
    save("RGB", "PNG", "turned", exif=exif, **profile)
    save("L", "PNG", "animated", save_all=True, append_images=more)
    for mode in ("L", "RGB", "CMYK"):
        save(mode, "JPEG")
        save(mode, "JPEG", "progressive", progressive=True)
    save("RGB", "JPEG", "turned", exif=exif, **profile)
    save("RGB", "JPEG", "restarts", restart_marker_blocks=1, subsampling=2)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        save(mode, "BMP")
    for mode in ("1", "L", "P"):
        save(mode, "GIF")
    save("P", "GIF", "clear", transparency=2)
    save("L", "GIF", "animated", save_all=True, append_images=more)
    save("RGB", "WEBP")
    save("RGB", "WEBP", "turned", exif=exif, **profile)
    save("RGBA", "WEBP", "lossless", lossless=True)
    save("RGB", "WEBP", "animated", save_all=True, append_images=[m.convert("RGB") for m in more])
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I", "I;16", "I;16B", "F"):
        save(mode, "TIFF")
    for compression in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        save("RGB", "TIFF", compression, compression=compression)
    for compression in ("group3", "group4"):
        save("1", "TIFF", compression, compression=compression)
    save("RGB", "TIFF", "big", big_tiff=True)
    save("RGB", "TIFF", "turned", exif=exif, **profile)
    save("L", "TIFF", "pages", save_all=True, append_images=more)
    return found


def _word() -> Image.Image:
    image = Image.new("L", (72, 24), 255)
    ImageDraw.Draw(image).text((6, 5), "Fuzz 42!", fill=0)
    return image


def _with_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16) * 257
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, image.size, values.astype(order).tobytes())
    if mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        return image
    return (
        image.convert("RGB").convert(mode) if mode in ("P", "CMYK", "LAB") else image.convert(mode)
    )


# What happens to bytes.


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_in_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 64))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random) -> None:
    """Writes a number that programs stumble over, where sizes often stand."""
    size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
    place = rng.randrange(min(len(data), rng.choice((40, 200, 1 << 30))))
    value = rng.choice(_NUMBERS) % (1 << 8 * size)
    data[place : place + size] = value.to_bytes(size, order)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _cut_out(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 32, 500))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.choice((1, 8, 100))] * rng.choice((1, 3, 50))


def _zeros(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    count = min(rng.choice((4, 64, 1000)), len(data) - start)
    data[start : start + count] = bytes([rng.choice((0, 255))]) * count


def _splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(list(seeds().values()))
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _tail(data: bytearray, rng: random.Random) -> None:
    data += _noise(rng, 1 + rng.randrange(300))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _flip_bits,
    _flip_in_header,
    _number,
    _number,
    _cut,
    _cut_out,
    _repeat,
    _zeros,
    _splice,
    _tail,
)


def _noise(rng: random.Random, count: int) -> bytes:
    return np.random.default_rng(rng.randrange(2**32)).bytes(count)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Returns bytes after one to three of the MUTATIONS."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if changed:
            rng.choice(MUTATIONS)(changed, rng)
    return bytes(changed)


# Kinds of inputs: what was done, and the content.


def _seed(rng: random.Random) -> tuple[str, bytes]:
    name = rng.choice(list(seeds()))
    return name, seeds()[name]


def _mutated(rng: random.Random) -> tuple[str, bytes]:
    name, data = _seed(rng)
    return f"mutated {name.split()[0]}", mutate(data, rng)


def _structured(rng: random.Random) -> tuple[str, bytes]:
    """Changes one part of a file as its format divides it, checksums made right again."""
    name, data = _seed(rng)
    form = name.split()[0]
    return f"parts of {form}", fuzz_structure.EDITS[form](data, rng)


def _whole(rng: random.Random) -> tuple[str, bytes]:
    name, data = _seed(rng)
    return f"whole {name.split()[0]}", data


def _no_image(rng: random.Random) -> tuple[str, bytes]:
    name = rng.choice(["nothing", "noise", *_PAGES])
    if name == "nothing":
        return "no image", b""
    return "no image", _noise(rng, rng.randrange(1, 999)) if name == "noise" else _PAGES[name]


def _bomb(rng: random.Random) -> tuple[str, bytes]:
    names = list(fuzz_bombs.BOMBS)
    weights = [0.2 if name in fuzz_bombs.COSTLY else 1 for name in names]
    name = rng.choices(names, weights)[0]
    return f"bomb: {name}", fuzz_bombs.BOMBS[name](rng)


def _odd(rng: random.Random) -> tuple[str, str]:
    return "odd path", rng.choice(ODD_PATHS)


def _array(rng: random.Random) -> tuple[str, np.ndarray]:
    shape = [rng.choice((0, 1, 2, 3, 4, 20, 33)) for _ in range(rng.choice((0, 1, 2, 2, 3, 3, 4)))]
    kind = rng.choice(("u1", "u2", "u4", "i8", "f2", "f4", "f8", "c8", "?", "O", "U3", "M8[s]"))
    array = np.zeros(shape, kind)
    if kind[0] == "f" and array.size:
        array.flat[0] = rng.choice((np.nan, np.inf, -1.0, 1.0, 2.0))
    if rng.random() < 0.1:  # large, and without memory of its own
        array = np.broadcast_to(np.zeros((1, 1), "u1"), (100_000, rng.choice((1, 600, 100_000))))
    return "array", array


def _pillow(rng: random.Random) -> tuple[str, Image.Image]:
    if rng.random() < 0.5:
        _, data = _seed(rng)
        try:
            return "Pillow image, lazy", Image.open(io.BytesIO(mutate(data, rng)))
        except Exception:  # it cannot be opened, so there is nothing to give
            return "Pillow image, whole", Image.open(io.BytesIO(data))
    size = tuple(rng.choice((0, 1, 7, 5000)) for _ in range(2))
    return "Pillow image, new", Image.new(rng.choice(MODES), size)


def _other_type(rng: random.Random) -> tuple[str, Any]:
    values = (None, 7, -1, 1.5, [], {}, (1, 2), object(), bytearray(b"x"), io.BytesIO(b"x"), [[0]])
    return "other type", rng.choice(values)
