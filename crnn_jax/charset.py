"""The characters a model can read: class ids, normal form, letter case.

Text is compared and encoded in Unicode normal form C (NFC), so that `e` + U+0301 and `é` are one
character. Class 0 is the CTC blank; class i + 1 is `classes[i]`. A charset is saved with its model.
Labels of a charset with right-to-left letters are encoded in the order of the picture, see `bidi`.
"""

from __future__ import annotations

import difflib
import itertools
import json
import operator
import os
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, SupportsIndex

from crnn_jax import bidi, files
from crnn_jax.errors import UserError, unknown_name

_ALNUM36 = string.digits + string.ascii_lowercase
_LATIN94 = "".join(map(chr, range(0x21, 0x7F)))
# Every letter of Latin-1, and what it lacks of French (Œ, Ÿ), German (ẞ) and Finnish (Š, Ž).
# Left out: the ligatures ĳ and ŀ, which look the same as the two characters ij and l· .
_ACCENTED = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŒœŠšŸŽžẞ"
_SIGNS = "¡¢£¥§©ª«®°±²³µ¶·¹º»¼½¾¿×÷–—‘’‚“”„†‡•…‰‹›€™"

# ASCII comes first in `latin`, so that it extends latin94 without moving a class id.
PRESETS: dict[str, str] = {
    "digits": string.digits,
    "alnum36": _ALNUM36,
    "alnum62": _ALNUM36 + string.ascii_uppercase,
    "latin94": _LATIN94,
    "latin": _LATIN94 + "".join(sorted(_ACCENTED + _SIGNS)),
}
CASES = ("auto", "keep", "fold")
_SPACE = "+space"
_CLUSTERS = "from_data:clusters"
_SPECS = (*PRESETS, "from_data", _CLUSTERS, "file:PATH", "chars:STRING")
_BYTE_ORDER_MARK = "\ufeff"


class UnknownCharacterError(UserError):
    """A text holds a character that the charset lacks."""


