"""Files of images taken apart as their formats divide them, with one part changed."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

_PNG = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 2, 3, 7, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_KINDS = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"tRNS",
    b"iCCP",
    b"zTXt",
    b"iTXt",
    b"tEXt",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"gAMA",
    b"pHYs",
    b"sRGB",
    b"IEND",
    b"\0\0\0\0",
)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _changed(data: bytes, rng: random.Random) -> bytes:
    """Returns a part with a byte or a number in it changed, cut, or grown."""
    out = bytearray(data or b"\0")
    how = rng.randrange(4)
    place = rng.randrange(len(out))
    if how == 0:
        out[place] = rng.randrange(256)
    elif how == 1:
        size = rng.choice((2, 4))
        value = rng.choice(_NUMBERS) % (1 << 8 * size)
        out[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))
    elif how == 2:
        del out[place:]
    else:
        out += bytes([rng.randrange(256)]) * rng.choice((1, 100, 70_000))
    return bytes(out)


def _rearranged(parts: list[bytes], rng: random.Random) -> list[bytes]:
    """Returns parts of which one is missing, there twice, or in another place."""
    place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    how = rng.randrange(3)
    part = parts.pop(place) if how != 1 else parts[place]
    if how:
        parts.insert(other, part)
    return parts


def png(data: bytes, rng: random.Random) -> bytes:
    chunks, place = [], len(_PNG)
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    how = rng.randrange(5)
    if how == 0:
        return _PNG + b"".join(_rearranged([png_chunk(*chunk) for chunk in chunks], rng))
    if how == 1:
        kind = rng.choice(_KINDS)
    elif how == 2 and kind == b"IDAT":  # what is inside of the stream
        body = zlib.compress(_changed(zlib.decompress(body), rng))
    elif how == 3:
        chunks.insert(which, (rng.choice(_KINDS), _changed(body, rng)))
        which += 1
    else:
        body = _changed(body, rng)
    chunks[which] = (kind, body)
    return _PNG + b"".join(png_chunk(*chunk) for chunk in chunks)


def jpeg(data: bytes, rng: random.Random) -> bytes:
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, place + 2)
        parts.append(data[place : place + 2 + size])
        place += 2 + size
    parts.append(data[place:])
    if rng.random() < 0.3:
        return b"".join(_rearranged(parts, rng))
    which = rng.randrange(1, len(parts))
    body = parts[which]
    changed = _changed(body[4:], rng)
    size = len(changed) + 2 if rng.random() < 0.7 else rng.choice(_NUMBERS)
    parts[which] = body[:2] + struct.pack(">H", size % 65536) + changed
    return b"".join(parts)


def tiff(data: bytes, rng: random.Random) -> bytes:
    """Changes the fields of entries of the first directory: tag, type, count, value."""
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    first, size = start + (8 if big else 2), 20 if big else 12
    long = "Q" if big else "I"
    for _ in range(rng.choice((1, 1, 2, 4))):
        entry = first + size * rng.randrange(count)
        how = rng.randrange(5)
        if how == 0:
            tag = rng.choice(
                (
                    254,
                    256,
                    257,
                    258,
                    259,
                    262,
                    266,
                    273,
                    274,
                    277,
                    278,
                    279,
                    282,
                    284,
                    317,
                    320,
                    322,
                    323,
                    324,
                    325,
                    330,
                    338,
                    339,
                    347,
                    529,
                    530,
                    532,
                    700,
                    33432,
                    34665,
                    34675,
                    rng.randrange(65536),
                )
            )
            struct.pack_into(order + "H", out, entry, tag)
        elif how == 1:
            struct.pack_into(order + "H", out, entry + 2, rng.randrange(20))
        elif how == 2:
            struct.pack_into(order + long, out, entry + 4, rng.choice(_NUMBERS))
        else:
            place = entry + (12 if big else 8)
            short = how == 3
            value = rng.choice(_NUMBERS) % (1 << (16 if short else 32))
            struct.pack_into(order + ("H" if short else "I"), out, place, value)
    return bytes(out)


def gif(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    if rng.random() < 0.5:  # the descriptor of a frame
        place = out.find(b"\x2c", 13)
        field = place + 1 + 2 * rng.randrange(4)
        out[field : field + 2] = struct.pack("<H", rng.choice(_NUMBERS) % 65536)
    else:
        place = rng.randrange(6, min(len(out), 900))
        out[place] = rng.choice((0, 1, 0x21, 0x2C, 0x3B, 0xF9, 0xFE, 0xFF))
    return bytes(out)


def bmp(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        place, size = rng.choice(
            (
                (2, 4),
                (10, 4),
                (14, 4),
                (18, 4),
                (22, 4),
                (26, 2),
                (28, 2),
                (30, 4),
                (34, 4),
                (46, 4),
                (50, 4),
                (54, 4),
                (66, 4),
            )
        )
        value = rng.choice((*_NUMBERS, 4, 8, 12, 16, 24, 32, 40, 56, 64, 108, 124, 2**32 - 24))
        out[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(out)


def webp(data: bytes, rng: random.Random) -> bytes:
    parts, place = [], 12
    while place + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, place + 4)
        parts.append(data[place : place + 8 + size + size % 2])
        place += 8 + size + size % 2
    if rng.random() < 0.3:
        parts = _rearranged(parts, rng)
    else:
        which = rng.randrange(len(parts))
        body = _changed(parts[which][8:], rng)
        size = len(body) if rng.random() < 0.7 else rng.choice(_NUMBERS)
        parts[which] = parts[which][:4] + struct.pack("<I", size) + body + bytes(len(body) % 2)
    body = b"".join(parts)
    total = len(body) + 4 if rng.random() < 0.9 else rng.choice(_NUMBERS)
    return b"RIFF" + struct.pack("<I", total) + b"WEBP" + body


EDITS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "PNG": png,
    "JPEG": jpeg,
    "TIFF": tiff,
    "GIF": gif,
    "BMP": bmp,
    "WEBP": webp,
}
