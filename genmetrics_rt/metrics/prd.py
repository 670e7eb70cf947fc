"""Precision–recall curve of two distributions, from "Assessing Generative Models via Precision and Recall" (Sajjadi et
al., 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.clustering import kmeans
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.uncertainty import NUM_GROUPS, Uncertainty, jackknifed

_CurveOfRun: TypeAlias = tuple[FloatArray, FloatArray, float]  # precision, recall, total variation

_ANGLE_MARGIN = 1e-10  # keeps the slopes finite, as in the reference implementation


@dataclass(frozen=True)
class Prd:
    """A PRD curve and what is read off it.

    ``precision`` and ``recall`` (num_angles,) run from the recall end (slope 0) to the precision end. ``f8`` weighs
    recall, ``f1_8`` precision; ``best_f1`` is the largest F1 on the curve. All lie in [0, 1]; higher is better.
    ``total_variation`` of the two histograms, in [0, 1], lower is better: where the slope is 1, precision and recall
    are both 1 − total_variation.
    """

    precision: FloatArray
    recall: FloatArray
    f8: float
    f1_8: float
    best_f1: float
    total_variation: float
    f8_uncertainty: Uncertainty | None = None
    f1_8_uncertainty: Uncertainty | None = None


def prd_curve(
    generated: Any,
    reference: Any,
    *,
    num_clusters: int = 20,
    num_angles: int = 1001,
    num_runs: int = 10,
    seed: int = 0,
    groups: tuple[IntArray, IntArray] | None = None,
) -> Prd:
    """PRD of two sets of features: k-means on their union, then the curve of the two cluster histograms.

    Averaged point by point over ``num_runs`` clusterings, as in the reference implementation, which is unseeded and
    clusters by mini-batches: its F8 and F1/8 agree within about 0.01.

    Parameters
    ----------
    generated : (N, D)
        "Evaluated" in the paper.
    reference : (N, D)
        As many: unequal sets would pull the clusters towards the larger one.
    num_clusters, num_angles, num_runs : int
        20, 1001 and 10 in the paper.
    seed : int
        Run i uses ``default_rng([seed, i])``.
    groups : (N,), (N,)
        Of `genmetrics_rt.uncertainty.groups_of`, for standard errors by the jackknife with the clusters as they are.

    Raises
    ------
    TooFewImages
        Fewer rows than clusters.
    FeatureMismatch
        Unlike numbers of rows or dimensions.
    """
    g, r = as_features(generated, what="generated"), as_features(reference, what="reference")
    if g.shape != r.shape:
        raise FeatureMismatch(
            f"PRD needs as many generated as reference rows, of the same dimension; it was given {g.shape} and "
            f"{r.shape}. Take a random sample of the larger side."
        )
    for name, value in (("num_runs", num_runs), ("num_clusters", num_clusters)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.")
    if len(g) < num_clusters:
        raise TooFewImages(
            f"PRD clusters the images into {num_clusters} groups and needs at least as many a side; there are "
            f"{len(g)}. Add images."
        )
    union = np.concatenate([g, r])
    curves, without = [], [list[_CurveOfRun]() for _ in range(NUM_GROUPS)]
    for run in range(num_runs):
        labels = kmeans(union, num_clusters, np.random.default_rng([seed, run]))
        q, p = (np.bincount(part, minlength=num_clusters) / len(g) for part in (labels[: len(g)], labels[len(g) :]))
        curves.append(_curve(q, p, num_angles))
        if groups:
            sides = zip((labels[: len(g)], labels[len(g) :]), groups, strict=True)
            of_g, of_r = (_histograms_without_each_group(part, own, num_clusters) for part, own in sides)
            for group in range(NUM_GROUPS):
                without[group].append(_curve(of_g[group], of_r[group], num_angles))
    found = _read_off(curves)
    if not groups:
        return found
    left = [_read_off(of_group) for of_group in without]
    return replace(
        found,
        f8_uncertainty=jackknifed(found.f8, [entry.f8 for entry in left], bounds=(0, 1)),
        f1_8_uncertainty=jackknifed(found.f1_8, [entry.f1_8 for entry in left], bounds=(0, 1)),
    )


def _histograms_without_each_group(labels: IntArray, groups: IntArray, num_clusters: int) -> FloatArray:
    """(G, clusters) shares of the rows that are not of each group."""
    counts = np.zeros((NUM_GROUPS, num_clusters))
    np.add.at(counts, (groups, labels), 1)
    left = counts.sum(axis=0) - counts
    shares: FloatArray = left / left.sum(axis=1, keepdims=True)
    return shares


def prd_from_histograms(generated: Any, reference: Any, *, num_angles: int = 1001) -> Prd:
    """PRD of two histograms over the same states, each summing to 1.

    With Q generated, P reference and a slope λ: precision ``α = Σ min(λ P, Q)``, recall ``β = α/λ``, for λ = tan θ at
    ``num_angles`` even angles θ in (0, π/2). Exchanging the sides exchanges precision and recall.
    """
    q, p = (np.asarray(histogram, dtype=np.float64) for histogram in (generated, reference))
    if q.ndim != 1 or q.shape != p.shape or q.size == 0:
        raise InputError(f"Two histograms over the same states are needed, not {q.shape} and {p.shape}.")
    if min(q.min(), p.min()) < 0 or not (np.isclose(q.sum(), 1) and np.isclose(p.sum(), 1)):
        raise InputError("A histogram holds shares of at least 0 that sum to 1. Divide the counts by their sum.")
    return _read_off([_curve(q, p, num_angles)])


def _curve(q: FloatArray, p: FloatArray, num_angles: int) -> _CurveOfRun:
    """Precision, recall and total variation of two histograms."""
    if num_angles < 3:
        raise InputError(f"num_angles is {num_angles}; it must be at least 3.")
    slope = np.tan(np.linspace(_ANGLE_MARGIN, np.pi / 2 - _ANGLE_MARGIN, num_angles))
    precision = np.minimum(slope[:, None] * p, q).sum(axis=1)
    recall = precision / slope
    return np.clip(precision, 0, 1), np.clip(recall, 0, 1), float(np.abs(q - p).sum() / 2)


def _read_off(curves: Sequence[_CurveOfRun]) -> Prd:
    precision = np.mean([curve[0] for curve in curves], axis=0)
    recall = np.mean([curve[1] for curve in curves], axis=0)
    return Prd(
        precision=precision,
        recall=recall,
        f8=_best_f(precision, recall, 8.0),
        f1_8=_best_f(precision, recall, 1 / 8),
        best_f1=_best_f(precision, recall, 1.0),
        total_variation=float(np.mean([curve[2] for curve in curves])),
    )


def _best_f(precision: NDArray[Any], recall: NDArray[Any], beta: float) -> float:
    """The largest F_β = (1 + β²) p r / (β² p + r) on the curve; the small term is the reference implementation's."""
    return float(np.max((1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)))
