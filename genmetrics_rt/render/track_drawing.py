"""Scores over training as drawings, and the page around them.

Filled marks are the leading checkpoint and those that cannot be told from it; hollow ones are worse beyond noise. The
stroke through a mark is its 95 % interval. Coordinates are in pixels of a drawing 340 wide; colours come from the
page's style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genmetrics_rt.render import words
from genmetrics_rt.render.axes import Axis, even, powers, tick_label, value_axis
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, definitions, escape, section, table
from genmetrics_rt.render.numbers import count, plain_number
from genmetrics_rt.render.svg import legend_mark

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 326.0, 14.0, 196.0  # of the plot
_INSET = 10.0  # of the first and the last mark from its sides
_WIDTH, _HEIGHT = 340, 238


@dataclass(frozen=True)
class Point:
    """One checkpoint in one score."""

    step: int
    value: float
    interval: tuple[float, float] | None = None
    leading: bool = True  # the best, or not told apart from it


@dataclass(frozen=True)
class Panel:
    """One score over training."""

    key: str
    title: str
    direction: str  # "lower is better, best 0"
    points: tuple[Point, ...]
    verdict: str
    is_distance: bool = False  # lower is better, down to 0
    told_apart: bool = True  # whether the noise is known, so that filled and hollow mean something


def track_page(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    panels: Sequence[Panel],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    fingerprint: str,
    created: str,
    version: str,
    fragment: bool = False,
) -> str:
    """A page or a fragment: what was scored, a curve for each score with its verdict, and all numbers in a table."""
    about = "".join(f"<p>{escape(f'{label}: {text}' if label else text)}</p>" for label, text in facts)
    legend = ""
    if any(panel.told_apart for panel in panels):
        legend = (
            '<ul class="legend-list" style="margin-bottom: 1.6rem">'
            f"<li>{legend_mark('circle')}<span>the leading checkpoint, and what cannot be told from it</span></li>"
            f"<li>{legend_mark('circle', hollow=True)}<span>worse beyond noise</span></li></ul>"
        )
    figures = "".join(_figure(panel) for panel in panels)
    body = "".join(
        (
            f'<header><p class="kind">Progress over training</p><h1>{escape(title)}</h1>'
            f'<div class="facts">{about}</div></header>\n',
            section(
                "scores",
                "Scores over training",
                f'{legend}<div class="figures">{figures}</div>',
                lead="The stroke through a mark is the 95 % interval of that checkpoint alone. Whether two checkpoints "
                "differ is tested on their difference, in which what they share drops out, and corrected for the "
                "number of comparisons.",
            ),
            section("numbers", "All numbers", _table(columns, rows) + _notes(notes)),
            section(
                "provenance",
                "Where the numbers come from",
                definitions((("Fingerprint", code(fingerprint)), ("Made", escape(words.moment(created))))),
            ),
        )
    )
    return page(title, body, version, fragment=fragment)


def curve_drawing(panel: Panel) -> str:
    """One score over the steps as inline SVG: points with intervals, joined in the order of training."""
    across = _step_axis([point.step for point in panel.points])
    ends = [end for point in panel.points for end in (*(point.interval or ()), point.value)]
    upward = value_axis(
        [point.value for point in panel.points], ends, is_distance=panel.is_distance, bottom=_BOTTOM, top=_TOP
    )
    placed = [(across.place(point.step), upward.place(point.value)) for point in panel.points]
    key = escape(panel.key)
    told = "; ".join(f"step {count(point.step)} {plain_number(point.value)}" for point in panel.points)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{key}-title {key}-description">',
        f'<title id="{key}-title">{escape(panel.title)}</title>',
        f'<desc id="{key}-description">{escape(f"{panel.direction}. {told}.")}</desc>',
    ]
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<path class="grid" d="M{x} {_TOP}V{_BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{_BOTTOM + 16}" text-anchor="middle">{tick_label(tick)}</text>')
    for tick in upward.ticks:
        y = upward.place(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick_label(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>')
    scales = [name for name, axis in (("step", across), ("score", upward)) if axis.logarithmic]
    words_of_scale = f" ({' and '.join(scales)} logarithmic)" if scales else ""
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">step{words_of_scale}</text>')
    parts.append(f'<path class="line" d="M{"L".join(f"{x} {y}" for x, y in placed)}"/>')
    for point, (x, _) in zip(panel.points, placed, strict=True):
        if point.interval:
            low, high = map(upward.place, point.interval)
            parts.append(f'<path class="beyond" d="M{x} {low}V{high}M{x - 3} {low}h6M{x - 3} {high}h6"/>')
    for point, (x, y) in zip(panel.points, placed, strict=True):
        style = "mark" if point.leading else "mark hollow"
        parts.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="4.5"/>')
    return "".join([*parts, "</svg>"])


def _figure(panel: Panel) -> str:
    return (
        f'<figure class="drawing"><h3>{escape(panel.title)} <span class="space">{escape(panel.direction)}</span></h3>'
        f"{curve_drawing(panel)}<figcaption><p>{escape(panel.verdict)}</p></figcaption></figure>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A wide table: cells stay in one line, and it scrolls where the page is narrower."""
    caption = "One row for each checkpoint."
    return (
        f'<div style="overflow-x: auto; white-space: nowrap" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"{table(caption, columns, rows)}</div>"
    )


def _notes(notes: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _step_axis(steps: Sequence[int]) -> Axis:
    """Logarithmic where checkpoints were written more and more rarely: half of them in the first quarter."""
    low, high = float(min(steps)), float(max(steps))
    start, end = _LEFT + _INSET, _RIGHT - _INSET
    if low > 0 and sorted(steps)[(len(steps) - 1) // 2] < high / 4:
        return Axis(low, high, start, end, True, powers(low, high))
    if low == high:
        low, high = low - 1, high + 1
    return Axis(low, high, start, end, False, tuple(tick for tick in even(low, high) if tick == round(tick)))
