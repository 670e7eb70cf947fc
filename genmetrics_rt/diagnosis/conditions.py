"""The conditions of the rules: each looks at the evidence and gives the facts for its words, or None.

Here those on variety, fidelity, copies and numbers of images. `file_conditions` has those on the files,
`training_conditions` those on the training log and likelihoods.
"""

from __future__ import annotations

import math

from genmetrics_rt.diagnosis.evidence import Copying, Evidence, Repeats
from genmetrics_rt.diagnosis.facts import (
    Facts,
    against_floor,
    counted,
    distance_against_floor,
    fidelity,
    named,
    percent,
    sentence,
    sharpness,
    which_images,
)
from genmetrics_rt.diagnosis.file_conditions import (
    BLURRED,
    GRAINY,
    MUCH_BLURRED,
    MUCH_GRAIN,
    SIGNIFICANT,
    unlike_brightness,
    unlike_colour,
    unlike_jpeg,
)

# Of what a perfect model gets: below it, and below the floor's interval, a score is low.
LOW = 0.85
FINE = 0.9
# Published readings on the ImageNet Inception.
FID_FAIR, FID_POOR = 50.0, 100.0
IS_POOR, IS_HIGH = 3.0, 8.0
SURE = 1.5  # class score of the reference below which its classifier is sure of nothing: two classes would give 2
MIN_FOR_FD = 2_000
FAR = 0.2  # of the variance of the reference: a Fréchet distance above its floor by more is large
MANY_OFF = 0.25  # of the generated images, blurrier or grainier than nearly all of the reference
MANY_REPEATS = 0.15  # of the generated images: near neighbours come in pairs, so their share scatters widely


# Variety


def low_variety(evidence: Evidence) -> bool:
    """Coverage or recall far below what a perfect model gets."""
    return evidence.below_floor("coverage", LOW) or evidence.below_floor("recall", LOW)


def low_fidelity(evidence: Evidence) -> bool:
    """Precision or density far below what a perfect model gets, not by invented modes alone."""
    if evidence.invented_clusters:
        return False
    # Density alone scatters widely where few prototypes are repeated, so it needs precision beside it.
    thin = evidence.below_floor("density", 0.7) and not _reaches(evidence, "precision")
    return evidence.below_floor("precision", LOW) or thin


def _reaches(evidence: Evidence, key: str) -> bool:
    value, floor = evidence.value(key), evidence.floor(key)
    return value is not None and floor is not None and floor.value is not None and value >= FINE * floor.value


def mode_collapse(evidence: Evidence) -> Facts | None:
    if not low_variety(evidence) or low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None
    if evidence.value("precision") is None and evidence.value("density") is None:
        return None
    parts = [against_floor(evidence, key) for key in ("coverage", "recall", "precision")]
    if evidence.vendi:
        parts.append(f"about {evidence.vendi[0]:.1f} different images where the reference has {evidence.vendi[1]:.1f}")
    if evidence.cosine:
        parts.append(f"mean cosine of two images {evidence.cosine[0]:.3f}, in the reference {evidence.cosine[1]:.3f}")
    return Facts(sentence(parts))


def missing_modes(evidence: Evidence) -> Facts | None:
    if not evidence.lost_clusters or low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None
    parts = [
        f"{percent(cluster.generated_share)} of the generated images where the reference has "
        f"{percent(cluster.reference_share)} (p = {cluster.p_value:.1g}; as in {named(cluster.examples, evidence)})"
        for cluster in evidence.lost_clusters[:4]
    ]
    examples = [picture for cluster in evidence.lost_clusters[:4] for picture in cluster.examples]
    count = counted(len(evidence.lost_clusters), "group")
    return Facts(sentence(parts), tuple(examples), {"count": count})


def _moved_as_a_whole(evidence: Evidence) -> bool:
    """Whether colour, light, blur or noise explains that little of the reference is reached: images vary, elsewhere."""
    if unlike_colour(evidence):
        return True
    if evidence.vendi is None or evidence.vendi_within is None:
        return False
    if unlike_brightness(evidence):  # which makes images more alike, but not as alike as a collapse does
        return evidence.vendi_within[0] >= 0.5 * evidence.vendi_within[1]
    as_sharp = evidence.sharpness is None or BLURRED < evidence.sharpness < GRAINY
    return not as_sharp and evidence.vendi[0] >= LOW * evidence.vendi[1]


