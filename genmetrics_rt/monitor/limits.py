"""From which value on a score of a window is no chance: limits by the scores of healthy windows.

Healthy images (those of the reference, or samples of the model at its best) are held against the same reference as the
stream will be. Windows are drawn from them at random, without replacement, and scored; their mean, scatter and skewness
give the limit, as the quantile of a shifted gamma distribution (Pearson's type III), which is the normal one where
scores are not skew, and has the tail of a Fréchet distance where they are.

Corrections, all to the cautious side:

- Windows of one pool share images, so they scatter too little: of n out of N by √(1 − n/N) for a mean over images, by
  1 − n/N for a distance of equal distributions. The larger correction is taken for all.
- The pool is a sample itself: its own error, √(n/N) of a window's, is added.
- A share that is 1 in every window drawn (coverage, often) has no scatter there; it is taken as one image's, so that
  it takes about five images, none of which was seen among thousands, to raise an alarm.
- Mean, scatter and skewness are estimates from B windows: the scatter is taken at its upper 95 % limit, the skewness
  one standard error higher.
- There are several scores, and a window slides by one pane at a time, so that while a whole window passes every score
  is looked at once a pane. ``false_alarms`` (one in 1,000) is the chance of any alarm at all in that time; each look at
  each score gets its part of it (Bonferroni). Looks overlap and scores go together, so the true rate is lower.

All of it holds for images that come independently from the healthy distribution. Traffic whose mixture of prompts or
classes changes is another distribution: give healthy images of the same mixture, or expect the alarm to say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray

CLEAR = 0.05  # level at which an alarm may end: what a healthy window passes in one of 20 cases


@dataclass(frozen=True)
class Limit:
    """Beyond ``raise_at`` is an alarm, within ``clear_at`` it may end. ``sign`` is 1 where high values are bad."""

    sign: int
    raise_at: float
    clear_at: float
    healthy: float  # mean of healthy windows
    scatter: float  # their standard deviation, corrected

    def beyond(self, value: float) -> bool:
        """Whether the value is worse than a healthy window is by chance."""
        return self.sign * (value - self.raise_at) > 0

    def within(self, value: float) -> bool:
        """Whether the value is as good as most healthy windows."""
        return self.sign * (value - self.clear_at) <= 0


def limit_of_windows(
    values: FloatArray,
    *,
    sign: int,
    share: float,
    level: float,
    shift: float = 0.0,
    shrink: float = 1.0,
    step: float = 0.0,
) -> Limit:
    """The limit from the scores (B,) of windows that were drawn from one pool.

    Parameters
    ----------
    sign : int
        1 where high values are bad, −1 where low ones are.
    share : float
        n/N: images of a window over those of the pool, at most 1/2.
    level : float
        Chance of one healthy window beyond the limit.
    shift, shrink : float
        What larger windows of the stream add to the mean (less bias), and by how much their scatter is smaller.
    step : float
        By how much a single image can move the score: 1/n for a share of n. The scatter is not taken to be less.
    """
    count = len(values)
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    own = deviation / (1 - share)
    # A window of the stream, and the pool's own error: the pool has n/share images.
    scatter = own * math.sqrt(shrink**2 + share) * (1 + 1.645 / math.sqrt(2 * (count - 1)))
    scatter = max(scatter, step)
    skewness = 0.0
    if deviation > 0:
        skewness = sign * float(((values - mean) ** 3).mean()) / deviation**3 + math.sqrt(6 / count)
    middle = mean + shift
    raised, cleared = (middle + sign * scatter * _quantile(chance, skewness) for chance in (level, CLEAR))
    return Limit(sign, raised, cleared, middle, scatter)


def limit_of_mean(values: FloatArray, *, sign: int, num_images: int, level: float) -> Limit:
    """The limit for the mean over ``num_images`` images, from the values (N,) of single healthy ones."""
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    scatter = deviation * math.sqrt(1 / num_images + 1 / len(values)) * (1 + 1.645 / math.sqrt(2 * (len(values) - 1)))
    skewness = 0.0
    if deviation > 0:
        skewness = abs(float(((values - mean) ** 3).mean())) / deviation**3 / math.sqrt(num_images)
    raised, cleared = (mean + sign * scatter * _quantile(chance, skewness) for chance in (level, CLEAR))
    return Limit(sign, raised, cleared, mean, scatter)


def score_windows(
    draw: Callable[[IntArray], Mapping[str, float]], num_rows: int, size: int, count: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """The scores of ``count`` windows of ``size`` of the ``num_rows`` rows: key → (count,)."""
    found = [draw(rng.permutation(num_rows)[:size]) for _ in range(count)]
    return {key: np.array([scores[key] for scores in found]) for key in found[0]}


def level_of_each(false_alarms: float, num_limits: int, panes: int) -> float:
    """Bonferroni: the level of one look at one score, from that of any alarm while a whole window passes."""
    return false_alarms / (num_limits * panes)


def _quantile(level: float, skewness: float) -> float:
    """Upper quantile of Pearson's type III with mean 0 and variance 1; the normal one where the skewness is not above 0
    (a shorter tail is not made use of).
    """
    from scipy.special import gammainccinv, ndtri

    normal = float(-ndtri(level))
    if skewness < 1e-3:
        return normal
    shape = 4 / skewness**2
    return max(normal, (float(gammainccinv(shape, level)) - shape) / math.sqrt(shape))


def all_finite(values: Mapping[str, FloatArray], keys: Sequence[str]) -> list[str]:
    """The keys whose values are numbers in every window."""
    return [key for key in keys if np.isfinite(values[key]).all()]