@dataclass(frozen=True)
class Charset:
    """The classes of a recogniser; immutable, hashable, picklable.

    Attributes:
      classes: class id i + 1 stands for `classes[i]`: non-empty NFC strings, all different, most
        often one code point each.
      case: `keep`, or `fold` to lower-case every text before it is encoded.
    """

    classes: tuple[str, ...]
    case: str

    BLANK: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.case not in ("keep", "fold"):
            raise unknown_name("case of a charset", self.case, ("keep", "fold"))
        if not self.classes:
            raise UserError("a charset needs at least one character, none was given")
        for name in self.classes:
            if not name or unicodedata.normalize("NFC", name) != name:
                raise UserError(f"class {name!r} is empty or not in NFC: give it as NFC")
            if any("\ud800" <= char <= "\udfff" for char in name):
                raise UserError(f"class {name!r} is half a surrogate pair: give whole characters")
        repeated = [name for name, count in Counter(self.classes).items() if count > 1]
        if repeated:
            raise UserError(f"repeated characters {_describe_all(repeated)}: list each one once")
        unreachable = [c for c in self.classes if _normalise(c, self.case) != c]
        if unreachable:
            raise UserError(
                f"case 'fold' lower-cases every text, so {_describe_all(unreachable)} could never "
                "be read: use case 'keep', or take the upper-case characters out"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, the blank included."""
        return len(self.classes) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes, start=1)}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.classes))

    @cached_property
    def right_to_left(self) -> bool:
        """Whether texts may hold letters that are written from right to left."""
        return any(map(bidi.is_right_to_left, self.classes))

    def _seen(self, text: str) -> str:
        """Returns the normalised text as it stands in the picture, from left to right."""
        text = self.normalise(text)
        return bidi.reorder(text) if self.right_to_left else text

    def normalise(self, text: str) -> str:
        """Returns the text in NFC, lower-cased (and in NFC again) where the case is folded."""
        return _normalise(text, self.case)

    def encode(self, text: str) -> list[int]:
        """Returns the class ids of a text, which is normalised first.

        Where classes are longer than one code point, the longest that fits is taken, from left to
        right. Raises UnknownCharacterError at the first character outside the charset.
        """
        seen = self._seen(text)
        ids = self._ids
        if self._longest == 1:
            try:
                return [ids[char] for char in seen]
            except KeyError as error:
                raise self._unknown_character(error.args[0], self.normalise(text)) from None
        pieces = list(self._pieces(seen))
        for piece in pieces:
            if piece not in ids:
                raise self._unknown_character(piece, self.normalise(text))
        return [ids[piece] for piece in pieces]

    def unknown(self, text: str) -> list[str]:
        """Returns the characters of the normalised text outside the charset, in order, all."""
        return [piece for piece in self._pieces(self._seen(text)) if piece not in self._ids]

    def encode_known(self, text: str) -> list[int]:
        """Returns the class ids of a text without its unknown characters (see `unknown`)."""
        ids = self._ids
        return [ids[piece] for piece in self._pieces(self._seen(text)) if piece in ids]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """Returns the text of class ids, in NFC: the inverse of `encode`.

        Args:
          ids: labels as `encode` returns them. Nothing is collapsed: repeats stay, and a blank is
            an error, as is any id that the charset does not have.
        """
        numbers = [operator.index(i) for i in ids]
        last = len(self.classes)
        wrong = [number for number in numbers if not 1 <= number <= last]
        if wrong:
            raise UserError(
                f"class id {wrong[0]} has no character: ids run from 1 to {last} (0 is the blank); "
                "remove blanks and padding, and check the charset"
            )
        text = "".join([self.classes[number - 1] for number in numbers])
        # Classes may be combining marks that join the character before them.
        return _nfc(bidi.reorder(text) if self.right_to_left else text)

    def to_json(self) -> dict[str, object]:
        """Returns the charset as JSON values; `from_json` is the inverse."""
        classes = list(self.classes)
        return {"blank": 0, "normal_form": "NFC", "case": self.case, "classes": classes}

    @classmethod
    def from_json(cls, data: object) -> Charset:
        """Returns the charset that `to_json` described; raises UserError on anything else."""
        keys = ("blank", "normal_form", "case", "classes")
        if not isinstance(data, dict) or set(data) != set(keys):
            given = ", ".join(map(str, data)) if isinstance(data, dict) else type(data).__name__
            raise UserError(f"not a charset: a JSON object with {', '.join(keys)}; found {given}")
        for key, only in (("blank", cls.BLANK), ("normal_form", "NFC")):
            if data[key] != only:
                raise UserError(f"charset with {key} {data[key]!r}: only {only!r} can be used")
        classes, case = data["classes"], data["case"]
        if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
            raise UserError("the classes of a charset are a list of strings: save it again")
        if not isinstance(case, str):
            raise UserError(f"case {case!r} of a charset: use 'keep' or 'fold'")
        return cls(tuple(classes), case)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the charset as UTF-8 JSON; the file appears whole or not at all."""
        values = self.to_json().items()
        lines = (f'  "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in values)
        try:
            files.write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
        except OSError as error:
            raise UserError(f"cannot write charset {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Charset:
        """Reads a charset that `save` wrote; raises UserError, which names the file."""
        text = _read_text(path)
        try:
            return cls.from_json(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f"charset {path} is not JSON ({error}): save it again") from error
        except UserError as error:
            raise UserError(f"charset {path}: {error}") from error

    def _pieces(self, text: str) -> Iterator[str]:
        """Yields the classes of a normalised text, and its unknown code points one by one."""
        if self._longest == 1:
            yield from text
            return
        start = 0
        while start < len(text):
            pieces = (text[start : start + length] for length in range(self._longest, 0, -1))
            piece = next((piece for piece in pieces if piece in self._ids), text[start])
            yield piece
            start += len(piece)

    def _unknown_character(self, char: str, text: str) -> UnknownCharacterError:
        lower = fold_case(char)
        advice = f"case 'fold' reads it as {lower!r}, or " if lower in self._ids else ""
        return UnknownCharacterError(
            f"character {_describe(char)} of {text!r} is not in the charset of "
            f"{len(self.classes)} characters: {advice}add it to the charset, or drop or skip "
            "unknown characters"
        )


def resolve_case(spec: str, case: str) -> str:
    """Returns `keep` or `fold`; `auto` folds for alnum36 (with or without space) alone."""
    if case not in CASES:
        raise unknown_name("case", case, CASES)
    if case != "auto":
        return case
    return "fold" if spec in ("alnum36", "alnum36" + _SPACE) else "keep"


def build_charset(spec: str, case: str = "auto", labels: Iterable[str] | None = None) -> Charset:
    """Builds a charset from its description; raises UserError on one that is not understood.

    Args:
      spec: a name in PRESETS, which `+space` may follow; `from_data`, the sorted characters of the
        labels; `from_data:clusters`, their grapheme clusters, a letter with all its marks, for
        scripts in which marks stand before or around their letter; `file:PATH`, a UTF-8 text
        file (see below); `chars:STRING`, or simply a string of characters that does not look like
        one of the others.
      case: `auto`, `keep` or `fold`, see `resolve_case`.
      labels: the labels of the training set; `from_data` alone reads them.

    A file of two or more lines that are one written character each (a letter with its combining
    marks) lists one class per line; of any other file each code point but line breaks is a class.
    """
    case = resolve_case(spec, case)
    classes, hint = _parse(spec, case, labels)
    try:
        return Charset(tuple(classes), case)
    except UserError as error:
        shown = spec if len(spec) <= 40 else spec[:37] + "..."
        raise UserError(f"charset {shown!r}: {error}{hint}") from error


def _parse(spec: str, case: str, labels: Iterable[str] | None) -> tuple[Iterable[str], str]:
    """Returns the classes of a spec, and what to add to an error about them."""
    if spec in PRESETS:
        return PRESETS[spec], ""
    if spec.removesuffix(_SPACE) in PRESETS:
        return PRESETS[spec.removesuffix(_SPACE)] + " ", ""
    if spec in ("from_data", _CLUSTERS):
        if labels is None:
            raise UserError(f"charset {spec!r} needs labels to read: give a preset or labels")
        split = _clusters if spec == _CLUSTERS else iter
        found: set[str] = set()
        for label in labels:
            found.update(split(_normalise(label, case)))
        return sorted(found - {_BYTE_ORDER_MARK}), ""
    if spec.startswith("file:"):
        return _file_classes(spec.removeprefix("file:")), ""
    if spec.startswith("chars:"):
        return _nfc(spec.removeprefix("chars:")).replace(_BYTE_ORDER_MARK, ""), ""
    _refuse_misspelling(spec)
    return _nfc(spec).replace(_BYTE_ORDER_MARK, ""), f"; if a name was meant: {', '.join(_SPECS)}"


def _clusters(text: str) -> list[str]:
    """Returns the grapheme clusters of a text (UAX 29)."""
    try:
        import regex
    except ImportError:
        raise UserError(
            "grapheme clusters need the package regex, which is not installed: "
            "pip install 'crnn_jax[scripts]'"
        ) from None
    return regex.findall(r"\X", text)


def _refuse_misspelling(spec: str) -> None:
    """Raises UserError for a literal string that was probably meant as a name."""
    names = [*PRESETS, "from_data", "file", "chars"]
    word = spec.partition("+")[0].partition(":")[0].lower()
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if not near and not spec.endswith(_SPACE):
        return
    written = {"file": "file:PATH", "chars": "chars:STRING"}
    suffix = _SPACE if near and near[0] in PRESETS and "+" in spec else ""
    hint = f"did you mean {written.get(near[0], near[0]) + suffix!r}? " if near else ""
    raise UserError(
        f"unknown charset {spec!r}: {hint}valid: {', '.join(_SPECS)}; {_SPACE} may follow a preset;"
        f" the characters themselves are {'chars:' + spec!r}"
    )


def _file_classes(path: str) -> list[str]:
    if not path:
        raise UserError("charset 'file:' lacks the path of a text file: give file:PATH")
    text = _read_text(Path(path).expanduser()).replace(_BYTE_ORDER_MARK, "")
    lines = [_nfc(line) for line in text.split("\n") if line]
    if len(lines) > 1 and all(map(_is_written_character, lines)):
        return lines
    return [char for line in lines for char in line]


def _is_written_character(text: str) -> bool:
    """Whether a text is one code point, or a base with its marks, joiners and conjuncts."""

    def is_mark(char: str) -> bool:
        return unicodedata.category(char).startswith("M") or char in "\u200c\u200d"

    # A virama (combining class 9) or U+200D ties the next letter to this one.
    return len(text) == 1 or (
        not is_mark(text[0])
        and all(
            is_mark(char) or before == "\u200d" or unicodedata.combining(before) == 9
            for before, char in itertools.pairwise(text)
        )
    )


def _read_text(path: str | os.PathLike[str]) -> str:
    """Returns a UTF-8 file's text, without its byte-order mark, with line breaks as \\n."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read charset {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"charset {path} is not UTF-8 (byte {error.start}): save it so") from error


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold_case(text: str) -> str:
    """Returns the text in NFC and lower case, as a charset of the case "fold" spells it."""
    return _nfc(_nfc(text).lower())


def _normalise(text: str, case: str) -> str:
    return fold_case(text) if case == "fold" else _nfc(text)


def _describe(name: str) -> str:
    """Returns, as in `'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)`, what a character is."""
    points = (f"U+{ord(char):04X} {unicodedata.name(char, 'unnamed')}" for char in name)
    return f"{name!r} ({', '.join(points)})"


def _describe_all(names: list[str]) -> str:
    """Describes the first three of the names and counts the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(_describe, names[:3])) + more
