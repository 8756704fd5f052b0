"""Readings of other recognisers, from the files that they write."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crnn_jax.errors import DataError, unknown_name

_IMAGE = r"\.(?:png|jpe?g|bmp|webp|tiff?|gif)"
_PARSEQ = re.compile(rf"(.*?{_IMAGE}):(?: (.*))?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class FileReading:
    """One reading of a file.

    Attributes:
      key: path or name of the image, as the file has it.
      text: what was read.
      confidence: as the recogniser gave it, None where it gave none.
      label: what the image says, where the file knows.
      where: the place in the file, for messages.
    """

    key: str
    text: str
    confidence: float | None = None
    label: str | None = None
    where: str = ""


@dataclasses.dataclass(frozen=True)
class ReadingsFile:
    """The readings of one recogniser: the file's name, its format and its rows, in their order."""

    name: str
    format: str
    rows: tuple[FileReading, ...]


# Formats, each with what a row of it is.
FORMATS: dict[str, str] = {
    "crnn_jax": "PATH, TAB, LABEL, TAB, READING, TAB, CONFIDENCE",
    "predict": "PATH, TAB, READING, TAB, CONFIDENCE, or PATH, three TABs, why it cannot be read",
    "tsv": "PATH, TAB, READING",
    "plain": "PATH without spaces, a space, READING",
    "parseq": "PATH, a colon, a space, READING",
    "paddle": 'PATH, TAB, READING, TAB, SCORE or PATH, TAB, {"label": READING, "score": SCORE}',
    "paddle_json": 'objects {"input_path": PATH, "rec_text": READING, "rec_score": SCORE}',
    "tesseract": "a folder of NAME.txt, each with the reading of the image NAME",
}


def open_readings(argument: str) -> ReadingsFile:
    """Reads a file or folder of readings, FILE or FILE:FORMAT.

    Without a format it is found by the first row, or by what the folder holds.

    Raises:
      UserError: an unknown format.
      DataError: no such file, or a row that does not parse, by its number.
    """
    if not argument:
        raise DataError("no readings are named: give a file of readings, FILE or FILE:FORMAT")
    location, _, form = argument.rpartition(":")
    if not location or (form not in FORMATS and Path(argument).exists()):
        location, form = argument, ""
    elif form not in FORMATS:
        if not Path(location).exists():
            raise DataError(
                f"{argument} does not exist: give a file of readings, FILE or FILE:FORMAT"
            )
        raise unknown_name("format of readings", form, FORMATS)
    path = Path(location)
    if not path.exists():
        raise DataError(f"{location} does not exist: give a file of readings, FILE or FILE:FORMAT")
    form = form or (_format_of_folder if path.is_dir() else _format_of_file)(path)
    rows = tuple(_rows(path, form))
    if not rows:
        raise DataError(f"{location} holds no readings; expected {form}: {FORMATS[form]}")
    return ReadingsFile(path.name, form, rows)


def _format_of_folder(path: Path) -> str:
    suffixes = {file.suffix.lower() for file in path.iterdir()}
    found = [
        form
        for suffix, form in ((".json", "paddle_json"), (".txt", "tesseract"))
        if suffix in suffixes
    ]
    if len(found) != 1:
        what = "both .txt and .json files" if found else "neither .txt nor .json files"
        raise DataError(f"{path} holds {what}: name the format, as in {path}:tesseract")
    return found[0]


def _format_of_file(path: Path) -> str:
    if path.suffix.lower() in (".json", ".jsonl"):
        return "paddle_json"
    number, line = next(_lines(path), (0, ""))
    columns = line.split("\t")
    if len(columns) == 2:
        return "paddle" if re.fullmatch(r"\{.*\}", columns[1].strip()) else "tsv"
    if len(columns) == 3:  # a row of either, unless another tells of an unreadable image
        return "predict" if any(row.count("\t") == 3 for _, row in _lines(path)) else "paddle"
    if len(columns) == 4:
        return "predict" if _is_unreadable(columns) else "crnn_jax"
    if len(columns) == 1 and _PARSEQ.fullmatch(line):
        return "parseq"
    if len(columns) == 1 and " " in line.strip():
        return "plain"
    raise DataError(
        f"{path} row {number}: of no known format, {line!r:.60}; name it, as in {path}:tsv "
        f"(valid: {', '.join(FORMATS)})"
    )


