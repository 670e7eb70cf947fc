"""Inception Score, from "Improved Techniques for Training GANs" (Salimans et al., 2016), on any class logits.

On the bias-free 1008 logits of the ImageNet Inception this is the published score; on other classes it is the same
formula with another meaning, and reports call it the class score.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.kernels import NUMPY, Kernels
from genmetrics_rt.uncertainty import NUM_GROUPS, Uncertainty, jackknifed


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (ddof 0) over the splits, the score of each; how sure the mean is."""

    mean: float
    std: float
    splits: tuple[float, ...]
    uncertainty: Uncertainty | None = None


def inception_score(
    logits: NDArray[Any],
    *,
    splits: int = 10,
    shuffle: bool = True,
    seed: int = 2020,
    split_rule: str = "floor",
    block_size: int = 5000,
    kernels: Kernels = NUMPY,
    groups: IntArray | None = None,
) -> InceptionScore:
    """``exp(E_x KL(p(y|x) ‖ p(y)))``, with p(y) the mean over each split.

    Higher is better; between 1 and the number of classes (and never above the rows of a split). Small N biases it
    down. It looks at generated images only: neither copying nor lost variety within a class shows.

    Parameters
    ----------
    logits : (N, C)
        Before softmax. For published comparison: the 1008 bias-free ones.
    splits : int
        How many parts are scored on their own; the score is the mean over them.
    shuffle : bool
        Permute the rows first, by ``RandomState(seed)`` as torch-fidelity does. Without it a folder sorted by class
        scores near 1.
    split_rule : str
        ``"floor"``: split i holds rows ``i·N//splits`` to ``(i+1)·N//splits`` (the original, torch-fidelity, StyleGAN).
        ``"ceil"``: parts of ``⌈N/splits⌉`` rows, the last ones shorter or missing (torchmetrics).
        ``"blocks"``: parts of ``block_size`` rows whatever ``splits`` says, the last shorter (guided-diffusion).

    groups : (N,)
        Of `genmetrics_rt.uncertainty.groups_of`, for a standard error by the jackknife within the splits.

    Raises
    ------
    TooFewImages
        Fewer rows than splits.
    """
    values = as_features(logits, what="logits").astype(np.float64)
    if splits < 1:
        raise InputError(f"splits is {splits}; it must be at least 1.")
    if len(values) < splits:
        raise TooFewImages(
            f"The class score in {splits} splits needs at least {splits} images; there are {len(values)}. "
            "Add images, or ask for fewer splits."
        )
    if shuffle:
        order = np.random.RandomState(seed).permutation(len(values))
        values, groups = values[order], None if groups is None else groups[order]
    edges = _edges(len(values), splits, split_rule, block_size)
    scores = [float(np.exp(kernels.kl_divergence(values[a:b]))) for a, b in pairwise(edges)]
    mean, uncertainty = float(np.mean(scores)), None
    if groups is not None:
        without = [_without_each_group(values[a:b], groups[a:b]) for a, b in pairwise(edges)]
        uncertainty = jackknifed(mean, np.mean(without, axis=0), bounds=(1.0, np.inf))
    return InceptionScore(mean, float(np.std(scores)), tuple(scores), uncertainty)


def _without_each_group(logits: FloatArray, groups: IntArray) -> FloatArray:
    """(G,) the score of one split without each group, from sums over the groups."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_conditional = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    conditional = np.exp(log_conditional)
    negative = np.sum(conditional * np.where(conditional > 0, log_conditional, 0), axis=1)  # (n,) Σ p ln p
    member = np.eye(NUM_GROUPS)[groups]  # (n, G)
    left = np.maximum(len(groups) - member.sum(axis=0), 1)
    marginal = (conditional.sum(axis=0) - member.T @ conditional) / left[:, None]  # (G, C)
    positive = marginal > 0
    entropy = -np.sum(np.where(positive, marginal * np.log(np.where(positive, marginal, 1)), 0), axis=1)
    scores: FloatArray = np.exp((negative.sum() - member.T @ negative) / left + entropy)
    return scores


def _edges(rows: int, splits: int, rule: str, block_size: int) -> list[int]:
    """Where each part begins, and the end."""
    if rule == "floor":
        return [i * rows // splits for i in range(splits + 1)]
    if rule not in ("ceil", "blocks"):
        raise InputError(f"split_rule is {rule!r}; it must be 'floor', 'ceil' or 'blocks'.")
    size = block_size if rule == "blocks" else -(-rows // splits)
    if size < 1:
        raise InputError(f"block_size is {size}; it must be at least 1.")
    return [*range(0, rows, size), rows]
