"""Can a classifier tell generated from real? Two-sample tests, from "Revisiting Classifier Two-Sample Tests"
(Lopez-Paz and Oquab, 2017), and the leave-one-out 1-NN accuracy of "An empirical study on evaluation metrics of
generative adversarial networks" (Xu et al., 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.distances import UNDECIDED, Bounds, IntArray, PointSet, neighbours, spans
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.uncertainty import LEVEL, Uncertainty

MIN_ROWS = 20  # a side; from here a test half of one side alone does not happen
EXACT_BELOW = 200  # test rows, below which the binomial distribution is summed instead of approximated

_HIDDEN = 20
_EPOCHS = 100
_BATCH = 64
_RATE = 1e-3  # this and the next three are Adam's own defaults (Kingma and Ba 2015)
_FIRST_DECAY, _SECOND_DECAY = 0.9, 0.999
_EPSILON = 1e-8
_BLOCK_ROWS = 256  # test rows whose distances to all training rows are there at once


class Confusion(NamedTuple):
    """Counts of test images by what they are and what they were seen as."""

    reference_as_reference: int
    reference_as_generated: int
    generated_as_reference: int
    generated_as_generated: int


@dataclass(frozen=True)
class TwoSample:
    """What a classifier makes of held-out images. Nearer to one half is better.

    Attributes
    ----------
    accuracy : float
        Share of the test half that is told right: 0.5 where the sides cannot be told apart, 1 where they can. Below
        0.5 is chance, not better.
    p_value : float
        Chance of at least this accuracy if the sides were alike. Small says that they differ.
    auc : float
        Chance that a generated test image looks more generated than a reference one, ties half.
    confusion : Confusion
    """

    accuracy: float
    p_value: float
    auc: float
    confusion: Confusion


@dataclass(frozen=True)
class NearestNeighbourAccuracy:
    """Shares in [0, 1] of images whose nearest other image is of their own side; 0.5 is best.

    ``accuracy`` of all is near 1 where the sides can be told apart and below 0.5 where generated images sit on
    reference ones. Collapse shows in a high ``of_generated``: such images have one another nearest. Images that scatter
    too widely show in a low ``of_generated`` beside a high ``of_reference``.
    """

    accuracy: float
    of_generated: float
    of_reference: float


def classifier_two_sample(generated: Any, reference: Any, *, classifier: str = "network", seed: int = 0) -> TwoSample:
    """Train a classifier on half of the images and count how often it is right on the other half.

    Under the null hypothesis that both sides are alike, the number of right answers among n test images is
    Binomial(n, 1/2), whatever the classifier; see `accuracy_p_value`. Features are standardised by the training half.

    Parameters
    ----------
    generated, reference : (N, D)
        Equally many: with unequal sides guessing the larger one beats one half.
    classifier : str
        ``"network"``: the paper's, one hidden layer of 20 ReLU and a sigmoid, 100 epochs of Adam on the cross-entropy
        (batches of 64, rate 0.001). ``"neighbours"``: the ⌊√n⌋ nearest of the n training images vote, and more than
        half of that, rounded up, must say generated.
    seed : int
        Of the split, the network's start and its batches. The same seed gives the same answer on one machine; on
        another, rounding may turn an image that lies on the border.

    Raises
    ------
    FeatureMismatch
        Unlike numbers of rows or dimensions.
    TooFewImages
        Fewer than 20 rows a side.
    InputError
        An unknown classifier.
    NonFiniteFeatures
    """
    if classifier not in ("network", "neighbours"):
        raise InputError(f"classifier is {classifier!r}; it must be 'network' or 'neighbours'.")
    g, r = _equal_sides(generated, reference, least=MIN_ROWS)
    stream = np.random.default_rng(seed)
    order = stream.permutation(2 * len(g))
    train, test = order[: len(g)], order[len(g) :]
    x_train, x_test = _standardised(_rows(g, r, train), _rows(g, r, test))
    y_train, y_test = train < len(g), test < len(g)  # True: generated
    if classifier == "network":
        score = _Network(x_train.shape[1], stream).fit(x_train, y_train, stream).logits(x_test)
        seen = score > 0  # a probability above 1/2
    else:
        score, half = _votes(x_train, y_train, x_test)
        seen = score > half
    right = int((seen == y_test).sum())
    confusion = Confusion(
        int((~seen & ~y_test).sum()),
        int((seen & ~y_test).sum()),
        int((~seen & y_test).sum()),
        int((seen & y_test).sum()),
    )
    return TwoSample(right / len(test), accuracy_p_value(right, len(test)), _auc(score, y_test), confusion)


def accuracy_p_value(num_right: int, num_test: int, *, exact: bool | None = None) -> float:
    """Chance of at least ``num_right`` right answers among ``num_test`` fair guesses.

    ``exact`` sums the binomial distribution; else the paper's normal approximation
    ``1 − Φ((t − 1/2) / √(1/(4n)))``. None: exact below 200.
    """
    from scipy.stats import binom, norm

    if not 0 <= num_right <= num_test or num_test < 1:
        raise InputError(f"{num_right} of {num_test} is no count of right answers.")
    if exact is None:
        exact = num_test < EXACT_BELOW
    if exact:
        return float(binom.sf(num_right - 1, num_test, 0.5))
    return float(norm.sf((num_right / num_test - 0.5) / np.sqrt(0.25 / num_test)))


def accuracy_uncertainty(num_right: int, num_test: int) -> Uncertainty:
    """How sure an accuracy is by the number of test images alone: the interval of 95 % of Wilson (1927), whose ends are
    the p with ``|p̂ − p| = z √(p (1 − p)/n)``. The standard error is its half divided by z, above 0 for p̂ = 1 too.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    share, shrunk = num_right / num_test, 1 + z * z / num_test
    centre = (share + z * z / (2 * num_test)) / shrunk
    error = float(np.sqrt(share * (1 - share) / num_test + (z / (2 * num_test)) ** 2)) / shrunk
    return Uncertainty(error, (max(0.0, centre - z * error), min(1.0, centre + z * error)))


