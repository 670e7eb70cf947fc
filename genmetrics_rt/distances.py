"""Distances between many rows: float32 products where they decide, float64 differences where they do not.

The squared distance of two rows is ``|a|² + |b|² − 2 a·b``, and the product is fastest in float32. Its rounding error
is bounded (`Bounds`), so a tile of products gives a lower and an upper bound of every distance. What the bounds cannot
decide is computed as ``Σ (a − b)²`` in float64, so all answers are those of float64, nearly at the speed of float32.
Tiles bound the memory; rows that occur several times are looked at once and counted as often as they occur.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import TooFewImages

IntArray = NDArray[np.intp]

TILE_ROWS = 1024
TILE_COLUMNS = 2048  # a tile of float32 takes 8 MB
_DIFFERENCES = 1 << 16  # float64 entries in flight while exact distances are computed: half a megabyte, in cache
UNDECIDED = 8  # pairs per row and neighbour from which float64 products are the cheaper way on
_KEPT = 8  # pairs per row and neighbour that are kept before they are settled
_SAFE = (1e-24, 1e30)  # largest squared norms with which float32 products neither vanish nor overflow
_SOME = 1024  # columns that give a row its first limit
_EPS64 = float(np.finfo(np.float64).eps) / 2
_HIDDEN = 1e-30  # more than underflow can take from a squared distance


class PointSet:
    """The different rows of (N, D) values, in an order of its own, and a float32 copy of them to make products of.

    The order is a fixed shuffle: folders are often sorted by class, and a row that meets its own class last would keep
    everything it has met before as a possible neighbour.

    Attributes
    ----------
    first : (U,)
        Position in ``values`` of each different row.
    multiplicity : (U,)
        How often each occurs.
    inverse : (N,)
        Which of the different rows each original row is.
    mean : (D,)
    norms : (U,)
        Squared norms of the rows less the mean, before rounding.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        first, inverse, multiplicity = _distinct(values)
        order = np.random.default_rng(0).permutation(len(first))
        self.values = values
        self.first, self.multiplicity = first[order], multiplicity[order]
        self.inverse = np.argsort(order)[inverse]
        self.mean: FloatArray = values.mean(axis=0, dtype=np.float64)
        self.norms = np.empty(len(first))
        self.single: NDArray[np.float32] | None = np.empty((len(first), values.shape[1]), np.float32)
        step = max(1, _DIFFERENCES // values.shape[1])
        with np.errstate(over="ignore"):  # the norms tell, and float64 is taken instead
            for start in range(0, len(first), step):
                part = slice(start, start + step)
                shifted = self.shifted(part)
                self.norms[part] = np.einsum("ij,ij->i", shifted, shifted)
                self.single[part] = shifted
        if not _SAFE[0] < self.norms.max() < _SAFE[1]:
            self.single = None

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, some: IntArray | slice) -> NDArray[Any]:
        """Some of the different rows, as they were given."""
        return np.take(self.values, self.first[some], axis=0)

    def shifted(self, some: slice) -> FloatArray:
        """Some rows less the mean, in float64."""
        shifted: FloatArray = self.rows(some) - self.mean
        return shifted


