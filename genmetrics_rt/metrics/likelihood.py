"""What log-likelihoods say: NLL, bits per dimension, the gap between training and test; densities of whole numbers.

Likelihoods are natural logarithms, one for each image, larger is better; bits/dim are smaller the better. Images hold
whole numbers x of ``levels`` levels, but most densities are modelled on a scaled y, and a density changes with the
scale: `offset_bits` says by how much. Adding it twice and forgetting it are the two classic errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.errors import InputError

LN2 = math.log(2)
LEVELS = 256
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_FORMULA = re.compile(rf"\(?x(?:\+u\))?\)?/{_NUMBER}(?:[+-]{_NUMBER})?")

# Bits per dimension


def offset_bits(scale: str | float | Sequence[float] = "discrete", *, levels: int = LEVELS) -> float:
    """Bits per dimension to add for the scale that the density was modelled on: ``log2(A)`` for ``y = x / A + c``.

    ============================== ============================================ ==================== ===============
    ``scale``                      modelled is                                  offset               of 256 levels
    ============================== ============================================ ==================== ===============
    ``"discrete"``                 P(x) itself, or a density of x + u           0                    0
    ``"[0,1]"`` ``"[-.5,.5]"``     y = (x + u) / levels, shifted or not         log2(levels)         8
    ``"[-1,1]"``                   y = (x + u) / (levels / 2) − 1               log2(levels) − 1     7
    ``"x/255"``                    y = x / 255                                  log2(255)            7.994353
    ``"x/127.5-1"``                y = x / 127.5 − 1                            log2(127.5)          6.994353
    any other ``"(x+u)/A-B"``, A   y = (x + u) / A − B                          log2(A)
    ============================== ============================================ ==================== ===============

    u is the noise that makes whole numbers continuous, uniform on [0, 1) in units of x (Uria et al. 2013; Theis, van
    den Oord and Bethge 2016). A sequence holds an A for each channel: for pixels standardised as
    ``(x / 255 − mean) / std`` give ``[255 · std, …]``. Data of n bits has 2ⁿ levels (Glow: ``"[-.5,.5]"`` and
    ``levels=32`` for 5 bits).

    Raises
    ------
    InputError
        A scale that is none of these, or fewer than two levels.
    """
    if type(levels) is not int or levels < 2:
        raise InputError(f"levels is {levels!r}; it must be a whole number of at least 2: 256 for 8 bits.")
    if not isinstance(scale, str):
        divisors = np.atleast_1d(np.asarray(scale, np.float64))
        if divisors.size == 0 or not (np.isfinite(divisors).all() and (divisors > 0).all()):
            raise InputError(f"scale is {scale!r}; as numbers it holds what x was divided by, each above 0.")
        return float(np.log2(divisors).mean())
    asked = re.sub(r"(?<!\d)0\.5", ".5", re.sub(r"\s", "", scale.lower()).replace("−", "-"))
    named = {
        "discrete": 0.0,
        "[0,1]": math.log2(levels),
        "[-.5,.5]": math.log2(levels),
        "[-1,1]": math.log2(levels / 2),
    }
    if asked in named:
        return named[asked]
    match = _FORMULA.fullmatch(asked)
    divisor = float(match[1]) if match else _as_number(asked)
    if divisor is None or not 0 < divisor < math.inf:
        raise InputError(
            f"The scale {scale!r} is unknown. Use discrete, [0,1], [-1,1], [-.5,.5], what x was divided by (255), or "
            "the formula: '(x+u)/127.5-1'."
        )
    return math.log2(divisor)


def bits_per_dim(
    log_likelihoods: Any, dims: int, *, scale: str | float | Sequence[float] = "discrete", levels: int = LEVELS
) -> FloatArray:
    """Bits per dimension of each image: ``−ln p / (D ln 2) + offset_bits(scale)``; lower is better.

    A model of y = x + u bounds the probability of x: ``E[−ln p(x + u)] ≥ −ln P(x)``, so such numbers are quoted with
    ``≤`` (Theis, van den Oord and Bethge 2016). The uniform model has ``log2(levels)``; no model of whole numbers is
    below 0. ``2 ** bits`` is the perplexity.

    Parameters
    ----------
    log_likelihoods : (N,) or a number
        In nats.
    dims : int
        D = H · W · C.
    scale, levels
        As in `offset_bits`.

    Raises
    ------
    InputError
        NaN among the likelihoods, no dimension, or an unknown scale.
    """
    values = as_log_likelihoods(log_likelihoods)
    return -values / (_as_dims(dims) * LN2) + offset_bits(scale, levels=levels)


def implausible_bits(bits: float, *, offset: float, levels: int = LEVELS) -> str | None:
    """What is wrong with a number of bits/dim that no model of whole numbers should have; None if it may be right.

    ``offset`` is what `offset_bits` has added to it already.
    """
    most = math.log2(levels)
    plain = bits - offset
    if bits < 0:
        candidates = [f"{plain + most:.4g} on [0,1]", f"{plain + most - 1:.4g} on [-1,1]"]
        return (
            f"{bits:.4g} bits/dim is below 0, which no probability of whole numbers can reach: the likelihoods are "
            f"those of a density on scaled pixels, and an offset is missing. It would be {' and '.join(candidates)}. "
            "Name what the density was modelled on with the scale."
        )
    if bits > most * (1 + 1e-9):
        way_out = "The number of dimensions may be too small, or the model learned nothing."
        if offset > 0 and 0 <= plain <= most:
            way_out = (
                f"Without the offset of {offset:.4g} it would be {plain:.4g}: perhaps the likelihoods hold it already, "
                "and it was added twice. Then the scale is discrete."
            )
        elif offset == 0 and 0 <= plain - most <= most:
            way_out = f"Perhaps an offset is in the likelihoods twice: one less would be {plain - most:.4g}. " + way_out
        return f"{bits:.4g} bits/dim is worse than a uniform model, which has {most:.4g} on {levels} levels. {way_out}"
    return None


@dataclass(frozen=True)
class LikelihoodEstimate:
    """The mean over images, and how sure it is. Intervals are 95 %, by the standard error over images."""

    num_images: int
    nll: float  # nats per image, lower is better
    standard_error: float  # of it; NaN of one image
    bits_per_dim: float | None = None  # None where the number of dimensions is unknown
    bits_standard_error: float | None = None
    perplexity: float | None = None  # 2 ** bits_per_dim
    num_impossible: int = 0  # images of likelihood 0, which make the mean infinite

    @property
    def interval(self) -> tuple[float, float]:
        return self.nll - 1.959964 * self.standard_error, self.nll + 1.959964 * self.standard_error

    @property
    def bits_interval(self) -> tuple[float, float] | None:
        if self.bits_per_dim is None or self.bits_standard_error is None:
            return None
        half = 1.959964 * self.bits_standard_error
        return self.bits_per_dim - half, self.bits_per_dim + half


def estimate_likelihood(log_likelihoods: Any, *, dims: int | None = None, offset: float = 0.0) -> LikelihoodEstimate:
    """Mean negative log-likelihood of images, in nats and, where ``dims`` is known, in bits per dimension.

    ``NLL = −mean ln p``, its standard error ``std(ddof 1) / √N``, ``bits = NLL / (D ln 2) + offset``.

    Parameters
    ----------
    log_likelihoods : (N,)
        In nats.
    dims : int, optional
        D = H · W · C. Binary images are usually quoted in nats per image instead.
    offset : float
        As `offset_bits` gives it.

    Raises
    ------
    InputError
        No image, or one whose likelihood is NaN.
    """
    values = as_log_likelihoods(log_likelihoods)
    nll = -float(values.mean())
    error = standard_error(values)
    impossible = int(np.isneginf(values).sum())
    if dims is None:
        return LikelihoodEstimate(len(values), nll, error, num_impossible=impossible)
    per_bit = _as_dims(dims) * LN2
    bits = nll / per_bit + offset
    perplexity = 2.0**bits if bits < 1000 else math.inf
    return LikelihoodEstimate(len(values), nll, error, bits, error / per_bit, perplexity, impossible)


@dataclass(frozen=True)
class LikelihoodGap:
    """How much likelier training images are than test images, in nats per image, by Welch's interval.

    ``verdict``: ``"overfits"`` where the 95 % interval lies above 0, ``"reversed"`` where below, else ``"none"``.
    """

    gap: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float  # two-sided, of no gap
    num_train: int
    num_test: int

    @property
    def verdict(self) -> str:
        return "overfits" if self.interval[0] > 0 else "reversed" if self.interval[1] < 0 else "none"


def likelihood_gap(train: Any, test: Any) -> LikelihoodGap:
    """``mean ln p(train) − mean ln p(test)`` with Welch's interval: how much a model of the density overfits.

    A model that generalises gives both the same likelihood, up to the noise of which images were drawn. (Welch 1947:
    unequal variances, degrees of freedom by Satterthwaite.)

    Parameters
    ----------
    train, test : (N,), (M,)
        Log-likelihoods in nats of images that the model was trained on, and of others of the same kind.

    Raises
    ------
    InputError
        Fewer than two images on a side, or a likelihood that is not finite.
    """
    sides = [as_log_likelihoods(values) for values in (train, test)]
    for name, side in zip(("train", "test"), sides, strict=True):
        if len(side) < 2 or not np.isfinite(side).all():
            raise InputError(
                f"The gap between training and test needs two finite log-likelihoods a side, and {name} has "
                f"{int(np.isfinite(side).sum())} of {len(side)}. Give more images, or look at those of likelihood 0."
            )
    from scipy.special import stdtr, stdtrit

    gap = float(sides[0].mean() - sides[1].mean())
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    error = math.sqrt(sum(parts))
    if error == 0:
        p_value = 1.0 if gap == 0 else 0.0
        return LikelihoodGap(gap, 0.0, (gap, gap), p_value, len(sides[0]), len(sides[1]))
    freedom = error**4 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    half = float(stdtrit(freedom, 0.975)) * error
    p_value = float(2 * stdtr(freedom, -abs(gap) / error))
    return LikelihoodGap(gap, error, (gap - half, gap + half), p_value, len(sides[0]), len(sides[1]))


# Densities of whole numbers


def discretised_logistic(x: Any, mean: Any, scale: Any, *, levels: int = LEVELS) -> FloatArray:
    """``ln P(x)`` of whole numbers under a logistic distribution that is cut into bins, with open tails.

    ``P(x) = σ((x + ½ − μ)/s) − σ((x − ½ − μ)/s)``, of x = 0 without the second term, of x = levels − 1 with 1 in place
    of the first (Salimans et al. 2017, in units of x). The shapes broadcast. Computed as
    ``ln σ(b) + ln σ(−a) + ln(1 − exp(a − b))``, which loses nothing far out.

    Raises
    ------
    InputError
        A scale that is not above 0, or an x that is no level.
    """
    pixels, centre, width = (np.asarray(entry, np.float64) for entry in (x, mean, scale))
    if not (width > 0).all():
        raise InputError("The scale of a logistic distribution must be above 0.")
    if not ((pixels >= 0) & (pixels <= levels - 1) & (pixels == np.floor(pixels))).all():
        raise InputError(f"x must hold whole numbers from 0 to {levels - 1}.")
    above, below = (pixels + 0.5 - centre) / width, (pixels - 0.5 - centre) / width
    left, right = -np.logaddexp(0, -above), -np.logaddexp(0, below)  # ln σ(above), ln σ(−below)
    inside = left + right + np.log(-np.expm1(-1 / width))
    return np.where(pixels == 0, left, np.where(pixels == levels - 1, right, inside))


def logit_log_jacobian(values: Any, *, low: float = 0.05, high: float = 0.95) -> FloatArray:
    """``Σ ln |dy/dx|`` of each image for ``y = logit(low + (high − low) x)``: plus ``ln p(y)`` it is ``ln p(x)``.

    Of x in [0, 1]; Papamakarios et al. 2017 take (α, 1 − α), Dinh et al. 2017 (α, 1). The result is a density on
    [0, 1]: its bits/dim need the offset of that scale.

    Parameters
    ----------
    values : (N, ...)
        In [0, 1].
    """
    x = np.asarray(as_numpy(values), np.float64)
    if not (0 <= low < high <= 1) or x.size == 0 or not ((x >= 0) & (x <= 1)).all():
        raise InputError("The logit needs values in [0, 1] and 0 ≤ low < high ≤ 1. Divide the pixels by their levels.")
    squeezed = low + (high - low) * x
    with np.errstate(divide="ignore"):
        logs = math.log(high - low) - np.log(squeezed) - np.log1p(-squeezed)
    result: FloatArray = logs.reshape(len(x), -1).sum(axis=1)
    return result


# What comes in


def as_log_likelihoods(values: Any) -> FloatArray:
    """(N,) float64; a single number is one image. Raises `InputError` for NaN, plus infinity, and none at all."""
    plain = isinstance(values, int | float | np.generic | list | tuple)
    array: NDArray[Any] = np.asarray(values if plain else as_numpy(values), np.float64)
    if array.ndim > 1 and array.size != len(array):
        raise InputError(
            f"Log-likelihoods have the shape (images,), not {array.shape}. Of importance weights take "
            "importance_bounds; add the dimensions of each image up before."
        )
    flat: FloatArray = array.ravel()
    if not flat.size:
        raise InputError("There is no log-likelihood. Give one for each image.")
    bad = np.isnan(flat) | np.isposinf(flat)
    if bad.any():
        first = int(bad.argmax())
        raise InputError(
            f"{int(bad.sum())} of {len(flat)} log-likelihoods are no number or infinite, the first is that of image "
            f"{first}. A mean of them says nothing: look at what the model does there."
        )
    return flat


def _as_dims(dims: int) -> int:
    if type(dims) is not int or dims < 1:
        raise InputError(f"The number of dimensions is {dims!r}; it must be a whole number of at least 1: H · W · C.")
    return dims


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def standard_error(values: FloatArray) -> float:
    """Of the mean; NaN of one value."""
    if len(values) < 2:
        return math.nan
    with np.errstate(invalid="ignore"):
        return float(values.std(ddof=1) / math.sqrt(len(values)))
