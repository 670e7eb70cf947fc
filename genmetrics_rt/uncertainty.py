"""How sure a score is: the delete-a-group jackknife, from features that are there already.

Both sides are dealt into the same number of groups. The score is computed without the first group of either side, then
without the second, and so on; how much these replicates scatter says how much the score would move with other images.
A bootstrap is no use here: the twins that it draws shrink the balls of neighbours and inflate eigenvalues, while a
jackknife never sees an image twice. Replicates of two reports against one reference leave out the same reference
images, so their differences are those of a paired test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray, first_equal

NUM_GROUPS = 20
MIN_ROWS = 2 * NUM_GROUPS  # different rows on a side, from which intervals are given
LEVEL = 0.95


@dataclass(frozen=True)
class Uncertainty:
    """A standard error, the interval of 95 %, and the replicates that both are made of."""

    standard_error: float
    interval: tuple[float, float]
    replicates: tuple[float, ...] = ()


def groups_of(values: NDArray[Any], *, num_groups: int = NUM_GROUPS) -> IntArray | None:
    """(N,) group of each row of (N, D), dealt at random by position and always alike; equal rows stay together.

    None where there are fewer than `MIN_ROWS` different rows: then nothing can be said.
    """
    first = first_equal(values)  # (N,) position of the first row that equals each
    if len(np.unique(first)) < MIN_ROWS:
        return None
    dealt = np.random.default_rng(len(values)).permutation(len(values)) % num_groups
    return dealt[first]


def jackknifed(
    value: float,
    replicates: FloatArray | Sequence[float],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    num_trials: int | None = None,
) -> Uncertainty:
    """From the scores without each group.

    ``SE² = (G − 1)/G Σ_g (θ_g − mean θ)²`` (Shao and Wu 1989), and an interval of Student's t with G − 1 degrees of
    freedom around ``value``, cut at ``bounds``.

    ``num_trials``: of a share, how many images it is a share of. A share of 0 or 1, which no group changes, gets the
    rule of three: no success in n trials is compatible with up to 3/n.
    """
    scores = np.asarray(replicates, dtype=np.float64)
    count = len(scores)
    error = float(np.sqrt((count - 1) / count * np.square(scores - scores.mean()).sum()))
    low, high = around(value, error, count - 1)
    if error == 0 and num_trials and value in bounds:
        error = 1 / num_trials
        low, high = (value, value + 3 / num_trials) if value == bounds[0] else (value - 3 / num_trials, value)
    interval = max(low, bounds[0]), min(high, bounds[1])
    return Uncertainty(error, interval, tuple(scores.tolist()))


def around(value: float, standard_error: float, degrees_of_freedom: int) -> tuple[float, float]:
    """The interval of 95 % by Student's t."""
    from scipy.stats import t

    reach = float(t.ppf((1 + LEVEL) / 2, degrees_of_freedom)) * standard_error
    return value - reach, value + reach


def without_each(groups: Sequence[IntArray], score: Callable[..., float], num_groups: int = NUM_GROUPS) -> FloatArray:
    """(G,) the score without each group: ``score`` is given a mask of what stays, for each of the sides."""
    return np.array([score(*(own != group for own in groups)) for group in range(num_groups)])
