"""Our own drawings, as inline SVG: the precision–recall curve, and the plane of fidelity over diversity.

Shapes carry the meaning (circle, square, diamond; filled is measured, hollow is ideal), colour only repeats it. Where
several reports share a drawing, each has a `Look` of its own: shape, filling and dash.
Colours come from the page's style sheet. Coordinates are in pixels of a drawing 340 wide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from genmetrics_rt.render.markup import escape

_LEFT, _TOP, _SIDE = 54.0, 40.0, 276.0  # the plot's square
_WIDTH, _HEIGHT = 340, 362
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NEAR = 1.0  # pixels: points of a curve closer than this are drawn once


@dataclass(frozen=True)
class Look:
    """How one of several reports is drawn; ``hue`` is 0, 1 or 2 of the style sheet."""

    shape: str
    hollow: bool
    dash: str  # of SVG; empty: a line without gaps
    hue: int


# No two alike in shape and filling, nor in dash, so that no drawing needs its colours.
LOOKS = (
    Look("circle", False, "", 0),
    Look("square", False, "8 6", 1),
    Look("diamond", False, "0.1 5", 2),
    Look("triangle", False, "12 5 0.1 5", 0),
    Look("circle", True, "3 6", 1),
    Look("square", True, "18 6", 2),
    Look("diamond", True, "12 5 0.1 5 0.1 5", 0),
    Look("triangle", True, "6 5 0.1 5", 1),
)


@dataclass(frozen=True)
class Mark:
    """A point with a shape: "circle", "square", "diamond" or "triangle"."""

    shape: str
    x: float
    y: float
    hollow: bool = False
    hue: int = 0
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One of several curves in a plot."""

    points: Sequence[tuple[float, float]]
    look: Look


def unit_plot(
    *,
    key: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    line: Sequence[tuple[float, float]] = (),
    lines: Sequence[Line] = (),
    marks: Sequence[Mark] = (),
    corners: Sequence[str] = (),
    ideal: bool = True,
) -> str:
    """A square plot with both axes from 0 to 1: a line or several, marks, and words in the four corners.

    ``corners``: top left, top right, bottom left, bottom right. A mark beyond 1 is drawn on the edge with an arrow.
    """
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{key}-title {key}-description">',
        f'<title id="{key}-title">{escape(title)}</title>',
        f'<desc id="{key}-description">{escape(description)}</desc>',
        *_axes(x_label, y_label),
        _ideal(room=any(mark.y > 1 for mark in marks)) if ideal else "",
        *_corners(corners, marks),
    ]
    if line:
        parts += _line(line)
    parts += [_dashed(entry) for entry in lines]
    for place, entry in enumerate(lines):
        marks = [*marks, *_along(entry, (place + 1) / (len(lines) + 1))]
    parts += [_interval(mark) for mark in marks if mark.x_interval or mark.y_interval]
    parts += [_mark(mark) for mark in marks]
    return "".join([*parts, "</svg>"])


def legend_mark(shape: str, *, hollow: bool = False, hue: int = 0) -> str:
    """The mark as it stands in the plot, for a line of the caption."""
    drawn = hued(_drawn(shape, 7, 7, hollow=hollow), hue)
    return f'<svg class="legend" viewBox="0 0 14 14" aria-hidden="true">{drawn}</svg>'


def legend_line(look: Look) -> str:
    """The line with its mark, for a line of the caption."""
    return (
        f'<svg class="legend long" viewBox="0 0 38 14" aria-hidden="true"><g class="hue-{look.hue}">'
        f'<path class="line"{dashes(look)} d="M1 7H37"/>{_drawn(look.shape, 19, 7, hollow=look.hollow)}</g></svg>'
    )


def best_point(curve: Sequence[tuple[float, float]], beta: float) -> tuple[float, float] | None:
    """The (recall, precision) of the curve with the largest F-score of that beta; recall weighs beta² times."""

    def f_score(point: tuple[float, float]) -> float:
        recall, precision = point
        weight = beta * beta
        return (1 + weight) * precision * recall / (weight * precision + recall + 1e-10)

    return max(curve, key=f_score, default=None)


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * min(max(value, 0.0), 1.0), 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - min(max(value, 0.0), 1.0)), 1)


def _axes(x_label: str, y_label: str) -> list[str]:
    left, right, top, bottom = _x(0), _x(1), _y(1), _y(0)
    parts = []
    for tick in _TICKS:
        x, y = _x(tick), _y(tick)
        parts += [
            f'<path class="grid" d="M{x} {top}V{bottom}M{left} {y}H{right}"/>',
            f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>',
            f'<text class="tick" x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>',
        ]
    middle_x, middle_y = _x(0.5), _y(0.5)
    parts += [
        f'<path class="diagonal" d="M{left} {bottom}L{right} {top}"/>',
        f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>',
        f'<text class="label" x="{middle_x}" y="{bottom + 37}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="label" x="12" y="{middle_y}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle_y})">{escape(y_label)}</text>',
    ]
    return parts


def _ideal(*, room: bool) -> str:
    """The word above the upper right corner; higher up where the arrow of a mark beyond the edge needs room."""
    return f'<text class="tick" x="{_x(1) + 4}" y="{_y(1) - (25 if room else 11)}" text-anchor="end">ideal</text>'