def accuracy_power(excess: float, num_test: int, *, level: float = 0.05) -> float:
    """Chance that a test at this level notices a true accuracy of 1/2 + ``excess``, with ``num_test`` images.

    ``Φ((ε √n − Φ⁻¹(1 − α)/2) / √(1/4 − ε²))``; the level itself where ``excess`` is 0.
    """
    from scipy.stats import norm

    if not 0 <= excess < 0.5 or num_test < 1 or not 0 < level < 1:
        raise InputError(
            f"excess {excess}, num_test {num_test} and level {level} have no power: excess lies in [0, 0.5), num_test "
            "is at least 1, level lies between 0 and 1."
        )
    return float(norm.cdf((excess * np.sqrt(num_test) - norm.isf(level) / 2) / np.sqrt(0.25 - excess**2)))


def nearest_neighbour_accuracy(generated: Any, reference: Any) -> NearestNeighbourAccuracy:
    """The accuracy of a 1-NN classifier that sees all images but the one it judges.

    The share of images of both sides whose nearest other image is of the same side, by exact Euclidean distances. Of
    equally near ones the first counts, the generated side standing before the reference.

    Parameters
    ----------
    generated, reference : (N, D)
        Equally many: otherwise one half is not what alike sides give.

    Raises
    ------
    TooFewImages
        Fewer than 2 rows a side.
    FeatureMismatch
        Unlike numbers of rows or dimensions.
    NonFiniteFeatures
    """
    g, r = _equal_sides(generated, reference, least=2)
    same = (_nearest_others(np.concatenate([g, r])) < len(g)) == (np.arange(2 * len(g)) < len(g))
    of_generated, of_reference = float(same[: len(g)].mean()), float(same[len(g) :].mean())
    return NearestNeighbourAccuracy(float(same.mean()), of_generated, of_reference)


def _equal_sides(generated: Any, reference: Any, *, least: int) -> tuple[NDArray[Any], NDArray[Any]]:
    g, r = as_feature_pair(generated, reference)
    if len(g) != len(r):
        raise FeatureMismatch(
            f"Telling two sides apart is scored on equally many images of each, and there are {len(g)} generated and "
            f"{len(r)} reference ones. Take a random sample of the larger side."
        )
    if len(g) < least:
        raise TooFewImages(
            f"Telling two sides apart needs at least {least} images of each; there are {len(g)}. Add images."
        )
    return g, r


def _rows(g: NDArray[Any], r: NDArray[Any], some: IntArray) -> FloatArray:
    """Rows of both sides, counted through, in float64."""
    rows = np.empty((len(some), g.shape[1]))
    of_g = some < len(g)
    rows[of_g], rows[~of_g] = g[some[of_g]], r[some[~of_g] - len(g)]
    return rows


