"""A look at a latent space as a page and as text: path length, jumps, factors, picture strips, provenance."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genmetrics_rt.render import sections, words
from genmetrics_rt.render.figures import drawing_figure
from genmetrics_rt.render.html import page
from genmetrics_rt.render.markup import code, definitions, details, escape, name, section, table
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import (
    Formatter,
    count,
    counted,
    duration,
    memory,
    number,
    plain_number,
    setting,
    share,
)
from genmetrics_rt.render.pictures import PICTURE_BYTES
from genmetrics_rt.render.sampling import generator_lines
from genmetrics_rt.render.text import NARROWEST, labelled, row

if TYPE_CHECKING:
    from genmetrics_rt.latent.disentanglement import Disentanglement
    from genmetrics_rt.latent.report import LatentReport
    from genmetrics_rt.latent.strips import Strip

_BARS = 24  # of the histogram


def render_latent_page(report: LatentReport, *, fragment: bool = False) -> str:
    """The page or the fragment as text, at most 3 MB. Everything in it is escaped; it needs nothing but itself."""
    body = "".join(
        (
            _header(report),
            _headline(report),
            section("findings", "Findings", "".join(map(sections.finding, report.findings))) if report.findings else "",
            _distribution(report),
            _factors(report),
            _strips(report),
            _provenance(report),
        )
    )
    return page(f"Latent space of {shorten(prose(report.generator.name), 80)}", body, report.version, fragment=fragment)


def render_latent_text(report: LatentReport, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    head = labelled("generator", shorten(visible(report.generator.name), 120), width)
    for term, told in generator_lines(report.generator):
        head += labelled(f"  {term.lower()}", told, width)
    head += labelled("distance", prose(report.distance.title), width)
    if report.distance.label:
        head += labelled("", prose(report.distance.label), width)
    found: list[str] = []
    for entry in report.findings:
        text = f"{prose(entry.claim)} {prose(entry.evidence)} {prose(entry.advice)}"
        found += labelled(words.SEVERITIES[words.severity(entry)], text, width)
    numbers: list[str] = []
    for term, value in [*_numbers(report, plain_number), *_factor_rows(report.disentanglement)]:
        numbers += row((term, value), (28, width - 30))
    foot: list[str] = []
    for note in report.path_length.notes:
        foot += labelled("note", prose(note), width)
    made = f"genmetrics-rt {prose(report.version)}, {prose(report.runtime.device)}, {duration(report.runtime.seconds)}"
    foot += labelled("made", f"{words.moment(report.created)}, {made}", width)
    return "\n\n".join("\n".join(block) for block in (head, found, numbers, foot) if block)


def _numbers(report: LatentReport, write: Formatter) -> list[tuple[str, str]]:
    length, smooth = report.path_length, report.smoothness
    low, high = length.interval
    beside = ", ".join(f"{place} %: {write(value)}" for place, value in length.percentiles.items())
    width = smooth.steps * 2**smooth.halvings
    return [
        ("perceptual path length", f"{write(length.value)} (95 % interval {write(low)} to {write(high)})"),
        ("of", f"{count(length.num_kept)} of {counted(length.num_paths, 'path')}, the rest trimmed; {_how(report)}"),
        ("percentiles of the paths", beside),
        (
            "largest of 16 steps" if smooth.steps == 16 else f"largest of {smooth.steps} steps",
            f"{share(smooth.median_share)} of a path's distance (median), {share(smooth.worst_share)} "
            f"on the worst of {counted(smooth.num_paths, 'path')}",
        ),
        (
            f"left over 1/{width:,} of it",
            f"{write(100 * smooth.median_jump)} % of what unrelated pictures differ by (median), "
            f"{write(100 * smooth.worst_jump)} % at worst; over {100 * smooth.threshold:.0f} % is a jump: "
            f"{counted(smooth.num_jumping, 'path')}",
        ),
    ]


def _how(report: LatentReport) -> str:
    settings = report.path_length.settings
    parts = [f"ε {settings['epsilon']:g}", str(settings["interpolation"]), f"sampling {settings['sampling']}"]
    if settings["resize"]:
        parts.append(f"resized to {settings['resize']}")
    parts.append("8-bit images" if settings["output"] == "images" else "unrounded pixels")
    return ", ".join(parts)


def _factor_rows(found: Disentanglement | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    low, high = found.interval
    rows = [
        (
            "variation predictability",
            f"{share(found.score)} (95 % interval {share(low)} to {share(high)}; guessing gets "
            f"{share(found.chance)}): how often the factor that changed is told from the change, on "
            f"{prose(found.features)} features, after {found.num_training_pairs // len(found.factors)} examples each",
        )
    ]
    rows += [
        (
            f"  {shorten(prose(factor.name), 24)}",
            f"told {share(factor.recognised)} of the time; moves a picture {share(factor.effect)} as "
            "far as unrelated pictures lie apart",
        )
        for factor in found.factors
    ]
    return rows


def _header(report: LatentReport) -> str:
    label = f'<p class="label">{escape(report.distance.label)}</p>' if report.distance.label else ""
    return (
        '<header><p class="kind">Latent space of a generator</p>'
        f'<h1><span class="generated">{name(report.generator.name, 60)}</span></h1>'
        f'<p class="facts">{escape(report.generator.title)} · {counted(report.path_length.num_paths, "path")} · '
        f'{escape(report.distance.title)} · <time datetime="{escape(report.created)}">'
        f"{escape(words.moment(report.created))}</time> · genmetrics-rt {escape(report.version)}</p>{label}</header>\n"
    )


def _headline(report: LatentReport) -> str:
    length = report.path_length
    low, high = length.interval
    lead = (
        '<div class="lead-score"><p class="name">Perceptual path length</p>'
        f'<p class="value">{escape(number(length.value))}</p>'
        f'<p class="small">95 % interval {escape(number(low))} to {escape(number(high))}</p>'
        '<p class="small">lower is smoother</p></div>'
    )
    sentences = [
        report.findings[0].claim if report.findings else "No path jumps: pictures change gradually with the latent.",
        "How far a picture moves when its latent moves a little, in the square of that step. It compares only with the "
        "same distance, interpolation, step and trimming, and only between generators of like pictures: one that "
        "always gives one picture has length 0.",
        *length.notes,
    ]
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    rows = [(term[:1].upper() + term[1:], escape(value)) for term, value in _numbers(report, number)]
    return section(
        "headline",
        "In short",
        f'<div class="headline">{lead}<div>{told}</div></div>{details("All numbers", definitions(rows))}',
    )


def _distribution(report: LatentReport) -> str:
    length = report.path_length
    rows = [(f"{place} %", number(value)) for place, value in length.percentiles.items()]
    listed = details("As a table", table("Distances of the paths", ("of the paths below", "d / ε²"), rows))
    drawn = _histogram([float(value) for value in length.distances])
    if not drawn:
        return section("distribution", "The paths", listed)
    note = "All paths before trimming, on a logarithmic scale. A tail on the right are rough places."
    figure = drawing_figure("Distances of the paths", drawn, [], note, listed)
    return section("distribution", "The paths", f'<div class="figures">{figure}</div>')


def _histogram(values: Sequence[float]) -> str:
    """Bars of equal width in the logarithm; paths of no length are counted in words."""
    positive = [value for value in values if value > 0]
    if len(positive) < 2 or min(positive) == max(positive):
        return ""
    low, high = math.log10(min(positive)), math.log10(max(positive))
    counts = [0] * _BARS
    for value in positive:
        counts[min(_BARS - 1, int((math.log10(value) - low) / (high - low) * _BARS))] += 1
    left, top, width, height = 12, 12, 316, 150
    tallest = max(counts)
    bars = "".join(
        f'<rect class="mark" x="{left + place * width / _BARS + 1:.1f}" y="{top + height * (1 - many / tallest):.1f}" '
        f'width="{width / _BARS - 2:.1f}" height="{height * many / tallest:.1f}"/>'
        for place, many in enumerate(counts)
        if many
    )
    ends = (
        f'<path class="axis" d="M{left} {top + height}H{left + width}"/>'
        f'<text class="tick" x="{left}" y="{top + height + 18}" text-anchor="start">{escape(number(10**low))}</text>'
        f'<text class="tick" x="{left + width}" y="{top + height + 18}" text-anchor="end">'
        f"{escape(number(10**high))}</text>"
        f'<text class="label" x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">d / ε²</text>'
    )
    none = len(values) - len(positive)
    still = f" {counted(none, 'path')} of no length at all are not drawn." if none else ""
    told = f"From {number(10**low)} to {number(10**high)}; the tallest bar holds {counted(tallest, 'path')}.{still}"
    return (
        f'<svg class="plot" viewBox="0 0 340 {top + height + 46}" role="img" aria-labelledby="paths-title paths-text">'
        f'<title id="paths-title">Distances of the paths</title><desc id="paths-text">{escape(told)}</desc>'
        f"{bars}{ends}</svg>"
    )


def _factors(report: LatentReport) -> str:
    found = report.disentanglement
    if found is None:
        return ""
    rows = [(term.strip(), escape(value)) for term, value in _factor_rows(found)]
    names = [factor.name for factor in found.factors]
    cells = [
        (names[index], *(f"{100 * share:.0f} %" for share in line))
        for index, line in enumerate(found.confusion.tolist())
    ]
    confusion = details(
        "Which factor was taken for which",
        table("Rows: the factor that changed. Columns: the one that was named.", ("", *names), cells),
    )
    lead = (
        "Pictures in pairs that differ in one factor alone. If each factor changes one thing, a few examples are "
        "enough to tell from a new pair which factor it was."
    )
    return section("factors", "Factors", definitions(rows) + confusion, lead=escape(lead))


def _strips(report: LatentReport) -> str:
    left, figures = PICTURE_BYTES, []
    for strip in report.strips:
        png = strip.png()
        if len(png) > left:
            break
        left -= len(png)
        figures.append(_strip(strip, png))
    if not figures:
        return ""
    left_out = len(report.strips) - len(figures)
    note = f'<p class="small">{counted(left_out, "strip")} left out to keep this page small.</p>' if left_out else ""
    lead = "Frames from one end of a path to the other, the worst paths first; then each factor moved by itself."
    return section("strips", "Pictures along the paths", "".join(figures) + note, lead=escape(lead))


def _strip(strip: Strip, png: bytes) -> str:
    source = base64.b64encode(png).decode("ascii")
    told = f"{strip.title}: {strip.caption}"
    return (
        f'<figure style="margin:0 0 1.4rem"><img src="data:image/png;base64,{source}" alt="{escape(told)}" '
        'style="max-width:100%;height:auto;image-rendering:pixelated">'
        f"<figcaption><strong>{escape(strip.title)}</strong> {escape(strip.caption)}</figcaption></figure>"
    )


def _provenance(report: LatentReport) -> str:
    runtime = report.runtime
    identity = definitions(
        (
            *((term, escape(told)) for term, told in generator_lines(report.generator)),
            ("Distance", escape(report.distance.title)),
            ("Numeric id", code(report.distance.numeric_id)),
            (
                "Settings",
                escape("; ".join(f"{key} {setting(value)}" for key, value in report.path_length.settings.items())),
            ),
        )
    )
    peak = memory(runtime.peak_memory_bytes) if runtime.peak_memory_bytes is not None else ""
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
