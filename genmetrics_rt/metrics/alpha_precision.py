"""α-precision, β-recall and authenticity, from "How Faithful is your Synthetic Data? Sample-level Metrics for
Evaluating and Auditing Generative Models" (Alaa et al., 2022), on the features as they are: the variant that its code
calls naive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import FeatureMismatch, InputError
from genmetrics_rt.manifold import Manifold

NUM_ALPHAS = 30
BOUNDS = 1 - 2 * 15 / 29, 1.0  # of the two integrated scores


@dataclass(frozen=True)
class AlphaPrecision:
    """Fidelity, variety and originality of the generated images. Higher is better.

    Attributes
    ----------
    delta_precision_alpha : float
        ``1 − 2 Σ |P_α − α| / 29`` over 30 even α from 0 to 1: in [−1/29, 1]. A perfect model gets nearly 1.
    delta_coverage_beta : float
        The same of the coverage curve. A perfect model gets about 0.5, since a generated image is the nearest
        neighbour of a reference image only half of the time.
    authenticity : float
        The share of generated images that are no near copies. In [0, 1]; 0 for copies. A perfect model gets about
        0.4 to 0.5 in a few dimensions, not 1: 1 says that everything lies far from the reference. In many dimensions
        the nearest images are the crowded ones and a perfect model gets more (Gaussian features: 0.44 in 3
        dimensions, 0.6 in 8, 0.8 in 64). Score held-out real images to know what it is on yours.
    alphas : (30,)
    precision_curve : (30,)
        P_α: the share of generated images as near to the centre of the reference as its share α. On the diagonal for a
        perfect model, below it where generated images lie too far out, above it where they crowd in the middle.
    coverage_curve : (30,)
        Of reference images, the share whose nearest generated image is at least as near as their nearest other
        reference image and lies in the innermost share α of such generated images.
    """

    delta_precision_alpha: float
    delta_coverage_beta: float
    authenticity: float
    alphas: FloatArray
    precision_curve: FloatArray
    coverage_curve: FloatArray


def alpha_precision(
    generated: Any,
    reference: Any,
    *,
    mode: str = "paper",
    min_max_scaled: bool = False,
    manifold: Manifold | None = None,
) -> AlphaPrecision:
    """α-precision, β-recall and authenticity with the balls of mass α around the mean.

    The reference's ball of mass α has the α-quantile (linear) of the distances to its mean as radius, and P_α is the
    share of generated images in it, the border included. A generated image g with its nearest reference image r is
    authentic where ``d(g, r) > d(r, nearest other reference image)``. See `AlphaPrecision` for the rest and ranges.

    Balls suit features with one centre; the paper maps images into such a space first, by a network trained for it.

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
        Compare at equal numbers of images.
    mode : str
        ``"paper"``, or ``"reference-bug"`` for numbers as published by the paper's code and by synthcity: they take
        the distance within the reference at the position of the nearest *generated* image. It touches authenticity
        alone, and needs M ≤ N.
    min_max_scaled : bool
        Scale each dimension so that the reference fills [0, 1] (a constant one is only moved).
    manifold : Manifold
        Of the same features, not scaled, where it exists already.

    Raises
    ------
    TooFewImages
        Fewer than 2 images on a side.
    InputError
        An unknown mode.
    FeatureMismatch
        Unlike dimensions; M > N in mode ``"reference-bug"``.
    NonFiniteFeatures

    Notes
    -----
    synthcity sums the curves up as ``1 − Σ |P_α − α| / Σ α``.
    """
    if mode not in ("paper", "reference-bug"):
        raise InputError(f"mode is {mode!r}; it must be 'paper' or 'reference-bug'.")
    g, r = as_feature_pair(generated, reference)
    if mode == "reference-bug" and len(g) > len(r):
        raise FeatureMismatch(
            f"Mode 'reference-bug' counts positions of generated images among the reference, so it needs at most as "
            f"many of them; there are {len(g)} and {len(r)}. Take a random sample of the generated side."
        )
    if min_max_scaled:
        g, r = _scaled(g, r)
        manifold = None
    manifold = manifold or Manifold(g, r, nearest_k=1)
    within = manifold.reference_radii[:, 0]  # (N,) from each reference image to the nearest other one

    # Fidelity: generated images in the balls around the reference's mean.
    alphas = np.linspace(0, 1, NUM_ALPHAS)
    centre = r.mean(axis=0, dtype=np.float64)
    precision_curve = _precision_curve(_distances(g, centre), _distances(r, centre), alphas)

    # Variety: reference images reached from the balls around the mean of the generated ones.
    reached = manifold.reference_nearest_distance <= within
    out = _distances(g, g.mean(axis=0, dtype=np.float64))[manifold.reference_nearest]  # (N,) of each one's nearest
    coverage_curve = (reached[:, None] & (out[:, None] <= np.quantile(out, alphas))).mean(axis=0)

    # Originality.
    if mode == "paper":
        authentic = manifold.generated_nearest_distance > within[manifold.generated_nearest]
    else:  # of each reference image, whether its nearest generated one, at number j, lies beyond what number j here has
        authentic = manifold.reference_nearest_distance > within[manifold.reference_nearest]
    return AlphaPrecision(
        delta_precision_alpha=_delta(alphas, precision_curve),
        delta_coverage_beta=_delta(alphas, coverage_curve),
        authenticity=float(authentic.mean()),
        alphas=alphas,
        precision_curve=precision_curve,
        coverage_curve=coverage_curve,
    )


def alpha_precision_without_each_group(
    generated: NDArray[Any],
    reference: NDArray[Any],
    groups: tuple[IntArray, IntArray],
    *,
    min_max_scaled: bool = False,
) -> FloatArray:
    """(G,) ``delta_precision_alpha`` without each group of rows of either side.

    ``groups`` (M,) and (N,) are those of `genmetrics_rt.uncertainty.groups_of`. The centre is that of the rows that are
    left; the scale of ``min_max_scaled`` stays that of all.
    """
    g, r = _scaled(generated, reference) if min_max_scaled else (generated, reference)
    in_g, in_r = groups
    alphas = np.linspace(0, 1, NUM_ALPHAS)
    scores = []
    for group in range(1 + int(in_r.max())):
        left_g, left_r = g[in_g != group], r[in_r != group]
        centre = left_r.mean(axis=0, dtype=np.float64)
        curve = _precision_curve(_distances(left_g, centre), _distances(left_r, centre), alphas)
        scores.append(_delta(alphas, curve))
    return np.array(scores)


def _scaled(g: NDArray[Any], r: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Both sides so that the reference fills [0, 1] in each dimension."""
    low, high = r.min(axis=0).astype(np.float64), r.max(axis=0).astype(np.float64)
    extent = np.where(high > low, high - low, 1)
    return (g - low) / extent, (r - low) / extent


def _precision_curve(of_generated: FloatArray, of_reference: FloatArray, alphas: FloatArray) -> FloatArray:
    """The share of generated images in the ball of each mass α, from the distances to its centre."""
    curve: FloatArray = (of_generated[:, None] <= np.quantile(of_reference, alphas)).mean(axis=0)
    return curve


def _distances(features: NDArray[Any], centre: FloatArray) -> FloatArray:
    """(N,) Euclidean distances to one point."""
    difference = features - centre
    distances: FloatArray = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return distances


def _delta(alphas: FloatArray, curve: FloatArray) -> float:
    """One less twice the area between the curve and the diagonal, as a plain sum."""
    return float(1 - 2 * np.abs(alphas - curve).sum() * (alphas[1] - alphas[0]))
