"""Whether each factor of a latent changes one thing: variation predictability (Zhu, Xu, Tao, CVPR 2020).

Pictures are made in pairs whose latents differ in one factor alone. If the factors are disentangled, the difference of
the two pictures tells which factor it was, and a few examples teach it. A linear discriminant is trained on the
absolute feature differences of five pairs for each factor and asked about others:

    score = share of held-out pairs whose factor is named rightly; chance is 1 / number of factors

Few examples are the point, as in the paper: with many, a rule can be learnt for factors that all change everything in
fixed proportions. The paper trains a small network on the pictures; a closed form on frozen features gives the same
answer on every machine. Scores compare only at the same features and the same number of factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.generator_files import Factor
from genmetrics_rt.latent.path_length import DrawLatents, Generate

NUM_BASES = 200
LABEL = -1  # in the place of a latent dimension: the class
_EXAMPLES = 5  # pairs for each factor that the rule is trained on
_GROUPS = 8  # disjoint groups of latents, over whose scores the interval is taken
_T_95 = 2.364624251592785  # of Student's t with 7 degrees of freedom
_SHRINKAGE = 0.1  # of the pooled covariance towards a multiple of the identity
_BATCH = 64


@dataclass(frozen=True)
class FactorEffect:
    """What one factor does: ``effect``, how far a picture moves in the features when it alone is drawn again, over the
    distance of unrelated pictures; ``recognised``, the share of its held-out pairs that were named rightly.
    """

    name: str
    dims: tuple[int, ...]
    effect: float
    recognised: float


@dataclass(frozen=True)
class Disentanglement:
    """How well the difference of two pictures tells which factor made it."""

    score: float
    standard_error: float
    interval: tuple[float, float]
    chance: float
    factors: tuple[FactorEffect, ...]
    num_pairs: int
    num_training_pairs: int  # of them, for each rule; it is asked about others
    features: str
    declared: bool  # whether the generator declares these factors, or they were asked for
    confusion: FloatArray = field(repr=False)  # (F, F): row the factor that changed, column the one that was named

    @property
    def is_chance(self) -> bool:
        """Whether the interval reaches the score of guessing."""
        return self.interval[0] <= self.chance


def factors_over(
    what: str, *, latent_dim: int, num_classes: int, declared: Sequence[Factor] = (), most: int = 32
) -> tuple[Factor, ...]:
    """The factors to look at: ``"declared"``, ``"dims"`` (each latent dimension, the first 32), or ``"classes"`` (the
    class against the rest of the latent).
    """
    if what == "declared":
        return tuple(declared)
    if what == "dims":
        return tuple(Factor(f"dimension {place}", (place,)) for place in range(min(latent_dim, most)))
    if what == "classes":
        if not num_classes:
            raise InputError("The generator has no classes, so it has no factor class. Use dims.")
        return (Factor("class", (LABEL,)), Factor("latent", tuple(range(latent_dim))))
    raise InputError(f"factors is {what!r}; use declared, dims or classes.")


def disentanglement(
    generate: Generate,
    features: Callable[[Any], Any],
    draw: DrawLatents,
    factors: Sequence[Factor],
    *,
    num_bases: int = NUM_BASES,
    num_classes: int = 0,
    seed: int = 2020,
    named: str = "",
    declared: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Disentanglement:
    """Variation predictability over ``factors``, from ``num_bases`` latents with one pair for each factor.

    Parameters
    ----------
    generate, features
        Latents (N, L) and labels (N,) or None → images, → features (N, D).
    draw
        How latents are drawn from a ``RandomState``.

    Raises
    ------
    TooFewImages
        Fewer than two factors, or fewer than 80 bases.
    """
    count = len(factors)
    if count < 2:
        raise TooFewImages(f"Disentanglement compares factors, and there is {count or 'none'}. Name at least two.")
    if num_bases < 2 * _EXAMPLES * _GROUPS:
        raise TooFewImages(
            f"{num_bases} latents are too few to train and test on. Use at least {2 * _EXAMPLES * _GROUPS}."
        )
    rng = np.random.RandomState(seed)
    base, other = draw(rng, num_bases), draw(rng, num_bases)
    labels = rng.randint(0, num_classes, num_bases).astype(np.int64) if num_classes else None
    shift = rng.randint(1, max(num_classes, 2), num_bases).astype(np.int64)
    done, total = 0, num_bases * (count + 1)

    def rows(latents: FloatArray, classes: NDArray[np.int64] | None) -> FloatArray:
        nonlocal done
        parts = []
        for start in range(0, len(latents), _BATCH):
            part = slice(start, start + _BATCH)
            images = generate(latents[part], None if classes is None else classes[part])
            parts.append(np.asarray(features(images), dtype=np.float64))
            done += len(parts[-1])
            if progress is not None:
                progress(done, total)
        return np.concatenate(parts)

    at_base = rows(base, labels)
    unrelated = float(np.linalg.norm(at_base - np.roll(at_base, 1, axis=0), axis=1).mean())
    changes = []
    for factor in factors:
        changed, classes = base.copy(), labels
        dims = [place for place in factor.dims if place != LABEL]
        changed[:, dims] = other[:, dims]
        if LABEL in factor.dims and labels is not None:
            classes = (labels + shift) % num_classes
        changes.append(np.abs(rows(changed, classes) - at_base))
    size = np.stack([np.linalg.norm(change, axis=1) for change in changes], axis=1)  # (bases, F)
    directions = np.stack(changes, axis=1) / np.maximum(size, 1e-12)[..., None]  # (bases, F, D)

    confusion = np.zeros((count, count))
    scores = []
    for group in np.array_split(np.arange(num_bases), _GROUPS):
        of_group = np.zeros((count, count))
        for training in np.split(group[: len(group) // _EXAMPLES * _EXAMPLES], len(group) // _EXAMPLES):
            asked = directions[np.setdiff1d(group, training)]
            answers = _discriminant(directions[training])(asked.reshape(-1, asked.shape[-1])).reshape(-1, count)
            for index in range(count):
                of_group[index] += np.bincount(answers[:, index], minlength=count)
        of_group /= of_group.sum(axis=1, keepdims=True)
        scores.append(float(np.trace(of_group)) / count)
        confusion += of_group / _GROUPS
    score = float(np.mean(scores))
    error = float(np.std(scores, ddof=1)) / math.sqrt(_GROUPS)
    return Disentanglement(
        score=score,
        standard_error=error,
        interval=(max(0.0, score - _T_95 * error), min(1.0, score + _T_95 * error)),
        chance=1 / count,
        factors=tuple(
            FactorEffect(
                factor.name,
                factor.dims,
                float(size[:, index].mean() / unrelated) if unrelated > 0 else 0.0,
                float(confusion[index, index]),
            )
            for index, factor in enumerate(factors)
        ),
        num_pairs=num_bases * count,
        num_training_pairs=_EXAMPLES * count,
        features=named,
        declared=declared,
        confusion=confusion,
    )


def _discriminant(directions: FloatArray) -> Callable[[FloatArray], NDArray[np.intp]]:
    """A linear discriminant from (bases, F, D): class means, and their pooled covariance, shrunk so that it inverts."""
    means = directions.mean(axis=0)  # (F, D)
    residuals = (directions - means).reshape(-1, directions.shape[-1])
    covariance = residuals.T @ residuals / max(len(residuals) - len(means), 1)
    level = float(np.trace(covariance)) / len(covariance)
    shrunk = (1 - _SHRINKAGE) * covariance + (_SHRINKAGE * level + 1e-12) * np.eye(len(covariance))
    weights = np.linalg.solve(shrunk, means.T)  # (D, F)
    bias = -0.5 * (means.T * weights).sum(axis=0)

    def rule(rows: FloatArray) -> NDArray[np.intp]:
        answers: NDArray[np.intp] = (rows @ weights + bias).argmax(axis=1)
        return answers

    return rule
