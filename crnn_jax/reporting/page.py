"""The report as one HTML page that loads nothing."""

from __future__ import annotations

import pathlib
from html import escape

from crnn_jax import pages
from crnn_jax.pages import Pictures
from crnn_jax.reporting import (
    data_section,
    error_sections,
    reading_sections,
    run_sections,
    setup_sections,
    slips,
    suspects,
)
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.sets import Readings
from crnn_jax.reporting.style import SCRIPT, STYLE

MAX_PICTURES = 500  # on the page; each is 2 to 6 kB


def to_html(run: Run, readings: Readings, out: pathlib.Path) -> str:
    """Returns the page. Labels, readings and names in it are text whatever they hold.

    Args:
      run: what the report is about.
      readings: of its best checkpoint.
      out: the page's file, for links to others.
    """
    pictures = Pictures(MAX_PICTURES)
    suspected = suspects.find(run, readings)
    doubtful = suspects.rows(suspected)
    found = slips.count(readings.pairs, doubtful)
    sections = [run_sections.headline(run, readings, suspected), run_sections.curves(run)]
    if readings.sets:
        sections += [
            reading_sections.samples(readings, pictures),
            reading_sections.frames(run, readings, doubtful),
            error_sections.confusions(readings, found, pictures),
            error_sections.where(run, readings, found),
            reading_sections.worst(run, readings, pictures),
            reading_sections.label_errors(readings, suspected, pictures),
            error_sections.confidence(run, readings),
        ]
    sections += [
        data_section.data(run, readings, out),
        setup_sections.config(run),
        setup_sections.environment(run),
    ]
    links = "".join(
        f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections
    )
    body = (
        f'<div class="page"><nav aria-label="sections"><ul>{links}</ul></nav>'
        f"<main><h1>Run {escape(run.name)}</h1>{''.join(section.html() for section in sections)}"
        "</main></div>"
    )
    return pages.shell(f"Run {run.name}", body, STYLE, SCRIPT)
