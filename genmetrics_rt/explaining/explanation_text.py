"""An explanation for a terminal: the answer first, then the lines it rests on, then the steps in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from genmetrics_rt.explaining import glosses
from genmetrics_rt.render.names import display_width, prose, shorten, visible
from genmetrics_rt.render.numbers import NOTHING, counted
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import row, wrap
from genmetrics_rt.report import Report, SideSummary

if TYPE_CHECKING:
    from genmetrics_rt.explaining.attribution import Attribution, Step, Values
    from genmetrics_rt.explaining.differences import Difference
    from genmetrics_rt.explaining.explanation import Explanation, SharedScore
    from genmetrics_rt.explaining.gaps import Gap

NARROWEST = 60  # columns: two values, an arrow and their difference stand in one line
_INDENT = "  "


def render_explanation(explanation: Explanation, width: int = 100) -> str:
    """Plain text with no line wider than ``width`` columns (at least 60)."""
    width = max(width, NARROWEST)
    names = explanation.names
    blocks = [
        _beside(names, map(_about, explanation.reports), width),
        [line for sentence in explanation.verdict for line in wrap(prose(sentence), width)],
        _section("The recipe of the features", explanation.recipe, names, width),
        *(
            _section(f"The settings of {score.shown}", score.settings, names, width)
            for score in explanation.scores
            if score.settings
        ),
        _section("The sides", explanation.sides, names, width),
        _section("What moves numbers by rounding only", explanation.runtime, names, width),
        _scores(explanation.scores, names, width),
        _gaps(explanation, width),
        wrap(prose(explanation.not_recomputed), width),
        _steps(explanation.attribution, explanation.scores, names, width) if explanation.attribution else [],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def precise(value: float | None) -> str:
    """Six significant digits, so that small steps show: ``38.2041``."""
    return NOTHING if value is None else f"{value:#.6g}".rstrip(".")


def change(first: float | None, second: float | None) -> str:
    """``-2.2914``, with the decimals of the larger value; a dash where there is nothing to subtract."""
    if first is None or second is None:
        return NOTHING
    if precise(first) == precise(second):
        return "0"
    written = precise(max(first, second, key=abs))
    if "e" in written:
        return f"{second - first:+.3g}"
    return f"{second - first:+.{len(written.partition('.')[2])}f}"


def _about(report: Report) -> str:
    extractor = report.extractor
    sides = " against ".join(
        f"{_source(side.source)} ({_number(side)})" for side in (report.generated, report.reference)
    )
    return prose(f"{sides}; {extractor.name}, protocol {extractor.protocol}")


def _number(side: SideSummary) -> str:
    return "an unknown number of images" if side.num_images is None else counted(side.num_images, "image")


def _source(source: str) -> str:
    return shorten(visible(source), 60)


def _section(title: str, differences: Sequence[Difference], names: tuple[str, str], width: int) -> list[str]:
    if not differences:
        return []
    lines = [title]
    for difference, effect in zip(differences, glosses.effects(differences), strict=True):
        texts = []
        for value in (difference.first, difference.second):
            meaning = glosses.meaning(difference.line, value)
            texts.append(_value(difference.line, value) + (f": {meaning}" if meaning else ""))
        lines += [_INDENT + line for line in wrap(glosses.named(difference), width - 2)]
        lines += [2 * _INDENT + line for line in _beside(names, texts, width - 4)]
        if effect:
            lines += [2 * _INDENT + line for line in wrap(f"effect: {effect}", width - 4)]
    return lines


def _value(line: str, value: object) -> str:
    return prose(shorten(glosses.value_words(line, value), 80))


def _scores(scores: Sequence[SharedScore], names: tuple[str, str], width: int) -> list[str]:
    if not scores:
        return []
    cells = [
        (score.shown, [precise(score.first), precise(score.second), change(score.first, score.second)])
        for score in scores
    ]
    return number_table("score", [*map(_source, names), "change"], cells, width)


def _gaps(explanation: Explanation, width: int) -> list[str]:
    """A sentence for each score whose gap is more than the change of the table tells."""
    shown = {score.key: score.shown for score in explanation.scores}
    lines: list[str] = []
    for gap in explanation.gaps:
        lines += row((shown[gap.key], _gap(gap)), (10, width - 14))
    return ["Where the gaps come from", *(_INDENT + line for line in lines)] if lines else []


def _gap(gap: Gap) -> str:
    if gap.images == 0:
        return f"{_signed(gap.total)}, all of it the recipe: the images are the same."
    if gap.recipe is None:
        told = (
            f"{_signed(gap.total)}, of recipe and images together; give the images (--generated, --reference) to part "
            "them"
        )
    elif gap.recipe == 0:
        told = f"{_signed(gap.total)}, from other images"
    else:
        told = f"{_signed(gap.total)}: {_signed(gap.recipe)} recipe, {_signed(gap.images)} other images"
    if gap.noise is None:
        return f"{told}; how much of it is noise is not known (no intervals)."
    if gap.beyond_noise is None:
        return f"{told}; the images' noise has a standard error of {gap.noise:.3g}."
    verdict = "beyond" if gap.beyond_noise else "within"
    return f"{told}, {verdict} their noise (standard error {gap.noise:.3g})."


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.4g}"


def _steps(attribution: Attribution, scores: Sequence[SharedScore], names: tuple[str, str], width: int) -> list[str]:
    shown = {score.key: score.shown for score in scores}
    lines = ["Computed again on the images given, one line at a time"]
    for step in attribution.steps:
        lines += _step(step, shown, width)
    if not attribution.steps:
        lines.append(f"{_INDENT}no line to change: both reports were made by one recipe")
    lines += [f"{_INDENT}all steps together"] if len(attribution.steps) != 1 else []
    if len(attribution.steps) != 1:
        lines += _moves(attribution.start, attribution.end, shown, width)
    for complaint in attribution.complaints:
        lines += wrap(prose(complaint), width)
    if not attribution.complaints:
        lines += wrap(f"The first and the last values are those of {names[0]} and of {names[1]}.", width)
    return lines


def _step(step: Step, shown: dict[str, str], width: int) -> list[str]:
    difference = step.difference
    values = " → ".join(_value(difference.line, value) for value in (difference.first, difference.second))
    head = wrap(f"{glosses.named(difference)}: {values}", width - 2)
    return [*(_INDENT + part for part in head), *_moves(step.before, step.after, shown, width)]


def _moves(before: Values, after: Values, shown: dict[str, str], width: int) -> list[str]:
    """``fid  38.2041 → 35.9127  (-2.2914)`` for each score that moves, in columns; then the names of the others."""
    moving = [key for key in before if precise(before[key]) != precise(after[key])]
    still = [shown[key] for key in before if key not in moving]
    name_width = max((len(shown[key]) for key in moving), default=0)
    widths = [max((len(precise(values[key])) for key in moving), default=0) for values in (before, after)]
    lines = [
        f"{2 * _INDENT}{shown[key]:<{name_width}}  {precise(before[key]):>{widths[0]}} → "
        f"{precise(after[key]):>{widths[1]}}  ({change(before[key], after[key])})"
        for key in moving
    ]
    if still:
        lines += [2 * _INDENT + line for line in wrap(f"unmoved: {', '.join(still)}", width - 4)]
    return lines


def _beside(names: Iterable[str], texts: Iterable[str], width: int) -> list[str]:
    """Each name with its text beside it, the names in one column."""
    names = [_source(name) for name in names]
    widest = min(width // 3, max(map(display_width, names)))
    return [
        line
        for name, text in zip(names, texts, strict=True)
        for line in row((name, text), (widest, width - widest - 2))
    ]
