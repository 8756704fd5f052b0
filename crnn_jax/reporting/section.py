"""A section of the report."""

from __future__ import annotations

from html import escape
from typing import NamedTuple


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      anchor: its place in links.
      title: text.
      how: how to read it, text.
      body: HTML.
    """

    anchor: str
    title: str
    how: str
    body: str

    def html(self) -> str:
        """Returns the section."""
        return (
            f'<section id="{self.anchor}"><h2>{escape(self.title)}</h2>'
            f'<p class="how">{escape(self.how)}</p>{self.body}</section>'
        )


def percent(share: float, digits: int = 1) -> str:
    """Returns a share in percent."""
    return f"{100 * share:.{digits}f}\u00a0%"


def duration(seconds: float) -> str:
    """Returns a time for people: "48 s", "6 min 20 s", "3 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"
