"""Mean and covariance: blocks and orders do not matter, digits are not lost, divisors are what they say."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import genmetrics_rt as gm
from genmetrics_rt import statistics
from genmetrics_rt.statistics import StatisticsAccumulator
from tests.golden import X, Y

Array = NDArray[np.floating]


def of(features: Array, ddof: int = 1) -> gm.FeatureStatistics:
    return gm.FeatureStatistics.from_features(features, ddof=ddof)


def in_blocks(features: Array, edges: list[int]) -> StatisticsAccumulator:
    accumulator = StatisticsAccumulator()
    for start, stop in pairwise([0, *sorted(edges), len(features)]):
        accumulator.update(features[start:stop])
    return accumulator


def assert_same(found: gm.FeatureStatistics, expected: gm.FeatureStatistics, tolerance: float = 1e-12) -> None:
    """To ``tolerance`` of the standard deviations: a covariance near 0 has no digits of its own."""
    assert (found.num_images, found.ddof) == (expected.num_images, expected.ddof)
    deviation = np.sqrt(np.diag(expected.covariance)) + 1e-300
    size = deviation + np.abs(expected.mean)
    assert np.abs((found.mean - expected.mean) / size).max() < tolerance
    assert np.abs((found.covariance - expected.covariance) / np.outer(deviation, deviation)).max() < tolerance


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(
    "features",
    [X, Y, X[:2], X[:3, :1], Y.astype(np.float32)],
    ids=lambda features: f"{features.shape} {features.dtype}",
)
def test_mean_and_covariance_are_numpys(features: Array, ddof: int) -> None:
    found = of(features, ddof)
    np.testing.assert_allclose(found.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-13, atol=1e-15)
    expected = np.atleast_2d(np.cov(features.astype(np.float64), rowvar=False, ddof=ddof))
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-11, atol=1e-14)
    assert found.mean.dtype == found.covariance.dtype == np.float64
    assert (found.num_images, found.ddof) == (len(features), ddof)
    np.testing.assert_array_equal(found.covariance, found.covariance.T)


def test_statistics_by_hand() -> None:
    """Three constant images at 0, ½ and 1: mean ½, variance ¼ (pytorch-fid's unit test)."""
    found = of(np.array([[0.0], [0.5], [1.0]]))
    assert found.mean == [0.5] and found.covariance == [[0.25]]
    assert found.with_ddof(0).covariance[0, 0] == pytest.approx(1 / 6, rel=1e-15)


# In any blocks, in any order


@given(st.lists(st.integers(0, 500), max_size=12))
@settings(max_examples=30, deadline=None)
def test_blocks_do_not_matter(edges: list[int]) -> None:
    assert_same(in_blocks(Y, edges).result(), of(Y))


def test_one_row_at_a_time() -> None:
    assert_same(in_blocks(Y, list(range(1, 500))).result(), of(Y))


def test_a_large_update_is_taken_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = of(Y)
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", 8 * 8 * 37)
    assert_same(of(Y), expected)
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", 1)
    assert_same(of(Y), expected)


def test_wide_features_are_added_in_strips() -> None:
    features = np.random.default_rng(0).standard_normal((40, 700)) + 3
    assert_same(in_blocks(features, [7, 30]).result(), of(features))


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_merging_in_any_order(order: tuple[int, ...]) -> None:
    blocks = [of(Y[a:b]) for a, b in pairwise([0, 2, 99, 300, 500])]
    merged = blocks[order[0]]
    for place in order[1:]:
        merged = merged.merge(blocks[place])
    assert_same(merged, of(Y))


def test_merging_in_pairs_of_pairs() -> None:
    a, b, c, d = (of(Y[start : start + 125]) for start in range(0, 500, 125))
    assert_same(a.merge(b).merge(c.merge(d)), of(Y))
    assert_same(a.merge(b), b.merge(a), 1e-14)


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(2, 40), second=st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_merging_sets_far_apart(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((first, 3)) + 1e3, 5 * rng.standard_normal((second, 3)) - 1e3
    assert_same(of(a).merge(of(b)), of(np.concatenate([a, b])))


def test_merging_accumulators_leaves_the_other_as_it_was() -> None:
    mine, theirs = in_blocks(Y[:100], []), in_blocks(Y[100:], [])
    before = theirs.result()
    mine.merge(theirs)
    mine.update(X)
    assert_same(mine.result(), of(np.concatenate([Y, X])))
    assert_same(theirs.result(), before, 1e-300)
    empty = StatisticsAccumulator()
    empty.merge(theirs)
    theirs.update(X)  # what was taken over is a copy
    assert_same(empty.result(), before, 1e-300)


def test_nothing_changes_nothing() -> None:
    accumulator = in_blocks(Y, [])
    accumulator.update(Y[:0])
    accumulator.merge(StatisticsAccumulator())
    assert_same(accumulator.result(), of(Y), 1e-300)


def test_results_stay_as_they_were_read() -> None:
    accumulator = in_blocks(Y[:50], [])
    early = accumulator.result()
    mean, covariance = early.mean.copy(), early.covariance.copy()
    accumulator.update(Y[50:])
    np.testing.assert_array_equal(early.mean, mean)
    np.testing.assert_array_equal(early.covariance, covariance)
    assert accumulator.result().num_images == 500


# Digits


@pytest.mark.parametrize("block", [1, 7, 500])
def test_the_trap_of_raw_second_moments(block: int) -> None:
    """Mean 100, standard deviation 1e-3: E[xxᵀ] − µµᵀ keeps four digits of float64's sixteen."""
    features = 100 + 1e-3 * X
    exact = np.cov(features - 100, rowvar=False)
    mean = features.mean(axis=0)
    raw = (features.T @ features - 500 * np.outer(mean, mean)) / 499
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs((raw - exact) / scale).max() > 1e-6
    found = in_blocks(features, list(range(block, 500, block))).result()
    assert np.abs((found.covariance - exact) / scale).max() < 1e-11


def test_float32_features_are_summed_in_float64() -> None:
    """50,000 float32 values around 0.9, whose float32 mean is off by several 1e-6."""
    features = (0.9 + 0.1 * np.random.RandomState(0).randn(50_000, 1)).astype(np.float32)
    exact = features.astype(np.float64).mean()
    assert abs(of(features).mean[0] - exact) < 1e-14
    accumulator = in_blocks(features, list(range(64, 50_000, 64)))
    assert abs(accumulator.result().mean[0] - exact) < 1e-13


def test_constant_features_have_no_variance() -> None:
    found = in_blocks(np.full((100, 3), 0.1), [30, 31, 80]).result()
    np.testing.assert_allclose(found.mean, 0.1, rtol=1e-15)
    np.testing.assert_allclose(found.covariance, 0, atol=1e-32)


# Divisors


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 0), (1, 1), (0, 0)])
def test_divisors_convert_exactly(old: int, new: int) -> None:
    converted = of(Y[:7], old).with_ddof(new)
    assert_same(converted, of(Y[:7], new), 1e-14)
    assert_same(converted.with_ddof(old), of(Y[:7], old), 1e-14)


