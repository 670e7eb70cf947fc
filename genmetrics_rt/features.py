"""The features of one side: collected block by block, kept whole while they are few, sampled when they are many.

Statistics (mean and covariance) are always those of ALL images. Rows are needed by the metrics that look at
neighbours and kernels; at most `MAX_KEPT` of them are kept, as a seeded uniform sample that says its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, require_finite
from genmetrics_rt.errors import EmptySide, FeatureMismatch
from genmetrics_rt.statistics import FeatureStatistics, StatisticsAccumulator

MAX_KEPT = 50_000  # feature rows per side that are kept in memory


@dataclass(frozen=True)
class Features:
    """The features of one side.

    ``values`` (n, D) are the kept rows, ``logits`` (n, C) belong to the same rows where the network has classes,
    ``index`` (n,) are their positions in the source. ``num_images`` counts all images; n < num_images means that
    ``values`` is a uniform sample and ``statistics`` alone knows the rest. A statistics file gives no rows, and often
    no count: then ``values`` is (0, D), and ``num_images`` None.

    Where the protocol collects the network's spatial tap, ``spatial`` is its mean and covariance over all images, and
    ``spatial_values`` (n, S) belong to the same rows as ``values``. A saved reference has no such rows; a selection of
    rows has no ``spatial``, as its rows are all there is.
    """

    values: NDArray[np.floating]
    index: NDArray[np.int64]
    num_images: int | None
    logits: FeatureArray | None = None
    all_statistics: FeatureStatistics | None = None  # set where values do not hold all rows
    spatial: FeatureStatistics | None = None
    spatial_values: FeatureArray | None = None

    @property
    def dimension(self) -> int:
        if self.all_statistics is not None:
            return len(self.all_statistics.mean)
        return int(self.values.shape[1])

    @property
    def has_all_rows(self) -> bool:
        """Whether ``values`` holds every image."""
        return len(self.values) == self.num_images

    def statistics(self) -> FeatureStatistics:
        """Mean and covariance (ddof 1) of all images."""
        if self.all_statistics is not None:
            return self.all_statistics
        return FeatureStatistics.from_features(self.values)

    def spatial_features(self) -> Features | None:
        """Those of the spatial tap as features of their own, with rows if they were kept; None where there are none."""
        values, index = self.spatial_values, self.index
        if values is None:
            if self.spatial is None:
                return None
            values, index = np.empty((0, len(self.spatial.mean)), np.float32), np.empty(0, np.int64)
        return Features(values, index, self.num_images, all_statistics=self.spatial)


class Collector(Protocol):
    """Takes blocks of features in order, as `FeatureCollector.update` does."""

    def update(
        self,
        values: NDArray[np.floating],
        logits: FeatureArray | None = None,
        index: NDArray[np.int64] | None = None,
        *,
        spatial: FeatureArray | None = None,
        what: str = "features",
    ) -> None: ...


class FeatureCollector:
    """Takes blocks of features in order and ends as `Features`. Mergeable; bounded memory. Not locked: the owner is."""

    def __init__(self, *, seed: int = 0, max_kept: int = MAX_KEPT) -> None:
        self._seed = seed
        self._max_kept = max_kept
        self._values: list[NDArray[np.floating]] = []
        self._logits: list[FeatureArray] = []
        self._index: list[NDArray[np.int64]] = []
        self._priorities: list[NDArray[np.uint64]] = []  # of each row, for life: the smallest ones make the sample
        self._spatial_values: list[FeatureArray] = []
        self._kept = 0
        self._accumulator: StatisticsAccumulator | None = None  # only once rows have to be let go
        self._spatial = StatisticsAccumulator()
        self.num_images = 0  # rows that arrived
        self._next_index = 0

    def update(
        self,
        values: NDArray[np.floating],
        logits: FeatureArray | None = None,
        index: NDArray[np.int64] | None = None,
        *,
        spatial: FeatureArray | None = None,
        what: str = "features",
    ) -> None:
        """Add a block: (n, D) features, (n, C) logits, (n,) positions in the source (default: counted on).

        ``spatial`` (n, S) is what the spatial tap gives for the same images.
        """
        if len(values) == 0:
            return
        require_finite(values, what=what)
        if self._values and values.shape[1] != self._values[0].shape[1]:
            raise FeatureMismatch(f"{what}: {values.shape[1]} dimensions after {self._values[0].shape[1]} before.")
        if index is None:
            index = np.arange(self._next_index, self._next_index + len(values), dtype=np.int64)
        self._next_index = max(self._next_index, int(index[-1]) + 1)
        self._append(values, logits, index, row_priorities(index, self._seed), spatial)
        self.num_images += len(values)
        if spatial is not None:
            self._spatial.update(spatial)
        if self._accumulator is not None:
            self._accumulator.update(values)
        elif self._kept > self._max_kept:
            self._accumulator = StatisticsAccumulator()
            for block in self._values:
                self._accumulator.update(block)
        if self._kept > self._max_kept + max(1024, self._max_kept // 4):
            self._thin_out()

    def merge(self, other: FeatureCollector) -> None:
        """Take in what another collector gathered, as if its blocks had come after ours."""
        offset = self._next_index
        if self._accumulator is None and other._accumulator is None:
            for row, block in enumerate(other._values):
                logits = other._logits[row] if other._logits else None
                spatial = other._spatial_values[row] if other._spatial_values else None
                self.update(block, logits, other._index[row] + offset, spatial=spatial)
            return
        self._spatial.merge(other._spatial)
        mine, theirs = self._as_accumulator(), other._as_accumulator()
        mine.merge(theirs)
        self._accumulator = mine
        for row, block in enumerate(other._values):
            logits = other._logits[row] if other._logits else None
            spatial = other._spatial_values[row] if other._spatial_values else None
            # With the priorities that they have survived by: new ones would favour our rows over theirs.
            self._append(block, logits, other._index[row] + offset, other._priorities[row], spatial)
        self.num_images += other.num_images
        self._next_index += other._next_index
        self._thin_out()

    def result(self) -> Features:
        """All that was collected. Raises `EmptySide` when nothing was."""
        if not self._values:
            raise EmptySide("No features were collected: there is nothing to score.")
        if self._accumulator is not None:
            self._thin_out()
        else:
            self._consolidate()
        return Features(
            values=self._values[0],
            index=self._index[0],
            num_images=self.num_images,
            logits=self._logits[0] if self._logits else None,
            all_statistics=self._accumulator.result() if self._accumulator is not None else None,
            spatial=self._spatial.result() if self._spatial.num_images > 1 else None,
            spatial_values=self._spatial_values[0] if self._spatial_values else None,
        )

    def _append(
        self,
        values: NDArray[np.floating],
        logits: FeatureArray | None,
        index: NDArray[np.int64],
        priorities: NDArray[np.uint64],
        spatial: FeatureArray | None,
    ) -> None:
        if (logits is None) != (not self._logits) and self._values:
            raise FeatureMismatch("Some blocks have class logits and others have none.")
        if (spatial is None) != (not self._spatial_values) and self._values:
            raise FeatureMismatch("Some blocks have spatial features and others have none.")
        self._values.append(values)
        self._index.append(index)
        self._priorities.append(priorities)
        if logits is not None:
            self._logits.append(logits)
        if spatial is not None:
            self._spatial_values.append(spatial)
        self._kept += len(values)

    def _as_accumulator(self) -> StatisticsAccumulator:
        if self._accumulator is not None:
            return self._accumulator
        accumulator = StatisticsAccumulator()
        for block in self._values:
            accumulator.update(block)
        return accumulator

    def _consolidate(self) -> None:
        self._values = [np.concatenate(self._values)] if len(self._values) > 1 else self._values
        self._index = [np.concatenate(self._index)] if len(self._index) > 1 else self._index
        self._priorities = [np.concatenate(self._priorities)] if len(self._priorities) > 1 else self._priorities
        self._logits = [np.concatenate(self._logits)] if len(self._logits) > 1 else self._logits
        if len(self._spatial_values) > 1:
            self._spatial_values = [np.concatenate(self._spatial_values)]

    def _thin_out(self) -> None:
        """Keep the `max_kept` rows of lowest priority: a uniform sample whose rows do not depend on block sizes."""
        self._consolidate()
        if self._kept <= self._max_kept:
            return
        kept = np.sort(np.argpartition(self._priorities[0], self._max_kept)[: self._max_kept])
        self._values = [self._values[0][kept]]
        self._index = [self._index[0][kept]]
        self._priorities = [self._priorities[0][kept]]
        self._logits = [self._logits[0][kept]] if self._logits else []
        self._spatial_values = [self._spatial_values[0][kept]] if self._spatial_values else []
        self._kept = len(kept)


def row_priorities(index: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A hash of position and seed (splitmix64): sampling by its smallest values is uniform and needs no memory."""
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) + np.uint64(seed % 2**63) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
