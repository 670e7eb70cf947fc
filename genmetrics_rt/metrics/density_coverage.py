"""Density and coverage, from "Reliable Fidelity and Diversity Metrics for Generative Models" (Naeem et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.manifold import Manifold


@dataclass(frozen=True)
class DensityCoverage:
    """Density is at least 0, about 1 for a perfect model; coverage is a share. Higher is better."""

    density: float
    coverage: float


def density_coverage(
    generated: Any, reference: Any, *, nearest_k: int = 5, border_counts: bool = False, manifold: Manifold | None = None
) -> DensityCoverage:
    """How many reference balls hold a generated image, and how many reference balls hold one at all.

    ``density = 1/(k M) · Σ_g #{r : d(g, r) < r_k(r)}``, ``coverage = 1/N · #{r : min_g d(g, r) < r_k(r)}``, with balls
    around reference images only, so that an outlier among the generated images inflates nothing.

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
    nearest_k : int
        5 in the paper.
    border_counts : bool
        False compares by ``<`` (the paper's code). With ``<=`` identical sets have a density of (k + 1)/k.
    manifold : Manifold
        Of the same features, where it exists already.

    Raises
    ------
    TooFewImages
        Not more than ``nearest_k`` images on a side.
    FeatureMismatch, NonFiniteFeatures
    """
    manifold = manifold or Manifold(generated, reference, nearest_k=nearest_k)
    pairs = manifold.num_pairs(nearest_k, border_counts=border_counts)
    return DensityCoverage(
        density=pairs / (nearest_k * manifold.num_generated),
        coverage=float(manifold.reference_covered(nearest_k, border_counts=border_counts).mean()),
    )


def expected_coverage(num_reference: int, num_generated: int, nearest_k: int = 5) -> float:
    """The coverage that a perfect model has on average: ``1 − Π_{j=1…k} (N − j)/(N + M − j)``, in any dimension.

    The paper's lemma for finite N and M; 1 − 2^−k for many images and N = M (0.969 for k = 5).
    """
    j = np.arange(1, nearest_k + 1)
    return float(1 - np.prod((num_reference - j) / (num_reference + num_generated - j)))
