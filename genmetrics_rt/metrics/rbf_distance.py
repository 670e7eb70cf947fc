"""Kernel distance with a Gaussian kernel, from "Rethinking FID: Towards a Better Evaluation Metric for Image
Generation" (Jayasumana et al., 2024). On projected CLIP features it is their CMMD, on others the same formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.metrics.kernel_distance import uncertainty_of_pairs
from genmetrics_rt.metrics.vendi import unit_rows
from genmetrics_rt.uncertainty import NUM_GROUPS, Uncertainty

_BLOCK_ROWS = 2048  # a block of kernel values takes 32 MB


def rbf_distance(
    generated: Any,
    reference: Any,
    *,
    sigma: float = 10.0,
    normalise: bool = True,
    scale: float = 1000.0,
    unbiased: bool = False,
) -> float:
    """Squared maximum mean discrepancy with the kernel ``k(x, y) = exp(−|x − y|²/(2σ²))``, times ``scale``.

    ``scale · (mean k(g, g') + mean k(r, r') − 2 mean k(g, r))``, by default over all pairs, each row with itself
    included, as the paper's code computes it. Lower is better; never negative, at most ``2 scale``, and 0 for identical
    sets. For equal distributions its mean is not 0 but about ``scale (1/M + 1/N)(1 − mean k)``: with the defaults about
    10/N for N images a side. No square root is taken.

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
    sigma : float
        10 in the paper: far above the distances of unit rows, so the kernel is nearly ``1 − |x − y|²/200``, and the
        distance nearly that of the mean directions.
    normalise : bool
        Divide each row by its length first, as the paper does.
    scale : float
        1000 in the paper.
    unbiased : bool
        Leave out each row's pair with itself: 0 in expectation for equal distributions, and then negative half of the
        time.

    Raises
    ------
    TooFewImages
        An empty side, or one of a single row where ``unbiased``.
    InputError
        A row of zeros where ``normalise``; a ``sigma`` that is not above 0.
    FeatureMismatch, NonFiniteFeatures
    """
    sides = _sides(generated, reference, sigma, normalise, unbiased)
    return _distance(_sums(sides, sigma), sides, scale, unbiased)


def rbf_distance_with_uncertainty(
    generated: Any,
    reference: Any,
    groups: tuple[IntArray, IntArray],
    *,
    sigma: float = 10.0,
    normalise: bool = True,
    scale: float = 1000.0,
    unbiased: bool = False,
) -> tuple[float, Uncertainty]:
    """`rbf_distance`, and how sure it is, from one pass over the pairs.

    ``groups`` (M,) and (N,) are those of `genmetrics_rt.uncertainty.groups_of`. The standard error comes from the sums
    between groups, as that of the kernel distance does. The bias of the default is not in the interval.
    """
    sides = _sides(generated, reference, sigma, normalise, unbiased, groups)
    sums = _sums(sides, sigma)
    value = _distance(sums, sides, scale, unbiased)
    return value, uncertainty_of_pairs(value, 0.0, scale * sums, groups, 1.0)


class _Side:
    """One side's rows, a block at a time, and the group of each.

    The rows are divided by their lengths, or, where there is a ``shift`` (D,), moved by it: that changes no distance
    and keeps the digits of features that lie far from 0.
    """

    def __init__(self, rows: NDArray[Any], what: str, shift: FloatArray | None, groups: IntArray | None) -> None:
        self.count = len(rows)
        self._rows, self._what, self._shift = rows, what, shift
        self._groups = np.zeros(len(rows), np.intp) if groups is None else groups
        self._num_groups = 1 if groups is None else NUM_GROUPS

    def block(self, part: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n, D) rows, (n,) their squared lengths, (n, G) which group each is of."""
        rows = self._rows[part]
        ready = unit_rows(rows, what=self._what, start=part.start) if self._shift is None else rows - self._shift
        return ready, np.einsum("ij,ij->i", ready, ready), np.eye(self._num_groups)[self._groups[part]]


def _sides(
    generated: Any,
    reference: Any,
    sigma: float,
    normalise: bool,
    unbiased: bool,
    groups: tuple[IntArray | None, IntArray | None] = (None, None),
) -> tuple[_Side, _Side]:
    g, r = as_feature_pair(generated, reference)
    if not 0 < sigma < np.inf:
        raise InputError(f"sigma is {sigma}; it must be above 0 and finite.")
    least, few = 1 + int(unbiased), min(len(g), len(r))
    if few < least:
        raise TooFewImages(f"This kernel distance needs at least {least} images a side; there are {few}. Add images.")
    shift = None if normalise else r.mean(axis=0, dtype=np.float64)
    return _Side(g, "generated", shift, groups[0]), _Side(r, "reference", shift, groups[1])


def _distance(sums: FloatArray, sides: tuple[_Side, _Side], scale: float, unbiased: bool) -> float:
    within = []
    for which, side in enumerate(sides):
        others = float(sums[which].sum())
        if unbiased:
            within.append(others / (side.count * (side.count - 1)))
        else:  # k(x, x) = 1
            within.append((others + side.count) / side.count**2)
    across = float(sums[2].sum()) / (sides[0].count * sides[1].count)
    return scale * (within[0] + within[1] - 2 * across)


def _sums(sides: tuple[_Side, _Side], sigma: float) -> FloatArray:
    """(3, G, G) sums of the kernel between groups: within the generated side, within the reference, and across.

    Within a side without each row's pair with itself.
    """
    generated, reference = sides
    return np.stack(
        [_sums_within(generated, sigma), _sums_within(reference, sigma), _sums_across(generated, reference, sigma)]
    )


def _sums_within(side: _Side, sigma: float) -> FloatArray:
    """Only the upper half of the symmetric kernel is computed."""
    total: Any = 0.0
    parts = _parts(side.count)
    for which, rows in enumerate(parts):
        x, of_x, in_x = side.block(rows)
        square = _kernel(x, of_x, x, of_x, sigma)
        np.fill_diagonal(square, 0)
        total = total + in_x.T @ square @ in_x
        for columns in parts[which + 1 :]:
            y, of_y, in_y = side.block(columns)
            between = in_x.T @ _kernel(x, of_x, y, of_y, sigma) @ in_y
            total = total + between + between.T
    return np.asarray(total)


def _sums_across(generated: _Side, reference: _Side, sigma: float) -> FloatArray:
    total: Any = 0.0
    for rows in _parts(generated.count):
        x, of_x, in_x = generated.block(rows)
        for columns in _parts(reference.count):
            y, of_y, in_y = reference.block(columns)
            total = total + in_x.T @ _kernel(x, of_x, y, of_y, sigma) @ in_y
    return np.asarray(total)


def _kernel(x: FloatArray, of_x: FloatArray, y: FloatArray, of_y: FloatArray, sigma: float) -> FloatArray:
    """(n, m) kernel values of rows (n, D) and (m, D) with these squared lengths."""
    values: FloatArray = x @ y.T
    values *= -2
    values += of_x[:, None]
    values += of_y
    np.maximum(values, 0, out=values)
    values *= -1 / (2 * sigma**2)
    np.exp(values, out=values)
    return values


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK_ROWS, count)) for start in range(0, count, _BLOCK_ROWS)]
