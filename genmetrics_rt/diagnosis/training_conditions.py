"""Conditions on what training left: the log of a discriminator, and likelihoods."""

from __future__ import annotations

import numpy as np

from genmetrics_rt.diagnosis.conditions import LOW, far_off, low_fidelity, low_variety
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.facts import Facts, against_floor, distance_against_floor, percent, sentence
from genmetrics_rt.likelihood.files import Likelihoods
from genmetrics_rt.metrics.likelihood import likelihood_gap
from genmetrics_rt.training_log import Verdict

# Training log


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
    parts = [strong.facts, distance_against_floor(evidence)]
    alike = low_variety(evidence)
    parts += [against_floor(evidence, key) for key in ("coverage", "recall")] if alike else []
    if evidence.vendi and evidence.vendi[0] < 0.5 * evidence.vendi[1]:
        alike = True
        parts.append(f"about {evidence.vendi[0]:.1f} different images where the reference has {evidence.vendi[1]:.1f}")
    return Facts(sentence(parts)) if alike else None


def accuracy_hides_recall(evidence: Evidence) -> Facts | None:
    """Of the discriminator itself, or a high accuracy beside images with a low recall."""
    own = _as_judged("low_recall", evidence)
    strong = _judged("too_strong", evidence)
    if own is not None or strong is None:
        return own
    recall = evidence.value("recall")
    if recall is None or recall >= 0.5 or (evidence.floor("recall") and not evidence.below_floor("recall", LOW)):
        return None
    reached = f"yet recall is {recall:.2f}: the images reach {percent(recall)} of the reference"
    return Facts(sentence([strong.facts, reached]))


def _judged(key: str, evidence: Evidence) -> Verdict | None:
    return None if evidence.training_log is None else evidence.training_log.judged(key)


def _as_judged(key: str, evidence: Evidence) -> Facts | None:
    """The facts of the log's own judgement, if it says so."""
    verdict = _judged(key, evidence)
    return None if verdict is None else Facts(sentence([verdict.facts]))


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
        _mean_likelihoods(given),
        distance_against_floor(evidence),
        *(against_floor(evidence, key) for key in ("precision", "density")),
    ]
    return Facts(sentence(parts))


def likelihood_misses_real(evidence: Evidence) -> Facts | None:
    """Good samples, yet unseen reference images are far less likely than the model's own samples."""
    given = evidence.likelihoods
    if given is None or len(given.of_reference) < 2 or len(given.of_generated) < 2:
        return None
    # Below what all but one in twenty of its samples have. Of an equal distribution half lie below the middle.
    unlikely = float((given.of_reference < np.quantile(given.of_generated, 0.05)).mean())
    known = [evidence.value(key) for key in ("precision", "density")]
    if unlikely <= 0.5 or all(value is None for value in known) or far_off(evidence) or low_fidelity(evidence):
        return None
    parts = [
        f"{percent(unlikely)} of the reference images are less likely than 19 of 20 of the model's own samples",
        _mean_likelihoods(given),
        *(against_floor(evidence, key) for key in ("precision", "density")),
    ]
    return Facts(sentence(parts))


def likelihood_overfits(evidence: Evidence) -> Facts | None:
    """Training images are likelier than unseen ones beyond noise, and by more than a tenth of their spread."""
    given = evidence.likelihoods
    if given is None or given.of_train is None:
        return None
    sides = given.of_train, given.of_reference
    if any(len(side) < 2 or not np.isfinite(side).all() for side in sides):
        return None
    gap = likelihood_gap(*sides)
    if gap.verdict != "overfits" or gap.gap < 0.1 * given.of_reference.std():
        return None
    low, high = gap.interval
    between = f"95 % interval {low:,.4g} to {high:,.4g}"
    return Facts(sentence([f"training images are {gap.gap:,.4g} nats likelier than unseen ones, {between}"]))


def _mean_likelihoods(given: Likelihoods) -> str:
    return (
        f"mean log-likelihood {given.of_reference.mean():,.4g} nats of reference images, "
        f"{given.of_generated.mean():,.4g} of the model's own samples"
    )
