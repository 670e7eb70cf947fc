"""What the numbers of a search for copies mean, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genmetrics_rt.copying.report import ALARM, CopyPair, Duplicates
from genmetrics_rt.copying.tail import CopiedShare, TailTest
from genmetrics_rt.report import Finding

MANY = 0.05  # share of the generated images from which repetition is a warning
CERTAIN = 0.01  # p-value below which it is a problem and no mere warning


def p_text(p_value: float) -> str:
    """``p = 0.032``; tiny ones by their power of ten."""
    if p_value < 1e-4:
        return "p < 0.0001" if p_value > 1e-12 else "p < 10⁻¹²"
    return f"p = {p_value:.2g}"


def share_text(share: CopiedShare) -> str:
    """``4.9 % of the generated images (95 % interval 3.7 % to 6.4 %)``"""
    low, high = share.interval
    return f"{100 * share.value:.1f} % of the generated images (95 % interval {100 * low:.1f} % to {100 * high:.1f} %)"


def calibration_text(calibration: str) -> str:
    """One sentence: what stands for fresh images."""
    if calibration == "held-out":
        return "Calibrated with the held-out images, which the model cannot have copied."
    return (
        "Calibrated without held-out images: a fifth of the training images was set aside to stand for them, so copies "
        "of these are not in the p-value, and the share is scaled up for them. Held-out images are better."
    )


def findings(
    test: TailTest,
    copied: CopiedShare,
    calibration: str,
    pairs: Sequence[CopyPair],
    duplicates: Mapping[str, Duplicates],
) -> tuple[Finding, ...]:
    """The verdict first, then leaks and repetitions."""
    found = [_verdict(test, copied, calibration, pairs)]
    leak = duplicates.get("leak")
    if leak is not None and leak.num_exact + leak.num_near:
        found.append(
            Finding(
                "leak",
                "problem",
                "Held-out images are in the training set.",
                f"{100 * leak.share:.2g} % of the held-out images have a duplicate there: {leak.num_exact:,} with the "
                f"same bytes, {leak.num_near:,} showing the same picture.",
                "They were left out of the calibration here. Remove them from the held-out set: they make every score "
                "on it too good.",
            )
        )
    own = duplicates.get("train")
    if own is not None and own.num_exact + own.num_near:
        found.append(
            Finding(
                "repeated_training_images",
                "info",
                "Some training images occur more than once.",
                f"{own.num_exact:,} pairs have the same bytes, {own.num_near:,} show the same picture.",
                "Models copy what they see often: keep one of each.",
            )
        )
    repeated = duplicates.get("generated")
    if repeated is not None and repeated.num_exact + repeated.num_near:
        found.append(
            Finding(
                "repeated_samples",
                "warning" if repeated.share > MANY else "info",
                "The model makes the same image more than once.",
                f"{repeated.num_exact:,} pairs have the same bytes, {repeated.num_near:,} show the same picture.",
                "Look at recall and coverage: the model may have collapsed. Repeated samples also count several times "
                "in the p-value.",
            )
        )
    return tuple(found)


def _verdict(test: TailTest, copied: CopiedShare, calibration: str, pairs: Sequence[CopyPair]) -> Finding:
    front = (
        f"among the {test.num_front:,} images closest to the training set "
        f"{test.generated_front:,} are generated, {test.generated_expected:.1f} would be without copying"
        if test.num_front
        else "no place near the training set where generated images crowd more than fresh ones"
    )
    evidence = (
        f"{p_text(test.p_value)}: {front}. Estimated copies: {share_text(copied)}. {calibration_text(calibration)}"
    )
    seen = sum(pair.same_picture is True for pair in pairs)
    if seen:
        evidence += f" Of the {len(pairs):,} closest pairs, {seen:,} show one and the same picture."
    if test.p_value < ALARM:
        severity = "problem" if test.p_value < CERTAIN else "warning"
        advice = (
            "Look at the closest pairs. Remove repeated training images, train for fewer steps, or use a smaller model."
        )
        return Finding("copies", severity, "The model copies training images.", evidence, advice)
    advice = (
        "Look at the closest pairs all the same: a handful of copies among many images is not significant, "
        "and copies of images outside the given training set cannot be seen."
    )
    claim = "No sign that the model copies its training images."
    if seen:
        claim = "No more copies than chance explains, but some pairs show the same picture."
    return Finding("copies", "warning" if seen else "info", claim, evidence, advice)
