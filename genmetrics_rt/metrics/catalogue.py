"""The table of metrics: which exist, their defaults, their words, and how a metric's function is called.

To add one, see CONTRIBUTING.md: its own file with a pure function, an entry here, a golden value, a property row.
Defaults are those of the reference implementation of each metric; a protocol may override them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import DamagedBundle, TooFewImages
from genmetrics_rt.features import Features
from genmetrics_rt.manifold import Manifold, require_neighbours
from genmetrics_rt.metrics.density_coverage import density_coverage, expected_coverage
from genmetrics_rt.metrics.frechet import frechet_distance, frechet_without_each_group
from genmetrics_rt.metrics.inception_score import inception_score
from genmetrics_rt.metrics.kernel_distance import kernel_distance
from genmetrics_rt.metrics.metric import Comparison, Metric, Outcome, Value, Wording
from genmetrics_rt.metrics.on_request import ON_REQUEST, PUBLISHED_ON_REQUEST, SAME, SAME_N
from genmetrics_rt.metrics.prd import prd_curve
from genmetrics_rt.metrics.precision_recall import PrecisionRecall, precision_recall
from genmetrics_rt.report import Curve
from genmetrics_rt.uncertainty import Uncertainty, jackknifed


def _frechet(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated, comparison.reference
    value = frechet_distance(
        generated.values if generated.has_all_rows else generated.statistics(),
        reference.values if reference.has_all_rows else reference.statistics(),
        ddof=settings["ddof"],
    )
    return Outcome({"fd": _with_bias(value, generated, reference, comparison.groups, settings["ddof"])})


def _spatial_frechet(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = (side.spatial_features() for side in (comparison.generated, comparison.reference))
    if generated is None or reference is None:
        side = "generated" if generated is None else "reference"
        raise TooFewImages(f"sFID needs the network's spatial features, and the {side} side has none. Give its images.")
    value = frechet_distance(
        generated.values if generated.all_statistics is None else generated.all_statistics,
        reference.values if reference.all_statistics is None else reference.all_statistics,
        ddof=settings["ddof"],
    )
    return Outcome({"sfid": _with_bias(value, generated, reference, comparison.groups, settings["ddof"])})


def _with_bias(
    value: float, generated: Features, reference: Features, groups: tuple[IntArray, IntArray] | None, ddof: int
) -> Value:
    """A Fréchet distance with its bias, and how sure it is. A side without rows is taken as exact."""
    few = min(number for number in (generated.num_images, reference.num_images, math.inf) if number is not None)
    details: dict[str, Any] = {"num_generated": generated.num_images, "num_reference": reference.num_images}
    uncertainty = None
    if groups and len(generated.values):
        rows = reference.values if len(reference.values) else reference.statistics()
        replicates = frechet_without_each_group(generated.values, rows, groups, ddof=ddof)
        uncertainty, bias = _of_all_rows(value, replicates, generated, reference)
        details |= {"bias": bias, "without_bias": value - bias}
        details["without_bias_interval"] = [end - bias for end in uncertainty.interval]
        if not len(reference.values):
            details["one_sided"] = "the interval takes the reference's mean and covariance as exact"
    if few <= generated.dimension:
        details["rank_deficient"] = (
            f"{few} images span fewer than the {generated.dimension} dimensions, so the value is exact for these "
            "images but far above that of the model"
        )
    return Value(value, details, uncertainty)


def _of_all_rows(
    value: float, replicates: FloatArray, generated: Features, reference: Features
) -> tuple[Uncertainty, float]:
    """How sure a distance is, and its bias, where the replicates may come from samples of the rows.

    Deleting a group of G raises a bias of b/N to b/(N(1 − 1/G)), so ``(G − 1)(mean θ_g − θ)`` is the bias (Quenouille
    1956): the model a + c/N of `frechet_infinity`, read at its end.
    """
    count = len(replicates)
    shares = [
        len(side.values) / side.num_images for side in (generated, reference) if len(side.values) and side.num_images
    ]
    share = max(shares)
    centre = float(replicates.mean())
    middle = value if share == 1 else centre  # the bias of a sample is not that of all
    bias = (count - 1) * (centre - middle)
    return jackknifed(value, value + np.sqrt(share) * (replicates - centre)), bias


def _kernel(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    size = min(settings["subset_size"], len(generated), len(reference))
    result = kernel_distance(
        generated,
        reference,
        num_subsets=settings["num_subsets"],
        subset_size=size,
        degree=settings["degree"],
        coef0=settings["coef0"],
        seed=settings["seed"],
        groups=comparison.groups_of_rows,
    )
    details = {"std_over_subsets": result.std, "subset_size_used": size}
    return Outcome({"kid": Value(result.mean, details, result.uncertainty)})


def _class_score(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    assert comparison.generated.logits is not None
    groups = comparison.groups[0] if comparison.groups else None
    result = inception_score(comparison.generated.logits, **settings, groups=groups)
    details: dict[str, Any] = {"std_over_splits": result.std, "num_classes": comparison.generated.logits.shape[1]}
    if comparison.reference.logits is not None and len(comparison.reference.logits) >= settings["splits"]:
        details["reference_scores"] = inception_score(comparison.reference.logits, **settings).mean
    return Outcome({"class_score": Value(result.mean, details, result.uncertainty)})


def _precision_recall(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    require_neighbours(settings["nearest_k"], len(generated), len(reference))
    result = precision_recall(
        generated,
        reference,
        nearest_k=settings["nearest_k"],
        border_counts=settings["border_counts"],
        manifold=comparison.manifold,
    )

    def shares(manifold: Manifold) -> PrecisionRecall:
        return precision_recall(None, None, manifold=manifold, **settings)

    of_precision = comparison.of_blocks(result.precision, lambda of: shares(of).precision, len(generated))
    of_recall = comparison.of_blocks(result.recall, lambda of: shares(of).recall, len(reference))
    return Outcome(
        {
            "precision": Value(result.precision, {"num_generated": len(generated)}, of_precision),
            "recall": Value(result.recall, {"num_reference": len(reference)}, of_recall),
        }
    )


def _density_coverage(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    generated, reference = comparison.generated.values, comparison.reference.values
    require_neighbours(settings["nearest_k"], len(generated), len(reference))
    result = density_coverage(
        generated,
        reference,
        nearest_k=settings["nearest_k"],
        border_counts=settings["border_counts"],
        manifold=comparison.manifold,
    )
    perfect = expected_coverage(len(reference), len(generated), settings["nearest_k"])
    of_density = None
    pairs = comparison.manifold.pairs_without_each_group
    if pairs:
        densities = pairs.per_visitor() / settings["nearest_k"]
        of_density = jackknifed(result.density, densities, bounds=(0, np.inf), num_trials=len(generated))
    of_coverage = comparison.of_blocks(
        result.coverage,
        lambda of: density_coverage(None, None, manifold=of, **settings).coverage,
        len(reference),
    )
    return Outcome(
        {
            "density": Value(result.density, {"perfect_model": 1.0}, of_density),
            "coverage": Value(result.coverage, {"perfect_model": perfect}, of_coverage),
        }
    )


def _prd(comparison: Comparison, settings: Mapping[str, Any]) -> Outcome:
    in_g, in_r = comparison.equal_rows(settings["max_images"])
    groups = comparison.groups_of_rows
    result = prd_curve(
        comparison.generated.values[in_g],
        comparison.reference.values[in_r],
        num_clusters=settings["num_clusters"],
        num_angles=settings["num_angles"],
        num_runs=settings["num_runs"],
        seed=settings["seed"],
        groups=(groups[0][in_g], groups[1][in_r]) if groups else None,
    )
    details = {
        "best_f1": result.best_f1,
        "total_variation": result.total_variation,
        "images_per_side": len(in_g),
    }
    curve = Curve(
        key="prd",
        title="Precision–recall curve of the distributions (PRD)",
        x_label="recall",
        y_label="precision",
        x=tuple(float(value) for value in result.recall),
        y=tuple(float(value) for value in result.precision),
    )
    values = {
        "prd_f8": Value(result.f8, details, result.f8_uncertainty),
        "prd_f1_8": Value(result.f1_8, details, result.f1_8_uncertainty),
    }
    return Outcome(values, (curve,))


METRICS: tuple[Metric, ...] = (
    Metric(
        wording={
            "fd": Wording(
                title="Fréchet distance",
                meaning="How far apart the two clouds of features lie, compared by their means and covariances. "
                "It sees lost quality and lost variety alike and does not say which.",
                higher_is_better=False,
                best=0.0,
                comparable_with=SAME_N + "; it is biased upward by about 1/N",
            )
        },
        defaults={"ddof": 1},
        compute=_frechet,
        needs_rows=False,
    ),
    Metric(
        wording={
            "sfid": Wording(
                title="Spatial Fréchet distance (sFID)",
                meaning="The Fréchet distance on features that keep their place in the picture: it sees broken "
                "structure that pooled features average away.",
                higher_is_better=False,
                best=0.0,
                comparable_with=SAME_N + "; it is biased upward by about 1/N",
            )
        },
        defaults={"ddof": 1},
        compute=_spatial_frechet,
        needs_rows=False,
        needs_spatial=True,
    ),
    Metric(
        wording={
            "kid": Wording(
                title="Kernel distance (KID)",
                meaning="The same question as the Fréchet distance, without a Gaussian assumption and without bias: "
                "the number to trust when there are few images. Around 0, slightly negative included, means that the "
                "sides cannot be told apart.",
                higher_is_better=False,
                best=0.0,
                comparable_with=SAME + "; numbers of images may differ, since it is unbiased",
            )
        },
        defaults={"num_subsets": 100, "subset_size": 1000, "degree": 3, "coef0": 1.0, "seed": 2020},
        compute=_kernel,
    ),
    Metric(
        wording={
            "class_score": Wording(
                title="Class score (the Inception Score's formula on this network's classes)",
                meaning="Whether each image clearly belongs to one class while all classes occur. It never looks at "
                "the reference, so it sees neither copies nor lost variety inside a class.",
                higher_is_better=True,
                best=None,
                comparable_with=SAME + "; never with a published Inception Score, whose classes are ImageNet's",
            )
        },
        defaults={"splits": 10, "shuffle": True, "seed": 2020, "split_rule": "floor", "block_size": 5000},
        compute=_class_score,
        needs_logits=True,
    ),
    Metric(
        wording={
            "precision": Wording(
                title="Precision",
                meaning="The share of generated images that look like some reference image: fidelity.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
            "recall": Wording(
                title="Recall",
                meaning="The share of reference images that the generated ones reach: variety.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
        },
        defaults={"nearest_k": 3, "border_counts": True},
        compute=_precision_recall,
    ),
    Metric(
        wording={
            "density": Wording(
                title="Density",
                meaning="How thickly the reference surrounds the generated images: fidelity that a single odd "
                "reference image cannot inflate. A perfect model gets about 1; it can exceed 1.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
            "coverage": Wording(
                title="Coverage",
                meaning="The share of reference images with a generated image nearby: variety that odd generated "
                "images cannot inflate.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
        },
        defaults={"nearest_k": 5, "border_counts": False},
        compute=_density_coverage,
    ),
    Metric(
        wording={
            "prd_f8": Wording(
                title="PRD F8 (weighs recall)",
                meaning="How much of the reference's variety is reached, read off the precision–recall curve of the "
                "two distributions.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
            "prd_f1_8": Wording(
                title="PRD F1/8 (weighs precision)",
                meaning="How much of what is generated belongs to the reference, read off the same curve.",
                higher_is_better=True,
                best=1.0,
                comparable_with=SAME_N,
            ),
        },
        defaults={"num_clusters": 20, "num_angles": 1001, "num_runs": 10, "max_images": 10_000},
        compute=_prd,
        takes_seed=True,
    ),
    *ON_REQUEST,
)


# The names under which scores on the ImageNet Inception are published, with what changes in their words.
PUBLISHED: Mapping[str, tuple[str, Callable[[Wording], Wording]]] = {
    "fd": ("fid", lambda wording: replace(wording, title="Fréchet Inception distance (FID)")),
    "class_score": (
        "is",
        lambda wording: replace(
            wording,
            title="Inception Score (IS)",
            comparable_with=SAME + "; published scores at the same number of images, splits and protocol",
        ),
    ),
    **PUBLISHED_ON_REQUEST,
}
# The same, and by single protocols of other networks. A report by such a one has the score that it is named after.
PUBLISHED_BY: Mapping[bool | str, Mapping[str, tuple[str, Callable[[Wording], Wording]]]] = {
    False: {},
    True: PUBLISHED,
    "cmmd": {
        "rbf": (
            "cmmd",
            lambda wording: replace(
                wording,
                title="CLIP maximum mean discrepancy (CMMD)",
                meaning="The kernel distance with a Gaussian kernel on CLIP features of unit length, times 1,000. "
                "Finitely many images leave it above 0.",
                comparable_with=SAME_N + "; published scores at the same number of images",
            ),
        )
    },
}
CATALOGUE_KEYS = {shown: key for names in PUBLISHED_BY.values() for key, (shown, _) in names.items()}


def published_as(keys: Iterable[str]) -> bool | str:
    """Which of `PUBLISHED_BY` has one of these keys among its names."""
    asked = set(keys)
    return next(
        (which for which, names in PUBLISHED_BY.items() if asked & {shown for shown, _ in names.values()}), False
    )


def settings_of(metric: Metric, overrides: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings a metric runs with: its defaults, with what the protocol fixes for any of its keys on top.

    Raises `DamagedBundle` for a setting that the metric does not have.
    """
    settings = dict(metric.defaults)
    if metric.takes_seed:
        settings["seed"] = seed
    for key in metric.keys:
        for name, value in (overrides.get(key) or {}).items():
            if name not in settings:
                raise DamagedBundle(
                    f"The protocol fixes {name!r} of {key}, which has no such setting; it has {', '.join(settings)}. "
                    "The bundle was made for another version of this package."
                )
            settings[name] = value
    return settings
