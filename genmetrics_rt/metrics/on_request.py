"""Metrics that are reported when they are asked for by name: dearer, or answers to narrower questions.

The same table as in `catalogue`, which puts both together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from genmetrics_rt.metrics.alpha_precision import alpha_precision
from genmetrics_rt.metrics.extrapolation import frechet_infinity, inception_score_infinity
from genmetrics_rt.metrics.frechet import frechet_without_each_group
from genmetrics_rt.metrics.metric import Comparison, Metric, Outcome, Value, Wording
from genmetrics_rt.metrics.rbf_distance import rbf_distance, rbf_distance_with_uncertainty
from genmetrics_rt.metrics.two_sample import classifier_two_sample, nearest_neighbour_accuracy
from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_score
from genmetrics_rt.uncertainty import jackknifed

SAME = "scores with the same fingerprint (same features, protocol and settings)"
SAME_N = SAME + " and the same numbers of images on both sides"


def _frechet_infinity(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference
    fixed = reference.values if reference.has_all_rows else reference.statistics()
    found = frechet_infinity(generated, fixed, **settings)
    details: dict[str, Any] = {"slope": found.slope, "sizes": list(found.sizes)}
    uncertainty = None
    if len(reference.values):
        details["of_the_reference"] = (
            "the bias of the reference's own finite number of images stays; that of both sides is taken off in what "
            "stands beside the Fréchet distance"
        )
    elif comparison.groups:
        # What moves the intercept is what moves the distance at N: both have the same first-order term.
        replicates = frechet_without_each_group(generated, fixed, comparison.groups, ddof=settings["ddof"])
        uncertainty = jackknifed(found.value, found.value + replicates - replicates.mean())
    return Outcome({"fd_inf": Value(found.value, details, uncertainty)})


def _class_score_infinity(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    assert comparison.generated.logits is not None
    found = inception_score_infinity(comparison.generated.logits, **settings)
    return Outcome({"class_score_inf": Value(found.value, {"slope": found.slope, "sizes": list(found.sizes)})})


def _vendi(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    generated, reference = comparison.generated.values[in_g], comparison.reference.values[in_r]
    details = {
        "reference_scores": vendi_score(reference, order=settings["order"]),
        "images_per_side": len(in_g),
        "mean_cosine": mean_pairwise_cosine(generated),
        "mean_cosine_of_reference": mean_pairwise_cosine(reference),
    }
    return Outcome({"vendi": Value(vendi_score(generated, order=settings["order"]), details)})


def _alpha_precision(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    found = alpha_precision(generated, reference, manifold=comparison.manifold, **settings)
    return Outcome(
        {
            "alpha_precision": Value(found.delta_precision_alpha),
            "beta_recall": Value(found.delta_coverage_beta),
            "authenticity": Value(found.authenticity),
        }
    )


def _rbf(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    if comparison.groups_of_rows is None:
        return Outcome({"rbf": Value(rbf_distance(generated, reference, **settings))})
    value, uncertainty = rbf_distance_with_uncertainty(generated, reference, comparison.groups_of_rows, **settings)
    return Outcome({"rbf": Value(value, {}, uncertainty)})


def _two_sample(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    found = classifier_two_sample(
        comparison.generated.values[in_g],
        comparison.reference.values[in_r],
        classifier=settings["classifier"],
        seed=settings["seed"],
    )
    details = {
        "p_value": found.p_value,
        "auc": found.auc,
        "real_seen_as_real": found.confusion.reference_as_reference,
        "real_seen_as_generated": found.confusion.reference_as_generated,
        "generated_seen_as_real": found.confusion.generated_as_reference,
        "generated_seen_as_generated": found.confusion.generated_as_generated,
        "images_per_side": len(in_g),
    }
    return Outcome({"two_sample": Value(found.accuracy, details)})


def _nearest_neighbour(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    found = nearest_neighbour_accuracy(comparison.generated.values[in_g], comparison.reference.values[in_r])
    details = {"of_generated": found.of_generated, "of_reference": found.of_reference, "images_per_side": len(in_g)}
    return Outcome({"nearest_neighbour": Value(found.accuracy, details)})


ON_REQUEST: tuple[Metric, ...] = (
    Metric(
        wording={
            "fd_inf": Wording(
                title="Fréchet distance of infinitely many generated images",
                meaning="The Fréchet distance extrapolated along 1/N, from growing samples of the generated images: "
                "what is left of it without the bias of their number.",
                higher_is_better=False,
                best=0.0,
                comparable_with=SAME + " and the same reference",
            )
        },
        defaults={"num_points": 15, "min_images": None, "ddof": 1},
        compute=_frechet_infinity,
        takes_seed=True,
        by_default=False,
    ),
    Metric(
        wording={
            "class_score_inf": Wording(
                title="Class score of infinitely many images",
                meaning="The class score in one split, extrapolated along 1/N.",
                higher_is_better=True,
                best=None,
                comparable_with=SAME,
            )
        },
        defaults={"num_points": 15, "min_images": None},
        compute=_class_score_infinity,
        needs_logits=True,
        takes_seed=True,
        by_default=False,
    ),
    Metric(
        wording={
            "vendi": Wording(
                title="Vendi score",
                meaning="How many different images there are in effect: 1 if all are alike, N if all are unrelated. "
                "It looks at the generated images alone; the reference's own stands beside it.",
                higher_is_better=True,
                best=None,
                comparable_with=SAME + " and the same number of generated images",
            )
        },
        defaults={"order": 1.0, "max_images": 10_000},
        compute=_vendi,
        by_default=False,
    ),
    Metric(
        wording={
            "alpha_precision": Wording(
                title="α-precision (integrated)",
                meaning="Whether the generated images fill the reference's typical region as its own images do, from "
                "the centre outward.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
            "beta_recall": Wording(
                title="β-recall (integrated)",
                meaning="Whether the reference images are reached by the generated ones, from the centre outward. A "
                "perfect model gets about 0.5.",
                higher_is_better=True,
                best=None,
                comparable_with=SAME_N,
            ),
            "authenticity": Wording(
                title="Authenticity",
                meaning="The share of generated images that lie no nearer to their reference image than its own "
                "nearest neighbour does. Copies push it to 0; a perfect model gets 0.4 to 0.9, by the dimension.",
                higher_is_better=True,
                best=None,
                comparable_with=SAME_N,
            ),
        },
        defaults={"mode": "paper", "min_max_scaled": False},
        compute=_alpha_precision,
        by_default=False,
    ),
    Metric(
        wording={
            "rbf": Wording(
                title="RBF kernel distance (the formula of CMMD)",
                meaning="The kernel distance with a Gaussian kernel on features of unit length, times 1,000. On CLIP "
                "features this is CMMD. Finitely many images leave it above 0.",
                higher_is_better=False,
                best=0.0,
                comparable_with=SAME_N,
            )
        },
        defaults={"sigma": 10.0, "normalise": True, "scale": 1000.0, "unbiased": False},
        compute=_rbf,
        by_default=False,
    ),
    Metric(
        wording={
            "two_sample": Wording(
                title="Classifier two-sample test",
                meaning="How often a small classifier, trained on half of the images, tells the other half apart: "
                "0.5 is as good as guessing, 1 is always.",
                higher_is_better=False,
                best=0.5,
                comparable_with=SAME_N,
            )
        },
        defaults={"classifier": "network", "max_images": 10_000},
        compute=_two_sample,
        takes_seed=True,
        by_default=False,
    ),
    Metric(
        wording={
            "nearest_neighbour": Wording(
                title="Nearest-neighbour accuracy (leave-one-out)",
                meaning="How often an image's nearest other is of its own side: 0.5 for a perfect model, 1 where the "
                "sides lie apart, below 0.5 where generated images sit on reference ones.",
                higher_is_better=False,
                best=0.5,
                comparable_with=SAME_N,
            )
        },
        defaults={"max_images": 10_000},
        compute=_nearest_neighbour,
        takes_seed=True,
        by_default=False,
    ),
)

# The names under which they are published on the ImageNet Inception.
PUBLISHED_ON_REQUEST: Mapping[str, tuple[str, Callable[[Wording], Wording]]] = {
    "fd_inf": ("fid_inf", lambda wording: replace(wording, title="FID∞ (extrapolated to infinitely many images)")),
    "class_score_inf": ("is_inf", lambda wording: replace(wording, title="IS∞ (extrapolated)")),
}
