"""The section about the data: what labels and splits look like, and what training left out."""

from __future__ import annotations

import os
import pathlib
import re
from collections import Counter
from html import escape

from crnn_jax import pages
from crnn_jax.auditing import before_training, charts
from crnn_jax.auditing.findings import KINDS
from crnn_jax.auditing.labels import character_counts
from crnn_jax.auditing.page import character_tags
from crnn_jax.auditing.report import Audit, example_line
from crnn_jax.auditing.rows import AuditSet, Images
from crnn_jax.auditing.shapes import label_lengths
from crnn_jax.data.spec import ON_DEVICE, parse_mixture
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import Section
from crnn_jax.reporting.sets import Readings

_NAMED = 5  # rows left out that are named


def data(run: Run, readings: Readings, out: pathlib.Path) -> Section:
    """Returns the findings of the audit, the rows left out, and what the sets hold.

    Args:
      run: whose sets they are.
      readings: the sets.
      out: the page's file, for the link to the audit's.
    """
    held = [(one.spec, one.source) for one in readings.sets if one.own]
    found = before_training.look(readings.trained, held)
    more = [one for one in readings.sets if not one.own]
    sets = found.sets + [
        AuditSet(one.name, one.spec, one.source, Images.of_count(0), True) for one in more
    ]
    gone = "".join(
        f'<p><b>Gone:</b> {escape(one.spec)} <span class="soft">{escape(one.why)}</span></p>'
        for one in (*readings.missing, *readings.missing_training)
    )
    return Section(
        "data",
        "Data",
        "What the check of labels and splits finds, which every run makes before it trains, the "
        "rows that training left out, and what the labels hold. Findings are ordered by how much "
        "they harm.",
        f"{gone}{_findings(run, found, out)}{_skipped(run)}{_drawn(run)}{''.join(map(_set, sets))}",
    )


def _findings(run: Run, found: Audit, out: pathlib.Path) -> str:
    more = ""
    if run.audit:  # of the images, too
        rows = [
            (f["severity"], f"{f['count']:,}", f["title"], f["advice"], ", ".join(f["sets"]))
            for f in run.audit["findings"]
        ]
    else:
        rows = [
            (
                f.severity,
                f"{f.count:,}",
                KINDS[f.kind].title,
                f"{KINDS[f.kind].advice}. First: {example_line(found, f.examples[0])}",
                found.names(f),
            )
            for f in found.findings
        ]
        more = (
            '<p class="soft">Images were not looked at: config.data.audit=true does that before a '
            "run, python -m crnn_jax.audit at any time.</p>"
        )
    if run.audit_page.is_file():
        target = pathlib.PurePath(os.path.relpath(run.audit_page, out.parent)).as_posix()
        more = f'<p><a href="{escape(target)}">The whole audit, with pictures</a> (audit.html)</p>'
    cells = [
        (f'<span class="badge {row[0]}">{row[0]}</span>', *map(escape, row[1:])) for row in rows
    ]
    head = ("", "count", "finding", "what to do", "sets")
    table = pages.table(head, cells, numbers=(1,)) if rows else "<p>Nothing found.</p>"
    return f"<h3>Findings</h3>{table}{more}"


def _skipped(run: Run) -> str:
    if not run.skipped_rows:
        return "<h3>Rows left out</h3><p>None.</p>"
    kinds = Counter(re.sub(r"\d+", "…", reason.partition(":")[0]) for _, reason in run.skipped_rows)
    rows = [(f"{count:,}", escape(kind)) for kind, count in kinds.most_common()]
    named = "".join(
        f"<li>{escape(where)}: {escape(reason)}</li>" for where, reason in run.skipped_rows[:_NAMED]
    )
    return (
        f"<h3>Rows left out: {len(run.skipped_rows):,}</h3>"
        f"{pages.table(('rows', 'reason'), rows, numbers=(0,))}"
        f'<ul class="soft">{named}</ul><p class="soft">All of them are in skipped_rows.tsv.</p>'
    )


def _drawn(run: Run) -> str:
    """Names the sets that are made on the device, of which there are no rows to look at."""
    mixture = parse_mixture(run.config.data.train) if run.config.data.train else []
    rows = [
        (f"<code>{escape(str(spec))}</code>", "" if share is None else f"{share:g}")
        for share, spec in mixture
        if spec.kind in ON_DEVICE
    ]
    if not rows:
        return ""
    return "<h3>Made on the device in training</h3>" + pages.table(("set", "weight"), rows)


def _set(audited: AuditSet) -> str:
    lengths, counts = label_lengths(audited), character_counts(audited)
    role = "not trained on" if audited.against else "trained on"
    return (
        f'<h3>{escape(audited.name)} <span class="soft">({role})</span></h3>'
        f'<p class="soft">{escape(str(audited.spec))}: {len(audited.source):,} rows, '
        f"{len(counts):,} different characters</p>"
        f'<div class="charts"><figure><figcaption>characters per label</figcaption>'
        f"{charts.bars(lengths)}</figure></div>{character_tags(counts)}"
    )
