"""What is shown of a reading: HTML for people, JSON values for programs."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from crnn_jax import pages, pictures
from crnn_jax.charset import Charset
from crnn_jax.demoing.desk import Seen
from crnn_jax.reading import Reading
from crnn_jax.reporting import alignment
from crnn_jax.reporting.style import FRAMES
from crnn_jax.runtime import AS_IT_IS, View, record

_PICTURE = (1200, 160)  # pixels that the image may take
_FEW = 40  # frames whose heat map may shrink to a phone's width; one of more scrolls

# Gradio sets `.dark` on the body and the variables that are used here.
STYLE = (
    """
.seen { --ink: var(--body-text-color); --soft: var(--body-text-color-subdued); --s0: #2f66b5;
  --good: #157a3c; --error: #b3261e; --lane: #eef0f4; --bar: #5b7db8; color: var(--ink);
  font-size: 14px; line-height: 1.45 }
.dark .seen { --s0: #7fb0f5; --good: #6fcf8e; --error: #f2867e; --lane: #272c35; --bar: #7f9fd6 }
.seen h3 { font-size: 14px; font-weight: 600; margin: 20px 0 2px }
.seen p { margin: 0 0 8px; color: var(--soft) }
.seen .sure { display: flex; align-items: baseline; gap: 12px; flex-wrap: wrap }
.seen .sure b { font-size: 18px; font-variant-numeric: tabular-nums }
.seen .track { height: 8px; border-radius: 4px; background: var(--lane); margin: 4px 0 }
.seen .track span { display: block; height: 8px; border-radius: 4px; background: var(--bar) }
.seen .scroll { overflow-x: auto; contain: inline-size }
.seen .scroll > * { margin: 0 }
.seen table, .seen tr, .seen td, .seen th { border: 0 !important; background: none }
.seen td, .seen th { text-align: left; padding: 3px 22px 3px 0; font-weight: 400;
  white-space: pre-wrap; overflow-wrap: anywhere }
.seen th { color: var(--soft); font-size: 13px }
.seen td.number, .seen th.number { text-align: right; font-variant-numeric: tabular-nums }
.seen .boxes { display: block; max-width: 100%; height: auto; border-radius: 4px; margin: 0 }
.seen svg.frames { max-width: none; height: auto } .seen .few svg.frames { max-width: 100% }
.seen svg.frames text { fill: var(--soft);
  font: 11px system-ui, "DejaVu Sans", sans-serif }
.seen svg.frames text.char { fill: var(--ink); font-size: 13px }
.refusal { border-left: 4px solid #b3261e; padding: 10px 14px; border-radius: 4px;
  background: var(--block-background-fill); color: var(--body-text-color); overflow-wrap: anywhere }
"""
    + FRAMES
)


def as_json(seen: Seen) -> dict[str, Any]:
    """Returns text, confidence, characters with places in pixels, and alternatives."""
    found = record("", seen.reading.in_pixels(seen.pixels.shape[1]))
    del found["path"]
    return found


def as_html(seen: Seen, charset: Charset) -> str:
    """Returns confidence, alternatives, the image with its characters, and the heat map."""
    reading = seen.reading
    parts = [_sure(reading), _second_look(seen), _alternatives(reading)]
    if reading.characters:
        parts.append(_boxes(seen))
    few = ' class="few"' if len(seen.look.posteriors) <= _FEW else ""
    parts.append(
        "<h3>Frame by frame</h3><p>What the network says from left to right: the stronger the "
        "colour, the likelier. Outlined is where it reads each character.</p>"
        f"<div{few}>{alignment.heat_map(seen.look, charset, f'frames of {reading.text}')}</div>"
    )
    return f'<div class="seen">{"".join(parts)}</div>'


def refusal(message: str) -> str:
    """Returns why something was not read."""
    return f'<div class="refusal" role="alert">{escape(message)}</div>'


def _percent(share: float) -> str:
    shown = "< 0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"
    return escape(f"{shown}\u00a0%")


def _sure(reading: Reading) -> str:
    width = f"{100 * reading.confidence:.1f}%"
    nothing = "" if reading.text else "<span>Nothing is read in this image.</span>"
    return (
        f'<div class="sure"><span>Confidence</span><b>{_percent(reading.confidence)}</b>{nothing}'
        f'</div><div class="track"><span style="width:{width}"></span></div>'
    )


def _second_look(seen: Seen) -> str:
    """Returns how an image was read that was not read as it is, and what is read in it so."""
    if seen.view == AS_IT_IS:
        return ""
    why = "nothing is read in the image as it is"
    if seen.plain:
        why = f"the image as it is gives an unsure <b>{escape(seen.plain)}</b>"
    return f"<p>Read again {escape(_how(seen.view))}, since {why}.</p>"


def _how(view: View) -> str:
    if view.slope:
        goes = "falls" if view.slope > 0 else "climbs"
        return f"straightened, as a text that {goes} by {abs(view.slope)} degrees"
    if view.rotation:
        return f"turned by {view.rotation} degrees"
    if view.margin:
        return f"with a margin of {view.margin:.0%} of its height"
    return "stretched, its greys spread evenly" if view.equalized else "stretched"


def _alternatives(reading: Reading) -> str:
    if not reading.alternatives:
        return "<h3>Alternatives</h3><p>None: no other text is possible here.</p>"
    rows = [
        (escape(other.text) or "<i>nothing</i>", _percent(other.confidence))
        for other in reading.alternatives
    ]
    return f"<h3>Alternatives</h3>{pages.table(('text', 'confidence'), rows, (1,))}"


def _boxes(seen: Seen) -> str:
    """Returns the image with a box around each character."""
    small = np.asarray(pages.resized(seen.pixels, _PICTURE))
    picture = pictures.character_boxes(small, seen.reading.in_pixels(small.shape[1]))
    told = ", ".join(f"{c.char} {100 * c.confidence:.0f} %" for c in seen.reading.characters)
    return (
        "<h3>Characters</h3><p>Where each of them is, and how sure it is, in percent.</p>"
        f'<img class="boxes" src="{pages.data_uri(picture, "PNG")}" width="{picture.width}" '
        f'height="{picture.height}" alt="{escape(told)}">'
    )
