"""Histograms as inline SVG."""

from __future__ import annotations

import numpy as np

_WIDTH, _HEIGHT = 190, 70  # pixels of the bars
_BELOW = 16  # pixels for the numbers under them
_BINS = 28


def histogram(values: np.ndarray, logarithmic: bool = False) -> str:
    """Returns the histogram of at least one positive value, with its least, middle and greatest.

    Bins are equally wide, in log space if `logarithmic`.
    """
    values = values.astype(np.float64)
    axis = np.log(values) if logarithmic else values
    low, high = float(axis.min()), float(axis.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(axis, bins=_BINS, range=(low, high))
    ticks = [float(v) for v in (values.min(), np.median(values), values.max())]
    places = [(np.log(t) if logarithmic else t) for t in ticks]
    return _svg(counts, [((p - low) / (high - low), t) for p, t in zip(places, ticks, strict=True)])


def bars(values: np.ndarray) -> str:
    """Returns a bar per whole number up to the greatest, for counts; wide ranges are binned."""
    top = int(values.max())
    if top >= 2 * _BINS:
        return histogram(values)
    counts = np.bincount(values, minlength=top + 1)
    middle = float(np.median(values))
    return _svg(counts, [((v + 0.5) / len(counts), v) for v in (0.0, middle, float(top))])


def _svg(counts: np.ndarray, ticks: list[tuple[float, float]]) -> str:
    """Returns bars of some heights; ticks are (place from 0 to 1, number)."""
    step = _WIDTH / len(counts)
    most = max(int(counts.max()), 1)
    shapes = []
    for i, count in enumerate(counts.tolist()):
        if count:
            height = max(1.5, _HEIGHT * count / most)
            shapes.append(
                f'<rect x="{i * step:.1f}" y="{_HEIGHT - height:.1f}" '
                f'width="{max(step - 1, 1):.1f}" height="{height:.1f}">'
                f"<title>{count:,}</title></rect>"
            )
    shapes.append(f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>')
    shown: list[float] = []
    # The ends first: the median is left out where it would run into one of them.
    for place, number in (ticks[0], ticks[2], ticks[1]):
        if all(abs(place - other) > 0.2 for other in shown):
            shown.append(place)
            anchor = "start" if place < 0.1 else "end" if place > 0.9 else "middle"
            shapes.append(
                f'<text x="{place * _WIDTH:.1f}" y="{_HEIGHT + _BELOW - 4}" '
                f'text-anchor="{anchor}">{_short(number)}</text>'
            )
    height = _HEIGHT + _BELOW
    return (
        f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"{''.join(shapes)}</svg>"
    )


def _short(number: float) -> str:
    """Returns a number with three digits, or all of those before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
