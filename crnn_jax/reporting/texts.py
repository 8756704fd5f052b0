"""Labels and readings as HTML, what differs marked."""

from __future__ import annotations

from html import escape

from crnn_jax import metrics

_BLANK = "\u2423"  # a wrong blank would not be seen


def marked(label: str, reading: str) -> tuple[str, str]:
    """Returns both texts as HTML; what is lost or wrong of either is in a `mark`."""
    sides: tuple[list[str], list[str]] = [], []
    for old, new, equal in metrics.differences(label, reading):
        for side, part in zip(sides, (old, new), strict=True):
            if part:
                text = escape(part if equal else part.replace(" ", _BLANK))
                side.append(text if equal else f"<mark>{text}</mark>")
    return "".join(sides[0]), "".join(sides[1])


def comparison(label: str, reading: str, confidence: float) -> str:
    """Returns a label above its reading with the confidence, for a card."""
    old, new = marked(label, reading)
    state = "right" if label == reading else "wrong"
    return (
        f'<div class="texts"><span class="soft">label</span> <bdi class="text">{old}</bdi></div>'
        f'<div class="texts {state}"><span class="soft">read</span> '
        f'<bdi class="text">{new or "<i>nothing</i>"}</bdi> '
        f'<span class="soft sure">{confidence:.2f}</span></div>'
    )