def invented_modes(evidence: Evidence) -> Facts | None:
    if not evidence.invented_clusters or mode_collapse(evidence):
        return None  # a prototype that is repeated is no mode
    if unlike_colour(evidence) or unlike_brightness(evidence):
        return None  # moved as a whole
    parts = [
        f"{percent(cluster.share)} of the generated images form a group of which {percent(cluster.share_inside)} "
        f"look like the reference ({named(cluster.examples, evidence)})"
        for cluster in evidence.invented_clusters[:4]
    ]
    outside = sum(cluster.share * (1 - cluster.share_inside) for cluster in evidence.invented_clusters)
    examples = [picture for cluster in evidence.invented_clusters[:4] for picture in cluster.examples]
    return Facts(sentence(parts), tuple(examples), {"share": percent(outside)})


# Fidelity


def blurry(evidence: Evidence) -> Facts | None:
    if evidence.sharpness is None or unlike_jpeg(evidence):
        return None
    share = evidence.soft_and_grainy[0]
    beyond_doubt = evidence.sharpness < MUCH_BLURRED or share >= MANY_OFF
    if not beyond_doubt and not (evidence.sharpness < BLURRED and low_fidelity(evidence)):
        return None
    return Facts(
        sentence([sharpness(evidence, share, "fewer"), *fidelity(evidence)]),
        evidence.least_realistic,
        {"which": which_images(share)},
    )


def noisy(evidence: Evidence) -> Facts | None:
    if evidence.sharpness is None:
        return None
    share = evidence.soft_and_grainy[1]
    beyond_doubt = evidence.sharpness > MUCH_GRAIN or share >= MANY_OFF
    if not beyond_doubt and not (evidence.sharpness > GRAINY and low_fidelity(evidence)):
        return None
    return Facts(
        sentence([sharpness(evidence, share, "more"), *fidelity(evidence)]),
        evidence.least_realistic,
        {"which": which_images(share)},
    )


def unrealistic(evidence: Evidence) -> Facts | None:
    if not low_fidelity(evidence) or blurry(evidence) or noisy(evidence):
        return None
    return Facts(sentence(fidelity(evidence)), evidence.least_realistic)


def diverse_but_blurry(evidence: Evidence) -> Facts | None:
    reached = [key for key in ("recall", "coverage") if _reaches(evidence, key)]
    if not low_fidelity(evidence) or not reached:
        return None
    return Facts(sentence([against_floor(evidence, key) for key in (*reached, "precision", "density")]))


def sharp_but_wrong(evidence: Evidence) -> Facts | None:
    score, distance = evidence.scores.get("is"), evidence.value("fid")
    if score and score.value is not None and distance is not None:
        if score.value < IS_HIGH or distance < FID_POOR:
            return None
        of_classes, of_distance = f"IS {score.value:.3g} (high from 8 on)", f"FID {distance:.4g} (poor from 100 on)"
        return Facts(sentence([of_classes, of_distance]))
    score = evidence.scores.get("class_score")
    usual = score.details.get("reference_scores") if score else None
    if score is None or score.value is None or usual is None or usual < SURE or score.value < FINE * usual:
        return None
    if not far_off(evidence):
        return None
    of_classes = f"class score {score.value:.3g}, the reference itself {usual:.3g}"
    return Facts(sentence([of_classes, distance_against_floor(evidence)]), evidence.least_realistic)


def poor_distance(evidence: Evidence) -> Facts | None:
    distance = evidence.value("fid")
    if distance is None or distance < FID_FAIR or sharp_but_wrong(evidence):
        return None
    floor = evidence.floor("fid")
    if floor is not None and floor.high is not None and distance <= 2 * floor.high:
        return None  # as much is bias from few images
    reading = "poor" if distance >= FID_POOR else "fair at best"
    return Facts(sentence([distance_against_floor(evidence)]), named={"reading": reading})


def poor_class_score(evidence: Evidence) -> Facts | None:
    score = evidence.scores.get("is")
    if score is None or score.value is None or score.value >= IS_POOR:
        return None
    usual = score.details.get("reference_scores")
    if usual is not None and score.value >= FINE * usual:
        return None  # as much as the reference itself
    reference = f", the reference itself {usual:.3g}" if usual is not None else ""
    return Facts(sentence([f"IS {score.value:.3g}{reference}"]))


