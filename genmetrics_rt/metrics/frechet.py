"""Fréchet distance, from "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium"
(Heusel et al., 2017). On ImageNet Inception pool features this is the FID.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features, require_finite
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.kernels import NUMPY, Kernels, NumpyKernels, trace_sqrtm_of_rows
from genmetrics_rt.statistics import FeatureStatistics, statistics_without_each

_JOINED_FROM = 512  # dimensions


def frechet_distance(
    generated: FeatureStatistics | NDArray[Any],
    reference: FeatureStatistics | NDArray[Any],
    *,
    ddof: int = 1,
    kernels: Kernels = NUMPY,
) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two sets of features.

    ``|m_g − m_r|² + Tr(S_g + S_r − 2 (S_g S_r)^(1/2))``   Heusel et al. 2017, Eq. 6.
    Lower is better; 0 for equal statistics; not bounded. Its expectation exceeds the true value by about c/N.

    Parameters
    ----------
    generated, reference : FeatureStatistics or (N, D) features
        Features take the fastest exact route: with fewer rows than dimensions no (D, D) matrix is formed.
    ddof : int
        1 divides the covariance by N − 1 (TTUR, pytorch-fid, torch-fidelity, EDM2); 0 by N (StyleGAN2 and 3).
    kernels : Kernels
        Who computes the trace of the square root; a frozen kernel always gets covariances.

    Returns
    -------
    float
        Exact to 1e-9 · (Tr S_g + Tr S_r) and to 1e-7 of itself where covariances are ill-conditioned, to rounding
        elsewhere. Never clamped: −1e-13 for identical sets is rounding.

    Raises
    ------
    FeatureMismatch
        Unlike dimensions.
    TooFewImages
        A side of fewer than 2 images.
    InputError
        Statistics of an unknown number of images whose divisor would have to change.
    NonFiniteFeatures
        NaN or infinity.
    """
    sides = [side if isinstance(side, FeatureStatistics) else as_features(side) for side in (generated, reference)]
    dimensions = [len(side.mean) if isinstance(side, FeatureStatistics) else side.shape[1] for side in sides]
    if dimensions[0] != dimensions[1]:
        raise FeatureMismatch(
            f"The generated features have {dimensions[0]} dimensions, the reference {dimensions[1]}. "
            "Both sides must come from the same network."
        )
    for side in sides:
        num_images = side.num_images if isinstance(side, FeatureStatistics) else len(side)
        if num_images is not None and num_images < 2:
            raise TooFewImages(
                f"A Fréchet distance needs at least 2 images a side; there are {num_images}. Add images."
            )
        if isinstance(side, FeatureStatistics):
            require_finite(side.mean[None], what="The mean")
    if ddof not in (0, 1):
        raise InputError(f"ddof is {ddof}; it must be 1 (divide by N − 1) or 0 (divide by N).")
    if (
        isinstance(kernels, NumpyKernels)
        and not isinstance(sides[0], FeatureStatistics)
        and not isinstance(sides[1], FeatureStatistics)
        and _rows_are_cheaper(len(sides[0]), len(sides[1]), dimensions[0])
    ):
        return _from_rows(sides[0], sides[1], ddof)

    g, r = (
        side.with_ddof(ddof)
        if isinstance(side, FeatureStatistics)
        else FeatureStatistics.from_features(side, ddof=ddof)
        for side in sides
    )
    gap = g.mean - r.mean  # (D,)
    traces = float(g.covariance.trace() + r.covariance.trace())
    squared_gap = float(gap @ gap)
    if isinstance(kernels, NumpyKernels):
        cross = kernels.trace_sqrtm(g.covariance, r.covariance, distance_scale=squared_gap + traces)
    else:
        cross = kernels.trace_sqrtm(g.covariance, r.covariance)  # Tr (S_g S_r)^(1/2)
    return squared_gap + traces - 2 * cross


def frechet_without_each_group(
    generated: NDArray[Any],
    reference: FeatureStatistics | NDArray[Any],
    groups: tuple[IntArray, IntArray],
    *,
    ddof: int = 1,
) -> FloatArray:
    """(G,) the distance without each group of rows of either side (of the generated side alone, where the reference is
    mean and covariance).

    Where covariances are large, groups are joined in pairs: the scatter of ten says nearly as much as that of twenty.
    """
    if generated.shape[1] > _JOINED_FROM:
        groups = groups[0] // 2, groups[1] // 2
    in_g, in_r = groups
    count = 1 + int(in_g.max())
    of_g = statistics_without_each(generated, in_g, ddof)
    if isinstance(reference, FeatureStatistics):
        return np.array([frechet_distance(g, reference, ddof=ddof) for g in of_g])
    if _rows_are_cheaper(len(generated), len(reference), generated.shape[1]):
        pairs = ((generated[in_g != group], reference[in_r != group]) for group in range(count))
        return np.array([frechet_distance(g, r, ddof=ddof) for g, r in pairs])
    of_r = statistics_without_each(reference, in_r, ddof)
    return np.array([frechet_distance(g, r, ddof=ddof) for g, r in zip(of_g, of_r, strict=True)])


def _rows_are_cheaper(num_generated: int, num_reference: int, dimension: int) -> bool:
    """Singular values of the (n, m) cross-Gram cost about 4 n m min(n, m); the covariance route about 8 D³ more.

    Both sides are copied to float64 whole, so the larger one may not be much larger than a covariance either.
    """
    few, many = sorted((num_generated, num_reference))
    return few < dimension and many <= 4 * dimension and 4 * few * few * many < 8 * dimension**3


def _from_rows(generated: NDArray[Any], reference: NDArray[Any], ddof: int) -> float:
    (g_mean, g), (r_mean, r) = _centred(generated, ddof), _centred(reference, ddof)
    gap = g_mean - r_mean
    traces = float(np.vdot(g, g) + np.vdot(r, r))  # the squared Frobenius norm of the rows is the covariance's trace
    return float(gap @ gap) + traces - 2 * trace_sqrtm_of_rows(g, r)


def _centred(features: NDArray[Any], ddof: int) -> tuple[FloatArray, FloatArray]:
    """Mean (D,), and rows (N, D) with ``rowsᵀ rows`` = covariance."""
    rows = np.array(features, dtype=np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    rows /= np.sqrt(len(rows) - ddof)
    return mean, rows
