"""Glyph atlas: the distance fields and measures of all characters in all faces, in one npz file.

Fonts are turned into arrays once; whatever renders text samples the arrays and needs no font.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import zipfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8

from crnn_jax import cli, files
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.synth.font_files import FontFile

EM = 32  # texels per em
SPREAD = 6  # texels from the outline at which the distance saturates
TAGS = ("serif", "sans", "mono", "script", "display", "bold", "italic", "condensed", "led")
KERNING_UNITS = 128  # per em
VERSION = 2  # of what `build_atlas` makes of the same fonts

_LOG = logging.getLogger("crnn_jax")
_MOST_BYTES = 2 << 30  # of an unpacked file

_EXAMPLE = """example:
  python -m crnn_jax.synth.atlas --fonts=/usr/share/fonts --charset=latin94+space --out=fonts.npz
  python -m crnn_jax.synth.atlas --fonts=Brand-Regular.otf --charset=latin --out=brand.npz
Without --fonts: the 16 text faces that come with matplotlib and a seven-segment face. Fonts that
cannot be used are named on stderr and the rest goes on."""


class Atlas(NamedTuple):
    """Fields and measures of A characters in F faces; a pytree of arrays.

    The field of a glyph is a tile, row-major. Lengths are in em, y grows downwards from the
    baseline, x to the right from the pen.

    Attributes:
      field: 255 * (0.5 + d / (2 * SPREAD)), clipped, d the distance from the outline in texels,
        positive inside; tile after tile. One row and column past any tile can be read.
      offset: first byte of a tile.
      width: of a tile, texels; 1 (and the field 0) for the space and for what a face lacks.
      height: of a tile, texels.
      left: centre of the tile's first texel.
      top: centre of the tile's first texel.
      advance: from one pen position to the next.
      ink: left, top, right, bottom of the ink; zeros for the space.
      kerning: added to the advance of the first of a pair, 1 / KERNING_UNITS em.
      covered: the face has the character and draws it as that character.
      lines: ascent, cap height, x-height, descent, positive.
      tags: style, see TAGS.
    """

    field: UInt8[Any, " P"]
    offset: Int[Any, "F A"]
    width: Int[Any, "F A"]
    height: Int[Any, "F A"]
    left: Float[Any, "F A"]
    top: Float[Any, "F A"]
    advance: Float[Any, "F A"]
    ink: Float[Any, "F A 4"]
    kerning: Int8[Any, "F A A"]
    covered: Bool[Any, "F A"]
    lines: Float[Any, "F 4"]
    tags: Bool[Any, "F S"]


_DTYPES = Atlas("u1", "i4", "i4", "i4", "f4", "f4", "f4", "f4", "i1", "?", "f4", "?")


@dataclasses.dataclass(frozen=True)
class AtlasFile:
    """An atlas with its names.

    Attributes:
      atlas: the arrays, numpy.
      characters: the A characters, sorted, the space among them.
      faces: names of the F faces.
      digest: hash of all of these.
    """

    atlas: Atlas
    characters: str
    faces: tuple[str, ...]
    digest: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the fonts.

    Attributes:
      skipped: font or face, and why it is not in the atlas.
      dropped: characters that were asked for and are not in the atlas.
      refused: glyphs that are there but show another character, nothing or a box.
    """

    skipped: tuple[tuple[str, str], ...]
    dropped: str
    refused: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """Returns what `dataclasses.asdict` and JSON made into a dict."""
        skipped = tuple((str(name), str(reason)) for name, reason in data["skipped"])
        return cls(skipped, str(data["dropped"]), int(data["refused"]))


