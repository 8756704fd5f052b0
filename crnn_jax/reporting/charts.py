"""Curves, accuracies with intervals and matrices as inline SVG; colours are of the style sheet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 14, 34  # margins of the plot
_MOST_POINTS = 400  # of a line; more are averaged
_SMOOTHED = 40  # points from which on a line is drawn faintly below its running median
_LOG_RANGE = 20.0  # greatest / least value from which on an axis is logarithmic
COLOURS = 6  # that the style sheet has, --s0 and so on


def colour_of(name: str, names: Sequence[str]) -> int:
    """Returns the colour of a set, the same in all charts; the first is that of training."""
    return 1 + list(names).index(name) % (COLOURS - 1)


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      name: for the legend.
      points: (x, y); those that are no numbers are left out.
      dots: every point is marked, as there are few.
      band: (low, high) of every point.
      smooth: many points are drawn faintly below their running median.
      colour: its number, the same in all charts of a thing; None: its place among the lines.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    dots: bool = False
    band: Sequence[tuple[float, float]] | None = None
    smooth: bool = True
    colour: int | None = None


@dataclass(frozen=True)
class _Drawable:
    """What is drawn of a line, whose points are numbers."""

    name: str
    points: list[tuple[float, float]]
    dots: bool
    band: list[tuple[float, float]] | None
    smooth: bool
    colour: int


@dataclass(frozen=True)
class _Axes:
    """Where numbers are in the plot."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    def across(self, x: float) -> float:
        low, high = self.x
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - low) / (high - low)

    def down(self, y: float) -> float:
        low, high, y = (math.log(v) if self.logarithmic else v for v in (*self.y, y))
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - (y - low) / (high - low))

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.across(x):.1f},{self.down(y):.1f}" for x, y in points)


def curves(
    title: str,
    lines: Sequence[Line],
    mark: float | None = None,
    percent: bool = False,
    low: float | None = None,
    high: float | None = None,
    linear: bool = False,
    x_name: str = "step",
    shares: bool = False,
) -> str:
    """Returns a chart of lines as a figure, '' when there is nothing to draw.

    The vertical axis is logarithmic where positive values differ by more than a factor of 20; that
    of shares never.

    Args:
      title: what is drawn.
      lines: at most COLOURS of them have colours of their own.
      mark: where the best checkpoint is.
      percent: values are shares, written in percent.
      low, high: that the vertical axis has at least; from the values where None.
      linear: the vertical axis is linear, and begins at 0.
      x_name: of the horizontal axis.
      shares: the horizontal axis is from 0 to 1, and the line of equal values is drawn.
    """
    drawn = [line for line in map(_drawable, lines, range(len(lines))) if line.points]
    if not drawn:
        return ""
    low = 0.0 if linear and low is None else low
    axes = _axes(drawn, linear or percent, low, high)
    if shares:
        axes = _Axes((0.0, 1.0), axes.y, False)
    shapes = [_grid(axes, percent, x_name)]
    if shares:
        ends = axes.path([(0.0, 0.0), (1.0, 1.0)])
        shapes.append(f'<polyline class="guide" points="{ends}"/>')
    if mark is not None and axes.x[0] <= mark <= axes.x[1]:
        shapes.append(_mark(axes, mark))
    shapes += [_line(axes, line, percent) for line in drawn]
    legend = "".join(
        f'<span class="key s{line.colour}">{escape(line.name)}</span>' for line in drawn
    )
    last = "; ".join(
        f"{line.name} ends at {_number(line.points[-1][1], percent)}" for line in drawn
    )
    scale = " (logarithmic)" if axes.logarithmic else ""
    return (
        f'<figure class="curve"><figcaption>{escape(title)}{scale}'
        f'<span class="keys">{legend if len(drawn) > 1 else ""}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}: '
        f'{escape(last)}">{"".join(shapes)}</svg></figure>'
    )


