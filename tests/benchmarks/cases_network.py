"""The networks: their rate on prepared tensors, the weights of the published one, and how soon it answers."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmarks import material
from tests.benchmarks.flops import gigaflops_per_image
from tests.benchmarks.measuring import CORES, Case, Measured, best_start, command, require, resident

BATCH = 64  # images of the network's cases; torch-fidelity's default batch
TAPS = ["2048", "logits_unbiased"]  # what torch-fidelity asks for with FID and IS


def extractor() -> Case:
    import genmetrics_rt as gm

    network = gm.FeatureExtractor("scattering", device="cpu", threads=CORES, spinning=True)
    tensors = np.random.default_rng(0).uniform(0, 255, (1024, 3, 128, 128)).astype(np.float32)
    network.run(tensors[:64])
    return Case(lambda: network.run(tensors), 3, images=1024)


# --- the network of FID on prepared tensors -----------------------------------------------------------------------


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH, 3, 299, 299), dtype=np.uint8)


def _rate(open_network: Callable[[], Callable[[Any], object]], images: Any) -> Case:
    """One pass to warm up; the peak includes the network."""
    held = resident()
    network = open_network()
    network(images)
    return Case(lambda: network(images), 3, images=BATCH, held=held)


def _eager(open_module: Callable[[], Any], images: Any) -> Case:
    import torch

    torch.set_num_threads(CORES)
    torch.set_grad_enabled(False)
    return _rate(open_module, images)


def network_torch_fidelity() -> Case:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    given = {"feature_extractor_weights_path": str(material.checkpoint())}
    return _eager(lambda: Network("", TAPS, **given), torch.from_numpy(_pixels()))


def network_pytorch_fid() -> Case:
    import torch
    from pytorch_fid.inception import InceptionV3

    material.checkpoint()
    os.environ |= material.environment(material.shared())
    return _eager(lambda: InceptionV3().eval(), torch.from_numpy(_pixels()).float() / 255)


def _network(backend: str) -> Case:
    import genmetrics_rt as gm

    if backend == "torchscript":
        import torch

        torch.set_num_threads(CORES)
    os.environ |= material.environment(material.home())
    options = {"device": "cpu", "backend": backend, "threads": CORES}
    tensors = (_pixels().astype(np.float32) - 128) / 128
    return _rate(lambda: gm.FeatureExtractor(material.weightless(), **options).run, tensors)


def network_onnx() -> Case:
    return _network("onnx")


def network_torchscript() -> Case:
    return _network("torchscript")


def network_limit() -> Measured:
    """As if its convolutions ran at the rate of the faster matrix product, and the rest cost nothing."""
    gigaflops = gigaflops_per_image()
    rates = _sgemm_rates()
    fastest = max(rates, key=rates.__getitem__)
    seconds = BATCH * gigaflops * 1e9 / rates[fastest]
    listed = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    note = f"{BATCH / seconds:.3g} images/s: {gigaflops:.2f} GFLOP an image, {fastest}'s sgemm (GFLOP/s: {listed})"
    return Measured(seconds, note=note)


def _sgemm_rates(size: int = 2048) -> dict[str, float]:
    """FLOP a second of float32 products, best of ten each, in turns."""
    import torch

    torch.set_num_threads(CORES)
    a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
    ours, theirs = np.empty_like(a), torch.empty(size, size)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    products = {"numpy": lambda: np.matmul(a, b, out=ours), "torch": lambda: torch.matmul(x, y, out=theirs)}
    rates = dict.fromkeys(products, 0.0)
    for _ in range(10):
        for name, product in products.items():
            start = time.perf_counter()
            product()
            rates[name] = max(rates[name], 2 * size**3 / (time.perf_counter() - start))
    return rates


# --- its weights, and its first image -----------------------------------------------------------------------------


def weights_assemble() -> Measured:
    arguments, folder = material.fetch(), material.shared() / "assembled"
    runs = []
    for _ in range(3):
        runs.append(command(arguments, material.environment(folder)))
        shutil.rmtree(folder)
    best = min(run.seconds for run in runs)
    return Measured(best, max(run.megabytes for run in runs), f"{material.checkpoint().stat().st_size / 1e6:.0f} MB")


FIRST_IMAGE_OURS = """
import sys, time; start = time.perf_counter()
import numpy as np, genmetrics_rt as gm
network = gm.FeatureExtractor(sys.argv[1], device="cpu", batch_size=int(sys.argv[2]))
network([np.zeros((299, 299, 3), np.uint8)])
print(time.perf_counter() - start)
"""
FIRST_IMAGE_TORCH_FIDELITY = """
import sys, time; start = time.perf_counter()
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
network = FeatureExtractorInceptionV3("", sys.argv[2:], feature_extractor_weights_path=sys.argv[1])
with torch.no_grad():
    network(torch.zeros((1, 3, 299, 299), dtype=torch.uint8))
print(time.perf_counter() - start)
"""


def first_image_torch_fidelity() -> Measured:
    require("torch_fidelity")
    return best_start(FIRST_IMAGE_TORCH_FIDELITY, material.checkpoint(), *TAPS)


def _first_image(batch_size: int) -> Measured:
    given = (material.weightless(), str(batch_size))
    return best_start(FIRST_IMAGE_OURS, *given, environment=material.environment(material.home()))


def first_image_ours() -> Measured:
    return _first_image(batch_size=1)


def first_image_ours_batch() -> Measured:
    return _first_image(batch_size=8)
