"""Two-sample tests against closed forms and golden values (tests/golden.py, spec §1, §4.18 and §4.19)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.metrics.two_sample import (
    _votes,
    accuracy_p_value,
    accuracy_power,
    classifier_two_sample,
    nearest_neighbour_accuracy,
)
from tests.golden import T, X, Y

CLASSIFIERS = ["network", "neighbours"]


def column(*values: float) -> NDArray[np.float64]:
    return np.array(values)[:, None]


def test_p_values() -> None:
    """Spec §4.19: 60 of 100 by the approximation (z = 2) and exactly, 530 of 1000."""
    assert accuracy_p_value(60, 100, exact=False) == pytest.approx(0.0227501, abs=5e-8)
    assert accuracy_p_value(60, 100) == pytest.approx(0.0284440, abs=5e-8)
    assert accuracy_p_value(530, 1000) == pytest.approx(0.0288898, abs=5e-8)
    assert accuracy_p_value(3, 3) == pytest.approx(1 / 8)
    assert accuracy_p_value(0, 3) == 1


def test_exact_below_200() -> None:
    assert accuracy_p_value(110, 199) == accuracy_p_value(110, 199, exact=True)
    assert accuracy_p_value(110, 200) == accuracy_p_value(110, 200, exact=False)


def test_power() -> None:
    """Spec §4.19: 0.9363790 at ε = .05, n = 1000, α = .05. Without an excess it is the level."""
    assert accuracy_power(0.05, 1000) == pytest.approx(0.9363790, abs=5e-8)
    assert accuracy_power(0, 1000, level=0.01) == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize(("shift", "accuracy", "auc"), [(1, 0.6914625, 0.7602499), (2, 0.8413447, 0.9213504)])
def test_the_best_there_is(classifier: str, shift: float, accuracy: float, auc: float) -> None:
    """Spec §4.19: N(0, 1) against N(μ, 1) allows Φ(μ/2) and an AUC of Φ(μ/√2). With 2000 test images an accuracy
    scatters by 0.011 at most and an AUC by 0.011; the neighbours' borders and votes lose up to 0.02 more."""
    rng = np.random.default_rng(0)
    result = classifier_two_sample(
        rng.standard_normal((2000, 1)) + shift, rng.standard_normal((2000, 1)), classifier=classifier
    )
    assert accuracy - 0.055 < result.accuracy < accuracy + 0.035
    assert auc - 0.055 < result.auc < auc + 0.035
    assert result.p_value < 1e-30


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_alike_sides_are_one_half_and_p_values_are_even(classifier: str) -> None:
    """Right answers are Binomial(60, 1/2) under the null: of 40 tests the mean accuracy is 1/2 within 4 standard errors
    of 0.065/√40, and p values are even but for their steps (at most 8 of 40 below 0.05 with probability 0.9995)."""
    rng = np.random.default_rng(1)
    results = [
        classifier_two_sample(*rng.standard_normal((2, 60, 3)), classifier=classifier, seed=seed) for seed in range(40)
    ]
    assert abs(np.mean([one.accuracy for one in results]) - 0.5) < 4 * 0.0645 / 40**0.5
    assert sum(one.p_value < 0.05 for one in results) <= 8


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_far_apart_is_told_without_error(classifier: str) -> None:
    rng = np.random.default_rng(2)
    g, r = rng.standard_normal((2, 100, 4))
    result = classifier_two_sample(g + 20, r, classifier=classifier)
    assert result.accuracy == result.auc == 1
    assert result.p_value == pytest.approx(2.0**-100)
    assert result.confusion.reference_as_generated == result.confusion.generated_as_reference == 0
    assert result.confusion.reference_as_reference + result.confusion.generated_as_generated == 100


def test_only_the_network_sees_what_differs_in_one_direction_of_many() -> None:
    """A shift of 2 along one of 200 directions: Bayes accuracy Φ(1) = 0.84; distances drown it."""
    rng = np.random.default_rng(3)
    g, r = rng.standard_normal((2, 800, 200))
    g[:, 0] += 2
    network, neighbours = (classifier_two_sample(g, r, classifier=one).accuracy for one in CLASSIFIERS)
    assert network > neighbours + 0.05
    assert 0.7 < network < 0.88


def test_what_no_line_can_tell_apart() -> None:
    """Twice as wide, same mean: in 4 dimensions the radii of N(0, 1) and N(0, 4) overlap by little."""
    rng = np.random.default_rng(4)
    g, r = rng.standard_normal((2, 1000, 4))
    for classifier in CLASSIFIERS:
        assert classifier_two_sample(2 * g, r, classifier=classifier).accuracy > 0.68


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_counts_belong_together(classifier: str) -> None:
    result = classifier_two_sample(Y, X, classifier=classifier, seed=3)
    confusion = result.confusion
    assert sum(confusion) == 500
    assert result.accuracy == (confusion.reference_as_reference + confusion.generated_as_generated) / 500
    assert result.p_value == accuracy_p_value(round(result.accuracy * 500), 500)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_seed_is_everything(classifier: str) -> None:
    np.random.seed(5)
    once = classifier_two_sample(Y, X, classifier=classifier, seed=1)
    np.random.seed(6)
    assert classifier_two_sample(Y, X, classifier=classifier, seed=1) == once
    assert classifier_two_sample(Y, X, classifier=classifier, seed=2) != once


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_standardising_takes_scales_and_constants_away(classifier: str) -> None:
    """Powers of two change no digit, so not even a tie moves."""
    stretch = 2.0 ** np.arange(-4, 4)
    constant = np.full((500, 1), 0.1)
    base = classifier_two_sample(Y, X, classifier=classifier)
    assert classifier_two_sample(Y * stretch, X * stretch, classifier=classifier) == base
    if classifier == "neighbours":
        with_constant = [np.hstack([side, constant]) for side in (Y, X)]
        assert classifier_two_sample(*with_constant, classifier=classifier) == base
    else:  # the network starts from other weights
        assert classifier_two_sample(constant, constant, classifier=classifier).auc == 0.5


