"""α-precision and its companions against closed forms and golden values (tests/golden.py, spec §1 and §4.12)."""

from __future__ import annotations

import numpy as np
import pytest

from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.manifold import Manifold
from genmetrics_rt.metrics.alpha_precision import AlphaPrecision, alpha_precision
from tests.golden import X, Y

LINE = np.array([0, 1, 3, 7, 15, 31.0])[:, None]


def synthcity(result: AlphaPrecision) -> tuple[float, float]:
    """Its way to sum up the curves: 1 − Σ |curve − α| / Σ α (spec §4.12)."""
    curves = result.precision_curve, result.coverage_curve
    one, two = (float(1 - np.abs(result.alphas - curve).sum() / result.alphas.sum()) for curve in curves)
    return one, two


def test_golden_values() -> None:
    """Spec §1."""
    result = alpha_precision(Y, X)
    assert result.delta_precision_alpha == pytest.approx(0.516137931, abs=5e-10)
    assert result.delta_coverage_beta == pytest.approx(0.285517241, abs=5e-10)
    assert synthcity(result) == pytest.approx((0.532266667, 0.309333333), abs=5e-10)
    assert result.authenticity == pytest.approx(0.7)
    assert alpha_precision(Y, X, mode="reference-bug").authenticity == pytest.approx(0.626)


def test_the_bug_touches_authenticity_alone() -> None:
    right, wrong = alpha_precision(Y, X), alpha_precision(Y, X, mode="reference-bug")
    assert wrong.delta_precision_alpha == right.delta_precision_alpha
    assert np.array_equal(wrong.coverage_curve, right.coverage_curve)


def test_copies() -> None:
    """Spec §4.12: the curves are ⌊α (n − 1) + 1⌋/n, here with n = 6, which sums up to 0.8727705113 and synthcity's
    0.8770114943."""
    result = alpha_precision(LINE, LINE)
    assert result.alphas == pytest.approx(np.arange(30) / 29)
    stairs = np.floor(np.arange(30) * 5 / 29 + 1 + 1e-9) / 6
    assert result.precision_curve == pytest.approx(stairs)
    assert result.coverage_curve == pytest.approx(stairs)
    assert result.delta_precision_alpha == pytest.approx(0.8727705113, abs=5e-11)
    assert result.delta_coverage_beta == pytest.approx(0.8727705113, abs=5e-11)
    assert synthcity(result) == pytest.approx((0.8770114943, 0.8770114943), abs=5e-11)
    assert result.authenticity == 0


def test_far_away() -> None:
    """Spec §4.12: curves of 0 are summed up as 1 − 2·15/29 = −1/29."""
    result = alpha_precision(LINE + 1000, LINE)
    assert result.delta_precision_alpha == pytest.approx(-1 / 29)
    assert result.delta_coverage_beta == pytest.approx(-1 / 29)
    assert synthcity(result) == pytest.approx((0, 0), abs=1e-12)
    assert result.authenticity == 1


def test_authenticity_by_hand() -> None:
    """Spec §4.13, where d(t*, nearest other) < d(g, t*) is the same rule: train 0, 1, 10, generated 0.1, 3, 12, 30.

    0.1 is 0.1 from 0, which is 1 from 1: a copy. 3 is 2 from 1 (1 from 0): authentic. 12 is 2 from 10 (9 from 1): a
    copy. 30 is 20 from 10: authentic.
    """
    generated, train = np.array([[0.1], [3], [12], [30]]), np.array([[0.0], [1], [10]])
    assert alpha_precision(generated, train).authenticity == 0.5


def test_a_perfect_model() -> None:
    """Spec §4.12: N(0, I) in 3 dimensions, n = 400: about .967, .494 and .41; here the mean of ten draws.

    One draw scatters by 0.02, 0.03 and 0.03, so the mean of ten by a third of that.
    """
    rng = np.random.default_rng(0)
    results = [alpha_precision(*rng.standard_normal((2, 400, 3))) for _ in range(10)]
    assert np.mean([one.delta_precision_alpha for one in results]) == pytest.approx(0.967, abs=0.03)
    assert np.mean([one.delta_coverage_beta for one in results]) == pytest.approx(0.48, abs=0.04)
    assert np.mean([one.authenticity for one in results]) == pytest.approx(0.43, abs=0.03)


