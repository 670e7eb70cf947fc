"""A search for copies as a page and as text: the verdict, the closest pairs side by side, duplicates, provenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from genmetrics_rt.render import sections, words
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, definitions, details, escape, name, section, table
from genmetrics_rt.render.names import bounded, prose, shorten, visible
from genmetrics_rt.render.numbers import Formatter, count, counted, duration, memory, number, plain_number
from genmetrics_rt.render.pictures import Pictures, in_pairs
from genmetrics_rt.render.text import NARROWEST, labelled, row
from genmetrics_rt.report import SideSummary

if TYPE_CHECKING:
    from genmetrics_rt.copying.report import CopyPair, CopyReport, DuplicatePair, Duplicates

_TITLES = {
    "leak": "Held-out images that are in the training set",
    "train": "Repeated training images",
    "heldout": "Repeated held-out images",
    "generated": "Repeated generated images",
}
_IN_TEXT = 5  # pairs


def render_copies_page(report: CopyReport, *, fragment: bool = False) -> str:
    """The page or the fragment as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
    pictures = Pictures()
    title = f"Copies: {shorten(prose(report.generated.source), 80)} against {shorten(prose(report.train.source), 80)}"
    body = "".join(
        (
            _header(report),
            _headline(report),
            section("findings", "Findings", "".join(map(sections.finding, report.findings))),
            _closest(report, pictures),
            _duplicates(report, pictures),
            _sides(report),
            _provenance(report),
        )
    )
    return page(title, body, report.version, fragment=fragment)


