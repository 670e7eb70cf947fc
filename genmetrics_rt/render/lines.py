"""Curves over one axis as inline SVG: losses over training, bounds over the number of samples, densities of values.

As in `svg`, shape and dash tell curves apart and colour only repeats it; coordinates are in pixels of a drawing 340
wide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from genmetrics_rt.render.axes import Axis, even, powers, tick_label
from genmetrics_rt.render.markup import escape
from genmetrics_rt.render.svg import Look, dashes, hued, legend_line, mark

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 326.0, 14.0, 196.0  # of the plot
_WIDTH, _HEIGHT = 340, 238
_MOST_POINTS = 400  # of a curve; more are thinned by taking the extremes of equal stretches


@dataclass(frozen=True)
class Curve:
    """A labelled curve; points whose y is not finite leave a gap."""

    label: str
    points: Sequence[tuple[float, float]]
    look: Look
    intervals: Sequence[tuple[float, float]] = ()  # of each point, if they are to be drawn
    marked: bool = False  # a mark on every point, for few of them


@dataclass(frozen=True)
class Band:
    """A stretch of the y axis that means something, with its word."""

    low: float
    high: float
    word: str


def line_figure(
    *,
    key: str,
    title: str,
    caption: str,
    x_label: str,
    curves: Sequence[Curve],
    y_range: tuple[float, float] | None = None,
    logarithmic: bool = False,
    bands: Sequence[Band] = (),
    space: str = "",
) -> str:
    """A figure with heading, drawing, legend where there are several curves, and a caption; empty without a point.

    ``y_range`` fixes the upward axis, ``logarithmic`` is the one across.
    """
    known = [curve for curve in curves if any(math.isfinite(y) for _, y in curve.points)]
    if not known:
        return ""
    legend = ""
    if len(known) > 1:
        lines = "".join(f"<li>{legend_line(curve.look)}<span>{escape(curve.label)}</span></li>" for curve in known)
        legend = f'<ul class="legend-list">{lines}</ul>'
    beside = f' <span class="space">{escape(space)}</span>' if space else ""
    return (
        f'<figure class="drawing"><h3>{escape(title)}{beside}</h3>'
        f"{_drawing(key, title, x_label, known, y_range, logarithmic, bands)}"
        f"<figcaption>{legend}<p>{escape(caption)}</p></figcaption></figure>"
    )


def _drawing(
    key: str,
    title: str,
    x_label: str,
    curves: Sequence[Curve],
    y_range: tuple[float, float] | None,
    logarithmic: bool,
    bands: Sequence[Band],
) -> str:
    across = _across([x for curve in curves for x, _ in curve.points], logarithmic)
    upward = _upward(curves, y_range)
    told = "; ".join(f"{curve.label} {_told(curve)}" for curve in curves)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{key}-title {key}-description">',
        f'<title id="{key}-title">{escape(title)}</title>',
        f'<desc id="{key}-description">{escape(f"Over {x_label}: {told}.")}</desc>',
    ]
    for band in bands:
        top, bottom = upward.place(band.high), upward.place(band.low)
        parts.append(
            f'<rect class="area" x="{_LEFT}" y="{top}" width="{_RIGHT - _LEFT}" height="{round(bottom - top, 1)}"/>'
            f'<text class="corner" x="{_LEFT + 5}" y="{round(top - 4, 1)}">{escape(band.word)}</text>'
        )
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<path class="grid" d="M{x} {_TOP}V{_BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{_BOTTOM + 16}" text-anchor="middle">{tick_label(tick)}</text>')
    for tick in upward.ticks:
        y = upward.place(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick_label(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>')
    label = f"{x_label} (logarithmic)" if logarithmic else x_label
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    for place, curve in enumerate(curves):
        parts.append(_curve(curve, across, upward, (place + 1) / (len(curves) + 1), single=len(curves) == 1))
    return "".join([*parts, "</svg>"])


def _curve(curve: Curve, across: Axis, upward: Axis, shift: float, *, single: bool) -> str:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in _thinned(curve.points):
        if math.isfinite(y):
            pieces[-1].append((across.place(x), upward.place(y)))
        elif pieces[-1]:
            pieces.append([])
    placed = [point for piece in pieces for point in piece]
    d = "".join(f"M{'L'.join(f'{x} {y}' for x, y in piece)}" for piece in pieces if piece)
    drawn = f'<path class="line"{dashes(curve.look)} d="{d}"/>'
    for (x, _), (low, high) in zip(curve.points, curve.intervals, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            at, bottom, top = across.place(x), upward.place(low), upward.place(high)
            drawn += f'<path class="beyond" d="M{at} {bottom}V{top}M{at - 3} {bottom}h6M{at - 3} {top}h6"/>'
    marks = placed if curve.marked or len(placed) == 1 else _along(placed, shift) if not single else []
    drawn += "".join(mark(curve.look, x, y) for x, y in marks)
    return hued(drawn, curve.look.hue)


def _along(placed: Sequence[tuple[float, float]], shift: float) -> list[tuple[float, float]]:
    """Three points along a curve; ``shift`` (0 to 1) keeps those of curves that run together apart."""
    return [placed[min(len(placed) - 1, int(len(placed) * (third + shift) / 3))] for third in range(3)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """All points, or of each of equal stretches the lowest and the highest, so that no spike gets lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = [point for point in points[start : start + size] if math.isfinite(point[1])]
        if not stretch:
            kept.append(points[start])
            continue
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def _told(curve: Curve) -> str:
    known = [y for _, y in curve.points if math.isfinite(y)]
    return f"from {known[0]:.4g} to {known[-1]:.4g}, between {min(known):.4g} and {max(known):.4g}"


def _across(values: Sequence[float], logarithmic: bool) -> Axis:
    low, high = float(min(values)), float(max(values))
    if low == high:
        low, high, logarithmic = low - 1, high + 1, False
    if logarithmic:
        return Axis(low, high, _LEFT + 10, _RIGHT - 10, True, powers(low, high))
    return Axis(low, high, _LEFT + 2, _RIGHT - 10, False, even(low, high))


def _upward(curves: Sequence[Curve], y_range: tuple[float, float] | None) -> Axis:
    if y_range is not None:
        return Axis(*y_range, _BOTTOM, _TOP, False, even(*y_range))
    ends = [end for curve in curves for interval in curve.intervals for end in interval]
    values = [y for curve in curves for _, y in curve.points]
    finite = [value for value in itertools.chain(ends, values) if math.isfinite(value)]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = (high - low) * 0.06
    low, high = (low - margin if low < 0 or low > margin else 0.0), high + margin
    return Axis(low, high, _BOTTOM, _TOP, False, even(low, high))
