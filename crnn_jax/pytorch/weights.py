"""Weights from files: PyTorch's .pth and .pt in either format, and .safetensors.

A file is told by its first bytes, not by its name. Nothing in it is executed, no array holds more
numbers than its part of the file, and neither PyTorch nor the package safetensors is needed.
"""

from __future__ import annotations

import io
import json
import math
import pathlib
import struct
import zipfile
from typing import Any

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.pytorch import pickles

_LARGEST = 4_000_000_000  # bytes; no recogniser is near that
_DTYPES = {  # by safetensors' names
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "u1",
}  # fmt: skip
# What the standard library raises for damaged pickles, zip files, JSON and numbers.
_DAMAGES = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError,
            ValueError, struct.error, zipfile.BadZipFile)  # fmt: skip
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files before PyTorch 1.6
_NESTED = ("state_dict", "model_state_dict", "model", "net")  # where checkpoints keep the weights


def read_weights(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file, by key.

    Args:
      path: a state_dict, or a dict that holds one as "state_dict", "model_state_dict", "model" or
        "net", saved by `torch.save` (the zip format, or the one before PyTorch 1.6), or a
        .safetensors file.

    Returns:
      Read-only arrays of the dtypes and shapes in the file; bfloat16 becomes float32.

    Raises:
      UserError: when the file is missing, damaged, of another format, or asks for anything but
        tensors.
    """
    try:
        size = pathlib.Path(path).stat().st_size
        if size > _LARGEST:
            raise UserError(f"{path}: {size:,} bytes are more than any recogniser's weights")
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        if data[:2] == b"PK":
            return _from_zip(data)
        if data[:1] == b"\x80":
            return _from_stream(data)
        if data[8:9] == b"{":
            return _from_safetensors(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except _DAMAGES as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"{path}: damaged or cut short ({reason}); download it or save it again"
        ) from None
    raise UserError(
        f"{path}: no weights of PyTorch; give a .pth or .pt file that torch.save made of a "
        "state_dict, or a .safetensors file"
    )


def _from_zip(data: bytes) -> dict[str, np.ndarray]:
    """Reads the format of PyTorch 1.6 and later: a pickle and, beside it, each storage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(sizes.values()) > len(data):
            raise UserError("its parts are larger than the file itself; save it uncompressed")
        roots = [name.removesuffix("data.pkl") for name in sizes if name.endswith("data.pkl")]
        if len(roots) != 1 or f"{roots[0]}constants.pkl" in sizes:
            raise UserError(
                "a zip file, but no state_dict (of TorchScript?); save the network's state_dict() "
                "with torch.save"
            )
        (root,) = roots
        order = f"{root}byteorder"
        if order in sizes and archive.read(order) != b"little":
            raise UserError("saved on a big-endian machine; save it on a little-endian one")
        tree, _ = pickles.load(io.BytesIO(archive.read(f"{root}data.pkl")))
        tensors = _state_dict(tree)
        storages = {tensor.storage for tensor in tensors.values()}
        values = {s.key: _values(archive.read(f"{root}data/{s.key}"), s) for s in storages}
    return {key: _view(key, tensor, values) for key, tensor in tensors.items()}


def _from_stream(data: bytes) -> dict[str, np.ndarray]:
    """Reads the format before PyTorch 1.6: five pickles, then the storages one after another."""
    stream = io.BytesIO(data)
    if pickles.load(stream)[0] != _MAGIC or pickles.load(stream)[0] != _PROTOCOL:
        raise UserError("a pickle, but not one of torch.save; save the state_dict with it")
    system, _ = pickles.load(stream)
    if not system["little_endian"]:
        raise UserError("saved on a big-endian machine; save it on a little-endian one")
    tree, storages = pickles.load(stream)
    keys, _ = pickles.load(stream)
    tensors = _state_dict(tree)
    values = {}
    for key in keys:
        storage = storages[key]
        (size,) = struct.unpack("<q", stream.read(8))
        if size != storage.size:
            raise ValueError(f"storage {key} has {size} elements and not {storage.size}")
        values[key] = _values(stream.read(size * np.dtype(_DTYPES[storage.kind]).itemsize), storage)
    return {key: _view(key, tensor, values) for key, tensor in tensors.items()}


def _from_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Reads a header in JSON, whose length comes first, and the numbers after it."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
    header = json.loads(data[8 : 8 + length].decode())
    numbers = memoryview(data)[8 + length :]
    weights = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if kind not in _DTYPES:
            raise UserError(f"{key} is of dtype {kind!r:.40}; valid: {', '.join(_DTYPES)}")
        _check_counts(key, (*shape, start, end))
        if not start <= end <= len(numbers):
            raise ValueError(f"{key} lies beyond the end of the file")
        storage = pickles.Storage(kind, key, math.prod(shape))
        weights[key] = _values(numbers[start:end], storage).reshape(shape)
    return weights


def _state_dict(tree: Any) -> dict[str, pickles.Tensor]:
    """Returns the tensors of a state_dict, or of the one within a checkpoint."""
    if isinstance(tree, dict):
        tree = next((tree[name] for name in _NESTED if isinstance(tree.get(name), dict)), tree)
        tensors = {key: v for key, v in tree.items() if isinstance(v, pickles.Tensor)}
        if tensors and all(isinstance(key, str) for key in tensors):
            return tensors
    found = ", ".join(map(str, list(tree)[:6])) if isinstance(tree, dict) else type(tree).__name__
    raise UserError(
        f"no state_dict in it, but {found[:100] or 'nothing'}; save the network's state_dict(), "
        f"alone or as one of {', '.join(_NESTED)}"
    )


def _values(raw: bytes | memoryview, storage: pickles.Storage) -> np.ndarray:
    """Returns a storage's numbers (N,)."""
    values = np.frombuffer(raw, _DTYPES[storage.kind])
    if values.size != storage.size:
        raise ValueError(f"storage {storage.key} has {values.size} elements, not {storage.size}")
    if storage.kind == "BF16":  # the upper half of a float32
        return (values.astype("<u4") << 16).view("<f4")
    return values


def _view(key: str, tensor: pickles.Tensor, values: dict[str, np.ndarray]) -> np.ndarray:
    """Returns a tensor as a view of its storage."""
    stored = values[tensor.storage.key]
    _check_counts(key, (tensor.offset, *tensor.shape, *tensor.strides))
    if math.prod(tensor.shape) > stored.size:  # as a stride of 0 may feign
        raise ValueError(f"{key} has the shape {tensor.shape}, but {stored.size} elements")
    step = stored.itemsize
    strides = [stride * step for stride in tensor.strides]
    return np.ndarray(tensor.shape, stored.dtype, stored.data, tensor.offset * step, strides)


def _check_counts(key: str, numbers: tuple[Any, ...]) -> None:
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{key} has no proper shape or place")
