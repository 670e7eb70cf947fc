"""Scores for infinitely many images, from "Effectively Unbiased FID and Inception Score and Where to Find Them" (Chong
and Forsyth, 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_feature_pair, as_features
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.metrics.frechet import frechet_distance
from genmetrics_rt.metrics.inception_score import inception_score
from genmetrics_rt.statistics import FeatureStatistics

_SMALLEST = 5000  # images of the smallest sample in the paper


@dataclass(frozen=True)
class Extrapolation:
    """A line ``score_N = value + slope / N`` through scores of samples of several sizes.

    ``value`` is the score for infinitely many images. ``slope`` is positive for a Fréchet distance, which few images
    raise, and negative for an Inception Score, which they lower. ``sizes`` and ``scores`` (num_points,) are what the
    line was laid through. The samples overlap, so the scatter around the line says nothing about how sure the value is.
    """

    value: float
    slope: float
    sizes: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def scatter(self) -> float:
        """How many times as much the value scatters as the score of all images, where each point is a sample of them.

        The value is a sum ``Σ w_k score_k`` with ``Σ w_k = 1``, so other images move it as they move the score of all
        N, whose variance is V/N. Which n_k of the N are drawn adds ``V (1/n_k − 1/N)`` to each point on its own, and
        the ratio of the standard deviations is ``√(1 + Σ w_k² (N/n_k − 1))``: 1.27 for samples from N/2 to N.
        """
        x = 1 / np.array(self.sizes, dtype=np.float64)
        offset = x - x.mean()
        weight = 1 / len(x) - x.mean() * offset / (offset @ offset)
        return float(np.sqrt(1 + np.square(weight) @ (x / x.min() - 1)))


def frechet_infinity(
    generated: Any,
    reference: FeatureStatistics | NDArray[Any],
    *,
    num_points: int = 15,
    min_images: int | None = None,
    seed: int = 0,
    ddof: int = 1,
) -> Extrapolation:
    """The Fréchet distance that infinitely many generated images would have: FID∞ on ImageNet Inception pool features.

    The distance of N images exceeds the true one by about c/N. It is computed for random samples of several sizes,
    from ``min_images`` to all in even steps, against the same whole reference; a line over 1/N is fitted by least
    squares and read at 0. Lower is better; slightly negative values happen. The bias by the reference's own number of
    images stays.

    Parameters
    ----------
    generated : (N, D)
    reference : FeatureStatistics or (M, D) features
    num_points : int
        15 in the paper.
    min_images : int
        None takes 5000, as in the paper, or half of the images where that is less, and refuses fewer than dimensions:
        the model a + c/N needs N well above D, since with few images the distance bends in 1/N and the line is laid
        wrong. On Gaussian features of 256 dimensions 1.5 % of the bias of 5000 images is left, 8 % of that of 1000 is
        taken twice, and of 400 nearly half. A number is taken as it is.
    seed : int
        The images are shuffled anew for each size.
    ddof : int
        As in `frechet_distance`.

    Raises
    ------
    TooFewImages
        Not more than ``min_images`` images, or fewer than 4; by default also fewer than twice as many as dimensions.
    FeatureMismatch, NonFiniteFeatures
    InputError
        Fewer than 2 points or images in a sample.
    """
    if isinstance(reference, FeatureStatistics):
        features, fixed = as_features(generated, what="generated"), reference
    else:
        features, rows = as_feature_pair(generated, reference)
        fixed = FeatureStatistics.from_features(rows, ddof=ddof)
    sizes = _sizes(len(features), num_points, min_images)
    dimension = features.shape[1]
    if min_images is None and sizes[0] < dimension:
        raise TooFewImages(
            f"The Fréchet distance of {sizes[0]} images, the smallest sample of {len(features)}, is not on the line "
            f"that extrapolation needs, since they have {dimension} dimensions. Take {2 * dimension} images or more, "
            "far more if you can, or name min_images to have it nevertheless."
        )
    samples = _samples(features, sizes, seed)
    return extrapolate(sizes, [frechet_distance(sample, fixed, ddof=ddof) for sample in samples])


def inception_score_infinity(
    logits: Any, *, num_points: int = 15, min_images: int | None = None, seed: int = 0
) -> Extrapolation:
    """The Inception Score that infinitely many images would have, each sample scored in one split.

    Higher is better; between 1 and the number of classes, but for what the line oversteps. Few images lower the score
    by about c/N; see `frechet_infinity` for how that is taken away, the parameters and the errors.

    Parameters
    ----------
    logits : (N, C)
        Before softmax.
    min_images : int
        Here the line needs far more images than classes that occur.
    """
    values = as_features(logits, what="logits")
    sizes = _sizes(len(values), num_points, min_images)
    samples = _samples(values, sizes, seed)
    return extrapolate(sizes, [inception_score(sample, splits=1, shuffle=False).mean for sample in samples])


def extrapolate(sizes: Sequence[int] | IntArray, scores: Sequence[float] | FloatArray) -> Extrapolation:
    """The line of ordinary least squares of scores (K,) over 1/sizes (K,), every point with the same weight.

    Raises
    ------
    InputError
        Fewer than 2 different sizes, a size below 1, scores that are not finite.
    FeatureMismatch
        Not as many scores as sizes.
    """
    n, y = np.asarray(sizes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if n.ndim != 1 or n.shape != y.shape:
        raise FeatureMismatch(f"A line needs one score for each size; the shapes are {n.shape} and {y.shape}.")
    if len(n) == 0 or not n.min() >= 1 or n.min() == n.max():
        raise InputError("A line needs scores at two different numbers of images or more, each at least 1.")
    if not np.isfinite(y).all():
        raise InputError("A score is NaN or infinite, and no line goes through it. Look at the features it came from.")
    x = 1 / n
    offset = x - x.mean()
    slope = float(offset @ (y - y.mean()) / (offset @ offset))
    value = float(y.mean() - slope * x.mean())
    return Extrapolation(value, slope, tuple(int(size) for size in n), tuple(y.tolist()))


def _sizes(count: int, num_points: int, min_images: int | None) -> IntArray:
    """(K,) numbers of images: ``num_points`` even steps, cut to whole numbers as in the paper's code."""
    least = min(_SMALLEST, count // 2) if min_images is None else min_images
    if num_points < 2:
        raise InputError(f"num_points is {num_points}; a line needs at least 2.")
    if min_images is not None and min_images < 2:
        raise InputError(f"min_images is {min_images}; a score needs at least 2 images.")
    if least < 2 or count <= least:
        raise TooFewImages(
            f"Extrapolating from {max(least, 2)} images on needs more than that, and at least 4; there are {count}. "
            "Add images."
        )
    return np.linspace(least, count, num_points).astype(np.intp)


def _samples(rows: NDArray[Any], sizes: IntArray, seed: int) -> Iterator[NDArray[Any]]:
    """One sample of each size, without replacement, one after another."""
    stream = np.random.default_rng(seed)
    for size in sizes:
        yield rows[stream.permutation(len(rows))[:size]]
