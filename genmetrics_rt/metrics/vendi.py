"""Vendi score, from "The Vendi Score: A Diversity Evaluation Metric for Machine Learning" (Friedman and Dieng, 2023),
and the mean cosine between images, its cheap companion. Both look at one set alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages

_BLOCK_BYTES = 32 << 20  # float64 copies of a stretch of rows
_UNIT = 1e-6  # how far the diagonal of a similarity may be from 1, and how far it may be from symmetric
_NEAR_ONE = 0.1
_JOINED_FROM = 512  # rows and columns of the matrix whose eigenvalues are taken
_EPS = float(np.finfo(np.float64).eps)


def vendi_score(features: Any, *, order: float = 1.0) -> float:
    """The effective number of different images among N: the Vendi score with the cosine as similarity.

    With λ the eigenvalues of K/N, where ``K_ij = x_i·x_j / (|x_i| |x_j|)``:
    ``exp(−Σ λ ln λ)`` for order 1, ``(Σ λ^q)^(1/(1−q))`` for order q, ``1/max λ`` for order ∞
    (Pasarkar and Dieng 2023). Between 1 (all images point one way) and min(N, D); higher is more varied. It does not
    look at a reference, so noise scores best, and it grows with N: compare at equal numbers of images.

    The spectrum comes from the smaller of K (N, N) and XᵀX (D, D), which have the same eigenvalues but for zeros, so it
    costs ``N D min(N, D)`` and never N³ for more images than dimensions: there is no cap on N.

    Parameters
    ----------
    features : (N, D)
        Their length does not matter, their origin does: features that are all positive look alike.
    order : float
        0 < q ≤ ∞. A low order lets rare images count, a high one only the commonest.

    Raises
    ------
    InputError
        A row of zeros, which has no direction; an order that is not above 0.
    NonFiniteFeatures
    """
    order = _checked_order(order)
    values = as_features(features)
    if len(values) == 0:
        raise TooFewImages("A Vendi score needs at least 1 image; there is none. Add images.")
    return _score_of(_gram(values) / len(values), order, rounding=_EPS)


def vendi_without_each_group(features: Any, groups: IntArray, *, order: float = 1.0) -> FloatArray:
    """(G,) the Vendi score without each group (N,) of rows, those of `genmetrics_rt.uncertainty.groups_of`.

    Where matrices are large, groups are joined in pairs: the scatter of ten says nearly as much as that of twenty.
    """
    order = _checked_order(order)
    values = as_features(features)
    gram = _gram(values)
    if len(gram) > _JOINED_FROM:
        groups = groups // 2
    scores = []
    for group in range(1 + int(groups.max())):
        left = groups != group
        matrix = gram[np.ix_(left, left)] if len(gram) == len(values) else gram - _moment(values[~left])
        # A difference has more rounding in its null space, which must not count as images.
        scores.append(_score_of(matrix / left.sum(), order, rounding=16 * _EPS))
    return np.array(scores)


def vendi_of_noise(num_rows: int, dimension: int) -> float:
    """The Vendi score (order 1) of rows that point evenly in all directions, the highest that many rows get:
    ``m exp(−(m − 1)/(2 M))`` with m and M the smaller and the larger of N and D (Page 1993).
    """
    few, many = sorted((num_rows, dimension))
    return few * float(np.exp(-(few - 1) / (2 * many)))


def vendi_from_similarity(matrix: Any, *, order: float = 1.0) -> float:
    """The Vendi score of any similarity (N, N): symmetric, positive semidefinite, 1 on the diagonal.

    Formula, range and order as in `vendi_score`. Costs N³.

    Raises
    ------
    InputError
        A matrix that is no such similarity; an order that is not above 0.
    NonFiniteFeatures
    """
    order = _checked_order(order)
    given = as_features(matrix, what="similarity")
    if given.shape[0] != given.shape[1]:
        raise InputError(f"A similarity compares each image with each, so it is square; this one is {given.shape}.")
    similarity = given.astype(np.float64)
    if np.abs(similarity - similarity.T).max() > _UNIT:
        raise InputError("The similarity is not symmetric. Take the mean of it and its transpose, if that is meant.")
    if np.abs(similarity.diagonal() - 1).max() > _UNIT:
        raise InputError(
            "The similarity of an image with itself is not 1 everywhere, so the score counts no images. Divide row i "
            "and column i by the root of entry (i, i)."
        )
    return _score_of(similarity / len(similarity), order, rounding=float(np.finfo(given.dtype).eps))


def mean_pairwise_cosine(features: Any) -> float:
    """The mean cosine of all pairs of different rows: ``(|Σ u_i|² − Σ |u_i|²) / (N (N − 1))``, u the unit rows.

    Exact in one pass. Between −1/(N − 1) and 1 (all point one way); lower is more varied.

    Parameters
    ----------
    features : (N, D)

    Raises
    ------
    TooFewImages
        Fewer than 2 rows.
    InputError
        A row of zeros, which has no direction.
    NonFiniteFeatures
    """
    values = as_features(features)
    if len(values) < 2:
        raise TooFewImages(f"A mean over pairs needs at least 2 images; there are {len(values)}. Add images.")
    total, own = np.zeros(values.shape[1]), 0.0
    for part in _parts(values):
        rows = unit_rows(values[part], start=part.start)
        total += rows.sum(axis=0)
        own += float(np.vdot(rows, rows))
    return (float(total @ total) - own) / (len(values) * (len(values) - 1))


def unit_rows(features: NDArray[Any], *, what: str = "features", start: int = 0) -> FloatArray:
    """(N, D) float64 rows divided by their lengths. ``start`` is the number of the first row, for the message.

    Raises `InputError` where a row has no length.
    """
    rows = features.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not lengths.all():
        raise InputError(
            f"{what}: row {start + int(np.argmin(lengths))} (counted from 0) is all zeros, and a cosine needs a "
            "direction. Remove such rows, or look at the network that made them."
        )
    rows /= lengths[:, None]
    return rows


def _gram(values: NDArray[Any]) -> FloatArray:
    """The smaller of the (N, N) cosines and the (D, D) `_moment`, which have the same eigenvalues but for zeros."""
    if values.shape[1] >= len(values):
        rows = unit_rows(values)
        gram: FloatArray = rows @ rows.T
        return gram
    return _moment(values)


def _moment(values: NDArray[Any]) -> FloatArray:
    """(D, D) Σ u uᵀ of the unit rows."""
    moment = np.zeros((values.shape[1], values.shape[1]))
    for part in _parts(values):
        rows = unit_rows(values[part], start=part.start)
        moment += rows.T @ rows
    return moment


def _parts(values: NDArray[Any]) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (8 * values.shape[1]))
    return [slice(start, start + step) for start in range(0, len(values), step)]


def _checked_order(order: float) -> float:
    if not order > 0:  # NaN comes here too
        raise InputError(f"order is {order}; it must be above 0, and may be infinite.")
    return float(order)


def _score_of(matrix: FloatArray, order: float, *, rounding: float) -> float:
    """From a symmetric matrix whose eigenvalues sum to 1."""
    eigenvalues = np.linalg.eigvalsh(matrix)
    # Below this an eigenvalue is rounding; a low order would count a thousand of them as images.
    floor = len(matrix) * rounding * eigenvalues[-1]
    if eigenvalues[0] < -floor:
        raise InputError(
            f"The similarity has a negative eigenvalue ({eigenvalues[0] * len(matrix):.3g}), so it is not positive "
            "semidefinite and has no Vendi score. Use a kernel, such as exp(−distance)."
        )
    kept = eigenvalues[eigenvalues > floor]
    shares = kept / kept.sum()
    logs = np.log(shares)
    if order == 1:
        entropy = -float(shares @ logs)
    elif order == np.inf:
        entropy = -float(logs[-1])
    elif abs(order - 1) < _NEAR_ONE:  # Σ λ^q = 1 + Σ λ (λ^(q−1) − 1), without the loss of digits
        entropy = float(np.log1p(shares @ np.expm1((order - 1) * logs))) / (1 - order)
    else:  # the largest is taken out, so that nothing underflows
        entropy = (order * float(logs[-1]) + float(np.log(np.exp(order * (logs - logs[-1])).sum()))) / (1 - order)
    return float(np.exp(entropy))