def _drawable(line: Line, place: int) -> _Drawable:
    """Returns a line without points that are no numbers, and not too many of the others."""
    colour = (place if line.colour is None else line.colour) % COLOURS
    kept = [(i, x, y) for i, (x, y) in enumerate(line.points) if y is not None and math.isfinite(y)]
    points = [(x, y) for _, x, y in kept]
    band = [line.band[i] for i, _, _ in kept] if line.band else None
    if len(points) > _MOST_POINTS:
        size, band = -(-len(points) // _MOST_POINTS), None
        points = [
            (points[min(i + size, len(points)) - 1][0], statistics.fmean(y for _, y in part))
            for i in range(0, len(points), size)
            if (part := points[i : i + size])
        ]
    return _Drawable(line.name, points, line.dots, band, line.smooth, colour)


def _axes(lines: Sequence[_Drawable], linear: bool, low: float | None, high: float | None) -> _Axes:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [end for line in lines for ends in line.band or () for end in ends]
    x = (min(0.0, *xs, 0.0), max(xs))
    x = x if x[1] > x[0] else (x[0], x[0] + 1)
    least, most = min(ys), max(ys)
    if not linear and least > 0 and most / least > _LOG_RANGE:
        return _Axes(x, (least / 1.15, most * 1.15), True)
    least = least if low is None else min(least, low)
    most = most if high is None else max(most, high)
    if most - least < 1e-9 * max(abs(most), 1.0):
        least, most = (0.0, most) if most > 0 else (least - 0.5, most + 0.5)
    step = _nice((most - least) / 4)
    return _Axes(x, (math.floor(least / step) * step, math.ceil(most / step - 1e-9) * step), False)


def _nice(rough: float) -> float:
    """Returns the next larger number of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * (1 - 1e-9))


def _ticks(low: float, high: float, logarithmic: bool = False, most: int = 5) -> list[float]:
    if not logarithmic:
        step = _nice((high - low) / (most - 1))
        first = math.ceil(low / step - 1e-9)
        return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 100 else (1, 3) if high / low < 1e4 else (1,)
    found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
    return found[:: -(-len(found) // 7)]


def _grid(axes: _Axes, percent: bool, x_name: str) -> str:
    shapes, right, bottom = [], _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for y in _ticks(*axes.y, axes.logarithmic):
        at = axes.down(y)
        shapes.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(y, percent)}</text>'
        )
    ticks = _ticks(*axes.x)
    for x in ticks:
        anchor = "end" if axes.across(x) > right - 14 else "middle"
        shapes.append(
            f'<text x="{axes.across(x):.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{_number(x, percent and axes.x[1] <= 1)}</text>"
        )
    shapes.append(f'<text x="{right}" y="{_HEIGHT - 4}" text-anchor="end">{escape(x_name)}</text>')
    return "".join(shapes)


def _mark(axes: _Axes, at: float) -> str:
    x = axes.across(at)
    anchor, shift = ("end", -4) if x > _WIDTH / 2 else ("start", 4)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text x="{x + shift:.1f}" y="{_TOP - 3}" text-anchor="{anchor}">best</text>'
    )


def _line(axes: _Axes, line: _Drawable, percent: bool) -> str:
    points, shapes = line.points, []
    if line.band:
        xs = [x for x, _ in points]
        upper = [(x, high) for x, (_, high) in zip(xs, line.band, strict=True)]
        lower = [(x, low) for x, (low, _) in zip(xs, line.band, strict=True)]
        shapes.append(
            f'<polygon class="band s{line.colour}" points="{axes.path(upper + lower[::-1])}"/>'
        )
    if line.smooth and len(points) >= _SMOOTHED:
        shapes.append(f'<polyline class="faint s{line.colour}" points="{axes.path(points)}"/>')
        points = _running_median(points)
    shapes.append(f'<polyline class="s{line.colour}" points="{axes.path(points)}"/>')
    if line.dots or len(points) == 1:
        shapes += [
            f'<circle class="s{line.colour}" cx="{axes.across(x):.1f}" '
            f'cy="{axes.down(y):.1f}" r="2.6">'
            f"<title>{escape(line.name)}, {_number(x)}: {_number(y, percent)}</title></circle>"
            for x, y in points
        ]
    return "".join(shapes)


def _running_median(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    half = max(len(points) // 40, 2)
    return [
        (x, statistics.median(y for _, y in points[max(i - half, 0) : i + half + 1]))
        for i, (x, _) in enumerate(points)
    ]


def _number(value: float, percent: bool = False) -> str:
    """Returns a number for people, with three digits."""
    if percent:
        return f"{100 * value:.3g}\u00a0%"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g} M"
    if size >= 1e4:
        return f"{value / 1e3:.4g} k"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("e-0", "e-")


def interval_bar(value: float, low: float, high: float) -> str:
    """Returns a bar from 0 to 1 as long as a share, with its interval."""
    w, h = 160, 14
    return (
        f'<svg class="meter" viewBox="0 0 {w} {h}" width="{w}" height="{h}" aria-hidden="true">'
        f'<rect class="rest" width="{w}" height="{h}" rx="3"/>'
        f'<rect width="{max(value * w, 0):.1f}" height="{h}" rx="3"/>'
        f'<line class="whisker" x1="{low * w:.1f}" x2="{high * w:.1f}" y1="7" y2="7"/></svg>'
    )


def confusion_matrix(characters: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Returns the matrix of characters read as others; a row per character of the labels.

    Args:
      characters: as they are shown; '' for nothing.
      counts: [label][reading].
    """
    cell, margin = 22, 46
    side = margin + cell * len(characters) + 2
    most = max([n for row in counts for n in row], default=0) or 1
    shapes = [
        f'<text class="axis" x="{margin}" y="11">read as →</text>',
        f'<text class="axis" x="0" y="{margin - 8}">label ↓</text>',
    ]
    for i, char in enumerate(characters):
        middle = margin + (i + 0.5) * cell
        shapes += [
            f'<text class="char" x="{middle}" y="{margin - 8}" text-anchor="middle">'
            f"{escape(shown(char, short=True))}</text>",
            f'<text class="char" x="{margin - 8}" y="{middle + 4}" text-anchor="end">'
            f"{escape(shown(char, short=True))}</text>",
        ]
        for j, other in enumerate(characters):
            x, y, number = float(margin + j * cell), float(margin + i * cell), counts[i][j]
            if i == j:
                shapes.append(_square(x, y, cell, "same"))
            elif number:
                told = f"{shown(char)} read as {shown(other)}: {number:,}"
                depth = 0.12 + 0.88 * math.sqrt(number / most)
                shapes.append(
                    f"<g><title>{escape(told)}</title>{_square(x, y, cell, 'hit', depth)}"
                    f'<text class="{"on" if depth > 0.6 else "count"}" x="{x + cell / 2:g}" '
                    f'y="{y + cell / 2 + 4:g}" text-anchor="middle">{_count(number)}</text></g>'
                )
            else:
                shapes.append(_square(x, y, cell, "none"))
    return (
        f'<div class="scroll"><svg class="matrix" viewBox="0 0 {side} {side}" width="{side}" '
        f'height="{side}" role="img" aria-label="Matrix of the characters that are confused most; '
        f'the table below holds the same numbers">{"".join(shapes)}</svg></div>'
    )


def _square(x: float, y: float, cell: int, name: str, depth: float | None = None) -> str:
    opacity = "" if depth is None else f' fill-opacity="{depth:.2f}"'
    return (
        f'<rect class="{name}" x="{x:g}" y="{y:g}" width="{cell - 2}" height="{cell - 2}" rx="3"'
        f"{opacity}/>"
    )


def _count(number: int) -> str:
    return str(number) if number < 1000 else f"{number // 1000}k"


def shown(char: str, short: bool = False) -> str:
    """Returns a character as it can be seen: a blank as ␣, nothing as ∅ or in words."""
    if not char:
        return "∅" if short else "nothing"
    if char == " ":
        return "␣" if short else "a space"
    return char if char.isprintable() else f"U+{ord(char[0]):04X}"
