"""Feature likelihood divergence: how likely test images are under a mixture around the generated ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_feature_pair
from genmetrics_rt.errors import TooFewImages

_ROWS = 1024  # of a block of distances


@dataclass(frozen=True)
class Fld:
    """Feature likelihood divergence and what it is made of."""

    value: float  # 100 (nll − baseline)
    nll: float  # of the test images, per dimension
    train_nll: float
    baseline: float

    @property
    def generalisation_gap(self) -> float:
        """``100 (train nll − test nll)``: below 0 the samples fit the training images better, which is copying."""
        return 100 * (self.train_nll - self.nll)


def fld(generated: Any, train: Any, test: Any, *, max_images: int = 10_000, seed: int = 0) -> Fld:
    """Feature likelihood divergence, ``100 (nll(test) − baseline)``; lower is better, about 0 for a perfect model.

    One isotropic Gaussian around each generated image, whose variances are fitted to the training images by Adam; nll
    is the mean negative log-likelihood of the test images, per dimension. A copy gets a variance near 0, and then says
    nothing of test images. The baseline takes a half of the training images in the place of the generated ones, fitted
    to the other half. Features are standardised by the test images.
    Jiralerspong et al. 2023, "Feature Likelihood Divergence"; published numbers take 10,000 images and DINOv2 features.

    Parameters
    ----------
    generated, train, test
        (M, D), (N, D), (P, D). More than ``max_images`` rows of the first two are sampled; time and memory grow with
        M · N (800 MB at the default).

    Raises
    ------
    TooFewImages, FeatureMismatch, NonFiniteFeatures
    """
    g, t = as_feature_pair(generated, train)
    p = as_feature_pair(test, train)[0]
    require_rows(g, 1, "generated")
    require_rows(t, 4, "training")
    require_rows(p, 2, "test")
    rng = np.random.default_rng(seed)
    mean, spread = p.mean(axis=0, dtype=np.float64), p.std(axis=0, ddof=1, dtype=np.float64)
    spread[spread == 0] = 1  # a constant feature stays as it is
    g, t, p = ((_sampled(rows, max_images, rng) - mean) / spread for rows in (g, t, p))
    log_variance = _fit_log_variances(g, t, rng)
    shuffled = t[rng.permutation(len(t))]
    half = min(len(g), len(t) // 2)
    centres, rest = shuffled[:half], shuffled[half:]
    baseline = mixture_nll(p, centres, _fit_log_variances(centres, rest, rng))
    nll = mixture_nll(p, g, log_variance)
    return Fld(100 * (nll - baseline), nll, mixture_nll(t, g, log_variance), baseline)


def mixture_nll(points: Any, centres: Any, log_variance: Any) -> float:
    """Mean over points (N, D) of ``−ln(mean over j of N(x; c_j, s_j I)) / D``; ``log_variance`` (M,) holds ln s_j."""
    x, c = as_feature_pair(points, centres)
    log_s = np.asarray(log_variance, np.float64)
    total = 0.0
    for start in range(0, len(x), _ROWS):
        squared = squared_distances(x[start : start + _ROWS], c)
        total -= float(_log_sum(_log_density(squared, log_s, x.shape[1]) - math.log(len(c))).sum())
    return float(total / len(x) / x.shape[1])


_EPOCHS, _BATCH, _LEARNING_RATE = 50, 10_000, 0.5
_PATIENCE, _STILL = 5, 5e-4  # epochs, and a change of the loss that is none
_EXTRA_SHRINK = 0.81  # (1 − 0.1)², of the squared distances to the extra component


def _fit_log_variances(centres: FloatArray, train: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(M,) log-variances of the mixture, by Adam on the mean nll of the training rows per dimension.

    While fitting, one more component at the training mean, of weight 1, leaves every row some likelihood.
    """
    count, dimension = centres.shape
    squared = np.empty((len(train), count + 1))
    squared[:, :count] = squared_distances(train, centres)
    squared[:, count] = _EXTRA_SHRINK * squared_distances(train, train.mean(axis=0)[None])[:, 0]
    log_s = np.append(np.log((squared[:, :count].min(axis=0) + 1e-3) / dimension), 0.0)
    log_weight = np.append(np.full(count, -math.log(count)), 0.0)
    first, second, steps = np.zeros_like(log_s), np.zeros_like(log_s), 0
    losses: list[float] = []
    for _ in range(_EPOCHS):
        loss, order = 0.0, rng.permutation(len(train))
        for start in range(0, len(train), _BATCH):
            batch = order[start : start + _BATCH]
            gradient = np.zeros_like(log_s)
            for part in np.array_split(batch, math.ceil(len(batch) / _ROWS)):
                density = _log_density(squared[part], log_s, dimension) + log_weight
                total = _log_sum(density)
                responsibility = np.exp(density - total[:, None])
                pull = (responsibility * squared[part]).sum(axis=0) * np.exp(-log_s)
                gradient -= (pull - dimension * responsibility.sum(axis=0)) / 2
                loss -= float(total.sum())
            gradient /= len(batch) * dimension
            steps += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            step = first / (1 - 0.9**steps) / (np.sqrt(second / (1 - 0.999**steps)) + 1e-8)
            log_s = np.clip(log_s - _LEARNING_RATE * step, -40, 40)
        losses.append(loss / len(train) / dimension)
        if len(losses) > _PATIENCE and np.abs(np.diff(losses[-_PATIENCE - 1 :])).max() < _STILL:
            break
    return log_s[:count]


def _log_density(squared: FloatArray, log_s: FloatArray, dimension: int) -> FloatArray:
    density: FloatArray = -0.5 * squared * np.exp(-log_s) - dimension / 2 * (log_s + math.log(2 * math.pi))
    return density


def _log_sum(values: FloatArray) -> FloatArray:
    """ln Σ exp of each row."""
    largest = values.max(axis=1)
    total: FloatArray = largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))
    return total


def _sampled(rows: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N, M) squared distances in float64, by a matrix product: near-equal rows to rounding only."""
    squared: FloatArray = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b) - 2 * (a @ b.T)
    return np.maximum(squared, 0)


def require_rows(rows: FloatArray, least: int, what: str) -> None:
    """Raise `TooFewImages` unless there are ``least`` rows."""
    if len(rows) < least:
        raise TooFewImages(f"{len(rows)} {what} images are too few here: at least {least} are needed. Add images.")