def test_curves_say_which_way_a_model_errs() -> None:
    """Half as wide crowds in the middle (above the diagonal), twice as wide lies too far out (below)."""
    rng = np.random.default_rng(1)
    g, r = rng.standard_normal((2, 500, 4))
    narrow, wide = alpha_precision(g / 2, r), alpha_precision(2 * g, r)
    middle = slice(5, 25)
    assert (narrow.precision_curve > narrow.alphas)[middle].all()
    assert (wide.precision_curve < wide.alphas)[middle].all()


def test_the_same_by_all_distances() -> None:
    """The definitions of the spec written out with the whole (M, N) matrix, at unequal sizes."""
    g, r = Y[:180], X[:310]
    across = np.linalg.norm(g[:, None] - r, axis=2)
    inside = np.linalg.norm(r[:, None] - r, axis=2)
    np.fill_diagonal(inside, np.inf)
    within, of_g, of_r = inside.min(axis=1), across.argmin(axis=1), across.argmin(axis=0)
    result = alpha_precision(g, r)
    assert result.authenticity == np.mean(across.min(axis=1) > within[of_g])
    out = np.linalg.norm(g - g.mean(axis=0), axis=1)[of_r]
    reached = across.min(axis=0) <= within
    for alpha, share in zip(result.alphas, result.coverage_curve, strict=True):
        assert share == np.mean(reached & (out <= np.quantile(out, alpha)))
    buggy = alpha_precision(g, r, mode="reference-bug").authenticity
    assert buggy == np.mean(across.min(axis=0) > within[of_r])


def test_invariances() -> None:
    rng = np.random.default_rng(2)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    base = alpha_precision(Y, X)
    moved = alpha_precision(3 * Y[rng.permutation(500)] @ rotation + 5, 3 * X[rng.permutation(500)] @ rotation + 5)
    assert moved.authenticity == base.authenticity
    assert moved.precision_curve == pytest.approx(base.precision_curve, abs=1 / 500 + 1e-12)
    assert moved.coverage_curve == pytest.approx(base.coverage_curve, abs=1 / 500 + 1e-12)
    stretch = 10.0 ** np.arange(-4, 4)
    scaled = alpha_precision(Y, X, min_max_scaled=True)
    again = alpha_precision(Y * stretch + 7, X * stretch + 7, min_max_scaled=True)
    assert again.authenticity == scaled.authenticity
    assert again.delta_precision_alpha == pytest.approx(scaled.delta_precision_alpha, abs=1e-9)
    assert again.authenticity != alpha_precision(Y * stretch, X * stretch).authenticity


def test_a_constant_dimension_is_not_scaled() -> None:
    constant = np.full((500, 1), 3.0)
    scaled = alpha_precision(np.hstack([Y, constant]), np.hstack([X, constant]), min_max_scaled=True)
    assert scaled.authenticity == alpha_precision(Y, X, min_max_scaled=True).authenticity


def test_a_manifold_that_is_there_is_used() -> None:
    shared = alpha_precision(Y, X, manifold=Manifold(Y, X, nearest_k=5))
    assert shared.authenticity == pytest.approx(0.7)
    assert shared.delta_coverage_beta == pytest.approx(0.285517241, abs=5e-10)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="mode"):
        alpha_precision(Y, X, mode="fixed")
    with pytest.raises(FeatureMismatch):
        alpha_precision(Y, X[:, :3])
    with pytest.raises(FeatureMismatch, match="reference-bug"):
        alpha_precision(Y, X[:200], mode="reference-bug")
    with pytest.raises(TooFewImages):
        alpha_precision(Y, X[:1])
    with pytest.raises(NonFiniteFeatures):
        alpha_precision([[np.nan], [1.0]], [[0.0], [1.0]])
