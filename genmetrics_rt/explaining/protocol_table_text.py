"""A protocol matrix for a terminal: a row per protocol, a column per score, and whose numbers each row is."""

from __future__ import annotations

from collections.abc import Mapping

from genmetrics_rt.explaining import glosses
from genmetrics_rt.explaining.differences import recipe_lines
from genmetrics_rt.render import words
from genmetrics_rt.render.names import display_width, prose, shorten, visible
from genmetrics_rt.render.numbers import NOTHING, plain_number
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, row, wrap
from genmetrics_rt.report import Report, Score


def render_matrix(reports: Mapping[str, Report], titles: Mapping[str, str], width: int = 100) -> str:
    """Plain text with no line wider than ``width`` columns (at least 40). ``titles``: protocol → whose numbers."""
    width = max(width, NARROWEST)
    some = next(iter(reports.values()))
    sides = " against ".join(
        f"{shorten(visible(side.source), 60)}" + ("" if side.num_images is None else f" ({side.num_images:,} images)")
        for side in (some.generated, some.reference)
    )
    heads = list(dict.fromkeys(key for report in reports.values() for key in report.scores))
    order = max((list(report.scores) for report in reports.values()), key=len)
    heads.sort(key=lambda key: order.index(key) if key in order else len(order))
    cells = [(prose(name), [_cell(report.scores.get(key)) for key in heads]) for name, report in reports.items()]
    blocks = [
        wrap(prose(f"{sides}; {some.extractor.title}"), width) + wrap(prose(some.extractor.label), width),
        number_table("protocol", heads, cells, width),
        _legend(reports, titles, width),
        [line for sentence in _spread(reports) for line in wrap(sentence, width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _cell(score: Score | None) -> str:
    if score is None:
        return NOTHING
    return "none" if score.value is None else words.value(score, plain_number)


def _legend(reports: Mapping[str, Report], titles: Mapping[str, str], width: int) -> list[str]:
    """Each protocol with whose numbers it gives and how it prepares pixels."""
    names = [prose(name) for name in reports]
    widest = min(width // 3, max(map(display_width, names)))
    lines = []
    for name, report in reports.items():
        recipe = recipe_lines(report.extractor)
        pixels = ", ".join(glosses.value_words(line, recipe[line]) for line in ("resize", "scaling") if line in recipe)
        told = f"{titles.get(name) or 'its own numbers'}; {pixels}"
        lines += row((prose(name), prose(told)), (widest, width - widest - 2))
    return lines


def _spread(reports: Mapping[str, Report]) -> list[str]:
    """How far apart the Fréchet distance lies from protocol to protocol."""
    for key in ("fid", "fd"):
        values = [report.scores[key].value for report in reports.values() if key in report.scores]
        found = [value for value in values if value is not None]
        if len(found) > 1:
            low, high = min(found), max(found)
            share = f" ({100 * (high - low) / high:.2g} % of the larger)" if high > 0 else ""
            return [
                f"{key} lies between {plain_number(low)} and {plain_number(high)}, a spread of "
                f"{plain_number(high - low)}{share}. The images are the same: name the protocol beside the number."
            ]
    return []