def _rows(path: Path, form: str) -> Iterator[FileReading]:
    if form == "tesseract":
        yield from _tesseract(path)
        return
    if form == "paddle_json":
        yield from _paddle_json(path)
        return
    if path.is_dir():
        raise DataError(f"{path} is a folder; the format {form} is a file: {FORMATS[form]}")
    for number, line in _lines(path):
        where = f"{path} row {number}"
        try:
            reading = _LINES[form](line)
        except ValueError as error:
            raise DataError(f"{where}: {error}; expected {form}: {FORMATS[form]}") from None
        yield dataclasses.replace(reading, where=where)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the number, from 1, and the text of every line that is not blank."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError:
            raise DataError(f"{path} row {number}: not UTF-8; convert the file") from None
        if text.strip():
            yield number, text


def _ours(line: str) -> FileReading:
    key, label, text, confidence = _columns(line, 4)
    return FileReading(key, text, _score(confidence), label)


def _is_unreadable(columns: list[str]) -> bool:
    """Returns whether the columns say why there is no reading, and are none of `crnn_jax`."""
    return columns[1:3] == ["", ""] and not re.fullmatch(r"[0-9.]+|nan", columns[3])


def _predict(line: str) -> FileReading:
    columns = line.split("\t")
    if len(columns) == 4 and _is_unreadable(columns):
        return FileReading(columns[0], "", 0.0)
    key, text, confidence = _columns(line, 3)
    return FileReading(key, text, _score(confidence))


def _tsv(line: str) -> FileReading:
    key, text = _columns(line, 2)
    return FileReading(key, text)


def _plain(line: str) -> FileReading:
    key, space, text = line.partition(" ")
    if not (key and space):
        raise ValueError(f"no space after the path, {line!r:.60}")
    return FileReading(key, text.strip(" "))


def _parseq(line: str) -> FileReading:
    match = _PARSEQ.fullmatch(line)
    if not match:
        raise ValueError(f"no name of an image and a colon, {line!r:.60}")
    return FileReading(match[1], match[2] or "")


def _paddle(line: str) -> FileReading:
    if line.count("\t") == 1:
        key, text = line.split("\t")
        return _paddle_label(key, _json(text))
    key, text, score = _columns(line, 3)
    return FileReading(key, text, _score(score))


def _paddle_label(key: str, value: Any) -> FileReading:
    """The JSON of one network, or of the several of a distillation by name: the student's."""
    if isinstance(value, dict) and "label" not in value:
        value = value.get("Student", next(iter(value.values()), None) if len(value) == 1 else None)
    if not isinstance(value, dict) or not isinstance(value.get("label"), str):
        raise ValueError("no label of one network, or of one named Student")
    return FileReading(key, value["label"], _score(value.get("score", "")))


_LINES: dict[str, Callable[[str], FileReading]] = {
    "crnn_jax": _ours,
    "predict": _predict,
    "tsv": _tsv,
    "plain": _plain,
    "parseq": _parseq,
    "paddle": _paddle,
}


def _columns(line: str, count: int) -> list[str]:
    columns = line.split("\t")
    if len(columns) != count:
        raise ValueError(f"{len(columns)} columns instead of {count}")
    return columns


def _score(value: Any) -> float | None:
    """Returns a confidence; ours are "nan" where a recogniser gave none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r:.40} is no number") from None
    return None if math.isnan(number) else number


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None


def _paddle_json(path: Path) -> Iterator[FileReading]:
    """A folder of JSON files, a file with one object or a list of them, or one object per line."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    for file in files:
        text = "\n".join(line for _, line in _lines(file))
        try:
            found = json.loads(text)
            entries = [
                (str(file), entry) for entry in (found if isinstance(found, list) else [found])
            ]
        except ValueError:
            entries = [(f"{file} row {number}", line) for number, line in _lines(file)]
        for where, entry in entries:
            try:
                value = _json(entry) if isinstance(entry, str) else entry
                yield dataclasses.replace(_paddle_object(value), where=where)
            except ValueError as error:
                raise DataError(f"{where}: {error}; expected {FORMATS['paddle_json']}") from None


def _paddle_object(value: Any) -> FileReading:
    value = value.get("res", value) if isinstance(value, dict) else value
    for name in ("input_path", "rec_text"):
        if not isinstance(value, dict) or not isinstance(value.get(name), str):
            raise ValueError(f"no {name}")
    return FileReading(value["input_path"], value["rec_text"], _score(value.get("rec_score", "")))


def _tesseract(path: Path) -> Iterator[FileReading]:
    """The lines of a page are joined by a space; a form feed ends it."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    for file in files:
        lines = [line.replace("\f", "").strip() for _, line in _lines(file)]
        yield FileReading(file.stem, " ".join(filter(None, lines)), where=str(file))
