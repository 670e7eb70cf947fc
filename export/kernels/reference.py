"""The kernels once more in NumPy, written for being obviously right: what the frozen forms are held against."""

from __future__ import annotations

import numpy as np

from export.blueprint import Arrays


def trace_sqrtm(inputs: Arrays) -> Arrays:
    """The sum of the singular values of Laᵀ Lb, with L = V sqrt(λ) from the eigenvectors of each covariance.

    Not the textbook eigenvalues of Σa Σb: their square roots are off by 4e-7 where eigenvalues reach down to 1e-12.
    """
    factors = []
    for name in ("covariance_a", "covariance_b"):
        eigenvalues, vectors = np.linalg.eigh(inputs[name])
        noise = len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues.max()
        kept = eigenvalues > noise
        factors.append(vectors[:, kept] * np.sqrt(eigenvalues[kept]))
    return {"trace": np.array(np.linalg.svd(factors[0].T @ factors[1], compute_uv=False).sum())}


def kl_divergence(inputs: Arrays) -> Arrays:
    """Row by row: Σ_y p(y|x) (ln p(y|x) − ln p(y)) over the classes that occur."""
    logits = inputs["logits"] - inputs["logits"].max(axis=1, keepdims=True)
    log_sums = np.array([np.logaddexp.reduce(row) for row in logits])
    log_conditional = logits - log_sums[:, None]
    marginal = np.exp(log_conditional).mean(axis=0)
    divergences = []
    for row in log_conditional:
        occurs = np.exp(row) > 0
        divergences.append(float(np.sum(np.exp(row[occurs]) * (row[occurs] - np.log(marginal[occurs])))))
    return {"divergence": np.array(np.mean(divergences))}


def knn_radii(inputs: Arrays) -> Arrays:
    """Row by row: the distances to all other rows, sorted."""
    features, k = inputs["features"], int(inputs["nearest_k"])
    radii = []
    for i, row in enumerate(features):
        distances = np.linalg.norm(np.delete(features, i, axis=0) - row, axis=1)
        radii.append(np.sort(distances)[k - 1])
    return {"radii": np.array(radii)}


def pairwise_squared_distances(inputs: Arrays) -> Arrays:
    """Row by row, from differences."""
    a, b = inputs["a"], inputs["b"]
    return {"squared_distances": np.array([((b - row) ** 2).sum(axis=1) for row in a])}
