"""The metrics against numbers from elsewhere: golden arrays, closed forms, seeded experiments.

Golden numbers: numpy 2.4, scipy 1.17, float64, independently of this package (see tests/golden.py). Closed forms are
worked out beside the assertion. Seeded experiments are quoted with their stream.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import genmetrics_rt as gm
from genmetrics_rt.metrics import kernel_distance as kernel_distance_module
from genmetrics_rt.metrics.prd import _best_f
from tests.golden import L, T, X, Y

Array = NDArray[np.floating]


def column(*values: float) -> Array:
    """Features of one dimension."""
    return np.array(values, dtype=np.float64)[:, None]


def statistics(mean: Any, covariance: Any, num_images: int = 1000) -> gm.FeatureStatistics:
    return gm.FeatureStatistics(np.array(mean, dtype=float), np.array(covariance, dtype=float), num_images)


def fd_tolerance(generated: Any, reference: Any) -> float:
    """A relative tolerance means nothing near 0; the Fréchet distance is exact relative to the covariances' traces."""
    sides = (
        side if isinstance(side, gm.FeatureStatistics) else gm.FeatureStatistics.from_features(side)
        for side in (generated, reference)
    )
    return 1e-9 * sum(float(side.covariance.trace()) for side in sides)


def standard_error(values: list[float]) -> float:
    return float(np.std(values) / np.sqrt(len(values)))


# Fréchet distance

GOLDEN_FD = {  # generated, reference, ddof: value to the digits given
    "Y against X": (Y, X, 1, 1.280357231676),
    "Y against X, ddof 0": (Y, X, 0, 1.279525236581),
    "Y against T": (Y, T, 1, 1.182528114188),
    "100 of Y": (Y[:100], X, 1, 1.57929858),
    "200 of Y": (Y[:200], X, 1, 1.36628302),
    "300 of Y": (Y[:300], X, 1, 1.3512665),
    "400 of Y": (Y[:400], X, 1, 1.28861046),
}


@pytest.mark.parametrize("case", GOLDEN_FD)
def test_golden_frechet_distance(case: str) -> None:
    generated, reference, ddof, expected = GOLDEN_FD[case]
    assert abs(gm.frechet_distance(generated, reference, ddof=ddof) - expected) <= fd_tolerance(generated, reference)


def test_five_golden_frechet_distances_extrapolate_to_the_golden_intercept() -> None:
    """FD_N = FD_∞ + c/N by least squares: intercept 1.204230976391, slope 36.992448342."""
    sizes = np.array([100, 200, 300, 400, 500])
    slope, intercept = np.polyfit(1 / sizes, [gm.frechet_distance(Y[:n], X) for n in sizes], 1)
    assert intercept == pytest.approx(1.204230976391, rel=1e-9)
    assert slope == pytest.approx(36.992448342, rel=1e-9)


FD_BY_HAND: dict[str, tuple[Any, Any, int, float]] = {
    # 5 + (1 − 3)² + (2 − 1)²
    "diagonal covariances": (statistics([0, 0], np.diag([1, 4])), statistics([1, 2], np.diag([9, 1])), 1, 10),
    # 9 − 2 sqrt(tr + 2 sqrt(det)) of the product: tr = 10, det = 12
    "non-commuting": (
        statistics([0, 0], [[2, 1], [1, 2]]),
        statistics([0, 0], np.diag([1, 4])),
        1,
        9 - 2 * np.sqrt(10 + 2 * np.sqrt(12)),
    ),
    "one dimension, ddof 1": (column(0, 2), column(1, 5), 1, 6),
    "one dimension, ddof 0": (column(0, 2), column(1, 5), 0, 5),
    "four points, ddof 1": (
        np.array([[0, 0], [2, 0], [0, 2], [2, 2]]),
        np.array([[1, 1], [3, 1], [1, 5], [3, 5]]),
        1,
        19 / 3,
    ),
    "four points, ddof 0": (
        np.array([[0, 0], [2, 0], [0, 2], [2, 2]]),
        np.array([[1, 1], [3, 1], [1, 5], [3, 5]]),
        0,
        6,
    ),
    "rank 1": (np.array([[0, 0, 0], [1, 0, 0]]), np.array([[0, 0, 0], [0, 1, 0]]), 1, 1.5),
    # d (s − t)²
    "spheres": (statistics([0] * 7, 9 * np.eye(7)), statistics([0] * 7, 4 * np.eye(7)), 1, 7),
    "a point and a sphere": (statistics([0] * 7, np.zeros((7, 7))), statistics([0] * 7, 4 * np.eye(7)), 1, 28),
}


@pytest.mark.parametrize("case", FD_BY_HAND)
def test_frechet_distance_by_hand(case: str) -> None:
    generated, reference, ddof, expected = FD_BY_HAND[case]
    assert gm.frechet_distance(generated, reference, ddof=ddof) == pytest.approx(expected, rel=1e-14)


def test_a_unit_shift_in_2048_dimensions_is_2048() -> None:
    """The unit test of pytorch-fid: means 0 and 1, both covariances the unit matrix."""
    here, there = statistics(np.zeros(2048), np.eye(2048)), statistics(np.ones(2048), np.eye(2048))
    assert gm.frechet_distance(here, there) == 2048


def test_the_non_commuting_case_is_the_published_number() -> None:
    generated, reference, _, _ = FD_BY_HAND["non-commuting"]
    assert gm.frechet_distance(generated, reference) == pytest.approx(0.7712204476543416, rel=1e-14)


