"""A report as one self-contained HTML page: no script, no external request, readable on paper and on a phone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from genmetrics_rt.render import sections, words
from genmetrics_rt.render.figures import figures
from genmetrics_rt.render.ladder_drawing import ladders
from genmetrics_rt.render.markup import escape, name, section
from genmetrics_rt.render.names import prose, shorten
from genmetrics_rt.render.numbers import count, counted
from genmetrics_rt.render.reading import read
from genmetrics_rt.report import Report, Score

# Nothing may load, run, or be sent: even a file name that broke out of its place could do no harm.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_WIDE = 8  # characters of the leading number that fit in large type


def render_html(report: Report) -> str:
    """The page as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
    title = f"{shorten(prose(report.generated.source), 80)} against {shorten(prose(report.reference.source), 80)}"
    body = "".join(
        (
            _header(report),
            _headline(report),
            sections.findings(report),
            _scores(report),
            ladders(report),
            figures(report),
            sections.galleries(report),
            sections.sides(report),
            sections.quoting(report),
            sections.provenance(report),
        )
    )
    return page(title, body, report.version)


def page(title: str, body: str, version: str) -> str:
    """The page around a body of escaped markup: our style and policy, nothing from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)} – genmetrics</title>\n'
        f"<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        f"<footer><p>Made by genmetrics-rt {escape(version)}. This page is complete in itself: it loads nothing and "
        "runs no script.</p></footer>\n</body>\n</html>\n"
    )


@cache
def _style() -> str:
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def _header(report: Report) -> str:
    extractor = report.extractor
    generated, reference = report.generated, report.reference
    label = f'<p class="label">{escape(_sentence(extractor.label))}</p>' if extractor.label else ""
    return (
        '<header><p class="kind">Evaluation of a generative model</p>'
        f'<h1><span class="generated">{name(generated.source, 60)}</span> <span class="against">against</span> '
        f'<span class="reference">{name(reference.source, 60)}</span></h1>'
        f'<p class="facts">{counted(generated.num_images, "generated image")}, '
        f"{counted(reference.num_images, 'reference image')} · {escape(extractor.title)} · protocol "
        f'{escape(extractor.protocol)} · <time datetime="{escape(report.created)}">'
        f"{escape(words.moment(report.created))}</time> · genmetrics-rt {escape(report.version)}</p>"
        f"{label}{_alarm(report)}</header>\n"
    )


def _alarm(report: Report) -> str:
    """Skipped files change what was measured, so they are said at the top; the list is further down."""
    told = [
        f"{count(len(side.skipped))} of {count(len(side.skipped) + (side.num_images or 0))} {what} files"
        for what, side in (("generated", report.generated), ("reference", report.reference))
        if side.skipped
    ]
    if not told:
        return ""
    return f'<p class="alarm"><strong>Skipped:</strong> {" and ".join(told)}. <a href="#sides">Which and why</a></p>'


def _headline(report: Report) -> str:
    reading = read(report)
    shown = ""
    if reading.lead is not None:
        title, space = words.short_name(reading.lead, report)
        value = words.value(reading.lead)
        beside = [*words.uncertainty(reading.lead), *words.details(reading.lead, report)[0]]
        shown = (
            f'<div class="lead-score"><p class="name">{escape(title)} <span class="space">{escape(space)}</span></p>'
            f'<p class="value{" long" if len(value) > _WIDE else ""}">{escape(value)}</p>'
            f'<p class="small">{_direction(reading.lead)}</p>'
            + "".join(f'<p class="small">{escape(fact)}</p>' for fact in beside)
            + "</div>"
        )
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in reading.sentences)
    note = words.published_note(report)
    note = f'<p class="small">{escape(note)}</p>' if note else ""
    return section("headline", "In short", f'<div class="headline">{shown}<div>{sentences}{note}</div></div>')


def _scores(report: Report) -> str:
    content = []
    for group in words.groups(report):
        cards = "".join(_card(score, report) for score in group.scores)
        content.append(
            f'<div class="group"><h3>{escape(group.title)} <span class="space">{escape(group.question)}</span></h3>'
            f'<div class="cards">{cards}</div></div>'
        )
    label = report.extractor.label
    lead = escape(_sentence(words.space(report)))
    return section("scores", "Scores", "".join(content), lead=f"{lead} {escape(_sentence(label))}" if label else lead)


def _card(score: Score, report: Report) -> str:
    title, space = words.short_name(score, report)
    beside = " · ".join(words.uncertainty(score))
    facts, notes = words.details(score, report)
    settings = " · ".join(words.settings(score.settings))
    small = [part for part in (" · ".join(facts), f"Settings: {settings}" if settings else "") if part]
    if score.value is None:
        value = '<p class="value none">no value</p>'
        reason = f'<p class="reason">{escape(score.reason or "No reason was given.")}</p>'
    else:
        value, reason = f'<p class="value">{escape(words.value(score))}</p>', ""
    return (
        f'<article class="score"><h4>{escape(title)} <span class="space">{escape(space)}</span></h4>'
        f'{value}{_meter(score)}<p class="small">{_direction(score)}</p>'
        + (f'<p class="small">{escape(beside)}</p>' if beside else "")
        + reason
        + f"<p>{escape(score.meaning)}</p>"
        + "".join(f'<p class="reason">{escape(note)}</p>' for note in notes)
        + "".join(f'<p class="small settings">{escape(part)}</p>' for part in small)
        + "</article>"
    )


def _direction(score: Score) -> str:
    arrow = "↑" if score.higher_is_better else "↓"
    return f'<span aria-hidden="true">{arrow}</span> {escape(words.direction(score))}'


def _meter(score: Score) -> str:
    """A bar from 0 to 1 for the scores whose best is 1, with a tick where a perfect model would be."""
    if score.value is None or score.best != 1:
        return ""
    tick = ""
    perfect = score.details.get("perfect_model")
    if isinstance(perfect, int | float) and 0 < perfect < 1:
        tick = f'<span class="tick" style="left:{100 * perfect:.1f}%"></span>'
    width = 100 * min(max(score.value, 0.0), 1.0)
    return f'<div class="meter" aria-hidden="true"><span class="bar" style="width:{width:.1f}%"></span>{tick}</div>'


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""
