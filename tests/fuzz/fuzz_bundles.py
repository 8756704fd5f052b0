"""Bundles that go wrong: damaged, or put together on purpose with a checksum that is right."""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz_images import ODD_PATHS, Case, mutate, seeds

_DIGEST = 64
_DEEP = "@deep@"  # stands for lists in lists, which `json.dumps` would not write
_INTS = (0, -1, 1, 2, 3, 7, 31, 33, 100, 4096, 2**16 + 1, 2**31, 2**63, 10**9, 10**12, 10**40)
_FLOATS = (1.0, 1.5, -0.0, 1e308, 1e-308, float("nan"), float("inf"), -float("inf"))
NUMBERS = (*_INTS, 10**400, *_FLOATS)
_TEXTS = (
    "",
    " ",
    "x",
    "one\ntwo",
    "a\u2028b\x1b[31m",
    "\ud800",
    "e\u0301",
    "\u202eabc",
    "\U0010ffff",
    "../../etc/passwd",
    "NaN",
    "a" * 100_000,
    "vgg",
    "keep",
    "squash",
    "gru",
    "none",
)
VALUES = (
    *NUMBERS,
    *_TEXTS,
    None,
    True,
    False,
    [],
    [[]],
    {},
    {"": {}},
    {"a.b": 1},
    [None],
    ["a"] * 9999,
    list("abc"),
    {"a": {"b": 1}},
    [_DEEP],
    {"a": _DEEP},
)
_KNOBS = (
    "data.height", "data.width", "data.channels", "data.fit", "data.min_width", "data.max_width",
    "model.encoder", "model.hidden", "model.layers", "model.projection", "model.recurrence",
    "model.bidirectional", "model.dtype", "model.dropout", "model.name", "model.standardize",
    "model.auxiliary", "replicas", "data", "model", "charset",
)  # fmt: skip
_NAMES = (
    "../../x.npy", "/etc/x.npy", "C:\\x.npy", "a\nb.npy", "a\nb", "\x00.npy", ".npy", "", "/",
    "params.npy", "params/x/../y.npy", "model.json/x", "params/" * 3000 + "x.npy", "é.npy",
    "folder/", "params//x.npy", "a\rb\x85c.npy",
)  # fmt: skip


def sealed(content: bytes) -> bytes:
    """Gives a changed file the checksum that belongs to it, as one who means harm would."""
    content = content[:-_DIGEST]
    return content + hashlib.sha256(content).hexdigest().encode()


