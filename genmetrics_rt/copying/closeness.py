"""How close images lie to a training set, measured by how close its own images lie to each other there.

The ratio ``d(x, t) / s(t)``, with t the nearest training image of x and s(t) the distance from t to its k-th nearest
other training image, compares like with like: in a dense region a fresh image lies close to a training image too.
AuthPct compares the same two distances with k = 1; k = 3 leaves a copy visible where the training set
itself holds two or three near-duplicates.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.copying.tail import MIN_FRESH
from genmetrics_rt.distances import Bounds, IntArray, Nearest, PointSet, spans
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages

NEAREST_K = 3


@dataclass(frozen=True)
class Closeness:
    """Of each of M images: its nearest training image and how close that is."""

    nearest: IntArray  # (M,) row of the training set
    distance: FloatArray  # (M,) Euclidean
    ratio: FloatArray  # (M,) distance / distance from the nearest training image to its k-th nearest other one
    mirrored: NDArray[np.bool_]  # (M,) whether the mirror image of that training image is the nearest
    authentic: NDArray[np.bool_]  # (M,) as AuthPct has it, without mirror images: see `published.auth_pct`

    def of_rows(self, rows: IntArray) -> Closeness:
        """Some of the images, in another order or several times."""
        return Closeness(
            self.nearest[rows], self.distance[rows], self.ratio[rows], self.mirrored[rows], self.authentic[rows]
        )


def nearest_rows(rows: PointSet, columns: PointSet, nearest_k: int) -> tuple[FloatArray, IntArray]:
    """(U, k) squared distances of each distinct row to its nearest distinct columns, ascending, and which those are.

    In float64 decisions whatever the dtype; of equal distances the first in the order of ``columns``.
    """
    bounds = Bounds(rows, columns)
    nearest = Nearest(len(rows), nearest_k, bounds.exact)
    for some, others in spans(len(rows), len(columns)):
        nearest.update(bounds.tile(some, others), some, others, functools.partial(bounds.finer_tile, some, others))
    return nearest.settle()


def nearest_row(rows: PointSet, columns: PointSet) -> tuple[FloatArray, IntArray]:
    """(U,) squared distance of each distinct row to its nearest column, and which that is."""
    squared, column = nearest_rows(rows, columns, 1)
    return squared[:, 0], column[:, 0]


class TrainingSet:
    """Training features (N, D), of which the different rows count once, and how close others come to them.

    Parameters
    ----------
    features
        (N, D).
    mirrored
        (N, D) features of the same images mirrored left to right; None: mirror images are not looked at.
    nearest_k
        Which other training image gives the local scale.

    Raises
    ------
    TooFewImages
        Not more than ``nearest_k`` different rows.
    FeatureMismatch, NonFiniteFeatures, InputError
    """

    def __init__(self, features: Any, mirrored: Any = None, *, nearest_k: int = NEAREST_K) -> None:
        if nearest_k < 1:
            raise InputError(f"nearest_k is {nearest_k}; it must be at least 1.")
        values = as_features(features, what="train")
        self.nearest_k = nearest_k
        self._points = PointSet(values)
        if len(self._points) <= nearest_k:
            raise TooFewImages(
                f"The training set has {len(self._points)} different images; how close an image lies to it is measured "
                f"by its own neighbours, which takes {nearest_k + 1}. Give the whole training set."
            )
        self._mirrored = None
        if mirrored is not None:
            flipped = as_features(mirrored, what="mirrored training images")
            if flipped.shape != values.shape:
                raise FeatureMismatch(
                    f"The mirrored training features have shape {flipped.shape}, the training features {values.shape}. "
                    "Each row must be the mirror image of the same row."
                )
            self._mirrored = PointSet(flipped)

    def closeness(self, features: Any) -> Closeness:
        """How close other images (M, D) lie."""
        values = as_features(features, what="images")
        dimension = self._points.values.shape[1]
        if values.shape[1] != dimension:
            raise FeatureMismatch(
                f"These features have {values.shape[1]} dimensions, the training features {dimension}. Both must come "
                "from the same network."
            )
        points = PointSet(values)
        squared, column = nearest_row(points, self._points)
        mirrored = np.zeros(len(points), bool)
        plain = squared, column
        if self._mirrored is not None:
            squared, column, mirrored = self._nearer(squared, column, *nearest_row(points, self._mirrored))
        found = self._measured(squared, column, mirrored, plain)
        return found.of_rows(points.inverse)

    def _nearer(
        self, squared: FloatArray, column: IntArray, other_squared: FloatArray, other_column: IntArray
    ) -> tuple[FloatArray, IntArray, NDArray[np.bool_]]:
        """The nearer of a training image and a mirrored one, the training image if they are equally near."""
        assert self._mirrored is not None
        mirrored = other_squared < squared
        original = self._points.inverse[self._mirrored.first[other_column]]
        return np.where(mirrored, other_squared, squared), np.where(mirrored, original, column), mirrored

    def _measured(
        self,
        squared: FloatArray,
        column: IntArray,
        mirrored: NDArray[np.bool_],
        plain: tuple[FloatArray, IntArray],
    ) -> Closeness:
        """With the local scale of each ``column``.

        ``plain``: squared distance and column of the nearest training image where no mirror image is looked at.
        """
        used, of_used = np.unique(np.concatenate([column, plain[1]]), return_inverse=True)
        around = PointSet(self._points.rows(used))
        known = nearest_rows(around, self._points, self.nearest_k + 1)[0][around.inverse]  # the first is the row itself
        of_column, of_plain = of_used[: len(column)], of_used[len(column) :]
        distance = np.sqrt(squared)
        ratio = distance / np.sqrt(known[of_column, self.nearest_k])
        nearest_other = np.where(self._points.multiplicity[plain[1]] > 1, 0.0, known[of_plain, 1])
        return Closeness(self._points.first[column], distance, ratio, mirrored, nearest_other < plain[0])


def set_aside(features: Any, *, without: Sequence[int] = (), seed: int = 0) -> tuple[IntArray, IntArray]:
    """Rows of training features (N, D) to stand for fresh images, and all the others; each in order.

    A seeded fifth, at least 20 and at most 10,000; none that occurs twice or is in ``without``.
    """
    points = PointSet(as_features(features, what="train"))
    single = points.multiplicity[points.inverse] == 1
    single[np.asarray(without, np.intp)] = False
    usable = np.flatnonzero(single)
    count = min(max(len(single) // 5, MIN_FRESH), 10_000)
    if count > len(usable) // 2:
        raise TooFewImages(
            f"Without held-out images, {count} training images are set aside to stand for them, and there are only "
            f"{len(usable)} different ones. Give held-out images, or the whole training set."
        )
    chosen = np.random.default_rng(seed).choice(usable, count, replace=False)
    fresh = np.zeros(len(single), bool)
    fresh[chosen] = True
    return np.flatnonzero(fresh), np.flatnonzero(~fresh)
