"""Likelihoods as a page and as text: what each model gives its images, the bounds, the window, what is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from genmetrics_rt.render import sections, words
from genmetrics_rt.render.html import page
from genmetrics_rt.render.lines import Curve, line_figure
from genmetrics_rt.render.markup import definitions, escape, name, section, table
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import Formatter, count, counted, duration, memory, number, plain_number
from genmetrics_rt.render.svg import LOOKS
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, labelled

if TYPE_CHECKING:
    from genmetrics_rt.likelihood.report import LikelihoodEntry, LikelihoodReport
    from genmetrics_rt.metrics.likelihood import LikelihoodEstimate

_OF = {"test": "test", "train": "training", "generated": "own samples"}
_HEADS = ("images", "NLL, nats", "± s.e.", "bits/dim", "95 % interval", "perplexity")
_MOST_BINS, _FEWEST = 40, 20  # of the histogram; images, below which there is none


def render_likelihood_text(report: LikelihoodReport, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    head = [line for entry in report.entries for label, text in _about(entry) for line in labelled(label, text, width)]
    several = len(report.entries) > 1
    rows = [
        (_row_name(entry, key, several), _cells(estimate, entry, plain_number))
        for entry in report.entries
        for key, estimate in entry.estimates.items()
    ]
    blocks = [head, number_table("", _heads(report), _shown(report, rows), width)]
    for entry in report.entries:
        bounds = _bound_rows(entry, plain_number)
        if bounds:
            title = f"{entry.name}, k" if several else "k"
            blocks.append(number_table(title, ("L_k, nats", "± s.e.", "bits/dim"), bounds, width))
        tried = _window_rows(entry, plain_number)
        if tried:
            blocks.append(number_table("width", ("validation, nats", ""), tried, width))
    blocks.append(
        [
            line
            for entry in report.findings
            for line in labelled(
                words.SEVERITIES[words.severity(entry)],
                f"{prose(entry.claim)} {prose(entry.evidence)} {prose(entry.advice)}",
                width,
            )
        ]
    )
    foot = [line for note in _notes(report) for line in labelled("note", note, width)]
    made = f"genmetrics-rt {prose(report.version)}, {prose(report.runtime.device)}, {duration(report.runtime.seconds)}"
    blocks.append([*foot, *labelled("made", f"{words.moment(report.created)}, {made}", width)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def render_likelihood_page(report: LikelihoodReport, *, fragment: bool = False) -> str:
    """The page or the fragment as text. Everything in it is escaped; it needs nothing but itself."""
    title = f"Likelihood: {shorten(prose(', '.join(entry.name for entry in report.entries)), 80)}"
    found = "".join(map(sections.finding, report.findings))
    body = "".join(
        (
            _header(report),
            _headline(report),
            section("findings", "Findings", found) if found else "",
            _numbers(report),
            _figures(report),
            _provenance(report),
        )
    )
    return page(title, body, report.version, fragment=fragment)


def _about(entry: LikelihoodEntry) -> list[tuple[str, str]]:
    """What was looked at, in lines for a terminal: label, text."""
    rows = [("model", shorten(visible(entry.name), 120))]
    if entry.images and entry.images != entry.name:
        skipped = f", {counted(len(entry.skipped), 'file')} skipped" if entry.skipped else ""
        rows.append(("images", f"{shorten(visible(entry.images), 120)}{skipped}"))
    rows.append(("modelled", _modelled(entry)))
    if entry.parzen is not None:
        mean, error = plain_number(entry.parzen.mean), plain_number(entry.parzen.standard_error)
        rows.append(("window", f"mean log-likelihood {mean} nats, standard error {error}"))
    return rows


def _modelled(entry: LikelihoodEntry) -> str:
    if entry.parzen is not None:
        width = plain_number(entry.parzen.sigma)
        return f"{count(entry.parzen.num_samples)} Gaussians of width {width}, {count(entry.dims)} dimensions"
    if entry.dims is None:
        return "the number of dimensions is unknown, so there are no bits/dim: give --dims or --shape"
    offset = f"{plain_number(entry.offset)} bits added to each for the scale" if entry.offset else "no bits added"
    by = f", {counted(entry.num_weights, 'importance sample')}" if entry.num_weights else ""
    return f"{counted(entry.dims, 'dimension')} of {count(entry.levels)} levels, {offset}{by}"


def _heads(report: LikelihoodReport) -> tuple[str, ...]:
    return _HEADS if any(entry.test.bits_per_dim is not None for entry in report.entries) else _HEADS[:3]


def _shown(report: LikelihoodReport, rows: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    wanted = len(_heads(report))
    return [(told, cells[:wanted]) for told, cells in rows]


def _row_name(entry: LikelihoodEntry, key: str, several: bool) -> str:
    of = _OF[key]
    return f"{shorten(visible(entry.name), 40)}, {of}" if several else of


def _cells(estimate: LikelihoodEstimate, entry: LikelihoodEntry, write: Formatter) -> tuple[str, ...]:
    at_most = "≤ " if entry.is_bound else ""
    cells = [count(estimate.num_images), f"{at_most}{write(estimate.nll)}", write(estimate.standard_error)]
    interval = estimate.bits_interval
    if estimate.bits_per_dim is None or interval is None:
        return (*cells, "–", "–", "–")
    between = "–" if math.isnan(interval[0]) else f"{write(interval[0])} to {write(interval[1])}"
    return (*cells, f"{at_most}{write(estimate.bits_per_dim)}", between, write(estimate.perplexity))


def _bound_rows(entry: LikelihoodEntry, write: Formatter) -> list[tuple[str, tuple[str, ...]]]:
    """k, L_k, its standard error, bits/dim."""
    bounds = entry.bounds
    if bounds is None:
        return []
    rows: list[tuple[str, tuple[str, ...]]] = []
    for size, value, error in zip(bounds.sizes, bounds.values, bounds.standard_errors, strict=True):
        bits = write(-value / (entry.dims * math.log(2)) + entry.offset) if entry.dims else "–"
        rows.append((count(size), (write(value), write(error), bits)))
    return rows


def _window_rows(entry: LikelihoodEntry, write: Formatter) -> list[tuple[str, tuple[str, ...]]]:
    """Width, mean on the validation points, and which was chosen."""
    if entry.parzen is None:
        return []
    return [
        (write(sigma), (write(mean), "chosen" if sigma == entry.parzen.sigma else ""))
        for sigma, mean in entry.parzen.validation
    ]


def _notes(report: LikelihoodReport) -> list[str]:
    notes = []
    if any(entry.is_bound for entry in report.entries):
        notes.append("≤: the likelihoods are lower bounds, so the true NLL and bits/dim are at most these.")
    if any(entry.bounds is not None for entry in report.entries):
        notes.append("L_1 is the ELBO; L_k rises with k towards ln p (Burda, Grosse and Salakhutdinov 2016).")
    return notes


def _header(report: LikelihoodReport) -> str:
    names = ", ".join(entry.name for entry in report.entries)
    first = report.entries[0]
    images = f"{name(first.images, 80)} · " if first.images and first.images not in (first.name, names) else ""
    told = f"{counted(first.test.num_images, 'test image')} · {escape(_modelled(first))}"
    if len(report.entries) > 1:
        images, told = "", counted(len(report.entries), "model")
    return (
        f'<header><p class="kind">Likelihood</p><h1>{name(names, 90)}</h1><p class="facts">{images}{told} · '
        f'<time datetime="{escape(report.created)}">{escape(words.moment(report.created))}</time> · genmetrics-rt '
        f"{escape(report.version)}</p></header>\n"
    )


def _headline(report: LikelihoodReport) -> str:
    """The number that is quoted, and how it is to be read."""
    best = min(report.entries, key=lambda entry: entry.test.bits_per_dim or entry.test.nll)
    estimate, at_most = best.test, "≤ " if best.is_bound else ""
    if best.parzen is not None:
        title, value = "Parzen window, mean log-likelihood", f"{number(best.parzen.mean)} nats"
        beside = [f"± {number(best.parzen.standard_error)} (standard error)", f"width {number(best.parzen.sigma)}"]
    elif estimate.bits_per_dim is not None:
        title, value = "Bits per dimension", f"{at_most}{number(estimate.bits_per_dim)}"
        low, high = estimate.bits_interval or (math.nan, math.nan)
        beside = [f"95 % interval {number(low)} to {number(high)}", f"perplexity {number(estimate.perplexity)}"]
        beside.append(f"{at_most}{number(estimate.nll)} nats an image")
    else:
        title, value = "Negative log-likelihood", f"{at_most}{number(estimate.nll)} nats"
        low, high = estimate.interval
        beside = [f"95 % interval {number(low)} to {number(high)}"]
    if len(report.entries) > 1:
        beside.insert(0, f"the lowest, of {best.name}")
    lead = (
        f'<div class="lead-score"><p class="name">{escape(title)}</p>'
        f'<p class="value{" long" if len(value) > 8 else ""}">{escape(value)}</p>'
        + "".join(f'<p class="small">{escape(fact)}</p>' for fact in beside)
        + "</div>"
    )
    sentences = [_reading(best)]
    if report.findings:
        sentences.insert(0, report.findings[0].claim)
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return section("headline", "In short", f'<div class="headline">{lead}<div>{told}</div></div>')


def _reading(entry: LikelihoodEntry) -> str:
    if entry.parzen is not None:
        return "How likely real images are under Gaussians around the samples: higher is better."
    told = "Lower is better: how many bits each value of an image costs under the model."
    if entry.test.bits_per_dim is None:
        told = "Lower is better: how surprising an image of the kind is to the model."
    uniform = f" A model that knows nothing has {number(math.log2(entry.levels))}." if entry.test.bits_per_dim else ""
    return f"{told}{uniform} It says how much of the distribution the model covers, not how good its samples look."


def _numbers(report: LikelihoodReport) -> str:
    several = len(report.entries) > 1
    rows = [
        (_row_name(entry, key, several), _cells(estimate, entry, number))
        for entry in report.entries
        for key, estimate in entry.estimates.items()
    ]
    content = _wide(
        table("NLL is in nats an image.", ("", *_heads(report)), [(own, *c) for own, c in _shown(report, rows)])
    )
    for entry in report.entries:
        prefix = f"{entry.name}: " if several else ""
        bounds = _bound_rows(entry, number)
        if bounds:
            caption = f"{prefix}importance-weighted bounds of the test images"
            content += _wide(
                table(caption, ("k", "L_k, nats", "± s.e.", "bits/dim"), [(own, *cells) for own, cells in bounds])
            )
        tried = _window_rows(entry, number)
        if tried:
            caption = f"{prefix}the width of the window, by its mean on validation images"
            content += _wide(table(caption, ("width", "nats", ""), [(own, *cells) for own, cells in tried]))
    notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(report))
    return section("numbers", "The numbers", content + (f"<ul>{notes}</ul>" if notes else ""))


def _wide(content: str) -> str:
    return f'<div class="wide">{content}</div>'


def _figures(report: LikelihoodReport) -> str:
    drawn = []
    bounded = [entry for entry in report.entries if entry.bounds is not None and len(entry.bounds.sizes) > 1]
    if bounded:
        curves = [_bound_curve(entry, place) for place, entry in enumerate(bounded[: len(LOOKS)])]
        drawn.append(
            line_figure(
                key="bounds",
                title="Bounds",
                space="nats, higher is tighter",
                caption="The importance-weighted bound of the mean log-likelihood over the number of samples. Where it "
                "still rises, the model is better than the bound says. Strokes are 95 % intervals over images.",
                x_label="importance samples k",
                curves=curves,
                logarithmic=True,
            )
        )
    for place, entry in enumerate(report.entries[:4]):
        drawn.append(_histogram(entry, f"images-{place}"))
    shown = "".join(drawn)
    return section("pictures", "Image by image", f'<div class="figures">{shown}</div>') if shown else ""


def _bound_curve(entry: LikelihoodEntry, place: int) -> Curve:
    bounds = entry.bounds
    assert bounds is not None
    pairs = list(zip(bounds.values, bounds.standard_errors, strict=True))
    return Curve(
        entry.name,
        [(float(size), value) for size, value in zip(bounds.sizes, bounds.values, strict=True)],
        LOOKS[place],
        intervals=[(value - 1.959964 * error, value + 1.959964 * error) for value, error in pairs],
        marked=True,
    )


def _histogram(entry: LikelihoodEntry, key: str) -> str:
    """How the images spread, as the share of each side per bin: test, training images and samples over each other."""
    sides = {
        of: own[np.isfinite(own)] for of, own in entry.log_likelihoods.items() if np.isfinite(own).sum() >= _FEWEST
    }
    if not sides:
        return ""
    scale = -1 / (entry.dims * math.log(2)) if entry.test.bits_per_dim is not None and entry.dims else 1.0
    shift = entry.offset if scale != 1.0 else 0.0
    values = {of: own * scale + shift for of, own in sides.items()}
    joined = np.concatenate(list(values.values()))
    low, high = np.quantile(joined, (0.002, 0.998))
    if not high > low:
        return ""
    bins = int(min(_MOST_BINS, max(8, round(2 * min(map(len, values.values())) ** (1 / 3)))))
    edges = np.linspace(low, high, bins + 1)
    curves = []
    for place, (of, own) in enumerate(values.items()):
        shares = np.histogram(np.clip(own, low, high), edges)[0] / len(own)
        middles = (edges[1:] + edges[:-1]) / 2
        curves.append(Curve(_OF.get(of, of), list(zip(middles.tolist(), shares.tolist(), strict=True)), LOOKS[place]))
    unit = "bits/dim" if scale != 1.0 else "log-likelihood, nats"
    several = "Training images to the better side of test images show overfitting. " if "train" in sides else ""
    return line_figure(
        key=key,
        title=f"How images spread: {shorten(visible(entry.name), 40)}" if entry.name else "How images spread",
        space=unit,
        caption=f"{several}The share of the images of each kind; the outermost hold all beyond.",
        x_label=unit,
        curves=curves,
    )


def _provenance(report: LikelihoodReport) -> str:
    runtime = report.runtime
    settings = ", ".join(f"{key} {value}" for key, value in report.settings.items() if value is not None)
    rows = (
        ("Settings", escape(settings)),
        ("Device", escape(runtime.device if runtime.device != "none" else "")),
        ("Took", escape(duration(runtime.seconds))),
        ("Peak memory", memory(runtime.peak_memory_bytes) if runtime.peak_memory_bytes is not None else ""),
        ("Versions", escape(", ".join(f"{key} {value}" for key, value in runtime.versions.items()))),
        *((f"Images of {entry.name}", name(entry.images, 160)) for entry in report.entries if entry.images),
    )
    return section("provenance", "Where the numbers come from", definitions(rows))
