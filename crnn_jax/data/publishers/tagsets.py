"""Sets described in XML: Street View Text and ICDAR 2003, as their publishers distribute them.

A `tagset` names photographs and rectangles in them; an `imagelist` names images of single words.
Sources: Wang and Belongie, Word Spotting in the Wild, 2010; Lucas et al., ICDAR 2003 Robust Reading
Competitions, 2003; the readmes of both.
"""

from __future__ import annotations

import codecs
import html.entities
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

from crnn_jax.data import files_of_rows
from crnn_jax.data.label_lists import Row
from crnn_jax.data.listed import open_list
from crnn_jax.data.publishers.crops import Crop, open_crops
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, one_of

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

PARTS = ("train", "test")
_ICDAR03_FILES = ("word.xml", "words.xml")  # of single words, of photographs

_SIDES = ("x", "y", "width", "height")
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)""")
_ENTITY = re.compile(r"&(\w+;)")
_OWN_ENTITIES = ("amp;", "lt;", "gt;", "quot;", "apos;")  # XML's


def open_svt(spec: Spec) -> Source:
    """Opens one part (`part=`, by default train) of Street View Text: train.xml or test.xml.

    Keys are `img/14_03.jpg#0`, the photograph and the number of the rectangle in it:
    `group=^[^#]+` finds the photograph. Lexica are the 50 words of the photograph.

    Raises:
      DataError: no such folder, no annotation in it, or one that cannot be read.
      UserError: an unknown part.
    """
    folder = files_of_rows.existing("svt", spec.location)
    part = one_of("part of SVT", spec.part, PARTS)
    if not (folder / f"{part}.xml").is_file():
        raise DataError(
            f"svt:{spec.location} has no {part}.xml: give the folder svt1 of the archive"
        )
    return open_crops(folder / f"{part}.xml", read_tagset, f"svt_{part}")


def open_icdar03(spec: Spec) -> Source:
    """Opens the word.xml of single words or the words.xml of photographs, or a folder of either.

    Keys are the image's path, with the rectangle's number as in SVT where it is a photograph.

    Raises:
      DataError: no such file, or one that cannot be read.
    """
    path = files_of_rows.existing("icdar03", spec.location)
    if path.is_dir():
        there = [path / name for name in _ICDAR03_FILES if (path / name).is_file()]
        if not there:
            raise DataError(
                f"icdar03:{spec.location} holds no {' or '.join(_ICDAR03_FILES)}: give the folder "
                "that does, or the file"
            )
        path = there[0]
    root = _parse(files_of_rows.read_list(path), path)
    if root.tag == "imagelist":
        return open_list(path, read_imagelist)
    return open_crops(path, read_tagset)


def read_imagelist(data: bytes, path: Path) -> Iterator[Row]:
    """Reads `<imagelist>` with an `<image file="word/1/1.jpg" tag="self" />` for every word."""
    for number, image in enumerate(_root(data, path, "imagelist").iter("image"), start=1):
        file, tag = image.get("file"), image.get("tag")
        if not file or tag is None:
            raise DataError(f"{path} image {number} has no file= or no tag=: copy the file again")
        yield Row(number, file, tag)


def read_tagset(data: bytes, path: Path) -> list[Crop]:
    """Reads `<tagset>`: an `<image>` for every photograph, with its `<taggedRectangle>`s.

    Offset and rotation of a rectangle are not used, as everywhere.
    """
    crops = []
    for number, image in enumerate(_root(data, path, "tagset").iter("image"), start=1):
        name = (image.findtext("imageName") or "").strip()
        if not name:
            raise DataError(f"{path} image {number} has no imageName: copy the file again")
        lexicon = tuple(filter(None, map(str.strip, (image.findtext("lex") or "").split(","))))
        for place, rectangle in enumerate(image.iter("taggedRectangle")):
            label = rectangle.findtext("tag")
            box = _box(rectangle)
            if label is None or box is None:
                raise DataError(
                    f"{path}: rectangle {place} of {name} has no tag, or {', '.join(_SIDES)} that "
                    "are not all numbers: copy the file again"
                )
            crops.append(Crop(name, place, box, label.strip(), lexicon))
    return crops


def _box(rectangle: ElementTree.Element) -> tuple[float, float, float, float] | None:
    try:
        x, y, width, height = (float(rectangle.attrib[side]) for side in _SIDES)
    except (KeyError, ValueError):
        return None
    return (x, y, width, height) if math.isfinite(x + y + width + height) else None


def _root(data: bytes, path: Path, tag: str) -> ElementTree.Element:
    root = _parse(data, path)
    if root.tag != tag:
        raise DataError(f"{path} is an XML file of <{root.tag}>, not of <{tag}>: give another")
    return root


def _parse(data: bytes, path: Path) -> ElementTree.Element:
    text = _decode(data)
    if "<!ENTITY" in text:  # they can unfold to any size, and no publisher has them
        raise DataError(f"{path} declares entities: replace them by what they stand for")
    text = _ENTITY.sub(_character, text)
    try:
        return ElementTree.fromstring(text.encode(), ElementTree.XMLParser(encoding="utf-8"))
    except ElementTree.ParseError as error:
        line, reason = error.position[0], expat.ErrorString(error.code)
        raise DataError(f"{path} line {line} is not XML ({reason}): copy the file again") from None


def _decode(data: bytes) -> str:
    """Returns the text of an XML file, also where its header names another encoding than it has."""
    declared = _DECLARED.match(data)
    names = [declared[1].decode()] if declared else []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        names.insert(0, "utf-16")
    for name in (*names, "utf-8", "cp1252"):
        try:
            return data.decode(name).removeprefix("\ufeff")
        except (UnicodeError, LookupError):
            continue
    return data.decode("latin-1")


def _character(match: re.Match) -> str:
    """Returns the character of an entity that HTML has and XML has not, as &eacute;."""
    if match[1] in _OWN_ENTITIES:
        return match[0]
    return html.entities.html5.get(match[1], match[0])
