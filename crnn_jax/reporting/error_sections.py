"""Sections that count mistakes: which characters, where in the words, how sure the model was."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from crnn_jax import pages
from crnn_jax.metrics import wilson_interval
from crnn_jax.pages import Pictures
from crnn_jax.reporting import charts, slips
from crnn_jax.reporting.charts import Line, shown
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import Section, percent
from crnn_jax.reporting.sets import Readings
from crnn_jax.reporting.slips import PLACES, Slips
from crnn_jax.scoring import breakdown, calibration, selective
from crnn_jax.scoring.edits import KINDS, NOTHING

_MATRIX = 18  # characters
_EDITS = 24  # rows of the table
_EXAMPLES = 3  # pictures of an edit
_ERROR_RATES = (0.01, 0.05)  # thresholds for them


def confusions(readings: Readings, found: Slips, pictures: Pictures) -> Section:
    """Returns which characters are read as which others."""
    characters, counts = slips.matrix(found, _MATRIX)
    rows = []
    for (old, new), number in found.counts.most_common(_EDITS):
        of_label = percent(number / found.characters[old]) if old else ""
        pairs = found.pairs[old, new][:_EXAMPLES]
        words = ", ".join(f"{escape(p.label)} → {escape(p.reading) or '∅'}" for p in pairs)
        rows.append(
            (
                _edit(old, new),
                f"{number:,}",
                percent(number / found.total),
                of_label,
                pictures.of([readings.source(pair) for pair in pairs])
                + f'<div class="soft words">{words}</div>',
            )
        )
    head = ("edit", "count", "of all edits", "of the character", "the surest examples")
    body = (
        f"<p>{found.total:,} edits in {sum(found.characters.values()):,} characters of labels.</p>"
        f"{charts.confusion_matrix(characters, counts)}"
        f"{pages.table(head, rows, numbers=(1, 2, 3))}"
    )
    return Section(
        "confusions",
        "Characters confused",
        "Labels and readings are aligned with fewest edits. A row of the matrix is a character "
        "of the labels, a column what was read in its place; ∅ is nothing, so that its column "
        "shows what was lost and its row what was added.",
        body if found.total else "<p>No character was read otherwise.</p>",
    )


def _edit(old: str, new: str) -> str:
    a, b = (f"<b>{escape(shown(char))}</b>" if char else "" for char in (old, new))
    if old == NOTHING:
        return f"{b} added"
    return f"{a} lost" if new == NOTHING else f"{a} → {b}"


def where(run: Run, readings: Readings, found: Slips) -> Section:
    """Returns doubled letters, blanks, cases, places in words, lengths and shapes."""
    return Section(
        "where",
        "Where mistakes happen",
        "The same readings, sorted by what may be hard in them. Bars are word accuracies with "
        "95 % intervals: a group whose interval lies below that of the others is a weakness.",
        f"{_kinds(run, found)}{_places(found)}{_groups(run, readings)}",
    )


def _kinds(run: Run, found: Slips) -> str:
    kinds, cased = found.kinds, _has_case(run)

    def share(count: int, of: int, what: str) -> str:
        return f"{percent(count / of, 2)} of {of:,} {what}" if of else ""

    letters = sum(found.characters.values()) - found.repeats
    rows = [
        ("dropped_repeat", share(kinds["dropped_repeat"], found.repeats, "in labels")),
        ("added_repeat", share(kinds["added_repeat"], letters, "other characters")),
    ]
    if found.spaces or kinds["added_space"]:
        rows += [
            ("lost_space", share(kinds["lost_space"], found.spaces, "in labels")),
            ("added_space", ""),
        ]
    if cased:
        rows.append(("case", share(kinds["case"], found.cased, "letters")))
    rows += [(kind, "") for kind in ("lost_first", "lost_last", "lost", "added", "replaced")]
    total = max(found.total, 1)
    cells = [
        (escape(KINDS[kind]), f"{kinds[kind]:,}", percent(kinds[kind] / total), note)
        for kind, note in rows
    ]
    head = ("kind of edit", "count", "of all edits", "how often it could have happened")
    return "<h3>Kinds of edits</h3>" + pages.table(head, cells, numbers=(1, 2))


def _has_case(run: Run) -> bool:
    """Returns whether the model and the protocol tell capitals from small letters."""
    classes = set(run.recognizer.charset.classes)
    return run.protocol != "36" and any(c != c.lower() and c.lower() in classes for c in classes)


def _places(found: Slips) -> str:
    rows = []
    for place in PLACES:
        wrong, of = found.places[place]
        if of:
            low, high = wilson_interval(wrong, of)
            bar = charts.interval_bar(1 - wrong / of, 1 - high, 1 - low)
            rows.append((place, bar, percent(1 - wrong / of, 2), f"{of:,}"))
    if not rows:
        return ""
    head = ("character of the label", "", "read right", "characters")
    return f"<h3>Beginning and end of words</h3>{pages.table(head, rows, numbers=(2, 3))}"


def _groups(run: Run, readings: Readings) -> str:
    parts = []
    for one in readings.sets:
        groups = breakdown.breakdown(one.result.rows, one.scores, one.ratios, run.protocol)
        tables = "".join(
            f"<div><h4>{escape(breakdown.TITLES[kind])}</h4>{_group_table(members)}</div>"
            for kind, members in groups.items()
            if members
        )
        parts.append(f'<h3>{escape(one.name)}</h3><div class="groups">{tables}</div>')
    return "".join(parts)


def _group_table(groups: Sequence[breakdown.Group]) -> str:
    rows = []
    for group in groups:
        low, high = wilson_interval(group.correct, group.count)
        accuracy = group.correct / group.count
        bar = charts.interval_bar(accuracy, low, high)
        rows.append((escape(group.name), bar, percent(accuracy), f"{group.count:,}"))
    return pages.table(("", "", "accuracy", "images"), rows, numbers=(2, 3))


def confidence(run: Run, readings: Readings) -> Section:
    """Returns whether confidences can be believed, and what thresholds on them give."""
    names = list(dict.fromkeys([*run.eval_names, *(one.name for one in readings.sets)]))
    reliabilities, risks, rows = [], [], []
    for number, one in enumerate(readings.sets):
        pairs = [pair for pair in readings.pairs if pair.set == number]
        if not pairs:
            continue
        sure = np.clip([pair.confidence for pair in pairs], 0.0, 1.0)
        right = np.array([pair.label == pair.reading for pair in pairs])
        bins = calibration.reliability_bins(sure, right)
        colour = charts.colour_of(one.name, names)
        reliabilities.append(
            Line(
                one.name,
                [(b.confidence, b.accuracy) for b in bins],
                True,
                [b.interval for b in bins],
                colour=colour,
            )
        )
        curve = selective.risk_coverage(sure, right)
        points = list(zip(curve.coverage.tolist(), curve.risk.tolist(), strict=True))
        risks.append(Line(one.name, points, smooth=False, colour=colour))
        rows.append(_calibration_row(one.name, sure, right))
    figures = [
        charts.curves(
            "share that is right, by confidence", reliabilities, percent=True, low=0.0, high=1.0,
            x_name="confidence", shares=True,
        ),
        charts.curves(
            "wrong among the accepted", risks, percent=True, low=0.0,
            x_name="accepted, surest first",
        ),
    ]  # fmt: skip
    head = (
        "set", "mean confidence", "right", "ECE", "ECE by chance",
        *(f"accepted at {percent(rate, 0)} wrong" for rate in _ERROR_RATES),
    )  # fmt: skip
    return Section(
        "confidence",
        "Confidence",
        "Left: points on the dashed line mean what they say; below it the model promises too "
        "much. Right: what share is wrong when only the surest readings are accepted. ECE is the "
        "mean distance from the line; compare it with what chance alone gives on as many rows. "
        "Thresholds were chosen on these very rows, and do a little worse on others.",
        f'<div class="curves">{"".join(figures)}</div>'
        f"{pages.table(head, rows, numbers=(1, 2, 3, 4))}"
        if rows
        else "<p>No set was read.</p>",
    )


def _calibration_row(name: str, sure: np.ndarray, right: np.ndarray) -> tuple[str, ...]:
    found = calibration.summarise(sure, right)
    cells = []
    for rate in _ERROR_RATES:
        threshold = selective.threshold_for(sure, right, rate).plain
        told = (
            f"{percent(threshold.coverage)} from {selective.shown(threshold.value, 3)} on"
            if threshold.value is not None
            else "none"
        )
        cells.append(told)
    return (
        escape(name),
        f"{found.confidence:.3f}",
        f"{found.accuracy:.3f}",
        f"{found.ece:.3f}",
        f"{found.floor.mean:.3f}",
        *cells,
    )
