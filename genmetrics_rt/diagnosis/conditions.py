"""The conditions of the rules: each looks at the evidence and gives the facts for its words, or None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.diagnosis.evidence import Copying, Evidence, Picture, Repeats
from genmetrics_rt.diagnosis.traits import MIN_TRAITS, Traits, alike_in_size
from genmetrics_rt.training_log import Verdict

# Of what a perfect model gets: below it, and below the floor's interval, a score is low.
LOW = 0.85
FINE = 0.9
# Published readings on the ImageNet Inception.
FID_FAIR, FID_POOR = 50.0, 100.0
IS_POOR, IS_HIGH = 3.0, 8.0
MIN_FOR_FD = 2_000
FAR = 0.2  # of the variance of the reference: a Fréchet distance above its floor by more is large
# High frequencies over those of the reference: beside low fidelity, and so far off that they need no other witness.
BLURRED, MUCH_BLURRED = 0.8, 0.65
GRAINY, MUCH_GRAIN = 1.25, 1.6
MANY_OFF = 0.25  # of the generated images, blurrier or grainier than nearly all of the reference
MANY_REPEATS = 0.15  # of the generated images: near neighbours come in pairs, so their share scatters widely
_SIGNIFICANT = 3.0  # standard errors


@dataclass(frozen=True)
class Facts:
    """What a rule found: the evidence in a sentence, pictures of it, and what its claim and advice name in braces."""

    evidence: str
    pictures: tuple[Picture, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


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


def mode_collapse(evidence: Evidence) -> Facts | None:
    if not low_variety(evidence) or low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None
    if evidence.value("precision") is None and evidence.value("density") is None:
        return None
    parts = [_against_floor(evidence, key) for key in ("coverage", "recall", "precision")]
    if evidence.vendi:
        parts.append(f"about {evidence.vendi[0]:.1f} different images where the reference has {evidence.vendi[1]:.1f}")
    if evidence.cosine:
        parts.append(f"mean cosine of two images {evidence.cosine[0]:.3f}, in the reference {evidence.cosine[1]:.3f}")
    return Facts(_sentence(parts))


def missing_modes(evidence: Evidence) -> Facts | None:
    if not evidence.lost_clusters or low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None
    parts = [
        f"{_percent(cluster.generated_share)} of the generated images where the reference has "
        f"{_percent(cluster.reference_share)} (p = {cluster.p_value:.1g}; as in {_named(cluster.examples, evidence)})"
        for cluster in evidence.lost_clusters[:4]
    ]
    examples = [picture for cluster in evidence.lost_clusters[:4] for picture in cluster.examples]
    count = _counted(len(evidence.lost_clusters), "group")
    return Facts(_sentence(parts), tuple(examples), {"count": count})


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
        f"{_percent(cluster.share)} of the generated images form a group of which {_percent(cluster.share_inside)} "
        f"look like the reference ({_named(cluster.examples, evidence)})"
        for cluster in evidence.invented_clusters[:4]
    ]
    outside = sum(cluster.share * (1 - cluster.share_inside) for cluster in evidence.invented_clusters)
    examples = [picture for cluster in evidence.invented_clusters[:4] for picture in cluster.examples]
    return Facts(_sentence(parts), tuple(examples), {"share": _percent(outside)})


# Fidelity


def blurry(evidence: Evidence) -> Facts | None:
    if evidence.sharpness is None or unlike_jpeg(evidence):
        return None
    share = evidence.soft_and_grainy[0]
    beyond_doubt = evidence.sharpness < MUCH_BLURRED or share >= MANY_OFF
    if not beyond_doubt and not (evidence.sharpness < BLURRED and low_fidelity(evidence)):
        return None
    return Facts(
        _sentence([_sharpness(evidence, share, "fewer"), *_fidelity(evidence)]),
        evidence.least_realistic,
        {"which": _which(share)},
    )


def noisy(evidence: Evidence) -> Facts | None:
    if evidence.sharpness is None:
        return None
    share = evidence.soft_and_grainy[1]
    beyond_doubt = evidence.sharpness > MUCH_GRAIN or share >= MANY_OFF
    if not beyond_doubt and not (evidence.sharpness > GRAINY and low_fidelity(evidence)):
        return None
    return Facts(
        _sentence([_sharpness(evidence, share, "more"), *_fidelity(evidence)]),
        evidence.least_realistic,
        {"which": _which(share)},
    )


def unrealistic(evidence: Evidence) -> Facts | None:
    if not low_fidelity(evidence) or blurry(evidence) or noisy(evidence):
        return None
    return Facts(_sentence(_fidelity(evidence)), evidence.least_realistic)


def diverse_but_blurry(evidence: Evidence) -> Facts | None:
    reached = [key for key in ("recall", "coverage") if _reaches(evidence, key)]
    if not low_fidelity(evidence) or not reached:
        return None
    return Facts(_sentence([_against_floor(evidence, key) for key in (*reached, "precision", "density")]))


def sharp_but_wrong(evidence: Evidence) -> Facts | None:
    score, distance = evidence.scores.get("is"), evidence.value("fid")
    if score and score.value is not None and distance is not None:
        if score.value < IS_HIGH or distance < FID_POOR:
            return None
        of_classes, of_distance = f"IS {score.value:.3g} (high from 8 on)", f"FID {distance:.4g} (poor from 100 on)"
        return Facts(_sentence([of_classes, of_distance]))
    score = evidence.scores.get("class_score")
    usual = score.details.get("reference_scores") if score else None
    if score is None or score.value is None or usual is None or score.value < FINE * usual or not far_off(evidence):
        return None
    of_classes = f"class score {score.value:.3g}, the reference itself {usual:.3g}"
    return Facts(_sentence([of_classes, _distance(evidence)]), evidence.least_realistic)


def poor_distance(evidence: Evidence) -> Facts | None:
    distance = evidence.value("fid")
    if distance is None or distance < FID_FAIR or sharp_but_wrong(evidence):
        return None
    floor = evidence.floor("fid")
    if floor is not None and floor.high is not None and distance <= 2 * floor.high:
        return None  # as much is bias from few images
    reading = "poor" if distance >= FID_POOR else "fair at best"
    return Facts(_sentence([_distance(evidence)]), named={"reading": reading})


def poor_class_score(evidence: Evidence) -> Facts | None:
    score = evidence.scores.get("is")
    if score is None or score.value is None or score.value >= IS_POOR:
        return None
    usual = score.details.get("reference_scores")
    if usual is not None and score.value >= FINE * usual:
        return None  # as much as the reference itself
    reference = f", the reference itself {usual:.3g}" if usual is not None else ""
    return Facts(_sentence([f"IS {score.value:.3g}{reference}"]))


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
        f"{_percent(found.share)} of the generated images lie within half the distance that separates their nearest "
        f"reference image from its own neighbour; of held-out halves of the reference it is "
        f"{_percent(found.expected)}",
        f"pairs to look at (generated and reference image): {pairs}",
    ]
    side_by_side = tuple(picture for pair in found.examples for picture in pair)
    return Facts(_sentence(parts), side_by_side, {"share": _percent(found.share)})


def near_repeats(evidence: Evidence) -> Facts | None:
    found = evidence.repeats
    if found is None or not _more_than_usual(found) or found.share < MANY_REPEATS or mode_collapse(evidence):
        return None
    if low_fidelity(evidence) or _moved_as_a_whole(evidence):
        return None  # then distances among the images mean something else than those in the reference
    pairs = ", ".join(f"{evidence.name(one)} and {evidence.name(other)}" for one, other in found.examples)
    parts = [
        f"{_percent(found.share)} of the generated images have another one within half the distance that separates "
        f"reference images there; of held-out halves of the reference it is {_percent(found.expected)}",
        f"pairs to look at: {pairs}",
    ]
    side_by_side = tuple(picture for pair in found.examples for picture in pair)
    return Facts(_sentence(parts), side_by_side, {"share": _percent(found.share)})


def _more_than_usual(found: Copying | Repeats) -> bool:
    """Significantly more than halves of the reference give, by a one-sided test with a margin."""
    usual = max(found.expected, 1 / found.num_images)
    return found.share > 2 * usual + 0.02 + _SIGNIFICANT * math.sqrt(usual * (1 - usual) / found.num_images)


def duplicates(evidence: Evidence) -> Facts | None:
    if evidence.comparison is None:
        return None
    parts = []
    sides = (("generated", evidence.comparison.generated), ("reference", evidence.comparison.reference))
    for twins, (name, side) in zip(evidence.twins, sides, strict=True):
        if twins >= 2 and (twins >= 10 or twins >= 0.01 * len(side.values)):
            parts.append(f"{twins:,} of {len(side.values):,} {name} images repeat an earlier one exactly")
    return Facts(_sentence(parts)) if parts else None


# Numbers of images


def rank_deficient(evidence: Evidence) -> Facts | None:
    score = evidence.scores.get("fid") or evidence.scores.get("fd")
    if score is None or score.value is None or "rank_deficient" not in score.details:
        return None
    return Facts(_sentence([str(score.details["rank_deficient"])]))


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
    return Facts(_sentence(parts)) if parts else None


# Traits of the files


def _traits(evidence: Evidence) -> tuple[Traits, Traits] | None:
    g, r = evidence.generated_traits, evidence.reference_traits
    if g is None or r is None or min(g.num_images, r.num_images) < MIN_TRAITS:
        return None
    return g, r


def unlike_sizes(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None or alike_in_size(*pair):
        return None
    sizes = [f"{np.median(side.widths):.0f} × {np.median(side.heights):.0f}" for side in pair]
    return Facts(_sentence([f"generated images are typically {sizes[0]}, reference images {sizes[1]}"]))


def unlike_jpeg(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None:
        return None
    g, r = pair
    parts = []
    if abs(g.jpeg_share - r.jpeg_share) >= 0.3:
        parts.append(f"{_percent(g.jpeg_share)} of the generated files are JPEG, {_percent(r.jpeg_share)} of reference")
    qualities = [side.jpeg_quality[np.isfinite(side.jpeg_quality)] for side in pair]
    if min(map(len, qualities)) >= MIN_TRAITS:
        medians = [float(np.median(own)) for own in qualities]
        if abs(medians[0] - medians[1]) >= 10:
            parts.append(f"JPEG quality is typically {medians[0]:.0f} generated, {medians[1]:.0f} in the reference")
    if unlike_sizes(evidence) or (evidence.sharpness or 0) > MUCH_GRAIN:
        return Facts(_sentence(parts)) if parts else None  # resizing makes blocks, noise hides them
    blocks = [side.blockiness[np.isfinite(side.blockiness)] for side in pair]
    if min(map(len, blocks)) >= MIN_TRAITS:
        middle = [float(np.median(own)) for own in blocks]
        if max(middle) > 1.1 and abs(middle[0] - middle[1]) > 0.15 and _apart(*blocks):
            parts.append(
                f"steps across 8 × 8 blocks are {middle[0]:.2f} times those elsewhere in generated, {middle[1]:.2f} "
                "in reference images, as after JPEG compression of one side"
            )
    return Facts(_sentence(parts)) if parts else None


def unlike_colour(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None or abs(pair[0].grey_share - pair[1].grey_share) < 0.3:
        return None
    shares = [_percent(side.grey_share) for side in pair]
    return Facts(_sentence([f"{shares[0]} of the generated images are grey, {shares[1]} of reference images"]))


def unlike_brightness(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None:
        return None
    parts = []
    bright, spread = [side.brightness for side in pair], float(pair[1].brightness.std())
    means = [float(own.mean()) for own in bright]
    if abs(means[0] - means[1]) > max(10.0, 0.5 * spread) and _apart(*bright):
        parts.append(f"mean brightness {means[0]:.0f} generated, {means[1]:.0f} in the reference (of 255)")
    medians = [float(np.median(side.contrast)) for side in pair]
    alike = evidence.sharpness is None or BLURRED <= evidence.sharpness <= GRAINY  # else blur or noise tells it better
    if alike and min(medians) > 0 and max(medians) / min(medians) > 1.3:
        parts.append(f"contrast (standard deviation) {medians[0]:.0f} generated, {medians[1]:.0f} in the reference")
    return Facts(_sentence(parts)) if parts else None


def _apart(first: FloatArray, second: FloatArray) -> bool:
    error = (first.var() / len(first) + second.var() / len(second)) ** 0.5
    return bool(abs(first.mean() - second.mean()) > _SIGNIFICANT * error)


# Training


def discriminator_too_strong(evidence: Evidence) -> Facts | None:
    return _as_judged("too_strong", evidence)


def discriminator_guessing(evidence: Evidence) -> Facts | None:
    return _as_judged("guessing", evidence)


def discriminator_oscillating(evidence: Evidence) -> Facts | None:
    return _as_judged("oscillating", evidence)


def discriminator_memorises(evidence: Evidence) -> Facts | None:
    return _as_judged("memorising", evidence)


def collapse_under_discriminator(evidence: Evidence) -> Facts | None:
    """Too strong a discriminator, a large distance, and images that look alike."""
    strong = _judged("too_strong", evidence)
    if strong is None or not far_off(evidence):
        return None
    parts = [strong.facts, _distance(evidence)]
    alike = low_variety(evidence)
    parts += [_against_floor(evidence, key) for key in ("coverage", "recall")] if alike else []
    if evidence.vendi and evidence.vendi[0] < 0.5 * evidence.vendi[1]:
        alike = True
        parts.append(f"about {evidence.vendi[0]:.1f} different images where the reference has {evidence.vendi[1]:.1f}")
    return Facts(_sentence(parts)) if alike else None


def accuracy_hides_recall(evidence: Evidence) -> Facts | None:
    """Of the discriminator itself, or a high accuracy beside images with a low recall."""
    own = _as_judged("low_recall", evidence)
    strong = _judged("too_strong", evidence)
    if own is not None or strong is None:
        return own
    recall = evidence.value("recall")
    if recall is None or recall >= 0.5 or (evidence.floor("recall") and not evidence.below_floor("recall", LOW)):
        return None
    reached = f"yet recall is {recall:.2f}: the images reach {_percent(recall)} of the reference"
    return Facts(_sentence([strong.facts, reached]))


def _judged(key: str, evidence: Evidence) -> Verdict | None:
    return None if evidence.training_log is None else evidence.training_log.judged(key)


def _as_judged(key: str, evidence: Evidence) -> Facts | None:
    """The facts of the log's own judgement, if it says so."""
    verdict = _judged(key, evidence)
    return None if verdict is None else Facts(_sentence([verdict.facts]))


