"""How sure a score is, from features that are there already: by the jackknife, and by blocks.

The delete-a-group jackknife: both sides are dealt into the same number of groups. The score is computed without the
first group of either side, then without the second, and so on; how much these replicates scatter says how much the
score would move with other images. It fits what changes smoothly with the rows: mean, covariance, kernel means, class
marginals, counts of pairs.

Blocks: the shares that ask for SOME neighbour (precision, recall, coverage) do not change smoothly: whether a row lies
in a union of balls hangs on many other rows together, and a jackknife counts what m rows do together m times (Efron and
Stein 1981), which doubles their standard errors. But balls shrink as rows become denser, so that such a share of n/8
rows scatters as one of n does, times √8: the score is computed on disjoint eighths of both sides ("batch means").

A bootstrap is no use for either: the twins that it draws shrink balls and inflate eigenvalues.

Replicates of two reports against one reference leave out (or keep) the same reference images, so their differences are
those of a paired test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray, first_equal

NUM_GROUPS = 20
MIN_ROWS = 2 * NUM_GROUPS  # different rows on a side, from which a jackknife is made
NUM_BLOCKS = 8
NUM_DEALS = 3  # ways to deal the rows into blocks: each tells something new of the scatter
MIN_BLOCK = 25  # different rows of a block, on average
LEVEL = 0.95


@dataclass(frozen=True)
class Uncertainty:
    """A standard error, the interval of 95 %, and the replicates that both are made of."""

    standard_error: float
    interval: tuple[float, float]
    replicates: tuple[float, ...] = ()


def groups_of(values: NDArray[Any]) -> IntArray | None:
    """(N,) group of each row of (N, D) for the jackknife, dealt at random by position and always alike; equal rows stay
    together. None where there are fewer than `MIN_ROWS` different rows: then nothing can be said.
    """
    return _dealt(values, NUM_GROUPS, MIN_ROWS, 0)


def blocks_of(values: NDArray[Any], deal: int) -> IntArray | None:
    """(N,) block of each row; None where there are fewer than `MIN_BLOCK` different rows a block."""
    return _dealt(values, NUM_BLOCKS, NUM_BLOCKS * MIN_BLOCK, 1 + deal)


def _dealt(values: NDArray[Any], num_groups: int, least: int, seed: int) -> IntArray | None:
    first = first_equal(values)  # (N,) position of the first row that equals each
    if len(np.unique(first)) < least:
        return None
    dealt = np.random.default_rng([len(values), seed]).permutation(len(values)) % num_groups
    return dealt[first]


def jackknifed(
    value: float,
    replicates: FloatArray | Sequence[float],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    num_trials: int | None = None,
    degrees_of_freedom: int | None = None,
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
    low, high = around(value, error, degrees_of_freedom or count - 1)
    if error == 0 and num_trials and value in bounds:
        error = 1 / num_trials
        low, high = (value, value + 3 / num_trials) if value == bounds[0] else (value - 3 / num_trials, value)
    interval = max(low, bounds[0]), min(high, bounds[1])
    return Uncertainty(error, interval, tuple(scores.tolist()))


def of_blocks(
    value: float, scores: FloatArray, *, num_trials: int, bounds: tuple[float, float] = (0, 1)
) -> Uncertainty:
    """Of a share, from that of each block (deals, blocks): ``SE² = mean over deals of Var_b(share of b)/B``.

    The replicates are written so that the formula of the jackknife gives that back, for differences too.
    """
    deals, blocks = scores.shape
    count = deals * blocks
    scale = np.sqrt(count / (count - 1) / (count * (blocks - 1)))
    replicates = value + scale * (scores - scores.mean(axis=1, keepdims=True)).ravel()
    found = jackknifed(value, replicates, bounds=bounds, degrees_of_freedom=deals * (blocks - 1))
    if value in bounds:  # the larger balls of fewer rows say nothing of a share that is all or nothing
        sure = jackknifed(value, [value] * count, bounds=bounds, num_trials=num_trials)
        return replace(found, standard_error=sure.standard_error, interval=sure.interval)
    return found


def around(value: float, standard_error: float, degrees_of_freedom: int) -> tuple[float, float]:
    """The interval of 95 % by Student's t."""
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, without the second that importing it takes

    reach = float(stdtrit(degrees_of_freedom, (1 + LEVEL) / 2)) * standard_error
    return value - reach, value + reach