@dataclass(frozen=True)
class Tile:
    """Bounds of the squared distances of some rows (n) to some columns (m).

    ``lower`` is (n, m); the upper bound of a pair is ``lower + row_slack + column_slack``.
    """

    lower: NDArray[Any]
    row_slack: FloatArray  # (n,)
    column_slack: FloatArray  # (m,)

    @property
    def transposed(self) -> Tile:
        return Tile(self.lower.T, self.column_slack, self.row_slack)

    def without_columns(self, count: int) -> Tile:
        """All but the first columns."""
        return Tile(self.lower[:, count:], self.row_slack, self.column_slack[count:])

    def pairs_within(self, limit: NDArray[Any]) -> tuple[IntArray, IntArray]:
        """Rows and columns whose lower bound is at most ``limit``, (n, 1) or (1, m)."""
        lower = self.lower
        if lower.dtype == np.float32:  # compared as float32, rounded up: a float64 limit would double the traffic
            limit = np.nextafter(limit.astype(np.float32), np.float32(np.inf))
        if lower.strides[0] < lower.strides[1]:  # a transposed tile is searched the way it lies in memory
            column, row = np.divmod(np.flatnonzero(lower.T <= limit.T), lower.shape[0])
        else:
            row, column = np.divmod(np.flatnonzero(lower <= limit), lower.shape[1])
        return row, column

    def bounds(self, row: IntArray, column: IntArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of some pairs."""
        lower = self.lower[row, column].astype(np.float64)
        return lower, lower + self.row_slack[row] + self.column_slack[column]


class Bounds:
    """Bounds, and exact values, of the squared distances between the rows a of one set and b of another.

    With x and y the rows less the means of their sets, and δ the first mean less the second,
    ``|a − b|² = |x + δ|² + (|y|² − 2 δ·y) − 2 x·y``: all but the last term is known in float64. A product of length D
    in the precision u errs by at most D·u·|x||y| ≤ D·u (|x|² + |y|²)/2, in any order of summation (Higham, "Accuracy
    and Stability of Numerical Algorithms", §3.1); rounding the rows to u moves it by u (|x|² + |y|²), adding the other
    terms by what `_tile` counts.
    """

    def __init__(self, a: PointSet, b: PointSet) -> None:
        self._a, self._b = a, b
        gap = a.mean - b.mean  # δ (D,)
        if a is b:
            of_a, of_b = a.norms, b.norms
        else:
            # Written as |x|² + 2δ·x + |δ|², with the products in float64.
            of_a = a.norms + 2 * _times(a, gap) + gap @ gap  # (N,) |x + δ|²
            of_b = b.norms - 2 * _times(b, gap)  # (M,)
        self._terms = of_a, of_b
        self._single = a.single is not None and b.single is not None and gap @ gap < _SAFE[1]
        self._rounding = (
            _EPS64 * a.values.shape[1] * (a.norms + gap @ gap),
            _EPS64 * b.values.shape[1] * (b.norms + gap @ gap),
        )

    def tile(self, rows: slice, columns: slice) -> Tile:
        """The bounds of one tile, by a float32 product."""
        if not self._single or self._a.single is None or self._b.single is None:
            return self.finer_tile(rows, columns)
        return self._tile(self._a.single[rows], self._b.single[columns], rows, columns)

    def finer_tile(self, rows: slice, columns: slice) -> Tile:
        """The same by a float64 product: about 1e9 times narrower, at twice the time."""
        return self._tile(self._a.shifted(rows), self._b.shifted(columns), rows, columns)

    def _tile(self, x: NDArray[Any], y: NDArray[Any], rows: slice, columns: slice) -> Tile:
        dtype = x.dtype.type
        unit = float(np.finfo(dtype).eps) / 2
        of_x, of_y = self._terms[0][rows], self._terms[1][columns]
        # Of the product, of rounding a term and two sums (3u and 2u), and of the terms' own float64.
        length = x.shape[1] + 5
        x_slack = (
            1.01 * (unit * (length * self._a.norms[rows] + 3 * np.abs(of_x)) + 8 * self._rounding[0][rows]) + _HIDDEN
        )
        y_slack = 1.01 * (unit * (length * self._b.norms[columns] + 2 * np.abs(of_y)) + 8 * self._rounding[1][columns])
        lower = (x * dtype(-2)) @ y.T
        lower += (of_x - x_slack).astype(dtype)[:, None]
        lower += (of_y - y_slack).astype(dtype)
        return Tile(lower, 2 * x_slack, 2 * y_slack)

    def exact(self, row: IntArray, column: IntArray) -> FloatArray:
        """``Σ (a − b)²`` in float64 for pairs of rows; the same to the last bit whichever of the two comes first."""
        squared = np.empty(len(row))
        step = max(1, _DIFFERENCES // self._a.values.shape[1])
        for start in range(0, len(row), step):
            part = slice(start, start + step)
            difference = np.subtract(self._a.rows(row[part]), self._b.rows(column[part]), dtype=np.float64)
            squared[part] = np.einsum("ij,ij->i", difference, difference)
        return squared


class Nearest:
    """The k nearest columns of each of N rows, gathered tile by tile.

    ``limit`` (N,) is an upper bound of the squared distance to the k-th nearest so far: a pair whose lower bound
    exceeds it is out. The pairs that stay are settled by their exact distances at the end.
    """

    def __init__(self, num_rows: int, nearest_k: int, exact: Callable[[IntArray, IntArray], FloatArray]) -> None:
        self.nearest_k = nearest_k
        self.limit = np.full(num_rows, np.inf)
        self._exact = exact
        self._uppers = np.full((num_rows, nearest_k), np.inf)  # the k smallest upper bounds of each row
        self._pairs: list[tuple[IntArray, IntArray, FloatArray]] = []  # rows, columns, lower bounds

    def update(self, tile: Tile, rows: slice, columns: slice, finer: Callable[[], Tile]) -> None:
        """Take in one tile. Where it leaves too much undecided, ``finer`` gives narrower bounds of the same pairs."""
        most = UNDECIDED * self.nearest_k * tile.lower.shape[0]
        row, column = tile.pairs_within(self._limit(tile, rows)[:, None])
        if len(row) > most:
            tile = finer()
            row, column = tile.pairs_within(self._limit(tile, rows)[:, None])
        lower, upper = tile.bounds(row, column)
        row, column = row + rows.start, column + columns.start
        if len(row) > most:  # many rows at all but one place: only their exact distances can tell them apart
            lower = upper = self._exact(row, column)
            order = np.lexsort((column, lower, row))
            order = order[_rank_in_group(row[order]) < self.nearest_k]
            row, column, lower = row[order], column[order], lower[order]
            upper = lower
        self._add(row, column, lower, upper)

    def settle(self) -> tuple[FloatArray, IntArray]:
        """Squared distances (N, k), ascending, and columns (N, k); of equal distances the first columns."""
        self._settle_pairs()
        ((_, column, squared),) = self._pairs
        shape = len(self.limit), self.nearest_k
        return squared.reshape(shape), column.reshape(shape)

    def _settle_pairs(self) -> None:
        """Leave only the k nearest of each row so far, in order, by their exact distances."""
        row, column, lower = (np.concatenate(parts) for parts in zip(*self._pairs, strict=True))
        kept = lower <= self.limit[row]
        row, column = row[kept], column[kept]
        squared = self._exact(row, column)
        order = np.lexsort((column, squared, row))
        rank = _rank_in_group(row[order])
        order, rank = order[rank < self.nearest_k], rank[rank < self.nearest_k]
        row, column, squared = row[order], column[order], squared[order]
        self._uppers[row, rank] = squared
        self.limit = self._uppers[:, -1].copy()
        self._pairs = [(row, column, squared)]

    def _limit(self, tile: Tile, rows: slice) -> FloatArray:
        """The limit of some rows, and where there is none yet, the one that this tile itself gives."""
        limit = self.limit[rows]
        if np.isfinite(limit).all() or tile.lower.shape[1] < self.nearest_k:
            return limit
        some = max(_SOME, self.nearest_k)  # any columns give a limit; a thousand give a good one
        slack = tile.column_slack[:some].astype(tile.lower.dtype)
        if self.nearest_k == 1:
            kth = (tile.lower[:, :some] + slack).min(axis=1)
        else:
            uppers = np.add(tile.lower[:, :some], slack, order="C")  # row by row: partition is slow across rows
            kth = np.partition(uppers, self.nearest_k - 1, axis=1)[:, self.nearest_k - 1]
        # That sum was rounded in the tile's precision: an eighth of the slacks is more than its error.
        own = kth.astype(np.float64) + 1.125 * tile.row_slack + float(tile.column_slack.max()) / 8
        tighter: FloatArray = np.minimum(limit, own)
        return tighter

    def _add(self, row: IntArray, column: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        if len(row) == 0:
            return
        # The k smallest upper bounds of each row that is touched, merged with those it had.
        order = np.lexsort((upper, row))
        rank = _rank_in_group(row[order])
        order, rank = order[rank < self.nearest_k], rank[rank < self.nearest_k]
        touched, slot = np.unique(row[order], return_inverse=True)
        uppers = np.full((len(touched), self.nearest_k), np.inf)
        uppers[slot, rank] = upper[order]
        merged = np.sort(np.concatenate([self._uppers[touched], uppers], axis=1), axis=1)[:, : self.nearest_k]
        self._uppers[touched] = merged
        self.limit[touched] = merged[:, -1]
        kept = lower <= self.limit[row]
        self._pairs.append((row[kept], column[kept], lower[kept]))
        if sum(len(pairs[0]) for pairs in self._pairs) > _KEPT * self._uppers.size:
            self._settle_pairs()


def squared_radii(points: PointSet, nearest_k: int) -> FloatArray:
    """(U, k) squared Euclidean distances of each distinct row to its nearest other rows; see `neighbours`."""
    return neighbours(points, nearest_k)[0]


def neighbours(points: PointSet, nearest_k: int) -> tuple[FloatArray, IntArray]:
    """(U, k) squared Euclidean distances of each distinct row to its nearest other rows, ascending: r_k² in column
    k − 1; and (U, k) which distinct rows those are. Twins count as others. Squared, because the square of a root is not
    always the number again, and ties have to stay ties.

    Raises
    ------
    TooFewImages
        Not more than ``nearest_k`` rows.
    """
    count = len(points.inverse)
    if not 1 <= nearest_k < count:
        raise TooFewImages(f"nearest_k = {nearest_k} needs at least {nearest_k + 1} rows, not {count}.")
    others = min(nearest_k, len(points) - 1)
    if others == 0:
        return np.zeros((1, nearest_k)), np.zeros((1, nearest_k), np.intp)
    squared, column = _nearest_others(points, others)
    # Nearest first: the twins of the row itself, at 0; then each neighbour, as often as it occurs.
    twins = points.multiplicity[:, None] - 1
    reached = np.cumsum(np.concatenate([twins, points.multiplicity[column]], axis=1), axis=1)  # (U, 1 + others)
    steps = np.stack([np.argmax(reached >= k, axis=1) for k in range(1, nearest_k + 1)], axis=1)
    ladder = np.concatenate([np.zeros((len(twins), 1)), squared], axis=1)
    rows = np.concatenate([np.arange(len(twins))[:, None], column], axis=1)
    radii: FloatArray = np.take_along_axis(ladder, steps, axis=1)
    return radii, np.take_along_axis(rows, steps, axis=1)


def spans(num_rows: int, num_columns: int, *, upper_half: bool = False) -> list[tuple[slice, slice]]:
    """The tiles that cover a rectangle, or of a square what lies right of the diagonal."""
    return [
        (slice(top, min(top + TILE_ROWS, num_rows)), slice(left, min(left + TILE_COLUMNS, num_columns)))
        for top in range(0, num_rows, TILE_ROWS)
        for left in range(top if upper_half else 0, num_columns, TILE_COLUMNS)
    ]


def _nearest_others(points: PointSet, nearest_k: int) -> tuple[FloatArray, IntArray]:
    """Each distinct row's nearest others. Half of the square of distances is enough: it is read both ways."""
    bounds, count = Bounds(points, points), len(points)
    nearest = Nearest(count, nearest_k, bounds.exact)

    def take(rows: slice, columns: slice) -> None:
        def without_self(tile: Tile) -> Tile:
            if columns.start == rows.start:
                np.fill_diagonal(tile.lower, np.inf)
            return tile

        def finer() -> Tile:
            return without_self(bounds.finer_tile(rows, columns))

        tile = without_self(bounds.tile(rows, columns))
        nearest.update(tile, rows, columns, finer)
        # Mirrored: the columns as rows, but for those that were rows already.
        left = max(rows.stop, columns.start)
        done = left - columns.start
        if left < columns.stop:
            mirrored = tile.without_columns(done).transposed
            nearest.update(mirrored, slice(left, columns.stop), rows, lambda: finer().without_columns(done).transposed)

    for rows, columns in spans(count, count, upper_half=True):
        take(rows, columns)
    return nearest.settle()


def first_equal(values: NDArray[Any]) -> IntArray:
    """(N,) position of the first row of (N, D) that equals each: its own, unless it is a twin."""
    same_as = np.arange(len(values))
    _, group, size = np.unique(np.einsum("ij,ij->i", values, values), return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(size[group] > 1):  # equal rows have equal norms; most rows are alone with theirs
        digest = hashlib.blake2b(values[row].tobytes(), digest_size=16).digest()
        same_as[row] = seen.setdefault(digest, int(row))
    return same_as


def _distinct(values: NDArray[Any]) -> tuple[IntArray, IntArray, IntArray]:
    """(U,) first position of each different row, (N,) which of them each row is, (U,) how often it occurs."""
    first, inverse, multiplicity = np.unique(first_equal(values), return_inverse=True, return_counts=True)
    return first, inverse, multiplicity


def _times(points: PointSet, direction: FloatArray) -> FloatArray:
    """(U,) products of the shifted rows with one direction (D,), in float64."""
    products = [points.shifted(slice(at, at + TILE_ROWS)) @ direction for at in range(0, len(points), TILE_ROWS)]
    return np.concatenate(products)


def _rank_in_group(sorted_groups: IntArray) -> IntArray:
    """0, 1, 2, … within each run of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]]))
    lengths = np.diff(np.append(starts, len(sorted_groups)))
    return np.arange(len(sorted_groups)) - np.repeat(starts, lengths)