@pytest.mark.parametrize("mine", [0, 1])
@pytest.mark.parametrize("theirs", [0, 1])
def test_merging_keeps_my_divisor_whatever_theirs(mine: int, theirs: int) -> None:
    assert_same(of(Y[:100], mine).merge(of(Y[100:], theirs)), of(Y, mine))


def test_a_single_image_joins_the_others() -> None:
    """It has no covariance with ddof 1, but with ddof 0 it merges like any set."""
    assert_same(of(Y[:1], ddof=0).merge(of(Y[1:], ddof=0)), of(Y, ddof=0))


# What is refused


def test_what_is_refused() -> None:
    with pytest.raises(gm.TooFewImages, match="at least 2 images; there are 1"):
        of(X[:1])
    with pytest.raises(gm.TooFewImages, match="at least 1 images; there are 0"):
        of(X[:0], ddof=0)
    with pytest.raises(gm.TooFewImages, match="at least 2 images; there are 0"):
        StatisticsAccumulator().result()
    with pytest.raises(gm.TooFewImages, match="ddof 1 needs more than 1 images, not 1"):
        of(X[:1], ddof=0).with_ddof(1)
    with pytest.raises(gm.FeatureMismatch, match="3 dimensions cannot join those of 8"):
        of(X).merge(of(X[:, :3]))
    with pytest.raises(gm.FeatureMismatch, match="3 dimensions cannot join those of 8"):
        in_blocks(X, []).update(X[:, :3])
    with pytest.raises(gm.NonFiniteFeatures, match="rows 4"):
        of(np.where(np.arange(500)[:, None] == 4, np.inf, X))
    with pytest.raises(gm.InputError, match="2-D array"):
        of(X[0])
