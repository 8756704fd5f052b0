"""The audit as text and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crnn_jax.auditing.duplicates import MOST_PAIRS, NearPairs
from crnn_jax.auditing.findings import KINDS, Example, Finding
from crnn_jax.auditing.labels import character_counts
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.auditing.shapes import label_lengths, quantiles

_EXAMPLES = 3  # of each finding in the text
_ROWS = 4  # of an example there: a group of copies may be large
_CHARACTERS = 12  # outside the charset, in the text
_WIDTH = 100
_FORMAT = 1  # of the JSON; grows when fields change their meaning


@dataclass
class Audit:
    """Everything that was found.

    Attributes:
      sets: those audited, then those only compared with.
      findings: most severe first.
      near: nearest pairs of images, in sets and between them.
      threshold: distance in bits up to which a pair is a near-duplicate.
      charset: description of the charset that labels were held against; None for none.
      model: name of the model; None for none.
      frames: what frames were counted for.
      not_checked: what was left out, and what it takes.
    """

    sets: list[AuditSet]
    findings: list[Finding]
    near: list[NearPairs]
    threshold: int
    charset: str | None
    model: str | None
    frames: str
    not_checked: list[str] = field(default_factory=list)

    def where(self, row: Row) -> str:
        """Names a row for people."""
        return self.sets[row.set].source.where(row.row)

    def label(self, row: Row) -> str:
        """Returns the label of a row."""
        return self.sets[row.set].source.label(row.row)

    def names(self, finding: Finding | NearPairs) -> str:
        """Names the sets of a finding."""
        return " and ".join(self.sets[number].name for number in finding.sets)


def statistics(audited: AuditSet) -> dict[str, Any]:
    """Returns what a set is made of: rows, characters and quantiles of its sizes."""
    images, lengths = audited.images, label_lengths(audited)
    readable = images.readable
    labelled = readable & (lengths > 0)
    characters: Counter[str] = character_counts(audited)
    return {
        "rows": len(audited.source),
        "readable": int(np.count_nonzero(readable)),
        "characters": dict(sorted(characters.items(), key=lambda item: (-item[1], item[0]))),
        "label_length": quantiles(lengths),
        "width": quantiles(images.widths[readable]),
        "height": quantiles(images.heights[readable]),
        "aspect": quantiles(images.aspects[readable]),
        "aspect_per_character": quantiles(images.aspects[labelled] / lengths[labelled]),
    }


def to_json(audit: Audit) -> dict[str, Any]:
    """Returns the whole audit as JSON values."""
    return {
        "format": _FORMAT,
        "charset": audit.charset,
        "model": audit.model,
        "frames": audit.frames,
        "not_checked": audit.not_checked,
        "sets": [
            {
                "name": audited.name,
                "spec": str(audited.spec),
                "against": audited.against,
                **statistics(audited),
            }
            for audited in audit.sets
        ],
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "sets": [audit.sets[number].name for number in finding.sets],
                "count": finding.count,
                "title": KINDS[finding.kind].title,
                "advice": KINDS[finding.kind].advice,
                **finding.values,
                "examples": [_example_json(audit, example) for example in finding.examples],
            }
            for finding in audit.findings
        ],
        "nearest_pairs": [
            {
                "sets": [audit.sets[number].name for number in near.sets],
                "threshold": audit.threshold,
                "within_threshold": near.within,
                "listed_at_most": MOST_PAIRS,
                "pairs": [
                    {"distance": distance, "rows": [_row_json(audit, row) for row in (a, b)]}
                    for a, b, distance in near.pairs
                ],
            }
            for near in audit.near
        ],
    }


def _example_json(audit: Audit, example: Example) -> dict[str, Any]:
    rows = [_row_json(audit, row) for row in example.rows]
    return {"rows": rows, "detail": example.detail, **example.values}


def _row_json(audit: Audit, row: Row) -> dict[str, Any]:
    audited = audit.sets[row.set]
    return {
        "set": audited.name,
        "row": row.row,  # of the set as its SPEC names it, counted from 0
        "key": audited.source.key(row.row),
        "where": audit.where(row),
        "label": audit.label(row),
    }


def to_text(audit: Audit) -> str:
    """Returns the audit for a terminal: the sets in a line each, then what was found."""
    lines = [_set_line(audited) for audited in audit.sets]
    lines.append(f"charset {audit.charset or 'not given'}; frames of {audit.frames}")
    lines += [f"not checked: {what}" for what in audit.not_checked]
    if not audit.findings:
        lines += ["", "nothing found"]
    for finding in audit.findings:
        kind = KINDS[finding.kind]
        lines += ["", f"{kind.severity.upper()} {audit.names(finding)}: {headline(finding)}"]
        if characters := finding.values.get("characters"):
            lines += _wrapped(character_losses(characters))
        for example in finding.examples[:_EXAMPLES]:
            lines += _wrapped(example_line(audit, example))
        if finding.count > _EXAMPLES:
            lines.append(f"    and {finding.count - _EXAMPLES:,} more")
        lines += _wrapped(f"-> {kind.advice}")
    return "\n".join(lines)


def headline(finding: Finding) -> str:
    """Returns what is counted and its number: 'empty labels: 12'."""
    return f"{KINDS[finding.kind].title}: {finding.count:,}"


def one_line(audit: Audit, finding: Finding) -> str:
    """Returns a finding with its first example and what to do, for a log."""
    example = example_line(audit, finding.examples[0])
    advice = KINDS[finding.kind].advice
    return f"{audit.names(finding)}: {headline(finding)} (the first: {example}); {advice}"


def example_line(audit: Audit, example: Example) -> str:
    """Returns the rows of an example with their labels, and its detail."""
    different = len({row.set for row in example.rows}) > 1
    named = []
    for row in example.rows[:_ROWS]:
        prefix = f"{audit.sets[row.set].name}: " if different else ""
        named.append(f"{prefix}{audit.where(row)} {shown(audit.label(row))}")
    if len(example.rows) > _ROWS:
        named.append(f"{len(example.rows) - _ROWS:,} more rows")
    return " = ".join(named) + (f": {example.detail}" if example.detail else "")


def shown(label: str) -> str:
    """Returns a label in quotes, on one line, with what cannot be seen spelled out."""
    text = "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in label)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:59]}…'"


def character_losses(characters: dict[str, dict[str, int]], most: int = _CHARACTERS) -> str:
    """Returns how many labels hold each unknown character, most frequent first.

    Args:
      characters: with the counts of each.
      most: characters that are named.
    """
    listed = list(characters.items())
    parts = [f"{shown(char)} in {counts['labels']:,}" for char, counts in listed[:most]]
    more = [f"and {len(listed) - most} more characters"] if len(listed) > most else []
    return "labels that hold " + ", ".join(parts + more)


def _set_line(audited: AuditSet) -> str:
    images = audited.images
    readable = images.readable
    count = int(np.count_nonzero(readable))
    text = f"{audited.name}: {len(audited.source):,} rows, {count:,} readable"
    if count:
        sizes = np.median(images.widths[readable]), np.median(images.heights[readable])
        text += f", median {sizes[0]:.0f} x {sizes[1]:.0f} px"
    text += f", {len(character_counts(audited)):,} characters"
    return text + (" (compared with)" if audited.against else "")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="    ", subsequent_indent="      ", break_long_words=False
    ) or ["    "]
