"""What the examples must show, measured: who recognises the samples, precision and recall, and memorisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.examples.classifier import Classifier, as_input
from export.examples.memoriser import Memoriser
from export.examples.networks import Generator
from genmetrics_rt.metrics.prd import Prd, prd_curve

CONFIDENT = 0.9  # smallest probability at which the judge is said to recognise a picture
BLOCK = 64  # latents are drawn as the instrument draws them (genmetrics_rt/generators.py)

Images = NDArray[np.uint8]  # (N, 32, 32, 3)
Extract = Callable[[Images], NDArray[np.floating]]  # shown pictures → features (N, D)


@dataclass(frozen=True)
class SeedResult:
    """One pair of trainings with one seed. ``prd``: feature space → (VAE, GAN)."""

    seed: int
    prd: dict[str, tuple[Prd, Prd]]
    recognised: tuple[float, float] | None  # shares of the VAE's and the GAN's samples

    def in_order(self, space: str) -> bool:
        """Whether the VAE has the higher recall and the GAN the higher precision."""
        vae, gan = self.prd[space]
        return vae.f8 > gan.f8 and gan.f1_8 > vae.f1_8


@dataclass(frozen=True)
class Nearness:
    """Mean Euclidean distance to the nearest training picture, in one space."""

    space: str
    samples: float
    held_out: float


def draw(generator: Generator | Memoriser, count: int, seed: int) -> Images:
    """``count`` samples, the same that ``genmetrics evaluate NAME … --seed SEED`` scores."""
    blocks = range(-(-count // BLOCK))
    latents = [
        np.random.default_rng([seed, block]).standard_normal((BLOCK, generator.latent_dim), dtype=np.float32)
        for block in blocks
    ]
    with torch.inference_mode():
        return generator(torch.from_numpy(np.concatenate(latents)[:count]))[0].numpy()


def classify(classifier: Classifier, shown: Images) -> tuple[Tensor, Tensor]:
    """Features (N, D) and class probabilities (N, C)."""
    with torch.inference_mode():
        features, logits = classifier(as_input(torch.from_numpy(shown)))
    return features, logits.softmax(dim=1)


def recognised_share(shown: Images, shipped: Classifier, judge: Classifier) -> float:
    """Share of pictures that the judge assigns with probability ≥ 0.9 to the class that the shipped one names too."""
    probability, verdict = classify(judge, shown)[1].max(dim=1)
    agreed = verdict == classify(shipped, shown)[1].argmax(dim=1)
    return float(((probability >= CONFIDENT) & agreed).float().mean())


def accuracy(classifier: Classifier, shown: Images, labels: NDArray[np.int64]) -> float:
    """Share of pictures whose most probable class is the right one."""
    return float((classify(classifier, shown)[1].argmax(dim=1).numpy() == labels).mean())


def prd_between(
    generated: Images, reference: dict[str, NDArray[np.floating]], spaces: dict[str, Extract]
) -> dict[str, Prd]:
    """PRD of as many samples as reference pictures, in each space. ``reference`` holds the features of the latter."""
    return {space: prd_curve(extract(generated), reference[space], seed=0) for space, extract in spaces.items()}


def nearness(samples: Images, train: Images, held_out: Images, spaces: dict[str, Extract]) -> list[Nearness]:
    """How near samples, and real pictures not trained on, lie to the training pictures. Memorising shows here."""
    from scipy.spatial.distance import cdist

    found = []
    for space, extract in spaces.items():
        known, drawn, fresh = (np.asarray(extract(images), np.float64) for images in (train, samples, held_out))
        found.append(Nearness(space, cdist(drawn, known).min(axis=1).mean(), cdist(fresh, known).min(axis=1).mean()))
    return found


def gap_interval(gaps: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds with its 95 % interval (Student's t)."""
    from scipy.stats import t

    values = np.asarray(gaps)
    if len(values) < 2:
        return float(values.mean()), float("-inf"), float("inf")
    margin = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - margin), float(values.mean() + margin)
