"""Line charts as SVG text: no script, colours from the page's variables, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 28, 14, 44
# Lines are told apart by their dashes too, never by colour alone.
_DASHES = ("", "7 4", "2 4", "10 3 2 3")


@dataclass(frozen=True)
class Line:
    """A series; points that are not finite are left out."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Band:
    """A range of y that means something."""

    low: float
    high: float
    name: str
    kind: str  # "good" | "bad": classes of the style sheet


def line_chart(
    title: str,
    x: Sequence[float],
    lines: Sequence[Line],
    *,
    x_label: str,
    bands: Sequence[Band] = (),
    y_range: tuple[float, float] | None = None,
    marked: float | None = None,
) -> str:
    """Lines over x with their legend; ``marked`` is the x that a slider points at."""
    low, high = y_range or _range([value for line in lines for value in line.values])
    start, end = min(x), max(x) if max(x) > min(x) else min(x) + 1

    def across(value: float) -> float:
        return round(_LEFT + (value - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT), 1)

    def down(value: float) -> float:
        inside = min(max(value, low), high)
        return round(_HEIGHT - _BOTTOM - (inside - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = []
    for band in bands:
        top, bottom = down(band.high), down(band.low)
        parts.append(
            f'<rect class="band {band.kind}" x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" '
            f'height="{round(bottom - top, 1)}"/>'
            f'<text class="band-name" x="{_LEFT + 6}" y="{round(bottom - 6, 1)}">'
            f"{escape(band.name)}</text>"
        )
    for tick in _ticks(low, high):
        y = down(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(start, end):
        parts.append(f'<text x="{across(tick)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:,g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    if marked is not None:
        place = across(min(max(marked, start), end))
        parts.append(f'<line class="marked" x1="{place}" x2="{place}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for index, line in enumerate(lines):
        points = " ".join(
            f"{across(at)},{down(value)}" for at, value in zip(x, line.values, strict=True) if math.isfinite(value)
        )
        parts.append(f'<polyline class="line line-{index}" points="{points}" stroke-dasharray="{_DASHES[index % 4]}"/>')
    legend = "".join(
        f'<li><svg width="30" height="10" aria-hidden="true"><line class="line line-{index}" x1="1" x2="29" y1="5" '
        f'y2="5" stroke-dasharray="{_DASHES[index % 4]}"/></svg> {escape(line.name)}</li>'
        for index, line in enumerate(lines)
    )
    return (
        f'<figure class="gm-chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_told(title, x, lines))}">'
        f"{''.join(parts)}</svg><ul>{legend}</ul></figure>"
    )


def _told(title: str, x: Sequence[float], lines: Sequence[Line]) -> str:
    """The chart in words: where each line starts and ends."""
    ends = [f"{line.name} from {line.values[0]:.3g} to {line.values[-1]:.3g}" for line in lines if len(line.values)]
    return f"{title}: {'; '.join(ends)}, over {len(x)} points"


def _range(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low >= 0 and low < 0.4 * high:
        low = 0.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
