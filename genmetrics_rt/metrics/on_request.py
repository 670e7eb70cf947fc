"""Metrics that are reported when they are asked for by name: dearer, or answers to narrower questions.

The same table as in `catalogue`, which puts both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import TooFewImages
from genmetrics_rt.metrics.alpha_precision import (
    BOUNDS,
    AlphaPrecision,
    alpha_precision,
    alpha_precision_without_each_group,
)
from genmetrics_rt.metrics.extrapolation import Extrapolation, frechet_infinity, inception_score_infinity
from genmetrics_rt.metrics.frechet import frechet_without_each_group
from genmetrics_rt.metrics.inception_score import inception_score
from genmetrics_rt.metrics.mauve import mauve
from genmetrics_rt.metrics.metric import Comparison, Metric, Outcome, Value, Wording
from genmetrics_rt.metrics.rbf_distance import rbf_distance, rbf_distance_with_uncertainty
from genmetrics_rt.metrics.two_sample import accuracy_uncertainty, classifier_two_sample, nearest_neighbour_accuracy
from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_of_noise, vendi_score, vendi_without_each_group
from genmetrics_rt.report import Curve
from genmetrics_rt.uncertainty import (
    MIN_BLOCK,
    MIN_ROWS,
    NUM_BLOCKS,
    NUM_DEALS,
    Uncertainty,
    blocks_of,
    groups_of,
    jackknifed,
    of_blocks,
)

SAME = "scores with the same fingerprint (same features, protocol and settings)"
SAME_N = SAME + " and the same numbers of images on both sides"

# Where an interval was measured to hold less or more than it says, none is printed and the details say why.
_LEAST_ALPHA_PRECISION = 0.1  # below it the jackknife held 0.48 to 0.88 instead of 0.95
_LARGEST_HUB = 0.05  # above it the blocks of authenticity held 0.79 to 0.86
# The jackknife held 0.70 to 1.00: 0.70 where the sides differ everywhere a little.
_NO_BUCKETS = "other images would fall into other buckets, which the jackknife leaves as they are"
_TOO_FEW = f"fewer than {NUM_BLOCKS * MIN_BLOCK} different images on a side"


def _sure(value: float, details: Mapping[str, Any], how: Uncertainty | str | None) -> Value:
    """A value with how sure it is, or with why that is not said; None where nobody asked, or rows are too few."""
    if isinstance(how, Uncertainty) and how.standard_error == 0:
        how = "no group of images changes the value"
    if isinstance(how, str):
        return Value(value, {**details, "no_interval": f"no interval: {how}"})
    return Value(value, details, how)


def _extrapolated(found: Extrapolation, replicates: FloatArray) -> Uncertainty:
    """From the scores of all images without each group: what moves them moves the line, and drawing its points adds."""
    return jackknifed(found.value, found.value + found.scatter * (replicates - replicates.mean()))


def _pairs_of_blocks(g: NDArray[Any], r: NDArray[Any]) -> Iterator[list[tuple[NDArray[Any], NDArray[Any]]]]:
    """For each way to deal them, the rows of each block; nothing where rows are too few.

    Copies are torn from their originals, so for a generator that mostly copies, blocks scatter more than the whole.
    """
    for deal in range(NUM_DEALS):
        in_g, in_r = blocks_of(g, deal), blocks_of(r, deal)
        if in_g is None or in_r is None:
            return
        yield [(g[in_g == block], r[in_r == block]) for block in range(NUM_BLOCKS)]


def _frechet_infinity(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference
    if len(generated) == 0:
        raise TooFewImages(
            "This metric needs the features of single generated images, and that side holds only their mean and "
            "covariance. Give the images of that side."
        )
    fixed = reference.values if reference.has_all_rows else reference.statistics()
    found = frechet_infinity(generated, fixed, **settings)
    details: dict[str, Any] = {"slope": found.slope, "sizes": list(found.sizes)}
    if not comparison.generated.has_all_rows:
        details["num_generated_used"] = len(generated)
    if len(reference.values):
        details["of_the_reference"] = (
            "the bias of the reference's own finite number of images stays; that of both sides is taken off in what "
            "stands beside the Fréchet distance"
        )
    uncertainty = None
    if comparison.groups:
        replicates = frechet_without_each_group(
            generated, reference.statistics(), comparison.groups, ddof=settings["ddof"]
        )
        uncertainty = _extrapolated(found, replicates)
        details["one_sided"] = "the interval holds for this reference, whose mean and covariance it takes as exact"
    return Outcome({"fd_inf": _sure(found.value, details, uncertainty)})


def _class_score_infinity(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    logits = comparison.generated.logits
    assert logits is not None
    found = inception_score_infinity(logits, **settings)
    uncertainty = None
    if comparison.groups:
        of_all = inception_score(logits, splits=1, shuffle=False, groups=comparison.groups[0]).uncertainty
        assert of_all is not None
        uncertainty = _extrapolated(found, np.array(of_all.replicates))
    details = {"slope": found.slope, "sizes": list(found.sizes)}
    return Outcome({"class_score_inf": _sure(found.value, details, uncertainty)})


def _vendi(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    generated, reference = comparison.generated.values[in_g], comparison.reference.values[in_r]
    order = settings["order"]
    value = vendi_score(generated, order=order)
    details = {
        "reference_scores": vendi_score(reference, order=order),
        "images_per_side": len(in_g),
        "mean_cosine": mean_pairwise_cosine(generated),
        "mean_cosine_of_reference": mean_pairwise_cosine(reference),
    }
    how = _how_sure_vendi(value, generated, order) if comparison.groups_of_rows else None
    return Outcome({"vendi": _sure(value, details, how)})


def _how_sure_vendi(value: float, generated: NDArray[Any], order: float) -> Uncertainty | str:
    groups = groups_of(generated)  # of the sample, where it is one
    if groups is None:
        return f"fewer than {MIN_ROWS} different images"
    if order != 1:
        return "how often it would hold was measured for order 1 alone"
    replicates = vendi_without_each_group(generated, groups)
    found = jackknifed(value, replicates, bounds=(1, float(min(generated.shape))))
    if found.interval[1] < vendi_of_noise(*generated.shape):
        return found
    # At its maximum the entropy has no term of first order, and a jackknife counts that of second order twice.
    return (
        "the score cannot be told from that of features that point evenly in all directions, where it would be up to "
        "1.5 times too wide"
    )


def _alpha_precision(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    found = alpha_precision(generated, reference, manifold=comparison.manifold, **settings)
    how: Mapping[str, Uncertainty | str] = {}
    if comparison.groups_of_rows:
        how = {
            "alpha_precision": _how_sure_alpha_precision(found, comparison, comparison.groups_of_rows, settings),
            **_how_sure_neighbours(found, comparison, settings),
        }
    values = {
        "alpha_precision": found.delta_precision_alpha,
        "beta_recall": found.delta_coverage_beta,
        "authenticity": found.authenticity,
    }
    return Outcome({key: _sure(value, {}, how.get(key)) for key, value in values.items()})


def _how_sure_alpha_precision(
    found: AlphaPrecision,
    comparison: Comparison,
    groups: tuple[IntArray, IntArray],
    settings: Mapping[str, Any],
) -> Uncertainty | str:
    """Shares in balls around one centre change smoothly with the rows: a jackknife."""
    value = found.delta_precision_alpha
    if value < _LEAST_ALPHA_PRECISION:
        return "nearly all generated images lie in every ball or in none, so that a few images decide the value"
    replicates = alpha_precision_without_each_group(
        comparison.generated.values, comparison.reference.values, groups, min_max_scaled=settings["min_max_scaled"]
    )
    return jackknifed(value, replicates, bounds=BOUNDS)


def _how_sure_neighbours(
    found: AlphaPrecision, comparison: Comparison, settings: Mapping[str, Any]
) -> dict[str, Uncertainty | str]:
    """Nearest neighbours do not change smoothly: β-recall and authenticity by blocks."""
    generated, reference = comparison.generated.values, comparison.reference.values
    scores = [
        [
            alpha_precision(*pair, min_max_scaled=settings["min_max_scaled"], manifold=manifold)
            for pair, manifold in zip(pairs, manifolds, strict=True)
        ]
        for pairs, manifolds in zip(_pairs_of_blocks(generated, reference), comparison.manifolds_of_blocks, strict=True)
    ]
    if not scores:
        return {"beta_recall": _TOO_FEW, "authenticity": _TOO_FEW}
    betas = np.array([[block.delta_coverage_beta for block in deal] for deal in scores])
    how: dict[str, Uncertainty | str] = {
        "beta_recall": of_blocks(found.delta_coverage_beta, betas, num_trials=len(reference), bounds=BOUNDS)
    }
    hub = np.bincount(comparison.manifold.generated_nearest).max() / len(generated)
    if settings["mode"] != "paper":
        how["authenticity"] = "how often it would hold was measured for the paper's definition alone"
    elif hub > _LARGEST_HUB:
        how["authenticity"] = (
            f"one reference image is the nearest of {hub:.0%} of the generated ones, and with other reference images "
            "it would be another"
        )
    else:
        authentic = np.array([[block.authenticity for block in deal] for deal in scores])
        how["authenticity"] = of_blocks(found.authenticity, authentic, num_trials=len(generated))
    return how


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
    details: dict[str, Any] = {
        "p_value": found.p_value,
        "auc": found.auc,
        "real_seen_as_real": found.confusion.reference_as_reference,
        "real_seen_as_generated": found.confusion.reference_as_generated,
        "generated_seen_as_real": found.confusion.generated_as_reference,
        "generated_seen_as_generated": found.confusion.generated_as_generated,
        "images_per_side": len(in_g),
    }
    how: Uncertainty | str | None = None
    if comparison.groups_of_rows and settings["classifier"] == "network":
        right = found.confusion.reference_as_reference + found.confusion.generated_as_generated
        how = accuracy_uncertainty(right, sum(found.confusion))
        details["of_the_test_images"] = "the interval holds for this split and this trained classifier"
    elif comparison.groups_of_rows:
        how = "neighbours that vote nearly always for one side make the accuracy scatter less than a binomial"
    return Outcome({"two_sample": _sure(found.accuracy, details, how)})


def _nearest_neighbour(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    generated, reference = comparison.generated.values[in_g], comparison.reference.values[in_r]
    found = nearest_neighbour_accuracy(generated, reference)
    details = {"of_generated": found.of_generated, "of_reference": found.of_reference, "images_per_side": len(in_g)}
    how: Uncertainty | str | None = None
    if comparison.groups_of_rows:
        scores = [[_accuracy_of_block(*pair) for pair in pairs] for pairs in _pairs_of_blocks(generated, reference)]
        how = of_blocks(found.accuracy, np.array(scores), num_trials=2 * len(generated)) if scores else _TOO_FEW
    return Outcome({"nearest_neighbour": _sure(found.accuracy, details, how)})


def _accuracy_of_block(g: NDArray[Any], r: NDArray[Any]) -> float:
    few = min(len(g), len(r))  # equal rows stay together, so that blocks are not quite as even as the sides
    return nearest_neighbour_accuracy(g[:few], r[:few]).accuracy


def _mauve(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.rows_up_to(settings["max_images"])
    options = {key: value for key, value in settings.items() if key not in ("max_images", "num_buckets")}
    found = mauve(
        comparison.generated.values[in_g],
        comparison.reference.values[in_r],
        num_buckets=None if settings["num_buckets"] == "auto" else settings["num_buckets"],
        **options,
    )
    details = {
        "mauve_star": found.smoothed,
        "frontier_integral": found.frontier_integral,
        "buckets": found.num_buckets,
        "principal_components": found.num_components,
        "num_generated": len(in_g),
        "num_reference": len(in_r),
    }
    curve = Curve(
        key="mauve",
        title="Divergence curve (MAUVE)",
        x_label="diversity",
        y_label="fidelity",
        x=tuple(found.diversity.tolist()),
        y=tuple(found.fidelity.tolist()),
    )
    return Outcome({"mauve": _sure(found.value, details, _NO_BUCKETS if comparison.groups_of_rows else None)}, (curve,))


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
        needs_rows=False,  # of the reference; of the generated side it asks itself
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
    Metric(
        wording={
            "mauve": Wording(
                title="MAUVE",
                meaning="How near the two distributions are: the area under the curve of what is lost in fidelity and "
                "in diversity on the way from one to the other. Made for texts.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            )
        },
        # Seed, scaling and points are the reference implementation's; 5,000 a side are the papers'.
        defaults={
            "num_buckets": "auto",
            "explained_variance": 0.9,
            "scaling": 5.0,
            "num_points": 25,
            "num_runs": 5,
            "seed": 25,
            "max_images": 5_000,
        },
        compute=_mauve,
        by_default=False,
        default_on="text",
    ),
)

# The names under which they are published on the ImageNet Inception.
PUBLISHED_ON_REQUEST: Mapping[str, tuple[str, Callable[[Wording], Wording]]] = {
    "fd_inf": ("fid_inf", lambda wording: replace(wording, title="FID∞ (extrapolated to infinitely many images)")),
    "class_score_inf": ("is_inf", lambda wording: replace(wording, title="IS∞ (extrapolated)")),
}