def _corners(words: Sequence[str], marks: Sequence[Mark]) -> list[str]:
    """Words in the corners of the plot, moved towards the middle where a mark would lie on them."""
    places = (
        (_x(0) + 10, _y(1) + 20, "start"),
        (_x(1) - 10, _y(1) + 20, "end"),
        (_x(0) + 30, _y(0) - 12, "start"),  # beside the diagonal, not on it
        (_x(1) - 10, _y(0) - 12, "end"),
    )
    parts = []
    for text, (x, y, anchor) in zip(words, places, strict=False):
        lines = text.split("\n")
        down = 1 if y < _y(0.5) else -1
        first = y if down > 0 else y - 15 * (len(lines) - 1)
        width = 7 * max(map(len, lines))  # about, at the size of these words
        left = x if anchor == "start" else x - width
        while (
            any(
                left - 8 < _x(mark.x) < left + width + 8 and first - 20 < _y(mark.y) < first + 15 * len(lines) + 2
                for mark in marks
            )
            and abs(first - y) < _SIDE / 3
        ):
            first += 4 * down
        parts += [
            f'<text class="corner" x="{x}" y="{first + 15 * row}" text-anchor="{anchor}">{escape(part)}</text>'
            for row, part in enumerate(lines)
        ]
    return parts


def _line(points: Sequence[tuple[float, float]]) -> list[str]:
    kept = _thinned(points)
    steps = "L".join(f"{x} {y}" for x, y in kept)
    start, end = kept[0], kept[-1]
    area = f"M{start[0]} {_y(0)}L{steps}L{end[0]} {_y(0)}Z"
    return [f'<path class="area" d="{area}"/>', f'<path class="line" d="M{steps}"/>']


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """In pixels, without points that nobody could tell from the one before."""
    placed = [(_x(x), _y(y)) for x, y in points]
    kept = placed[:1]
    for point in placed[1:-1]:
        if math.dist(point, kept[-1]) >= _NEAR:
            kept.append(point)
    return kept + placed[-1:]


def _mark(mark: Mark) -> str:
    x, y = _x(mark.x), _y(mark.y)
    drawn = _drawn(mark.shape, x, y, hollow=mark.hollow)
    if mark.y > 1:
        drawn += f'<path class="beyond" d="M{x} {y - 9}V{y - 19}M{x - 4} {y - 15}L{x} {y - 19}L{x + 4} {y - 15}"/>'
    return hued(drawn, mark.hue)


def _drawn(shape: str, x: float, y: float, *, hollow: bool) -> str:
    return f'<path class="{"mark hollow" if hollow else "mark"}" d="{_SHAPES[shape](x, y)}"/>'


def mark(look: Look, x: float, y: float) -> str:
    """The mark of a look, at a place in pixels."""
    return _drawn(look.shape, x, y, hollow=look.hollow)


def hued(drawn: str, hue: int) -> str:
    """What was drawn, in one of the hues of the style sheet."""
    return f'<g class="hue-{hue}">{drawn}</g>' if hue else drawn


def _interval(mark: Mark) -> str:
    """Strokes through a mark as far as its intervals reach."""
    x, y = _x(mark.x), _y(mark.y)
    d = ""
    if mark.x_interval:
        d += f"M{_x(mark.x_interval[0])} {y}H{_x(mark.x_interval[1])}"
    if mark.y_interval:
        d += f"M{x} {_y(mark.y_interval[0])}V{_y(mark.y_interval[1])}"
    return hued(f'<path class="beyond" d="{d}"/>', mark.hue)


def _dashed(line: Line) -> str:
    steps = "L".join(f"{x} {y}" for x, y in _thinned(line.points))
    return hued(f'<path class="line"{dashes(line.look)} d="M{steps}"/>', line.look.hue)


def dashes(look: Look) -> str:
    """The attribute that gives a line its dash, with a space before it."""
    return f' stroke-dasharray="{look.dash}"' if look.dash else ""


def _along(line: Line, shift: float) -> list[Mark]:
    """Three marks along a curve; ``shift`` (0 to 1) keeps those of curves that run together apart."""
    steps = [math.dist(one, other) for one, other in itertools.pairwise(line.points)]
    walked = [0.0, *itertools.accumulate(steps)]
    found = []
    for third in range(3):
        wanted = walked[-1] * (third + shift) / 3
        x, y = line.points[min(range(len(walked)), key=lambda place: abs(walked[place] - wanted))]
        found.append(Mark(line.look.shape, x, y, line.look.hollow, line.look.hue))
    return found


def _circle(x: float, y: float) -> str:
    return f"M{x - 5.5:g} {y:g}a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0Z"


def _square(x: float, y: float) -> str:
    return f"M{x - 4.8:g} {y - 4.8:g}h9.6v9.6h-9.6Z"


def _diamond(x: float, y: float) -> str:
    return f"M{x:g} {y - 6.5:g}l6.5 6.5l-6.5 6.5l-6.5 -6.5Z"


def _triangle(x: float, y: float) -> str:
    return f"M{x:g} {y - 6.2:g}l6.2 10.6h-12.4Z"


_SHAPES = {"circle": _circle, "square": _square, "diamond": _diamond, "triangle": _triangle}
