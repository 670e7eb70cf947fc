"""Improved precision and recall, and realism, from "Improved Precision and Recall Metric for Assessing Generative
Models" (Kynkäänniemi et al., 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.manifold import Manifold


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares between 0 and 1; higher is better."""

    precision: float
    recall: float


def precision_recall(
    generated: Any, reference: Any, *, nearest_k: int = 3, border_counts: bool = True, manifold: Manifold | None = None
) -> PrecisionRecall:
    """The share of generated features inside the reference's balls, and of reference features inside the generated's.

    A ball reaches from a row to its ``nearest_k``-th nearest other row. Both shares depend on the numbers of images:
    compare at equal ones. One outlier in the reference has a large ball and can inflate precision.

    Parameters
    ----------
    generated : (M, D)
    reference : (N, D)
    nearest_k : int
        3 in the paper; 5 in prdc and dgm-eval. Both shares rise with it.
    border_counts : bool
        True compares by ``<=`` (the paper's code, StyleGAN, ADM, torch-fidelity), False by ``<`` (prdc, dgm-eval).
        Only ties differ, but a copy of a duplicated reference image is a tie.
    manifold : Manifold
        Of the same features, where it exists already.

    Raises
    ------
    TooFewImages
        Not more than ``nearest_k`` images on a side.
    FeatureMismatch, NonFiniteFeatures
    """
    manifold = manifold or Manifold(generated, reference, nearest_k=nearest_k)
    return PrecisionRecall(
        precision=float(manifold.generated_inside(nearest_k, border_counts=border_counts).mean()),
        recall=float(manifold.reference_inside(nearest_k, border_counts=border_counts).mean()),
    )


def realism(generated: Any, reference: Any, *, nearest_k: int = 3, manifold: Manifold | None = None) -> FloatArray:
    """(M,) realism of each generated image: ``max over reference r of radius(r) / distance(g, r)``.

    Higher is more realistic; 1 or more means inside a ball. Only balls with a radius strictly below the median count
    (up to the median, where none is below), so that outliers of the reference make nothing realistic. An exact copy
    of a reference image gets infinity. Distances are not squared: the paper's own code returns the square of this.

    Parameters and errors as in `precision_recall`.
    """
    if manifold is None or manifold.realism_k != nearest_k:
        manifold = Manifold(generated, reference, nearest_k=nearest_k, realism_k=nearest_k)
    assert manifold.realism is not None
    return manifold.realism
