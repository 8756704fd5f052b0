"""Weight files written by hand, so that readers are tested without PyTorch."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_STORAGES = {"f4": b"FloatStorage", "f8": b"DoubleStorage", "f2": b"HalfStorage",
             "i8": b"LongStorage", "u1": b"ByteStorage"}  # fmt: skip


def text(value):
    """Opcodes that push a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    """Opcodes that push a whole number."""
    return b"J" + struct.pack("<i", value)


def numbers(values):
    """Opcodes that push a tuple."""
    return b"(" + b"".join(map(number, values)) + b"t"


ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def tensor(key, value, offset=0, shape=None, strides=None, size=None):
    """Opcodes that push a tensor, as torch.save writes it."""
    shape = value.shape if shape is None else shape
    strides = [s // value.itemsize for s in value.strides] if strides is None else strides
    kind = b"ctorch\n" + _STORAGES[value.dtype.str[1:]] + b"\n"
    storage = b"(" + text("storage") + kind + text(key) + text("cuda:0")
    storage += number(value.size if size is None else size)
    place = number(offset) + numbers(shape) + numbers(strides)
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return rebuild + storage + b"tQ" + place + b"\x89" + ORDERED_DICT + b"tR"


def parameter(opcodes):
    """Opcodes that wrap a tensor as a parameter."""
    return b"ctorch._utils\n_rebuild_parameter\n(" + opcodes + b"\x88" + ORDERED_DICT + b"tR"


def state_dict(entries):
    """Opcodes that push an ordered dict of entries, with the attribute that state_dicts have."""
    items = b"".join(text(key) + value for key, value in entries.items())
    return ORDERED_DICT + b"(" + items + b"u}" + text("_metadata") + ORDERED_DICT + b"sb"


def pickled(opcodes):
    """A pickle of protocol 2."""
    return b"\x80\x02" + opcodes + b"."


def as_zip(opcodes, storages, root="archive/", compression=zipfile.ZIP_STORED, extra=()):
    """The bytes of a file in PyTorch's zip format."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{root}data.pkl", pickled(opcodes))
        for key, value in storages.items():
            archive.writestr(f"{root}data/{key}", value.tobytes())
        for name, content in extra:
            archive.writestr(root + name, content)
    return buffer.getvalue()


def as_stream(opcodes, storages, little=b"\x88", magic=MAGIC):
    """The bytes of a file in the format before PyTorch 1.6."""
    system = pickled(b"}" + text("little_endian") + little + b"s")
    keys = pickled(b"](" + b"".join(map(text, storages)) + b"e")
    head = magic + pickled(b"M\xe9\x03") + system + pickled(opcodes) + keys
    return head + b"".join(struct.pack("<q", v.size) + v.tobytes() for v in storages.values())


def as_safetensors(arrays, **changes):
    """The bytes of a .safetensors file; changes go into the entry of the first array."""
    names = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64"}
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for key, value in arrays.items():
        place = [start, start + value.nbytes]
        kind = names[value.dtype.str[1:]]
        header[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": place}
        start = place[1]
    header[next(iter(arrays))].update(changes)
    encoded = json.dumps(header).encode()
    body = b"".join(np.ascontiguousarray(value).tobytes() for value in arrays.values())
    return struct.pack("<Q", len(encoded)) + encoded + body
