"""A scorecard as a page and as text: an overview, then every measure of each property, or the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genmetrics_rt.render import words
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, definitions, escape, name, section
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import Formatter, counted, duration, number, plain_number
from genmetrics_rt.render.pictures import Pictures, single
from genmetrics_rt.render.text import NARROWEST, labelled, row, wrap
from genmetrics_rt.textbook import ABSENT, NO, OPEN, PROPERTIES, SOURCE, YES, Property

if TYPE_CHECKING:
    from genmetrics_rt.scorecard.card import Card, Found, Measure, Scorecard

_NAME = 60  # characters
_SIGNS = {YES: "✓ yes", NO: "✗ no", OPEN: "? depends", ABSENT: "– has none"}


def render_scorecard_page(scorecard: Scorecard, *, fragment: bool = False) -> str:
    """The page or the fragment as text. Everything in it is escaped; it needs nothing but itself."""
    cards = scorecard.cards
    told = name(cards[0].name, _NAME) if len(cards) == 1 else escape(f"{len(cards)} generators")
    reference = shorten(prose(scorecard.reference.source), 80)
    title = f"{cards[0].name if len(cards) == 1 else f'{len(cards)} generators'} against {reference}"
    body = "".join(
        (
            f'<header><p class="kind">Scorecard</p><h1><span class="generated">{told}</span> '
            f'<span class="against">against</span> <span class="reference">{name(reference, 60)}</span></h1></header>',
            _headline(scorecard),
            _overview(scorecard),
            _warnings(scorecard),
            _pictures(scorecard),
            _details(scorecard),
            _provenance(scorecard),
        )
    )
    return page(title, body, scorecard.version, fragment=fragment)


def render_scorecard_text(scorecard: Scorecard, width: int = 100) -> str:
    """The scorecard as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    reference = f"{shorten(visible(scorecard.reference.source), 120)} "
    reference += f"({counted(scorecard.reference.num_images, 'image')})"
    blocks = [
        labelled("reference", reference, width)
        + labelled("features", prose(scorecard.extractor.title), width)
        + (labelled("", prose(scorecard.extractor.label), width) if scorecard.extractor.label else [])
    ]
    for entry in PROPERTIES:
        lines = wrap(f"{entry.title.upper()}  {entry.question}", width)
        for card in scorecard.cards:
            found = card.found[entry.key]
            told = "; ".join(_measure(measure, plain_number) for measure in found.measures) or prose(found.why_not)
            mark = " ★" if card.name in scorecard.best(entry.key) else ""
            expected = f" [textbook on a {card.family}: {found.expected}]" if found.expected else ""
            notes = "".join(f" {prose(note)}" for note in found.notes)
            lines += row(
                (shorten(visible(card.name), 18) + mark, f"{told.rstrip('.')}.{notes}{expected}"), (24, width - 26)
            )
        blocks.append(lines)
    blocks.append([line for card in scorecard.cards for line in _warned(card, width)])
    foot = [line for note in scorecard.notes for line in labelled("note", prose(note), width)]
    foot += labelled("textbook", f"{SOURCE}. ★: the best, and those whose interval meets its interval.", width)
    made = f"genmetrics-rt {prose(scorecard.version)}, {prose(scorecard.runtime.device)}"
    foot += labelled("made", f"{words.moment(scorecard.created)}, {made}, {duration(scorecard.runtime.seconds)}", width)
    blocks.append(foot)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _warned(card: Card, width: int) -> list[str]:
    return [line for text in card.warnings for line in labelled("WARNING", f"{card.name}: {prose(text)}", width)]


def _headline(scorecard: Scorecard) -> str:
    """Who leads in what, in a sentence each."""
    sentences = []
    for entry in PROPERTIES:
        best = scorecard.best(entry.key)
        if best:
            shown = " and ".join(name(leader, _NAME) for leader in best)
            sentences.append(f"<p>{escape(entry.title)}: {shown} {'leads' if len(best) == 1 else 'lead'}.</p>")
    return section("headline", "In short", f'<div class="verdicts">{"".join(sentences)}</div>') if sentences else ""


