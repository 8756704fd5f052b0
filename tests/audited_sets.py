"""Made-up sets with one defect each, and short ways to ask what an audit found."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import drawn_words
from drawn_words import draw
from PIL import Image

from crnn_jax import audit
from crnn_jax.auditing.findings import Finding
from crnn_jax.auditing.report import Audit
from crnn_jax.charset import build_charset
from crnn_jax.data.spec import parse_spec

LETTERS = build_charset("chars:" + drawn_words.LETTERS)
Rows = list[tuple[str, Image.Image | bytes, str]]


def run_audit(*specs: str, against: tuple[str, ...] = (), **options) -> Audit:
    options = {"charset": LETTERS, **options}
    return audit.audit_sets(
        [parse_spec(spec) for spec in specs], [parse_spec(spec) for spec in against], **options
    )


def kinds(found: Audit) -> dict[str, int]:
    return {finding.kind: finding.count for finding in found.findings}


def only(found: Audit, kind: str) -> Finding:
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    return finding


def examples(found: Audit, kind: str) -> list[list[str]]:
    """The keys of the rows that a finding names."""
    return [
        [found.sets[row.set].source.key(row.row) for row in example.rows]
        for example in only(found, kind).examples
    ]


def relabelled(row: int, label: Callable[[str], str]) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        name, image, old = rows[row]
        rows[row] = (name, image, label(old))

    return change


def repainted(row: int, image: Callable[[], Image.Image | bytes], label: str | None = None):
    def change(rows: Rows) -> None:
        name, _, old = rows[row]
        rows[row] = (name, image(), old if label is None else label)

    return change


def copied(row: int, other: int, change_image: Callable, label: str | None = None):
    """The image of a row, changed, is another row's, too, under its own label or another one."""

    def change(rows: Rows) -> None:
        rows[other] = (rows[other][0], change_image(rows[row][1]), label or rows[row][2])

    return change


def huge_png() -> bytes:
    """The header of a PNG of 100 megapixels, with next to no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def paper() -> Image.Image:
    """A photograph of a sheet with many words."""
    sheet = Image.new("L", (900, 1200), 220)
    for i in range(24):
        for j in range(3):
            sheet.paste(draw(drawn_words.words(72)[3 * i + j], i), (20 + 300 * j, 10 + 48 * i))
    return sheet


def upright(word: str) -> Image.Image:
    return draw(word, 5).transpose(Image.Transpose.ROTATE_90)


# kind -> what to do to a clean set, and the row that has to be named
DEFECTS: dict[str, tuple[Callable[[Rows], None], int]] = {
    "empty_label": (relabelled(3, lambda label: ""), 3),
    "unknown_character": (relabelled(4, lambda label: label + "é!!"), 4),
    "mojibake": (relabelled(5, lambda label: "cafÃ©"), 5),
    "not_nfc": (relabelled(6, lambda label: label + "e\u0301"), 6),
    "control_character": (relabelled(7, lambda label: label + "\u200b"), 7),
    "stray_blank": (relabelled(8, lambda label: label + "  x"), 8),
    "foreign_lexicon": (relabelled(23, lambda label: label + "\tother"), 23),
    "too_long_label": (relabelled(9, lambda label: label[0] * 200), 9),
    "unreadable_image": (repainted(10, lambda: b"no image"), 10),
    "tall_image": (repainted(11, lambda: upright("upright"), "abc"), 11),
    "page": (repainted(12, paper, "page"), 12),
    "blank_image": (repainted(13, lambda: Image.new("L", (120, 40), 90), "nothing"), 13),
    "aspect_outlier": (repainted(14, lambda: draw("muchtoolongforthat", 3), "ab"), 14),
    "duplicate_image": (copied(15, 16, lambda image: image), 16),
    "conflicting_labels": (copied(17, 18, lambda image: image, "other"), 17),
    "near_duplicate": (copied(19, 20, lambda image: image.resize((90, 30))), 19),
    "near_duplicate_with_other_label": (
        copied(21, 22, lambda image: image.point(lambda value: value * 0.8), "other"),
        21,
    ),
}
# What a defect brings with it: the cause is another finding, rightly reported as well.
WITH = {
    "conflicting_labels": {"duplicate_image"},
    "near_duplicate_with_other_label": {"near_duplicate"},
    "too_long_label": {"aspect_outlier"},
}