def _standardised(train: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both with the mean and deviation of the training half; what is constant there says nothing and becomes 0."""
    mean = train.mean(axis=0)
    varies = train.max(axis=0) > train.min(axis=0)  # a deviation may be rounding
    factor = np.where(varies, 1 / np.where(varies, train.std(axis=0), 1), 0)
    return (train - mean) * factor, (test - mean) * factor


class _Network:
    """One hidden layer of ReLU, one logit, trained by Adam."""

    def __init__(self, dimension: int, stream: np.random.Generator) -> None:
        self._weights: list[FloatArray] = [
            stream.standard_normal((dimension, _HIDDEN)) * np.sqrt(2 / dimension),  # He et al. 2015
            np.zeros(_HIDDEN),
            stream.standard_normal(_HIDDEN) * np.sqrt(1 / _HIDDEN),
            np.zeros(1),
        ]

    def logits(self, x: FloatArray) -> FloatArray:
        """(n,) above 0 where the image looks generated."""
        into, into_bias, out, out_bias = self._weights
        logits: FloatArray = np.maximum(x @ into + into_bias, 0) @ out + out_bias
        return logits

    def fit(self, x: FloatArray, y: NDArray[np.bool_], stream: np.random.Generator) -> _Network:
        first, second = ([np.zeros_like(weight) for weight in self._weights] for _ in range(2))
        step = 0
        for _ in range(_EPOCHS):
            order = stream.permutation(len(x))
            for start in range(0, len(x), _BATCH):
                batch = order[start : start + _BATCH]
                step += 1
                # Adam, with its two corrections for the start from 0.
                rate = _RATE * np.sqrt(1 - _SECOND_DECAY**step) / (1 - _FIRST_DECAY**step)
                slopes = self._slopes(x[batch], y[batch])
                for weight, slope, mean, square in zip(self._weights, slopes, first, second, strict=True):
                    mean += (1 - _FIRST_DECAY) * (slope - mean)
                    square += (1 - _SECOND_DECAY) * (slope * slope - square)
                    weight -= rate * mean / (np.sqrt(square) + _EPSILON)
        return self

    def _slopes(self, x: FloatArray, y: NDArray[np.bool_]) -> list[FloatArray]:
        """Of the mean cross-entropy, by each of the weights."""
        from scipy.special import expit

        into, into_bias, out, out_bias = self._weights
        hidden = np.maximum(x @ into + into_bias, 0)  # (n, 20)
        error = (expit(hidden @ out + out_bias) - y) / len(x)  # (n,) by the logit
        back = np.outer(error, out) * (hidden > 0)
        return [x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(keepdims=True)]


def _votes(train: FloatArray, labels: NDArray[np.bool_], test: FloatArray) -> tuple[FloatArray, int]:
    """(n,) how many of the k nearest training rows are generated, and ⌈k/2⌉, which it takes more than."""
    nearest_k = int(np.sqrt(len(train)))
    squares = np.einsum("ij,ij->i", train, train)
    votes = np.empty(len(test))
    for start in range(0, len(test), _BLOCK_ROWS):
        nearness = squares - 2 * (test[start : start + _BLOCK_ROWS] @ train.T)  # but for the row's own square
        nearest = np.argpartition(nearness, nearest_k - 1, axis=1)[:, :nearest_k]
        votes[start : start + _BLOCK_ROWS] = labels[nearest].sum(axis=1)
    return votes, -(-nearest_k // 2)


def _auc(score: FloatArray, positive: NDArray[np.bool_]) -> float:
    """By the sum of ranks (Mann and Whitney 1947), ties half."""
    from scipy.stats import rankdata

    num_positive = int(positive.sum())
    above = float(rankdata(score)[positive].sum()) - num_positive * (num_positive + 1) / 2
    return above / (num_positive * (len(score) - num_positive))


def _nearest_others(values: NDArray[Any]) -> IntArray:
    """(N,) position of the nearest other row of each; of equally near ones, the first."""
    points = PointSet(values)
    if len(points) == 1:
        nearest = np.zeros(1, np.intp)
    else:
        nearest = _first_nearest(points)
    # A twin is nearer than anything else: the first of its kind or, for that one, the second.
    position = np.arange(len(values))
    first = points.first[points.inverse]  # (N,) of its own kind
    second = np.full(len(points), len(values))
    np.minimum.at(second, points.inverse[position > first], position[position > first])
    twin = np.where(position > first, first, second[points.inverse])
    return np.where(points.multiplicity[points.inverse] > 1, twin, nearest[points.inverse])


def _first_nearest(points: PointSet) -> IntArray:
    """(U,) position of the nearest other row of each distinct row without twins.

    A second pass over the distances looks for rows that are exactly as near as the nearest one found by the first.
    """
    squared, column = neighbours(points, 1)
    nearest = points.first[column[:, 0]]
    bounds = Bounds(points, points)
    for rows, columns in spans(len(points), len(points)):
        tile, limit = bounds.tile(rows, columns), squared[rows]
        row, column = tile.pairs_within(limit)
        if len(row) > UNDECIDED * len(limit):
            row, column = bounds.finer_tile(rows, columns).pairs_within(limit)
        row, column = row + rows.start, column + columns.start
        row, column = row[row != column], column[row != column]
        as_near = bounds.exact(row, column) == squared[row, 0]
        np.minimum.at(nearest, row[as_near], points.first[column[as_near]])
    return nearest
