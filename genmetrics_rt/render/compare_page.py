"""Reports side by side as a page: one table of scores, all curves in one drawing, pictures of each report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from genmetrics_rt.render import svg, words
from genmetrics_rt.render.figures import drawing_figure, unit_points
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, commands, definitions, escape, name, section
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, number
from genmetrics_rt.render.paper import plus_minus
from genmetrics_rt.render.pictures import Pictures, single
from genmetrics_rt.report import Gallery, Report, Score

if TYPE_CHECKING:
    from genmetrics_rt.explaining.comparing import ReportTable, ScoreRow

_NAME = 60  # characters of the name of a report
_SOURCE = 120
_PICTURES = 6  # of each report and kind: one row
_KINDS = {"least_realistic": "Least realistic", "most_realistic": "Most realistic"}


def render_compare_page(table: ReportTable, *, fragment: bool = False) -> str:
    """The page or the fragment as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
    reports = list(table.reports.values())
    references = list(dict.fromkeys(report.reference.source for report in reports))
    told = f"{count(len(reports))} reports"
    title, heading = f"{told} side by side", f"{told} side by side"
    if len(references) == 1:
        title = f"{told} against {shorten(prose(references[0]), 80)}"
        heading = (
            f'<span class="generated">{told}</span> <span class="against">against</span> '
            f'<span class="reference">{name(references[0], 60)}</span>'
        )
    body = "".join(
        (
            f'<header><p class="kind">Comparison of reports</p><h1>{heading}</h1></header>\n',
            _headline(table),
            _scores(table),
            _not_compared(table),
            _drawings(table),
            _images(table.reports),
            _provenance(table.reports),
        )
    )
    return page(title, body, reports[-1].version, fragment=fragment)


def _headline(table: ReportTable) -> str:
    """Who is the best in which score, beyond noise, and where nobody is."""
    best: dict[str, list[str]] = {}
    open_, unknown, unfair = [], [], []
    for row in table.rows:
        standing = row.standing
        if standing is None:
            unfair += [row.title] if _num_values(row) > 1 else []
        elif not standing.noise_known:
            unknown.append(row.title)
        elif standing.beyond_noise:
            best.setdefault(standing.leader, []).append(row.title)
        else:
            open_.append(row.title)
    sentences = [
        f"{name(leader, _NAME)} is the best beyond noise in {escape(listed(titles))}."
        for leader, titles in best.items()
    ]
    if open_:
        sentences.append(f"No report is the best beyond noise in {escape(listed(open_))}.")
    if unknown:
        sentences.append(
            f"How sure the differences are is not known in {escape(listed(unknown))}: reports hold no intervals there."
        )
    if unfair:
        sentences.append(
            f"No best is named in {escape(listed(unfair))}: the references or the numbers of images differ."
        )
    told = "".join(f"<p>{sentence}</p>" for sentence in sentences)
    found = _findings(table.reports)
    if not told and not found:
        return ""
    return section("headline", "In short", f'<div class="verdicts">{told}</div>{found}')


def _findings(reports: Mapping[str, Report]) -> str:
    """The most serious finding of each report: scores flatter a model that copies."""
    rows = []
    for entry, report in reports.items():
        serious = [found for found in words.sorted_findings(report) if words.severity(found) in ("problem", "warning")]
        if serious:
            more = f" ({counted(len(serious) - 1, 'more finding')} in its report.)" if len(serious) > 1 else ""
            rows.append((entry, f"{escape(serious[0].claim)}{more}"))
    if not rows:
        return ""
    return f'<div class="comparable"><p>The most serious finding of each report:</p>{definitions(rows)}</div>'


def _scores(table: ReportTable) -> str:
    names = list(table.reports)
    head = "".join(f'<th scope="col">{name(entry, _NAME)}</th>' for entry in names)
    body = "".join(
        f'<tr><th scope="row">{escape(row.title)} <span class="small">{_direction(row)}</span></th>'
        + "".join(f"<td>{_cell(row, entry)}</td>" for entry in names)
        + "</tr>"
        for row in table.rows
    )
    shown = (
        '<div class="wide" role="region" aria-labelledby="scores-heading" tabindex="0"><table>'
        "<caption>± is one standard error.</caption>"
        f'<thead><tr><th scope="col">Score</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    missing = [
        f"{escape(row.title)} of {name(entry, _NAME)} has no value: {escape(score.reason or 'no reason was given.')}"
        for row in table.rows
        for entry, score in row.scores.items()
        if score.value is None
    ]
    notes = "".join(f"<li>{note}</li>" for note in (*missing, *map(commands, table.notes)))
    return section("scores", "Scores", shown + (f"<ul>{notes}</ul>" if notes else ""))


