"""Kernel distance (KID), from "Demystifying MMD GANs" (Bińkowski et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.uncertainty import NUM_GROUPS, Uncertainty, around

_BLOCK_BYTES = 32 << 20  # of kernel values at a time


_MAX_PAIRED = 5000  # rows a side, beyond which the standard error is that of as many, scaled


@dataclass(frozen=True)
class KernelDistance:
    """Mean over the subsets, standard deviation over them (ddof 0), the value of each; how sure the mean is."""

    mean: float
    std: float
    subsets: tuple[float, ...]
    uncertainty: Uncertainty | None = None


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
    groups: tuple[IntArray, IntArray] | None = None,
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

    groups : (M,), (N,)
        Of `genmetrics_rt.uncertainty.groups_of`, for a standard error; see `uncertainty_of_pairs`.

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
    num_rows = len(g), len(r)
    few = min(num_rows)
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
        sums, blocks = _sums_over_subsets(kernel, g, r, chosen[0], chosen[1], groups)
        paired = len(g), len(r)
    else:
        sums = np.array([_sums(kernel, g[of_g], r[of_r]) for of_g, of_r in drawn]).T
        paired, blocks = (min(len(g), _MAX_PAIRED), min(len(r), _MAX_PAIRED)), None
        if groups:
            g, r = g[: paired[0]], r[: paired[1]]
            groups = groups[0][: paired[0]], groups[1][: paired[1]]
            nothing = np.zeros((len(g), 0)), np.zeros((len(r), 0))
            blocks = _sums_over_subsets(kernel, g, r, *nothing, groups)[1]

    within_g, within_r, across = sums  # (num_subsets,) each
    values = (within_g + within_r) / (subset_size * (subset_size - 1)) - 2 * across / subset_size**2
    mean, std = float(values.mean()), float(values.std())
    uncertainty = None
    if groups and blocks is not None:
        share = max(paired[0] / num_rows[0], paired[1] / num_rows[1])  # of the rows that the value is made of
        uncertainty = uncertainty_of_pairs(mean, std / num_subsets**0.5, blocks, groups, share)
    return KernelDistance(mean, std, tuple(values.tolist()), uncertainty)


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
    kernel: _Kernel,
    g: NDArray[Any],
    r: NDArray[Any],
    of_g: FloatArray,
    of_r: FloatArray,
    groups: tuple[IntArray, IntArray] | None,
) -> tuple[FloatArray, FloatArray]:
    """The same of all subsets at once, (3, S), from 0/1 columns (M, S) and (N, S) that say who is in which; and
    (3, G, G) the sums between groups, where there are any.

    With s the column of a subset and K all kernel values, Σ k = sᵀ K s: one product serves every subset. Only the
    upper half of the symmetric K is computed.
    """
    num_subsets, num_groups = of_g.shape[1], NUM_GROUPS if groups else 0
    if groups:
        of_g, of_r = (np.hstack([of, np.eye(num_groups)[own]]) for of, own in zip((of_g, of_r), groups, strict=True))
    subsets, members = slice(num_subsets), slice(num_subsets, None)
    sums, blocks = np.zeros((3, num_subsets)), np.zeros((3, num_groups, num_groups))

    def add(which: int, mine: FloatArray, product: FloatArray, times: int = 1) -> None:
        sums[which] += times * (mine[:, subsets] * product[:, subsets]).sum(axis=0)
        between = mine[:, members].T @ product[:, members]
        blocks[which] += between if times == 1 else between + between.T

    for which, (rows, chosen) in enumerate(((g, of_g), (r, of_r))):
        step = _rows_per_block(len(rows))
        for start in range(0, len(rows), step):
            stop = start + step
            x = rows[start:stop].astype(np.float64)
            square = kernel(x, x)
            np.fill_diagonal(square, 0)
            mine = chosen[start:stop]
            add(which, mine, square @ mine)
            for left in range(stop, len(rows), step):
                block = kernel(x, rows[left : left + step].astype(np.float64))
                add(which, mine, block @ chosen[left : left + step], times=2)
    step = _rows_per_block(len(r))
    for start in range(0, len(g), step):
        x = g[start : start + step].astype(np.float64)
        for left in range(0, len(r), step):
            block = kernel(x, r[left : left + step].astype(np.float64))
            add(2, of_g[start : start + step], block @ of_r[left : left + step])
    return sums, blocks


def uncertainty_of_pairs(
    value: float, of_drawing: float, blocks: FloatArray, groups: tuple[IntArray, IntArray], share: float
) -> Uncertainty:
    """The standard error of a U-statistic whose units are pairs of a generated and a reference group.

    With ``h(a, b)`` the mean kernel between group a and group b of either side, less that across both ways, the
    distance is the mean of h over a ≠ b. Its variance is ``4 ζ1/G + 2 ζ2/(G (G − 1))`` (Hoeffding 1948): ζ1 of what a
    group adds to all of its pairs, ζ2 of what is left of a pair. Both are estimated without bias from h. The second
    term is what remains where the sides are alike; a plain jackknife would count it twice. Drawing finitely many
    subsets adds ``of_drawing``². Replicates are the distance without each group.

    ``share``: of the rows that the value is made of, how many stand in the blocks; the variances shrink by it.
    """
    g_sizes, r_sizes = (np.bincount(own, minlength=len(blocks[0])).astype(np.float64) for own in groups)
    across = blocks[2] / np.outer(g_sizes, r_sizes)
    h = blocks[0] / np.outer(g_sizes, g_sizes) + blocks[1] / np.outer(r_sizes, r_sizes) - across - across.T
    count = len(h)
    np.fill_diagonal(h, 0)
    mean = h.sum() / (count * (count - 1))
    own = (h.sum(axis=1) / (count - 1) - mean) * (count - 1) / (count - 2)  # (G,) what each group adds
    rest = h - mean - own[:, None] - own[None, :]
    np.fill_diagonal(rest, 0)
    second = np.square(rest).sum() / 2 / (count * (count - 3) / 2)
    first = max(0.0, float(own.var(ddof=1)) - second / (count - 2))
    error = float(np.sqrt(share * 4 * first / count + share**2 * 2 * second / (count * (count - 1)) + of_drawing**2))
    without = (h.sum() - 2 * h.sum(axis=1)) / ((count - 1) * (count - 2))
    replicates = value + np.sqrt(share) * (without - mean)
    return Uncertainty(error, around(value, error, count - 1), tuple(replicates.tolist()))


def _rows_per_block(count: int) -> int:
    return min(count, int((_BLOCK_BYTES // 8) ** 0.5))