def _overview(scorecard: Scorecard) -> str:
    """A line a generator, a column a property: the leading measure alone."""
    head = "".join(f'<th scope="col">{escape(entry.title)}</th>' for entry in PROPERTIES)
    rows = []
    for card in scorecard.cards:
        cells = "".join(
            f"<td>{_short(card.found[entry.key], leads=card.name in scorecard.best(entry.key))}</td>"
            for entry in PROPERTIES
        )
        family = f'<br><span class="small">{escape(card.family)}</span>' if card.family else ""
        rows.append(f'<tr><th scope="row">{name(card.name, _NAME)}{family}</th>{cells}</tr>')
    legend = (
        f"Below each value, whether the family is expected to have the property ({SOURCE}). "
        "★ leads: the best, and those whose interval meets its interval."
    )
    return section("card", "Six properties", _wide("card", escape(legend), ("", head), "".join(rows)))


def _short(found: Found, *, leads: bool) -> str:
    measure = next((measure for measure in found.measures if measure.leading), None)
    value = "–" if measure is None else f"<strong>{escape(_value(measure, number))}</strong>{' ★' if leads else ''}"
    named = "" if measure is None else f'<br><span class="small">{escape(measure.title)}</span>'
    expected = f'<br><span class="small">{escape(_SIGNS[found.expected])}</span>' if found.expected else ""
    return value + named + expected


def _details(scorecard: Scorecard) -> str:
    return "".join(_detail(scorecard, entry) for entry in PROPERTIES)


def _detail(scorecard: Scorecard, entry: Property) -> str:
    """One property: every measure of every generator, or why there is none."""
    rows = []
    for card in scorecard.cards:
        found = card.found[entry.key]
        told = [escape(_measure(measure, number)) for measure in found.measures]
        told += [escape(text) for text in (found.why_not, *found.notes) if text]
        rows.append((card.name, "".join(f"<p>{line}</p>" for line in told)))
    return section(entry.key, entry.title, definitions(rows), lead=escape(entry.question))


def _wide(key: str, caption: str, head: tuple[str, str], body: str) -> str:
    return (
        f'<div class="wide" role="region" aria-labelledby="{key}-heading" tabindex="0"><table>'
        f"<caption>{caption}</caption>"
        f'<thead><tr><th scope="col">{head[0]}</th>{head[1]}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _value(measure: Measure, write: Formatter) -> str:
    return write(measure.value) + (f" {measure.unit}" if measure.unit else "")


def _measure(measure: Measure, write: Formatter) -> str:
    value = _value(measure, write)
    interval = f" ({write(measure.interval[0])} to {write(measure.interval[1])})" if measure.interval else ""
    note = f", {prose(measure.note)}" if measure.note else ""
    return f"{measure.title} {value}{interval}{note}"


def _warnings(scorecard: Scorecard) -> str:
    rows = [
        (card.name, "".join(f"<p>{escape(text)}</p>" for text in card.warnings))
        for card in scorecard.cards
        if card.warnings
    ]
    return section("warnings", "What is wrong with them", definitions(rows)) if rows else ""


def _pictures(scorecard: Scorecard) -> str:
    pictures = Pictures()
    rows = [
        (card.name, single([pictures.thumbnail(entry) for entry in card.pictures]))
        for card in scorecard.cards
        if card.pictures
    ]
    return section("samples", "Samples", definitions(rows), lead="The first of each, not chosen.") if rows else ""


def _provenance(scorecard: Scorecard) -> str:
    extractor, runtime = scorecard.extractor, scorecard.runtime
    rows = (
        ("Reference", f"{name(scorecard.reference.source, 120)}, {counted(scorecard.reference.num_images, 'image')}"),
        ("Features", escape(f"{extractor.title}, protocol {extractor.protocol}")),
        ("", escape(extractor.label)),
        ("Numeric id", code(extractor.numeric_id)),
        ("Seed", escape(str(scorecard.seed))),
        ("Device", escape(f"{runtime.device}, {runtime.backend}")),
        ("Time", escape(duration(runtime.seconds))),
        ("Made", escape(words.moment(scorecard.created))),
    )
    notes = "".join(f'<p class="small">{escape(note)}</p>' for note in scorecard.notes)
    return section("provenance", "How it was made", definitions(rows) + notes)
