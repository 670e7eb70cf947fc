"""What several metrics ask of the neighbours within and across two sets, answered in one pass over the distances.

Each set is a union of balls: around every row, as far as its k-th nearest other row (Kynkäänniemi et al. 2019). For a
pair that lies in a ball, the smallest k whose ball holds it is its rank. Counting pairs by rank answers every k at
once, with the border in or out, in memory that grows with N and M but not with N·M.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.deletions import SPARE, PairsWithoutEachGroup
from genmetrics_rt.distances import (
    UNDECIDED,
    Bounds,
    IntArray,
    Nearest,
    PointSet,
    Tile,
    neighbours,
    spans,
    squared_radii,
)
from genmetrics_rt.errors import InputError, TooFewImages

Exact: TypeAlias = Callable[[IntArray, IntArray], FloatArray]  # pairs of rows → squared distances

_PAIRS = 1 << 20  # pairs that are ranked at a time


class Manifold:
    """Neighbours of generated features (M, D) and reference features (N, D), for every k up to ``nearest_k``.

    Parameters
    ----------
    nearest_k
        The largest k that will be asked for.
    realism_k
        The k whose balls `realism` uses; None leaves it out.
    groups
        Group of each generated and of each reference row (twins together), for `pairs_without_each_group` at
        ``nearest_k``; None: no groups.
    border_counts
        Of those pairs.

    Attributes
    ----------
    generated_radii, reference_radii : (M, nearest_k), (N, nearest_k)
        Euclidean distance to the k-th nearest other row of the same set in column k − 1.
    generated_nearest, generated_nearest_distance : (M,)
        The nearest reference row of each generated one. Likewise ``reference_nearest`` (N,) among the generated.
    realism : (M,) or None
        See `genmetrics_rt.metrics.precision_recall.realism`.

    All decisions are those of float64 distances, whatever the dtype of the features.

    Raises
    ------
    FeatureMismatch, TooFewImages, NonFiniteFeatures
    """

    def __init__(
        self,
        generated: Any,
        reference: Any,
        *,
        nearest_k: int = 5,
        realism_k: int | None = None,
        groups: tuple[IntArray, IntArray] | None = None,
        border_counts: bool = False,
    ) -> None:
        g, r = as_feature_pair(generated, reference)
        require_neighbours(nearest_k, len(g), len(r))
        if realism_k is not None and not 1 <= realism_k <= nearest_k:
            raise InputError(f"realism_k is {realism_k}; it must be between 1 and nearest_k = {nearest_k}.")
        self.nearest_k = nearest_k
        self.realism_k = realism_k
        self.num_generated, self.num_reference = len(g), len(r)
        of_g, of_r = PointSet(g), PointSet(r)
        around_g = squared_radii(of_g, nearest_k)
        around_r, near_r = neighbours(of_r, min(nearest_k + SPARE, len(r) - 1) if groups else nearest_k)
        self.generated_radii: FloatArray = np.sqrt(around_g)[of_g.inverse]
        self.reference_radii: FloatArray = np.sqrt(around_r[:, :nearest_k])[of_r.inverse]
        self.pairs_without_each_group: PairsWithoutEachGroup | None = None
        if groups:
            in_g, in_r = (
                (own[points.first], points.multiplicity) for own, points in zip(groups, (of_g, of_r), strict=True)
            )
            self.pairs_without_each_group = PairsWithoutEachGroup(nearest_k, border_counts, near_r, in_r, in_g)
        self._across(of_g, of_r, around_g, around_r)

    def generated_inside(self, nearest_k: int, *, border_counts: bool) -> NDArray[np.bool_]:
        """(M,) whether a generated row lies in some reference ball. ``border_counts``: ``<=``, else ``<``."""
        return self._generated_rank[int(border_counts)] <= self._checked(nearest_k)

    def reference_inside(self, nearest_k: int, *, border_counts: bool) -> NDArray[np.bool_]:
        """(N,) whether a reference row lies in some generated ball."""
        return self._reference_rank[int(border_counts)] <= self._checked(nearest_k)

    def reference_covered(self, nearest_k: int, *, border_counts: bool) -> NDArray[np.bool_]:
        """(N,) whether the ball around a reference row holds some generated row."""
        return self._covered_rank[int(border_counts)] <= self._checked(nearest_k)

    def num_pairs(self, nearest_k: int, *, border_counts: bool) -> int:
        """How many (generated row, reference ball that holds it) pairs there are."""
        return int(self._pairs_by_rank[int(border_counts)][: self._checked(nearest_k)].sum())

    def _checked(self, nearest_k: int) -> int:
        if not 1 <= nearest_k <= self.nearest_k:
            raise InputError(f"This manifold answers k from 1 to {self.nearest_k}, not {nearest_k}.")
        return nearest_k

    def _across(self, generated: PointSet, reference: PointSet, around_g: FloatArray, around_r: FloatArray) -> None:
        """The pass over all pairs of a generated and a reference row; each distinct row is looked at once."""
        bounds = Bounds(generated, reference)

        def swapped(row: IntArray, column: IntArray) -> FloatArray:
            return bounds.exact(column, row)

        nearest_reference = Nearest(len(generated), 1, bounds.exact)
        nearest_generated = Nearest(len(reference), 1, swapped)
        without = self.pairs_without_each_group
        around_reference = _Balls(around_r, self.nearest_k, reference, generated, bounds.exact, without)
        around_generated = _Balls(around_g, self.nearest_k, generated, reference, swapped)
        realism = _Realism(around_r, self.realism_k, reference, len(generated), bounds.exact)

        def take(rows: slice, columns: slice) -> None:
            tile = bounds.tile(rows, columns)
            finer = functools.cache(lambda: bounds.finer_tile(rows, columns))
            nearest_reference.update(tile, rows, columns, finer)
            nearest_generated.update(tile.transposed, columns, rows, lambda: finer().transposed)
            around_reference.update(tile, rows, columns, finer)
            around_generated.update(tile.transposed, columns, rows, lambda: finer().transposed)
            realism.update(tile, rows, columns, finer)

        for rows, columns in spans(len(generated), len(reference)):
            take(rows, columns)

        squared, row = nearest_reference.settle()
        self.generated_nearest = reference.first[row[:, 0]][generated.inverse]
        self.generated_nearest_distance: FloatArray = np.sqrt(squared[:, 0])[generated.inverse]
        self.realism = realism.settle(squared[:, 0], row[:, 0], generated)
        squared, row = nearest_generated.settle()
        self.reference_nearest = generated.first[row[:, 0]][reference.inverse]
        self.reference_nearest_distance: FloatArray = np.sqrt(squared[:, 0])[reference.inverse]
        self._generated_rank = [rank[generated.inverse] for rank in around_reference.visitor_rank]
        self._covered_rank = [rank[reference.inverse] for rank in around_reference.owner_rank]
        self._reference_rank = [rank[reference.inverse] for rank in around_generated.visitor_rank]
        self._pairs_by_rank = around_reference.pairs_by_rank


class _Balls:
    """Balls around the rows of one set (owners), and the rows of the other (visitors) that lie in them.

    Everything is kept twice: at 0 with the border out (``<``), at 1 with the border in (``<=``). A rank of K + 1 means
    that no ball holds the row.
    """

    def __init__(
        self,
        squared_radii: FloatArray,
        nearest_k: int,
        owners: PointSet,
        visitors: PointSet,
        exact: Exact,
        without: PairsWithoutEachGroup | None = None,
    ) -> None:
        self._squared = squared_radii  # (owners, K), ascending
        largest = without.largest_rank if without else np.full(len(owners), nearest_k)
        self._reach = squared_radii[np.arange(len(owners)), largest - 1]  # of the largest ball that matters
        self._without = without
        self._exact = exact
        self._weights = owners.multiplicity, visitors.multiplicity
        outside = squared_radii.shape[1] + 1
        self.visitor_rank = [np.full(len(visitors), outside) for _ in range(2)]
        self.owner_rank = [np.full(len(owners), outside) for _ in range(2)]
        self.pairs_by_rank = [np.zeros(outside) for _ in range(2)]  # (K + 1,), rank 1 first

    def update(self, tile: Tile, visitors: slice, owners: slice, finer: Callable[[], Tile]) -> None:
        """Rank the pairs of one tile (visitors, owners)."""
        reach = self._reach[owners][None, :]
        pairs = tile.pairs_within(reach)
        if self._num_undecided(tile, pairs, owners.start) > UNDECIDED * max(tile.lower.shape):
            tile = finer()
            pairs = tile.pairs_within(reach)
        for start in range(0, len(pairs[0]), _PAIRS):
            row, column = (part[start : start + _PAIRS] for part in pairs)
            squared, _ = tile.bounds(row, column)
            open_question = self._undecided(tile, row, column, owners.start)
            row, column = row + visitors.start, column + owners.start
            squared[open_question] = self._exact(row[open_question], column[open_question])
            self._count(squared, row, column)

    def _num_undecided(self, tile: Tile, pairs: tuple[IntArray, IntArray], start: int) -> int:
        parts = [slice(at, at + _PAIRS) for at in range(0, len(pairs[0]), _PAIRS)]
        return sum(int(self._undecided(tile, pairs[0][part], pairs[1][part], start).sum()) for part in parts)

    def _undecided(self, tile: Tile, row: IntArray, column: IntArray, start: int) -> NDArray[np.bool_]:
        """Whether a radius lies between the bounds of a pair, so that they do not tell its rank."""
        lower, upper = tile.bounds(row, column)
        radii = self._squared[start + column]
        between = (lower[:, None] <= radii) & (radii <= upper[:, None])
        return np.asarray(between.any(axis=1))

    def _count(self, squared: FloatArray, visitor: IntArray, owner: IntArray) -> None:
        radii = self._squared[owner]
        smaller = radii <= squared[:, None], radii < squared[:, None]  # the balls that do not hold the pair
        weight = self._weights[0][owner] * self._weights[1][visitor]
        for border, out in enumerate(smaller):
            rank = 1 + out.sum(axis=1)
            np.minimum.at(self.visitor_rank[border], visitor, rank)
            np.minimum.at(self.owner_rank[border], owner, rank)
            counted = np.bincount(rank - 1, weights=weight, minlength=len(self.pairs_by_rank[border]))
            self.pairs_by_rank[border] += counted
            if self._without and self._without.border == bool(border):
                self._without.update(rank, visitor, owner)


class _Realism:
    """For each generated row the largest ratio of a reference ball's radius to the distance to its centre.

    That is a nearest neighbour too, in squared distances divided by r².
    """

    def __init__(
        self, squared_radii: FloatArray, nearest_k: int | None, reference: PointSet, num_rows: int, exact: Exact
    ) -> None:
        self._asked = nearest_k is not None
        if nearest_k is None:
            return
        own = squared_radii[:, nearest_k - 1]  # (U,)
        radii = np.sqrt(own)
        median = np.median(radii[reference.inverse])
        self._kept = radii < median
        if not self._kept.any():  # half of the radii are equal: none is strictly below the median
            self._kept = radii <= median
        columns = np.flatnonzero(self._kept & (own > 0))
        weight = 1 / own[columns]
        self._squared, self._columns, self._weight = own, columns, weight
        self._nearest = Nearest(num_rows, 1, lambda row, column: exact(row, columns[column]) * weight[column])

    def update(self, tile: Tile, rows: slice, columns: slice, finer: Callable[[], Tile]) -> None:
        if not self._asked:
            return
        first, last = np.searchsorted(self._columns, (columns.start, columns.stop))
        if first < last:
            part = slice(int(first), int(last))
            start = columns.start
            self._nearest.update(
                self._scaled(tile, part, start), rows, part, lambda: self._scaled(finer(), part, start)
            )

    def settle(self, squared: FloatArray, nearest: IntArray, generated: PointSet) -> FloatArray | None:
        """(M,), given each distinct row's nearest reference row."""
        if not self._asked:
            return None
        realism = np.zeros(len(squared))
        if len(self._columns):
            with np.errstate(divide="ignore"):
                realism = 1 / np.sqrt(self._nearest.settle()[0][:, 0])
        # On the centre of a ball without extent: on its border.
        on_centre = (squared == 0) & self._kept[nearest] & (self._squared[nearest] == 0)
        realism[on_centre] = np.maximum(realism[on_centre], 1)
        return realism[generated.inverse]

    def _scaled(self, tile: Tile, part: slice, start: int) -> Tile:
        column, weight = self._columns[part] - start, self._weight[part]
        slack = (tile.column_slack[column] + tile.row_slack.max()) * weight
        dtype = tile.lower.dtype if weight.max() < 1e30 else np.dtype(np.float64)
        # Three roundings more than the bounds know of: an eighth of the slack is more than that.
        lower = tile.lower[:, column].astype(dtype, copy=False) * weight.astype(dtype) - (slack / 8).astype(dtype)
        return Tile(lower, np.zeros(len(lower)), 1.25 * slack)


def require_neighbours(nearest_k: int, num_generated: int, num_reference: int) -> None:
    """Raise `TooFewImages` unless both sides have a k-th nearest other row."""
    if nearest_k < 1:
        raise InputError(f"nearest_k is {nearest_k}; it must be at least 1.")
    few = min(num_generated, num_reference)
    if few <= nearest_k:
        raise TooFewImages(
            f"The distance to the {nearest_k} nearest others needs at least {nearest_k + 1} images a side; there "
            f"are {few}. Add images."
        )
