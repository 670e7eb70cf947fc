"""One score on the ladder of known damages, as inline SVG.

A column for each damage, its rungs from mild to severe as marks with their 95 % intervals; across all columns the
user's value with its interval, and what a perfect model would get. Coordinates are in pixels of a drawing 680 wide;
colours come from the page's style sheet.
"""

from __future__ import annotations

import re

from genmetrics_rt.render.axes import Axis, tick_label, value_axis
from genmetrics_rt.render.markup import details, escape, section, table
from genmetrics_rt.render.numbers import count, number
from genmetrics_rt.report import LadderScale, Report, ScaleDamage

_WIDTH, _HEIGHT = 680, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 668.0, 18.0, 232.0
_AMOUNT = re.compile(r"[\d.]+")  # in "σ = 0.5 px"
_SHOWN = 2  # scores that are drawn; the JSON holds all


def ladders(report: Report) -> str:
    """The section with the ladders of the first scores; empty where none was asked for."""
    if not report.scales:
        return ""
    order = ("fid", "fd", "kid")
    ranked = sorted(report.scales, key=lambda scale: order.index(scale.key) if scale.key in order else len(order))
    drawn = "".join(_figure(scale) for scale in ranked[:_SHOWN])
    first = ranked[0]
    lead = (
        f"What known damage of the reference scores: {count(first.num_generated)} damaged images of one part against "
        f"{count(first.num_reference)} of another. The line across is the generated images at the same numbers."
    )
    return section("ladder", "How bad is that?", drawn, lead=escape(lead))


def ladder_drawing(scale: LadderScale) -> str:
    """The drawing of one score."""
    own = scale.interval or (scale.value, scale.value)
    values = [rung.value for damage in scale.damages for rung in damage.rungs] + [scale.value]
    ends = [end for damage in scale.damages for rung in damage.rungs for end in (rung.low, rung.high)]
    ends += [*values, *own, *((scale.floor.low, scale.floor.high) if scale.floor else ())]
    is_distance = scale.key in ("fd", "fid", "kid", "sfid", "rbf")
    upward = value_axis(values, ends, is_distance=is_distance, bottom=_BOTTOM, top=_TOP)
    key = escape(scale.key)  # a report may come from a file
    told = "; ".join(
        f"{damage.title}: " + ", ".join(f"{rung.label} {number(rung.value)}" for rung in damage.rungs)
        for damage in scale.damages
    )
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="ladder-{key}-title ladder-{key}-description">',
        f'<title id="ladder-{key}-title">{escape(scale.title)} on the ladder of damages</title>',
        f'<desc id="ladder-{key}-description">{escape(f"Value {number(scale.value)}. {told}.")}</desc>',
    ]
    for tick in upward.ticks:
        y = upward.place(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick_label(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>')
    low, high = upward.place(own[0]), upward.place(own[1])
    parts.append(f'<rect class="area" x="{_LEFT}" y="{high}" width="{_RIGHT - _LEFT}" height="{max(low - high, 1)}"/>')
    y = upward.place(scale.value)
    parts.append(f'<path class="line" d="M{_LEFT} {y}H{_RIGHT}"/>')
    if scale.floor:
        y = upward.place(scale.floor.value)
        parts.append(f'<path class="diagonal" d="M{_LEFT} {y}H{_RIGHT}"/>')
    width = (_RIGHT - _LEFT) / max(len(scale.damages), 1)
    for index, damage in enumerate(scale.damages):
        parts += _column(damage, _LEFT + index * width, width, upward)
    return "".join([*parts, "</svg>"])


def _column(damage: ScaleDamage, left: float, width: float, upward: Axis) -> list[str]:
    parts = []
    step = width / (len(damage.rungs) + 1)
    for index, rung in enumerate(damage.rungs):
        x = round(left + (index + 1) * step, 1)
        low, high = upward.place(rung.low), upward.place(rung.high)
        parts.append(f'<path class="axis" d="M{x} {low}V{high}M{x - 3} {low}h6M{x - 3} {high}h6"/>')
        parts.append(f'<circle class="mark hollow" cx="{x}" cy="{upward.place(rung.value)}" r="4"/>')
        amount = _AMOUNT.search(rung.label)
        told = escape(amount[0] if amount else rung.label)
        parts.append(f'<text class="tick" x="{x}" text-anchor="middle" y="{_BOTTOM + 16}">{told}</text>')
    middle = round(left + width / 2, 1)
    centred = f'x="{middle}" text-anchor="middle"'
    parts.append(f'<text class="label" {centred} y="{_BOTTOM + 36}">{escape(damage.title)}</text>')
    if damage.rungs:
        unit = escape(_AMOUNT.sub("n", damage.rungs[0].label, count=1))
        parts.append(f'<text class="tick" {centred} y="{_BOTTOM + 53}">{unit}</text>')
    return parts


def _figure(scale: LadderScale) -> str:
    rows = [
        (damage.title, rung.label, number(rung.value), f"{number(rung.low)} to {number(rung.high)}")
        for damage in scale.damages
        for rung in damage.rungs
    ]
    floor = f" The dashed line is a perfect model: {number(scale.floor.value)}." if scale.floor else ""
    numbers = table("Every rung.", ("damage", "severity", "score", "95 % interval"), rows)
    return (
        f'<figure class="ladder"><h3>{escape(scale.title)}</h3>{ladder_drawing(scale)}<figcaption>'
        f"<p>{escape(f'{number(scale.value)} at these numbers of images. {scale.placement}{floor}')}</p>"
        f"{details('All rungs', numbers)}</figcaption></figure>"
    )
