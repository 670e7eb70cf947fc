"""The distances of pairs as a page and as text: the mean, the pairs to look at with their maps, and what it means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genmetrics_rt.render import words
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, definitions, details, escape, name, section, table
from genmetrics_rt.render.names import bounded, prose, shorten, visible
from genmetrics_rt.render.numbers import Formatter, count, counted, duration, memory, number, plain_number
from genmetrics_rt.render.pictures import Pictures, in_rows
from genmetrics_rt.render.text import NARROWEST, labelled, row, wrap

if TYPE_CHECKING:
    from genmetrics_rt.pairwise.report import ImagePair, PairReport, Rung, ShownPair

_IN_TEXT = 10  # pairs
_IN_TABLE = 100
_NAMES = 5
_ABOUT = 1.25  # distances that are called alike differ by this factor at most
_BY_ORDER = "by order: images of an array or a generator have no names"
_SECTIONS = {
    "nearest": (
        "The pairs that look most alike",
        "Drawn at random. Where these show the same thing, the images repeat themselves.",
    ),
    "worst": ("The most different pairs", "The largest distances come first."),
    "median": ("Median pairs", "Half of all pairs are more different than these."),
}


def render_pairs_page(report: PairReport, *, fragment: bool = False) -> str:
    """The page or the fragment as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
    pictures = Pictures()
    title = f"How different they look: {shorten(prose(report.first), 80)}"
    if _is_between(report):
        title += f" and {shorten(prose(report.second), 80)}"
    body = "".join(
        (
            _header(report),
            _headline(report),
            *(_shown(report, why, pictures) for why in _SECTIONS),
            _scale(report),
            _table(report),
            _provenance(report),
        )
    )
    return page(title, body, report.version, fragment=fragment)


