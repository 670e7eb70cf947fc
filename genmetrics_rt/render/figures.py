"""The drawings of a report with their captions: the plane of fidelity over diversity, and the curves."""

from __future__ import annotations

import math

from genmetrics_rt.render import svg, words
from genmetrics_rt.render.markup import details, escape, section, table
from genmetrics_rt.render.numbers import count, number
from genmetrics_rt.render.reading import too_few
from genmetrics_rt.report import Curve, Report, Score

_TABLE_ROWS = 41  # of a curve's points


def figures(report: Report) -> str:
    """The section with the drawings; empty when there is nothing to draw."""
    curves = enumerate(report.curves.values())
    drawn = [_plane(report), *(_curve(report, curve, f"curve-{index}") for index, curve in curves)]
    drawn = [figure for figure in drawn if figure]
    if not drawn:
        return ""
    return section("pictures", "Fidelity and diversity", f'<div class="figures">{"".join(drawn)}</div>')


def _plane(report: Report) -> str:
    """Fidelity over diversity: precision–recall and density–coverage as points."""
    marks, lines, told = [], [], []
    precision, recall = _value(report, "precision"), _value(report, "recall")
    if precision is not None and recall is not None:
        marks.append(svg.Mark("circle", recall, precision))
        text = f"precision {number(precision)}, recall {number(recall)}"
        lines.append((svg.legend_mark("circle"), text))
        told.append(text)
    density, coverage = _value(report, "density"), _value(report, "coverage")
    if density is not None and coverage is not None:
        text = f"density {number(density)}, coverage {number(coverage)}"
        beyond = "; density is beyond the edge" if density > 1 else ""
        perfect = report.scores["coverage"].details.get("perfect_model")
        if isinstance(perfect, int | float) and 0 < perfect <= 1:
            marks.append(svg.Mark("diamond", perfect, 1.0, hollow=True))
        marks.append(svg.Mark("diamond", coverage, density))
        lines.append((svg.legend_mark("diamond"), text + beyond))
        told.append(text)
        if isinstance(perfect, int | float) and 0 < perfect <= 1:
            ideal = f"density and coverage of a perfect model: 1, {number(perfect)}"
            lines.append((svg.legend_mark("diamond", hollow=True), ideal))
    if not marks:
        return ""
    drawing = svg.unit_plot(
        key="plane",
        title="Fidelity over diversity",
        description=f"A plane with diversity from left to right and fidelity upward. {'; '.join(told)}.",
        x_label="diversity (recall, coverage)",
        y_label="fidelity (precision, density)",
        marks=marks,
        corners=("faithful,\nnot diverse", "", "neither", "diverse,\nnot faithful"),
    )
    note = (
        "The upper right corner is the ideal: faithful and diverse. The words in the other corners name directions, "
        "not grades. On the dashed line, fidelity equals diversity."
    )
    title = words.of_sides("Where the generated images stand", report)
    return drawing_figure(title, drawing, lines, f"{too_few(report)} {note}".strip())


def _curve(report: Report, curve: Curve, key: str) -> str:
    points = unit_points(curve)
    if not points:
        return ""
    marks, lines = [], []
    if curve.key == "prd":
        for beta, shape, score_key, words in (
            (8.0, "circle", "prd_f8", "F8 (weighs recall)"),
            (1 / 8, "square", "prd_f1_8", "F1/8 (weighs precision)"),
        ):
            value, best = _value(report, score_key), svg.best_point(points, beta)
            if value is not None and best is not None:
                marks.append(svg.Mark(shape, *best))
                lines.append((svg.legend_mark(shape), f"{words} {number(value)}"))
    largest_x, largest_y = max(x for x, _ in points), max(y for _, y in points)
    drawing = svg.unit_plot(
        key=key,
        title=curve.title,
        description=f"{curve.y_label} over {curve.x_label}, both from 0 to 1. {curve.y_label} reaches "
        f"{number(largest_y)}, {curve.x_label} reaches {number(largest_x)}. The ideal is the upper right corner.",
        x_label=curve.x_label,
        y_label=curve.y_label,
        line=points,
        marks=marks,
    )
    note = (
        f"The nearer the curve comes to the upper right corner, the better. On the dashed line, {curve.y_label} "
        f"equals {curve.x_label}."
    )
    note = f"{too_few(report)} {note}".strip()
    return drawing_figure(curve.title, drawing, lines, note, _points(curve, points))


def _points(curve: Curve, points: list[tuple[float, float]]) -> str:
    """The curve as a table, thinned evenly: the pictures are for the eye, this is for everybody."""
    rows = min(_TABLE_ROWS, len(points))
    chosen = [points[round(row * (len(points) - 1) / max(rows - 1, 1))] for row in range(rows)]
    told = f"{count(rows)} of {count(len(points))} points; all of them are in the JSON report."
    cells = ((number(x), number(y)) for x, y in chosen)
    return details("The curve as a table", table(told, (curve.x_label, curve.y_label), cells))


def unit_points(curve: Curve | None) -> list[tuple[float, float]]:
    """The points of a curve in the unit square; none where it is no such curve."""
    if curve is None:
        return []
    points = [
        (x, y) for x, y in zip(curve.x, curve.y, strict=False) if x is not None and y is not None and _in_unit(x, y)
    ]
    return points if len(points) > 1 and len(points) == len(curve.x) else []


def drawing_figure(title: str, drawing: str, lines: list[tuple[str, str]], note: str, more: str = "") -> str:
    """A drawing with its legend, (mark, text) each, and a note; ``more`` is finished HTML."""
    legend = "".join(f"<li>{mark}<span>{escape(text)}</span></li>" for mark, text in lines)
    return (
        f'<figure class="drawing"><h3>{escape(title)}</h3>{drawing}<figcaption>'
        + (f'<ul class="legend-list">{legend}</ul>' if legend else "")
        + f"<p>{escape(note)}</p></figcaption>{more}</figure>"
    )


def _in_unit(*values: float) -> bool:
    return all(math.isfinite(value) and -1e-9 <= value <= 1 + 1e-9 for value in values)


def _value(report: Report, key: str) -> float | None:
    score: Score | None = report.scores.get(key)
    return score.value if score else None
