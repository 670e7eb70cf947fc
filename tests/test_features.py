"""The collector: whole while rows are few, a uniform sample when they are many, statistics always of all rows."""

from __future__ import annotations

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.features import FeatureCollector


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 5)) * [1, 2, 3, 4, 1e-3] + 100


def collect(values: np.ndarray, block: int, max_kept: int = 10_000) -> FeatureCollector:
    collector = FeatureCollector(max_kept=max_kept)
    for start in range(0, len(values), block):
        collector.update(values[start : start + block])
    return collector


def test_few_rows_are_kept_in_order() -> None:
    values = rows(100)
    features = collect(values, 7).result()
    np.testing.assert_array_equal(features.values, values)
    np.testing.assert_array_equal(features.index, np.arange(100))
    assert features.has_all_rows


def test_statistics_are_those_of_all_rows_even_when_rows_are_let_go() -> None:
    values = rows(5_000)
    features = collect(values, 333, max_kept=200).result()
    assert len(features.values) == 200 and features.num_images == 5_000 and not features.has_all_rows
    np.testing.assert_allclose(features.statistics().mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(features.statistics().covariance, np.cov(values.T), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(features.values, values[features.index])


@pytest.mark.parametrize("block", [1, 64, 1_000, 5_000])
def test_the_sample_does_not_depend_on_block_sizes(block: int) -> None:
    values = rows(5_000)
    expected = collect(values, 100, max_kept=300).result()
    found = collect(values, block, max_kept=300).result()
    np.testing.assert_array_equal(found.index, expected.index)


def test_the_sample_is_uniform() -> None:
    picked = np.concatenate([_sample_of(seed) for seed in range(40)])
    counts = np.histogram(picked, bins=10, range=(0, 2_000))[0]
    # 40 samples of 100 out of 2,000: each tenth expects 400, standard deviation about 18.5.
    assert np.abs(counts - 400).max() < 5 * 18.5


def _sample_of(seed: int) -> np.ndarray:
    collector = FeatureCollector(seed=seed, max_kept=100)
    collector.update(rows(2_000))
    return collector.result().index


@pytest.mark.parametrize(("first", "second"), [(50, 70), (500, 40), (40, 500), (500, 700)])
def test_merging_equals_collecting_on(first: int, second: int) -> None:
    values = rows(first + second)
    merged = collect(values[:first], 30, max_kept=100)
    merged.merge(collect(values[first:], 30, max_kept=100))
    expected = collect(values, 30, max_kept=100).result()
    found = merged.result()
    assert found.num_images == first + second
    np.testing.assert_allclose(found.statistics().mean, expected.statistics().mean, rtol=1e-12)
    # Relative to the two standard deviations: a covariance near 0 has no digits of its own.
    scale = np.sqrt(np.diag(expected.statistics().covariance))
    difference = found.statistics().covariance - expected.statistics().covariance
    assert np.abs(difference / np.outer(scale, scale)).max() < 1e-11
    np.testing.assert_array_equal(found.values, values[found.index])


def test_the_sample_of_a_merger_is_uniform_over_both_parts() -> None:
    counts = np.zeros(2)
    for seed in range(60):
        first, second = FeatureCollector(seed=seed, max_kept=100), FeatureCollector(seed=seed, max_kept=100)
        first.update(rows(2_000))
        second.update(rows(1_000))
        second.result()  # thins it out
        first.merge(second)
        index = first.result().index
        counts += [(index < 2_000).sum(), (index >= 2_000).sum()]
    # 6,000 picks, two thirds of them from the first part: standard deviation about 37.
    assert abs(counts[0] - 4_000) < 5 * 37


def spatial_of(values: np.ndarray) -> np.ndarray:
    """Rows of another size that say whose they are."""
    return np.concatenate([values, values[:, :2] ** 2], axis=1).astype(np.float32)


def collect_spatial(values: np.ndarray, block: int, max_kept: int = 10_000) -> FeatureCollector:
    collector = FeatureCollector(max_kept=max_kept)
    for start in range(0, len(values), block):
        part = values[start : start + block]
        collector.update(part, spatial=spatial_of(part))
    return collector


@pytest.mark.parametrize("max_kept", [10_000, 200])
def test_spatial_rows_are_those_of_the_kept_images_and_their_statistics_of_all(max_kept: int) -> None:
    values = rows(5_000)
    features = collect_spatial(values, 333, max_kept).result()
    assert len(features.spatial_values) == min(5_000, max_kept)
    np.testing.assert_array_equal(features.spatial_values, spatial_of(values)[features.index])
    expected = spatial_of(values).astype(np.float64)
    assert features.spatial.num_images == 5_000
    np.testing.assert_allclose(features.spatial.mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(features.spatial.covariance, np.cov(expected.T), rtol=1e-9, atol=1e-7)
    alone = features.spatial_features()
    assert (alone.num_images, alone.dimension, alone.has_all_rows) == (5_000, 7, max_kept == 10_000)
    assert alone.values is features.spatial_values and alone.statistics() is features.spatial


@pytest.mark.parametrize(("first", "second"), [(50, 40), (500, 40), (40, 2_000), (500, 2_000)])
def test_spatial_rows_survive_a_merger(first: int, second: int) -> None:
    values = rows(first + second)
    merged = collect_spatial(values[:first], 30, max_kept=100)
    merged.merge(collect_spatial(values[first:], 30, max_kept=100))
    found = merged.result()
    np.testing.assert_array_equal(found.spatial_values, spatial_of(values)[found.index])
    assert found.spatial.num_images == first + second
    np.testing.assert_allclose(found.spatial.mean, spatial_of(values).astype(np.float64).mean(0), rtol=1e-12)


def test_spatial_features_of_some_blocks_only_are_refused() -> None:
    collector = collect_spatial(rows(8), 4)
    with pytest.raises(gm.FeatureMismatch, match="spatial features and others have none"):
        collector.update(rows(4))
    assert collect(rows(8), 4).result().spatial_values is None


def test_nan_is_refused_with_its_rows() -> None:
    values = rows(10)
    values[[3, 7], 1] = [np.nan, np.inf]
    with pytest.raises(gm.NonFiniteFeatures, match="rows 3, 7"):
        FeatureCollector().update(values)


def test_huge_finite_values_are_not_mistaken_for_infinity() -> None:
    with pytest.raises(gm.InputError, match="squares overflow"):
        FeatureCollector().update(np.full((4, 2), 1e308))
    FeatureCollector().update(np.full((4, 2), 1e120))


def test_another_dimension_is_refused() -> None:
    collector = collect(rows(4), 4)
    with pytest.raises(gm.FeatureMismatch, match="3 dimensions after 5"):
        collector.update(np.zeros((2, 3)))


def test_nothing_collected_is_an_error() -> None:
    with pytest.raises(gm.EmptySide):
        FeatureCollector().result()
