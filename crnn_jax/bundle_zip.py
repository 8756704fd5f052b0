"""Bytes of a bundle: a zip of JSON, text and arrays that is checked before any of it is believed.

The zip is stored without compression, in a fixed order and with a fixed date, so the same content
gives the same bytes; its comment is the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pathlib
import stat
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn_jax import files
from crnn_jax.errors import UserError

ARRAY = ".npy"
_DIGEST = 64  # hexadecimal digits at the end of the file
_END = 22  # bytes of a zip's last record, without its comment
_MOST_BYTES = 2**31 - 1  # of the file; a zip of more has another layout
_MOST_TEXT = 2**24  # bytes of a member that is not an array
_MOST_MEMBERS = 10_000
_MOST_HEADER = 10_000  # bytes before an array's numbers
_MOST_LEVELS = 32  # names in an array's path: trees are walked by functions that call themselves
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip knows
_DTYPES = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}  # as stored


def pack(texts: Mapping[str, str], arrays: Mapping[str, tuple[str, np.ndarray]]) -> bytes:
    """Returns a bundle's bytes.

    Args:
      texts: members by name, in their order in the file.
      arrays: (dtype "float32" or "bfloat16", float32 array) by path.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:

        def write(name: str, content: bytes) -> None:
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16  # alike on every system
            archive.writestr(info, content)

        for name, text in texts.items():
            write(name, text.encode())
        for path in sorted(arrays):
            dtype, values = arrays[path]
            write(path + ARRAY, _pack_array(dtype, values))
        archive.comment = b"0" * _DIGEST
    content = stream.getvalue()[:-_DIGEST]
    return content + hashlib.sha256(content).hexdigest().encode()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Returns the texts of a bundle, and its arrays' members by path, for `unpack_array`.

    Raises:
      UserError: for a file that is no bundle, damaged, or made to harm.
    """
    content = _checked_content(pathlib.Path(path))
    texts, arrays = {}, {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            # Members that overlap, or that unfold, would be more than there is in the file.
            if (
                len(members) > _MOST_MEMBERS
                or sum(member.file_size for member in members) > len(content)
                or any(member.compress_type != zipfile.ZIP_STORED for member in members)
            ):
                raise UserError(f"{path}: not a bundle: it holds more than its own size")
            names = [member.filename for member in members]
            if len(set(names)) < len(names):  # which of them others would take is not known
                raise UserError(f"{path}: not a bundle: it holds members of the same name")
            for name, member in zip(names, members, strict=True):
                if name.endswith(ARRAY):
                    arrays[name.removesuffix(ARRAY)] = archive.read(member)
                elif member.file_size > _MOST_TEXT:
                    raise UserError(
                        f"{path}: {name} in it has {member.file_size} bytes; at most {_MOST_TEXT} "
                        "are allowed"
                    )
                else:
                    texts[name] = archive.read(member).decode()
    except UserError:
        raise
    # What `zipfile` raises for an archive that was put together wrongly on purpose.
    except (
        zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path}: not a bundle ({error!s:.160}); take one that crnn_jax.bundle has written"
        ) from None
    return texts, arrays


def _checked_content(path: pathlib.Path) -> bytes:
    advice = "copy or download it again"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # a pipe would wait, a device has no end
            raise UserError(f"{path}: cannot be read (it is no file); give the path of a bundle")
        size = state.st_size
        if size > _MOST_BYTES:
            raise UserError(
                f"{path}: has {size} bytes; a bundle has at most {_MOST_BYTES}: is it another file?"
            )
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(max(size - _END - _DIGEST, 0))
            # The zip's last record is before the checksum, or it is no bundle: found before
            # gigabytes are read.
            whole = file.read().startswith(b"PK\x05\x06")
            file.seek(0)
            content = file.read() if whole else start
    except UserError:
        raise
    except (OSError, ValueError) as error:  # ValueError: of NUL characters in the path
        told = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path!s:.300}: cannot be read ({told}); check the path") from None
    if not content.startswith(b"PK\x03\x04"):
        raise UserError(
            f"{path}: not a bundle, which is a file that python -m crnn_jax.bundle has written; "
            "for a run give its folder"
        )
    if not whole or hashlib.sha256(content[:-_DIGEST]).hexdigest().encode() != content[-_DIGEST:]:
        raise UserError(
            f"{path}: damaged, or a zip that is no bundle (its checksum is wrong); {advice}"
        )
    return content


def _pack_array(dtype: str, values: np.ndarray) -> bytes:
    values = np.ascontiguousarray(values, "<f4")
    if dtype == "bfloat16":
        import jax.numpy as jnp

        values = values.astype(jnp.bfloat16).view("<u2")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def unpack_array(path: str, content: bytes, dtype: Any) -> np.ndarray:
    """Returns a float32 array (read-only, perhaps) of its member's bytes.

    Args:
      path: of the array, for messages.
      content: as `read` returned it.
      dtype: "float32" or "bfloat16".

    Raises:
      UserError: where the bytes are not such an array, whose size is checked before it is made.
    """
    stream = io.BytesIO(content)
    try:
        if dtype not in _DTYPES:
            raise ValueError(f"its dtype is {dtype!r}")
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("it is not of format 1.0")
        shape, by_columns, stored = np.lib.format.read_array_header_1_0(
            stream, max_header_size=_MOST_HEADER
        )
        start = stream.tell()
        if stored != _DTYPES[dtype] or by_columns:
            raise ValueError(f"it is stored as {stored}")
        if min(shape, default=1) < 0 or math.prod(shape) * stored.itemsize != len(content) - start:
            raise ValueError(f"its shape {shape} does not fit its {len(content) - start} bytes")
    except Exception as error:  # NumPy parses a Python expression, which may be anything
        raise UserError(
            f"array {path}: {error!s:.160}; the bundle was not written by crnn_jax.bundle"
        ) from None
    values = np.frombuffer(content, stored, offset=start).reshape(shape)
    if dtype == "bfloat16":  # the upper half of a float32
        values = (values.astype("<u4") << 16).view("<f4")
    if not np.isfinite(values).all():
        raise UserError(f"array {path} holds weights that are not finite: train the model anew")
    return values


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a bundle's bytes, whole or not at all; raises UserError when that cannot be."""
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); give another path"
        ) from None


def parse_json(text: str, what: str) -> dict[str, Any]:
    """Returns a JSON object; raises UserError, which names `what`, for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{what}: not a JSON object but {value!r:.40}")
    return value


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns leaves (arrays or shapes) by path, as in `params/encoder/conv_1/kernel`."""
    flat: dict[str, Any] = {}
    for key, value in variables.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tree of leaves by path.

    Raises:
      UserError: one path holds another, or has more than _MOST_LEVELS names.
    """
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parts, leaf = path.split("/")
        if len(parts) >= _MOST_LEVELS:
            raise UserError(
                f"array {path:.80}... lies {len(parts):,} levels deep, and {_MOST_LEVELS - 1} are "
                "the most: the bundle was not written by crnn_jax.bundle"
            )
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise UserError(f"array {path} lies within another array")
        if leaf in node:
            raise UserError(f"array {path} lies around another array")
        node[leaf] = value
    return tree
