"""Findings: what can be wrong with a set, how bad that is and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crnn_jax.auditing.rows import MAX_NAMED, Row

SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
      severity: `error` (training or its numbers are wrong with it), `warning` (look at it) or
        `note` (good to know).
      title: what the counted things are, after their number.
      advice: what to do.
    """

    severity: str
    title: str
    advice: str


# Most severe first: this is the order of the report.
KINDS: dict[str, Kind] = {
    "unreadable_image": Kind(
        "error",
        "unreadable images",
        "replace the files or take the rows out; training masks them, evaluation counts them wrong",
    ),
    "shared_row": Kind(
        "error",
        "rows that are in both sets",
        "make the rows=, split= or limit= of the two SPECs disjoint",
    ),
    "shared_image": Kind(
        "error",
        "images of the one set whose pixels are in the other, too",
        "take them out of the set that is trained on: a score on the other one counts what was "
        "learned by heart",
    ),
    "straddling_group": Kind(
        "error",
        "groups with rows in both sets",
        "split with split= and the same group= in both SPECs, which keeps every group on one side",
    ),
    "conflicting_labels": Kind(
        "error",
        "images that occur with different labels",
        "at most one of the labels is right: mend the others",
    ),
    "empty_label": Kind(
        "error", "empty labels", "write the labels, or config.infeasible=skip leaves the rows out"
    ),
    "unknown_character": Kind(
        "error",
        "labels with characters outside the charset",
        "extend the charset, mend the labels, or set config.unknown to 'drop' (the characters), "
        "'skip' (the rows) or 'widen' (the charset)",
    ),
    "too_long_label": Kind(
        "error",
        "labels that do not fit the frames of their images",
        "mend the labels, or give the images more width (config.data.width, config.data.max_width);"
        " config.infeasible is skip (the rows) or widen (the images)",
    ),
    "near_duplicate_between_sets": Kind(
        "warning",
        "pairs of near-duplicates between the sets",
        "look at the pairs; take those that are one image out of the set that is trained on",
    ),
    "suspicious_label": Kind(
        "warning",
        "labels that the model is sure to be otherwise",
        "look at them, most suspicious first: label errors gather at the top of the list, errors "
        "of the model further down",
    ),
    "near_duplicate_with_other_label": Kind(
        "warning",
        "near-duplicates with different labels",
        "look at the pairs: if they are one image, at most one of the labels is right",
    ),
    "page": Kind(
        "warning",
        "images that look like whole pages or photographs",
        "run a text detector first and give its crops, one line or word each",
    ),
    "tall_image": Kind(
        "warning",
        "images much taller than wide, with labels of several characters",
        "turn them upright; vertical writing cannot be read by columns",
    ),
    "aspect_outlier": Kind(
        "warning",
        "images far too long or too short for their labels",
        "look at them: a wrong label, several words under one label, or a bad crop",
    ),
    "blank_image": Kind(
        "warning", "images with next to no contrast", "look at them; take out what cannot be read"
    ),
    "control_character": Kind(
        "warning",
        "labels with invisible or damaged characters",
        "take the characters out, unless the script needs them (joiners do in some)",
    ),
    "mojibake": Kind(
        "error",
        "labels that are UTF-8 read in another encoding",
        "convert the labels to UTF-8 once, from the encoding that they really have",
    ),
    "foreign_lexicon": Kind(
        "warning",
        "labels that are not among the words of their own lexicon",
        "write the label among them; in a tsv: list a label ends at a TAB, and what follows is its "
        "lexicon",
    ),
    "quoted_label": Kind(
        "warning",
        "labels in quotes, most of the set",
        "take the quotes off, if they are not in the images: tsv: takes them as part of the text, "
        "csv: (with image=1,text=2 where there is no header) takes them off",
    ),
    "stray_blank": Kind(
        "warning",
        "labels with leading, trailing, double or unusual blanks",
        "write single plain spaces, and only between words",
    ),
    "not_nfc": Kind(
        "note",
        "labels that are not in Unicode normal form C",
        "nothing is lost, labels are brought to NFC when they are read; other tools may count "
        "them as different",
    ),
    "duplicate_image": Kind(
        "note",
        "images that repeat the pixels of an earlier row",
        "keep one of each, or the set weighs them more and a split without group= tears them apart",
    ),
    "near_duplicate": Kind(
        "note",
        "pairs of near-duplicates",
        "keep both halves of a pair on one side of a split (group=)",
    ),
}


@dataclass(frozen=True)
class Example:
    """Rows that show a finding, one or (as in a pair) several; `values` go into the JSON."""

    rows: tuple[Row, ...]
    detail: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
      kind: key of KINDS.
      sets: numbers of the sets concerned, one or two.
      count: of what KINDS says is counted.
      examples: at most MAX_NAMED, most telling first.
      values: more about it, for the JSON.
    """

    kind: str
    sets: tuple[int, ...]
    count: int
    examples: Sequence[Example]
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        """One of SEVERITIES."""
        return KINDS[self.kind].severity


class Collector:
    """Gathers the examples of one finding: counts all, keeps the first MAX_NAMED."""

    def __init__(self, kind: str, *sets: int):
        self.kind, self.sets, self.count = kind, sets, 0
        self.examples: list[Example] = []

    def add(self, rows: Iterable[Row], detail: str = "", **values: Any) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.examples) < MAX_NAMED:
            self.examples.append(Example(tuple(rows), detail, values))

    def findings(self, **values: Any) -> list[Finding]:
        """Returns the finding, or none."""
        if not self.count:
            return []
        return [Finding(self.kind, self.sets, self.count, self.examples, values)]


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings, most severe first, then in the order of KINDS."""
    order = {
        kind: (SEVERITIES.index(entry.severity), place)
        for place, (kind, entry) in enumerate(KINDS.items())
    }
    return sorted(findings, key=lambda finding: (order[finding.kind], finding.sets))
