"""The Vendi score and the mean cosine against closed forms and golden values (tests/golden.py, spec §1, §4.14)."""

from __future__ import annotations

import numpy as np
import pytest

from genmetrics_rt.errors import InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_from_similarity, vendi_score
from tests.golden import X, Y

INF = float("inf")


@pytest.mark.parametrize(("order", "expected"), [(1, 7.886405145), (2, 7.769816166), (INF, 5.881979260)])
def test_golden_values(order: float, expected: float) -> None:
    """Spec §1, Vendi of Y."""
    assert vendi_score(Y, order=order) == pytest.approx(expected, abs=5e-10)


PAIR = [[1, 0.9], [0.9, 1]]
EQUAL = np.full((4, 4), 0.5) + np.eye(4) / 2  # equicorrelation 1/2: eigenvalues of K/4 are 5/8 once and 1/8 thrice
BLOCK = [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("matrix", "order", "expected"),
    [  # spec §4.14
        (BLOCK, 1, 2.1573004833739833),
        (PAIR, 0.5, 1.4358899),
        (PAIR, 1, 1.2195906),
        (PAIR, 2, 1.1049724),
        (PAIR, INF, 1.0526316),
        (EQUAL, 1, 2.9257266),
        (EQUAL, 2, 2.2857143),
        (EQUAL, INF, 1.6),
    ],
)
def test_analytic_similarities(matrix: list[list[float]], order: float, expected: float) -> None:
    digits = 1e-12 if expected == 2.1573004833739833 else 5e-8
    assert vendi_from_similarity(matrix, order=order) == pytest.approx(expected, abs=digits)


def test_three_pairs_of_equal_items_far_apart_are_three() -> None:
    """Spec §4.14: 0, 0, 10, 10, 20, 20 with exp(−|a − b|) gives 2.999999995877713."""
    items = np.array([0, 0, 10, 10, 20, 20])
    similarity = np.exp(-np.abs(items[:, None] - items))
    assert vendi_from_similarity(similarity) == pytest.approx(2.999999995877713, abs=1e-12)


@pytest.mark.parametrize("order", [0.05, 0.5, 1, 2, INF])
def test_equal_images_are_one_and_orthogonal_ones_are_n(order: float) -> None:
    """More rows than dimensions, fewer, and in every order."""
    assert vendi_score(np.ones((7, 20)), order=order) == pytest.approx(1, abs=1e-12)
    assert vendi_score(np.ones((20, 7)), order=order) == pytest.approx(1, abs=1e-12)
    assert vendi_score(3 * np.eye(6, 9), order=order) == pytest.approx(6, abs=1e-12)
    assert vendi_score(np.tile(np.eye(6), (5, 1)), order=order) == pytest.approx(6, abs=1e-12)


@pytest.mark.parametrize("order", [0.3, 1, 2, 7.5, INF])
def test_both_forms_of_the_spectrum_agree(order: float) -> None:
    """X of 40 rows in 8 dimensions by XᵀX, and the same cosines by the (40, 40) similarity."""
    unit = X[:40] / np.linalg.norm(X[:40], axis=1, keepdims=True)
    assert vendi_score(X[:40], order=order) == pytest.approx(
        vendi_from_similarity(unit @ unit.T, order=order), rel=1e-9
    )


def test_rounding_is_not_counted_as_images() -> None:
    """Rank 2, 300 rows in 400 dimensions: 298 eigenvalues are rounding, and order 0.1 would see each as 0.02 image."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((300, 2)) @ rng.standard_normal((2, 400))
    assert vendi_score(plane, order=0.01) <= 2


def test_the_order_is_continuous_at_one_and_the_score_falls_with_it() -> None:
    """dVS/dq is finite, so a step of 1e-9 moves the score by about as much; VS_q is the exponential of a Rényi entropy,
    which falls with q (Rényi 1961)."""
    for near in (1 - 1e-16, 1 + 1e-12, 1 - 1e-9):
        assert vendi_score(Y, order=near) == pytest.approx(vendi_score(Y), rel=1e-8)
    orders = [0.1, 0.5, 0.89, 0.91, 1, 1.09, 1.11, 2, 10, 1000, 1e6, INF]
    scores = [vendi_score(Y, order=order) for order in orders]
    assert scores == sorted(scores, reverse=True)
    assert scores[-2] == pytest.approx(scores[-1], rel=1e-4)


def test_invariant_under_length_order_and_rotation_but_not_under_shift() -> None:
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    changed = (rng.uniform(0.5, 20, (500, 1)) * Y)[rng.permutation(500)] @ rotation
    for score in (vendi_score, mean_pairwise_cosine):
        assert score(changed) == pytest.approx(score(Y), rel=1e-9)
    assert vendi_score(Y + 10) < 1.5


def test_repeating_every_image_changes_nothing() -> None:
    """K/N of the doubled set has the same non-zero eigenvalues."""
    assert vendi_score(np.repeat(Y, 3, axis=0)) == pytest.approx(vendi_score(Y), rel=1e-12)


def test_float32_features_agree() -> None:
    assert vendi_score(Y.astype(np.float32)) == pytest.approx(7.886405145, rel=1e-6)
    unit = (Y / np.linalg.norm(Y, axis=1, keepdims=True)).astype(np.float32)
    assert vendi_from_similarity(unit @ unit.T) == pytest.approx(7.886405145, rel=1e-4)


def test_mean_cosine_by_hand() -> None:
    """At 0°, 60° and 180°: cosines 1/2, −1, −1/2, whose mean is −1/3. Opposite pairs reach the bound −1/(N − 1)."""
    turned = np.deg2rad([0, 60, 180])
    rows = np.array([1, 2, 5])[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)
    assert mean_pairwise_cosine(rows) == pytest.approx(-1 / 3, abs=1e-12)
    assert mean_pairwise_cosine([[1.0], [-4.0]]) == -1
    assert mean_pairwise_cosine(np.full((9, 3), 0.7)) == pytest.approx(1, abs=1e-12)


def test_mean_cosine_is_that_of_all_pairs() -> None:
    unit = Y / np.linalg.norm(Y, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert mean_pairwise_cosine(Y) == pytest.approx(cosines[~np.eye(500, dtype=bool)].mean(), rel=1e-12)


def test_the_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = vendi_score(Y), mean_pairwise_cosine(Y)
    monkeypatch.setattr("genmetrics_rt.metrics.vendi._BLOCK_BYTES", 8 * 8 * 7)  # seven rows
    assert (vendi_score(Y), mean_pairwise_cosine(Y)) == pytest.approx(expected, rel=1e-12)


def test_what_is_refused() -> None:
    zeros = np.ones((4, 3))
    zeros[2] = 0
    for score in (vendi_score, mean_pairwise_cosine):
        with pytest.raises(InputError, match="row 2"):
            score(zeros)
        with pytest.raises(NonFiniteFeatures):
            score([[1.0, np.nan], [1.0, 0.0]])
    for order in (0, -1, float("nan")):
        with pytest.raises(InputError, match="order"):
            vendi_score(Y, order=order)
    with pytest.raises(TooFewImages):
        vendi_score(np.zeros((0, 3)))
    with pytest.raises(TooFewImages):
        mean_pairwise_cosine(Y[:1])


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[1, 0, 0], [0, 1, 0]], "square"),
        ([[1, 0.5], [0.2, 1]], "symmetric"),
        ([[1, 0.5], [0.5, 2]], "itself"),
        ([[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]], "negative eigenvalue"),  # 1 − 0.9 √2
    ],
)
def test_a_matrix_that_is_no_similarity_is_refused(matrix: list[list[float]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        vendi_from_similarity(matrix)