# Likelihood


def misleading_likelihood(evidence: Evidence) -> Facts | None:
    """Unseen reference images are as likely as the model's own samples, yet the samples are poor."""
    given = evidence.likelihoods
    if given is None or not len(given.of_reference) or not len(given.of_generated):
        return None
    usual = np.quantile(given.of_generated, 0.25)
    if not given.of_reference.mean() >= usual:
        return None
    if not (far_off(evidence) or low_fidelity(evidence)):
        return None
    parts = [
        f"mean log-likelihood {given.of_reference.mean():,.4g} nats of reference images, "
        f"{given.of_generated.mean():,.4g} of the model's own samples",
        _distance(evidence),
        *(_against_floor(evidence, key) for key in ("precision", "density")),
    ]
    return Facts(_sentence(parts))


# Words


def _against_floor(evidence: Evidence, key: str) -> str:
    """``recall 0.12, a perfect model about 0.88``; empty where there is no value."""
    value, floor = evidence.value(key), evidence.floor(key)
    if value is None:
        return ""
    perfect = f", a perfect model about {floor.value:.2f}" if floor and floor.value is not None else ""
    return f"{key} {value:.2f}{perfect}"


def _reaches(evidence: Evidence, key: str) -> bool:
    value, floor = evidence.value(key), evidence.floor(key)
    return value is not None and floor is not None and floor.value is not None and value >= FINE * floor.value


def _fidelity(evidence: Evidence) -> list[str]:
    parts = [_against_floor(evidence, key) for key in ("precision", "density")]
    if evidence.least_realistic:
        parts.append(f"the least realistic are {_named(evidence.least_realistic, evidence)}")
    return parts


def _which(share: float) -> str:
    return f"{_percent(share)} of the generated images" if 0.1 <= share < 0.8 else "The generated images"


def _sharpness(evidence: Evidence, share: float, which: str) -> str:
    return (
        f"high frequencies are {evidence.sharpness:.2f} times those of the reference, and {_percent(share)} of the "
        f"generated images have {which} than 39 of 40 reference images"
    )


def _distance(evidence: Evidence) -> str:
    for key, name in (("fid", "FID"), ("fd", "Fréchet distance")):
        value, floor = evidence.value(key), evidence.floor(key)
        if value is not None:
            perfect = f", a perfect model about {floor.value:.3g}" if floor and floor.value is not None else ""
            return f"{name} {value:.4g}{perfect}"
    return ""


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.095 else f"{100 * share:.1f} %"


def _named(pictures: Sequence[Picture], evidence: Evidence) -> str:
    return ", ".join(evidence.name(picture) for picture in pictures)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
