"""The example generators side by side, measured on their frozen files by the instrument itself.

Scores on the classifier's features, the time that a sample takes, and what the densities say of training and held-out
pictures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.frozen import open_graph

GENERATORS = ("vae", "cvae", "gan", "memoriser", "flow", "diffusion")
DENSITIES = ("vae-density", "flow-density")
METRICS = ("fd", "precision", "recall", "prd_f8", "prd_f1_8", "density", "coverage", "class_score")
DRAWS = (1, 5, 50, 500)  # K of the bounds
BLOCK = 64
TIMED_BLOCKS = 10


@dataclass(frozen=True)
class Family:
    """One generator, or the held-out pictures in the place of one."""

    role: str
    scores: dict[str, float]
    milliseconds: float | None  # for one sample, in batches of 64 on one core
    kilobytes: float | None  # of the ONNX file


@dataclass(frozen=True)
class Bound:
    """L_K in nats, averaged over the pictures of one part, with its standard error."""

    role: str
    draws: int
    part: str  # "training" or "held-out"
    mean: float
    standard_error: float
    bits_per_dim: float


def measure_families(bundles: Path, reference: Path, name: str) -> tuple[Family, ...]:
    """Every generator of ``bundles``, as many samples as there are pictures in ``reference``, an NPZ file.

    The last entry compares the held-out pictures with the training pictures: what real pictures score.
    """
    from genmetrics_rt import evaluate

    with np.load(reference) as file:
        images, is_train = file["images"], file["is_train"]
    options = {"extractor": str(bundles / f"{name}-classifier"), "metrics": METRICS, "device": "cpu", "cache": False}
    found = []
    for role in GENERATORS:
        folder = bundles / f"{name}-{role}"
        report = evaluate(str(folder), str(reference), num_images=len(images), **options)
        bundle = load_bundle(folder)
        size = bundle.manifest.record["files"]["graph.onnx"]["bytes"] / 1000
        found.append(Family(role, _values(report), _milliseconds(bundle), size))
    report = evaluate(_rgb(images[~is_train]), _rgb(images[is_train]), **options)
    return (*found, Family("held-out pictures", _values(report), None, None))


def measure_bounds(bundles: Path, reference: Path, name: str) -> tuple[Bound, ...]:
    """L_K of every density for each K of `DRAWS`, on training and on held-out pictures."""
    with np.load(reference) as file:
        images, is_train = _rgb(file["images"]), file["is_train"]
    return tuple(
        bound
        for role in DENSITIES
        for bound in _bounds(role, load_bundle(bundles / f"{name}-{role}"), images, is_train)
    )


def obedience(bundles: Path, name: str) -> float:
    """Share of the class-conditional VAE's samples, as many of each class, that the classifier gives that class."""
    from genmetrics_rt.extractor import FeatureExtractor

    bundle = load_bundle(bundles / f"{name}-cvae")
    inputs = _inputs(bundle, 1000, np.random.default_rng(0))
    images = open_graph(bundle, device="cpu", threads=1).run(inputs)["images"]
    _, logits = FeatureExtractor(str(bundles / f"{name}-classifier"), device="cpu", threads=1)(images)
    assert logits is not None
    return float((logits.argmax(axis=1) == inputs["labels"]).mean())


def _bounds(role: str, bundle: Bundle, images: NDArray[np.uint8], is_train: NDArray[np.bool_]) -> Iterator[Bound]:
    graph = open_graph(bundle, device="cpu", threads=1)
    about = bundle.manifest.record["density"]
    noise = about["noise"]
    weights = []
    for first in range(0, len(images), BLOCK):
        batch = images[first : first + BLOCK]
        rng = np.random.default_rng([0, first])
        shape = (len(batch), DRAWS[-1], noise["dim"])
        if noise["distribution"] == "uniform":
            drawn = rng.random(shape, dtype=np.float32)
        else:
            drawn = rng.standard_normal(shape, dtype=np.float32)
        weights.append(graph.run({"images": batch, "noise": drawn})["log_weights"].astype(np.float64))
    of_all = np.concatenate(weights)
    for draws in DRAWS:
        values = np.logaddexp.reduce(of_all[:, :draws], axis=1) - math.log(draws)
        for part, chosen in (("training", is_train), ("held-out", ~is_train)):
            mean = float(values[chosen].mean())
            error = float(values[chosen].std(ddof=1) / math.sqrt(chosen.sum()))
            bits = -mean / (about["dim"] * math.log(2)) + about["offset_bits"]
            yield Bound(role, draws, part, mean, error, bits)


def _milliseconds(bundle: Bundle) -> float:
    """The fastest of `TIMED_BLOCKS` batches."""
    graph = open_graph(bundle, device="cpu", threads=1)
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(TIMED_BLOCKS):
        inputs = _inputs(bundle, BLOCK, rng)
        start = time.perf_counter()
        graph.run(inputs)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / BLOCK


def _inputs(bundle: Bundle, count: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Latents, and labels where the generator takes them: as many of each class."""
    inputs = {"latent": rng.standard_normal((count, bundle.manifest.latent["dim"]), dtype=np.float32)}
    classes = bundle.manifest.record.get("classes")
    return inputs | ({"labels": np.arange(count) % classes["count"]} if classes else {})


def _values(report: object) -> dict[str, float]:
    return {key: report.scores[key].value for key in METRICS}


def _rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(images[..., None], 3, axis=-1) if images.ndim == 3 else images
