"""The Parzen-window estimate of a log-likelihood: Gaussians around the samples of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.errors import InputError
from genmetrics_rt.metrics.importance import log_mean_exp

SIGMAS = tuple(float(sigma) for sigma in np.logspace(-1, 0, 10))  # of the Parzen window: .1 to 1
MAX_VALIDATION = 1_000  # images that choose the width of the window
MAX_SAMPLES = 10_000  # of the model, in the window
PARZEN_WARNING = (
    "A Parzen window says little in many dimensions: it can rank a copier of the training images above the "
    "distribution itself, and needs more samples than anybody has (Theis, van den Oord and Bethge 2016). Do not rank "
    "models by it."
)
_BLOCK = 256  # test points whose distances to all samples are held at once


@dataclass(frozen=True)
class ParzenEstimate:
    """The mean log-likelihood of test points under Gaussians around samples, in nats. Read `PARZEN_WARNING`."""

    mean: float
    standard_error: float  # std with ddof 0 over √n, as in the published code
    sigma: float
    num_samples: int
    validation: tuple[tuple[float, float], ...]  # (sigma, mean on the validation points); empty where sigma was given
    log_likelihoods: FloatArray = field(repr=False)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen width is the smallest or largest that was tried, so that a better one may lie beyond."""
        tried = [sigma for sigma, _ in self.validation]
        return bool(tried) and self.sigma in (min(tried), max(tried))


def parzen_window(
    samples: Any, test: Any, *, validation: Any = None, sigma: float | None = None, sigmas: Sequence[float] = SIGMAS
) -> ParzenEstimate:
    """Log-likelihood of test points under a Gaussian of width σ around each sample of the model.

    ``ln p(x) = logmeanexp_i(−‖x − s_i‖² / (2 σ²)) − d ln(σ √(2π))`` (Goodfellow et al. 2014). σ is the one of
    ``sigmas`` under which the validation points are likeliest. The published numbers take pixels in [0, 1], 10,000
    samples and up to 1,000 validation points. See `PARZEN_WARNING`.

    Parameters
    ----------
    samples, test : (M, d), (N, d)
        Of the model, and real ones.
    validation : (V, d), optional
        Real ones that are not among ``test``; needed unless ``sigma`` is given. The first 1,000 are used.

    Raises
    ------
    InputError
        Other shapes, values that are not finite, or neither validation points nor a width.
    """
    centres, points = _points(samples, "samples"), _points(test, "test")
    if sigma is None and validation is None:
        raise InputError("A Parzen window needs its width: give sigma, or validation points that choose it.")
    chosen: list[tuple[float, float]] = []
    if sigma is None:
        held_out = _points(validation, "validation")[:MAX_VALIDATION]
        widths = tuple(float(width) for width in sigmas)
        _require_widths(widths)
        found = np.concatenate([_window(block, centres, widths) for block in _squared(held_out, centres)])
        chosen = [(width, float(mean)) for width, mean in zip(widths, found.mean(axis=0), strict=True)]
        sigma = max(chosen, key=lambda entry: entry[1])[0]
    _require_widths((sigma,))
    values = np.concatenate([_window(block, centres, (sigma,)) for block in _squared(points, centres)])[:, 0]
    error = float(values.std() / math.sqrt(len(values)))
    return ParzenEstimate(float(values.mean()), error, sigma, len(centres), tuple(chosen), values)


def _squared(points: FloatArray, centres: FloatArray) -> Iterator[FloatArray]:
    """Squared distances of blocks of points to all centres."""
    if points.shape[1] != centres.shape[1]:
        raise InputError(
            f"The samples have {centres.shape[1]} dimensions and the points {points.shape[1]}. A window needs images "
            "of one size on both sides."
        )
    middle = centres.mean(axis=0)  # about it squares are small, so that little is lost in their differences
    moved = centres - middle
    of_centres = np.einsum("ij,ij->i", moved, moved)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK] - middle
        squares = np.einsum("ij,ij->i", block, block)[:, None] + of_centres - 2 * block @ moved.T
        yield np.maximum(squares, 0.0)


def _window(squares: FloatArray, centres: FloatArray, widths: Sequence[float]) -> FloatArray:
    """(N, S) log-likelihoods of points at each width, from their squared distances to the centres."""
    dims = centres.shape[1]
    columns = [
        log_mean_exp(-squares / (2 * width**2)) - dims * math.log(width * math.sqrt(2 * math.pi)) for width in widths
    ]
    return np.stack(columns, axis=1)


def _points(values: Any, what: str) -> FloatArray:
    points = np.asarray(as_numpy(values), np.float64)
    if points.ndim != 2 or 0 in points.shape or not np.isfinite(points).all():
        raise InputError(f"{what}: expected finite numbers of the shape (N, d), got {points.shape}.")
    return points


def _require_widths(widths: Sequence[float]) -> None:
    if not widths or not all(0 < width < math.inf for width in widths):
        raise InputError(f"The width of a Parzen window must be above 0, and {list(widths)} are not.")