def test_exact_at_rank_deficiency() -> None:
    """100 images in 256 dimensions: 23.5472976047 by both exact forms, 23.5472971870 by clipping eigenvalues at 0."""
    rng = np.random.default_rng(0)
    generated, reference = np.abs(rng.standard_normal((2, 100, 256))) * 0.5
    by_rows = gm.frechet_distance(generated, reference)
    sides = (gm.FeatureStatistics.from_features(side) for side in (generated, reference))
    assert by_rows == pytest.approx(23.5472976047, abs=1e-10)
    assert gm.frechet_distance(*sides) == pytest.approx(by_rows, rel=1e-13)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(
    ("n", "m", "d"), [(2, 2, 1), (2, 2, 50), (10, 400, 60), (400, 10, 60), (59, 59, 60), (60, 61, 60), (61, 300, 60)]
)
def test_rows_and_covariances_give_the_same_distance(n: int, m: int, d: int, ddof: int) -> None:
    rng = np.random.default_rng(n + m)
    spread = np.linspace(0.1, 3, d)
    generated, reference = rng.standard_normal((n, d)) * spread + 0.2, rng.standard_normal((m, d)) * spread[::-1]
    sides = [gm.FeatureStatistics.from_features(side) for side in (generated, reference)]
    expected = gm.frechet_distance(generated, reference, ddof=ddof)
    assert gm.frechet_distance(*sides, ddof=ddof) == pytest.approx(expected, rel=1e-12)
    assert gm.frechet_distance(generated, sides[1], ddof=ddof) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_equal_sets_is_rounding_at_any_rank() -> None:
    """scipy's sqrtm leaves 1e-6 here, a root of clipped eigenvalues as much."""
    rng = np.random.default_rng(0)
    for n, d in ((500, 8), (40, 120), (121, 120)):
        features = rng.standard_normal((n, d))
        same = gm.FeatureStatistics.from_features(features)
        assert abs(gm.frechet_distance(features, features)) < 1e-13 * d
        assert abs(gm.frechet_distance(same, same)) < 1e-13 * d


@pytest.mark.parametrize("seed", range(12))
def test_frechet_distance_of_ill_conditioned_covariances(seed: int) -> None:
    """Eigenvalues over up to 14 decades; the rows give the trace exactly, as singular values of their product."""
    rng = np.random.default_rng(seed)
    d = (16, 48, 100)[seed % 3]
    rows = []
    for decades in rng.uniform(-14, 0, 2):
        directions, _ = np.linalg.qr(rng.standard_normal((d, d)))
        rows.append(np.logspace(0, decades / 2, d)[:, None] * directions.T)
    a, b = rows if seed % 4 else (rows[0], rows[0] * (1 + 1e-3 * rng.standard_normal(d)))
    traces = np.sum(a**2) + np.sum(b**2)
    exact = traces - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    found = gm.frechet_distance(statistics(np.zeros(d), a.T @ a), statistics(np.zeros(d), b.T @ b))
    assert abs(found - exact) <= min(1e-9 * traces, 1e-7 * exact)


def test_moments_far_from_the_origin_keep_their_digits() -> None:
    """Mean 100, standard deviation 1e-3: raw second moments lose four digits, and then the distance all of them."""
    generated, reference = 100 + 1e-3 * Y, 100 + 1e-3 * X
    raw = generated.T @ generated / 500 - np.outer(generated.mean(axis=0), generated.mean(axis=0))
    assert np.abs(raw / np.cov((1e-3 * Y).T, bias=True) - 1).max() > 1e-5  # the trap is real
    assert gm.frechet_distance(generated, reference) == pytest.approx(1e-6 * 1.280357231676, rel=1e-8)


@pytest.mark.parametrize(("d", "n"), [(4, 200), (8, 400)])
def test_bias_of_the_frechet_distance_is_that_of_theory(d: int, n: int) -> None:
    """N(0, I) against itself, to second order: d/N + d(d + 1)/(4(N − 1)) against exact statistics, twice that
    against another sample (Chong and Forsyth 2020 name the law; the constant is worked out from a Taylor series)."""
    exact = statistics(np.zeros(d), np.eye(d))
    samples = [np.random.default_rng(seed).standard_normal((2, n, d)) for seed in range(1000)]
    expected = d / n + d * (d + 1) / (4 * (n - 1))
    assert np.mean([gm.frechet_distance(a, exact) for a, _ in samples]) == pytest.approx(expected, rel=0.05)
    assert np.mean([gm.frechet_distance(a, b) for a, b in samples]) == pytest.approx(2 * expected, rel=0.05)


def test_bias_of_the_frechet_distance_falls_as_1_over_n() -> None:
    exact = statistics(np.zeros(8), np.eye(8))
    sizes = np.array([50, 75, 100, 200, 400, 800])
    means = [
        np.mean([gm.frechet_distance(np.random.default_rng([n, s]).standard_normal((n, 8)), exact) for s in range(100)])
        for n in sizes
    ]
    assert np.corrcoef(1 / sizes, means)[0, 1] ** 2 > 0.99


# Kernel distance


def test_golden_kernel_distance_in_one_block() -> None:
    result = gm.kernel_distance(X, Y, num_subsets=1, subset_size=500)
    assert result.mean == pytest.approx(0.528170777367, rel=1e-9)
    assert result.std == 0 and result.subsets == (result.mean,)


def test_golden_kernel_distance_over_subsets() -> None:
    result = gm.kernel_distance(X, Y, num_subsets=10, subset_size=100)
    assert result.mean == pytest.approx(0.521257042121, rel=1e-9)
    assert result.std == pytest.approx(0.154604352671, rel=1e-9)
    assert result.mean == pytest.approx(np.mean(result.subsets)) and len(result.subsets) == 10


KID_BY_HAND = {  # generated, reference: unbiased estimate, with (x·y/d + 1)³
    # x: 1; y: 27; across: 1, 1, 8, 27 → 1 + 27 − 2 · 37/4
    "one dimension": (column(0, 1), column(1, 2), 9.5),
    "equal sets": (column(0, 1), column(0, 1), -3.5),
    "two dimensions": (np.array([[1, 0], [0, 1]]), np.array([[1, 1], [0, 0]]), -2.375),
    "doubled": (np.array([[1, 0], [0, 1], [1, 1]]), 2 * np.array([[1, 0], [0, 1], [1, 1]]), 3.805555555555556),
}


