"""The words around the numbers: groups, directions, settings, what may be compared with what, how to quote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import Formatter, count, counted, number, setting
from genmetrics_rt.report import Finding, PerfectModel, Report, Score, SideSummary, SkippedImage
from genmetrics_rt.wording import said

FIDELITY = ("precision", "density", "prd_f1_8")
DIVERSITY = ("recall", "coverage", "prd_f8")
LISTED = 50  # skipped files a side that the page names
SEVERITIES = {"problem": "Problem", "warning": "Warning", "info": "Note"}  # in the order of showing

_DETAILS = {
    "std_over_subsets": "standard deviation over subsets",
    "std_over_splits": "standard deviation over splits",
    "perfect_model": "a perfect model gets",
    "num_generated": "generated images",
    "num_reference": "reference images",
    "reference_scores": "the reference itself scores",
    "best_f1": "best F1 on the curve",
    "mean_cosine": "mean cosine of two images",
    "mean_cosine_of_reference": "of two of the reference",
    "bias": "of which upward bias from few images about",
    "without_bias": "without it about",
}
_ROUNDING = 1e-9  # a Fréchet distance nearer to 0 than this is shown as 0
_DAMAGED = ("damaged", "cut off", "empty file", "no bytes", "cannot be read")  # in the reasons for skipping an image …
_NO_IMAGE = ("not an image file", "hidden f", "regular file")  # … and in those for skipping what is none


def of_sides(sentence: str, report: Report) -> str:
    """A sentence of ours about images, of what the sides of this report consist of."""
    return said(sentence, report.extractor.modality)


def noun(report: Report) -> str:
    """What one thing of a side is called: ``image`` or ``text``, whatever the record says."""
    return "text" if report.extractor.modality == "text" else "image"


@dataclass(frozen=True)
class Group:
    """Scores that answer one question."""

    title: str
    question: str
    scores: tuple[Score, ...]


def groups(report: Report) -> tuple[Group, ...]:
    """The scores by the question they answer, in the order of the report; empty groups are left out."""
    sides = FIDELITY + DIVERSITY
    scores = report.scores.values()
    return tuple(
        group
        for group in (
            Group(
                "The two sides as a whole",
                "Quality and variety in one number.",
                tuple(score for score in scores if score.key not in sides),
            ),
            Group(
                "Fidelity",
                of_sides("Do the generated images look like the reference?", report),
                tuple(score for score in scores if score.key in FIDELITY),
            ),
            Group(
                "Diversity",
                "Is the variety of the reference reached?",
                tuple(score for score in scores if score.key in DIVERSITY),
            ),
        )
        if group.scores
    )


def sorted_findings(report: Report) -> list[Finding]:
    """The most serious first; an unknown severity counts as a note."""
    order = list(SEVERITIES)
    return sorted(report.findings, key=lambda entry: order.index(severity(entry)))


def severity(finding: Finding) -> str:
    return finding.severity if finding.severity in SEVERITIES else "info"


def short_name(score: Score, report: Report) -> tuple[str, str]:
    """The name, and the part of it that is the same for every score: ("Recall", "on scattering features")."""
    suffix = space(report)
    if score.name.endswith(f" {suffix}"):
        return prose(score.name.removesuffix(f" {suffix}")), prose(suffix)
    return prose(score.name), ""


def space(report: Report) -> str:
    """In which features the numbers live: the part of a score's name that is the same for all of them."""
    given = report.extractor.name == "features"  # made by the user: no network's name to tell
    return "on the features that were given" if given else f"on {report.extractor.name} features"


def direction(score: Score) -> str:
    """``lower is better, best 0``"""
    words = "higher is better" if score.higher_is_better else "lower is better"
    return words if score.best is None else f"{words}, best {score.best:g}"


def value(score: Score, number: Formatter = number) -> str:
    """The number as it is shown: what is left of a Fréchet distance of 0 by rounding (−2.8e-14) is 0."""
    rounding = score.key in ("fd", "fid") and score.value is not None and abs(score.value) < _ROUNDING
    return number(0.0 if rounding else score.value)


def one_subset(score: Score, report: Report) -> bool:
    """Whether every "subset" holds all images of both sides, so that there is no spread over subsets."""
    return score.details.get("subset_size_used") == report.generated.num_images == report.reference.num_images


def uncertainty(score: Score, number: Formatter = number) -> list[str]:
    """Standard error and interval, where the score has them."""
    parts = []
    if score.standard_error is not None:
        parts.append(f"standard error {number(score.standard_error)}")
    if score.interval is not None:
        parts.append(f"95 % interval {number(score.interval[0])} to {number(score.interval[1])}")
    return parts


def perfect_model(floor: PerfectModel, number: Formatter = number) -> str:
    """``a perfect model gets 0.9871 (0.72 to 1.25)``"""
    return f"a perfect model gets {number(floor.value)} ({number(floor.low)} to {number(floor.high)})"


