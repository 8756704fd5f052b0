"""What the HTML pages of this project share: the shell, the style sheet, pictures in the text.

A page is one file that loads nothing: pictures are data URIs, charts inline SVG, and a content
policy keeps the browser from asking for anything else.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from crnn_jax.data.images import decode_image
from crnn_jax.data.pixels import from_array
from crnn_jax.errors import DataError

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

PICTURE = (220, 72)  # pixels that a picture may take
_LARGEST_SCALE = 3  # of a small image
_QUALITY = 80  # of JPEG

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5f6673; --line: #e1e4ea;
  --paper: #fff; --ground: #f5f6f8; --bar: #5b7db8; --error: #b3261e; --warning: #9a6200;
  --note: #3c6a8f; --good: #157a3c }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #9aa1ad; --line: #343943;
  --paper: #1f232a; --ground: #15181d; --bar: #7f9fd6; --error: #f2867e; --warning: #e3b04b;
  --note: #8fbbdd; --good: #6fcf8e } }
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
.note { background: var(--note) } .good { background: var(--good) }
table { border-collapse: collapse } td, th { text-align: left; padding: 3px 18px 3px 0 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
a { color: inherit }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(248px, 1fr)); gap: 10px;
  margin-top: 12px }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; font-size: 13px;
  overflow-wrap: anywhere; line-height: 1.4 }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; min-height: 44px; align-items: center;
  margin-bottom: 4px }
.pictures img { max-width: 100%; height: auto; border-radius: 2px; background: #888;
  outline: 1px solid var(--line) }
.label { font-size: 15px; font-weight: 600; white-space: pre-wrap }
.charts { display: flex; flex-wrap: wrap; gap: 18px; margin-top: 10px }
.charts figure { margin: 0 } figcaption { font-size: 13px; color: var(--soft) }
svg text { fill: var(--soft); font: 11px system-ui, "DejaVu Sans", sans-serif }
svg rect { fill: var(--bar) } svg line { stroke: var(--line) }
.characters { margin-top: 10px; font-size: 13px; overflow-wrap: anywhere }
.characters > span { display: inline-block; border: 1px solid var(--line); border-radius: 4px;
  padding: 0 6px; margin: 2px 3px 2px 0; white-space: pre }
"""


def shell(title: str, body: str, style: str = "", script: str = "") -> str:
    """Returns a whole page.

    Args:
      title: text.
      body: HTML of what is in `body`.
      style: rules after those that all pages have.
      script: the only JavaScript that may run in the page.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    scripts = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body>{body}{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
    # Names of files may hold bytes that no encoding has.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def data_uri(image: Image.Image, form: str = "JPEG") -> str:
    """Returns an image as a data URI: a JPEG, or a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, form, quality=_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{data}"


def resized(pixels: np.ndarray, box: tuple[int, int] = PICTURE) -> Image.Image:
    """Returns pixels (H, W, C) uint8 as an image that fills a box, in pixels, or nearly so."""
    image = from_array(pixels)
    scale = min(box[0] / image.width, box[1] / image.height, _LARGEST_SCALE)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


class Pictures:
    """Makes pictures of rows, up to a number for the whole page."""

    def __init__(self, most: int):
        self._left = most

    def of(self, rows: Iterable[tuple[Source, int]]) -> str:
        """Returns the pictures of rows; '' when there were enough already."""
        tags = []
        for source, row in rows:
            if self._left:
                self._left -= 1
                tags.append(_picture(source, row))
        return f'<div class="pictures">{"".join(tags)}</div>' if tags else ""


def _picture(source: Source, row: int) -> str:
    try:
        pixels = decode_image(source.image_bytes(row), channels=3)
    except DataError:
        return '<span class="soft">no picture</span>'
    image = resized(pixels)
    return (
        f'<img src="{data_uri(image)}" width="{image.width}" height="{image.height}" '
        f'loading="lazy" alt="{escape(source.label(row))}">'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Returns a table that scrolls sideways where the page is narrow.

    Args:
      head: HTML of the titles of the columns.
      rows: HTML of their cells.
      numbers: columns that hold numbers, which are set to the right.
    """

    def cells(tag: str, texts: Sequence[str]) -> str:
        kinds = [' class="number"' if i in numbers else "" for i in range(len(texts))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(f"<{tag}{scope}{k}>{t}</{tag}>" for k, t in zip(kinds, texts, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    titles = f"<thead><tr>{cells('th', head)}</tr></thead>" if any(head) else ""
    return f'<div class="scroll"><table>{titles}<tbody>{body}</tbody></table></div>'