@pytest.mark.parametrize(("num_train", "near", "half"), [(16, 4, 2), (24, 4, 2), (25, 5, 3), (36, 6, 3)])
def test_the_votes_of_the_neighbours(num_train: int, near: int, half: int) -> None:
    """k = ⌊√n⌋, and more than ⌈k/2⌉ must say generated (spec §4.19). On the line 0, 1, 2, … with the odd ones
    generated: seen from the left end the k nearest are 0 … k − 1, from the right end the last k."""
    line = np.arange(num_train, dtype=np.float64)
    labels = line % 2 == 1
    votes, needed = _votes(line[:, None], labels, column(-1, num_train + 0.4))
    assert needed == half
    last = labels[-near:].sum()
    assert votes.tolist() == [near // 2, last]


def test_one_nearest_neighbour_golden() -> None:
    """Spec §1."""
    result = nearest_neighbour_accuracy(Y, X)
    assert (result.accuracy, result.of_generated, result.of_reference) == pytest.approx((0.595, 0.532, 0.658))
    result = nearest_neighbour_accuracy(T, X)
    assert (result.accuracy, result.of_generated, result.of_reference) == pytest.approx((0.490, 0.488, 0.492))


def test_one_nearest_neighbour_by_hand() -> None:
    """Spec §4.18: a tenth beside each reference point, and far away."""
    assert nearest_neighbour_accuracy(column(0.1, 10.1, 20.1), column(0, 10, 20)).accuracy == 0
    assert nearest_neighbour_accuracy(column(100, 101, 102), column(0, 1, 2)).accuracy == 1


def test_ties_go_to_the_first_index() -> None:
    """0 and 2 generated, 1 and 3 reference: 1 has 0 and 2 as near (both generated), 2 has 1 and 3 (both reference).

    Generated 0, 4, reference 2, 9: 2 is as near to 0 as to 4. Generated 0, 9, reference 2, 4: 2 is as near to 0 as to
    4, and the generated one is first. As 4, 9 and 0, 2 the row that counts is again the generated one, 4.
    """
    assert nearest_neighbour_accuracy(column(0, 2), column(1, 3)).accuracy == 0
    assert nearest_neighbour_accuracy(column(0, 9), column(2, 4)).of_reference == 0.5  # 4 → 2; 2 → 0
    assert nearest_neighbour_accuracy(column(4, 9), column(0, 2)).of_reference == 0.5  # 0 → 2; 2 → 4


@pytest.mark.parametrize(("dimension", "values"), [(1, 5), (2, 4), (6, 2), (3, 40)])
def test_ties_as_by_argmin(dimension: int, values: int) -> None:
    """Whole numbers, full of twins and ties, against argmin of the whole matrix."""
    g, r = np.random.default_rng(5).integers(0, values, (2, 150, dimension)).astype(np.float64)
    union = np.concatenate([g, r])
    squared = np.square(union[:, None] - union).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    same = (squared.argmin(axis=1) < 150) == (np.arange(300) < 150)
    result = nearest_neighbour_accuracy(g, r)
    assert (result.of_generated, result.of_reference) == (same[:150].mean(), same[150:].mean())
    assert result.accuracy == same.mean()


def test_twins() -> None:
    """Copies of every reference row: each has its twin on the other side. All rows equal: the first row is everybody's
    nearest, and its own nearest is the second."""
    assert nearest_neighbour_accuracy(X, X).accuracy == 0
    result = nearest_neighbour_accuracy(np.ones((4, 2)), np.ones((4, 2)))
    assert (result.of_generated, result.of_reference) == (1, 0)


def test_one_nearest_neighbour_is_invariant() -> None:
    rng = np.random.default_rng(6)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    g, r = (3 * side[rng.permutation(500)] @ rotation - 4 for side in (Y, X))
    assert nearest_neighbour_accuracy(g, r) == nearest_neighbour_accuracy(Y, X)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="classifier"):
        classifier_two_sample(Y, X, classifier="forest")
    with pytest.raises(TooFewImages):
        classifier_two_sample(Y[:19], X[:19])
    with pytest.raises(TooFewImages):
        nearest_neighbour_accuracy(Y[:1], X[:1])
    for test in (classifier_two_sample, nearest_neighbour_accuracy):
        with pytest.raises(FeatureMismatch, match="equally many"):
            test(Y, X[:400])
        with pytest.raises(FeatureMismatch):
            test(Y, X[:, :4])
        with pytest.raises(NonFiniteFeatures):
            test(np.full((30, 2), np.nan), np.ones((30, 2)))
    for counts in ((5, 3), (-1, 3), (0, 0)):
        with pytest.raises(InputError):
            accuracy_p_value(*counts)
    for excess in (-0.1, 0.5):
        with pytest.raises(InputError):
            accuracy_power(excess, 100)
