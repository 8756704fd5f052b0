"""The audit as one self-contained HTML page, with pictures of what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np

from crnn_jax import pages
from crnn_jax.auditing.charts import bars, histogram
from crnn_jax.auditing.findings import KINDS, Finding
from crnn_jax.auditing.labels import character_counts, describe
from crnn_jax.auditing.report import Audit, character_losses, headline, shown
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.auditing.shapes import label_lengths
from crnn_jax.pages import Pictures

MAX_PICTURES = 400  # on the page; each is 2 to 6 kB
_PER_FINDING = 24  # examples with pictures
_PER_EXAMPLE = 4  # pictures of one example: a group of copies may be large
_LABELS = 8  # of one example
_PAIRS = 20  # nearest pairs of two sets
_CHARACTERS = 400  # most frequent ones of a set


def to_html(audit: Audit) -> str:
    """Returns the page. It loads nothing, and labels in it are text whatever they hold."""
    pictures = Pictures(MAX_PICTURES)
    names = ", ".join(audited.name for audited in audit.sets)
    body = [
        f"<h1>Audit of {escape(names)}</h1>",
        f'<p class="soft">charset {escape(audit.charset or "not given")}; '
        f"frames of {escape(audit.frames)}</p>",
        *(f'<p class="soft">Not checked: {escape(what)}.</p>' for what in audit.not_checked),
        _overview(audit),
        "<h2>Findings</h2>",
    ]
    if not audit.findings:
        body.append("<section>Nothing found.</section>")
    body += [_finding(audit, n, finding, pictures) for n, finding in enumerate(audit.findings)]
    if audit.near:
        body.append("<h2>Nearest pairs of images</h2>")
    body += [_pairs(audit, number, pictures) for number in range(len(audit.near))]
    body.append("<h2>Sets</h2>")
    body += [_set(audited) for audited in audit.sets]
    return pages.shell(f"Audit of {names}", f"<main>{''.join(body)}</main>")


def _overview(audit: Audit) -> str:
    """Returns the table of findings, each a link."""
    rows = [
        f'<tr><td><span class="badge {f.severity}">{f.severity}</span></td>'
        f'<td class="number">{f.count:,}</td>'
        f'<td><a href="#finding-{n}">{escape(KINDS[f.kind].title)}</a></td>'
        f'<td class="soft">{escape(audit.names(f))}</td></tr>'
        for n, f in enumerate(audit.findings)
    ]
    return f"<section><table>{''.join(rows)}</table></section>" if rows else ""


def _finding(audit: Audit, number: int, finding: Finding, pictures: Pictures) -> str:
    kind = KINDS[finding.kind]
    parts = [
        f'<section id="finding-{number}"><h3><span class="badge {kind.severity}">{kind.severity}'
        f"</span>{escape(headline(finding))}</h3>",
        f'<p class="soft">{escape(audit.names(finding))}</p>',
        f"<p>{escape(kind.advice[0].upper() + kind.advice[1:])}.</p>",
    ]
    if characters := finding.values.get("characters"):
        losses = character_losses(characters, _CHARACTERS)
        parts.append(f"<p>{escape(losses[0].upper() + losses[1:])}.</p>")
    cards = [
        _card(audit, example.rows, example.detail, pictures)
        for example in finding.examples[:_PER_FINDING]
    ]
    parts.append(f'<div class="grid">{"".join(cards)}</div>')
    if finding.count > _PER_FINDING:
        parts.append(f'<p class="soft">and {finding.count - _PER_FINDING:,} more</p>')
    return "".join(parts) + "</section>"


def _card(audit: Audit, rows: Sequence[Row], detail: str, pictures: Pictures) -> str:
    """Returns rows with their pictures, labels and places."""
    labels = list(dict.fromkeys(_visible(audit.label(row)) for row in rows))
    if len(labels) > _LABELS:
        labels[_LABELS:] = [f"and {len(labels) - _LABELS:,} more labels"]
    several = len({row.set for row in rows}) > 1
    places = [
        (f"{audit.sets[row.set].name}: " if several else "") + audit.where(row)
        for row in rows[:_PER_EXAMPLE]
    ]
    if len(rows) > _PER_EXAMPLE:
        places.append(f"and {len(rows) - _PER_EXAMPLE:,} more rows")
    shown_rows = [(audit.sets[row.set].source, row.row) for row in rows[:_PER_EXAMPLE]]
    return (
        f'<div class="card">{pictures.of(shown_rows)}'
        f'<div class="label">{escape(" / ".join(labels))}</div>'
        + (f"<div>{escape(detail)}</div>" if detail else "")
        + "".join(f'<div class="soft">{escape(place)}</div>' for place in places)
        + "</div>"
    )


def _visible(label: str) -> str:
    """Returns a label without quotes where it shows itself, else as the text report has it."""
    plain = label.strip() == label and label.isprintable() and label and len(label) <= 60
    return label if plain else shown(label)


def _pairs(audit: Audit, number: int, pictures: Pictures) -> str:
    near = audit.near[number]
    cards = [
        _card(audit, (a, b), f"distance {distance} of 255", pictures)
        for a, b, distance in near.pairs[:_PAIRS]
    ]
    head = f"{escape(audit.names(near))}: {near.within:,} within {audit.threshold} bits"
    grid = f'<div class="grid">{"".join(cards)}</div>' if cards else "<p>No pair to compare.</p>"
    return f"<section><h3>{head}</h3>{grid}</section>"


def _set(audited: AuditSet) -> str:
    """Returns what a set is made of: histograms and characters."""
    images, lengths = audited.images, label_lengths(audited)
    readable = images.readable
    labelled = readable & (lengths > 0)
    charts = (
        ("width, px", images.widths[readable], True),
        ("height, px", images.heights[readable], True),
        ("width / height", images.aspects[readable], True),
        ("characters per label", lengths, False),
        ("width / height / characters", images.aspects[labelled] / lengths[labelled], True),
    )
    figures = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>"
        f"{histogram(values, logarithmic) if logarithmic else bars(values)}</figure>"
        for name, values, logarithmic in charts
        if len(values)
    )
    counts = character_counts(audited)
    readable_count = int(np.count_nonzero(readable))
    return (
        f"<section><h3>{escape(audited.name)}</h3>"
        f'<p class="soft">{escape(str(audited.spec))}</p>'
        f"<p>{len(audited.source):,} rows, {readable_count:,} with a readable image, "
        f"{len(counts):,} different characters"
        f"{' (only compared with)' if audited.against else ''}</p>"
        f'<div class="charts">{figures}</div>'
        f"{character_tags(counts)}</section>"
    )


def character_tags(counts: Counter[str]) -> str:
    """Returns characters with their counts, the most frequent first."""
    tags = "".join(
        f'<span title="{escape(describe([char]))}">{escape(_visible_character(char))}'
        f' <span class="soft">{count:,}</span></span>'
        for char, count in counts.most_common(_CHARACTERS)
    )
    left_out = len(counts) - _CHARACTERS
    more = f" and {left_out:,} more" if left_out > 0 else ""
    return f'<div class="characters">{tags}{more}</div>'


def _visible_character(char: str) -> str:
    return char if char.isprintable() and char != " " else describe([char])
