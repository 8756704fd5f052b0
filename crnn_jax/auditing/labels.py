"""What can be wrong with the labels of a set, images aside."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter

from crnn_jax.auditing.findings import Collector, Finding
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.charset import Charset

# Control, format (zero-width characters, soft hyphens, direction marks), surrogate, private,
# unassigned; line and paragraph separators.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_REPLACEMENT = "\ufffd"  # what a decoder leaves of bytes that it does not understand


def character_counts(audited: AuditSet) -> Counter[str]:
    """Returns how often each character occurs in the labels, in NFC."""
    counts: Counter[str] = Counter()
    for row in range(len(audited.source)):
        counts.update(unicodedata.normalize("NFC", audited.source.label(row)))
    return counts


def check_labels(number: int, audited: AuditSet, charset: Charset | None) -> list[Finding]:
    """Returns the findings about the texts of set `number`; unknown characters need a charset."""
    kinds = (
        "empty_label",
        "mojibake",
        "not_nfc",
        "control_character",
        "stray_blank",
        "quoted_label",
        "foreign_lexicon",
        "unknown_character",
    )
    found = {kind: Collector(kind, number) for kind in kinds}
    labels_with: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    for i in range(len(audited.source)):
        label, rows = audited.source.label(i), [Row(number, i)]
        for kind, detail, values in _wrong(label):
            found[kind].add(rows, detail, **values)
        lexicon = audited.source.lexicon(i)
        if lexicon and label.casefold() not in map(str.casefold, lexicon):
            more = f" and {len(lexicon) - 1} more" if len(lexicon) > 1 else ""
            found["foreign_lexicon"].add(rows, f"has {lexicon[0]!r}{more}")
        if charset is not None and label.strip() and (unknown := charset.unknown(label)):
            labels_with.update(set(unknown))
            occurrences.update(unknown)
            found["unknown_character"].add(rows, describe(unknown), characters=unknown)
    characters = {
        char: {"labels": labels, "occurrences": occurrences[char]}
        for char, labels in sorted(labels_with.items(), key=lambda item: (-item[1], item[0]))
    }
    if 2 * found["quoted_label"].count <= len(audited.source):
        del found["quoted_label"]  # quoted words are photographed, too
    strange = found.pop("unknown_character").findings(characters=characters)
    return [finding for each in found.values() for finding in each.findings()] + strange


@functools.lru_cache(maxsize=1 << 16)  # large word sets repeat few words
def _wrong(label: str) -> list[tuple[str, str, dict[str, str]]]:
    """Returns what is wrong with a text, whatever the charset: kinds, details, values."""
    if not label.strip():
        return [("empty_label", "blanks alone" if label else "", {})]
    found: list[tuple[str, str, dict[str, str]]] = []
    normal = unicodedata.normalize("NFC", label)
    if normal != label:
        found.append(("not_nfc", f"{len(label)} code points, {len(normal)} in NFC", {}))
    if (meant := misread(label)) is not None:
        found.append(("mojibake", f"was {meant!r}", {"meant": meant}))
    if invisible := [char for char in label if is_invisible(char)]:
        found.append(("control_character", describe(invisible), {}))
    if stray := stray_blanks(label):
        found.append(("stray_blank", stray, {}))
    if len(label) > 1 and label[0] == label[-1] and label[0] in "\"'":
        found.append(("quoted_label", "", {}))
    return found


def is_invisible(char: str) -> bool:
    """Whether a character shows nothing, or shows that something was lost."""
    return unicodedata.category(char) in _INVISIBLE or char == _REPLACEMENT


def misread(label: str) -> str | None:
    """Returns what a label was before its UTF-8 was read as Latin-1 or CP1252; None if it was not.

    No text but such text has the bytes of UTF-8 in those encodings, or hardly any.
    """
    if label.isascii():
        return None
    for encoding in ("latin-1", "cp1252"):
        try:
            return label.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return None


def stray_blanks(label: str) -> str:
    """Returns what is wrong with the blanks of a label, '' if nothing is."""
    wrong = []
    if label[:1].isspace():
        wrong.append("leading")
    if label[-1:].isspace():
        wrong.append("trailing")
    inner = label.strip()
    if "  " in inner:
        wrong.append("double")
    unusual = [c for c in inner if c.isspace() and c != " " and not is_invisible(c)]
    if unusual:
        wrong.append(f"unusual ({describe(unusual)})")
    return ", ".join(wrong)


def describe(characters: list[str]) -> str:
    """Returns the first few different characters with code point and name."""
    different = list(dict.fromkeys(characters))
    shown = (
        f"{char if char.isprintable() else ''} "
        f"U+{ord(char[0]):04X} {unicodedata.name(char[0], 'unnamed')}".strip()
        for char in different[:3]
    )
    return ", ".join(shown) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
