"""Extrapolated scores against closed forms and golden values (tests/golden.py, spec §1 and §4.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import genmetrics_rt as gm
from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.metrics.extrapolation import Extrapolation, extrapolate, frechet_infinity, inception_score_infinity
from tests.golden import L, X, Y

ROUND = gm.FeatureStatistics(np.zeros(8), np.eye(8), 10**9)  # of N(0, I), exactly


def test_three_points_by_hand() -> None:
    """Spec §4.4: N = 5000, 10000, 20000 with FD = 12, 11, 10.5 lie on 10 + 10⁴/N."""
    result = extrapolate((5000, 10_000, 20_000), (12, 11, 10.5))
    assert result.value == pytest.approx(10, abs=1e-12)
    assert result.slope == pytest.approx(1e4, rel=1e-12)
    assert result.sizes == (5000, 10_000, 20_000) and result.scores == (12, 11, 10.5)


def test_golden_line() -> None:
    """Spec §1: FD(X, Y[:n]) for n = 100 … 500."""
    sizes = (100, 200, 300, 400, 500)
    result = extrapolate(sizes, [gm.frechet_distance(Y[:n], X) for n in sizes])
    assert result.value == pytest.approx(1.204230976391, rel=1e-9)
    assert result.slope == pytest.approx(36.992448342, rel=1e-9)


def test_least_squares_by_hand() -> None:
    """1/n = 1, 1/2, 1/4 with scores 1, 0, 1: mean x 7/12, mean y 2/3,
    slope = Σ (x − 7/12)(y − 2/3)/Σ (x − 7/12)² = (5/36 + 1/18 − 1/9)/(7/24) = 2/7, value = 2/3 − 2/7 · 7/12 = 1/2."""
    result = extrapolate([1, 2, 4], [1, 0, 1])
    assert (result.value, result.slope) == pytest.approx((0.5, 2 / 7), abs=1e-12)


def test_the_sizes_of_the_paper() -> None:
    """Spec §4.4: int32(linspace(5000, 50000, 15))."""
    result = frechet_infinity(np.random.default_rng(0).standard_normal((50_000, 2)), np.eye(2))
    assert result.sizes == (
        5000, 8214, 11428, 14642, 17857, 21071, 24285, 27500, 30714, 33928, 37142, 40357, 43571, 46785, 50000,
    )  # fmt: skip
    assert frechet_infinity(Y, X).sizes[0] == 250
    assert frechet_infinity(Y, X, num_points=3, min_images=100).sizes == (100, 300, 500)


def test_the_scores_are_those_of_samples() -> None:
    """The last sample is all of the images, and each point is a sample of its own."""
    result = frechet_infinity(Y, X)
    assert result.scores[-1] == pytest.approx(gm.frechet_distance(Y, X), rel=1e-9)
    assert result == extrapolate(result.sizes, result.scores)
    stream = np.random.default_rng(0)
    first, second = (Y[stream.permutation(500)[:size]] for size in result.sizes[:2])
    assert result.scores[:2] == pytest.approx([gm.frechet_distance(one, X) for one in (first, second)], rel=1e-9)


def test_statistics_and_rows_of_a_reference_agree() -> None:
    for ddof in (0, 1):
        rows = frechet_infinity(Y, X, ddof=ddof)
        known = frechet_infinity(Y, gm.FeatureStatistics.from_features(X), ddof=ddof)
        assert rows.value == pytest.approx(known.value, rel=1e-9)
    assert frechet_infinity(Y, X, ddof=0).value != frechet_infinity(Y, X).value


def mean_of(results: list[Extrapolation]) -> tuple[float, float, float]:
    """Mean value, its standard error, mean slope."""
    values = np.array([one.value for one in results])
    return (
        float(values.mean()),
        float(values.std(ddof=1) / len(values) ** 0.5),
        float(np.mean([r.slope for r in results])),
    )


def test_the_known_bias_goes_away() -> None:
    """Spec §4.4: of N(0, I) in d dimensions with an exact reference, FD_N ≈ (d + d(d + 1)/4)/N, 26/N for d = 8, and
    0 in the limit. Mean of 30 draws of 2000 images, whose plain distance is 0.013."""
    rng = np.random.default_rng(0)
    results = [frechet_infinity(rng.standard_normal((2000, 8)), ROUND, seed=seed) for seed in range(30)]
    value, error, slope = mean_of(results)
    assert abs(value) < 3 * error < 0.004
    assert slope == pytest.approx(26, rel=0.1)
    assert np.mean([one.scores[-1] for one in results]) == pytest.approx(26 / 2000, rel=0.1)


def test_two_gaussians() -> None:
    """N(m, 1.44 I) against N(0, I): |m|² + d (1.2 − 1)² = 0.32 + 1.28 = 1.6 for d = 32 and m = 0.1 everywhere.

    Mean of 20 draws of 2000 images; the plain distance lies above it by 0.1 and more."""
    rng = np.random.default_rng(1)
    exact = gm.FeatureStatistics(np.zeros(32), np.eye(32), 10**9)
    draws = [1.2 * rng.standard_normal((2000, 32)) + 0.1 for _ in range(20)]
    value, error, _ = mean_of([frechet_infinity(one, exact, seed=seed) for seed, one in enumerate(draws)])
    plain = float(np.mean([gm.frechet_distance(gm.FeatureStatistics.from_features(one), exact) for one in draws]))
    assert abs(value - 1.6) < 3 * error < 0.06
    assert plain - 1.6 > 0.1


def test_an_inception_score_is_raised() -> None:
    """Logits N(0, 4 I) of 10 classes: the marginal is 1/10 each by symmetry, so the score is 10 exp(E Σ p ln p), here
    from 200,000 draws. The mean of 60 extrapolations from 500 images lies on it, that of 500 images below."""
    p = softmax(2 * np.random.default_rng(9).standard_normal((200_000, 10)), axis=1)
    truth = 10 * float(np.exp(np.mean(np.sum(p * np.log(p), axis=1))))
    rng = np.random.default_rng(2)
    results = [inception_score_infinity(2 * rng.standard_normal((500, 10)), min_images=50, seed=s) for s in range(60)]
    value, error, slope = mean_of(results)
    assert slope < 0
    assert abs(value - truth) < 3 * error
    assert np.mean([one.scores[0] for one in results]) < truth - 0.05
    assert inception_score_infinity(L).scores[-1] == pytest.approx(2.602910989081, rel=1e-9)  # spec §1, 1 split


def test_the_seed_is_everything() -> None:
    np.random.seed(1)
    once = frechet_infinity(Y, X, seed=4), inception_score_infinity(L, seed=4)
    np.random.seed(2)
    assert (frechet_infinity(Y, X, seed=4), inception_score_infinity(L, seed=4)) == once
    assert frechet_infinity(Y, X, seed=5) != once[0]


def test_invariances() -> None:
    """Shift and rotation of both sides; scaling by s makes it s²."""
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    moved = frechet_infinity(3 * Y @ rotation + 2, 3 * X @ rotation + 2)
    assert moved.value == pytest.approx(9 * frechet_infinity(Y, X).value, rel=1e-8)


def test_few_images_are_refused() -> None:
    """By default the smallest sample has at least as many images as dimensions; a number is taken at its word."""
    with pytest.raises(TooFewImages, match="dimensions"):
        frechet_infinity(Y[:15], X)
    assert frechet_infinity(Y[:15], X, min_images=7).sizes[0] == 7
    assert frechet_infinity(Y[:16], X).sizes[0] == 8
    for call in (
        lambda: frechet_infinity(Y, X, min_images=500),
        lambda: frechet_infinity(Y[:3, :1], X[:, :1]),
        lambda: inception_score_infinity(L, min_images=1000),
        lambda: inception_score_infinity(L[:3]),
    ):
        with pytest.raises(TooFewImages):
            call()


@pytest.mark.parametrize(
    ("sizes", "scores", "error"),
    [
        ([], [], InputError),
        ([5], [1], InputError),
        ([5, 5], [1, 2], InputError),
        ([0, 5], [1, 2], InputError),
        ([5, 6], [1, np.nan], InputError),
        ([5, 6], [1, 2, 3], FeatureMismatch),
    ],
)
def test_no_line(sizes: Any, scores: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        extrapolate(sizes, scores)


def test_what_is_refused() -> None:
    with pytest.raises(FeatureMismatch):
        frechet_infinity(Y, X[:, :5])
    with pytest.raises(FeatureMismatch):
        frechet_infinity(Y[:, :5], ROUND)
    with pytest.raises(NonFiniteFeatures):
        frechet_infinity(np.full((20, 2), np.nan), np.eye(2))
    with pytest.raises(InputError, match="num_points"):
        frechet_infinity(Y, X, num_points=1)
    with pytest.raises(InputError, match="min_images"):
        inception_score_infinity(L, min_images=1)
