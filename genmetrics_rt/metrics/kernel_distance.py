"""Kernel distance (KID), from "Demystifying MMD GANs" (Bińkowski et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.errors import InputError, TooFewImages

_BLOCK_BYTES = 32 << 20  # of kernel values at a time


@dataclass(frozen=True)
class KernelDistance:
    """Mean over the subsets, standard deviation over them (ddof 0), and the value of each."""

    mean: float
    std: float
    subsets: tuple[float, ...]


def kernel_distance(
    generated: Any,
    reference: Any,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    seed: int = 2020,
) -> KernelDistance:
    """Squared maximum mean discrepancy with the kernel ``(γ x·y + c)^degree``: unbiased, over random subsets.

    ``1/(m(m−1)) Σ_{i≠j} [k(g_i, g_j) + k(r_i, r_j)] − 2/m² Σ_{ij} k(g_i, r_j)`` for subsets of m rows a side.
    Lower is better, 0 in expectation for equal distributions, and then negative half of the time: it is not clipped.

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
    num_subsets, subset_size : int
        100 subsets of 1,000 in all implementations; a subset is drawn without replacement.
    degree, gamma, coef0
        γ is 1/D when None.
    seed : int
        For ``RandomState``, which draws the generated subset first, as torch-fidelity does.

    The spread over subsets of the same images says nothing about other images: it is no standard error.

    Raises
    ------
    TooFewImages
        Fewer rows than ``subset_size`` on a side.
    FeatureMismatch, NonFiniteFeatures
    """
    g, r = as_feature_pair(generated, reference)
    if num_subsets < 1:
        raise InputError(f"num_subsets is {num_subsets}; it must be at least 1.")
    if int(degree) != degree or degree < 1:
        raise InputError(f"degree is {degree}; it must be a whole number of at least 1.")
    few = min(len(g), len(r))
    if few < 2:
        raise TooFewImages(f"KID compares sets of 2 images or more; the smaller side has {few}. Add images.")
    if subset_size < 2 or subset_size > few:
        raise TooFewImages(
            f"KID compares subsets of 2 images or more, and not more than there are: subset_size is {subset_size}, "
            f"and the smaller side has {few}. Add images, or set subset_size between 2 and {few}."
        )
    kernel = _Kernel(int(degree), 1 / g.shape[1] if gamma is None else gamma, coef0)

    # Draw.
    stream = np.random.RandomState(seed)
    drawn = [
        (stream.choice(len(g), subset_size, replace=False), stream.choice(len(r), subset_size, replace=False))
        for _ in range(num_subsets)
    ]

    # Sum the kernel over each subset: from one pass over all pairs where that is less work than subset by subset.
    pairs_of_all = len(g) ** 2 / 2 + len(r) ** 2 / 2 + len(g) * len(r)
    if pairs_of_all <= num_subsets * 2 * subset_size**2:
        chosen = [np.zeros((len(rows), num_subsets)) for rows in (g, r)]
        for column, (of_g, of_r) in enumerate(drawn):
            chosen[0][of_g, column] = chosen[1][of_r, column] = 1
        sums = _sums_over_subsets(kernel, g, r, chosen[0], chosen[1])
    else:
        sums = np.array([_sums(kernel, g[of_g], r[of_r]) for of_g, of_r in drawn]).T

    within_g, within_r, across = sums  # (num_subsets,) each
    values = (within_g + within_r) / (subset_size * (subset_size - 1)) - 2 * across / subset_size**2
    return KernelDistance(mean=float(values.mean()), std=float(values.std()), subsets=tuple(values.tolist()))


@dataclass(frozen=True)
class _Kernel:
    degree: int
    gamma: float
    coef0: float

    def __call__(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """(n, m) kernel values of rows (n, D) and (m, D)."""
        values: FloatArray = x @ y.T
        values *= self.gamma
        values += self.coef0
        once = values.copy()
        for _ in range(self.degree - 1):
            values *= once
        return values


def _sums(kernel: _Kernel, g: NDArray[Any], r: NDArray[Any]) -> tuple[float, float, float]:
    """Of one subset: Σ_{i≠j} k(g_i, g_j), Σ_{i≠j} k(r_i, r_j), Σ_{ij} k(g_i, r_j)."""
    x, y = g.astype(np.float64), r.astype(np.float64)
    return _sum_of_others(kernel, x), _sum_of_others(kernel, y), float(kernel(x, y).sum())


def _sum_of_others(kernel: _Kernel, x: FloatArray) -> float:
    square = kernel(x, x)
    np.fill_diagonal(square, 0)
    return float(square.sum())


def _sums_over_subsets(
    kernel: _Kernel, g: NDArray[Any], r: NDArray[Any], of_g: FloatArray, of_r: FloatArray
) -> FloatArray:
    """The same of all subsets at once, (3, S), from 0/1 columns (M, S) and (N, S) that say who is in which.

    With s the column of a subset and K all kernel values, Σ k = sᵀ K s: one product serves every subset. Only the
    upper half of the symmetric K is computed.
    """
    sums = np.zeros((3, of_g.shape[1]))
    for which, (rows, chosen) in enumerate(((g, of_g), (r, of_r))):
        step = _rows_per_block(len(rows))
        for start in range(0, len(rows), step):
            stop = start + step
            x = rows[start:stop].astype(np.float64)
            square = kernel(x, x)
            np.fill_diagonal(square, 0)
            mine = chosen[start:stop]
            sums[which] += (mine * (square @ mine)).sum(axis=0)
            for left in range(stop, len(rows), step):
                block = kernel(x, rows[left : left + step].astype(np.float64))
                sums[which] += 2 * (mine * (block @ chosen[left : left + step])).sum(axis=0)
    step = _rows_per_block(len(r))
    for start in range(0, len(g), step):
        x = g[start : start + step].astype(np.float64)
        for left in range(0, len(r), step):
            block = kernel(x, r[left : left + step].astype(np.float64))
            sums[2] += (of_g[start : start + step] * (block @ of_r[left : left + step])).sum(axis=0)
    return sums


def _rows_per_block(count: int) -> int:
    return min(count, int((_BLOCK_BYTES // 8) ** 0.5))
