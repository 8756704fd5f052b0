"""The audit as one self-contained HTML page, with pictures of what was found."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from crnn_jax.auditing.charts import bars, histogram
from crnn_jax.auditing.findings import KINDS, Finding
from crnn_jax.auditing.labels import character_counts, describe
from crnn_jax.auditing.report import Audit, character_losses, headline, shown
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.auditing.shapes import label_lengths
from crnn_jax.data.images import decode_image
from crnn_jax.errors import DataError

MAX_PICTURES = 400  # on the page; each is 2 to 6 kB
_PER_FINDING = 24  # examples with pictures
_PER_EXAMPLE = 4  # pictures of one example: a group of copies may be large
_PAIRS = 20  # nearest pairs of two sets
_PICTURE = (220, 72)  # pixels that a picture may take

_STYLE = """
:root { --ink: #1d2129; --soft: #646b78; --line: #e1e4ea; --paper: #fff; --ground: #f5f6f8;
  --bar: #5b7db8; --error: #b3261e; --warning: #9a6200; --note: #3c6a8f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #9aa1ad; --line: #343943;
  --paper: #1f232a; --ground: #15181d; --bar: #7f9fd6; --error: #f2867e; --warning: #e3b04b;
  --note: #8fbbdd } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 19px; margin: 36px 0 10px }
h3 { font-size: 16px; margin: 0 } p { margin: 4px 0 } .soft { color: var(--soft) }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 16px 18px; margin: 12px 0 }
.badge { display: inline-block; min-width: 68px; text-align: center; border-radius: 4px;
  font-size: 12px; font-weight: 600; padding: 1px 8px; margin-right: 8px; vertical-align: 1px;
  color: var(--paper) }
.error { background: var(--error) } .warning { background: var(--warning) }
.note { background: var(--note) }
table { border-collapse: collapse } td, th { text-align: left; padding: 3px 18px 3px 0 }
td.number { text-align: right; font-variant-numeric: tabular-nums } a { color: inherit }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(248px, 1fr)); gap: 10px;
  margin-top: 12px }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; font-size: 13px;
  overflow-wrap: anywhere; line-height: 1.4 }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; min-height: 44px; align-items: center;
  margin-bottom: 4px }
.pictures img { max-width: 100%; border-radius: 2px; background: #888 }
.label { font-size: 15px; font-weight: 600; white-space: pre-wrap }
.charts { display: flex; flex-wrap: wrap; gap: 18px; margin-top: 10px }
.charts figure { margin: 0 } figcaption { font-size: 13px; color: var(--soft) }
svg text { fill: var(--soft); font: 11px system-ui, "DejaVu Sans", sans-serif }
svg rect { fill: var(--bar) } svg line { stroke: var(--line) }
.characters { margin-top: 10px; font-size: 13px; overflow-wrap: anywhere }
.characters span { display: inline-block; border: 1px solid var(--line); border-radius: 4px;
  padding: 0 6px; margin: 2px 3px 2px 0; white-space: pre }
"""


def to_html(audit: Audit) -> str:
    """Returns the page. It loads nothing, and labels in it are text whatever they hold."""
    pictures = _Pictures(audit, MAX_PICTURES)
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
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of {escape(names)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


class _Pictures:
    """Makes pictures of rows, up to a number for the whole page."""

    def __init__(self, audit: Audit, most: int):
        self._audit, self._left = audit, most

    def of(self, rows: Sequence[Row]) -> str:
        """Returns the pictures of rows; '' when there were enough already."""
        tags = []
        for row in rows[:_PER_EXAMPLE]:
            if self._left:
                self._left -= 1
                tags.append(self._picture(row))
        return f'<div class="pictures">{"".join(tags)}</div>' if tags else ""

    def _picture(self, row: Row) -> str:
        audited = self._audit.sets[row.set]
        if not audited.images.readable[row.row]:
            return '<span class="soft">no picture</span>'
        try:
            pixels = decode_image(audited.source.image_bytes(row.row), channels=3)
        except DataError:  # it could be read before: the disk changed
            return '<span class="soft">no picture any more</span>'
        image = Image.fromarray(pixels)
        scale = min(_PICTURE[0] / image.width, _PICTURE[1] / image.height, 3)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=80)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        return (
            f'<img src="data:image/jpeg;base64,{data}" width="{size[0]}" height="{size[1]}"'
            f' alt="{escape(self._audit.label(row))}">'
        )


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


def _finding(audit: Audit, number: int, finding: Finding, pictures: _Pictures) -> str:
    kind = KINDS[finding.kind]
    parts = [
        f'<section id="finding-{number}"><h3><span class="badge {kind.severity}">{kind.severity}'
        f"</span>{escape(headline(finding))}</h3>",
        f'<p class="soft">{escape(audit.names(finding))}</p>',
        f"<p>{escape(kind.advice[0].upper() + kind.advice[1:])}.</p>",
    ]
    if characters := finding.values.get("characters"):
        parts.append(f"<p>{escape(character_losses(characters).capitalize())}.</p>")
    cards = [
        _card(audit, example.rows, example.detail, pictures)
        for example in finding.examples[:_PER_FINDING]
    ]
    parts.append(f'<div class="grid">{"".join(cards)}</div>')
    if finding.count > _PER_FINDING:
        parts.append(f'<p class="soft">and {finding.count - _PER_FINDING:,} more</p>')
    return "".join(parts) + "</section>"


def _card(audit: Audit, rows: Sequence[Row], detail: str, pictures: _Pictures) -> str:
    """Returns rows with their pictures, labels and places."""
    labels = list(dict.fromkeys(_visible(audit.label(row)) for row in rows))
    several = len({row.set for row in rows}) > 1
    places = [
        (f"{audit.sets[row.set].name}: " if several else "") + audit.where(row)
        for row in rows[:_PER_EXAMPLE]
    ]
    if len(rows) > _PER_EXAMPLE:
        places.append(f"and {len(rows) - _PER_EXAMPLE} more rows")
    return (
        f'<div class="card">{pictures.of(rows)}'
        f'<div class="label">{escape(" / ".join(labels))}</div>'
        + (f"<div>{escape(detail)}</div>" if detail else "")
        + "".join(f'<div class="soft">{escape(place)}</div>' for place in places)
        + "</div>"
    )


def _visible(label: str) -> str:
    """Returns a label without quotes where it shows itself, else as the text report has it."""
    plain = label.strip() == label and label.isprintable() and label and len(label) <= 60
    return label if plain else shown(label)


def _pairs(audit: Audit, number: int, pictures: _Pictures) -> str:
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
    counts = character_counts(audited).most_common()
    characters = "".join(
        f'<span title="{escape(describe([char]))}">'
        f"{escape(char if char.isprintable() and char != ' ' else describe([char]))}"
        f' <span class="soft" style="border:0;padding:0;margin:0">{count:,}</span></span>'
        for char, count in counts[:400]
    )
    more = f" and {len(counts) - 400:,} more" if len(counts) > 400 else ""
    readable_count = int(np.count_nonzero(readable))
    return (
        f"<section><h3>{escape(audited.name)}</h3>"
        f'<p class="soft">{escape(str(audited.spec))}</p>'
        f"<p>{len(audited.source):,} rows, {readable_count:,} with a readable image, "
        f"{len(counts):,} different characters"
        f"{' (only compared with)' if audited.against else ''}</p>"
        f'<div class="charts">{figures}</div>'
        f'<div class="characters">{characters}{more}</div></section>'
    )
