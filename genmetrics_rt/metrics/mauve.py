"""MAUVE: the area under the divergence frontier of two sets, from "MAUVE: Measuring the Gap Between Neural Text and
Human Text" (Pillutla et al., 2021) and "MAUVE Scores for Generative Models" (Pillutla et al., 2023).

Written from the papers' formulas. Between the histograms P of the reference and Q of the generated side lie the
mixtures R = w P + (1 − w) Q. A mixture that is near Q is far from what P has and Q lacks, and the other way round; the
curve of both over w shows what is gained and lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.clustering import tightest_kmeans
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages

ROWS_PER_BUCKET = 10  # of the smaller side, where the number of buckets follows from the number of rows
_MARGIN = 1e-6  # of the weights from 0 and 1
_SMOOTHING = 0.5  # added to each count for MAUVE* (Krichevsky and Trofimov, 1981)
_EQUAL = 1e-8  # shares nearer to each other than this add nothing to the frontier integral
_FEWEST = 2


@dataclass(frozen=True)
class Mauve:
    """MAUVE and what belongs to it.

    ``value`` in [0, 1], 1 for equal histograms, higher is better. ``smoothed`` is MAUVE*, from counts plus one half.
    ``frontier_integral`` in [0, 1], 0 for equal ones, lower is better. ``fidelity`` and ``diversity`` (points + 2,) are
    the curve, ``exp(−c KL(Q‖R))`` and ``exp(−c KL(P‖R))``, from the pure generated side (1, 0) to the pure reference
    (0, 1).
    """

    value: float
    smoothed: float
    frontier_integral: float
    fidelity: FloatArray
    diversity: FloatArray
    num_buckets: int
    num_components: int | None = None  # of the principal components that were clustered


def mauve(
    generated: Any,
    reference: Any,
    *,
    num_buckets: int | None = None,
    explained_variance: float = 0.9,
    scaling: float = 5.0,
    num_points: int = 25,
    num_runs: int = 5,
    seed: int = 25,
) -> Mauve:
    """MAUVE of two sets of features: rows of unit length, principal components, k-means of both, two histograms.

    The clustering is this package's own k-means, so a value agrees with that of another implementation as well as two
    clusterings do; the curve of given histograms is exact (`mauve_from_counts`).

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
    num_buckets : int
        Clusters; None is a tenth of the smaller side, at least 2.
    explained_variance : float
        Share of the variance that the principal components must hold.
    scaling : float
        c of the curve.
    num_points : int
        Mixtures on the curve, beside its two ends.
    num_runs, seed : int
        Of the clusterings, run i with ``default_rng([seed, i])``, the tightest is taken.

    Raises
    ------
    TooFewImages
        Fewer rows on a side than there are buckets, or than 2.
    FeatureMismatch
        Unlike dimensions.
    """
    g, r = as_features(generated, what="generated"), as_features(reference, what="reference")
    if g.shape[1] != r.shape[1]:
        raise FeatureMismatch(f"MAUVE needs features of one dimension; there are {g.shape[1]} and {r.shape[1]}.")
    few = min(len(g), len(r))
    buckets = max(_FEWEST, round(few / ROWS_PER_BUCKET)) if num_buckets is None else num_buckets
    if not 1 <= buckets:
        raise InputError(f"num_buckets is {buckets}; it must be at least 1.")
    if not 0 < explained_variance <= 1 or num_runs < 1:
        raise InputError("explained_variance must lie in (0, 1], and num_runs must be at least 1.")
    if few < max(buckets, _FEWEST):
        raise TooFewImages(
            f"MAUVE sorts the images into {buckets} buckets and needs at least as many a side, and 2; there are {few}. "
            "Add images."
        )
    points = _principal_components(np.concatenate([g, r]).astype(np.float64), explained_variance)
    labels = tightest_kmeans(points, buckets, seed, num_runs=num_runs)
    sides = labels[: len(g)], labels[len(g) :]
    found = mauve_from_counts(
        *(np.bincount(side, minlength=buckets) for side in sides), scaling=scaling, num_points=num_points
    )
    return replace(found, num_components=points.shape[1])


def mauve_from_counts(generated: Any, reference: Any, *, scaling: float = 5.0, num_points: int = 25) -> Mauve:
    """MAUVE of two histograms over the same buckets, as counts or shares.

    With P reference, Q generated and ``R = w P + (1 − w) Q`` for ``num_points`` even weights w in (0, 1): the area
    under ``(exp(−c KL(Q‖R)), exp(−c KL(P‖R)))`` with the ends (1, 0) and (0, 1), the mean of both directions of the
    trapezoid rule, in the order of w. MAUVE* smooths counts by one half: of shares it says nothing.
    """
    q, p = (np.asarray(histogram, dtype=np.float64) for histogram in (generated, reference))
    if q.ndim != 1 or q.shape != p.shape or q.size == 0:
        raise InputError(f"Two histograms over the same buckets are needed, not {q.shape} and {p.shape}.")
    if min(q.min(), p.min()) < 0 or not (0 < q.sum() < np.inf and 0 < p.sum() < np.inf):
        raise InputError("A histogram holds counts of at least 0, and not all of them are 0.")
    if num_points < 1 or not scaling > 0:
        raise InputError("num_points must be at least 1, and scaling above 0.")
    curve = _curve(_shares(q), _shares(p), scaling, num_points)
    smoothed = _curve(_shares(q + _SMOOTHING), _shares(p + _SMOOTHING), scaling, num_points)
    return Mauve(
        value=_area(curve),
        smoothed=_area(smoothed),
        frontier_integral=frontier_integral(_shares(q), _shares(p)),
        fidelity=curve[0],
        diversity=curve[1],
        num_buckets=len(q),
    )


def frontier_integral(generated: FloatArray, reference: FloatArray) -> float:
    """The frontier's own area (Liu et al., 2021), in closed form: ``2 Σ [(p + q)/4 − p q (ln p − ln q)/(2 (p − q))]``;
    a bucket that one side alone has adds half of its share, one of equal shares nothing.
    """
    q, p = generated, reference
    terms = (p + q) / 4
    both = (p > 0) & (q > 0) & (np.abs(p - q) > _EQUAL)
    terms[both] -= 0.5 * (p * q)[both] * np.log(p[both] / q[both]) / (p - q)[both]
    terms[np.abs(p - q) <= _EQUAL] = 0.0
    return float(2 * terms.sum())


def _curve(q: FloatArray, p: FloatArray, scaling: float, num_points: int) -> tuple[FloatArray, FloatArray]:
    weights = np.linspace(_MARGIN, 1 - _MARGIN, num_points)[:, None]
    mixtures = weights * p + (1 - weights) * q
    fidelity, diversity = (np.exp(-scaling * _divergence(side, mixtures)) for side in (q, p))
    return np.concatenate([[1.0], fidelity, [0.0]]), np.concatenate([[0.0], diversity, [1.0]])


def _divergence(p: FloatArray, mixtures: FloatArray) -> FloatArray:
    """(points,) Kullback–Leibler divergence of p (K,) from each mixture (points, K), in nats; 0 ln 0 is 0."""
    inside = p > 0  # there, every mixture is above 0
    terms = p[inside] * np.log(p[inside] / mixtures[:, inside])
    summed: FloatArray = terms.sum(axis=1)
    return summed


def _area(curve: tuple[FloatArray, FloatArray]) -> float:
    """In the order of the curve: where points tie, sorting by one axis would take the other in any order."""
    x, y = curve
    over_x = -np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    over_y = np.sum(np.diff(y) * (x[1:] + x[:-1]) / 2)
    return float((over_x + over_y) / 2)


def _principal_components(rows: FloatArray, explained_variance: float) -> NDArray[np.float32]:
    """(N, d) rows of unit length in the fewest principal components that hold so much of the variance; float32."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    rows -= rows.mean(axis=0)
    variances, axes = np.linalg.eigh(rows.T @ rows)
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    total = variances.sum()
    if total == 0:
        return rows[:, :1].astype(np.float32)
    kept = int(np.searchsorted(np.cumsum(variances) / total, explained_variance - 1e-12)) + 1
    kept_axes: FloatArray = axes[:, :kept]
    return (rows @ kept_axes).astype(np.float32)


def _shares(counts: FloatArray) -> FloatArray:
    shares: FloatArray = counts / counts.sum()
    return shares
