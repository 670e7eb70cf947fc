"""What the logits of a GAN's discriminator say: confusion matrix, accuracy, precision, recall, AUC, and the losses.

Positive is real, and a picture is taken for real where its logit is above 0 (a probability above 1/2); one of exactly 0
counts as generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.errors import InputError

LOSSES = ("minimax", "non-saturating", "least-squares", "hinge", "wasserstein")
_WITH_TARGET = ("minimax", "non-saturating", "least-squares")


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

    @property
    def accuracy(self) -> float:
        """Share of all pictures that are told right."""
        return (self.real_as_real + self.generated_as_generated) / self.num_pictures

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
    )


def gan_losses(
    real_logits: Any, generated_logits: Any, *, loss: str = "non-saturating", real_target: float = 1.0
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
    is ``2 ln 2 − 2 JS`` of the two distributions. Penalties on gradients (WGAN-GP, R1) are not in logits, so they are
    not in here. Least squares are halved, as published; some implementations leave the ½ out. TF-GAN's minimax loss of
    the generator is ``−sp(b) − ln(1 + 1/e)``, a constant 0.3133 below this.

    Parameters
    ----------
    real_logits : (n,)
        For ``least-squares``, ``hinge`` and ``wasserstein`` the discriminator's plain output, without a sigmoid.
    generated_logits : (m,)
    loss : str
    real_target : float
        One-sided label smoothing (Salimans et al. 2016): what the discriminator is to say of real pictures, in (0, 1].
        It is the target itself, not the amount of smoothing: TF-GAN's ``label_smoothing=0.25`` is 0.875 here, because
        TensorFlow smooths towards 1/2. Not for ``hinge`` and ``wasserstein``, which have no target.

    Raises
    ------
    InputError
        No real or no generated logit, one that is no number, an infinite one outside cross-entropy, an unknown loss, or
        a target that the loss does not have.
    """
    if loss not in LOSSES:
        raise InputError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}.")
    if not 0 < real_target <= 1 or (real_target != 1 and loss not in _WITH_TARGET):
        raise InputError(
            f"real_target is {real_target!r} with the loss {loss}. It must lie above 0 and be at most 1, and only "
            f"{', '.join(_WITH_TARGET)} have one: leave it at 1 for the others."
        )
    a, b = _two_sides(real_logits, generated_logits, "The batch")
    if loss not in ("minimax", "non-saturating") and not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"The batch has an infinite logit, and {loss} is about plain outputs. Give those of D itself.")
    with np.errstate(over="ignore"):  # beyond the largest number lies infinity
        if loss == "wasserstein":
            return GanLosses(float(b.mean() - a.mean()), float(-b.mean()))
        if loss == "hinge":
            return GanLosses(float(np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean()), float(-b.mean()))
        if loss == "least-squares":
            of_discriminator = 0.5 * ((a - real_target) ** 2).mean() + 0.5 * (b**2).mean()
            return GanLosses(float(of_discriminator), float(0.5 * ((b - 1) ** 2).mean()))
        of_real = real_target * _softplus(-a)
        if real_target != 1:  # else infinite logits would give 0 · ∞
            of_real += (1 - real_target) * _softplus(a)
        of_discriminator = of_real.mean() + _softplus(b).mean()
        of_generator = -_softplus(b).mean() if loss == "minimax" else _softplus(-b).mean()
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
