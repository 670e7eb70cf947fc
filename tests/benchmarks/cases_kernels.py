"""The numeric cases, on arrays. Each prepares them, then returns what is to be timed and how often."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.measuring import Case

D = 2048


def _features(rows: int, dimension: int = D, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Correlated, non-negative, heavy-tailed: nearer to pool features than white noise is."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((64, dimension)) / 8
    latent = rng.standard_normal((rows, 64)) + shift
    return np.maximum(latent @ mixing + 0.3 * rng.standard_normal((rows, dimension)), 0).astype(np.float32)


def _covariances(rows: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    return np.cov(_features(rows).T), np.cov(_features(rows, seed=1, shift=0.1).T)


# --- trace of the square root -----------------------------------------------------------------------------------


def _sqrtm(rows: int) -> Case:
    import scipy.linalg

    a, b = _covariances(rows)
    return Case(lambda: float(np.trace(scipy.linalg.sqrtm(a @ b).real)), 1)


def trace_scipy_sqrtm() -> Case:
    return _sqrtm(5000)


def sqrtm_1000() -> Case:
    return _sqrtm(1000)


def trace_eigvals() -> Case:
    a, b = _covariances()
    return Case(lambda: float(np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum()), 1)


def _trace(implementation: str) -> Case:
    import genmetrics_rt as gm

    a, b = _covariances()
    kernels = gm.load_kernels(implementation)
    return Case(lambda: kernels.trace_sqrtm(a, b), 3 if implementation == "numpy" else 1)


def trace_ours() -> Case:
    return _trace("numpy")


def trace_onnx() -> Case:
    return _trace("onnx")


def trace_torchscript() -> Case:
    return _trace("torchscript")


# --- Fréchet distance -------------------------------------------------------------------------------------------


def _frechet(rows: int) -> Case:
    import genmetrics_rt as gm

    a, b = _features(rows), _features(rows, seed=1, shift=0.1)
    return Case(lambda: gm.frechet_distance(a, b), 3)


def frechet_5000() -> Case:
    return _frechet(5000)


def frechet_1000() -> Case:
    return _frechet(1000)


# --- neighbours -------------------------------------------------------------------------------------------------


def prdc_peer() -> Case:
    from prdc import compute_prdc

    a, b = _features(5000), _features(5000, seed=1, shift=0.1)
    return Case(lambda: compute_prdc(real_features=b, fake_features=a, nearest_k=5), 2)


def prdc_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000), _features(5000, seed=1, shift=0.1)

    def work() -> object:
        manifold = gm.Manifold(a, b, nearest_k=5)
        return gm.precision_recall(a, b, manifold=manifold), gm.density_coverage(a, b, manifold=manifold)

    return Case(work, 3)


def prdc_products() -> Case:
    """The float32 products that any exact pass needs: a full cross block and two symmetric halves."""
    a, b = _features(5000), _features(5000, seed=1, shift=0.1)

    def work() -> None:
        for start in range(0, 5000, 1000):
            a[start : start + 1000] @ b.T
            a[start : start + 1000] @ a[start:].T
            b[start : start + 1000] @ b[start:].T

    return Case(work, 3)


# --- KID and PRD ------------------------------------------------------------------------------------------------


def kid_torch_fidelity() -> Case:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = (torch.from_numpy(_features(5000, seed=seed)) for seed in (0, 1))
    return Case(lambda: kid_features_to_metric(a, b, kid_subsets=100, kid_subset_size=1000, verbose=False), 1)


def kid_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000), _features(5000, seed=1)
    return Case(lambda: gm.kernel_distance(a, b), 1)


def prd_published() -> Case:
    from sklearn.cluster import MiniBatchKMeans

    a, b = _features(5000, 256), _features(5000, 256, seed=1, shift=0.1)

    def work() -> list:
        from genmetrics_rt import prd_from_histograms

        union, curves = np.vstack([a, b]), []
        for _ in range(10):
            labels = MiniBatchKMeans(n_clusters=20, n_init=10).fit(union).labels_
            histograms = [np.bincount(part, minlength=20) / 5000 for part in (labels[:5000], labels[5000:])]
            curves.append(prd_from_histograms(*histograms))
        return curves

    return Case(work, 1)


def prd_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000, 256), _features(5000, 256, seed=1, shift=0.1)
    return Case(lambda: gm.prd_curve(a, b), 1)