def _cell(row: ScoreRow, entry: str) -> str:
    """The value with its standard error and its standing, which stands there in words too."""
    if entry in row.unlike:
        return '≠<span class="small">made by another recipe</span>'
    if entry not in row.scores:
        return '–<span class="small">not in this report</span>'
    score = row.scores[entry]
    if score.value is None:
        return '–<span class="small">no value</span>'
    mark, told = _standing(row, entry)
    value = words.value(score)
    if score.standard_error:
        value = plus_minus(score.value, score.standard_error).replace("-", "−")
    return f"{escape(value)}{mark}" + (f'<span class="small">{told}</span>' if told else "")


def _standing(row: ScoreRow, entry: str) -> tuple[str, str]:
    """The mark and what it means: ``("*", "best beyond noise")``."""
    mark = row.standing.mark(entry) if row.standing else ""
    if row.standing is None or not mark:
        return "", ""
    if mark == "*":
        return mark, "best beyond noise"
    return mark, "leads, within noise" if entry == row.standing.leader else "may be as good"


def _direction(row: ScoreRow) -> str:
    return "higher is better" if row.higher_is_better else "lower is better"


def _num_values(row: ScoreRow) -> int:
    return sum(score.value is not None for score in row.scores.values())


def _not_compared(table: ReportTable) -> str:
    if not table.not_compared:
        return ""
    rows = ((", ".join(entry.keys), commands(entry.reason)) for entry in table.not_compared)
    lead = "Numbers that were made in unlike ways, or that one report alone has, are not set side by side."
    return section(
        "not-compared", "What is not compared, and why", f'<div class="comparable">{definitions(rows)}</div>', lead=lead
    )


def _drawings(table: ReportTable) -> str:
    looks = dict(zip(table.reports, svg.LOOKS, strict=False))
    drawn = [figure for figure in (_plane(table, looks), _curves(table, looks)) if figure]
    if not drawn:
        return ""
    lead = "Only reports whose numbers were made alike share a drawing."
    if len(table.reports) > len(looks):
        lead += f" The first {count(len(looks))} reports are drawn."
    return section("pictures", "Fidelity and diversity", f'<div class="figures">{"".join(drawn)}</div>', lead=lead)


def _plane(table: ReportTable, looks: Mapping[str, svg.Look]) -> str:
    """Precision over recall, a mark for each report."""
    pairs = {
        entry: (precision, recall)
        for entry in looks
        if (precision := _alike(table, "precision", entry)) and (recall := _alike(table, "recall", entry))
    }
    if len(pairs) < 2:
        return ""
    marks, lines, told = [], [], []
    for entry, (precision, recall) in pairs.items():
        look = looks[entry]
        assert precision.value is not None and recall.value is not None
        marks.append(
            svg.Mark(
                look.shape, recall.value, precision.value, look.hollow, look.hue, recall.interval, precision.interval
            )
        )
        text = (
            f"{shorten(visible(entry), _NAME)}: precision {_with_interval(precision)}, recall {_with_interval(recall)}"
        )
        lines.append((svg.legend_mark(look.shape, hollow=look.hollow, hue=look.hue), text))
        told.append(text)
    drawing = svg.unit_plot(
        key="plane",
        title="Precision over recall",
        description=f"A plane with recall from left to right and precision upward. {'; '.join(told)}.",
        x_label="recall (diversity)",
        y_label="precision (fidelity)",
        marks=marks,
        corners=("faithful,\nnot diverse", "", "neither", "diverse,\nnot faithful"),
    )
    note = (
        "The strokes through a mark are the 95 % intervals of that report alone; whether two reports differ is tested "
        "on their difference, in the table. On the dashed line, precision equals recall."
    )
    return drawing_figure("Where the generated images stand", drawing, lines, note)


