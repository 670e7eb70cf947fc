"""What the scores say together: the number to look at first, and which of fidelity and diversity is weaker.

Nothing here calls a value good or bad by a fixed threshold. A distance is held against what a perfect model would get
and against known damages, where they were computed; else what can be said is how the scores stand to each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from genmetrics_rt.render.names import prose
from genmetrics_rt.render.numbers import Formatter, count, counted, number, share
from genmetrics_rt.render.words import of_sides, one_subset, sorted_findings
from genmetrics_rt.report import PerfectModel, Report, Score

FEW_IMAGES = 2000  # a side; below, the 1/N bias of the Fréchet distance outweighs differences between models
TOO_FEW = 50  # images on the smaller side; below, chance decides which of fidelity and diversity looks weaker
_CLEAR_GAP = 0.05  # precision against recall: smaller differences are not worth a sentence
_CLEAR_PRD_GAP = 0.02  # F1/8 against F8, which crowd near 1
_UNEQUAL = 1.25  # ratio of the sides' sizes from which precision and recall need a caveat

_NO_SCALE = (
    "It has no absolute scale: set it beside another model's, or beside the distance between two halves of the "
    "reference."
)
_CLAIM = {
    1: "Diversity is the weaker side",
    -1: "Fidelity is the weaker side",
    0: "Neither fidelity nor diversity is clearly the weaker side",
}


@dataclass(frozen=True)
class Reading:
    """The number to look at first, and a few sentences on what the scores say together."""

    lead: Score | None
    sentences: tuple[str, ...]


def read(report: Report, number: Formatter = number) -> Reading:
    """Read the scores against each other: the leading number and the weaker side, with every caveat that applies."""
    lead = _lead(report)
    sentences = (
        verdict(report),
        _same_content(report),
        _weaker_side(report, number),
        _why_it_leads(report, lead, number),
        _scatter(report, number),
        _unequal_sides(report),
    )
    return Reading(lead, tuple(of_sides(sentence, report) for sentence in sentences if sentence))


def verdict(report: Report) -> str:
    """The headline: the most serious finding; else whether a perfect model would score the same. Empty if unknown."""
    return of_sides(_verdict_on_images(report), report)


def _verdict_on_images(report: Report) -> str:
    serious = [finding for finding in sorted_findings(report) if finding.severity in ("problem", "warning")]
    if serious:
        others = len(serious) - 1
        more = f" ({counted(others, 'more finding')}.)" if others else ""
        return prose(serious[0].claim) + more
    lead = _lead(report)
    if lead is None or lead.floor is None or lead.value is None or too_few(report):
        return ""
    if _no_worse(lead, lead.floor):
        return "No fault found: a perfect model might well score the same at this number of images."
    return "No single fault found, but the scores are worse than those of a perfect model at this number of images."


def _no_worse(score: Score, floor: PerfectModel) -> bool:
    assert score.value is not None
    return score.value >= floor.low if score.higher_is_better else score.value <= floor.high


def too_few(report: Report) -> str:
    """Why a small report gets no verdict on fidelity and diversity; empty where there are enough images."""
    few = _smaller_side(report)
    if few is None or few >= TOO_FEW:
        return ""
    return of_sides(
        f"Too few images to judge fidelity or diversity ({count(few)} on the smaller side): below {TOO_FEW}, chance "
        "moves precision, recall, density, coverage and the PRD curve too far.",
        report,
    )


def _lead(report: Report) -> Score | None:
    order = ("kid", "fid", "fd") if _few(report) else ("fid", "fd", "kid")
    candidates = [report.scores[key] for key in order if key in report.scores] + list(report.scores.values())
    return next((score for score in candidates if score.value is not None), None)


def _few(report: Report) -> bool:
    few = _smaller_side(report)
    return few is not None and few < FEW_IMAGES


def _smaller_side(report: Report) -> int | None:
    """Images on the smaller side, as far as they are counted."""
    counts = (report.generated.num_images, report.reference.num_images)
    return min((number for number in counts if number is not None), default=None)


def _same_content(report: Report) -> str:
    if report.generated.content_hash and report.generated.content_hash == report.reference.content_hash:
        return "Both sides hold the same images: these are the numbers of a perfect copy."
    return ""


def _scale(lead: Score, number: Formatter) -> str:
    """What the leading distance is to be held against."""
    place = prose(lead.placement)
    placed = f" On the ladder of damages: {place[:1].lower()}{place[1:]}" if place else ""
    floor = lead.floor
    if floor is None or lead.value is None:
        return _NO_SCALE + placed
    told = (
        f"A perfect model would get {number(floor.value)} ({number(floor.low)} to {number(floor.high)}) against this "
        "reference"
    )
    where = "this model is within that range" if lead.value <= floor.high else f"this one gets {number(lead.value)}"
    return f"{told}; {where}.{placed}"


def _why_it_leads(report: Report, lead: Score | None, number: Formatter) -> str:
    if lead is None:
        return "No score has a value; each one below says why." if report.scores else "This report has no scores."
    if lead.key == "kid":
        why = (
            "The kernel distance leads here: with fewer than 2,000 images on a side, the Fréchet distance is biased "
            "upward by about 1/N, and the kernel distance is not."
            if _few(report)
            else "The kernel distance leads here, as there is no Fréchet distance in this report."
        )
        if lead.value is not None and lead.value <= 0:
            return f"{why} It is not above 0: on these features it cannot tell the two sides apart."
        return f"{why} {_scale(lead, number)}"
    if lead.key in ("fid", "fd"):
        caveat = (
            " With fewer than 2,000 images on a side it is biased upward by about 1/N: compare it only at the same "
            "numbers of images."
            if _few(report)
            else ""
        )
        return f"The Fréchet distance leads here.{caveat} {_scale(lead, number)}"
    return ""


def _scatter(report: Report, number: Formatter) -> str:
    kid = report.scores.get("kid")
    spread = kid.details.get("std_over_subsets") if kid else None
    if kid is None or kid.value is None or not isinstance(spread, int | float) or one_subset(kid, report):
        return ""
    if not abs(kid.value) < spread:
        return ""
    return (
        f"The kernel distance ({number(kid.value)}) is within the scatter of its subsets (standard deviation "
        f"{number(spread)}): they differ from one another by more than the value."
    )


def _weaker_side(report: Report, number: Formatter) -> str:
    """Precision against recall, and PRD's F1/8 against F8: both pairs treat the two sides alike.

    Density and coverage do not (a small shift lowers density faster), so they are shown but not weighed here.
    """
    precision, recall = _value(report, "precision"), _value(report, "recall")
    f1_8, f8 = _value(report, "prd_f1_8"), _value(report, "prd_f8")
    num_generated, num_reference = (max(side.num_images or 1, 1) for side in (report.generated, report.reference))
    has_pair = (precision is not None and recall is not None) or (f1_8 is not None and f8 is not None)
    if has_pair and too_few(report):
        return too_few(report)
    on_curve = "" if f1_8 is None or f8 is None else f"(F1/8 {number(f1_8)}, F8 {number(f8)})"
    curve = 0
    if f1_8 is not None and f8 is not None:
        noise = 1 / math.sqrt(min(num_generated, num_reference))
        curve = _verdict(f1_8 - f8, max(_CLEAR_PRD_GAP, noise))
    if precision is None or recall is None:
        if not on_curve:
            return ""
        if f1_8 == f8 == 0:
            return f"On the precision–recall curve of the distributions, the two sets share nothing {on_curve}."
        return f"{_CLAIM[curve]} on the precision–recall curve of the distributions {on_curve}."
    if precision == recall == 0:
        return "Precision and recall are both 0: on these features the two sets do not overlap at all."

    # Two standard errors of the difference of two shares, as if the images were independent.
    noise = 2 * math.sqrt(precision * (1 - precision) / num_generated + recall * (1 - recall) / num_reference)
    shares = _verdict(precision - recall, max(_CLEAR_GAP, noise))
    values = (
        f"{share(precision)} of the generated images look like some reference image (precision {number(precision)}), "
        f"{share(recall)} of the reference images are reached (recall {number(recall)})"
    )
    if not on_curve:
        return f"{_CLAIM[shares]}: {values}."
    if f1_8 == f8 == 0:
        return f"Two views disagree: {values}, but on the PRD curve the two sets share nothing {on_curve}."
    if shares == curve:
        return f"{_CLAIM[shares]}: {values}. The PRD curve agrees {on_curve}."
    if shares and curve:
        return (
            f"Two views disagree on whether fidelity or diversity is the weaker side: {values}, but the PRD curve says "
            f"the opposite {on_curve}. Look at the pictures before drawing a conclusion."
        )
    if shares:
        return f"{_CLAIM[shares]}: {values}. On the PRD curve the two are close {on_curve}."
    return f"Precision and recall are close: {values}. On the PRD curve, {_CLAIM[curve].lower()} {on_curve}."


def _verdict(gap: float, margin: float) -> int:
    """1 where diversity is weaker, -1 where fidelity is, 0 where the difference is not clear."""
    return 0 if abs(gap) <= margin else (1 if gap > 0 else -1)


def _unequal_sides(report: Report) -> str:
    few, many = sorted((report.generated.num_images or 0, report.reference.num_images or 0))
    if few and many / few > _UNEQUAL and {"precision", "recall", "density", "coverage"} & set(report.scores):
        return (
            f"The sides differ in size ({count(report.generated.num_images)} generated, "
            f"{count(report.reference.num_images)} reference images). Precision, recall, density and coverage depend "
            "on both sizes, so part of what sets them apart may be the sizes: compare them only at the same numbers."
        )
    return ""


def _value(report: Report, key: str) -> float | None:
    score = report.scores.get(key)
    return score.value if score else None