def details(score: Score, report: Report, number: Formatter = number) -> tuple[list[str], list[str]]:
    """What stands beside the value: short facts ("a perfect model gets 0.969"), and whole sentences."""
    facts, notes = [], []
    if score.floor is not None:
        facts.append(perfect_model(score.floor, number))
    for key, value in score.details.items():
        if key == "perfect_model" and score.floor is not None:
            continue  # it is the same
        if key == "std_over_subsets" and one_subset(score, report):
            facts.append(of_sides("one subset: all images", report))
        elif key in ("num_generated", "num_reference") and value is None:
            continue  # the side says that nobody knows
        elif key == "without_bias_interval":
            facts[-1] += f" ({number(value[0])} to {number(value[1])})"
        elif isinstance(value, str) and " " in value:
            notes.append(prose(value[:1].upper() + value[1:] + ("" if value.endswith(".") else ".")))
        else:
            facts.append(of_sides(f"{_DETAILS.get(key, _spaced(key))} {_detail(value, number)}", report))
    return facts, notes


def settings(values: Mapping[str, Any], number: Formatter = number) -> list[str]:
    """``nearest k 3``, ``border counts yes``"""
    return [f"{_spaced(key)} {prose(setting(value, number))}" for key, value in values.items()]


def used_settings(score: Score) -> Mapping[str, Any]:
    """The settings as they took effect: where few images made a subset smaller, its true size."""
    return {key: score.details.get(f"{key}_used", value) for key, value in score.settings.items()}


def sorted_skipped(side: SideSummary) -> list[SkippedImage]:
    """The worst first, in the same order as `skip_reasons`."""
    times = Counter(entry.reason for entry in side.skipped)
    return sorted(side.skipped, key=lambda entry: (_rank(entry.reason), -times[entry.reason]))


def skip_reasons(side: SideSummary, *, kinds: int = 4, examples: bool = True) -> str:
    """``1 × an empty file (a.png), 1,900 × not an image file (as notes.txt)``; empty when nothing was skipped."""
    entries = sorted_skipped(side)
    reasons = list(Counter(entry.reason for entry in entries).items())
    first = {entry.reason: entry.name for entry in reversed(entries)}
    shown = []
    for reason, times in reasons[:kinds]:
        example = f" ({'as ' if times > 1 else ''}{shorten(visible(first[reason]), 60)})" if examples else ""
        shown.append(f"{count(times)} × {shorten(prose(reason), 120)}{example}")
    if len(reasons) > kinds:
        rest = counted(sum(times for _, times in reasons[kinds:]), "other file")
        on_page = "all" if len(entries) <= LISTED else f"{LISTED} of them"
        where = (
            f" (the JSON report names all, the HTML page {on_page})" if examples else ""
        )  # the page lists them below
        shown.append(f"and {rest}{where}")
    return ", ".join(shown)


def comparability(report: Report) -> list[tuple[str, str]]:
    """(names of scores, what they may be compared with), scores with the same answer together."""
    names: dict[str, list[str]] = {}
    for score in report.scores.values():
        names.setdefault(prose(score.comparable_with), []).append(short_name(score, report)[0])
    return [(", ".join(entries), text) for text, entries in names.items() if text]


def published_note(report: Report) -> str:
    """How to get numbers comparable with published ones; empty when these already are."""
    if report.extractor.published:
        return ""
    if report.extractor.modality == "text":
        return (
            f"These numbers, made {prose(space(report))}, compare with one another. Published MAUVE is of another "
            "network's features (GPT-2's), so its values are others."
        )
    if report.extractor.name == "features":
        return (
            "Whether these numbers compare with published ones depends on the features that were given: FID is what "
            "the ImageNet Inception's give, from images prepared as its publishers did."
        )
    return (
        f"These numbers, made {prose(space(report))}, compare with one another, not with published FID: for that, add "
        "--extractor inception-fid (its weights are fetched once, 96 MB)."
    )


def citation(report: Report, lead: Score | None, number: Formatter = number) -> str:
    """One line to paste beside a number, with all that is needed to compare it."""
    told = f"{prose(lead.name)}: {value(lead, number)}" if lead else "Scores"
    return (
        f"{told} ({count(report.generated.num_images)} generated against {count(report.reference.num_images)} "
        f"{of_sides('reference images', report)}, protocol {prose(report.extractor.protocol)}, "
        f"genmetrics-rt {visible(report.version)}, fingerprint {visible(report.fingerprint)})"
    )


def moment(created: str) -> str:
    """``2025-11-24 16:05 UTC``; what is no date stays as it is."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return visible(created)
    when = when if when.tzinfo is None else when.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _rank(reason: str) -> int:
    """Damaged images first, as they change what was measured; what was never an image last."""
    if any(part in reason for part in _DAMAGED):
        return 0
    return 2 if any(part in reason for part in _NO_IMAGE) else 1


def _spaced(key: str) -> str:
    return prose(key.replace("_", " "))


def _detail(value: Any, number: Formatter) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return prose(setting(value, number))
