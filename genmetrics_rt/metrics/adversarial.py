"""What the logits of a GAN's discriminator say: confusion matrix, shares, AUC, calibration, and the losses.

Positive is real, and a picture is taken for real where its logit is above 0 (a probability above 1/2); one of exactly 0
counts as generated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.errors import InputError

LOSSES = ("minimax", "non-saturating", "least-squares", "hinge", "wasserstein")
VARIANTS = ("published", "tf-gan", "unhalved")
_WITH_TARGET = ("minimax", "non-saturating", "least-squares")
_CROSS_ENTROPY = ("minimax", "non-saturating")
_TF_GAN_TARGET = 0.875  # its label_smoothing of 0.25 moves the label 1 towards 1/2
CALIBRATION_BINS = 10


class ReliabilityBin(NamedTuple):
    """Pictures whose probability of being real falls into one bin."""

    num_pictures: int
    num_real: int
    total_probability: float

    @property
    def probability(self) -> float:
        """The mean that the discriminator gives; NaN in an empty bin."""
        return self.total_probability / self.num_pictures if self.num_pictures else math.nan

    @property
    def real(self) -> float:
        """The share that is real; NaN in an empty bin."""
        return self.num_real / self.num_pictures if self.num_pictures else math.nan


@dataclass(frozen=True)
class Calibration:
    """Whether the probabilities σ(logit) mean what they say, over real and generated pictures together.

    ``bins`` are of equal width from 0 to 1: the reliability curve is (probability, real) of each.
    """

    nll: float  # mean −ln of the probability given to what a picture is, in nats; ln 2 where all logits are 0
    bins: tuple[ReliabilityBin, ...]

    @property
    def num_pictures(self) -> int:
        return sum(entry.num_pictures for entry in self.bins)

    @property
    def ece(self) -> float:
        """Expected calibration error, ``Σ n_b/n |probability − real|`` over bins; 0 is calibrated (Guo et al. 2017)."""
        gaps = (abs(entry.total_probability - entry.num_real) for entry in self.bins)
        return sum(gaps) / self.num_pictures

    @classmethod
    def pooled(cls, parts: Iterable[Calibration]) -> Calibration:
        """Of all pictures of several steps; the parts must have as many bins. Raises `InputError` for none."""
        known = list(parts)
        if not known:
            raise InputError("There is no calibration to pool. Give the logits of a step at least.")
        total = sum(part.num_pictures for part in known)
        nll = sum(part.num_pictures * part.nll for part in known) / total
        columns = zip(*(part.bins for part in known), strict=True)
        return cls(nll, tuple(ReliabilityBin(*map(sum, zip(*column, strict=True))) for column in columns))


@dataclass(frozen=True)
class DiscriminatorStatistics:
    """What the discriminator made of real and generated pictures at one step.

    ``auc`` is the chance that a real picture has the larger logit, ties half; NaN where only counts are known. At the
    optimum of a GAN accuracy and AUC are 1/2 (Goodfellow et al. 2014); the other shares depend on how ties fall.
    """

    step: int
    real_as_real: int
    real_as_generated: int
    generated_as_real: int
    generated_as_generated: int
    auc: float = float("nan")
    held_out_recall: float | None = None  # share taken for real of real pictures that the discriminator never saw
    calibration: Calibration | None = None  # None where only counts are known

    @property
    def accuracy(self) -> float:
        """Share of all pictures that are told right; NaN where there are none."""
        right = self.real_as_real + self.generated_as_generated
        return right / self.num_pictures if self.num_pictures else math.nan

    @property
    def precision(self) -> float:
        """Share of real ones among those taken for real; 0 where none is."""
        taken = self.real_as_real + self.generated_as_real
        return self.real_as_real / taken if taken else 0.0

    @property
    def recall(self) -> float:
        """Share of real ones that are taken for real; 0 where there are none."""
        real = self.real_as_real + self.real_as_generated
        return self.real_as_real / real if real else 0.0

    @property
    def specificity(self) -> float:
        """Share of generated ones that are taken for generated; 0 where there are none."""
        generated = self.generated_as_real + self.generated_as_generated
        return self.generated_as_generated / generated if generated else 0.0

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity: accuracy as if both kinds were equally many."""
        return (self.recall + self.specificity) / 2

    @property
    def f1(self) -> float:
        """``2 P R / (P + R)``; 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def num_pictures(self) -> int:
        return self.real_as_real + self.real_as_generated + self.generated_as_real + self.generated_as_generated


class GanLosses(NamedTuple):
    """What the two networks minimise, as means over pictures; infinite where a probability is 0 that must not be."""

    discriminator: float
    generator: float


def discriminator_statistics(
    real_logits: Any, generated_logits: Any, *, held_out_logits: Any = (), step: int = 0
) -> DiscriminatorStatistics:
    """The statistics of one step from the discriminator's logits.

    ``AUC = (#{r > g} + ½ #{r = g}) / (n m)`` over pairs of a real and a generated picture (Mann and Whitney 1947).

    Parameters
    ----------
    real_logits : (n,)
        Of real pictures. Of probabilities p take ``log(p / (1 − p))``; infinite logits are fine.
    generated_logits : (m,)
    held_out_logits : (h,)
        Of real pictures that the discriminator was not trained on, if any: they only give ``held_out_recall``.
    step : int
        To know it by.

    Raises
    ------
    InputError
        No real or no generated logit, or one that is no number.
    """
    real, generated = _two_sides(real_logits, generated_logits, f"Step {step}")
    held_out = _logits(held_out_logits, f"Step {step}")
    ordered = np.sort(generated)
    # For each real logit, the generated ones below it, and those below it or equal: half of both together.
    pairs = int(ordered.searchsorted(real, "left").sum()) + int(ordered.searchsorted(real, "right").sum())
    return DiscriminatorStatistics(
        step,
        int((real > 0).sum()),
        int((real <= 0).sum()),
        int((generated > 0).sum()),
        int((generated <= 0).sum()),
        pairs / (2 * len(real) * len(generated)),
        float((held_out > 0).mean()) if len(held_out) else None,
        _calibration_of(real, generated, CALIBRATION_BINS),
    )


def discriminator_calibration(real_logits: Any, generated_logits: Any, *, bins: int = CALIBRATION_BINS) -> Calibration:
    """How far the discriminator's probabilities can be believed: NLL, reliability curve, expected calibration error.

    A picture is real with probability ``p = σ(logit)``; bins part [0, 1] evenly, and p on an edge counts above it.
    Against an optimal discriminator of as many pictures of each kind p is right by itself, so the error is 0. It is
    biased upwards with few pictures in a bin.

    Parameters
    ----------
    real_logits, generated_logits : (n,), (m,)
        As in `discriminator_statistics`. Unlike numbers of both count as they are.
    bins : int

    Raises
    ------
    InputError
        As `discriminator_statistics`, and for no bin.
    """
    if type(bins) is not int or bins < 1:
        raise InputError(f"bins is {bins!r}; a reliability curve needs a whole number of at least 1.")
    return _calibration_of(*_two_sides(real_logits, generated_logits, "The batch"), bins)


def _calibration_of(real: FloatArray, generated: FloatArray, bins: int) -> Calibration:
    logits = np.concatenate([real, generated])
    is_real = np.arange(len(logits)) < len(real)
    nll = float((_softplus(-real).sum() + _softplus(generated).sum()) / len(logits))
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-logits))
    at = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    columns = (np.bincount(at, weights, bins) for weights in (None, is_real, probabilities))
    filled = zip(*(column.tolist() for column in columns), strict=True)
    return Calibration(nll, tuple(ReliabilityBin(count, int(real), total) for count, real, total in filled))


def gradient_penalty(
    gradients: Any, *, weight: float = 10.0, target: float = 1.0, epsilon: float = 0.0, one_sided: bool = False
) -> float:
    """What WGAN-GP adds to the loss of the critic: ``λ mean (‖∇D(x̂)‖ − 1)²`` (Gulrajani et al. 2017).

    ``x̂ = real + u (generated − real)`` with one u of U[0, 1] for each pair. Training has these gradients; logits
    do not tell them.

    Parameters
    ----------
    gradients : (n, ...)
        ∇D at each x̂; or (n,), their norms.
    weight : float
        λ.
    target : float
        The norm that is asked for.
    epsilon : float
        Added inside the root; TF-GAN's is 1e-10.
    one_sided : bool
        Only norms above the target cost.

    Raises
    ------
    InputError
        No gradient, or one that is not finite.
    """
    values = np.asarray(as_numpy(gradients), np.float64)
    if values.ndim == 0 or values.size == 0 or not np.isfinite(values).all():
        raise InputError("A gradient penalty needs finite gradients, one for each picture: (n, ...), or their norms.")
    squares = values**2 if values.ndim == 1 else (values.reshape(len(values), -1) ** 2).sum(axis=1)
    off = np.sqrt(squares + epsilon) - target
    return float(weight * ((np.maximum(off, 0.0) if one_sided else off) ** 2).mean())


def gan_losses(
    real_logits: Any,
    generated_logits: Any,
    *,
    loss: str = "non-saturating",
    real_target: float | None = None,
    variant: str = "published",
) -> GanLosses:
    """The losses of discriminator and generator from logits a = D(real) and b = D(generated), lower is better for each.

    ================== ======================================= ==================== ==================================
    ``loss``           discriminator                           generator            source
    ================== ======================================= ==================== ==================================
    ``minimax``        ``t sp(−a) + (1 − t) sp(a) + sp(b)``    ``−sp(b)``           Goodfellow et al. 2014
    ``non-saturating`` the same                                ``sp(−b)``           Goodfellow et al. 2014
    ``least-squares``  ``½ (a − t)² + ½ b²``                   ``½ (b − 1)²``       Mao et al. 2017
    ``hinge``          ``max(0, 1 − a) + max(0, 1 + b)``       ``−b``               Lim and Ye 2017; Miyato et al. 2018
    ``wasserstein``    ``b − a``                               ``−b``               Arjovsky et al. 2017
    ================== ======================================= ==================== ==================================

    Each is a mean over pictures, with ``sp(x) = ln(1 + eˣ)`` and t = ``real_target``. With all logits 0 the
    cross-entropy of the first two is 2 ln 2, its value at the optimum of the game; against an optimal discriminator it
    is ``2 ln 2 − 2 JS`` of the two distributions. Penalties on gradients are not in logits, so they are not in here:
    see `gradient_penalty`.

    Parameters
    ----------
    real_logits : (n,)
        For ``least-squares``, ``hinge`` and ``wasserstein`` the discriminator's plain output, without a sigmoid.
    generated_logits : (m,)
    loss : str
    real_target : float, optional
        One-sided label smoothing (Salimans et al. 2016): what the discriminator is to say of real pictures, in (0, 1].
        It is the target itself, not the amount of smoothing: TF-GAN's ``label_smoothing=0.25`` is 0.875 here, because
        TensorFlow smooths towards 1/2. Not for ``hinge`` and ``wasserstein``, which have no target. By default 1.
    variant : str
        ``"published"``, the table above. ``"tf-gan"``: what its functions of the same names give as they come, a target
        of 0.875 in the cross-entropy (``minimax_discriminator_loss``, ``modified_discriminator_loss``) and, of the
        minimax generator, ``−sp(b) − ln(1 + 1/e)``, a constant 0.3133 below. ``"unhalved"``: least squares without the
        ½, as many implementations have them.

    Raises
    ------
    InputError
        No real or no generated logit, one that is no number, an infinite one outside cross-entropy, an unknown loss or
        variant, or a target that the loss does not have.
    """
    if loss not in LOSSES:
        raise InputError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}.")
    if variant not in VARIANTS:
        raise InputError(f"variant is {variant!r}; it must be one of {', '.join(VARIANTS)}.")
    if variant == "unhalved" and loss != "least-squares":
        raise InputError(f"Only least-squares has a ½ to be left out, not {loss}. Leave variant at published.")
    if real_target is None:
        real_target = _TF_GAN_TARGET if variant == "tf-gan" and loss in _CROSS_ENTROPY else 1.0
    if not 0 < real_target <= 1 or (real_target != 1 and loss not in _WITH_TARGET):
        raise InputError(
            f"real_target is {real_target!r} with the loss {loss}. It must lie above 0 and be at most 1, and only "
            f"{', '.join(_WITH_TARGET)} have one: leave it at 1 for the others."
        )
    a, b = _two_sides(real_logits, generated_logits, "The batch")
    if loss not in _CROSS_ENTROPY and not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"The batch has an infinite logit, and {loss} is about plain outputs. Give those of D itself.")
    with np.errstate(over="ignore"):  # beyond the largest number lies infinity
        if loss == "wasserstein":
            return GanLosses(float(b.mean() - a.mean()), float(-b.mean()))
        if loss == "hinge":
            return GanLosses(float(np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean()), float(-b.mean()))
        if loss == "least-squares":
            half = 1.0 if variant == "unhalved" else 0.5
            of_discriminator = half * ((a - real_target) ** 2).mean() + half * (b**2).mean()
            return GanLosses(float(of_discriminator), float(half * ((b - 1) ** 2).mean()))
        of_real = real_target * _softplus(-a)
        if real_target != 1:  # else infinite logits would give 0 · ∞
            of_real += (1 - real_target) * _softplus(a)
        of_discriminator = of_real.mean() + _softplus(b).mean()
        of_generator = -_softplus(b).mean() if loss == "minimax" else _softplus(-b).mean()
        if variant == "tf-gan" and loss == "minimax":
            of_generator -= math.log1p(math.exp(-1))  # its negated discriminator loss, real logits put to 1
        return GanLosses(float(of_discriminator), float(of_generator))


def _softplus(x: FloatArray) -> FloatArray:
    """``ln(1 + eˣ)`` without overflow, and without the rounding of a logarithm of a sigmoid."""
    return np.logaddexp(0.0, x)


def _two_sides(real_logits: Any, generated_logits: Any, where: str) -> tuple[FloatArray, FloatArray]:
    real, generated = _logits(real_logits, where), _logits(generated_logits, where)
    if not len(real) or not len(generated):
        raise InputError(f"{where} has {len(real)} real and {len(generated)} generated logits; each needs one.")
    return real, generated


def _logits(values: Any, where: str) -> FloatArray:
    """Flat float64; a single number is one logit, and none at all is allowed."""
    plain = isinstance(values, int | float | np.generic | list | tuple)
    try:
        logits = np.asarray(values if plain else as_numpy(values), np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where} has logits that are no array of numbers: {error}") from error
    if np.isnan(logits).any():
        raise InputError(f"{where} has a logit that is not a number: the training diverged. Cut the log before it.")
    return logits
