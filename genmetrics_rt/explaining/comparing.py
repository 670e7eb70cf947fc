"""Several reports side by side. Scores of unlike fingerprints are never put in one row: the table says why instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genmetrics_rt.errors import FeatureMismatch, InputError
from genmetrics_rt.explaining import glosses
from genmetrics_rt.explaining.differences import (
    Difference,
    catalogue_key,
    differing,
    recipe_differences,
    scores_by_catalogue,
)
from genmetrics_rt.paired import Standing, standing
from genmetrics_rt.render import words
from genmetrics_rt.render.names import display_width, prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, plain_number
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, labelled, row, wrap
from genmetrics_rt.report import Report, Score, json_text

SCHEMA = "genmetrics.comparison/1"
MARKS = (
    "* is the best beyond noise (paired differences of the same groups of images, 95 %, corrected for the number of "
    "reports); ~ leads or cannot be told apart from what leads."
)
NOT_TESTED = "Without intervals in the reports, differences are not tested for noise: a small one may be chance."
# Their value depends on the number of images, so that they compare at equal numbers only.
OF_GENERATED = ("class_score", "vendi")
OF_BOTH_SIDES = (
    "fd", "sfid", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8", "alpha_precision", "beta_recall",
    "authenticity", "rbf", "two_sample", "nearest_neighbour", "mauve",
)  # fmt: skip
_UNLIKE, _ABSENT = "≠", "–"


@dataclass(frozen=True)
class ScoreRow:
    """One score in those reports in which it has the same fingerprint; at least two."""

    key: str
    title: str
    higher_is_better: bool
    scores: Mapping[str, Score]  # name of the report → its score
    unlike: tuple[str, ...] = ()  # reports that have this score with another fingerprint
    standing: Standing[str] | None = None  # who leads beyond noise; None where that is no fair question


@dataclass(frozen=True)
class NotCompared:
    """Scores that are in no common row, or not in that of all reports, and why."""

    keys: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class ReportTable:
    """What `compare` found: a row of numbers per comparable score, and what is not comparable."""

    reports: Mapping[str, Report]
    rows: tuple[ScoreRow, ...]
    not_compared: tuple[NotCompared, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, width: int = 100) -> str:
        """The table for a terminal, no line wider than ``width`` columns (at least 40)."""
        width = max(width, NARROWEST)
        names = [shorten(visible(name), 60) for name in self.reports]
        about = zip(names, map(_about, self.reports.values()), strict=True)
        lines = [line for name, text in about for line in row((name, text), _beside(names, width))]
        cells = [
            (entry.title, [_direction(entry), *(_cell(entry, name) for name in self.reports)]) for entry in self.rows
        ]
        table = number_table("score", ["better", *names], cells, width)
        below = [
            line
            for entry in self.not_compared
            for line in wrap(f"not compared: {', '.join(entry.keys)}: {entry.reason}", width)
        ]
        notes = [line for note in self.notes for line in labelled("note", note, width)]
        return "\n\n".join("\n".join(block) for block in (lines, table, below, notes) if block)

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON values, schema ``genmetrics.comparison/1``."""
        return {
            "schema": SCHEMA,
            "reports": {
                name: {
                    "generated": {"num_images": report.generated.num_images, "source": report.generated.source},
                    "reference": {"num_images": report.reference.num_images, "source": report.reference.source},
                    "extractor": report.extractor.name,
                    "protocol": report.extractor.protocol,
                    "created": report.created,
                }
                for name, report in self.reports.items()
            },
            "rows": [
                {
                    "key": row.key,
                    "title": row.title,
                    "higher_is_better": row.higher_is_better,
                    "fingerprint": next(iter(row.scores.values())).fingerprint,
                    "values": {name: score.value for name, score in row.scores.items()},
                    "missing": {name: score.reason for name, score in row.scores.items() if score.value is None},
                    "unlike": list(row.unlike),
                    "intervals": {name: score.interval for name, score in row.scores.items()},
                    "best": row.standing.leader if row.standing and row.standing.beyond_noise else None,
                    "differences": _differences(row),
                }
                for row in self.rows
            ],
            "not_compared": [{"keys": list(entry.keys), "reason": entry.reason} for entry in self.not_compared],
            "notes": list(self.notes),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_html(self, *, fragment: bool = False) -> str:
        """The table, the curves and the pictures as one self-contained page: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.compare_page import render_compare_page

        return render_compare_page(self, fragment=fragment)


def compare(reports: Mapping[str, Report], *, files: Mapping[str, str] | None = None) -> ReportTable:
    """Put two or more reports side by side, score by score.

    Parameters
    ----------
    reports
        Name of the column → report.
    files
        Name of the column → the file it came from, for the command that messages name. None: the names.

    Raises
    ------
    InputError
        Fewer than two reports.
    FeatureMismatch
        No score is comparable between any two of them; the message says which line of the recipe differs.
    """
    if len(reports) < 2:
        raise InputError(
            f"compare puts reports side by side, and there is {counted(len(reports), 'report')}. Give two."
        )
    files = files or {name: name for name in reports}
    scores = {name: scores_by_catalogue(report) for name, report in reports.items()}
    keys = list(dict.fromkeys(key for entries in scores.values() for key in entries))
    rows: list[ScoreRow] = []
    refused: dict[str, list[str]] = {}  # reason → shown keys
    for key in keys:
        having = {name: entries[key] for name, entries in scores.items() if key in entries}
        shown = "/".join(dict.fromkeys(score.key for score in having.values()))
        if len(having) == 1:
            refused.setdefault(f"only in {next(iter(having))}.", []).append(shown)
            continue
        like = _largest_group(having)
        unlike = [name for name in having if name not in like]
        if len(like) > 1:
            rows.append(_row(like, unlike, reports, key))
        if unlike:
            reason = _why_unlike(next(iter(like)), unlike, key, reports, files)
            refused.setdefault(reason, []).append(shown)
    not_compared = tuple(NotCompared(tuple(shown), reason) for reason, shown in refused.items())
    if not rows:
        told = " ".join(f"{', '.join(entry.keys)}: {entry.reason}" for entry in not_compared)
        raise FeatureMismatch(
            f"No score of these reports is comparable, so there is no table. {told or 'They hold no scores.'} "
            "Evaluate again with one extractor and one protocol."
        )
    return ReportTable(reports, tuple(rows), not_compared, tuple(_notes(reports, rows)))


def in_words(difference: Difference, first: str, second: str) -> str:
    """``A used resize bilinear-tf1, B pillow-bicubic``, from the names of the two reports."""
    values = [glosses.value_words(difference.line, value) for value in (difference.first, difference.second)]
    return prose(f"{first} used {glosses.named(difference)} {values[0]}, {second} {values[1]}")


def images(number: int | None) -> str:
    """``1,797 images``; a published statistics file may not say how many."""
    return "an unknown number of images" if number is None else counted(number, "image")


def _largest_group(having: Mapping[str, Score]) -> dict[str, Score]:
    """The reports with the fingerprint that most of them have; of equally common ones, the first."""
    groups: dict[str, dict[str, Score]] = {}
    for name, score in having.items():
        groups.setdefault(score.fingerprint, {})[name] = score
    return max(groups.values(), key=len)


def _row(scores: Mapping[str, Score], unlike: Sequence[str], reports: Mapping[str, Report], key: str) -> ScoreRow:
    name, score = next(iter(scores.items()))
    title = words.short_name(score, reports[name])[0]
    fair = _are_fair([reports[name] for name in scores], key)
    return ScoreRow(score.key, title, score.higher_is_better, scores, tuple(unlike), standing(scores) if fair else None)


def _are_fair(reports: Sequence[Report], key: str) -> bool:
    """Whether one of these may be called the best: one reference, and equal numbers of images where they matter."""
    if key not in OF_GENERATED and len({_reference_of(report) for report in reports}) > 1:
        return False
    depends = key in OF_GENERATED + OF_BOTH_SIDES
    return not depends or len({report.generated.num_images for report in reports}) == 1


def _reference_of(report: Report) -> str:
    return report.reference.content_hash or report.reference.source


def _differences(row: ScoreRow) -> list[dict[str, Any]]:
    """The leader minus each other report, with its noise."""
    if row.standing is None:
        return []
    return [
        {"of": [row.standing.leader, name], **vars(difference), "corrected_p_value": row.standing.p_values[name]}
        for name, difference in row.standing.differences.items()
    ]


def _why_unlike(
    name: str, unlike: Sequence[str], key: str, reports: Mapping[str, Report], files: Mapping[str, str]
) -> str:
    """What the reports in ``unlike`` did in another way than the report ``name``, and the command that says more."""
    told = []
    for other in unlike:
        first, second = scores_by_catalogue(reports[name])[key], scores_by_catalogue(reports[other])[key]
        differences = recipe_differences(reports[name].extractor, reports[other].extractor) or differing(
            first.settings, second.settings
        )
        more = f" (and {counted(len(differences) - 1, 'more line')})" if len(differences) > 1 else ""
        what = in_words(differences[0], name, other) if differences else f"{name} and {other} have unlike fingerprints"
        told.append(what + more)
    return f"{'; '.join(told)}. Run `genmetrics explain {prose(files[name])} {prose(files[unlike[0]])}`."


def _notes(reports: Mapping[str, Report], rows: Sequence[ScoreRow]) -> Iterable[str]:
    keys = {row.key: catalogue_key(row.key) for row in rows}
    if len(set(map(_reference_of, reports.values()))) > 1:
        told = ", ".join(f"{name} {_side(report.reference.source)}" for name, report in reports.items())
        yield prose(
            f"The references differ ({told}): a distance to other images is another question. Evaluate all of them "
            "against the same reference."
        )
    yield from _unequal_numbers(reports, keys)
    for label in dict.fromkeys(report.extractor.label for report in reports.values() if report.extractor.label):
        having = [name for name, report in reports.items() if report.extractor.label == label]
        yield prose(label if len(having) == len(reports) else f"{', '.join(having)}: {label}")
    known = [row.standing is not None and row.standing.noise_known for row in rows]
    if any(known):
        yield MARKS
    if not all(score.interval for row in rows for score in row.scores.values() if score.value is not None):
        yield NOT_TESTED


def _unequal_numbers(reports: Mapping[str, Report], keys: Mapping[str, str]) -> Iterable[str]:
    """A warning for each side with unlike numbers of images, naming the scores in the table that depend on them."""
    for side, depending in (("generated", OF_GENERATED + OF_BOTH_SIDES), ("reference", OF_BOTH_SIDES)):
        numbers = {name: getattr(report, side).num_images for name, report in reports.items()}
        touched = [shown for shown, key in keys.items() if key in depending]
        if len(set(numbers.values())) > 1 and touched:
            told = ", ".join(
                f"{name} {'unknown' if number is None else count(number)}" for name, number in numbers.items()
            )
            yield prose(
                f"The numbers of {side} images differ ({told}), and {', '.join(touched)} depend on them: part of a "
                "difference may be the numbers. Evaluate with --num-images at the smallest."
            )


def _about(report: Report) -> str:
    sides = " against ".join(
        f"{_side(side.source)} ({images(side.num_images)})" for side in (report.generated, report.reference)
    )
    features = f"{report.extractor.name}, protocol {report.extractor.protocol}"
    return prose(f"{sides}; {features}")


def _beside(names: Sequence[str], width: int) -> tuple[int, int]:
    """The widths of a column of names and of the text beside it."""
    widest = min(width // 3, max(map(display_width, names)))
    return widest, width - widest - 2


def _side(source: str) -> str:
    return shorten(visible(source), 60)


def _direction(row: ScoreRow) -> str:
    return "higher" if row.higher_is_better else "lower"


def _cell(row: ScoreRow, name: str) -> str:
    if name in row.unlike:
        return _UNLIKE
    if name not in row.scores:
        return _ABSENT
    score = row.scores[name]
    if score.value is None:
        return "none"
    mark = row.standing.mark(name) if row.standing else ""
    return words.value(score, plain_number) + (mark or (" " if row.standing and row.standing.noise_known else ""))
