"""The published numbers on copying, as pure functions on features: AuthPct, MiFID, C_T, FLD, ratios of neighbours.

None of them says on its own whether a model copies; `genmetrics_rt.copying.finding` calibrates that. They are here to
be compared with what papers print.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_feature_pair, as_features, as_numpy
from genmetrics_rt.clustering import kmeans
from genmetrics_rt.copying.closeness import nearest_row, nearest_rows
from genmetrics_rt.copying.likelihood import Fld as Fld  # FLD is one of them
from genmetrics_rt.copying.likelihood import fld as fld
from genmetrics_rt.copying.likelihood import require_rows, squared_distances
from genmetrics_rt.distances import IntArray, PointSet
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.metrics.frechet import frechet_distance

DIRECTIONS = ("gen_to_train", "train_to_gen")
_ROWS = 1024  # of a block of cosines


def auth_pct(generated: Any, train: Any) -> float:
    """AuthPct: the percentage of generated images that lie farther from their nearest training image than it lies from
    its own nearest other one, ``100 · mean[ d(t*, T without t*) < d(g, t*) ]``, t* the training image nearest to g.

    (M, D) and (N, D) features → 0 … 100; higher means fewer near-copies. A perfect model does not reach 100: fresh
    images give about 50. Alaa et al. 2022, "How Faithful is your Synthetic Data?", as dgm-eval prints it; the FLD
    repository subtracts 50.

    Raises
    ------
    TooFewImages
        Fewer than two training images.
    FeatureMismatch, NonFiniteFeatures
    """
    g, t = as_feature_pair(generated, train)
    require_rows(g, 1, "generated")
    require_rows(t, 2, "training")
    points, others = PointSet(g), PointSet(t)
    squared, column = nearest_row(points, others)
    authentic = _others_squared(others, column) < squared
    return float(100 * authentic[points.inverse].mean())


@dataclass(frozen=True)
class Mifid:
    """Memorisation-informed FID, and the two numbers that it is made of."""

    value: float
    memorisation: float  # mean cosine distance to the nearest row of the other side
    frechet: float


def mifid(
    generated: Any,
    train: Any,
    *,
    reference: Any = None,
    direction: str = "gen_to_train",
    threshold: float = 0.1,
    eps: float = 1e-15,
) -> Mifid:
    """Memorisation-informed FID: ``FD(generated, reference) / (m_τ + eps)``, ``m_τ = m if m < τ else 1``.

    ``m = mean over g of min over t of (1 − |cos(g, t)|)``; rows whose sum is 0 are left out of m. Lower is better; it
    equals FD where nothing is memorised. Where FD ≤ 1e-8 it is 0, since a quotient of two roundings says nothing.
    Bai, Lin, Raffel and Kan 2021, "On Training Sample Memorization". Known flaw: opposite vectors count as copies.

    Parameters
    ----------
    generated, train
        (M, D), (N, D) features; those of the ImageNet Inception for the published number.
    reference
        Features that the distance is taken to; None: the training set, as in the competition.
    direction
        ``"gen_to_train"`` as above; ``"train_to_gen"`` swaps the two in m, as torchmetrics does.
    threshold, eps
        τ and the number in the quotient; torchmetrics takes ``eps=1e-14``.

    Raises
    ------
    InputError, TooFewImages, FeatureMismatch, NonFiniteFeatures
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction is {direction!r}; it must be one of {', '.join(DIRECTIONS)}.")
    g, t = as_feature_pair(generated, train)
    memorisation = _cosine_distance(g, t) if direction == "gen_to_train" else _cosine_distance(t, g)
    frechet = frechet_distance(g, t if reference is None else as_features(reference, what="reference"))
    quotient = (memorisation if memorisation < threshold else 1.0) + eps
    return Mifid(0.0 if frechet <= 1e-8 else frechet / quotient, memorisation, frechet)