def far_off(evidence: Evidence) -> bool:
    """Whether the Fréchet distance is large: FID by its published reading, another by the reference's own spread."""
    distance = evidence.value("fid")
    if distance is not None:
        return distance >= FID_POOR
    distance, floor = evidence.value("fd"), evidence.floor("fd")
    if distance is None or evidence.spread is None:
        return False
    bias = floor.value if floor else evidence.scores["fd"].details.get("bias")
    above = distance - max(0.0, bias or 0.0)
    beyond_floor = floor is None or floor.high is None or distance > floor.high
    return bool(beyond_floor and above > FAR * evidence.spread)


# Copies


def memorisation(evidence: Evidence) -> Facts | None:
    found = evidence.copying
    if found is None or not _more_than_usual(found):
        return None
    pairs = ", ".join(f"{evidence.name(generated)} and {evidence.name(of)}" for generated, of in found.examples)
    parts = [
        f"{percent(found.share)} of the generated images lie within half the distance that separates their nearest "
        f"reference image from its own neighbour; of held-out halves of the reference it is "
        f"{percent(found.expected)}",
        f"pairs to look at (generated and reference image): {pairs}",
    ]
    side_by_side = tuple(picture for pair in found.examples for picture in pair)
    return Facts(sentence(parts), side_by_side, {"share": percent(found.share)})


def near_repeats(evidence: Evidence) -> Facts | None:
    found = evidence.repeats
    if found is None or not _more_than_usual(found) or found.share < MANY_REPEATS or mode_collapse(evidence):
        return None
    if low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None  # then distances among the images mean something else than those in the reference
    pairs = ", ".join(f"{evidence.name(one)} and {evidence.name(other)}" for one, other in found.examples)
    parts = [
        f"{percent(found.share)} of the generated images have another one within half the distance that separates "
        f"reference images there; of held-out halves of the reference it is {percent(found.expected)}",
        f"pairs to look at: {pairs}",
    ]
    side_by_side = tuple(picture for pair in found.examples for picture in pair)
    return Facts(sentence(parts), side_by_side, {"share": percent(found.share)})


def _more_than_usual(found: Copying | Repeats) -> bool:
    """Significantly more than halves of the reference give, by a one-sided test with a margin."""
    usual = max(found.expected, 1 / found.num_images)
    return found.share > 2 * usual + 0.02 + SIGNIFICANT * math.sqrt(usual * (1 - usual) / found.num_images)


def duplicates(evidence: Evidence) -> Facts | None:
    if evidence.comparison is None:
        return None
    parts = []
    sides = (("generated", evidence.comparison.generated), ("reference", evidence.comparison.reference))
    for twins, (name, side) in zip(evidence.twins, sides, strict=True):
        if twins >= 2 and (twins >= 10 or twins >= 0.01 * len(side.values)):
            parts.append(f"{twins:,} of {len(side.values):,} {name} images repeat an earlier one exactly")
    return Facts(sentence(parts)) if parts else None


# Numbers of images


def rank_deficient(evidence: Evidence) -> Facts | None:
    score = evidence.scores.get("fid") or evidence.scores.get("fd")
    if score is None or score.value is None or "rank_deficient" not in score.details:
        return None
    return Facts(sentence([str(score.details["rank_deficient"])]))


def too_few_images(evidence: Evidence) -> Facts | None:
    score = evidence.scores.get("fid") or evidence.scores.get("fd")
    if score is None or score.value is None:
        return None
    parts = []
    counts = [score.details.get(key) for key in ("num_generated", "num_reference")]
    few = min((number for number in counts if number is not None), default=MIN_FOR_FD)
    if few < MIN_FOR_FD:
        parts.append(f"the smaller side has {few:,} images, and {MIN_FOR_FD:,} are the least for a Fréchet distance")
    bias = score.details.get("bias")
    if bias is not None and bias > 0.5 * score.value > 0:
        parts.append(f"about {bias:.3g} of the {score.value:.3g} is bias from few images")
    if score.interval is not None and score.interval[1] - score.interval[0] > abs(score.value):
        parts.append(f"its 95 % interval, {score.interval[0]:.3g} to {score.interval[1]:.3g}, is wider than the value")
    return Facts(sentence(parts)) if parts else None