def render_pairs_text(report: PairReport, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    head = []
    sides = (("first", report.first), ("second", report.second)) if _is_between(report) else (("images", report.first),)
    for what, side in sides:
        head += labelled(what, shorten(visible(side), 120), width)
    head += labelled("distance", prose(report.distance.title), width)
    head += labelled("", prose(report.distance.label), width) if report.distance.label else []
    head += labelled("matched", _BY_ORDER, width) if _is_by_order(report) else []
    for told in _missing(report):
        head += labelled("LEFT OUT", told, width)
    numbers = []
    for term, value in _numbers(report, plain_number):
        numbers += row((term, value), (26, width - 28))
    pairs = []
    if len(report.pairs) > 1:
        pairs = ["The most different pairs:"]
        for pair in report.pairs[:_IN_TEXT]:
            pairs += row((plain_number(pair.distance), shorten(_names(report, pair), width - 14)), (12, width - 14))
        if len(report.pairs) > _IN_TEXT:
            pairs.append(f"… and {count(len(report.pairs) - _IN_TEXT)} more: --json or --html gives them.")
    scale = []
    if report.scale:
        scale = wrap("For comparison, images of the first side against damaged copies of themselves:", width)
        for kind in dict.fromkeys(rung.kind for rung in report.scale):
            of_kind = [rung for rung in report.scale if rung.kind == kind]
            told = ", ".join(f"{rung.amount}: {plain_number(rung.distance)}" for rung in of_kind)
            scale += labelled(kind, told, width)
    made = f"genmetrics-rt {prose(report.version)}, {prose(report.runtime.device)}, {duration(report.runtime.seconds)}"
    foot = labelled("made", f"{words.moment(report.created)}, {made}", width)
    return "\n\n".join("\n".join(block) for block in (head, numbers, pairs, scale, foot) if block)


def like(value: float, scale: Sequence[Rung]) -> str:
    """What a distance is like, in known damage: "about like JPEG quality 30"; empty where there is no scale."""
    rungs = sorted(scale, key=lambda rung: rung.distance)
    if not rungs or value == 0:
        return ""
    below = [rung for rung in rungs if rung.distance <= value]
    above = [rung for rung in rungs if rung.distance > value]
    near = [rung for rung in (*below[-1:], *above[:1]) if rung.distance > 0]
    nearest = min(near, key=lambda rung: abs(math.log(value / rung.distance)))
    if max(value, nearest.distance) <= _ABOUT * min(value, nearest.distance):
        return f"about like {nearest.damage}"
    if not below:
        return f"less than {nearest.damage}"
    return f"more than {nearest.damage}" if not above else f"between {below[-1].damage} and {above[0].damage}"


def _is_between(report: PairReport) -> bool:
    return report.kind == "between"


def _is_by_order(report: PairReport) -> bool:
    """Not of a single pair, where nothing was to be matched."""
    return report.settings.get("matched") == "by order" and len(report.pairs) + len(report.skipped) > 1


def _names(report: PairReport, pair: ImagePair) -> str:
    """One name where both are called alike."""
    first, second = visible(pair.first), visible(pair.second)
    shown = first if _is_between(report) and first == second else f"{first} and {second}"
    return f"{shown} (resized)" if pair.resized else shown


def _numbers(report: PairReport, write: Formatter) -> list[tuple[str, str]]:
    term = "mean distance" if _is_between(report) else "diversity (mean distance)"
    rows = []
    if len(report.pairs) > 1:
        rows = [(term, write(report.mean))]
        if report.interval is not None:
            low, high = report.interval
            rows.append(("95 % interval", f"{write(low)} to {write(high)} (bootstrap over pairs)"))
        else:
            rows.append(("95 % interval", "none: too few pairs"))
        rows += [("median", write(report.median)), ("pairs", count(len(report.pairs)))]
    else:
        rows = [("distance", write(report.mean))]
    told = like(report.median, report.scale)
    if told:
        rows.append(("which is" if len(report.pairs) == 1 else "the median is", told))
    return rows


def _missing(report: PairReport) -> list[str]:
    """What was not compared, a sentence each."""
    told = []
    for side, names in ((report.first, report.only_first), (report.second, report.only_second)):
        if names:
            shown = ", ".join(shorten(visible(entry), 60) for entry in names[:_NAMES])
            more = ", …" if len(names) > _NAMES else ""
            told.append(
                f"{counted(len(names), 'image')} of {shorten(visible(side), 60)} without a partner: {shown}{more}"
            )
    if report.skipped:
        shown = "; ".join(
            f"{shorten(visible(entry.name), 60)}: {prose(entry.reason)}" for entry in report.skipped[:_NAMES]
        )
        told.append(f"{counted(len(report.skipped), 'file')} that cannot be used: {shown}")
    return told


def _header(report: PairReport) -> str:
    heading = f'<span class="generated">{name(report.first, 60)}</span>'
    if _is_between(report):
        heading += f' <span class="against">and</span> <span class="reference">{name(report.second, 60)}</span>'
    kind = "How different they look, pair by pair" if _is_between(report) else "How different the images of a set look"
    order = f", matched {_BY_ORDER}" if _is_by_order(report) else ""
    label = f'<p class="label">{escape(report.distance.label)}</p>' if report.distance.label else ""
    missing = "".join(f'<p class="alarm"><strong>Left out:</strong> {escape(told)}.</p>' for told in _missing(report))
    return (
        f'<header><p class="kind">{kind}</p><h1>{heading}</h1>'
        f'<p class="facts">{counted(len(report.pairs), "pair")}{order} · {escape(report.distance.title)} · '
        f'<time datetime="{escape(report.created)}">{escape(words.moment(report.created))}</time> · genmetrics-rt '
        f"{escape(report.version)}</p>{label}{missing}</header>\n"
    )


def _headline(report: PairReport) -> str:
    several = len(report.pairs) > 1
    title = "Distance" if not several else "Mean distance" if _is_between(report) else "Diversity"
    beside = []
    if report.interval is not None:
        low, high = report.interval
        beside.append(f"95 % interval {number(low)} to {number(high)}")
    elif several:
        beside.append("no interval: too few pairs")
    if several:
        beside.append(f"median {number(report.median)}")
    lead = (
        f'<div class="lead-score"><p class="name">{title}</p><p class="value">{escape(number(report.mean))}</p>'
        + "".join(f'<p class="small">{escape(fact)}</p>' for fact in beside)
        + "</div>"
    )
    told = like(report.median, report.scale)
    what = "The median distance" if several else "This"
    told = f"{what} is {told} on such images." if told else ""
    meaning = (
        "0 means equal pictures. The distance says how different two pictures look, place by place; it has no unit."
        if _is_between(report)
        else "The mean distance of disjoint random pairs: lower is less diverse, and 0 means that all images are "
        "equal. It has no scale of its own: compare it with that of the reference images."
    )
    content = f'<div class="headline">{lead}<div><p>{escape(told or meaning)}</p>'
    content += f"<p>{escape(meaning)}</p></div></div>" if told else "</div></div>"
    return section("headline", "In short", content)


def _shown(report: PairReport, why: str, pictures: Pictures) -> str:
    shown = [entry for entry in report.shown if entry.why == why]
    if not shown:
        return ""
    title, lead = _SECTIONS[why]
    title = "The pair" if len(report.pairs) == 1 else title
    lead = "" if len(report.pairs) == 1 else lead
    with_maps = any(entry.map_jpeg is not None for entry in shown)
    if with_maps and shown[0].highest > 0:
        lead += (
            f" The map shows where a pair differs: black is alike, pale yellow a local distance of "
            f"{number(shown[0].highest)} or more."
        )
    figures = [figure for entry in shown for figure in _figures(report, entry, pictures, with_maps)]
    return section(why, title, in_rows(figures, 3 if with_maps else 2), lead=escape(lead.strip()))


def _figures(report: PairReport, entry: ShownPair, pictures: Pictures, with_maps: bool) -> list[str]:
    pair = entry.pair
    told = f"distance {number(pair.distance)}"
    figures = [
        pictures.figure(entry.first_jpeg, pair.first, "first", f"first: {bounded(pair.first)}"),
        pictures.figure(
            entry.second_jpeg, pair.second, "second, resized" if pair.resized else "second", bounded(pair.second)
        ),
    ]
    if with_maps:
        figures.append(
            pictures.figure(entry.map_jpeg, told, "where they differ", f"map of where {bounded(pair.first)} differs")
        )
    return figures


def _scale(report: PairReport) -> str:
    if not report.scale:
        return ""
    rows = [(rung.damage, number(rung.distance)) for rung in report.scale]
    lead = (
        "What the numbers mean on images like these: the first ones of up to five pairs against damaged copies of "
        "themselves, mean distance. A shift by one pixel is hardly visible; severe blur is."
    )
    return section("scale", "For comparison", table("Known damage", ("damage", "distance"), rows), lead=escape(lead))


def _table(report: PairReport) -> str:
    if len(report.pairs) < 2:
        return ""
    rows = [(number(pair.distance), _names(report, pair)) for pair in report.pairs[:_IN_TABLE]]
    told = f"All {count(len(rows))} pairs, the most different first"
    if len(report.pairs) > _IN_TABLE:
        told = f"The {_IN_TABLE} most different of {count(len(report.pairs))} pairs; the JSON has all"
    shown = details(told, f'<div class="wide">{table(told, ("distance", "pair"), rows)}</div>')
    return section("pairs", "Pair by pair", shown)


def _provenance(report: PairReport) -> str:
    runtime = report.runtime
    peak = memory(runtime.peak_memory_bytes) if runtime.peak_memory_bytes is not None else ""
    settings = ", ".join(f"{key} {value}" for key, value in report.settings.items())
    identity = definitions(
        (
            ("Distance", f"{escape(report.distance.title)} ({name(report.distance.name, 60)})"),
            ("Numeric id", code(report.distance.numeric_id)),
            ("Settings", escape(settings)),
        )
    )
    made = definitions(
        (
            ("Device", f"{escape(runtime.device)}, {escape(runtime.backend)}"),
            ("Took", escape(duration(runtime.seconds))),
            ("Peak memory", peak),
            ("Versions", escape(", ".join(f"{key} {value}" for key, value in runtime.versions.items()))),
        )
    )
    content = f'<div class="provenance"><div>{identity}</div><div>{made}</div></div>'
    return section("provenance", "Where the numbers come from", content)
