"""A step as pictures (SVG without script) and tables.

Shapes carry the meaning, colour repeats it. Colours are the page's variables; without them the pictures are as in
light mode. `DARK` is what a dark page sets.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from playground.measure import SCORES, Measured, Perfect
from playground.mixture import HALF_WIDTH, STD, Points, Sample, invented_centres, real_centres

LIGHT = {
    "--gm-paper": "#fcfbf9",
    "--gm-ink": "#1c2025",
    "--gm-muted": "#5a626b",
    "--gm-line": "#dedad2",
    "--gm-generated": "#0b5a7a",
    "--gm-reference": "#a85f14",
    "--gm-attention": "#9a2a1b",
}
DARK = {
    "--gm-paper": "#15181c",
    "--gm-ink": "#e8e6e1",
    "--gm-muted": "#a5adb6",
    "--gm-line": "#363c43",
    "--gm-generated": "#7cc3e2",
    "--gm-reference": "#e4b274",
    "--gm-attention": "#f2a191",
}

MAX_DRAWN = 1000  # points of a side: more would be ink, and a heavy page

_FONT = "font-family:inherit;font-variant-numeric:tabular-nums"
_WIDE = 440  # pixels of the scatter
_WITHIN = math.sqrt(-2 * math.log(0.05))  # standard deviations that hold 95 % of a round Gaussian in the plane
_LEFT, _TOP, _SIDE = 48, 26, 276  # the square of the plots
_NEAR = 1.5  # pixels: points of a curve nearer than this are drawn once


def scatter(sample: Sample) -> str:
    """Real and generated points, and the modes: real, dropped and invented. Points outside the square are left out."""
    knobs = sample.knobs
    # Rows come in no order, so the first ones are a fair sample.
    generated, reference = sample.generated[:MAX_DRAWN], sample.reference[:MAX_DRAWN]
    copied = _in(generated, sample.training)
    marks, legend, told = [], [], []
    for kind, name, points in (
        ("real", f"real ({'training' if knobs.against_training else 'held-out'})", reference),
        ("generated", "generated", generated[~copied]),
        ("copy", "generated: a copy", generated[copied]),
    ):
        if len(points) == 0:
            continue
        marks.append(_cloud(kind, points[(np.abs(points) < HALF_WIDTH).all(axis=1)]))
        told.append(f"{len(points):,} {name}")
        legend.append((f'<g transform="scale(1.5)">{_cloud(kind, None)}</g>', name))
    if len(sample.generated) > MAX_DRAWN:
        told.append(f"the first {MAX_DRAWN:,} of {len(sample.generated):,} on either side are drawn")
    modes = [_mode(centre, "dropped" if row < knobs.modes_dropped else "") for row, centre in enumerate(real_centres())]
    modes += [_mode(centre, "invented") for centre in invented_centres()[: knobs.modes_invented]]
    legend.append((_circle(0, 0, 6, ""), "a real mode (95 %)"))
    for kind, number in (("dropped", knobs.modes_dropped), ("invented", knobs.modes_invented)):
        if number:
            legend.append((_circle(0, 0, 6, kind), f"{kind} mode"))
            told.append(f"{number} modes {kind}")
    frame = f'<rect width="{_WIDE}" height="{_WIDE}" rx="6" style="fill:{_colour("paper")};stroke:{_colour("line")}"/>'
    height = _WIDE + 14 + 22 * -(-len(legend) // 3)
    return _svg(
        _WIDE,
        height,
        "Real and generated points",
        f"{'; '.join(told)}.",
        [frame, *modes, *marks, *_legend(legend, columns=3, step=146, top=_WIDE + 22)],
    )


def prd_plot(measured: Measured, perfect: Perfect) -> str:
    """The precision–recall curve of the distributions, with its best point for either weight."""
    curve = list(zip(measured.prd_recall.tolist(), measured.prd_precision.tolist(), strict=True))
    placed: list[tuple[float, float]] = []
    for point in ((_x(x), _y(y)) for x, y in curve):
        if not placed or math.dist(point, placed[-1]) >= _NEAR:
            placed.append(point)
    placed.append((_x(curve[-1][0]), _y(curve[-1][1])))
    line = "L".join(f"{x:g} {y:g}" for x, y in placed)
    area = f"M{placed[0][0]:g} {_y(0)}L{line}L{placed[-1][0]:g} {_y(0)}Z"
    parts = [
        *_axes("recall", "precision"),
        f'<path d="{area}" style="fill:{_colour("generated")};fill-opacity:.12"/>',
        f'<path d="M{line}" style="fill:none;stroke:{_colour("generated")};stroke-width:2.2;stroke-linejoin:round"/>',
    ]
    legend = []
    for shape, beta, name, words in (
        ("circle", 8.0, "prd_f8", "F8, weighs recall"),
        ("square", 1 / 8, "prd_f1_8", "F1/8, weighs precision"),
    ):
        recall, precision = max(curve, key=functools.partial(_f_score, beta))
        parts.append(_mark(shape, _x(recall), _y(precision)))
        legend.append((_mark(shape, 0, 0), f"{words} {_beside(measured, perfect, name)}"))
    told = f"F8 {measured.prd_f8:.2f}, F1/8 {measured.prd_f1_8:.2f}. The ideal is the upper right corner."
    return _plot("PRD curve, one clustering", told, parts, legend)


def plane(measured: Measured, perfect: Perfect) -> str:
    """Fidelity over diversity: precision and recall, density and coverage, hollow for a perfect model."""
    parts, legend, told = _axes("diversity: recall, coverage", "fidelity: precision, density"), [], []
    for words, x, y, anchor in (
        ("real, but not all of it", _x(0) + 8, _y(1) + 18, "start"),
        ("all of it, and more", _x(1) - 8, _y(0) - 10, "end"),
    ):
        parts.append(_text(x, y, words, anchor, style="font-style:italic"))
    for shape, fidelity, diversity in (("circle", "precision", "recall"), ("square", "density", "coverage")):
        scores = perfect.scores
        parts.append(_mark(shape, _x(scores[diversity]), _y(scores[fidelity]), hollow=True))
        parts.append(_mark(shape, _x(getattr(measured, diversity)), _y(getattr(measured, fidelity))))
        if getattr(measured, fidelity) > 1.05:
            parts.append(_upward(_x(getattr(measured, diversity)), _y(1)))
        words = f"{fidelity} {getattr(measured, fidelity):.2f}, {diversity} {getattr(measured, diversity):.2f}"
        told.append(words)
        legend.append((_mark(shape, 0, 0), words))
    legend.append((_mark("circle", 0, 0, hollow=True), "hollow: a perfect model"))
    return _plot("Fidelity and diversity", "; ".join(told) + ".", parts, legend)


def confusion_table(measured: Measured, *, what: str = "points") -> str:
    """What a classifier takes real and generated rows for, as a table of shares of each row."""
    counts = np.array(measured.confusion).reshape(2, 2)
    rows = []
    for name, row in zip(("real", "generated"), counts, strict=True):
        cells = "".join(
            f'<td style="{_CELL};background:color-mix(in srgb, {_colour("generated")} {40 * share:.0f}%, transparent)">'
            f'<b style="font-size:1.15em">{share:.0%}</b><br/><small>{number} {name}, seen as {seen}</small></td>'
            for seen, number, share in zip(("real", "generated"), row, row / max(row.sum(), 1), strict=True)
        )
        rows.append(f'<tr><th scope="row" style="{_CELL}">{name}</th>{cells}</tr>')
    verdict = f"Right in {measured.accuracy:.0%} of {counts.sum()} cases; guessing is right in half of them. " + (
        "That is no chance: it can tell."
        if measured.p_value < 0.01
        else "That may be chance: it cannot be said to tell."
    )
    return (
        f'<table style="{_TABLE}"><caption style="{_CAPTION}">Can a classifier tell? It learned from half of the '
        f"{what}; these are the others.</caption><thead><tr><td></td>"
        f'<th scope="col" style="{_CELL}">seen as real</th><th scope="col" style="{_CELL}">seen as generated</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody>"
        f'<tfoot><tr><td colspan="3" style="{_CELL};border:0;text-align:left">{verdict}</td></tr></tfoot></table>'
    )


def score_table(measured: Measured, perfect: Perfect) -> str:
    """Every score beside a perfect model's, and where it should be."""
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL};text-align:left;font-weight:400">{escape(score.label)}</th>'
        f'<td style="{_CELL}"><b>{_number(getattr(measured, name))}</b></td>'
        f'<td style="{_CELL}">{_number(perfect.scores[name])}</td>'
        f'<td style="{_CELL};text-align:left">{score.best}</td></tr>'
        for name, score in SCORES.items()
    )
    heads = "".join(
        f'<th scope="col" style="{_CELL};text-align:{side}">{head}</th>'
        for head, side in (("score", "left"), ("here", "right"), ("perfect", "right"), ("should be", "left"))
    )
    return (
        f'<table style="{_TABLE}"><caption style="{_CAPTION}">The scores of {measured.num_rows:,} generated against as '
        f"many real ones</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _colour(name: str) -> str:
    return f"var(--gm-{name}, {LIGHT[f'--gm-{name}']})"


_CELL = (
    f"padding:.35rem .7rem;border-bottom:1px solid {_colour('line')};text-align:right;font-variant-numeric:tabular-nums"
)
_TABLE = f"border-collapse:collapse;color:{_colour('ink')}"
_CAPTION = f"text-align:left;padding-bottom:.4rem;color:{_colour('muted')}"


def _svg(width: int, height: int, title: str, description: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'style="display:block;width:100%;max-width:{width}px;height:auto;{_FONT}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", *, colour: str = "muted", style: str = "") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" style="fill:{_colour(colour)};font-size:12.5px;{style}">'
        f"{escape(words)}</text>"
    )


def _legend(entries: Sequence[tuple[str, str]], *, columns: int, step: int, top: int) -> list[str]:
    parts = []
    for place, (mark, words) in enumerate(entries):
        row, column = divmod(place, columns)
        x, y = 10 + column * step, top + 22 * row
        parts.append(f'<g transform="translate({x} {y})">{mark}</g>{_text(x + 14, y + 4, words, colour="ink")}')
    return parts


# The scatter.


def _cloud(kind: str, points: Points | None) -> str:
    """All points of a kind as one path; None is a single mark at 0, 0 for the legend."""
    steps, style = {
        # A line without length and with round ends is a dot.
        "real": ("h0", f"stroke:{_colour('reference')};stroke-width:3.6;stroke-linecap:round;stroke-opacity:.6"),
        "generated": (
            "m-2-2l4 4m0-4l-4 4",
            f"stroke:{_colour('generated')};stroke-width:1.1;stroke-opacity:.85",
        ),
        "copy": ("m-3-3h6v6h-6z", f"stroke:{_colour('generated')};stroke-width:1.1"),
    }[kind]
    places = [(0.0, 0.0)] if points is None else [_place(point) for point in points]
    drawn = "".join(f"M{x:g} {y:g}{steps}" for x, y in places)
    return f'<path d="{drawn}" style="fill:none;{style}"/>'


def _place(point: Points) -> tuple[float, float]:
    scale = _WIDE / (2 * HALF_WIDTH)
    return round(float(point[0] + HALF_WIDTH) * scale, 1), round(float(HALF_WIDTH - point[1]) * scale, 1)


def _mode(centre: Points, kind: str) -> str:
    return _circle(*_place(centre), round(_WITHIN * STD * _WIDE / (2 * HALF_WIDTH), 1), kind)


def _circle(x: float, y: float, radius: float, kind: str) -> str:
    """Plain for a real mode, crossed out where it is dropped, dashed where it is invented."""
    if kind == "invented":
        style = f"fill:none;stroke:{_colour('attention')};stroke-width:1.4;stroke-dasharray:4 3"
    else:
        style = f"fill:none;stroke:{_colour('muted')};stroke-width:1.2"
    drawn = f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" style="{style}"/>'
    if kind == "dropped":
        reach = round(radius * math.sqrt(0.5), 1)
        drawn += (
            f'<path d="M{x - reach:g} {y - reach:g}l{2 * reach:g} {2 * reach:g}" '
            f'style="stroke:{_colour("attention")};stroke-width:1.6"/>'
        )
    return drawn


def _in(points: Points, others: Points) -> NDArray[np.bool_]:
    """(N,) whether each point is one of the others, exactly."""
    known = set(map(tuple, others.tolist()))
    return np.array([tuple(point) in known for point in points.tolist()])


# The plots with two axes from 0 to 1.


def _plot(title: str, told: str, parts: Sequence[str], legend: Sequence[tuple[str, str]]) -> str:
    bottom = _TOP + _SIDE + 48
    return _svg(
        _LEFT + _SIDE + 16,
        bottom + 22 * len(legend) + 4,
        title,
        told,
        [*parts, *_legend(legend, columns=1, step=0, top=bottom + 8)],
    )


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * min(max(value, 0.0), 1.0), 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - min(max(value, 0.0), 1.0)), 1)


