"""A scorecard as a page and as text: an overview, then every measure of each property, or the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genmetrics_rt.render import words
from genmetrics_rt.render.compare_page import listed
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
            _overview(scorecard),
            _pictures(scorecard),
            _warnings(scorecard),
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


def _verdict(scorecard: Scorecard) -> str:
    """Whether one generator leads in everything."""
    leading = [set(scorecard.best(entry.key)) for entry in PROPERTIES]
    if not any(leading):
        return ""
    everywhere = sorted(set.intersection(*leading))
    if everywhere:
        return f"{listed([name(card, _NAME) for card in everywhere])} leads in all six."
    return "Which is best depends on the question: none leads in all six."


def _overview(scorecard: Scorecard) -> str:
    """A line a generator, a column a property: the leading measure alone."""
    head = "".join(
        f'<th scope="col">{escape(entry.title)}{_small(escape(entry.question))}</th>' for entry in PROPERTIES
    )
    rows = []
    for card in scorecard.cards:
        cells = "".join(
            f"<td>{_short(card.found[entry.key], leads=card.name in scorecard.best(entry.key))}</td>"
            for entry in PROPERTIES
        )
        beside = _small(escape(card.family)) if card.family else ""
        if card.warnings:
            beside += _small(f'<a href="#warnings">{counted(len(card.warnings), "warning")}</a>')
        rows.append(f'<tr><th scope="row">{name(card.name, _NAME)}{beside}</th>{cells}</tr>')
    legend = (
        f"Below each value stands what textbooks expect of the family: whether it has the property ({SOURCE}). "
        "★ leads: the best, and those whose interval meets its interval."
    )
    content = _wide("card", "".join(rows), head) + f'<p class="small">{escape(legend)}</p>'
    return section("card", "Six properties", content, lead=_verdict(scorecard))


def _short(found: Found, *, leads: bool) -> str:
    measure = next((measure for measure in found.measures if measure.leading), None)
    value = '<span class="small">cannot be measured</span>'
    if measure is not None:
        star = ' <span title="leads">★</span>' if leads else ""
        value = f"<strong>{escape(_value(measure, number))}</strong>{star}{_small(escape(measure.title))}"
    value += "" if found.is_ranked else _small("not ranked")
    return value + (_expected(found.expected) if found.expected else "")


def _expected(said: str) -> str:
    return f'<span class="small expected">textbook: {escape(_SIGNS[said])}</span>'


def _details(scorecard: Scorecard) -> str:
    return "".join(_detail(scorecard, entry) for entry in PROPERTIES)


def _detail(scorecard: Scorecard, entry: Property) -> str:
    """One property: every measure of every generator, a column each; then why there is none, and what must be known."""
    found = {
        card.name: {measure.key: measure for measure in card.found[entry.key].measures} for card in scorecard.cards
    }
    columns = {key: measure for measures in found.values() for key, measure in measures.items()}
    # What is the same for all stands once, above.
    notes = {key: {measures[key].note for measures in found.values() if key in measures} for key in columns}
    head = "".join(
        f'<th scope="col">{escape(measure.title)}{_small(_direction(measure))}'
        f"{_small(escape(measure.note)) if len(notes[key]) == 1 and measure.note else ''}</th>"
        for key, measure in columns.items()
    )
    rows = "".join(
        f'<tr><th scope="row">{name(card, _NAME)}</th>'
        + "".join(f"<td>{_cell(measures.get(key), with_note=len(notes[key]) > 1)}</td>" for key in columns)
        + "</tr>"
        for card, measures in found.items()
        if measures
    )
    remarks = [
        (card.name, "".join(f"<p>{escape(text)}</p>" for text in (told.why_not, *told.notes) if text))
        for card in scorecard.cards
        for told in (card.found[entry.key],)
    ]
    table = _wide(entry.key, rows, head) if rows else ""
    return section(
        entry.key,
        entry.title,
        table + (definitions(remarks) if any(told for _, told in remarks) else ""),
        lead=escape(entry.question),
    )


def _cell(measure: Measure | None, *, with_note: bool) -> str:
    if measure is None:
        return "–"
    beside = ""
    if measure.interval:
        beside += _small(escape(f"{number(measure.interval[0])} to {number(measure.interval[1])}"))
    if with_note and measure.note:
        beside += _small(escape(measure.note))
    return escape(_value(measure, number)) + beside


def _direction(measure: Measure) -> str:
    if measure.higher_is_better is None:
        return ""
    return "↑ higher is better" if measure.higher_is_better else "↓ lower is better"


def _small(markup: str) -> str:
    """A line below the value, of finished HTML."""
    return f'<span class="small">{markup}</span>' if markup else ""


def _wide(key: str, body: str, head: str) -> str:
    """A table that scrolls in its own frame where the page is too narrow for it."""
    return (
        f'<div class="wide properties" role="region" aria-labelledby="{key}-heading" tabindex="0"><table>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _value(measure: Measure, write: Formatter) -> str:
    is_count = measure.higher_is_better is None and measure.value.is_integer()
    shown = f"{measure.value:,.0f}" if is_count else write(measure.value)
    return shown + (f" {measure.unit}" if measure.unit else "")


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
        (card.name, f'<div class="strip">{single([pictures.thumbnail(entry) for entry in card.pictures])}</div>')
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