def _curves(table: ReportTable, looks: Mapping[str, svg.Look]) -> str:
    """The precision–recall curves of the distributions over each other."""
    curves = {
        entry: points
        for entry, report in table.reports.items()
        if entry in looks and _alike(table, "prd_f8", entry) and (points := unit_points(report.curves.get("prd")))
    }
    if len(curves) < 2:
        return ""
    lines, told = [], []
    for entry in curves:
        scores = table.reports[entry].scores
        numbers = [
            f"{title} {number(scores[key].value)}"
            for key, title in (("prd_f8", "F8"), ("prd_f1_8", "F1/8"))
            if key in scores and scores[key].value is not None
        ]
        text = f"{shorten(visible(entry), _NAME)}: {', '.join(numbers)}"
        lines.append((svg.legend_line(looks[entry]), text))
        told.append(text)
    drawing = svg.unit_plot(
        key="curves",
        title="Precision–recall curves of the distributions (PRD)",
        description="Precision over recall, both from 0 to 1, a curve for each report. The ideal is the upper right "
        f"corner. {'; '.join(told)}.",
        x_label="recall",
        y_label="precision",
        lines=[svg.Line(points, looks[entry]) for entry, points in curves.items()],
    )
    note = (
        "The nearer a curve comes to the upper right corner, the better. F8 weighs recall, F1/8 precision. On the "
        "thin dashed line, precision equals recall."
    )
    return drawing_figure("Precision–recall curves of the distributions (PRD)", drawing, lines, note)


def _alike(table: ReportTable, key: str, entry: str) -> Score | None:
    """This report's score where it is in the common row and has a value."""
    for row in table.rows:
        if row.key == key and entry in row.scores and row.scores[entry].value is not None:
            return row.scores[entry]
    return None


def _with_interval(score: Score) -> str:
    interval = f" ({number(score.interval[0])} to {number(score.interval[1])})" if score.interval else ""
    return number(score.value) + interval


def _images(reports: Mapping[str, Report]) -> str:
    """A row of the least and one of the most realistic images of each report."""
    pictures = Pictures()
    shown = "".join(_images_of(entry, report, pictures) for entry, report in reports.items())
    lead = "The generated images furthest outside what the reference looks like, and those deepest inside it."
    return section("images", "Images to look at", shown, lead=lead)


def _images_of(entry: str, report: Report, pictures: Pictures) -> str:
    galleries = [gallery for gallery in report.galleries if gallery.key in _KINDS and gallery.thumbnails]
    if not galleries:
        told = "<p>No pictures: the images cannot be read again, or precision was not computed.</p>"
    elif all(picture.jpeg is None for gallery in galleries for picture in gallery.thumbnails):
        told = "<p>No pictures: a report read from JSON holds their names only.</p>" + definitions(
            (_KINDS[gallery.key], _names(gallery)) for gallery in galleries
        )
    else:
        told = "".join(
            f"<h4>{_KINDS[gallery.key]}</h4>{single([*map(pictures.thumbnail, gallery.thumbnails[:_PICTURES])])}"
            for gallery in galleries
        )
    return f'<div class="gallery"><h3>{name(entry, _NAME)}</h3>{told}</div>'


def _names(gallery: Gallery) -> str:
    return ", ".join(
        f"{name(picture.name, _NAME)} ({escape(picture.caption or number(picture.value))})"
        for picture in gallery.thumbnails[:_PICTURES]
    )


def _provenance(reports: Mapping[str, Report]) -> str:
    panels = "".join(_about(entry, report) for entry, report in reports.items())
    lead = "Numbers with the same fingerprint are made the same way and may be compared."
    return section("provenance", "The reports", f'<div class="sides">{panels}</div>', lead=lead)


def _about(entry: str, report: Report) -> str:
    extractor = report.extractor
    rows = [
        (title, f"{name(side.source, _SOURCE)} ({escape(counted(side.num_images, 'image'))})")
        for title, side in (("Generated", report.generated), ("Reference", report.reference))
    ]
    rows += [
        ("Features", f"{escape(extractor.title)}, protocol {escape(extractor.protocol)}"),
        ("Fingerprint", code(report.fingerprint)),
        ("Made", f"{escape(words.moment(report.created))}, genmetrics-rt {escape(report.version)}"),
    ]
    skipped = [
        f"{counted(len(side.skipped), f'{what} file')} skipped"
        for what, side in (("generated", report.generated), ("reference", report.reference))
        if side.skipped
    ]
    rows += [("Skipped", escape(", ".join(skipped)))]
    return f'<div class="side"><h3>{name(entry, _NAME)}</h3>{definitions(rows)}</div>'


def listed(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
