"""Readers of label lists: the bytes of a file in, its rows out, every mistake by its row's number.

Every reader takes the bytes and the path (for messages), and the names of columns where it has any.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax.errors import DataError

# Names that columns go by where none are given; data hubs and labelling tools write these.
_IMAGE_NAMES = ("file_name", "filename", "image", "file", "path", "image_path", "img")
_TEXT_NAMES = ("text", "label", "words", "transcription", "sentence", "ground_truth")
_LONGEST_SHOWN = 60
_ESCAPED = re.compile(r"""\\(["\\])""")


class Row(NamedTuple):
    """A row of a list: its number counted from 1, the image file, the label, its lexicon."""

    number: int
    image: str
    label: str
    lexicon: tuple[str, ...] = ()


def read_tsv(data: bytes, path: Path) -> Iterator[Row]:
    """Reads lines of file name, TAB, label, and if wanted TAB and words joined by `|`."""
    for number, line in _lines(data, path):
        columns = line.split("\t")
        if not 2 <= len(columns) <= 3 or not columns[0]:
            found = f"{len(columns)} column(s)" if columns[0] else "no file name"
            raise DataError(
                f"{path} row {number} has {found} in {line[:_LONGEST_SHOWN]!r}: write file name, "
                "TAB, label and, if wanted, TAB, lexicon words joined by '|'"
            )
        if number == 1:
            _check_no_header(columns, path)
        lexicon = tuple(filter(None, columns[2].split("|"))) if len(columns) == 3 else ()
        yield Row(number, columns[0], columns[1], lexicon)


def read_paddle(data: bytes, path: Path) -> Iterator[Row]:
    """Reads PaddleOCR's recognition lists: file, TAB, label; a JSON list of files shares a label.

    Source: PaddleOCR's documentation of recognition data.
    """
    for number, line in _lines(data, path):
        files, tab, label = line.partition("\t")
        if not tab or not files or "\t" in label:
            raise DataError(
                f"{path} row {number} is {line[:_LONGEST_SHOWN]!r}: write image file, TAB, label"
            )
        if label.startswith('[{"'):
            raise DataError(
                f"{path} row {number} has boxes, as lists for text detection do: cut the words out "
                "first, and give the list of the crops"
            )
        if number == 1:
            _check_no_header([files, label], path)
        names = [files]
        if files.startswith("["):
            names = _json(files, f"{path} row {number}")
        for name in names:
            if not isinstance(name, str):
                raise DataError(f"{path} row {number}: {name!r} is not a file name in quotes")
            yield Row(number, name, label)


def read_icdar(data: bytes, path: Path) -> Iterator[Row]:
    r"""Reads lines of `word_1.png, "Tiredness"`; `\"` and `\\` stand for `"` and `\` in a text.

    Source: task "word recognition" of the Robust Reading Competitions of 2013 and 2015.
    """
    for number, line in _lines(data, path):
        image, _, text = (part.strip() for part in line.partition(","))
        if not image or len(text) < 2 or not text[0] == text[-1] == '"':
            raise DataError(
                f"{path} row {number} is {line[:_LONGEST_SHOWN]!r}: write image file, comma and "
                """the text in quotes, as in word_1.png, "Tiredness\""""
            )
        yield Row(number, image, _ESCAPED.sub(r"\1", text[1:-1]))


def read_csv(
    data: bytes, path: Path, image: str | None = None, text: str | None = None
) -> Iterator[Row]:
    """Reads a table with a header, of commas, semicolons or tabs; quotes as in RFC 4180.

    Args:
      data: of the file.
      path: for messages.
      image, text: names of the columns, or their numbers from 1 where there is no header. Without
        them the columns are known by their usual names.
    """
    content = _decode(data, path)
    head = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    columns: list[int] = []
    if image and text and image.isdigit() and text.isdigit():
        columns = [int(image) - 1, int(text) - 1]
    number, width = 1, 0
    try:
        for cells in reader:
            # Spreadsheets end rows, the header too, with empty cells.
            used = max((i for i, cell in enumerate(cells, start=1) if cell), default=0)
            width = width or (len(cells) if columns else used)
            if used > width:
                raise DataError(
                    f"{path} row {number} has {used} cells and the first row {width}: write a "
                    f'text with {delimiter!r} in it in quotes, as in "1{delimiter} 2"'
                )
            if any(cells) and not columns:
                names = [cell.strip() for cell in cells]
                found = find_columns(names, image, text, f"{path}: its header")
                columns = [names.index(name) for name in found]
            elif any(cells):
                if not 0 <= min(columns) <= max(columns) < len(cells) or not cells[columns[0]]:
                    raise DataError(
                        f"{path} row {number} has {len(cells)} column(s), or no image file in it: "
                        f"the image is column {columns[0] + 1}, the label column {columns[1] + 1}"
                    )
                yield Row(number, cells[columns[0]], cells[columns[1]])
            number = reader.line_num + 1  # a quoted cell may hold line ends
    except csv.Error as error:
        raise DataError(f"{path} row {number}: {error}; quote cells as in RFC 4180") from None


def read_jsonl(
    data: bytes, path: Path, image: str | None = None, text: str | None = None
) -> Iterator[Row]:
    """Reads one JSON object per line; without `image` and `text` fields have their usual names."""
    for number, line in _lines(data, path):
        where = f"{path} row {number}"
        row = _json(line, where)
        if not isinstance(row, dict):
            raise DataError(f'{where} is no JSON object: write {{"file_name": ..., "text": ...}}')
        names = find_columns(list(row), image, text, where)
        values = [row[name] for name in names]
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, str):
                raise DataError(
                    f"{where}: {name!r} is {value!r}: write it in quotes, so that it stays as it is"
                )
        yield Row(number, *values)