@pytest.mark.parametrize("case", KID_BY_HAND)
def test_kernel_distance_by_hand(case: str) -> None:
    generated, reference, expected = KID_BY_HAND[case]
    for num_subsets in (1, 50):  # both routes: every subset is the whole set
        result = gm.kernel_distance(generated, reference, num_subsets=num_subsets, subset_size=len(generated))
        assert result.mean == pytest.approx(expected, rel=1e-13)
        assert result.std == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize(("mu", "expected"), [(0.0, 0.0), (0.5, 3.578125), (1.0, 22.0), (2.0, 256.0)])
def test_kernel_distance_of_populations(mu: float, expected: float) -> None:
    """N(0, 1) against N(µ, 1) in one dimension, from E(xy + 1)³ with the moments 1, µ, µ² + 1, µ³ + 3µ."""
    values = []
    for seed in range(40):
        reference, generated = np.random.default_rng(seed).standard_normal((2, 800, 1))
        values.append(gm.kernel_distance(generated + mu, reference, num_subsets=1, subset_size=800).mean)
    assert abs(np.mean(values) - expected) < 4 * standard_error(values)


def test_kernel_distance_is_unbiased_and_the_frechet_distance_is_not() -> None:
    """Pairs of sets from one distribution: KID is 0 on average, so negative about half of the time; FD never is."""
    pairs = [np.random.default_rng(seed).standard_normal((2, 60, 16)) for seed in range(200)]
    kid = [gm.kernel_distance(a, b, num_subsets=1, subset_size=60).mean for a, b in pairs]
    assert abs(np.mean(kid)) < 3 * standard_error(kid)
    assert 0.3 < np.mean(np.array(kid) < 0) < 0.8
    assert min(gm.frechet_distance(a, b) for a, b in pairs) > 1


def test_kernel_distance_does_not_depend_on_the_number_of_images() -> None:
    """Subset by subset of Y against X: from 100 images as from 500, where FD falls from 1.58 to 1.28."""
    values = {n: gm.kernel_distance(Y[:n], X, num_subsets=200, subset_size=50).mean for n in (100, 300, 500)}
    assert values[100] == pytest.approx(values[500], rel=0.3)
    assert values[300] == pytest.approx(values[500], rel=0.15)


def kid_by_definition(g: Array, r: Array, degree: int = 3, gamma: float | None = None, coef0: float = 1.0) -> float:
    """Pair by pair, as the formula says."""
    gamma = 1 / g.shape[1] if gamma is None else gamma
    k = [[[(gamma * (x @ y) + coef0) ** degree for y in b] for x in a] for a, b in ((g, g), (r, r), (g, r))]
    m = len(g)
    within = [sum(k[side][i][j] for i in range(m) for j in range(m) if i != j) for side in (0, 1)]
    return float(sum(within) / (m * (m - 1)) - 2 * np.sum(k[2]) / m**2)


@pytest.mark.parametrize(("degree", "gamma", "coef0"), [(3, None, 1.0), (1, None, 1.0), (2, 0.5, 0.0), (4, 0.1, 2.5)])
@pytest.mark.parametrize("num_subsets", [1, 40], ids=["subset by subset", "one pass"])
def test_kernel_distance_with_any_polynomial(num_subsets: int, degree: int, gamma: float | None, coef0: float) -> None:
    generated, reference = Y[:25], X[:25]
    kernel: dict[str, Any] = {"degree": degree, "gamma": gamma, "coef0": coef0}
    expected = kid_by_definition(generated, reference, **kernel)
    result = gm.kernel_distance(generated, reference, num_subsets=num_subsets, subset_size=25, **kernel)
    assert result.mean == pytest.approx(expected, rel=1e-11)


@pytest.fixture
def kid_route(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the name of the route that was taken."""
    taken: list[str] = []
    for name in ("_sums", "_sums_over_subsets"):
        function: Callable[..., Any] = getattr(kernel_distance_module, name)

        def recording(*arguments: Any, name: str = name, function: Callable[..., Any] = function) -> Any:
            taken.append(name)
            return function(*arguments)

        monkeypatch.setattr(kernel_distance_module, name, recording)
    return taken


@pytest.mark.parametrize("block_bytes", [8 * 7**2, 8 * 64**2, 32 << 20])
@pytest.mark.parametrize(("n", "m", "size"), [(60, 60, 60), (61, 200, 50), (200, 61, 50), (129, 128, 8)])
def test_both_routes_of_the_kernel_distance_agree(
    n: int, m: int, size: int, block_bytes: int, kid_route: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many subsets take one pass over all pairs, few go subset by subset. Both draw the same first subsets."""
    monkeypatch.setattr(kernel_distance_module, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(n)
    generated, reference = rng.standard_normal((n, 5)) + 0.3, 1.2 * rng.standard_normal((m, 5))
    many = 20 + (n + m) ** 2 // size**2
    one_pass = gm.kernel_distance(generated, reference, num_subsets=many, subset_size=size).subsets
    assert set(kid_route) == {"_sums_over_subsets"}
    kid_route.clear()
    stream = np.random.RandomState(2020)
    for value in one_pass[:30]:
        x, y = generated[stream.choice(n, size, replace=False)], reference[stream.choice(m, size, replace=False)]
        kernels = [(rows @ others.T / 5 + 1) ** 3 for rows, others in ((x, x), (y, y), (x, y))]
        within = sum(kernel.sum() - kernel.trace() for kernel in kernels[:2]) / (size * (size - 1))
        assert value == pytest.approx(within - 2 * kernels[2].mean(), rel=1e-11, abs=1e-11)
    alone = gm.kernel_distance(generated, reference, num_subsets=1, subset_size=size).mean
    assert alone == pytest.approx(one_pass[0], rel=1e-11, abs=1e-11)
    assert kid_route == (["_sums"] if size < min(n, m) else ["_sums_over_subsets"])


def test_the_kernel_distance_of_float32_features_is_computed_in_float64(kid_route: list[str]) -> None:
    """A float32 evaluation is off by 0.5 % where KID is 5e-6."""
    generated, reference = (100 + side[:200].astype(np.float32) for side in (Y, X))
    for num_subsets in (1, 100):
        single = gm.kernel_distance(generated, reference, num_subsets=num_subsets, subset_size=100)
        double = gm.kernel_distance(
            generated.astype(float), reference.astype(float), num_subsets=num_subsets, subset_size=100
        )
        assert single == double
    assert set(kid_route) == {"_sums", "_sums_over_subsets"}


def test_the_kernel_distance_follows_its_seed_and_touches_no_global_state() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    results = [gm.kernel_distance(Y, X, num_subsets=5, subset_size=50, seed=seed) for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


# Class score


def test_golden_inception_score() -> None:
    assert gm.inception_score(L, splits=1).mean == pytest.approx(2.602910989081, rel=1e-9)
    assert gm.inception_score(L, splits=1, shuffle=False).mean == pytest.approx(2.602910989081, rel=1e-9)

    in_order = gm.inception_score(L, splits=10, shuffle=False)
    assert in_order.mean == pytest.approx(2.572121458985, rel=1e-9)
    assert in_order.std == pytest.approx(0.139708419535, rel=1e-9)
    assert np.std(in_order.splits, ddof=1) == pytest.approx(0.147265604677, rel=1e-9)

    shuffled = gm.inception_score(L)  # 10 splits of RandomState(2020).permutation(1000)
    assert shuffled.mean == pytest.approx(2.570510390071, rel=1e-9)
    assert shuffled.std == pytest.approx(0.146759085083, rel=1e-9)


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.25, 0.25, 0.5]])


