"""Scores as they go into a paper or a model card: rows of a table, a methods sentence, the Hub's ``model-index``.

Values are rounded to two digits of their uncertainty. Nothing is set in bold: whether one model is better than another
beyond noise is what `compare` says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genmetrics_rt.errors import FeatureMismatch, InputError, UnknownMetric
from genmetrics_rt.render import words
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, plain_number
from genmetrics_rt.report import Report, Score

FORMATS = ("latex", "markdown", "hf-eval-results")
TASK = "unconditional-image-generation"  # the Hub's name of it

_SHORT = {
    "fd": "FD", "fid": "FID", "sfid": "sFID", "kid": "KID", "is": "IS", "prd_f8": "PRD F8", "prd_f1_8": "PRD F1/8",
    "mauve": "MAUVE",
}  # fmt: skip
_ID_DIGITS = 16  # of a numeric id in a sentence; the model card has all of them
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}", "−": "$-$", "–": "--", "±": r"$\pm$",
    # At the start of a row, the line break before it would take these for its own.
    "[": "{[}", "*": "{*}",
    "×": r"$\times$", "…": r"\ldots{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip
_RUNS = re.compile("-+|[^-]")  # hyphens stand together, as TeX would join them to a dash


@dataclass(frozen=True)
class Rounded:
    """A value with its uncertainty, as digits: as many decimals as two digits of the uncertainty have."""

    value: str
    below: str = ""  # empty where the uncertainty is not known
    above: str = ""

    @property
    def is_even(self) -> bool:
        """Whether one ± says it: the interval is not cut at a bound of the score."""
        return self.below == self.above


def rounded(value: float, interval: tuple[float, float] | None) -> Rounded:
    """A value and its interval for a table: ``12.5``, ``3.1``, ``3.1``; four digits where there is no interval."""
    if interval is None:
        return Rounded(plain_number(value))
    below, above = value - interval[0], interval[1] - value
    if math.isclose(below, above, rel_tol=1e-6):
        below = above  # rounding must not make two of them
    decimals = _decimals(max(below, above))
    return Rounded(*(_fixed(number, decimals) for number in (value, below, above)))


def plus_minus(value: float, error: float) -> str:
    """``12.5 ± 1.5``"""
    shown = rounded(value, (value - error, value + error))
    return f"{shown.value} ± {shown.above}"


def render_paper(
    reports: Mapping[str, Report],
    form: str,
    *,
    metrics: Sequence[str] | None = None,
    dataset: str | None = None,
    task: str = TASK,
) -> str:
    """Reports as a piece of a paper or of a model card.

    Parameters
    ----------
    reports
        Name of the model → its report, in the order of the rows.
    form
        ``"latex"`` or ``"markdown"``: a table with a row for each report and a methods sentence below.
        ``"hf-eval-results"``: the ``model-index`` of a Hugging Face model card, as YAML.
    metrics
        Keys of the scores to show; None is all.
    dataset, task
        For the model card: the Hub's id of the reference, and of what the model does. The reference's name where None.

    Raises
    ------
    InputError
        An unknown form, or no report.
    UnknownMetric
        A key that no report has.
    FeatureMismatch
        The reports give a score by unlike recipes: such numbers do not belong in one column.
    """
    if form not in FORMATS:
        raise InputError(f"There is no format {form!r}. Use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if not reports:
        raise InputError("No report was given, so there is nothing to write. Name one that `evaluate --json` wrote.")
    keys = _keys(reports, metrics)
    if form == "hf-eval-results":
        return _model_index(reports, keys, dataset, task)
    _require_alike(reports, keys)
    return _latex(reports, keys) if form == "latex" else _markdown(reports, keys)


def escape_latex(text: str) -> str:
    """Any text as LaTeX that prints it: nothing in it is a command, begins a comment, or joins to a dash."""
    parts = (re.sub("-(?=-)", "-{}", part) for part in _RUNS.findall(prose(text)))
    return "".join(part if part[0] == "-" else _LATEX.get(part, part) for part in parts)


def methods(reports: Mapping[str, Report], keys: Sequence[str]) -> list[str]:
    """Sentences that say how the numbers were made: tool, features, protocol, settings, seed, what ± means."""
    first = next(iter(reports.values()))
    extractor = first.extractor
    versions = ", ".join(dict.fromkeys(report.version for report in reports.values()))
    seeds = ", ".join(dict.fromkeys(str(report.seed) for report in reports.values()))
    references = dict.fromkeys(
        f"{shorten(visible(report.reference.source), 60)} ({counted(report.reference.num_images, 'image')})"
        for report in reports.values()
    )
    told = [
        f"Scores against {' and '.join(references)} by genmetrics-rt {versions} {words.space(first)} "
        f"({extractor.title}; {extractor.dimension:,} dimensions, protocol {extractor.protocol}, numeric id "
        f"{extractor.numeric_id[:_ID_DIGITS]}), seed {seeds}."
    ]
    if extractor.label:
        told.append(f"{extractor.label[:1].upper()}{extractor.label[1:].rstrip('.')}.")
    scores = {key: _first(reports, key) for key in keys}
    told.append(f"{'; '.join(_settings(scores, first))}.")
    if any(score.interval for score in _shown(reports, keys)):
        told.append(
            "± and the ends beside a value are its 95 % interval, from how the score moves over groups of the images "
            "(jackknife or block means)."
        )
    return [prose(sentence) for sentence in told]


def _keys(reports: Mapping[str, Report], asked: Sequence[str] | None) -> list[str]:
    there = list(dict.fromkeys(key for report in reports.values() for key in report.scores))
    wanted = there if asked is None else list(asked)
    for key in wanted:
        if key not in there:
            raise UnknownMetric(f"No score {key!r} in these reports. They have {', '.join(there) or 'none'}.")
    keys = [key for key in there if key in wanted]
    if not keys:
        raise InputError("These reports hold no scores, so there is nothing to write. Evaluate again.")
    return keys


def _require_alike(reports: Mapping[str, Report], keys: Sequence[str]) -> None:
    for key in keys:
        having = {name: report.scores[key] for name, report in reports.items() if key in report.scores}
        (first, score), *others = having.items()
        for name, other in others:
            if other.fingerprint != score.fingerprint:
                raise FeatureMismatch(
                    f"{first} and {name} give {key} by unlike recipes, and such numbers do not belong in one column. "
                    "`genmetrics explain` says what differs; evaluate again with one recipe, or write two tables."
                )


def _shown(reports: Mapping[str, Report], keys: Sequence[str]) -> list[Score]:
    return [report.scores[key] for report in reports.values() for key in keys if key in report.scores]


def _first(reports: Mapping[str, Report], key: str) -> Score:
    return next(report.scores[key] for report in reports.values() if key in report.scores)


def _settings(scores: Mapping[str, Score], report: Report) -> list[str]:
    """``Precision, Recall: nearest k 3, border counts yes``: scores with the same settings together."""
    titles: dict[str, list[str]] = {}
    for score in scores.values():
        settings = ", ".join(words.settings(words.used_settings(score), plain_number))
        titles.setdefault(settings, []).append(words.short_name(score, report)[0])
    return [f"{', '.join(names)}: {settings}" if settings else ", ".join(names) for settings, names in titles.items()]


def _head(key: str, score: Score) -> str:
    name = _SHORT.get(key, key.replace("_", " ").capitalize())
    return f"{name} {'↑' if score.higher_is_better else '↓'}"


def _sizes(report: Report) -> tuple[str, str]:
    sizes = (report.generated.num_images, report.reference.num_images)
    return "–" if sizes[0] is None else count(sizes[0]), "–" if sizes[1] is None else count(sizes[1])


def _latex(reports: Mapping[str, Report], keys: Sequence[str]) -> str:
    heads = ["", "Generated", "Reference", *(_head(key, _first(reports, key)) for key in keys)]
    lines = [
        r"% Needs \usepackage{booktabs}.",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        _row(escape_latex(head) for head in heads),
        r"\midrule",
    ]
    for name, report in reports.items():
        cells = [_latex_cell(report.scores.get(key)) for key in keys]
        lines.append(_row([escape_latex(name), *map(escape_latex, _sizes(report)), *cells]))
    lines += [r"\bottomrule", r"\end{tabular}", "", *map(escape_latex, methods(reports, keys))]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(score: Score | None) -> str:
    if score is None or score.value is None:
        return "--"
    shown = rounded(score.value, score.interval)
    if not shown.above:
        mantissa, _, exponent = shown.value.partition("e")
        return f"${mantissa}$" if not exponent else rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    if shown.is_even:
        return rf"${shown.value} \pm {shown.above}$"
    return f"${shown.value}^{{+{shown.above}}}_{{-{shown.below}}}$"


def _markdown(reports: Mapping[str, Report], keys: Sequence[str]) -> str:
    heads = ["", "Generated", "Reference", *(_head(key, _first(reports, key)) for key in keys)]
    table = [heads, [":---", *["---:"] * (len(heads) - 1)]]
    for name, report in reports.items():
        table.append([_plain(name), *_sizes(report), *(_markdown_cell(report.scores.get(key)) for key in keys)])
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    return f"{rows}\n\n{_plain(' '.join(methods(reports, keys)))}\n"


def _markdown_cell(score: Score | None) -> str:
    if score is None or score.value is None:
        return "–"
    shown = rounded(score.value, score.interval)
    if not shown.above:
        return shown.value
    return f"{shown.value} ± {shown.above}" if shown.is_even else f"{shown.value} (+{shown.above}, −{shown.below})"


def _plain(text: str) -> str:
    """Text in which Markdown sees nothing to format."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", prose(text))


