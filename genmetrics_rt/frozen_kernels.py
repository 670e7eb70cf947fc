"""The kernels as shipped frozen graphs: matrix products and loops, no LAPACK, on any device the runtime knows.

The same graphs run from C++, Java or a browser; here they have the face of `genmetrics_rt.kernels.Kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmetrics_rt.arrays import FloatArray, require_finite
from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.frozen import open_graph


class FrozenKernels:
    """The shipped kernel bundles, opened on one device. float64, any N and D, thread-safe.

    Parameters
    ----------
    backend, device, threads
        As for `genmetrics_rt.frozen.open_graph`.
    """

    def __init__(self, *, backend: str = "onnx", device: str = "cpu", threads: int | None = None) -> None:
        self.name = backend
        self._trace, self._divergence, self._radii, self._squared = (
            open_graph(load_bundle(kernel), backend=backend, device=device, threads=threads)
            for kernel in ("trace_sqrtm", "kl_divergence", "knn_radii", "pairwise_squared_distances")
        )

    def trace_sqrtm(self, covariance_a: ArrayLike, covariance_b: ArrayLike) -> float:
        """``Tr (Σa Σb)^(1/2)`` of two positive semi-definite (D, D) matrices, of any rank.

        The sum of the singular values of ``Laᵀ Lb`` with ``Σ = L Lᵀ``: semi-definite Cholesky, then a polar iteration.
        Relative error about 1e-14, and 1e-8 where eigenvalues reach down to 1e-12 of the largest (D = 2048). What is
        left of a variance counts as zero below D · 2.2e-16 of the largest variance.
        """
        a, b = _matrix(covariance_a, "A covariance"), _matrix(covariance_b, "A covariance")
        if a.shape != b.shape or a.shape[0] != a.shape[1]:
            raise InputError(f"Two square covariances of one shape are needed, not {a.shape} and {b.shape}.")
        return float(self._trace.run({"covariance_a": a, "covariance_b": b})["trace"])

    def kl_divergence(self, logits: ArrayLike) -> float:
        """``E_x KL(p(y|x) ‖ p(y))`` in nats of softmax over logits (N, C), ``p(y)`` being the mean over the rows."""
        values = _matrix(logits, "Logits", excluded=-np.inf)  # −∞: a class that is ruled out
        return float(self._divergence.run({"logits": values})["divergence"])

    def knn_radii(self, features: ArrayLike, nearest_k: int) -> FloatArray:
        """(N,) Euclidean distance of each row of (N, D) to its ``nearest_k``-th nearest other row.

        0 where the row is there ``nearest_k`` times more. Blocks of rows keep the memory at a few times 64 MiB beyond
        two copies of the features.
        """
        rows = _matrix(features, "Features")
        if not 1 <= nearest_k < len(rows):
            raise TooFewImages(f"nearest_k = {nearest_k} needs at least {nearest_k + 1} rows, not {len(rows)}.")
        radii: FloatArray = self._radii.run({"features": rows, "nearest_k": np.array(nearest_k)})["radii"]
        return radii

    def squared_distances(self, a: ArrayLike, b: ArrayLike) -> FloatArray:
        """(N, M) squared Euclidean distances of rows (N, D) and (M, D), at least 0.

        Errors are about 1e-15 of the squared norms of the centred rows, so those of near-duplicates are all error.
        """
        first, second = _matrix(a, "Features"), _matrix(b, "Features")
        if first.shape[1] != second.shape[1]:
            raise FeatureMismatch(f"Rows of {first.shape[1]} and of {second.shape[1]} dimensions have no distance.")
        squared: FloatArray = self._squared.run({"a": first, "b": second})["squared_distances"]
        return squared


def _matrix(values: ArrayLike, what: str, *, excluded: float | None = None) -> NDArray[Any]:
    """A non-empty float64 matrix, finite but for the value ``excluded``."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{what} must be a matrix with at least one row and column, not of shape {matrix.shape}.")
    require_finite(matrix if excluded is None else np.where(matrix == excluded, 0, matrix), what=what, squares=False)
    return matrix