def test_inception_score_by_hand() -> None:
    two_rows = np.log([[0.9, 0.1], [0.1, 0.9]])  # exp of 0.9 ln 1.8 + 0.1 ln 0.2
    expected = 1.8**0.9 * 0.2**0.1
    assert expected == pytest.approx(1.4449348111684153, rel=1e-15)
    assert gm.inception_score(two_rows, splits=1).mean == pytest.approx(expected, rel=1e-14)

    logits = np.log(PROBABILITIES)
    assert gm.inception_score(logits, splits=1).mean == pytest.approx(1.2698406188274363, rel=1e-13)
    result = gm.inception_score(logits, splits=2, shuffle=False)
    assert result.mean == pytest.approx(1.1273983921249728, rel=1e-13)
    assert result.std == pytest.approx(0.1223261818708693, rel=1e-13)
    assert np.std(result.splits, ddof=1) == pytest.approx(0.17299534543510117, rel=1e-13)


def test_inception_score_reaches_its_bounds() -> None:
    certain = np.where(np.eye(10) > 0, 0.0, -1e5)
    assert gm.inception_score(np.tile(L[:1], (40, 1))).mean == pytest.approx(1, rel=1e-14)
    assert gm.inception_score(np.tile(certain, (10, 1)), splits=1).mean == pytest.approx(10, rel=1e-14)
    thousand = np.where(np.eye(1008) > 0, 0.0, -1e5)
    assert gm.inception_score(thousand, splits=1).mean == pytest.approx(1008, rel=1e-13)
    # Never more than the rows of a split.
    assert gm.inception_score(thousand[:40], splits=10, shuffle=False).mean == pytest.approx(4, rel=1e-13)


def test_inception_score_of_a_folder_sorted_by_class() -> None:
    """100 certain rows of 10 classes in 10 splits: 1 when sorted, 10 when interleaved, and well above 1 shuffled."""
    certain = np.where(np.eye(10) > 0, 0.0, -1e5)
    by_class, interleaved = np.repeat(certain, 10, axis=0), np.tile(certain, (10, 1))
    assert gm.inception_score(by_class, shuffle=False).mean == pytest.approx(1, rel=1e-14)
    assert gm.inception_score(interleaved, shuffle=False).mean == pytest.approx(10, rel=1e-14)
    assert gm.inception_score(by_class).mean > 5


def test_inception_score_ignores_what_softmax_ignores() -> None:
    offset = np.random.default_rng(0).uniform(-700, 700, (1000, 1))
    expected = gm.inception_score(L)
    assert gm.inception_score(L + offset).splits == pytest.approx(expected.splits, rel=1e-11)


def test_splits_of_unequal_size() -> None:
    result = gm.inception_score(L[:23], splits=5, shuffle=False)
    alone = [gm.inception_score(L[a:b], splits=1).mean for a, b in pairwise([0, 4, 9, 13, 18, 23])]
    assert result.splits == pytest.approx(alone, rel=1e-13)


# Precision, recall, density, coverage

GOLDEN_PRDC = {3: (0.66, 0.948, 0.6, 0.69), 5: (0.736, 0.978, 0.572, 0.82)}  # k: P, R, D, C, strictly inside


def prdc(generated: Array, reference: Array, k: int, *, border_counts: bool = False) -> tuple[float, ...]:
    manifold = gm.Manifold(generated, reference, nearest_k=k)
    options: dict[str, Any] = {"nearest_k": k, "border_counts": border_counts, "manifold": manifold}
    pr = gm.precision_recall(generated, reference, **options)
    dc = gm.density_coverage(generated, reference, **options)
    return pr.precision, pr.recall, dc.density, dc.coverage


@pytest.mark.parametrize("k", GOLDEN_PRDC)
def test_golden_precision_recall_density_coverage(k: int) -> None:
    counts = np.array(prdc(Y, X, k)) * (500, 500, 500 * k, 500)
    np.testing.assert_allclose(counts, np.array(GOLDEN_PRDC[k]) * (500, 500, 500 * k, 500), atol=1e-9)
    assert prdc(Y, X, k, border_counts=True) == prdc(Y, X, k)  # no ties among random numbers


