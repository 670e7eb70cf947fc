"""The cases: each prepares its arrays, then returns the function to be timed, how often, and perhaps a note."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

Case = tuple[Callable[[], object], int]  # what is timed, repetitions
D = 2048
_NOTES: dict[str, str] = {}


def run(name: str) -> None:
    """Time one case and print its figures as JSON."""
    warnings.simplefilter("ignore")
    work, repetitions = globals()[name]()
    before = _resident()
    peak = _Peak()
    times = []
    with peak:
        for _ in range(repetitions):
            start = time.perf_counter()
            answer = work()
            times.append(time.perf_counter() - start)
    seconds = float(answer) if name.startswith(("import_", "install_", "job_")) else min(times)
    print(json.dumps({"seconds": seconds, "megabytes": (peak.bytes - before) / 1e6, "note": _NOTES.get(name, "")}))


class _Peak:
    """Peak resident memory while it is open, sampled every 2 ms (ru_maxrss would include the preparation)."""

    def __enter__(self) -> _Peak:
        self.bytes, self._stop = _resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.bytes = max(self.bytes, _resident())

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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
    return (lambda: float(np.trace(scipy.linalg.sqrtm(a @ b).real))), 1


def trace_scipy_sqrtm() -> Case:
    return _sqrtm(5000)


def sqrtm_1000() -> Case:
    return _sqrtm(1000)


def trace_eigvals() -> Case:
    a, b = _covariances()
    return (lambda: float(np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum())), 1


def _trace(implementation: str) -> Case:
    import genmetrics_rt as gm

    a, b = _covariances()
    kernels = gm.load_kernels(implementation)
    return (lambda: kernels.trace_sqrtm(a, b)), 3 if implementation == "numpy" else 1


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
    return (lambda: gm.frechet_distance(a, b)), 3


def frechet_5000() -> Case:
    return _frechet(5000)


def frechet_1000() -> Case:
    return _frechet(1000)


# --- neighbours -------------------------------------------------------------------------------------------------


def prdc_peer() -> Case:
    from prdc import compute_prdc

    a, b = _features(5000), _features(5000, seed=1, shift=0.1)
    return (lambda: compute_prdc(real_features=b, fake_features=a, nearest_k=5)), 2


def prdc_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000), _features(5000, seed=1, shift=0.1)

    def work() -> object:
        manifold = gm.Manifold(a, b, nearest_k=5)
        return gm.precision_recall(a, b, manifold=manifold), gm.density_coverage(a, b, manifold=manifold)

    return work, 3


def prdc_products() -> Case:
    """The float32 products that any exact pass needs: a full cross block and two symmetric halves."""
    a, b = _features(5000), _features(5000, seed=1, shift=0.1)

    def work() -> None:
        for start in range(0, 5000, 1000):
            a[start : start + 1000] @ b.T
            a[start : start + 1000] @ a[start:].T
            b[start : start + 1000] @ b[start:].T

    return work, 3


# --- KID and PRD ------------------------------------------------------------------------------------------------


def kid_torch_fidelity() -> Case:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = (torch.from_numpy(_features(5000, seed=seed)) for seed in (0, 1))
    return (lambda: kid_features_to_metric(a, b, kid_subsets=100, kid_subset_size=1000, verbose=False)), 1


def kid_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000), _features(5000, seed=1)
    return (lambda: gm.kernel_distance(a, b)), 1


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

    return work, 1


def prd_ours() -> Case:
    import genmetrics_rt as gm

    a, b = _features(5000, 256), _features(5000, 256, seed=1, shift=0.1)
    return (lambda: gm.prd_curve(a, b)), 1


# --- extractor and whole job ------------------------------------------------------------------------------------


def extractor() -> Case:
    import genmetrics_rt as gm

    network = gm.FeatureExtractor("scattering", device="cpu", threads=2, spinning=True)
    tensors = np.random.default_rng(0).uniform(0, 255, (1024, 3, 128, 128)).astype(np.float32)
    network.run(tensors[:64])
    start = time.perf_counter()
    network.run(tensors)
    _NOTES["extractor"] = f"{1024 / (time.perf_counter() - start):.0f} images/s"
    return (lambda: network.run(tensors)), 2


def _jpeg_folder(folder: Path, seed: int, count: int = 1000) -> None:
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir()
    for index in range(count):
        coarse = rng.uniform(0, 255, (10, 10, 3)).astype(np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:04d}.jpg", quality=90)


def _job(reference_first: bool) -> Case:
    root = Path(tempfile.mkdtemp(prefix="genmetrics-bench-"))
    environment = {**os.environ, "GENMETRICS_HOME": str(root / "home")}
    _jpeg_folder(root / "out", 0)
    _jpeg_folder(root / "real", 1)
    command = [sys.executable, "-m", "genmetrics_rt"]
    real = root / "real"
    if reference_first:
        real = root / "real.npz"
        subprocess.run([*command, "reference", root / "real", "-o", real, "-q"], check=True, env=environment)
        shutil.rmtree(root / "home")

    def work() -> float:
        start = time.perf_counter()
        arguments = ["evaluate", root / "out", real, "-q", "--html", root / "report.html"]
        subprocess.run([*command, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        shutil.rmtree(root)
        return seconds

    return work, 1


def job_cached_reference() -> Case:
    return _job(reference_first=True)


def job_two_folders() -> Case:
    return _job(reference_first=False)


# --- start ------------------------------------------------------------------------------------------------------


def _import(statement: str) -> Case:
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"

    def work() -> float:
        runs = [
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(4)
        ]
        return min(float(done.stdout) for done in runs[1:])

    return work, 1


def import_ours() -> Case:
    return _import("import genmetrics_rt")


def import_torch_fidelity() -> Case:
    return _import("import torch_fidelity")


def import_torchmetrics() -> Case:
    return _import("import torchmetrics.image.fid")


def install_ours() -> Case:
    """Needs a package index; the size is that of the whole environment."""
    root = Path(tempfile.mkdtemp(prefix="genmetrics-install-"))
    project = Path(__file__).parents[2]

    def work() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
        pip = [root / "venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"{project}[cpu]"], check=True)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        _NOTES["install_ours"] = f"{size / 1e6:.0f} MB"
        shutil.rmtree(root)
        return seconds

    return work, 1
