"""Importance-weighted bounds of a log-likelihood, for models that know it only up to an expectation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.errors import InputError
from genmetrics_rt.metrics.likelihood import standard_error

_PUBLISHED_SIZES = (1, 5, 10, 50, 100, 500, 1_000, 5_000)  # numbers of importance samples, each divides the next
_MAX_SIZES = 8


@dataclass(frozen=True)
class ImportanceBounds:
    """``L_k`` for several k, in nats per image. They rise with k towards ``ln p``: the last is the tightest."""

    sizes: tuple[int, ...]  # k; 1 is the ELBO
    values: tuple[float, ...]
    standard_errors: tuple[float, ...]  # over images
    effective_size: float  # median over images of (Σ w)² / Σ w², between 1 and K
    log_likelihoods: FloatArray = field(repr=False)  # (N,) of each image, at the largest k

    @property
    def is_rising(self) -> bool:
        """Whether no bound is below the one before it: by Jensen's inequality, wherever each k divides the next."""
        steps = zip(self.values, self.values[1:], strict=False)
        return all(later >= earlier - 1e-12 * max(1.0, abs(earlier)) for earlier, later in steps)

    @property
    def last_rise(self) -> float:
        """How much the last step of k still brought: what is left to ``ln p`` is of this order."""
        return self.values[-1] - self.values[-2] if len(self.values) > 1 else math.nan


def importance_bounds(log_weights: Any, sizes: Sequence[int] | None = None) -> ImportanceBounds:
    """Importance-weighted bounds of the log-likelihood, ``L_k = E ln (1/k Σ exp ln w_i)``.

    ``ln w = ln p(x, z) − ln q(z | x)`` with z drawn from q, for a model with latents; ``ln p(x + u) − ln q(u | x)``
    with u drawn from q, for variational dequantisation. L_1 is the ELBO, ``L_k ≤ L_{k+1} ≤ ln p(x)`` in expectation
    (Burda, Grosse and Salakhutdinov 2016; evaluated with k = 5,000 there). The K weights of an image are parted into
    groups of k whose bounds are averaged, so that each ``L_k`` is unbiased for itself, and where each k divides the
    next the bounds rise on any weights.

    Parameters
    ----------
    log_weights : (N, K)
        K independent weights of each image.
    sizes : sequence of int, optional
        The k, each at most K. By default 1 to K, each dividing the next.

    Raises
    ------
    InputError
        Not (N, K), a NaN, or a size out of range.
    """
    weights = np.asarray(as_numpy(log_weights), np.float64)
    if weights.ndim != 2 or 0 in weights.shape:
        raise InputError(
            f"Log-weights have the shape (images, importance samples), not {weights.shape}. Give ln w, K a row."
        )
    sizes = require_sizes(sizes, weights.shape[1])
    return collect_bounds(sizes, *image_bounds(weights, sizes))


def image_bounds(weights: FloatArray, sizes: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """(N, len(sizes)) bounds of each image, and (N,) its effective number of samples: see `ImportanceBounds`.

    Of some images at a time, where the weights of all would not fit. Raises `InputError` for NaN.
    """
    if np.isnan(weights).any() or np.isposinf(weights).any():
        raise InputError("A log-weight is NaN or infinite. Look at the image whose row that is.")
    bounds = np.stack([_bounds_of(weights, size) for size in sizes], axis=1)
    with np.errstate(invalid="ignore"):  # rows of nothing but minus infinity
        shares = np.exp(weights - log_mean_exp(weights)[:, None])
        return bounds, shares.sum(axis=1) ** 2 / (shares**2).sum(axis=1)


def collect_bounds(sizes: Sequence[int], bounds: FloatArray, effective: FloatArray) -> ImportanceBounds:
    """What `image_bounds` found, over all images."""
    columns = bounds.T
    return ImportanceBounds(
        tuple(sizes),
        tuple(float(values.mean()) for values in columns),
        tuple(standard_error(values) for values in columns),
        float(np.nanmedian(effective)) if np.isfinite(effective).any() else math.nan,
        columns[-1].copy(),
    )


def require_sizes(sizes: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """The sizes in order, or `default_sizes`. Raises `InputError` for one that is not between 1 and ``most``."""
    if sizes is None:
        return default_sizes(most)
    if not sizes or any(type(size) is not int or not 1 <= size <= most for size in sizes):
        raise InputError(f"Numbers of importance samples must lie between 1 and {most}, and {list(sizes)} do not.")
    return tuple(sorted(set(sizes)))


def default_sizes(most: int) -> tuple[int, ...]:
    """Numbers of importance samples from 1 to ``most``, each dividing the next; of the published ones if these do."""
    published = [size for size in _PUBLISHED_SIZES if size < most and most % size == 0]
    if len(published) >= 3:
        return (*published, most)
    sizes = [most]
    while sizes[-1] > 1 and len(sizes) < _MAX_SIZES - 1:
        rest = sizes[-1]
        sizes.append(rest // next((prime for prime in range(2, math.isqrt(rest) + 1) if rest % prime == 0), rest))
    return tuple(sorted({1, *sizes}))


def _bounds_of(weights: FloatArray, size: int) -> FloatArray:
    """(N,) mean of the bounds of consecutive groups of ``size`` weights; a rest that fills no group is left out."""
    groups = weights.shape[1] // size
    bounds: FloatArray = log_mean_exp(weights[:, : groups * size].reshape(len(weights), groups, size)).mean(axis=1)
    return bounds


def log_mean_exp(values: FloatArray) -> FloatArray:
    """``ln mean exp`` over the last axis, without overflow; minus infinity where all are that."""
    most = values.max(axis=-1, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        result: FloatArray = np.log(np.exp(values - most).mean(axis=-1)) + most[..., 0]
    return result