def test_the_functions_compute_what_the_shared_manifold_does() -> None:
    manifold = gm.Manifold(Y, X, nearest_k=7, realism_k=3)
    assert gm.precision_recall(Y, X) == gm.precision_recall(Y, X, manifold=manifold)
    assert gm.density_coverage(Y, X) == gm.density_coverage(Y, X, manifold=manifold)
    np.testing.assert_array_equal(gm.realism(Y, X), gm.realism(Y, X, manifold=manifold))
    # A manifold that did not look at realism, or with other balls, is not used for it.
    for other in (gm.Manifold(Y, X, nearest_k=7), gm.Manifold(Y, X, nearest_k=7, realism_k=5)):
        np.testing.assert_array_equal(gm.realism(Y, X), gm.realism(Y, X, manifold=other))


PRDC_BY_HAND = {  # generated, reference, k, border: P, R, D, C
    "radii 1 and 9.5": (column(0.5, 10), column(0, 1, 2, 3), 1, False, (1 / 2, 1, 1, 1 / 2)),
    "on the border, out": (column(2, 2.5, 9), column(0, 1, 5), 1, False, (2 / 3, 1 / 3, 2 / 3, 1 / 3)),
    "on the border, in": (column(2, 2.5, 9), column(0, 1, 5), 1, True, (1, 1 / 3, 4 / 3, 2 / 3)),
    "identical, k 1": (column(0, 1, 3, 7, 15, 31), column(0, 1, 3, 7, 15, 31), 1, False, (1, 1, 1, 1)),
    "identical, k 3": (column(0, 1, 3, 7, 15, 31), column(0, 1, 3, 7, 15, 31), 3, False, (1, 1, 1, 1)),
    "identical with border, k 1": (column(0, 1, 3, 7, 15, 31), column(0, 1, 3, 7, 15, 31), 1, True, (1, 1, 2, 1)),
    "identical with border, k 2": (column(0, 1, 3, 7, 15, 31), column(0, 1, 3, 7, 15, 31), 2, True, (1, 1, 3 / 2, 1)),
    "identical with border, k 3": (column(0, 1, 3, 7, 15, 31), column(0, 1, 3, 7, 15, 31), 3, True, (1, 1, 4 / 3, 1)),
    "lattice": (column(0, 1, 2, 3), column(0, 1, 2, 3), 1, False, (1, 1, 1, 1)),
    "lattice with border": (column(0, 1, 2, 3), column(0, 1, 2, 3), 1, True, (1, 1, 5 / 2, 1)),
    "all points equal": (column(4, 4, 4), column(4, 4, 4), 1, False, (0, 0, 0, 0)),
    "all points equal with border": (column(4, 4, 4), column(4, 4, 4), 1, True, (1, 1, 3, 1)),
    "disjoint": (column(100, 101, 102), column(0, 1, 2), 1, True, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", PRDC_BY_HAND)
def test_precision_recall_density_coverage_by_hand(case: str) -> None:
    generated, reference, k, border_counts, expected = PRDC_BY_HAND[case]
    assert prdc(generated, reference, k, border_counts=border_counts) == pytest.approx(expected, rel=1e-15)


def test_the_defaults_are_those_of_the_papers() -> None:
    generated, reference = column(2, 2.5, 9, 30, 31, 70, 71), column(0, 1, 5, 31, 32, 90, 91)
    pr, dc = gm.precision_recall(generated, reference), gm.density_coverage(generated, reference)
    assert (pr.precision, pr.recall) == prdc(generated, reference, 3, border_counts=True)[:2]
    assert (dc.density, dc.coverage) == prdc(generated, reference, 5, border_counts=False)[2:]


def test_small_spread_inside_a_wide_reference_is_precise_but_recalls_nothing() -> None:
    """The smoke test of torch-fidelity: N(0, 0.1²) against N(0, 3²), 200 images in 16 dimensions."""
    rng = np.random.default_rng(0)
    result = gm.precision_recall(0.1 * rng.standard_normal((200, 16)), 3 * rng.standard_normal((200, 16)))
    assert result.precision > 0.8 and result.recall < 0.3


def test_a_thousand_dimensions() -> None:
    """RandomState(0), 2,000 images a side, k = 5: P .575, R .561, D 1.1023, C .9735. Hubs lift the density above 1.

    prdc's README runs 10,000 unseeded: P .4772, R .4705, D 1.0555, C .9735."""
    stream = np.random.RandomState(0)
    reference, generated = stream.randn(2000, 1000), stream.randn(2000, 1000)
    assert prdc(generated, reference, 5) == pytest.approx((0.575, 0.561, 1.1023, 0.9735), abs=1e-12)


# The outlier experiment of the density and coverage paper: RandomState(0), R = randn(1000, 64), F = randn(1000, 64),
# k = 5, strictly inside. An outlier is the point (3, …, 3) in the place of the last row.
OUTLIERS = {  # who has the outlier, shift of F: P, R, D, C
    ("nobody", 0.0): (0.704, 0.738, 0.947, 0.971),
    ("nobody", 0.1): (0.690, 0.711, 0.8744, 0.952),
    ("nobody", 0.3): (0.538, 0.593, 0.5036, 0.754),
    ("nobody", 0.5): (0.298, 0.337, 0.168, 0.381),
    ("nobody", 1.0): (0.008, 0.010, 0.002, 0.008),
    ("reference", 0.0): (0.703, 0.737, 0.9488, 0.971),
    ("reference", 0.5): (0.922, 0.336, 0.3422, 0.383),  # one outlier triples the precision
    ("reference", 1.0): (1.000, 0.010, 0.202, 0.009),
    ("generated", 0.5): (0.298, 0.337, 0.168, 0.381),
    ("generated", 1.0): (0.008, 0.010, 0.002, 0.008),
}


@pytest.mark.parametrize("case", OUTLIERS, ids=lambda case: f"outlier in {case[0]}, shift {case[1]}")
def test_an_outlier_inflates_precision_but_not_coverage(case: tuple[str, float]) -> None:
    place, shift = case
    stream = np.random.RandomState(0)
    reference, generated = stream.randn(1000, 64), stream.randn(1000, 64) + shift
    if place != "nobody":
        (reference if place == "reference" else generated)[-1] = 3
    assert prdc(generated, reference, 5) == pytest.approx(OUTLIERS[case], abs=1e-12)


@pytest.mark.parametrize("kept", [10, 8, 5, 2, 1])
def test_dropped_modes_show_in_recall_and_coverage_only(kept: int) -> None:
    """Ten modes far apart, of which the generated images show some."""
    rng = np.random.default_rng(0)
    modes = 100.0 * np.array([(i % 5, i // 5) for i in range(10)])
    reference = modes[rng.integers(0, 10, 1000)] + rng.standard_normal((1000, 2))
    generated = modes[rng.integers(0, kept, 1000)] + rng.standard_normal((1000, 2))
    share = np.isin(np.round(reference / 100) @ (1, 5), np.arange(kept)).mean()
    precision, recall, density, coverage = prdc(generated, reference, 5)
    assert precision > 0.95 and density == pytest.approx(1, abs=0.1)
    assert recall == pytest.approx(share, abs=0.03) and coverage == pytest.approx(share, abs=0.04)


EXPECTED_COVERAGE = {  # N, M: 1 − Π (N − j)/(N + M − j), k = 5
    (10_000, 10_000): 0.9687734,
    (1000, 1000): 0.9689841,
    (512, 512): 0.9692069,
    (50_000, 10_000): 0.5981425,
}


@pytest.mark.parametrize("sizes", EXPECTED_COVERAGE)
def test_expected_coverage(sizes: tuple[int, int]) -> None:
    assert gm.expected_coverage(*sizes, 5) == pytest.approx(EXPECTED_COVERAGE[sizes], abs=5e-8)
    assert gm.expected_coverage(10**9, 10**9, 5) == pytest.approx(1 - 2**-5, abs=1e-8)


@pytest.mark.parametrize(("n", "m", "d", "k"), [(50, 50, 2, 5), (40, 60, 5, 3), (60, 30, 1, 1)])
def test_a_perfect_model_has_a_density_of_1_and_the_expected_coverage(n: int, m: int, d: int, k: int) -> None:
    """The lemmas of the paper, in any dimension, by 300 seeded draws."""
    draws = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        reference, generated = rng.standard_normal((n, d)), rng.standard_normal((m, d))
        draws.append(gm.density_coverage(generated, reference, nearest_k=k))
    density, coverage = [one.density for one in draws], [one.coverage for one in draws]
    assert abs(np.mean(density) - 1) < 4 * standard_error(density)
    assert abs(np.mean(coverage) - gm.expected_coverage(n, m, k)) < 4 * standard_error(coverage)


# Realism


def test_golden_realism() -> None:
    realism = gm.realism(Y, X)
    assert realism.mean() == pytest.approx(0.853177097, abs=1e-9)
    np.testing.assert_allclose(realism[:3], [0.62967784, 0.6742853, 1.3709151], atol=1e-7)
    assert (realism >= 1).mean() == 0.25


def test_realism_by_hand() -> None:
    """Radii 1, 1, 2, 4, 8: only those below the median 2 count, so the balls around 0 and 1."""
    reference = column(0, 1, 3, 7, 15)
    realism = gm.realism(column(0.5, 5, 40), reference, nearest_k=1)
    np.testing.assert_allclose(realism, [1 / 0.5, 1 / 4, 1 / 39], rtol=1e-14)


def test_realism_of_copies_and_where_all_radii_are_equal() -> None:
    assert gm.realism(column(1, 2), column(0, 1, 3, 7, 15), nearest_k=1)[0] == np.inf
    # None is strictly below the median, so the balls up to it count.
    np.testing.assert_allclose(gm.realism(column(0.5, 5), column(0, 1, 2, 3), nearest_k=1), [2, 1 / 2])


# PRD

PRD_BY_HAND = {  # generated, reference: largest precision, largest recall, both at slope 1, F8, F1/8
    "identical": ([0.3, 0.7], [0.3, 0.7], 1, 1, 1, 1, 1),
    "disjoint": ([0, 1], [1, 0], 0, 0, 0, 0, 0),
    "half is invented": ([0.5, 0.5], [1, 0], 0.5, 1, 0.5, 0.984829, 0.503863),
    "half is dropped": ([1, 0], [0.5, 0.5], 1, 0.5, 0.5, 0.503863, 0.984829),
    "reweighted": ([0.8, 0.2], [0.5, 0.5], 1, 1, 0.7, 0.977404, 0.990802),
    "three states": ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5], 1, 1, 0.6, 0.941656, 0.969959),
}


@pytest.mark.parametrize("case", PRD_BY_HAND)
def test_prd_by_hand(case: str) -> None:
    generated, reference, precision, recall, middle, f8, f1_8 = PRD_BY_HAND[case]
    prd = gm.prd_from_histograms(generated, reference)
    assert len(prd.precision) == len(prd.recall) == 1001
    assert prd.precision.max() == pytest.approx(precision, abs=1e-9)
    assert prd.recall.max() == pytest.approx(recall, abs=1e-9)
    assert prd.precision[500] == pytest.approx(middle, abs=1e-9) == prd.recall[500]
    assert prd.total_variation == pytest.approx(1 - middle, abs=1e-12)
    assert (prd.f8, prd.f1_8) == pytest.approx((f8, f1_8), abs=1e-6)


def test_golden_prd() -> None:
    prd = gm.prd_from_histograms([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])
    assert prd.f8 == pytest.approx(0.955791502, abs=1e-9)
    assert prd.f1_8 == pytest.approx(0.955791501, abs=1e-9)
    assert prd.best_f1 == pytest.approx(0.6, abs=1e-9)


def test_prd_at_eleven_angles() -> None:
    """The unit test of the reference implementation."""
    prd = gm.prd_from_histograms([0.5, 0.5], [1, 0], num_angles=11)
    assert prd.precision[5] == pytest.approx(0.5, abs=1e-9) and prd.recall[5] == pytest.approx(0.5, abs=1e-9)
    assert prd.precision[10] == pytest.approx(0.5, abs=1e-9) and prd.recall[1] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("beta", "expected"), [(1, 2 / 3), (2, 5 / 6), (1 / 2, 5 / 9)])
def test_f_beta(beta: float, expected: float) -> None:
    assert _best_f(np.array([0.5]), np.array([1.0]), beta) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_properties_of_any_prd_curve(seed: int) -> None:
    """Sajjadi et al. 2018, theorem 1 and section 3: the ends, the middle, the direction, and duality."""
    rng = np.random.default_rng(seed)
    q, p = rng.dirichlet(np.full(20, 0.4), 2)
    q[:3] = 0  # dropped by the generator
    p[5:7] = 0  # invented by it
    q, p = q / q.sum(), p / p.sum()
    prd = gm.prd_from_histograms(q, p)
    assert (np.diff(prd.precision) > -1e-12).all() and (np.diff(prd.recall) < 1e-12).all()
    assert prd.precision[-1] == pytest.approx(q[p > 0].sum(), abs=1e-6)
    assert prd.recall[0] == pytest.approx(p[q > 0].sum(), abs=1e-6)
    assert prd.precision[500] == pytest.approx(np.minimum(q, p).sum(), abs=1e-9)
    assert prd.precision[500] == pytest.approx(1 - prd.total_variation, abs=1e-9) == prd.recall[500]
    assert prd.total_variation == pytest.approx(np.abs(q - p).sum() / 2, abs=1e-15)

    swapped = gm.prd_from_histograms(p, q)
    np.testing.assert_allclose(swapped.precision, prd.recall[::-1], atol=1e-9)
    np.testing.assert_allclose(swapped.recall, prd.precision[::-1], atol=1e-9)
    # The 1e-10 in the denominator of F, which is the reference implementation's, does not swap.
    assert (swapped.f8, swapped.f1_8, swapped.best_f1) == pytest.approx((prd.f1_8, prd.f8, prd.best_f1), abs=1e-8)
    assert 0 <= prd.best_f1 <= max(prd.f8, prd.f1_8) <= 1


def test_prd_of_features_averages_the_curves_of_the_runs() -> None:
    together = gm.prd_curve(Y[:100], X[:100], num_runs=3, num_clusters=5, seed=4)
    alone = [one_run(run) for run in range(3)]
    np.testing.assert_allclose(together.precision, np.mean([prd.precision for prd in alone], axis=0), rtol=1e-14)
    np.testing.assert_allclose(together.recall, np.mean([prd.recall for prd in alone], axis=0), rtol=1e-14)
    assert together.total_variation == pytest.approx(np.mean([prd.total_variation for prd in alone]))


def one_run(run: int) -> Any:
    """Run i clusters by default_rng([seed, i]), here of seed 4."""
    from genmetrics_rt.clustering import kmeans

    labels = kmeans(np.concatenate([Y[:100], X[:100]]), 5, np.random.default_rng([4, run]))
    shares = [np.bincount(part, minlength=5) / 100 for part in (labels[:100], labels[100:])]
    return gm.prd_from_histograms(*shares)


def test_prd_sees_which_side_lost_modes() -> None:
    """Ten groups far apart: dropping half of them costs recall, inventing as many costs precision."""
    rng = np.random.default_rng(0)
    places = 50.0 * np.eye(10)
    full, half = (places[rng.integers(0, modes, 600)] + rng.standard_normal((600, 10)) for modes in (10, 5))
    dropped, invented = gm.prd_curve(half, full, num_runs=3), gm.prd_curve(full, half, num_runs=3)
    assert dropped.recall.max() == pytest.approx(0.5, abs=0.05) and dropped.precision.max() > 0.97
    assert invented.precision.max() == pytest.approx(0.5, abs=0.05) and invented.recall.max() > 0.97
    assert dropped.f8 < 0.6 < 0.9 < dropped.f1_8 and invented.f1_8 < 0.6 < 0.9 < invented.f8


def test_prd_follows_its_seed() -> None:
    first, again, other = (gm.prd_curve(Y, X, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.precision, again.precision)
    assert not np.array_equal(first.precision, other.precision)
    assert (other.f8, other.f1_8) == pytest.approx((first.f8, first.f1_8), abs=0.02)


# What is refused, and in which words

NAN = np.where(np.arange(40).reshape(10, 4) == 13, np.nan, 1.0)  # row 3
GOOD = np.random.default_rng(0).standard_normal((10, 4))

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "fd of one image": (
        lambda: gm.frechet_distance(GOOD[:1], GOOD),
        gm.TooFewImages,
        "at least 2 images a side; there are 1",
    ),
    "fd of one image, ddof 0": (
        lambda: gm.frechet_distance(X[:, :4], GOOD[:1], ddof=0),
        gm.TooFewImages,
        "at least 2 images a side; there are 1",
    ),
    "fd of statistics of one image": (
        lambda: gm.frechet_distance(statistics(np.zeros(4), np.eye(4), 1), GOOD, ddof=0),
        gm.TooFewImages,
        "at least 2 images",
    ),
    "fd of no image": (lambda: gm.frechet_distance(GOOD[:0], GOOD), gm.TooFewImages, "there are 0"),
    "fd of NaN": (lambda: gm.frechet_distance(NAN, GOOD), gm.NonFiniteFeatures, r"1 of 10 rows \(rows 3;"),
    "fd of infinity": (lambda: gm.frechet_distance(GOOD, GOOD / 0.0), gm.NonFiniteFeatures, "10 of 10 rows"),
    "fd of a NaN mean": (
        lambda: gm.frechet_distance(statistics([0, np.nan], np.eye(2)), statistics([0, 0], np.eye(2))),
        gm.NonFiniteFeatures,
        "The mean: NaN",
    ),
    "fd of a NaN covariance": (
        lambda: gm.frechet_distance(statistics([0, 0], [[1, np.nan], [np.nan, 1]]), statistics([0, 0], np.eye(2))),
        gm.NonFiniteFeatures,
        "A covariance: NaN",
    ),
    "fd of unlike dimensions": (
        lambda: gm.frechet_distance(GOOD[:, :3], GOOD),
        gm.FeatureMismatch,
        "generated features have 3 dimensions, the reference 4",
    ),
    "fd with ddof 2": (lambda: gm.frechet_distance(GOOD, GOOD, ddof=2), gm.InputError, "ddof is 2; it must be 1"),
    "fd of a vector": (lambda: gm.frechet_distance(GOOD[0], GOOD), gm.InputError, r"2-D array .* got shape \(4,\)"),
    "kid subset above the smaller side": (
        lambda: gm.kernel_distance(GOOD, X[:, :4]),
        gm.TooFewImages,
        "subset_size is 1000, and the smaller side has 10. Add images, or set subset_size between 2 and 10",
    ),
    "kid subset of 1": (lambda: gm.kernel_distance(GOOD, GOOD, subset_size=1), gm.TooFewImages, "subset_size is 1,"),
    "kid without subsets": (
        lambda: gm.kernel_distance(GOOD, GOOD, num_subsets=0, subset_size=5),
        gm.InputError,
        "num_subsets is 0; it must be at least 1",
    ),
    "kid of NaN": (lambda: gm.kernel_distance(NAN, GOOD, subset_size=5), gm.NonFiniteFeatures, "generated: NaN"),
    "kid of NaN in the reference": (
        lambda: gm.kernel_distance(GOOD, NAN, subset_size=5),
        gm.NonFiniteFeatures,
        "reference: NaN",
    ),
    "kid of unlike dimensions": (
        lambda: gm.kernel_distance(GOOD, X),
        gm.FeatureMismatch,
        "have 4 dimensions, the reference 8",
    ),
    "is of few images": (
        lambda: gm.inception_score(GOOD[:7]),
        gm.TooFewImages,
        "in 10 splits needs at least 10 images; there are 7",
    ),
    "is without splits": (lambda: gm.inception_score(GOOD, splits=0), gm.InputError, "splits is 0"),
    "is of NaN": (lambda: gm.inception_score(NAN), gm.NonFiniteFeatures, "logits: NaN or infinity in 1 of 10 rows"),
    "precision with k too large": (
        lambda: gm.precision_recall(GOOD, GOOD, nearest_k=10),
        gm.TooFewImages,
        "10 nearest others needs at least 11 images a side; there are 10",
    ),
    "precision with k 0": (lambda: gm.precision_recall(GOOD, GOOD, nearest_k=0), gm.InputError, "nearest_k is 0"),
    "precision of unlike dimensions": (
        lambda: gm.precision_recall(GOOD, X),
        gm.FeatureMismatch,
        "have 4 dimensions, the reference 8",
    ),
    "density with k too large": (
        lambda: gm.density_coverage(GOOD, GOOD[:5]),
        gm.TooFewImages,
        "5 nearest others needs at least 6 images a side; there are 5",
    ),
    "coverage of NaN": (lambda: gm.density_coverage(GOOD, NAN), gm.NonFiniteFeatures, "reference: NaN"),
    "realism with k too large": (lambda: gm.realism(GOOD, GOOD[:3]), gm.TooFewImages, "at least 4 images"),
    "prd of unequal sides": (
        lambda: gm.prd_curve(X, Y[:400]),
        gm.FeatureMismatch,
        r"as many generated as reference rows.* \(500, 8\) and \(400, 8\)",
    ),
    "prd of few images": (lambda: gm.prd_curve(GOOD, GOOD), gm.TooFewImages, "20 groups .* there are 10"),
    "prd without runs": (lambda: gm.prd_curve(X, Y, num_runs=0), gm.InputError, "num_runs is 0"),
    "prd without clusters": (lambda: gm.prd_curve(X, Y, num_clusters=0), gm.InputError, "num_clusters is 0"),
    "prd without angles": (
        lambda: gm.prd_curve(GOOD, GOOD, num_clusters=2, num_angles=2),
        gm.InputError,
        "num_angles is 2; it must be at least 3",
    ),
    "prd of NaN": (lambda: gm.prd_curve(NAN, GOOD, num_clusters=2), gm.NonFiniteFeatures, "generated: NaN"),
    "prd of unlike histograms": (lambda: gm.prd_from_histograms([1.0], [0.5, 0.5]), gm.InputError, "the same states"),
    "prd of nothing": (lambda: gm.prd_from_histograms([], []), gm.InputError, "the same states"),
    "prd of counts": (lambda: gm.prd_from_histograms([3, 5], [4, 4]), gm.InputError, "Divide the counts by their sum"),
    "prd of negative shares": (lambda: gm.prd_from_histograms([1.5, -0.5], [0.5, 0.5]), gm.InputError, "at least 0"),
    "prd of NaN shares": (lambda: gm.prd_from_histograms([np.nan, 0.5], [0.5, 0.5]), gm.InputError, "sum to 1"),
    "prd of histograms at one angle": (
        lambda: gm.prd_from_histograms([0.5, 0.5], [0.5, 0.5], num_angles=1),
        gm.InputError,
        "num_angles is 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_refused_in_plain_words(case: str) -> None:
    call, error, words = REFUSED[case]
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(error, match=words):
        call()
