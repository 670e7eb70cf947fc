"""The inputs on which every form of a kernel must agree: random, odd-sized, rank-deficient, extreme."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.blueprint import Arrays

Array = NDArray[np.float64]


def trace_sqrtm() -> dict[str, Arrays]:
    stream = np.random.RandomState(7)
    pairs = {
        "1 × 1": (np.array([[4.0]]), np.array([[9.0]])),
        "full rank 7": (covariance(stream.randn(30, 7)), covariance(stream.randn(40, 7) * np.arange(1, 8))),
        "full rank 64, one panel": (covariance(stream.randn(200, 64)), covariance(stream.randn(150, 64))),
        "full rank 131": (covariance(stream.randn(300, 131)), covariance(stream.randn(400, 131))),
        "rank 19 and 130 of 131": (covariance(stream.randn(20, 131)), covariance(stream.randn(131, 131))),
        "eigenvalues from 1 to 1e-12": (decaying(stream, 131), decaying(stream, 131)),
        "equal": (covariance(stream.randn(50, 33)),) * 2,
        "constant and duplicate features": (covariance(repeated(stream)), covariance(repeated(stream))),
        "zero": (np.zeros((5, 5)), covariance(stream.randn(9, 5))),
        "no common direction": (np.diag([1.0, 2.0, 0.0, 0.0]), np.diag([0.0, 0.0, 3.0, 4.0])),
        "tiny and huge": (covariance(stream.randn(30, 7)) * 1e-200, covariance(stream.randn(30, 7)) * 1e200),
    }
    return {name: {"covariance_a": a, "covariance_b": b} for name, (a, b) in pairs.items()}


def kl_divergence() -> dict[str, Arrays]:
    stream = np.random.RandomState(8)
    one_hot = np.where(np.eye(7, 5) > 0, 1e4, -1e4)
    logits = {
        "1 × 1": np.array([[3.0]]),
        "random 37 × 11": stream.randn(37, 11) * 3,
        "one row": stream.randn(1, 9),
        "equal rows": np.repeat(stream.randn(1, 6), 13, axis=0),
        "certain, a class never": one_hot,
        "all large": stream.randn(20, 3) + 1e6,
        "a class excluded": np.where(np.arange(5) == 2, -np.inf, stream.randn(9, 5)),
    }
    return {name: {"logits": array} for name, array in logits.items()}


def knn_radii() -> dict[str, Arrays]:
    stream = np.random.RandomState(9)
    duplicates = np.repeat(stream.randn(9, 4), 3, axis=0)
    near = np.repeat(stream.randn(9, 4), 3, axis=0) + stream.randn(27, 4) * 1e-9
    cases = {
        "2 rows": (stream.randn(2, 1), 1),
        "random 101 × 7": (stream.randn(101, 7), 3),
        "largest k": (stream.randn(23, 5), 22),
        "triples, k inside": (duplicates, 2),
        "triples, k outside": (duplicates, 3),
        "near-duplicates": (near, 1),
        "far from 0": (stream.randn(40, 3) + 1e3, 5),
        "all equal": (np.ones((6, 2)), 4),
        "3 blocks of rows": (stream.randn(5001, 2), 3),
    }
    return {name: {"features": rows, "nearest_k": np.array(k)} for name, (rows, k) in cases.items()}


def pairwise_squared_distances() -> dict[str, Arrays]:
    stream = np.random.RandomState(10)
    rows = stream.randn(13, 5)
    pairs = {
        "1 × 1": (np.array([[1.0]]), np.array([[4.0]])),
        "random 31 × 17": (stream.randn(31, 7), stream.randn(17, 7) * 2 + 1),
        "equal sets": (rows, rows),
        "far from 0": (rows + 1e3, stream.randn(3, 5) + 1e3),
        "one against many": (stream.randn(1, 300), stream.randn(40, 300)),
    }
    return {name: {"a": a, "b": b} for name, (a, b) in pairs.items()}


def covariance(features: Array) -> Array:
    """(D, D) of rows (N, D), divided by N − 1."""
    return np.atleast_2d(np.cov(features, rowvar=False))


def decaying(stream: np.random.RandomState, size: int) -> Array:
    """Eigenvalues from 1 down to 1e-12, evenly in their logarithm, along random directions."""
    directions, _ = np.linalg.qr(stream.randn(size, size))
    matrix = (directions * np.geomspace(1, 1e-12, size)) @ directions.T
    return (matrix + matrix.T) / 2


def repeated(stream: np.random.RandomState) -> Array:
    """Features of which some are constant and some are there twice, as dead units of a network make them."""
    drawn = stream.randn(60, 10)
    return np.concatenate([drawn, np.full((60, 3), 0.25), drawn[:, :4]], axis=1)
