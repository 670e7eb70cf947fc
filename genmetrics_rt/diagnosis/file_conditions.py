"""Conditions on traits of the files: sides that differ in size, JPEG history, colour or brightness."""

from __future__ import annotations

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.facts import Facts, percent, sentence
from genmetrics_rt.diagnosis.traits import MIN_TRAITS, Traits, alike_in_size

# High frequencies over those of the reference: beside low fidelity, and so far off that they need no other witness.
BLURRED, MUCH_BLURRED = 0.8, 0.65
GRAINY, MUCH_GRAIN = 1.25, 1.6
SIGNIFICANT = 3.0  # standard errors


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
    return Facts(sentence([f"generated images are typically {sizes[0]}, reference images {sizes[1]}"]))


def unlike_jpeg(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None:
        return None
    g, r = pair
    parts = []
    if abs(g.jpeg_share - r.jpeg_share) >= 0.3:
        parts.append(f"{percent(g.jpeg_share)} of the generated files are JPEG, {percent(r.jpeg_share)} of reference")
    qualities = [side.jpeg_quality[np.isfinite(side.jpeg_quality)] for side in pair]
    if min(map(len, qualities)) >= MIN_TRAITS:
        medians = [float(np.median(own)) for own in qualities]
        if abs(medians[0] - medians[1]) >= 10:
            parts.append(f"JPEG quality is typically {medians[0]:.0f} generated, {medians[1]:.0f} in the reference")
    if unlike_sizes(evidence) or (evidence.sharpness or 0) > MUCH_GRAIN:
        return Facts(sentence(parts)) if parts else None  # resizing makes blocks, noise hides them
    blocks = [side.blockiness[np.isfinite(side.blockiness)] for side in pair]
    if min(map(len, blocks)) >= MIN_TRAITS:
        middle = [float(np.median(own)) for own in blocks]
        if max(middle) > 1.1 and abs(middle[0] - middle[1]) > 0.15 and _apart(*blocks):
            parts.append(
                f"steps across 8 × 8 blocks are {middle[0]:.2f} times those elsewhere in generated, {middle[1]:.2f} "
                "in reference images, as after JPEG compression of one side"
            )
    return Facts(sentence(parts)) if parts else None


def unlike_colour(evidence: Evidence) -> Facts | None:
    pair = _traits(evidence)
    if pair is None or abs(pair[0].grey_share - pair[1].grey_share) < 0.3:
        return None
    shares = [percent(side.grey_share) for side in pair]
    return Facts(sentence([f"{shares[0]} of the generated images are grey, {shares[1]} of reference images"]))


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
    return Facts(sentence(parts)) if parts else None


def _apart(first: FloatArray, second: FloatArray) -> bool:
    error = (first.var() / len(first) + second.var() / len(second)) ** 0.5
    return bool(abs(first.mean() - second.mean()) > SIGNIFICANT * error)