def copying_z(generated: Any, test: Any) -> float:
    """Z of the Mann–Whitney U of distances to the training set: ``(U − (mn/2 − ½)) / sqrt(mn(m + n + 1)/12)``.

    ``generated`` (m,) and ``test`` (n,) hold the distance of each image to its nearest training image; U counts the
    pairs in which the generated one is farther, ties by half. Far below 0: copying; far above: underfitting. No tie
    correction. Meehan, Chaudhuri and Dasgupta 2020, "A Non-Parametric Test to Detect Data-Copying".
    """
    g, t = (np.sort(as_numpy(values).astype(np.float64).ravel()) for values in (generated, test))
    if len(g) == 0 or len(t) == 0:
        raise TooFewImages("C_T compares distances of generated and of test images, and one side has none. Add images.")
    closer = np.searchsorted(t, g, side="left").sum()
    ties = np.searchsorted(t, g, side="right").sum() - closer
    pairs = len(g) * len(t)
    return float((closer + ties / 2 - (pairs / 2 - 0.5)) / math.sqrt(pairs * (len(g) + len(t) + 1) / 12))


@dataclass(frozen=True)
class CtScore:
    """C_T, and the Z of each cell of the training set."""

    value: float
    cells: tuple[float, ...]  # Z; NaN where a cell has too few generated images to be kept
    test_shares: tuple[float, ...]


def ct_score(
    generated: Any,
    train: Any,
    test: Any,
    *,
    num_cells: int = 3,
    num_components: int = 64,
    min_share: float | None = None,
    seed: int = 0,
) -> CtScore:
    """C_T: `copying_z` in each cell of the training set, averaged by the share of test images in the cell.

    Cells are ``num_cells`` k-means clusters of the training set in its first ``num_components`` principal components
    (all dimensions if there are no more); a cell counts if more than ``min_share`` of the generated images lie in it
    (None: 20 / M). Far below 0: copying; far above: underfitting; about 0 for fresh images.
    Meehan, Chaudhuri and Dasgupta 2020; cells as in dgm-eval, but seeded.

    Raises
    ------
    TooFewImages
        A cell without test or training images, or no cell with enough generated ones.
    FeatureMismatch, NonFiniteFeatures, InputError
    """
    g, t = as_feature_pair(generated, train)
    p = as_feature_pair(test, train)[0]
    for rows, what in ((g, "generated"), (t, "training"), (p, "test")):
        require_rows(rows, 1, what)
    if num_cells < 1:
        raise InputError(f"num_cells is {num_cells}; it must be at least 1.")
    g, t, p = _principal(g, t, p, num_components=num_components)
    labels = kmeans(t, num_cells, np.random.default_rng(seed))
    if len(np.unique(labels)) < num_cells:
        raise TooFewImages(f"The training set has no {num_cells} clusters. Ask for fewer with num_cells.")
    centres = np.stack([t[labels == cell].mean(axis=0) for cell in range(num_cells)])
    of_g, of_p = (_nearest_centre(rows, centres) for rows in (g, p))
    least = 20 / len(g) if min_share is None else min_share
    scores, shares = [], []
    for cell in range(num_cells):
        inside = t[labels == cell]
        if not (of_p == cell).any():
            raise TooFewImages(f"No test image lies in cell {cell}. Add test images, or ask for fewer with num_cells.")
        kept = bool((of_g == cell).any()) and (of_g == cell).mean() > least
        distances = (_nearest_distance(rows[of_rows == cell], inside) for rows, of_rows in ((g, of_g), (p, of_p)))
        scores.append(copying_z(*distances) if kept else math.nan)
        shares.append(float((of_p == cell).mean()))
    z, weight = np.array(scores), np.array(shares)
    counted = np.isfinite(z)
    if not counted.any():
        raise TooFewImages(f"No cell holds more than {least:.2g} of the generated images. Add generated images.")
    value = float(z[counted] @ weight[counted] / weight[counted].sum())
    return CtScore(value, tuple(scores), tuple(shares))


