"""Finding font files; needs no font library, so that a cached atlas loads at once."""

from __future__ import annotations

import importlib.util
import os
import pathlib
from typing import NamedTuple

from crnn_jax.data.pillow_render import FACES
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.synth.atlas import TAGS

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2")
SEVEN_SEGMENT = "seven-segment"  # stands for the built-in face in lists of fonts


class FontFile(NamedTuple):
    """A font file and what is known of it.

    Attributes:
      path: of the file; SEVEN_SEGMENT is the built-in face.
      tags: style tags that are added to those of its faces.
    """

    path: str
    tags: tuple[str, ...] = ()


def default_fonts() -> list[FontFile]:
    """Returns the 16 text faces of matplotlib and the built-in seven-segment face."""
    found = importlib.util.find_spec("matplotlib")  # importing it would take longer than loading
    if found is None or found.origin is None:
        raise UserError("matplotlib, whose fonts are the default, is missing: install it")
    folder = pathlib.Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return [*(FontFile(str(folder / f"{name}.ttf")) for name in FACES), FontFile(SEVEN_SEGMENT)]


def find_fonts(where: str) -> list[FontFile]:
    """Returns font files: those of a folder, recursively, one file, or the lines of a list.

    Args:
      where: a folder, a font file, or a text file with one path per line (relative ones are
        relative to it; TAB and style tags joined by `|` may follow; lines that begin with `#`
        are comments; "seven-segment" is the built-in face); empty: the default faces.

    Raises:
      UserError: when nothing is found, or for an unknown tag.
    """
    if not where:
        return default_fonts()
    path = pathlib.Path(os.path.expanduser(where))
    if path.is_dir():
        files = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        found = sorted(str(p) for p in files if p.is_file() and not p.name.startswith("."))
        if not found:
            raise UserError(f"{where}: no fonts in this folder ({' '.join(SUFFIXES)})")
        return [FontFile(name) for name in found]
    if not path.exists():
        raise UserError(f"{where}: no such folder or file; give fonts, or nothing for the default")
    if path.suffix.lower() in SUFFIXES:
        return [FontFile(str(path))]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where}: neither a font ({' '.join(SUFFIXES)}) nor a list of fonts ({error})"
        ) from None
    fonts = [_listed(line, path.parent) for line in lines if line.strip()[:1] not in ("", "#")]
    if not fonts:
        raise UserError(f"{where}: an empty list; give one path of a font per line")
    return fonts


def _listed(line: str, folder: pathlib.Path) -> FontFile:
    name, _, listed = line.partition("\t")
    tags = tuple(tag for tag in listed.strip().split("|") if tag)
    for tag in tags:
        if tag not in TAGS:
            raise unknown_name("style tag", tag, TAGS)
    name = name.strip()
    return FontFile(name if name == SEVEN_SEGMENT else str(folder / name), tags)
