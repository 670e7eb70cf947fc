"""k-means: finds what is plainly there, follows its seed, and survives every degenerate input."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from genmetrics_rt.clustering import kmeans
from tests.golden import X, Y

Array = NDArray[np.floating]


def clusters(values: Array, count: int, seed: int = 0) -> NDArray[np.intp]:
    return kmeans(values, count, np.random.default_rng(seed))


def groups(count: int, each: int, dimension: int, gap: float = 50.0, seed: int = 0) -> tuple[Array, NDArray[np.intp]]:
    """Groups of width 1 at least ``gap`` apart, shuffled, and which group each row is of."""
    rng = np.random.default_rng(seed)
    places = gap * np.unique(rng.integers(-20, 20, (20 * count, dimension)), axis=0)
    places = places[rng.permutation(len(places))[:count]]
    label = rng.permutation(np.repeat(np.arange(count), each))
    return places[label] + rng.uniform(-0.5, 0.5, (len(label), dimension)), label


def same_partition(a: NDArray[np.intp], b: NDArray[np.intp]) -> bool:
    """Whether two labellings differ in the names of the clusters only."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def inertia(values: Array, labels: NDArray[np.intp]) -> float:
    return float(
        sum(((values[labels == label] - values[labels == label].mean(axis=0)) ** 2).sum() for label in set(labels))
    )


@pytest.mark.parametrize(("count", "dimension"), [(1, 3), (2, 1), (3, 2), (5, 40)])
@pytest.mark.parametrize("seed", range(4))
def test_separated_groups_are_found(count: int, dimension: int, seed: int) -> None:
    values, truth = groups(count, 30, dimension, gap=200, seed=seed)
    assert same_partition(clusters(values, count, seed), truth)


def test_groups_far_from_the_origin_are_found() -> None:
    values, truth = groups(4, 25, 6, gap=3)
    assert same_partition(clusters(values + 1e7, 4), truth)


def test_the_best_partition_of_six_points() -> None:
    line = np.array([[0.0], [1], [10], [11], [30], [31]])
    assert same_partition(clusters(line, 3), np.array([0, 0, 1, 1, 2, 2]))


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_with_its_nearest_centre_or_nearly(seed: int) -> None:
    """Lloyd's iterations stop when the inertia falls by less than 1e-4: few rows could still move."""
    union = np.concatenate([Y, X])
    labels = clusters(union, 20, seed)
    centres = np.stack([union[labels == label].mean(axis=0) for label in range(20)])
    nearest = ((union[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95
    assert len(set(labels.tolist())) == 20


def test_more_clusters_are_tighter() -> None:
    inertias = [np.mean([inertia(X, clusters(X, count, seed)) for seed in range(3)]) for count in (1, 2, 5, 20, 80)]
    assert (np.diff(inertias) < 0).all()
    assert inertias[0] == pytest.approx(float(((X - X.mean(axis=0)) ** 2).sum()))


def test_the_seed_decides_and_nothing_else() -> None:
    first = clusters(X, 20, 1)
    np.random.seed(0)
    np.testing.assert_array_equal(clusters(X, 20, 1), first)
    np.testing.assert_array_equal(clusters(X.astype(np.float64).copy(order="F"), 20, 1), first)
    assert not np.array_equal(clusters(X, 20, 2), first)


def test_the_values_are_left_alone() -> None:
    values = X.copy()
    values.flags.writeable = False
    clusters(values, 5)
    np.testing.assert_array_equal(values, X)


def test_float32_is_clustered_in_float64() -> None:
    single = X.astype(np.float32)
    np.testing.assert_array_equal(clusters(single, 20), clusters(single.astype(np.float64), 20))


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_order_of_the_rows_does_not_change_separated_groups(order: tuple[int, ...]) -> None:
    values, truth = groups(3, 20, 2, gap=200)
    rows = np.concatenate([np.flatnonzero(truth == group) for group in order])
    assert same_partition(clusters(values[rows], 3), truth[rows])


@pytest.mark.parametrize("count", [1, 3, 20])
def test_one_picture_only(count: int) -> None:
    labels = clusters(np.full((50, 4), 0.3), count)
    assert len(set(labels.tolist())) == 1 and 0 <= labels.min() <= labels.max() < count


@pytest.mark.parametrize("seed", range(6))
def test_fewer_different_rows_than_clusters(seed: int) -> None:
    """Some clusters stay empty; equal rows are together, different ones apart."""
    different = np.array([[0.0, 0], [1, 0], [0, 7], [5, 5]])
    which = np.random.default_rng(seed).integers(0, 4, 60)
    labels = clusters(different[which], 20, seed)
    assert same_partition(labels, which) and labels.max() < 20


def test_as_many_clusters_as_rows() -> None:
    assert sorted(clusters(X[:12], 12).tolist()) == list(range(12))


def test_nearly_equal_rows_and_an_outlier() -> None:
    values = np.concatenate([1 + 1e-9 * X[:50], [[1e6] * 8]])
    labels = clusters(values, 2)
    assert same_partition(labels, np.array([0] * 50 + [1]))


@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e8, 1e100])
def test_the_unit_of_the_features_does_not_matter(scale: float) -> None:
    values, truth = groups(5, 20, 3, gap=200)
    assert same_partition(clusters(values * scale, 5), truth)
