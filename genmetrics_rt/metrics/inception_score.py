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

from genmetrics_rt.arrays import as_features
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.kernels import NUMPY, Kernels


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (ddof 0) over the splits, and the score of each."""

    mean: float
    std: float
    splits: tuple[float, ...]


def inception_score(
    logits: NDArray[Any],
    *,
    splits: int = 10,
    shuffle: bool = True,
    seed: int = 2020,
    split_rule: str = "floor",
    block_size: int = 5000,
    kernels: Kernels = NUMPY,
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
        values = values[np.random.RandomState(seed).permutation(len(values))]
    edges = _edges(len(values), splits, split_rule, block_size)
    scores = [float(np.exp(kernels.kl_divergence(values[a:b]))) for a, b in pairwise(edges)]
    return InceptionScore(mean=float(np.mean(scores)), std=float(np.std(scores)), splits=tuple(scores))


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
