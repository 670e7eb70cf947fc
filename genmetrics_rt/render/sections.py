"""The sections of the page around the scores: findings, galleries, the two sides, quoting, provenance."""

from __future__ import annotations

from genmetrics_rt.render import words
from genmetrics_rt.render.markup import code, commands, definitions, details, escape, name, section
from genmetrics_rt.render.names import prose, shorten
from genmetrics_rt.render.numbers import count, counted, duration, memory, rate
from genmetrics_rt.render.pictures import Pictures, single
from genmetrics_rt.render.reading import read
from genmetrics_rt.render.sampling import generator_lines
from genmetrics_rt.report import Finding, Report, SideSummary

_OPEN = 5  # so many skipped files are listed without a click
_LIST_NAME = 90  # characters


def findings(report: Report) -> str:
    """What was diagnosed, the most serious first."""
    if not report.findings:
        return ""
    return section("findings", "Findings", "".join(finding(entry) for entry in words.sorted_findings(report)))


def finding(entry: Finding) -> str:
    """One finding: the claim, the evidence with its pictures, and what to do."""
    severity = words.severity(entry)
    pictures = Pictures()
    figures = [pictures.thumbnail(thumbnail) for thumbnail in entry.pictures]
    return (
        f'<article class="finding {severity}"><h3><span class="badge">{words.SEVERITIES[severity]}</span> '
        f"{escape(entry.claim)}</h3>"
        + definitions((("Evidence", escape(entry.evidence)), ("What to do", commands(entry.advice))))
        + (single(figures, any(picture.text is not None for picture in entry.pictures)) if figures else "")
        + "</article>"
    )


def galleries(report: Report) -> str:
    """The images a person should look at, each with its name and number."""
    pictures = Pictures()
    shown = "".join(pictures.gallery(gallery) for gallery in report.galleries)
    return section("images", words.of_sides("Images to look at", report), shown) if shown else ""


def sides(report: Report) -> str:
    """What was compared: two panels."""
    panels = "".join(
        _side(what.capitalize(), what, side, report)
        for what, side in (("generated", report.generated), ("reference", report.reference))
    )
    return section("sides", "The two sides", f'<div class="sides">{panels}</div>')


def _side(title: str, key: str, side: SideSummary, report: Report) -> str:
    generator = report.generators.get(key)
    number = "unknown" if side.num_images is None else f'<span class="figure">{count(side.num_images)}</span>'
    rows = (
        (words.of_sides("Images", report), number),
        ("Source", name(side.source, 160)),
        ("Content hash", code(shorten(side.content_hash, 17)) if side.content_hash else "not hashed"),
        *((term, escape(told)) for term, told in (generator_lines(generator) if generator else ())),
    )
    notes = "".join(f'<p class="small">{escape(prose(note))}</p>' for note in side.notes)
    skipped = _skipped(side, "text" if report.extractor.modality == "text" else "file")
    return f'<div class="side {key}"><h3>{title}</h3>{definitions(rows)}{notes}{skipped}</div>'


def _skipped(side: SideSummary, noun: str) -> str:
    if not side.skipped:
        return f'<p class="small">No {noun} was skipped.</p>'
    listed = "".join(
        f"<li>{name(entry.name, _LIST_NAME)} — {escape(shorten(prose(entry.reason), 300))}</li>"
        for entry in words.sorted_skipped(side)[: words.LISTED]
    )
    if len(side.skipped) > words.LISTED:
        more = count(len(side.skipped) - words.LISTED)
        listed += f'<li class="more">and {more} more; the JSON report names all</li>'
    which = f"<ul>{listed}</ul>"
    return (
        f'<div class="skipped"><p><strong>{counted(len(side.skipped), noun)} skipped.</strong> '
        f"{escape(words.skip_reasons(side, examples=False))}.</p>"
        + (which if len(side.skipped) <= _OPEN else details(f"Which {noun}s", which))
        + "</div>"
    )


def quoting(report: Report) -> str:
    """What the numbers may be compared with, and a line to paste."""
    rows = [(names, escape(f"{text[:1].upper()}{text[1:]}.")) for names, text in words.comparability(report)]
    note = words.published_note(report)
    content = f"<p>{escape(note)}</p>" if note else ""
    content += definitions(rows)
    content += (
        '<div class="quotation"><p>To quote the leading number, with what others need to compare it:</p>'
        f'<p class="quote">{escape(words.citation(report, read(report).lead))}</p></div>'
    )
    return section("quoting", "Comparing and quoting", f'<div class="comparable">{content}</div>')


def provenance(report: Report) -> str:
    """Everything that identifies the numbers, and how they came about."""
    extractor, runtime = report.extractor, report.runtime
    identity = definitions(
        (
            ("Fingerprint", code(report.fingerprint)),
            ("Extractor", f"{escape(extractor.title)} ({name(extractor.name, 60)}), {extractor.dimension:,} features"),
            ("Numeric id", code(extractor.numeric_id)),
            ("Protocol", code(extractor.protocol)),
        )
    )
    speed = words.of_sides(rate(runtime.images_per_second), report) if runtime.images_per_second is not None else ""
    peak = memory(runtime.peak_memory_bytes) if runtime.peak_memory_bytes is not None else ""
    made = definitions(
        (
            ("Made", f'<time datetime="{escape(report.created)}">{escape(words.moment(report.created))}</time>'),
            ("Device", f"{escape(runtime.device)}, {escape(runtime.backend)}"),
            ("Took", escape(duration(runtime.seconds) + (f", {speed}" if speed else ""))),
            ("Peak memory", peak),
            ("Versions", escape(", ".join(f"{key} {value}" for key, value in runtime.versions.items()))),
        )
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in runtime.notes)
    notes = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    single = definitions(
        (words.short_name(score, report)[0], code(score.fingerprint)) for score in report.scores.values()
    )
    more = details(f"Fingerprints of {counted(len(report.scores), 'score')}", single) if report.scores else ""
    lead = (
        "Numbers with the same fingerprint are made the same way and may be compared. Device and versions move them "
        "by rounding only and are not part of it."
    )
    content = f'<div class="provenance"><div>{identity}</div><div>{made}</div></div>{more}{notes}'
    return section("provenance", "Where the numbers come from", content, lead=escape(lead))