def _axes(x_label: str, y_label: str) -> list[str]:
    left, right, top, bottom = _x(0), _x(1), _y(1), _y(0)
    parts = [f'<rect x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}" style="fill:{_colour("paper")}"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(tick), _y(tick)
        parts += [
            f'<path d="M{x} {top}V{bottom}M{left} {y}H{right}" style="stroke:{_colour("line")};stroke-width:.8"/>',
            _text(x, bottom + 17, f"{tick:g}", "middle"),
            _text(left - 7, y + 4, f"{tick:g}", "end"),
        ]
    middle = _y(0.5)
    return [
        *parts,
        f'<path d="M{left} {top}V{bottom}H{right}" style="fill:none;stroke:{_colour("muted")}"/>',
        _text(_x(0.5), bottom + 36, x_label, "middle", colour="ink"),
        f'<g transform="rotate(-90 11 {middle})">{_text(11, middle, y_label, "middle", colour="ink")}</g>',
        _text(right, top - 10, "ideal", "end"),
    ]


def _mark(shape: str, x: float, y: float, *, hollow: bool = False) -> str:
    fill, edge = ("paper", "ink") if hollow else ("generated", "paper")
    style = f"fill:{_colour(fill)};stroke:{_colour(edge)};stroke-width:1.4"
    if shape == "circle":
        return f'<circle cx="{x:g}" cy="{y:g}" r="5.5" style="{style}"/>'
    return f'<rect x="{x - 5:g}" y="{y - 5:g}" width="10" height="10" style="{style}"/>'


def _upward(x: float, y: float) -> str:
    """An arrow above a mark whose value lies beyond the edge."""
    return f'<path d="M{x} {y - 8}v-10m-4 4l4-4l4 4" style="fill:none;stroke:{_colour("generated")};stroke-width:1.6"/>'


def _f_score(beta: float, point: tuple[float, float]) -> float:
    recall, precision = point
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)


def _beside(measured: Measured, perfect: Perfect, name: str) -> str:
    return f"{getattr(measured, name):.2f} (perfect: {perfect.scores[name]:.2f})"


def _number(value: float) -> str:
    """Three digits; a distance below a thousandth is 0 to the eye."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value + 0.0:.3f}"