def render_copies_text(report: CopyReport, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    sides = [("generated", report.generated), ("train", report.train), ("held-out", report.heldout)]
    head = []
    for what, side in sides:
        if side is not None:
            skipped = f", {count(len(side.skipped))} skipped" if side.skipped else ""
            told = f"{shorten(visible(side.source), 120)} ({counted(side.num_images, 'image')}{skipped})"
            head += labelled(what, told, width)
    head += labelled("features", f"{prose(report.extractor.title)}, protocol {prose(report.extractor.protocol)}", width)
    found = []
    for entry in report.findings:
        text = f"{prose(entry.claim)} {prose(entry.evidence)} {prose(entry.advice)}"
        found += labelled(words.SEVERITIES[words.severity(entry)], text, width)
    numbers = []
    for term, value in _numbers(report, plain_number):
        numbers += row((term, value), (26, width - 28))
    pairs: list[str] = []
    for pair in report.pairs[:_IN_TEXT]:
        text = f"{shorten(visible(pair.generated), 60)} beside {shorten(visible(pair.train), 60)}: {_told(pair)}"
        pairs += labelled("closest" if not pairs else "", text, width)
    foot = []
    for note in report.runtime.notes:
        foot += labelled("note", prose(note), width)
    made = f"genmetrics-rt {prose(report.version)}, {prose(report.runtime.device)}, {duration(report.runtime.seconds)}"
    foot += labelled("made", f"{words.moment(report.created)}, {made}", width)
    return "\n\n".join("\n".join(block) for block in (head, found, numbers, pairs, foot) if block)


def _numbers(report: CopyReport, write: Formatter) -> list[tuple[str, str]]:
    """The numbers beside the verdict: term, value."""
    low, high = report.copied.interval
    rows = [
        ("p-value", write(report.p_value)),
        (
            "estimated copies",
            f"{write(100 * report.copied.value)} % (95 % interval {write(100 * low)} % to {write(100 * high)} %)",
        ),
        (
            "closer than a copy must be",
            f"{count(report.copied.num_below)} generated images, {write(report.copied.expected_below)} expected "
            f"(ratio at most {write(report.copied.threshold)})",
        ),
        ("AuthPct", f"{write(report.scores['auth_pct'])} % (fresh images: about 50)"),
        ("Z of C_T, one cell", f"{write(report.scores['copying_z'])} (far below 0: closer than fresh images)"),
    ]
    for entry in report.duplicates.values():
        told = f"{count(entry.num_exact)} with the same bytes, {count(entry.num_near)} showing the same picture"
        rows.append((f"duplicates, {entry.key}", told))
    return rows


def _told(pair: CopyPair) -> str:
    """The numbers of one pair."""
    fresh = "no fresh image is as close" if pair.fresh_share == 0 else f"{100 * pair.fresh_share:.2g} % of fresh closer"
    parts = [f"ratio {plain_number(pair.ratio)}", fresh]
    if pair.mirrored:
        parts.append("mirrored")
    if pair.same_picture:
        parts.append("the same picture")
    return ", ".join(parts)


def _header(report: CopyReport) -> str:
    extractor = report.extractor
    heldout = ""
    if report.heldout is not None:
        heldout = f", {counted(report.heldout.num_images, 'held-out image')}"
    label = f'<p class="label">{escape(extractor.label)}</p>' if extractor.label else ""
    return (
        '<header><p class="kind">Search for copies of training images</p>'
        f'<h1><span class="generated">{name(report.generated.source, 60)}</span> <span class="against">against</span> '
        f'<span class="reference">{name(report.train.source, 60)}</span></h1>'
        f'<p class="facts">{counted(report.generated.num_images, "generated image")}, '
        f"{counted(report.train.num_images, 'training image')}{heldout} · {escape(extractor.title)} · protocol "
        f'{escape(extractor.protocol)} · <time datetime="{escape(report.created)}">'
        f"{escape(words.moment(report.created))}</time> · genmetrics-rt {escape(report.version)}</p>{label}</header>\n"
    )


def _headline(report: CopyReport) -> str:
    verdict = report.findings[0]
    low, high = report.copied.interval
    lead = (
        '<div class="lead-score"><p class="name">Estimated copies</p>'
        f'<p class="value">{100 * report.copied.value:.1f} %</p>'
        f'<p class="small">95 % interval {100 * low:.1f} % to {100 * high:.1f} %</p>'
        f'<p class="small">p-value {escape(number(report.p_value))}</p></div>'
    )
    content = f'<div class="headline">{lead}<div><p>{escape(verdict.claim)}</p><p>{escape(_meaning(report))}</p></div>'
    rows = [(term, escape(value)) for term, value in _numbers(report, number)]
    return section("headline", "In short", f"{content}</div>{details('All numbers', definitions(rows))}")


def _meaning(report: CopyReport) -> str:
    fresh = "held-out images" if report.calibration == "held-out" else "training images that were set aside"
    return (
        f"The p-value says how likely fresh images would crowd as close to the training set as the generated ones do; "
        f"{fresh} show how close fresh images lie. A model that merely prefers typical images does not raise it."
    )


def _closest(report: CopyReport, pictures: Pictures) -> str:
    if not report.pairs:
        return ""
    lead = (
        "Left the generated image, right the training image that it lies closest to. The ratio is their distance "
        "divided by that training image's distance to its own neighbours; the smallest come first."
    )
    if all(pair.generated_jpeg is None and pair.train_jpeg is None for pair in report.pairs):
        rows = [(pair.generated, pair.train, _told(pair)) for pair in report.pairs]
        shown = table("The closest pairs", ("generated", "training", "how close"), rows)
        return section("pairs", "The closest pairs", shown, lead=escape(lead))
    figures = [
        figure
        for pair in report.pairs
        for figure in (
            _figure(pictures, pair.generated_jpeg, pair.generated, "generated", _told(pair)),
            _figure(
                pictures, pair.train_jpeg, pair.train, "training", "its mirror image" if pair.mirrored else "training"
            ),
        )
    ]
    return section("pairs", "The closest pairs", in_pairs(figures), lead=escape(lead))


def _figure(pictures: Pictures, jpeg: bytes | None, file_name: str, side: str, caption: str) -> str:
    return pictures.figure(jpeg, file_name, caption, f"{side}: {bounded(file_name)}")


def _duplicates(report: CopyReport, pictures: Pictures) -> str:
    shown = [_duplicates_of(entry, pictures) for entry in report.duplicates.values() if entry.pairs]
    if not report.duplicates:
        return ""
    content = "".join(shown) or "<p>No image occurs twice, neither between the sides nor inside one.</p>"
    return section("duplicates", "Images that occur twice", content)


def _duplicates_of(entry: Duplicates, pictures: Pictures) -> str:
    figures = [figure for pair in entry.pairs for figure in _duplicate(pair, pictures)]
    total = entry.num_exact + entry.num_near
    first = f" The first {count(len(entry.pairs))} are shown." if total > len(entry.pairs) else ""
    told = (
        f"{counted(entry.num_exact, 'pair')} with the same bytes, {count(entry.num_near)} showing the same picture; "
        f"{100 * entry.share:.2g} % of {counted(entry.num_images, 'image')} affected.{first}"
    )
    return f'<div class="gallery"><h3>{escape(_TITLES[entry.key])}</h3><p>{escape(told)}</p>{in_pairs(figures)}</div>'


def _duplicate(pair: DuplicatePair, pictures: Pictures) -> tuple[str, str]:
    caption = "same bytes" if pair.exact else f"correlation {pair.likeness:.4f}"
    return (
        _figure(pictures, pair.first_jpeg, pair.first, "first", caption),
        _figure(pictures, pair.second_jpeg, pair.second, "second", caption),
    )


def _sides(report: CopyReport) -> str:
    panels = _side("Generated", "generated", report.generated) + _side("Training", "reference", report.train)
    if report.heldout is not None:
        panels += _side("Held-out", "reference", report.heldout)
    return section("sides", "The sides", f'<div class="sides">{panels}</div>')


def _side(title: str, key: str, side: SideSummary) -> str:
    skipped = f"{count(len(side.skipped))}: {words.skip_reasons(side)}" if side.skipped else "none"
    rows = (
        ("Images", f'<span class="figure">{count(side.num_images)}</span>'),
        ("Source", name(side.source, 160)),
        ("Content hash", code(shorten(side.content_hash, 17)) if side.content_hash else "not hashed"),
        ("Skipped files", escape(skipped)),
    )
    return f'<div class="side {key}"><h3>{title}</h3>{definitions(rows)}</div>'


def _provenance(report: CopyReport) -> str:
    extractor, runtime = report.extractor, report.runtime
    peak = memory(runtime.peak_memory_bytes) if runtime.peak_memory_bytes is not None else ""
    settings = ", ".join(f"{key} {value}" for key, value in report.settings.items())
    identity = definitions(
        (
            ("Extractor", f"{escape(extractor.title)} ({name(extractor.name, 60)}), {extractor.dimension:,} features"),
            ("Numeric id", code(extractor.numeric_id)),
            ("Protocol", code(extractor.protocol)),
            ("Calibration", escape(report.calibration)),
            ("Settings", escape(settings)),
        )
    )
    made = definitions(
        (
            ("Device", f"{escape(runtime.device)}, {escape(runtime.backend)}"),
            ("Took", escape(duration(runtime.seconds)) if math.isfinite(runtime.seconds) else ""),
            ("Peak memory", peak),
            ("Versions", escape(", ".join(f"{key} {value}" for key, value in runtime.versions.items()))),
        )
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in runtime.notes)
    notes = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    content = f'<div class="provenance"><div>{identity}</div><div>{made}</div></div>{notes}'
    return section("provenance", "Where the numbers come from", content)