def read_doctr(data: bytes, path: Path) -> Iterator[Row]:
    """Reads docTR's labels.json for recognition: one object of image file to label."""
    try:
        pairs = json.loads(_decode(data, path), object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): write an object of file to label") from None
    if data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] != b"{":
        raise DataError(f"{path} holds no object: write an object of image file to label")
    seen: set[str] = set()
    for number, (image, label) in enumerate(pairs, start=1):
        if not isinstance(label, str):
            raise DataError(
                f"{path} entry {number} ({image}) has no text but {str(label)[:_LONGEST_SHOWN]}: "
                "this is not a set for recognition; cut the words out first"
            )
        if image in seen:
            raise DataError(f"{path} entry {number}: {image} has a label already: keep one")
        seen.add(image)
        yield Row(number, image, label)


# What an empty list should have held.
EMPTY = {
    read_tsv: "write lines of file name, TAB, label",
    read_csv: "write a header, then lines of file name, comma, label",
    read_jsonl: 'write lines of {"file_name": ..., "text": ...}',
    read_doctr: 'write an object of file to label, {"a.png": "text"}',
    read_paddle: "write lines of image file, TAB, label",
    read_icdar: 'write lines of image file, comma, "text"',
}


def find_columns(
    names: list[str], image: str | None, text: str | None, where: str
) -> tuple[str, str]:
    """Returns the names of the image's and the label's column."""
    found = []
    for option, given, usual in (("image", image, _IMAGE_NAMES), ("text", text, _TEXT_NAMES)):
        hits = [given] if given is not None else [name for name in usual if name in names]
        if len(hits) != 1 or hits[0] not in names:
            asked = (
                f"no column {given!r}"
                if given is not None
                else (
                    f"several columns that may hold the {option} ({', '.join(hits)})"
                    if hits
                    else f"no column with a usual name of the {option}"
                )
            )
            raise DataError(
                f"{where} has {asked}: give {option}=NAME, one of {', '.join(map(repr, names))}"
            )
        found.append(hits[0])
    return found[0], found[1]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error})") from None


def _decode(data: bytes, path: Path) -> str:
    """Returns a file's text without its byte-order mark; a DataError names the row."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} row {row} is not UTF-8 (byte 0x{data[error.start]:02x}): save the file as "
            "UTF-8"
        ) from None


def _check_no_header(columns: list[str], path: Path) -> None:
    """Refuses the names of columns, which would be an image that is missing."""
    if columns[0].lower() in _IMAGE_NAMES and columns[1].lower() in _TEXT_NAMES:
        raise DataError(
            f"{path} row 1 names columns ({', '.join(columns)}), but a list of this kind has no "
            "header: take the row out, or read the list as csv:"
        )


def _lines(data: bytes, path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of the lines that are not blank."""
    offset = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    for number, line in enumerate(data[offset:].splitlines(), start=1):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} row {number} is not UTF-8 (byte 0x{line[error.start]:02x} at "
                f"{error.start + 1}): save the file as UTF-8"
            ) from error
        if "\0" in text:
            raise DataError(
                f"{path} row {number} holds NUL bytes, as UTF-16 files do: save the file as UTF-8"
            )
        yield number, text
