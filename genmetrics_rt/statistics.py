"""Mean and covariance of features: one block at a time, mergeable, in float64.

Blocks are merged by the centred second moments of Chan, Golub and LeVeque (1979), never by ``E[xxᵀ] − μμᵀ``, which
loses four digits already for features with mean 100 and standard deviation 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages

_BLOCK_BYTES = 64 << 20  # float64 copies of a stretch of rows


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean (D,) and covariance (D, D), float64, of ``num_images`` features; the covariance divides by N − ddof.

    ``num_images`` is None where a file does not say of how many: then the divisor stays what it is.
    """

    mean: FloatArray
    covariance: FloatArray
    num_images: int | None
    ddof: int = 1

    @classmethod
    def from_features(cls, features: Any, *, ddof: int = 1) -> FeatureStatistics:
        """Of features (N, D). Raises `TooFewImages` unless N > ddof."""
        accumulator = StatisticsAccumulator()
        accumulator.update(as_features(features))
        return accumulator.result(ddof=ddof)

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Statistics of both sets together, to 1e-12 relative of computing them at once; order does not matter.

        Raises `InputError` where one of the counts is unknown.
        """
        accumulator = StatisticsAccumulator._of(self)
        accumulator.merge(StatisticsAccumulator._of(other))
        return accumulator.result(ddof=self.ddof)

    def with_ddof(self, ddof: int) -> FeatureStatistics:
        """The same with another divisor: 1 (TTUR, torch-fidelity, most others) or 0 (StyleGAN2 and 3).

        Raises `TooFewImages` unless N > ddof, `InputError` where N is unknown and the divisor would have to change.
        """
        if self.num_images is None:
            if ddof == self.ddof:
                return self
            raise InputError(
                f"A covariance of an unknown number N of images, taken to divide by {_divisor(self.ddof)}, cannot be "
                f"converted to one that divides by {_divisor(ddof)}: that needs N. Use a protocol with ddof "
                f"{self.ddof}, or make the statistics again from the images: genmetrics reference IMAGES -o FILE."
            )
        if self.num_images <= ddof:
            raise TooFewImages(f"A covariance with ddof {ddof} needs more than {ddof} images, not {self.num_images}.")
        scale = (self.num_images - self.ddof) / (self.num_images - ddof)
        return FeatureStatistics(self.mean, self.covariance * scale, self.num_images, ddof)


def _divisor(ddof: int) -> str:
    return f"N − {ddof}" if ddof else "N"


class StatisticsAccumulator:
    """Running mean and centred second moment. Holds (D,) + (D, D) float64, whatever the number of rows."""

    def __init__(self) -> None:
        self.num_images = 0
        self._mean: FloatArray | None = None
        self._moment: FloatArray | None = None  # Σ (x − mean)(x − mean)ᵀ

    def update(self, features: NDArray[Any]) -> None:
        """Add rows (n, D)."""
        if len(features) == 0:
            return
        rows = max(1, _BLOCK_BYTES // (8 * features.shape[1]))
        for start in range(0, len(features), rows):
            block = np.asarray(features[start : start + rows], dtype=np.float64)
            mean = block.mean(axis=0)
            centred = block - mean
            self._add(len(block), mean, centred.T @ centred)

    def merge(self, other: StatisticsAccumulator) -> None:
        """Add everything another accumulator has seen."""
        if other._mean is not None and other._moment is not None:
            self._add(other.num_images, other._mean, other._moment.copy())

    def result(self, *, ddof: int = 1) -> FeatureStatistics:
        """Mean and covariance of all rows so far. Raises `TooFewImages` unless there are more than ``ddof``."""
        if self._mean is None or self._moment is None or self.num_images <= ddof:
            raise TooFewImages(
                f"Mean and covariance need at least {ddof + 1} images; there are {self.num_images}. Add images."
            )
        covariance = self._moment / (self.num_images - ddof)
        return FeatureStatistics(self._mean.copy(), covariance, self.num_images, ddof)

    def without(self, other: StatisticsAccumulator) -> StatisticsAccumulator:
        """What is left without the rows of ``other``, which are among ours: the merger undone."""
        assert self._mean is not None and self._moment is not None
        assert other._mean is not None and other._moment is not None
        left = StatisticsAccumulator()
        left.num_images = self.num_images - other.num_images
        left._mean = (self.num_images * self._mean - other.num_images * other._mean) / left.num_images
        delta = other._mean - left._mean
        left._moment = self._moment - other._moment
        left._moment -= np.outer(delta * (left.num_images * other.num_images / self.num_images), delta)
        return left

    def state(self) -> tuple[FloatArray, FloatArray]:
        """Mean (D,) and the upper triangle of the second moment, row by row (D(D + 1)/2,): what `from_state` takes."""
        if self._mean is None or self._moment is None:
            raise TooFewImages("Statistics of no image have no state. Add images first.")
        return self._mean, np.concatenate([row[place:] for place, row in enumerate(self._moment)])

    @classmethod
    def from_state(cls, num_images: int, mean: FloatArray, triangle: FloatArray) -> StatisticsAccumulator:
        """What `state` gave, as an accumulator again. Raises `InputError` where the sizes do not belong together."""
        size = len(mean)
        if num_images < 1 or triangle.shape != (size * (size + 1) // 2,):
            raise InputError(
                f"{triangle.size:,} second moments of {num_images:,} images do not belong to {size} means. "
                "The file that holds them is damaged: make it again."
            )
        accumulator = cls()
        accumulator.num_images, accumulator._mean = num_images, np.array(mean, np.float64)
        accumulator._moment = np.empty((size, size))
        start = 0
        for row in range(size):
            stop = start + size - row
            accumulator._moment[row, row:] = accumulator._moment[row:, row] = triangle[start:stop]
            start = stop
        return accumulator

    def _add(self, count: int, mean: FloatArray, moment: FloatArray) -> None:
        if self._mean is None or self._moment is None:
            self.num_images, self._mean, self._moment = count, mean.copy(), moment
            return
        if len(mean) != len(self._mean):
            raise FeatureMismatch(f"Statistics of {len(mean)} dimensions cannot join those of {len(self._mean)}.")
        total = self.num_images + count
        delta = mean - self._mean
        self._moment += moment
        # The outer product is written in place, row block by row block, so that no second (D, D) array is needed.
        scaled = delta * (self.num_images * count / total)
        for start in range(0, len(delta), 256):
            self._moment[start : start + 256] += np.outer(scaled[start : start + 256], delta)
        self._mean += delta * (count / total)
        self.num_images = total

    @classmethod
    def _of(cls, statistics: FeatureStatistics) -> StatisticsAccumulator:
        if statistics.num_images is None:
            raise InputError(
                "Statistics of an unknown number of images cannot be merged: nobody knows how much they weigh. Make "
                "them again from the images: genmetrics reference IMAGES -o FILE."
            )
        accumulator = cls()
        accumulator.num_images = statistics.num_images
        accumulator._mean = statistics.mean.copy()
        accumulator._moment = statistics.covariance * (statistics.num_images - statistics.ddof)
        return accumulator


def statistics_without_each(features: NDArray[Any], groups: NDArray[np.intp], ddof: int) -> Iterator[FeatureStatistics]:
    """Mean and covariance of the rows (N, D) without each group (N,), one after another: two covariances at a time."""
    whole = StatisticsAccumulator()
    whole.update(features)
    for group in range(1 + int(groups.max())):
        own = StatisticsAccumulator()
        own.update(features[groups == group])
        yield whole.without(own).result(ddof=ddof)