def members_of(base: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(base)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, compression
            archive.writestr(info, content)
        archive.comment = b"0" * _DIGEST
    return sealed(stream.getvalue())


def bundle_case(rng: random.Random, base: bytes) -> Case:
    """Returns an input for what loads models, made of a good bundle."""
    kinds = [
        (_flipped, 1),
        (_flipped_and_sealed, 2),
        (_json, 5),
        (_knob, 4),
        (_array, 3),
        (_zip, 2),
        (_other, 1),
    ]
    makers, weights = zip(*kinds, strict=True)
    kind, content = rng.choices(makers, weights)[0](rng, base)
    return Case(kind, content, ".crnn")


def _flipped(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    return "damaged", mutate(base, rng)


def _flipped_and_sealed(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    """Damages the directory of the zip, or anything."""
    if rng.random() < 0.5:
        start = base.rindex(b"PK\x01\x02", 0, base.rindex(b"PK\x05\x06"))
        start = base.index(b"PK\x01\x02") if rng.random() < 0.7 else start
        return "damaged directory, sealed", sealed(base[:start] + mutate(base[start:], rng))
    return "damaged, sealed", sealed(mutate(base, rng) + bytes(_DIGEST))


# Values in the JSON of its members.


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """Returns the paths of all values in a JSON value."""
    if not isinstance(value, dict | list):
        return [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


def _put(value: Any, path: tuple, change: Callable[[Any, Any], None]) -> Any:
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    change(owner, path[-1])
    return value


def _dumped(value: Any, rng: random.Random) -> bytes:
    depth = rng.choice((50, 400, 900, 2000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    deep = opening * depth + "1" + closing * depth
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return text.replace(f'"{_DEEP}"', deep).encode("utf-8", "surrogatepass")


def _json(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    """Changes one to three values of model.json or config.json, or the text of it."""
    members = members_of(base)
    name = rng.choice(("model.json", "model.json", "config.json"))
    if rng.random() < 0.15:
        members[name] = mutate(members[name], rng)
        return f"{name} damaged, sealed", packed(list(members.items()))
    value = json.loads(members[name])
    for _ in range(rng.choice((1, 1, 2, 3))):
        # Section by section: the many classes of a charset would else be most of the places.
        key = rng.choice(list(value) or [""])
        inner = [(key, *place) for place in _places(value.get(key))]
        how, new = rng.randrange(8), copy.deepcopy(rng.choice(VALUES))
        if how == 0:
            value.pop(key, None)
        elif how == 1:
            value[rng.choice(("x", "data", "format", "model.hidden", "\n"))] = new
        else:
            value = _put(value, rng.choice(inner), lambda o, k, new=new: o.__setitem__(k, new))
    if rng.random() < 0.1:
        members["README.md"] = rng.choice(_TEXTS).encode("utf-8", "surrogatepass")
    return f"values of {name}", packed([*(members | {name: _dumped(value, rng)}).items()])


def _knob(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    """Changes what the shapes of the network and of its images depend on."""
    members = members_of(base)
    config = json.loads(members["config.json"])
    for key in rng.sample(_KNOBS, k=rng.choice((1, 1, 2))):
        *owners, leaf = key.split(".")
        owner = config
        for part in owners:
            owner = owner.get(part) if isinstance(owner, dict) else None
        if isinstance(owner, dict):
            owner[leaf] = copy.deepcopy(rng.choice(NUMBERS if rng.random() < 0.7 else VALUES))
    return "knobs", packed([*(members | {"config.json": _dumped(config, rng)}).items()])


# Arrays.


def _npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def _header(shape: Any, kind: Any = "<f4", by_columns: Any = False) -> bytes:
    stream = io.BytesIO()
    text = f"{{'descr': {kind!r}, 'fortran_order': {by_columns!r}, 'shape': {shape!r}, }}"
    stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
    return stream.getvalue()


def _array(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    members = members_of(base)
    name = rng.choice([name for name in members if name.endswith(".npy")])
    content, how = members[name], rng.randrange(9)
    good = np.load(io.BytesIO(content), allow_pickle=False)
    if how == 0:
        members[name] = mutate(content, rng)
    elif how == 1:
        shapes = ((1 << 40,), (-1,), (0,), (), (2**63, 2**63), ("a",), (1.5,), None, (True,), 5)
        members[name] = _header(rng.choice(shapes)) + content[-64:]
    elif how == 2:
        kinds = ("<f8", ">f4", "|O", "<u2", "<U5", "V4", [("a", "<f4")], "<f2", "x", None, "<m8")
        members[name] = _header(
            good.shape, rng.choice(kinds), rng.choice((False, True, 1))
        ) + bytes(good.nbytes)
    elif how == 3:
        members[name] = _npy(np.array([print, {}], object), allow_pickle=True)
    elif how == 4 and good.dtype.kind == "f":
        wild = good.copy()
        wild.flat[rng.randrange(wild.size)] = rng.choice((np.nan, np.inf, -np.inf, 3e38))
        members[name] = _npy(wild)
    elif how == 5:
        wild = good * 0 + rng.choice((0, 1, 65535 if good.dtype.kind == "u" else 3e38))
        members[name] = _npy(wild.astype(good.dtype))
    elif how == 6:
        members[name] = _npy(good.reshape(-1) if good.ndim > 1 else good[None])
    elif how == 7:
        del members[name]
    else:
        deep = "params/" + "a/" * rng.choice((30, 2000)) + "x.npy"
        members[rng.choice(("params/x.npy", f"{name[:-4]}/x.npy", "x.npy", deep))] = content
    if rng.random() < 0.7:  # model.json says the same
        model = json.loads(members["model.json"])
        kinds, names = model["arrays"], [n[:-4] for n in members if n.endswith(".npy")]
        model["arrays"] = {n: kinds.get(n, "float32") for n in names}
        members["model.json"] = json.dumps(model).encode()
    return "arrays", packed(list(members.items()))


# The zip itself.


@functools.cache
def _bomb(base: bytes, megabytes: int) -> bytes:
    """Returns a bundle with a member that unfolds to megabytes or gigabytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members_of(base).items():
            archive.writestr(name, content)
        with archive.open("zeros.npy", "w") as member:
            for _ in range(megabytes):
                member.write(bytes(10**6))
        archive.comment = b"0" * _DIGEST
    return sealed(stream.getvalue())


def _zip(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    members = list(members_of(base).items())
    how = rng.randrange(7)
    if how == 0:
        return "zip bomb", _bomb(base, rng.choice((10, 2000)))
    if how == 1:
        return "names", packed([*members, (rng.choice(_NAMES), rng.choice((b"", b"x")))])
    if how == 2:
        return "a member twice", packed([*members, rng.choice(members)])
    if how == 3:
        return "many members", packed([*members, *((f"{i}", b"") for i in range(11_000))])
    if how == 4:
        return "large text", packed([*members, (rng.choice(("x", "README.md")), bytes(1 << 25))])
    content, places = bytearray(base), []
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        places.append(place)
        place = content.find(b"PK\x01\x02", place + 46)
    for place in rng.sample(places, k=rng.choice((1, len(places)))):
        fields = ((8, 2), (10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (34, 2), (42, 4))
        field, size = rng.choice(fields) if how == 5 else (8, 2)  # else: says it is encrypted
        value = rng.choice((0, 1, 8, 12, 14, 99, 0xFFFF, 2**31, 2**32 - 1)) if how == 5 else 1
        content[place + field : place + field + size] = (value % (1 << 8 * size)).to_bytes(
            size, "little"
        )
    return "fields of the directory", sealed(bytes(content))


def _other(rng: random.Random, base: bytes) -> tuple[str, Any]:
    how = rng.randrange(6)
    if how == 0:
        return "odd path", rng.choice(ODD_PATHS)
    if how == 1:
        return "sparse file", rng.choice(("sparse 2147483647", "sparse 3000000000"))
    if how == 2:
        return "an image", rng.choice(list(seeds().values()))
    if how == 3:
        return "not a bundle", rng.choice(
            (b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x04.")
        )
    if how == 4:
        return "other zip", packed([("a.txt", b"a")])
    return "pickle in a zip", packed([("archive/data.pkl", b"\x80\x02}."), ("model.json", b"{}")])