def _model_index(reports: Mapping[str, Report], keys: Sequence[str], dataset: str | None, task: str) -> str:
    lines = ["# Belongs between the --- lines at the top of the model card."]
    if dataset is None:
        lines.append("# dataset.type must be the Hub's id of the reference: give it with --dataset.")
    lines.append("model-index:")
    for name, report in reports.items():
        reference = report.reference
        lines += [
            f"- name: {_yaml(name)}",
            "  results:",
            "  - task:",
            f"      type: {_yaml(task)}",
            "    dataset:",
            f"      type: {_yaml(dataset or reference.source)}",
            f"      name: {_yaml(reference.source)}",
            "    metrics:",
        ]
        for key in keys:
            score = report.scores.get(key)
            if score is None or score.value is None:
                continue
            lines += [
                f"    - type: {_yaml(key)}",
                f"      value: {_yaml(score.value)}",
                f"      name: {_yaml(score.name)}",
                "      args:",
                *(f"        {entry}: {_yaml(value)}" for entry, value in _arguments(score, report).items()),
            ]
    return "\n".join(lines) + "\n"


def _arguments(score: Score, report: Report) -> dict[str, Any]:
    """Everything that is needed to compare the number, beside it."""
    noise = {"standard_error": score.standard_error, "interval_95": score.interval}
    return {
        "num_generated": report.generated.num_images,
        "num_reference": report.reference.num_images,
        **{name: value for name, value in noise.items() if value is not None},
        "extractor": report.extractor.name,
        "protocol": report.extractor.protocol,
        "numeric_id": report.extractor.numeric_id,
        "fingerprint": score.fingerprint,
        "seed": report.seed,
        "settings": words.used_settings(score),
        "tool": f"genmetrics-rt {report.version}",
    }


def _yaml(value: Any) -> str:
    """A value in YAML's flow style, which every reader of YAML 1.1 and 1.2 takes alike."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(str(key))}: {_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(visible(value), ensure_ascii=False)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "null"
        digits, _, exponent = repr(value).partition("e")
        # "1e-05" is a number to YAML 1.2 and a word to 1.1, which wants a point and a sign.
        return f"{digits if '.' in digits else digits + '.0'}e{int(exponent):+d}" if exponent else digits
    return json.dumps(value.tolist() if hasattr(value, "tolist") else value)


def _decimals(uncertainty: float) -> int:
    """Decimals that leave two digits of an uncertainty."""
    if not uncertainty > 0:
        return 3
    return max(0, 1 - int(f"{uncertainty:.1e}".split("e")[1]))


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text
