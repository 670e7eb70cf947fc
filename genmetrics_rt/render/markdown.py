"""A report as GitHub Markdown, short enough for an issue, a pull request or a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genmetrics_rt.render import words
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, duration
from genmetrics_rt.render.pictures import PAIRED
from genmetrics_rt.render.reading import read
from genmetrics_rt.render.sampling import generator_lines
from genmetrics_rt.report import Finding, Gallery, Report, Score

_NAME = 60  # characters of a file name
_SOURCE = 120
_PICTURES = 3  # names per gallery
_QUOTED = 100  # characters of a text


def render_markdown(report: Report) -> str:
    """The report as Markdown: what was compared, the reading, one table of scores, findings, fingerprint."""
    extractor, generated, reference = report.extractor, report.generated, report.reference
    blocks = [
        f"### {_code(generated.source, _SOURCE)} against {_code(reference.source, _SOURCE)}",
        f"{count(generated.num_images)} generated, {count(reference.num_images)} reference {words.noun(report)}s; "
        f"{_escape(extractor.title)}, protocol {_code(extractor.protocol)}.",
    ]
    if extractor.label:
        blocks.append(f"> {_escape(extractor.label[:1].upper() + extractor.label[1:])}")
    blocks += [
        f"**Skipped:** {counted(len(side.skipped), f'{what} file')}: {_escape(words.skip_reasons(side))}."
        for what, side in (("generated", generated), ("reference", reference))
        if side.skipped
    ]
    blocks += [
        f"**{what}:** {_escape(' '.join(side.notes))}"
        for what, side in (("Generated", generated), ("Reference", reference))
        if side.notes
    ]
    blocks += [
        f"**{what.capitalize()} by a generator:** "
        + " ".join(f"{term}: {_escape(told)}." for term, told in generator_lines(entry))
        for what, entry in report.generators.items()
    ]
    blocks += [_escape(sentence) for sentence in read(report).sentences]
    if report.scores:
        blocks.append(_table((_row(score, report) for score in report.scores.values()), _escape(words.space(report))))
    blocks += [_finding(entry) for entry in words.sorted_findings(report)]
    blocks += [_pictures(gallery) for gallery in report.galleries if gallery.thumbnails]
    note = words.published_note(report)
    if note:
        blocks.append(_escape(note))
    blocks += [f"Note: {_escape(entry)}" for entry in report.runtime.notes]
    made = f"{_escape(words.moment(report.created))} · genmetrics-rt {_escape(report.version)}"
    blocks.append(
        f"<sub>fingerprint {_code(report.fingerprint)} · {_escape(report.runtime.device)}, "
        f"{_escape(report.runtime.backend)}, {duration(report.runtime.seconds)} · {made}</sub>"
    )
    return "\n\n".join(blocks) + "\n"


def _row(score: Score, report: Report) -> tuple[str, ...]:
    value = words.value(score)
    beside = words.uncertainty(score)
    value = f"**{value}**" + (f" {'; '.join(beside)}" if beside else "")
    notes = [score.reason or "No reason was given."] if score.value is None else words.details(score, report)[1]
    name = _escape(words.short_name(score, report)[0]) + "".join(f"<br>{_escape(note)}" for note in notes)
    best = "" if score.best is None else f"{score.best:g}"
    better = "higher" if score.higher_is_better else "lower"
    settings = words.of_sides(", ".join(words.settings(words.used_settings(score))), report)
    return name, value, better, best, _escape(settings)


def _finding(entry: Finding) -> str:
    claim = f"- **{words.SEVERITIES[words.severity(entry)]}: {_escape(entry.claim)}** {_escape(entry.evidence)}"
    return f"{claim} *{_escape(entry.advice)}*" if entry.advice.strip() else claim


def _pictures(gallery: Gallery) -> str:
    named = [
        f"{_code(entry.name, _NAME)} ({_escape(entry.caption)})"
        + ("" if entry.text is None else f" {_code(entry.text, _QUOTED)}")
        for entry in gallery.thumbnails
    ]
    if gallery.key in PAIRED:
        named = [" beside ".join(named[start : start + 2]) for start in range(0, len(named), 2)]
    return f"{_escape(gallery.title)}: {', '.join(named[:_PICTURES])}"


def _table(rows: Iterable[Sequence[str]], space: str) -> str:
    """The scores; numbers stand right."""
    columns = (f"Score {space}", "Value", "Better", "Best", "Settings")
    alignment = (":---", "---:", ":---", "---:", ":---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, alignment, *rows))


def _escape(text: str) -> str:
    """Our words and other people's as plain text: nothing in them formats, ends a cell or becomes HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", prose(text))


def _code(text: str, limit: int = 200) -> str:
    """A name as a code span, in which GitHub neither formats nor mentions. Not for cells: a pipe would end one."""
    shown = shorten(visible(text), limit)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1)
    pad = " " if "`" in shown or not shown.strip() else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