def nearest_neighbour_ratio(
    generated: Any, train: Any, held_out: Any = None, *, threshold: float = 1 / 3
) -> tuple[FloatArray, float]:
    """ρ (M,) of each generated image, and the share with ρ < ``threshold``.

    ``ρ = d₁(g, T) / d₁(g, P)`` against held-out images P, or ``d₁(g, T) / d₂(g, T)``, the nearest and the second
    nearest training image, where there are none. Small: a copy; a fresh image has about 1 against held-out images.
    0 / 0 is taken as 1: no closer to one than to the other. Twins in T count as two.
    Yoon et al. 2023, "Diffusion Probabilistic Models Generalize when They Fail to Memorize" (ρ < 1/3).

    Raises
    ------
    TooFewImages, FeatureMismatch, NonFiniteFeatures
    """
    g, t = as_feature_pair(generated, train)
    require_rows(g, 1, "generated")
    if held_out is None:
        require_rows(t, 2, "training")
        points, others = PointSet(g), PointSet(t)
        squared, column = nearest_rows(points, others, min(2, len(others)))
        nearest = squared[:, 0]
        other = np.where(others.multiplicity[column[:, 0]] > 1, nearest, squared[:, -1])
    else:
        p = as_feature_pair(held_out, train)[0]
        require_rows(p, 1, "held-out")
        require_rows(t, 1, "training")
        points = PointSet(g)
        nearest, other = (nearest_row(points, PointSet(rows))[0] for rows in (t, p))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((nearest == 0) & (other == 0), 1.0, np.sqrt(nearest / other))
    ratio = ratio[points.inverse]
    return ratio, float((ratio < threshold).mean())


def _cosine_distance(rows: FloatArray, others: FloatArray) -> float:
    """Mean over rows of min over others of ``1 − |cos|``; rows whose sum is 0 do not count, on either side."""
    a, b = (_directions(values) for values in (rows, others))
    if len(a) == 0 or len(b) == 0:
        raise TooFewImages("No feature row is left whose sum is not 0: MiFID has nothing to compare. Add images.")
    closest = np.concatenate([np.abs(a[start : start + _ROWS] @ b.T).max(axis=1) for start in range(0, len(a), _ROWS)])
    return float(np.maximum(1 - closest, 0).mean())


def _directions(values: FloatArray) -> FloatArray:
    kept = values[values.sum(axis=1) != 0].astype(np.float64)
    directions: FloatArray = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    return directions


def _others_squared(points: PointSet, rows: IntArray) -> FloatArray:
    """Squared distance of some distinct rows to their nearest other row; a twin is at 0."""
    if len(points) == 1:
        return np.zeros(len(rows))
    used, of_used = np.unique(rows, return_inverse=True)
    around = PointSet(points.rows(used))
    squared = nearest_rows(around, points, 2)[0][around.inverse][of_used, 1]  # the nearest is the row itself
    return np.where(points.multiplicity[rows] > 1, 0.0, squared)


def _nearest_distance(rows: FloatArray, others: FloatArray) -> FloatArray:
    points = PointSet(rows)
    distance: FloatArray = np.sqrt(nearest_row(points, PointSet(others))[0])[points.inverse]
    return distance


def _principal(*sides: FloatArray, num_components: int) -> tuple[FloatArray, ...]:
    """The generated, training and test rows in the first principal components of the training rows."""
    g, train, p = sides
    if train.shape[1] <= num_components:
        return tuple(np.asarray(rows, np.float64) for rows in sides)
    mean = train.mean(axis=0, dtype=np.float64)
    centred = train - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :num_components]
    return tuple((rows - mean) @ axes for rows in (g, train, p))


def _nearest_centre(rows: FloatArray, centres: FloatArray) -> IntArray:
    return np.asarray(squared_distances(rows, centres).argmin(axis=1))
