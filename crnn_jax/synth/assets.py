"""What rendering reads on the device: faces, texts and textures, put together on the host."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8, Int32, UInt8, UInt32

from crnn_jax.errors import UserError, unknown_name
from crnn_jax.synth.atlas import TAGS, Atlas, AtlasFile

_PACKED = 2**20  # texels at a time


class Faces(NamedTuple):
    """An atlas as pixels read it; entry = face * A + character."""

    field: UInt32[Any, " texels"]  # a texel, its right, lower and lower right neighbour
    offset: Int32[Any, " FA"]  # first texel of the tile
    size: Int32[Any, " FA"]  # width + 65536 * height of the tile
    left: Float[Any, " FA"]  # of the tile's first texel from the pen, em
    top: Float[Any, " FA"]
    advance: Float[Any, " FA"]  # em
    ink: Float[Any, "FA 4"]  # left, top, right, bottom, em
    kerning: Int8[Any, " FAA"]  # 1/128 em
    covered: Bool[Any, "F A"]  # the face draws the character, and it may be used
    lines: Float[Any, "F 4"]  # ascent, cap height, x-height, descent, em
    following: Int32[Any, " A"]  # the digit after a digit; other characters: themselves
    preceding: Int32[Any, " A"]  # the digit before a digit


class Assets(NamedTuple):
    """All arrays that a renderer reads; goes to the device as one."""

    faces: Faces
    texts: Any  # see `text_bank`
    textures: UInt8[Any, "N S S C"]
    least_widths: Int32[Any, " frames"]  # pixels that so many frames need


def pack_field(atlas: Atlas) -> UInt32[np.ndarray, " texels"]:
    """Returns every texel with its right, lower and lower right neighbours in one word.

    Bilinear sampling then reads memory once. What stands beyond a tile's last row and column is
    never asked for with a weight above zero.
    """
    field = atlas.field
    starts, order = np.unique(atlas.offset, return_index=True)
    widths, heights = atlas.width.ravel()[order], atlas.height.ravel()[order]
    stride = np.ones(len(field), np.int32)
    for start, width, height in zip(starts, widths, heights, strict=True):
        stride[start : start + width * height] = width
    words = field.astype(np.uint32)
    last = len(field) - 1
    for start in range(0, len(field), _PACKED):  # an atlas of many faces has 10^8 texels
        part = slice(start, start + _PACKED)
        here = np.arange(start, min(start + _PACKED, len(field)))
        for shift, step in ((8, 1), (16, stride[part]), (24, stride[part] + 1)):
            neighbours = field[np.minimum(here + step, last)].astype(np.uint32)
            words[part] |= neighbours << np.uint32(shift)
    return words


def select_faces(file: AtlasFile, tags: str) -> AtlasFile:
    """Returns the atlas with some of its faces, and the characters that one of them has whole.

    Args:
      file: the atlas.
      tags: style tags joined by '|': faces with none of them are left out; empty: none are.

    Raises:
      UserError: for an unknown tag, or when no face has one of the tags.
    """
    if not tags:
        return file
    wanted = tags.split("|")
    for tag in wanted:
        if tag not in TAGS:
            raise unknown_name("style tag of a face", tag, TAGS)
    atlas = file.atlas
    rows = np.flatnonzero(atlas.tags[:, [TAGS.index(tag) for tag in wanted]].any(axis=1))
    if not len(rows):
        raise UserError(
            f"no face of the atlas is {' or '.join(wanted)}: give other tags in "
            "config.synth.faces, or an atlas that has such faces in config.synth.atlas"
        )
    best = rows[np.argmax(atlas.covered[rows].sum(axis=1))]
    columns = np.flatnonzero(atlas.covered[best])
    part = {}
    for name, values in atlas._asdict().items():
        if name not in ("field", "lines", "tags"):
            values = values[:, columns]
        if name == "kerning":
            values = values[:, :, columns]
        part[name] = values if name == "field" else values[rows]
    return dataclasses.replace(
        file,
        atlas=Atlas(**part),
        characters="".join(file.characters[i] for i in columns),
        faces=tuple(file.faces[i] for i in rows),
    )


def build_faces(file: AtlasFile) -> Faces:
    """Returns an atlas's faces for the device."""
    atlas, characters = file.atlas, file.characters
    following = np.arange(len(characters), dtype=np.int32)
    digits = [characters.index(digit) for digit in "0123456789" if digit in characters]
    following[digits] = np.roll(digits, -1)
    return Faces(
        field=pack_field(atlas),
        offset=atlas.offset.ravel(),
        size=(atlas.width + 65536 * atlas.height).astype(np.int32).ravel(),
        left=atlas.left.ravel(),
        top=atlas.top.ravel(),
        advance=atlas.advance.ravel(),
        ink=atlas.ink.reshape(-1, 4),
        kerning=atlas.kerning.ravel(),
        covered=atlas.covered,
        lines=atlas.lines,
        following=following,
        preceding=np.argsort(following).astype(np.int32),
    )


def least_widths(num_frames: Any, widest: int, longest: int) -> Int32[np.ndarray, " frames"]:
    """Returns for 0, 1, ... `longest` frames the narrowest width in pixels that has so many.

    Args:
      num_frames: frames of images of given widths (an array).
      widest: pixels of the widest image; it must have the frames.
      longest: most frames that are asked for.
    """
    frames = np.asarray(num_frames(np.arange(1, widest + 1)))
    return np.searchsorted(frames, np.arange(longest + 1)).astype(np.int32) + 1
