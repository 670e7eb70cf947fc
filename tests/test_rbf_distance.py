"""The Gaussian kernel distance against closed forms and the golden arrays (tests/golden.py, spec §1 and §4.6)."""

from __future__ import annotations

import numpy as np
import pytest

from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.metrics.rbf_distance import rbf_distance, rbf_distance_with_uncertainty
from genmetrics_rt.uncertainty import groups_of
from tests.golden import X, Y

E1, E2, E3 = np.eye(3)


def test_golden_value() -> None:
    """Spec §1, CMMD of Y and X."""
    assert rbf_distance(Y, X) == pytest.approx(0.749574872170, abs=5e-12)


@pytest.mark.parametrize(
    ("generated", "reference", "expected"),
    [
        ([E1], [E2], 19.900332501663787),  # |x − y|² = 2: 2000 (1 − e^−0.01)
        ([E1], [-7 * E1], 39.60265338648949),  # |x − y|² = 4: 2000 (1 − e^−0.02)
        ([E1, E2], [E1, E3], 4.975083125415947),  # 500 (1 − e^−0.01)
    ],
)
def test_analytic_values(generated: list[np.ndarray], reference: list[np.ndarray], expected: float) -> None:
    """Spec §4.6."""
    assert rbf_distance(generated, reference) == pytest.approx(expected, abs=1e-10)


def test_unbiased_by_hand() -> None:
    """{0, 2} against {1, 5} with σ² = 1/2, so k = e^−d²: one pair a side, d² = 4 and 16; across 1, 25, 1, 9."""
    expected = np.exp(-4) + np.exp(-16) - (2 * np.exp(-1) + np.exp(-9) + np.exp(-25)) / 2
    settings = {"sigma": 0.5**0.5, "normalise": False, "scale": 1.0}
    generated, reference = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
    assert rbf_distance(generated, reference, unbiased=True, **settings) == pytest.approx(expected, abs=1e-15)
    biased = 0.5 + np.exp(-4) / 2 + 0.5 + np.exp(-16) / 2 - (2 * np.exp(-1) + np.exp(-9) + np.exp(-25)) / 2
    assert rbf_distance(generated, reference, **settings) == pytest.approx(biased, abs=1e-15)


def test_the_population_value_of_two_gaussians() -> None:
    """Spec §4.6: N(0, I) against N(m, I), d = 8, |m|² = 2, σ = 10: 2 (100/102)⁴ (1 − e^(−2/204)).

    The unbiased estimate of 40 draws of 300 a side scatters around it: within 4 standard errors of their mean.
    """
    expected = 2 * (100 / 102) ** 4 * (1 - np.exp(-2 / 204))
    assert expected == pytest.approx(0.01802610853525619, rel=1e-12)
    rng = np.random.default_rng(0)
    draws = [
        rbf_distance(
            rng.standard_normal((300, 8)) + 0.5, rng.standard_normal((300, 8)), normalise=False, scale=1, unbiased=True
        )
        for _ in range(40)
    ]
    assert abs(np.mean(draws) - expected) < 4 * np.std(draws) / 40**0.5
    assert np.std(draws) / 40**0.5 < 0.05 * expected


def test_the_bias_of_the_default_for_equal_distributions() -> None:
    """Biased less unbiased is ``1/M (1 − mean k(g, g')) + 1/N (1 − mean k(r, r'))``, k of different rows."""
    rng = np.random.default_rng(1)
    g, r = rng.standard_normal((2, 200, 16))
    difference = rbf_distance(g, r) - rbf_distance(g, r, unbiased=True)
    # Directions at right angles on average: k = e^−0.01.
    assert difference == pytest.approx(1000 * 2 / 200 * (1 - np.exp(-0.01)), rel=0.01)


def test_identical_sets_are_zero_and_the_sides_may_be_exchanged() -> None:
    assert rbf_distance(X, X) == pytest.approx(0, abs=1e-10)
    assert rbf_distance(X[:77], Y) == pytest.approx(rbf_distance(Y, X[:77]), rel=1e-12)


def test_invariances() -> None:
    rng = np.random.default_rng(2)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    order = rng.permutation(500)
    lengths = rng.uniform(0.1, 9, (500, 1))
    assert rbf_distance((Y * lengths)[order] @ rotation, X @ rotation) == pytest.approx(rbf_distance(Y, X), rel=1e-9)
    raw = rbf_distance(Y, X, normalise=False)
    assert rbf_distance(Y @ rotation + 1e4, X @ rotation + 1e4, normalise=False) == pytest.approx(raw, rel=1e-9)
    assert rbf_distance(7 * Y, 7 * X, sigma=70, normalise=False) == pytest.approx(raw, rel=1e-9)


def test_far_apart_reaches_the_bound() -> None:
    """Point masses so far apart that k = 0: the distance is 2, times the scale."""
    far = rbf_distance([[1e6, 0.0]] * 5, [[0.0, 0.0]] * 3, normalise=False)
    assert far == pytest.approx(2000, rel=1e-12)


def test_the_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = groups_of(Y[:300]), groups_of(X)
    expected = rbf_distance_with_uncertainty(Y[:300], X, groups)
    monkeypatch.setattr("genmetrics_rt.metrics.rbf_distance._BLOCK_ROWS", 64)
    value, uncertainty = rbf_distance_with_uncertainty(Y[:300], X, groups)
    assert value == pytest.approx(expected[0], rel=1e-12)
    assert uncertainty.replicates == pytest.approx(expected[1].replicates, rel=1e-12)
    assert value == pytest.approx(rbf_distance(Y[:300], X), rel=1e-12)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.9, 1.6), (0.5, 0.75, 1.3)])
def test_the_standard_error_is_the_spread_of_new_samples(shift: float, low: float, high: float) -> None:
    """100 draws of 200 a side; their spread is known to 7 %. Measured over 300 draws: the root mean square of the
    standard errors is 0.97 of the spread for unlike sides, and 1.33 of it for alike ones, where the variance that a
    group adds is cut at 0 and errs to the safe side."""
    rng = np.random.default_rng(3)
    values, errors = [], []
    for _ in range(100):
        g, r = rng.standard_normal((200, 6)) + shift, rng.standard_normal((200, 6))
        value, uncertainty = rbf_distance_with_uncertainty(g, r, (groups_of(g), groups_of(r)))
        values.append(value)
        errors.append(uncertainty.standard_error)
    assert low < np.sqrt(np.mean(np.square(errors))) / np.std(values, ddof=1) < high


def test_what_is_refused() -> None:
    with pytest.raises(FeatureMismatch):
        rbf_distance(Y, X[:, :5])
    with pytest.raises(NonFiniteFeatures):
        rbf_distance([[np.inf, 1.0]], [[0.0, 1.0]])
    with pytest.raises(TooFewImages):
        rbf_distance(np.zeros((0, 8)), X)
    with pytest.raises(TooFewImages):
        rbf_distance(Y[:1], X, unbiased=True)
    with pytest.raises(InputError, match="generated: row 1"):
        rbf_distance([E1, 0 * E1], [E2])
    for sigma in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="sigma"):
            rbf_distance(Y, X, sigma=sigma)
