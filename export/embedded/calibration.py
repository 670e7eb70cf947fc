"""The constants of `scattering`: scale of each coefficient and the ridge-whitened projection to 256 features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from export.embedded.scattering import NUM_FEATURES, Scattering
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime

LEAST_DEVIATION = 0.02  # coefficients that hardly vary on the calibration images are not blown up
RIDGE = 1.0  # added to each eigenvalue, so that directions of little variance are not whitened into noise
BATCH = 16


def calibrate(module: Scattering, coefficients: NDArray[np.float64]) -> None:
    """Set ``mean``, ``gain`` and ``projection`` of ``module`` from uncalibrated coefficients (N, 588)."""
    mean = coefficients.mean(0)
    deviation = np.maximum(coefficients.std(0), LEAST_DEVIATION)
    covariance = np.cov(((coefficients - mean) / deviation).T)
    module.mean.copy_(torch.from_numpy(mean))
    module.gain.copy_(torch.from_numpy(1 / deviation))
    # NumPy rounds float64 to float16 once; torch would go through float32 and round twice.
    projection = ridge_whitening(covariance, NUM_FEATURES).astype(np.float16)
    module.projection.copy_(torch.from_numpy(projection))


def measure_coefficients(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The output ``coefficients`` of an ONNX graph on images (N, 128, 128, 3).

    Measured in ONNX Runtime, where the features will be computed, not in torch: a rounding difference of 5e-6 in the
    coefficients turns close eigenvectors far enough to move features by 1e-3.
    """
    session = import_onnxruntime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    blocks = []
    for start in range(0, len(images), BATCH):
        batch = np.ascontiguousarray(images[start : start + BATCH].transpose(0, 3, 1, 2)).astype(np.float32)
        blocks += session.run(["coefficients"], {"images": batch})
    return np.concatenate(blocks).astype(np.float64)


def ridge_whitening(covariance: NDArray[np.float64], num_directions: int) -> NDArray[np.float64]:
    """The leading eigenvectors, each times √((1 + ridge) / (λ + ridge)): (D, num_directions).

    A direction of variance 1 keeps its scale. The largest entry of each column is positive, which fixes the sign.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    leading = np.argsort(-eigenvalues)[:num_directions]
    eigenvalues, eigenvectors = eigenvalues[leading], eigenvectors[:, leading]
    largest = np.abs(eigenvectors).argmax(0)
    signs = np.sign(eigenvectors[largest, np.arange(num_directions)])
    return eigenvectors * signs * np.sqrt((1 + RIDGE) / (eigenvalues + RIDGE))
