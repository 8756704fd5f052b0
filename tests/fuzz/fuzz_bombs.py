"""Small files that ask for much: pixels, memory or time."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

from fuzz_structure import png_chunk
from PIL import Image

_SIDES = (0, 1, 2, 100, 8000, 32767, 65535, 65536, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1)
_MANY = 300_000_000  # bytes that a stream of few unfolds to


@functools.cache
def _stream(count: int) -> bytes:
    packer = zlib.compressobj(9)
    part = bytes(1 << 20)
    whole = b"".join(packer.compress(part) for _ in range(count >> 20))
    return whole + packer.compress(bytes(count & 0xFFFFF)) + packer.flush()


def _png(width: int, height: int, depth: int, colour: int, stream: bytes, *more: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", stream)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body + png_chunk(b"IEND", b"")


def huge_png(rng: random.Random) -> bytes:
    """Says that it is huge and holds next to nothing."""
    sides = rng.choice(_SIDES), rng.choice(_SIDES)
    return _png(*sides, rng.choice((1, 8, 16)), rng.choice((0, 2, 4, 6)), _stream(1000))


def full_png(rng: random.Random) -> bytes:
    """Holds as many pixels as may be read, all of them there, in a few hundred kilobytes."""
    width, height = rng.choice(((8000, 8000), (64_000_000, 1), (1, 64_000_000), (1000, 64_000)))
    depth, colour = rng.choice(((1, 0), (8, 0), (16, 0), (8, 2), (8, 4), (8, 6), (16, 6)))
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = 1 + (width * depth * samples + 7) // 8
    return _png(width, height, depth, colour, _stream(row * height))


def long_stream(rng: random.Random) -> bytes:
    """A small PNG whose pixels, profile or text unfold to hundreds of megabytes."""
    stream = _stream(_MANY)
    kind = rng.choice((b"IDAT", b"iCCP", b"zTXt", b"iTXt"))
    if kind == b"IDAT":
        return _png(10, 10, 8, 0, stream)
    start = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\x01\0\0\0"}[kind]
    return _png(10, 10, 8, 0, zlib.compress(bytes(110)), png_chunk(kind, start + stream))


def many_texts(rng: random.Random) -> bytes:
    """A small PNG with thousands of notes."""
    notes = png_chunk(rng.choice((b"tEXt", b"zTXt", b"iTXt")), b"a\0\0" + _stream(900_000))
    return _png(10, 10, 8, 0, zlib.compress(bytes(110)), notes * rng.choice((10, 1000)))


def _patched(data: bytes, place: int, fields: bytes) -> bytes:
    return data[:place] + fields + data[place + len(fields) :]


def _saved(form: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, form, **options)
    return stream.getvalue()


def huge_gif(rng: random.Random) -> bytes:
    """A large screen, or a frame beyond it."""
    data = _saved("GIF", "L")
    sides = struct.pack("<HH", rng.choice(_SIDES) % 65536, rng.choice(_SIDES) % 65536)
    frame = data.index(b"\x2c", 13) + 5
    data = _patched(data, frame, sides) if rng.random() < 0.5 else data
    return _patched(data, 6, sides) if rng.random() < 0.5 else data


def huge_bmp(rng: random.Random) -> bytes:
    """Large sides (negative ones, too), perhaps run-length coded: all pixels in a few bytes."""
    data = _saved("BMP", "L")
    sides = (rng.choice((40, 8000, 65535, -1, 2**31 - 1)) for _ in range(2))
    data = _patched(data, 18, struct.pack("<ii", *sides))
    return _patched(data, 30, struct.pack("<I", rng.choice((0, 1, 2, 3))))


def huge_webp(rng: random.Random) -> bytes:
    """A canvas larger than what is on it."""
    data = _saved("WEBP", save_all=True, append_images=[Image.new("RGB", (40, 30), "red")])
    sides = [rng.choice((39, 7999, 16383, 2**24 - 1)) for _ in range(2)]
    fields = b"".join(side.to_bytes(3, "little") for side in sides)
    return _patched(data, data.index(b"VP8X") + 12, fields)


def huge_tiff(rng: random.Random) -> bytes:
    """Large sides, many samples, or strips that are not there."""
    data = _saved("TIFF", compression=rng.choice((None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")))
    for tag in rng.sample((256, 257, 277, 278), k=rng.choice((1, 2))):
        at = data.find(struct.pack("<HH", tag, 4))
        at = at if at >= 0 else data.find(struct.pack("<HH", tag, 3))
        if at >= 0:
            value = struct.pack("<I", rng.choice((0, 8000, 65535, 2**31 - 1)))
            data = _patched(data, at + 8, value)
    return data


def huge_jpeg(rng: random.Random) -> bytes:
    """Large sides, of which almost nothing is there."""
    data = _saved("JPEG", progressive=rng.random() < 0.5)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    sides = (rng.choice(_SIDES[:7]) for _ in range(2))
    return _patched(data, frame + 5, struct.pack(">HH", *sides))


def many_scans(rng: random.Random) -> bytes:
    """A progressive JPEG that goes over all its pixels again and again."""
    data = _saved("JPEG", "L", progressive=True)
    side = rng.choice((1000, 8000))
    data = _patched(data, data.index(b"\xff\xc2") + 5, struct.pack(">HH", side, side))
    scans = data[data.index(b"\xff\xda") : -2]
    data = data[: data.index(b"\xff\xda")] + scans * rng.choice((10, 1000)) + b"\xff\xd9"
    return _of_several(data) if rng.random() < 0.5 else data


def _of_several(data: bytes) -> bytes:
    """Returns a JPEG with the header of one that holds several pictures: it has another reader."""
    several = _saved("MPO", "L", save_all=True, append_images=[Image.new("L", (40, 30))])
    start = several.index(b"\xff\xe2")
    size = 2 + int.from_bytes(several[start + 2 : start + 4], "big")
    return data[:2] + several[start : start + size] + data[2:]


def thin(rng: random.Random) -> bytes:
    """Extreme shapes, one pixel among them."""
    long = rng.choice((1, 2, 1000, 16_000, 60_000))
    size = rng.choice(((1, 1), (long, 1), (1, long), (long, 2), (3, long)))
    form = rng.choice(("PNG", "JPEG", "BMP", "GIF", "TIFF"))
    return _saved(form, rng.choice(("L", "1")), size)


BOMBS: dict[str, Callable[[random.Random], bytes]] = {
    "huge PNG": huge_png,
    "full PNG": full_png,
    "long stream": long_stream,
    "many texts": many_texts,
    "huge GIF": huge_gif,
    "huge BMP": huge_bmp,
    "huge WebP": huge_webp,
    "huge TIFF": huge_tiff,
    "huge JPEG": huge_jpeg,
    "many scans": many_scans,
    "thin": thin,
}
COSTLY = ("full PNG", "long stream", "many scans")  # seconds each, so there are fewer of them
