"""What is wrong with the likelihoods of a model, or must be known to read them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genmetrics_rt.likelihood.report import LikelihoodEntry
from genmetrics_rt.metrics.likelihood import LN2, implausible_bits
from genmetrics_rt.metrics.parzen import PARZEN_WARNING
from genmetrics_rt.render.numbers import count, counted, plain_number
from genmetrics_rt.report import Finding

_ORDER = ("problem", "warning", "info")
_FEW_EFFECTIVE = 2.0  # importance samples, below which one of them carries the bound
_OPEN_BITS = 0.01  # bits/dim or
_OPEN_NATS = 0.5  # nats that the last step of k brought: the bound is not at its end


def findings_of(entry: LikelihoodEntry, *, several: bool) -> list[Finding]:
    """The most serious first. ``several``: more models are in the report, so each claim names its own."""
    found = [finding for find in _FINDERS for finding in find(entry)]
    if several:
        found = [
            Finding(own.key, own.severity, f"{entry.name}: {own.claim}", own.evidence, own.advice) for own in found
        ]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _implausible(entry: LikelihoodEntry) -> Iterator[Finding]:
    bits = entry.test.bits_per_dim
    if bits is None or entry.parzen is not None or not np.isfinite(bits):
        return
    told = implausible_bits(bits, offset=entry.offset, levels=entry.levels)
    if told is not None:
        fact, _, way_out = told.partition(". ")
        yield Finding(
            "implausible_bits",
            "problem",
            "The bits/dim cannot be right." if bits < 0 else "The bits/dim are worse than those of a uniform model.",
            f"{fact}.",
            way_out,
        )


def _impossible(entry: LikelihoodEntry) -> Iterator[Finding]:
    number = entry.test.num_impossible
    if number:
        yield Finding(
            "impossible_images",
            "problem",
            "Some images are impossible under the model, so its NLL is infinite.",
            f"{counted(number, 'test image')} of {count(entry.test.num_images)} with a likelihood of 0.",
            "Give the density support everywhere: dequantise the pixels, or add noise to its output. Leaving these "
            "images out would flatter it.",
        )


def _overfitting(entry: LikelihoodEntry) -> Iterator[Finding]:
    gap = entry.gap
    if gap is None or gap.verdict == "none":
        return
    low, high = gap.interval
    if gap.gap < 0:
        low, high = -high, -low
    bits = f" ({plain_number(abs(gap.gap) / (entry.dims * LN2))} bits/dim)" if entry.dims else ""
    evidence = (
        f"{count(gap.num_train)} training images are {plain_number(abs(gap.gap))} nats{bits} "
        f"{'likelier' if gap.gap > 0 else 'less likely'} than {count(gap.num_test)} test images, 95 % interval "
        f"{plain_number(low)} to {plain_number(high)} (Welch)."
    )
    if gap.verdict == "overfits":
        yield Finding(
            "overfitting",
            "warning",
            "The density overfits: images that it was trained on are likelier than others of the same kind.",
            evidence,
            "Stop earlier, regularise, or take more data. Quote the likelihood of test images only.",
        )
    else:
        yield Finding(
            "unlike_splits",
            "warning",
            "Test images are likelier than training images: the two sets are not alike.",
            evidence,
            "Look for harder images in the training set, augmentation that the test images did not get, or sides that "
            "were given in the wrong order.",
        )


def _loose_bound(entry: LikelihoodEntry) -> Iterator[Finding]:
    bounds = entry.bounds
    if bounds is None or len(bounds.sizes) < 2:
        return
    rise = bounds.last_rise
    if rise < (_OPEN_BITS * entry.dims * LN2 if entry.dims else _OPEN_NATS) and (
        bounds.effective_size >= _FEW_EFFECTIVE or rise < _OPEN_NATS
    ):
        return
    yield Finding(
        "loose_bound",
        "info",
        "The bound is still rising with the number of importance samples: the model is better than it says.",
        f"From k = {count(bounds.sizes[-2])} to {count(bounds.sizes[-1])} it rose by {plain_number(rise)} nats; half "
        f"of the images have fewer than {plain_number(bounds.effective_size)} effective samples.",
        "Take more samples (`--samples`; 5,000 are usual), and compare models only at equal numbers of them.",
    )


def _window(entry: LikelihoodEntry) -> Iterator[Finding]:
    parzen = entry.parzen
    if parzen is None:
        return
    yield Finding(
        "parzen_window",
        "warning",
        "A Parzen window is no likelihood of the model, and its ranking cannot be trusted.",
        f"{count(parzen.num_samples)} samples in {count(entry.dims)} dimensions, width {plain_number(parzen.sigma)}.",
        PARZEN_WARNING,
    )
    if parzen.at_edge:
        widths = [sigma for sigma, _ in parzen.validation]
        tried = f"{plain_number(min(widths))} to {plain_number(max(widths))}"
        yield Finding(
            "parzen_edge",
            "info",
            "The chosen width of the window is the outermost that was tried.",
            f"Width {plain_number(parzen.sigma)}, tried from {tried}.",
            "A better one may lie beyond: give `--sigma`. Published numbers take this grid.",
        )


_FINDERS = (_implausible, _impossible, _overfitting, _loose_bound, _window)
