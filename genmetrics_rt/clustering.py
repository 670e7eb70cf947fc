"""k-means: Lloyd's iterations from k-means++ centres (Arthur and Vassilvitskii, 2007), seeded.

Our own few lines, because library versions draw their centres differently, and the numbers must not move with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray

MAX_ITERATIONS = 100
_ENOUGH = 1e-4  # relative fall of the inertia below which the clusters hardly move any more
_STRETCH = 16  # rows in one product


def kmeans(values: NDArray[Any], num_clusters: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(N,) cluster of each row of (N, D). With fewer different rows than clusters, some clusters stay empty."""
    rows = values.astype(np.float64, order="C")
    rows -= rows.mean(axis=0)  # distances stay as they are, and rounding shrinks
    norms: FloatArray = np.einsum("ij,ij->i", rows, rows)
    centres = _spread_centres(rows, norms, num_clusters, rng)
    labels, inertia = _assign(rows, norms, centres)
    for _ in range(MAX_ITERATIONS):
        _move(centres, rows, labels)
        before = inertia
        labels, inertia = _assign(rows, norms, centres)
        if before - inertia <= _ENOUGH * before:
            break
    return labels


def tightest_kmeans(values: NDArray[Any], num_clusters: int, seed: int, *, num_runs: int = 5) -> NDArray[np.intp]:
    """(N,) labels of the tightest of several clusterings, run i with ``default_rng([seed, i])``: that with the smallest
    sum of squared distances to its centres.
    """
    best, least = np.zeros(len(values), np.intp), np.inf
    squares = float(np.einsum("ij,ij->", values, values, dtype=np.float64))
    for run in range(num_runs):
        labels = kmeans(values, num_clusters, np.random.default_rng([seed, run]))
        sums = np.zeros((num_clusters, values.shape[1]))
        np.add.at(sums, labels, values)
        counts = np.maximum(np.bincount(labels, minlength=num_clusters), 1)
        inertia = squares - float((np.square(sums).sum(axis=1) / counts).sum())
        if inertia < least:
            best, least = labels, inertia
    return best


def _spread_centres(rows: FloatArray, norms: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """k-means++: each next centre is a row, drawn in proportion to its squared distance from those there are."""
    chosen = [int(rng.integers(len(rows)))]
    distance = np.full(len(rows), np.inf)
    while len(chosen) < count:
        last = rows[chosen[-1]]
        product = np.einsum("ij,j->i", rows, last)
        distance = np.minimum(distance, np.maximum(norms + last @ last - 2 * product, 0))
        distance[chosen[-1]] = 0
        sums = np.cumsum(distance)
        # Rounding may leave the sum at 0 or the draw at its end: then any row will do.
        chosen.append(min(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), len(rows) - 1))
    return rows[chosen]


def _assign(rows: FloatArray, norms: FloatArray, centres: FloatArray) -> tuple[NDArray[np.intp], float]:
    """The nearest centre of each row, the first of equally near ones; and the sum of the squared distances."""
    partial = _times(rows, -2 * centres.T)
    partial += np.einsum("ij,ij->i", centres, centres)
    labels = partial.argmin(axis=1)
    return labels, float(norms.sum() + partial[np.arange(len(rows)), labels].sum())


def _times(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """``rows @ columns``, in products so small that BLAS leaves them to this thread: for a few columns, waking others
    costs more than they bring, and on a busy machine many times as much.
    """
    product = np.empty((len(rows), columns.shape[1]))
    whole = len(rows) - len(rows) % _STRETCH
    some, of_some = (array[:whole].reshape(-1, _STRETCH, array.shape[1]) for array in (rows, product))
    np.matmul(some, columns, out=of_some)
    np.matmul(rows[whole:], columns, out=product[whole:])
    return product


def _move(centres: FloatArray, rows: FloatArray, labels: NDArray[np.intp]) -> None:
    """Each centre to the mean of its rows; one without rows stays where it is."""
    for cluster in range(len(centres)):
        members = labels == cluster
        if members.any():
            centres[cluster] = rows[members].mean(axis=0)
