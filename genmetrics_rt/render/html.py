"""A report as one self-contained HTML page: no script, no external request, readable on paper and on a phone.

Or as a fragment to stand inside somebody else's page: the same sections in one ``<div class="genmetrics">`` with its
own style, made from the same style sheet.
"""

from __future__ import annotations

import hashlib
import re
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

# What stands before our rules in a fragment. "not(#_)" holds for every element and counts like an id, so that ours win
# against a host's classes. Drawings keep their attributes, which "revert" would take for a host's styles.
_FRAME = """.genmetrics:not(#_) {
  all: initial;
  display: block;
  box-sizing: border-box;
  width: 100%;
  padding: 1rem;
  container-type: inline-size;
  :where(:not(svg, svg *)) { all: revert; }
  :where(svg) { margin: 0; padding: 0; border: 0; background: none; }
  :where(svg *) { font: inherit; letter-spacing: inherit; text-transform: none; text-decoration: none; }
  *::before, *::after { content: none; }
"""
_REWRITTEN = (
    (r"/\*.*?\*/\n*", ""),
    (r"(?m)^ *(?:main|footer|@page)\b[^{]*\{[^}]*\}\n", ""),  # of a page alone
    # Not the system but the host decides between light and dark; paper is light whatever the host.
    (r"@media \(prefers-color-scheme: dark\) \{\s*:root", "@media screen {\n  &:is(.dark *)"),
    (r"(?m)^( *)(?::root|html|body) \{", r"\1& {"),
    # Widths are those of the div, not of the window.
    (r"@media \((min|max)-width", r"@container (\1-width"),
    (r"(?<=\d)vw\b", "cqw"),
)

_WIDE = 8  # characters of the leading number that fit in large type


def render_html(report: Report, *, fragment: bool = False) -> str:
    """The page or the fragment as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
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
    return page(title, body, report.version, fragment=fragment)


def page(title: str, body: str, version: str, *, fragment: bool = False) -> str:
    """The page around a body of escaped markup: our style and policy, nothing from elsewhere; or the fragment."""
    if fragment:
        return _fragment(body)
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


def _fragment(body: str) -> str:
    """The body for another page: headings one level lower, below the host's own h1; ids that are nobody else's.

    Whatever came from outside is escaped, so that every ``<h2`` and every ``id="`` in the body is ours.
    """
    prefix = f"genmetrics-{hashlib.sha256(body.encode()).hexdigest()[:8]}-"
    body = re.sub(r"(</?h)([1-4])\b", _one_lower, body)
    body = re.sub(r'( id="| href="#)(?=[^"])', rf"\g<1>{prefix}", body)
    body = re.sub(
        ' aria-labelledby="([^"]*)"',
        lambda found: f' aria-labelledby="{" ".join(prefix + entry for entry in found[1].split())}"',
        body,
    )
    return f'<div class="genmetrics" lang="en">\n<style>\n{_fragment_style()}</style>\n{body}</div>\n'


def _one_lower(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) + 1}"


@cache
def _fragment_style() -> str:
    """The style sheet nested in our div, so that no rule of it reaches anything outside."""
    style = _style()
    for pattern, replacement in _REWRITTEN:
        style = re.sub(pattern, replacement, style, flags=re.S)
    return _FRAME + re.sub(r"\b(h)([1-4])\b", _one_lower, style) + "}\n"


def _header(report: Report) -> str:
    extractor = report.extractor
    generated, reference = report.generated, report.reference
    label = f'<p class="label">{escape(_sentence(extractor.label))}</p>' if extractor.label else ""
    return (
        '<header><p class="kind">Evaluation of a generative model</p>'
        f'<h1><span class="generated">{name(generated.source, 60)}</span> <span class="against">against</span> '
        f'<span class="reference">{name(reference.source, 60)}</span></h1>'
        f'<p class="facts">{counted(generated.num_images, f"generated {words.noun(report)}")}, '
        f"{counted(reference.num_images, f'reference {words.noun(report)}')} · {escape(extractor.title)} · protocol "
        f'{escape(extractor.protocol)} · <time datetime="{escape(report.created)}">'
        f"{escape(words.moment(report.created))}</time> · genmetrics-rt {escape(report.version)}</p>"
        f"{label}{_alarm(report)}</header>\n"
    )


def _alarm(report: Report) -> str:
    """Skipped files change what was measured, so they are said at the top; the list is further down."""
    told = [
        f"{count(len(side.skipped))} of {count(len(side.skipped) + (side.num_images or 0))} {what} "
        f"{'texts' if report.extractor.modality == 'text' else 'files'}"
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
    settings = words.of_sides(" · ".join(words.settings(score.settings)), report)
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