def digest_of(parts: Iterable[Any]) -> bytes:
    """Returns a hash of arrays (values and shapes) and of what JSON can write."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            digest.update(json.dumps(part).encode())
    return digest.digest()


def named(atlas: Atlas, characters: str, faces: tuple[str, ...]) -> AtlasFile:
    """Returns an atlas with its names and their common hash."""
    digest = digest_of([*atlas, characters, list(faces)]).hex()[:16]
    return AtlasFile(atlas, characters, faces, digest)


def save_atlas(file: AtlasFile, path: str | os.PathLike[str]) -> None:
    """Writes an npz file, whole or not at all."""
    header = {"version": VERSION, "characters": file.characters, "faces": list(file.faces)}
    data = io.BytesIO()
    about = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays = file.atlas._asdict()
    size = sum(array.nbytes for array in arrays.values())
    if size > _MOST_BYTES:
        faces, characters = len(file.faces), len(file.characters)
        raise UserError(
            f"{path}: {faces:,} faces of {characters:,} characters take {size >> 20:,} MiB, and an "
            f"atlas at most {_MOST_BYTES >> 20:,}: give fewer faces, or fewer characters"
        )
    arrays["field"] = np.diff(arrays["field"], prepend=np.uint8(0))  # packs a sixth smaller
    np.savez_compressed(data, about=about, **arrays)
    files.write_bytes(path, data.getvalue())


def read_atlas(path: str | os.PathLike[str]) -> AtlasFile:
    """Reads what `save_atlas` wrote; raises a UserError on anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > _MOST_BYTES:
                raise UserError(f"{path}: unpacked it is larger than {_MOST_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as arrays:
            header = json.loads(bytes(arrays["about"]))
            if header["version"] != VERSION:
                raise UserError(f"{path}: an atlas of another version: build it again")
            atlas = Atlas(*(arrays[name] for name in Atlas._fields))
            atlas = atlas._replace(field=np.cumsum(atlas.field, dtype=np.uint8))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UserError:
        raise
    except Exception as error:  # damaged archives fail in many ways
        raise UserError(
            f"{path}: damaged or no atlas ({type(error).__name__}): build it with "
            "python -m crnn_jax.synth.atlas"
        ) from None
    faces, characters = tuple(header["faces"]), header["characters"]
    _check(path, atlas, len(faces), len(characters))
    return named(atlas, characters, faces)


def _check(path: Any, atlas: Atlas, faces: int, characters: int) -> None:
    """Raises a UserError for arrays that do not fit one another: reading them would go astray."""
    pair = (faces, characters)
    shapes = (atlas.field.shape, *[pair] * 6, (*pair, 4), (*pair, characters), pair,
              (faces, 4), (faces, len(TAGS)))  # fmt: skip
    fits = all(
        value.shape == shape and value.dtype == np.dtype(dtype)
        for value, shape, dtype in zip(atlas, shapes, _DTYPES, strict=True)
    )
    if fits and atlas.field.ndim == 1 and min(pair) > 0:
        ends = atlas.offset.astype(np.int64) + atlas.width.astype(np.int64) * (atlas.height + 1)
        sound = min(atlas.offset.min(), atlas.width.min() - 1, atlas.height.min() - 1) >= 0
        if sound and ends.max() < len(atlas.field) and np.isfinite(atlas.advance).all():
            return
    raise UserError(f"{path}: damaged, its arrays do not fit one another: build the atlas again")


def load_atlas(path: str = "") -> AtlasFile:
    """Returns an atlas file's content; an empty path is the default, built on first use.

    Raises:
      UserError: for a file that is missing, damaged or of another version.
    """
    if path:
        return read_atlas(os.path.expanduser(path))
    from crnn_jax.charset import PRESETS
    from crnn_jax.synth import font_files

    return cached_atlas(font_files.default_fonts(), PRESETS["latin"])[0]


def cached_atlas(
    fonts: Sequence[FontFile], characters: str, progress: bool = False
) -> tuple[AtlasFile, Report]:
    """Returns `build_atlas` of the same, from the cache where these fonts were drawn before.

    The name in the cache is a hash of the fonts' bytes, the characters and VERSION. Two processes
    that build the same at once both finish, and the later one's file stays.
    """
    path = files.default_cache_dir() / "atlas" / f"{_cache_key(fonts, characters)}.npz"
    report_path = path.with_suffix(".json")
    if path.exists() and report_path.exists():
        with contextlib.suppress(UserError):  # damaged: built anew
            return read_atlas(path), Report.from_json(files.read_json(report_path))
    atlas, report = build_atlas(fonts, characters, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_atlas(atlas, path)
        files.write_json(report_path, dataclasses.asdict(report))
    except OSError as error:
        _LOG.warning("%s cannot be written (%s): nothing is cached", path, error.strerror)
    return atlas, report


def build_atlas(
    fonts: Sequence[FontFile], characters: str, progress: bool = False
) -> tuple[AtlasFile, Report]:
    """Draws characters in all faces of some font files, see `atlas_build.build_atlas`."""
    from crnn_jax.synth import atlas_build  # drawing imports what reading an atlas does not need

    return atlas_build.build_atlas(fonts, characters, progress)


def _cache_key(fonts: Sequence[FontFile], characters: str) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, sorted(set(characters))]).encode())
    for font in fonts:
        digest.update(json.dumps([pathlib.Path(font.path).name, font.tags]).encode())
        with contextlib.suppress(OSError), open(font.path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:24]


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit code."""
    parser = cli.Parser(
        prog="python -m crnn_jax.synth.atlas",
        description="Draws the characters of a charset in many fonts, once, for the text renderer.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("--fonts", default="", help="folder, font file or list of font files")
    parser.add_argument("--charset", default="latin", help="as in a config; default: %(default)s")
    parser.add_argument("--out", required=True, help="npz file to write")
    args = parser.parse_args(argv)
    cli.check_output(args.out)
    from crnn_jax.charset import build_charset
    from crnn_jax.synth import font_files

    characters = "".join(build_charset(args.charset, "keep").classes)
    atlas, report = cached_atlas(font_files.find_fonts(args.fonts), characters, progress=True)
    try:
        save_atlas(atlas, args.out)
    except OSError as error:
        raise UserError(f"{args.out}: cannot be written ({error.strerror})") from None
    size = pathlib.Path(args.out).stat().st_size
    print(
        f"{args.out}: {len(atlas.faces)} faces, {len(atlas.characters)} characters"
        f" ({len(report.dropped)} left out), {report.refused} wrong glyphs refused,"
        f" {len(report.skipped)} fonts or faces skipped, {size / 1e6:.1f} MB"
    )
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
