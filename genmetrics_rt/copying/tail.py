"""Are generated images too deep in the lower tail of what fresh images show? An exact rank test, and the share.

Both sides give one number an image, small where it lies close to the training set. If a model does not copy, its
images are exchangeable with fresh ones, and then, among all numbers in ascending order up to the R-th fresh one, every
order of the K generated and the R − 1 other fresh numbers is equally likely, whatever the distribution. The test asks
whether the generated ones crowd at the very front of that order.

Conditioning on K is what tells a copy from a typical image. A model that prefers typical images puts more of them
close to the training set, but all through the lower tail; copies lie where hardly any fresh image lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, NonFiniteFeatures, TooFewImages

BULK = 0.10  # share of the fresh images whose place in the order the test looks at
MIN_BULK = 10  # of them at least: with few fresh images the look goes further into the bulk
TAIL = 0.02  # share of the fresh images up to which an excess counts
COPY_LEVEL = 0.01  # a copy lies closer than all but this share of the fresh images
MIN_FRESH = 20  # images
SMALLEST_P = 1e-300  # nothing smaller can be told from 0
_DRAWS = 20_000  # of the posterior that gives the interval


@dataclass(frozen=True)
class TailTest:
    """What `tail_test` found."""

    p_value: float
    statistic: float  # largest j · KL(share of generated among the first j ‖ K / (K + R − 1)), in nats
    num_front: int  # images that lie before the place where the statistic is largest
    generated_front: int  # how many of them are generated
    generated_expected: float  # how many there would be without copies


@dataclass(frozen=True)
class CopiedShare:
    """What `copied_share` found; shares of the generated images."""

    value: float
    interval: tuple[float, float]
    threshold: float  # the number below which an image counts as a copy
    num_below: int  # generated images at or below it
    expected_below: float  # generated images that would be there without copies


def tail_test(generated: Any, fresh: Any, *, seed: int = 0) -> TailTest:
    """Test whether ``generated`` (M,) holds an excess of the smallest values over ``fresh`` (N,); smaller is closer.

    The statistic is that of Berk and Jones (1979), one-sided: with i generated values among the first j of the order,
    max over j of ``j · KL(i/j ‖ π)``, π = K / (K + R − 1), where ``i/j > π`` and fewer than 2 % of the fresh values
    are among the j. R is a tenth of N, at least 10. The p-value is its exact permutation probability, computed by
    counting paths, so the level holds whatever the distribution. Ties are broken at random by ``seed``.

    Raises
    ------
    TooFewImages
        Fewer than 20 fresh values or no generated one.
    NonFiniteFeatures
        NaN among the values.
    """
    is_generated = _order(generated, fresh, seed)
    total_fresh = int((~is_generated).sum())
    num_bulk, num_tail = _bulk(total_fresh), max(1, math.ceil(TAIL * total_fresh))
    place = np.flatnonzero(~is_generated)[:num_bulk]  # of the first R fresh values in the order
    before = place - np.arange(num_bulk)  # (R,) generated values before the (h + 1)-th fresh one
    num_generated, others = int(before[-1]), num_bulk - 1
    fresh_before = np.arange(num_tail)  # h: the excess is largest just before a fresh value, so only there is looked
    chance = num_generated / (num_generated + others)
    excess = _divergence(before[:num_tail], fresh_before, chance)
    at = int(np.argmax(excess))
    statistic = float(excess[at])
    front = int(before[at] + fresh_before[at])
    p_value = 1.0 if statistic <= 0 else _chance_of_excess(statistic, num_generated, others, num_tail)
    return TailTest(max(p_value, SMALLEST_P), statistic, front, int(before[at]), chance * front)


def copied_share(generated: Any, fresh: Any, *, seen: float = 1.0, seed: int = 0) -> CopiedShare:
    """Estimate which share of ``generated`` (M,) are copies: closer than all but 1 % of ``fresh`` (N,), in excess.

    With h fresh and G generated values up to the threshold, and R − h and K − G from there to the R-th
    fresh value, images that are no copies keep the proportion of the fresh ones, so the copies are
    ``G − (K − G) h / (R − h)``. The 95 % interval holds the middle of the posterior of that number over M under
    Jeffreys' priors for both proportions (seeded draws); it ends at 0. Where copies of a share ``seen`` of the training
    images alone could be closer, all is divided by that share.

    Raises
    ------
    TooFewImages, NonFiniteFeatures
        As `tail_test`.
    """
    g, f = _values(generated, fresh)
    num_bulk, num_level = _bulk(len(f)), max(1, math.ceil(COPY_LEVEL * len(f)))
    ordered = np.sort(f)
    threshold, edge = float(ordered[num_level - 1]), float(ordered[num_bulk - 1])
    below, bulk = int((g <= threshold).sum()), int((g <= edge).sum())
    between = num_bulk - num_level
    expected = (bulk - below) * num_level / between
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet((below + 0.5, bulk - below + 0.5, len(g) - bulk + 0.5), _DRAWS)
    level = rng.beta(num_level, between, _DRAWS)  # which part of the bulk truly lies below the threshold
    drawn = (shares[:, 0] - shares[:, 1] * level / (1 - level)) / seen
    low, high = np.clip(np.quantile(drawn, (0.025, 0.975)), 0, 1)
    value = min(max((below - expected) / len(g) / seen, 0.0), 1.0)
    return CopiedShare(value, (min(float(low), value), max(float(high), value)), threshold, below, expected)


def _values(generated: Any, fresh: Any) -> tuple[FloatArray, FloatArray]:
    g, f = (as_numpy(values).astype(np.float64, copy=False) for values in (generated, fresh))
    if g.ndim != 1 or f.ndim != 1:
        raise InputError(f"Expected one number an image, (M,) and (N,); got shapes {g.shape} and {f.shape}.")
    if len(f) < MIN_FRESH or len(g) == 0:
        raise TooFewImages(
            f"{len(f)} fresh and {len(g)} generated images cannot show whether the model copies: at least {MIN_FRESH} "
            "fresh ones and one generated are needed. Add held-out images."
        )
    if np.isnan(g).any() or np.isnan(f).any():
        raise NonFiniteFeatures("NaN among the numbers of the images: they have no order. Remove these images.")
    return g, f


def _order(generated: Any, fresh: Any, seed: int) -> IntArray:
    """(M + N,) whether each value in ascending order is a generated one."""
    g, f = _values(generated, fresh)
    values = np.concatenate([g, f])
    chance = np.random.default_rng(seed).random(len(values))
    order = np.lexsort((chance, values))
    return np.asarray(order < len(g))


def _bulk(num_fresh: int) -> int:
    return max(MIN_BULK, math.ceil(BULK * num_fresh))


def _divergence(generated: Any, fresh: Any, chance: float) -> FloatArray:
    """``j · KL(i/j ‖ π)`` in nats for i generated and j − i fresh values; 0 where there is no excess."""
    i, h = np.asarray(generated, np.float64), np.asarray(fresh, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        j = i + h
        of_generated = np.where(i > 0, i * np.log(i / (j * chance)), 0.0)
        of_fresh = np.where(h > 0, h * np.log(h / (j * (1 - chance))), 0.0)
        divergence: FloatArray = np.where(i > chance * j, of_generated + of_fresh, 0.0)
    return divergence


def _chance_of_excess(statistic: float, num_generated: int, num_fresh: int, num_levels: int) -> float:
    """How likely a random order of the values reaches the statistic before one of the first fresh values.

    A walk over the order holds, for each h, the probability that h fresh values have come and no excess yet; what
    reaches ``limit[h]`` generated values is taken out and added up.
    """
    chance = num_generated / (num_generated + num_fresh)
    h = np.arange(num_levels)
    low, high = np.zeros(num_levels, np.intp), np.full(num_levels, num_generated + 1)  # high: reaches, low: does not
    while (high - low > 1).any():
        middle = (low + high) // 2
        reaches = _divergence(middle, h, chance) >= statistic * (1 - 1e-12)
        low, high = np.where(reaches, low, middle), np.where(reaches, middle, high)
    limit = high
    alive = np.zeros(num_levels)
    alive[0] = 1.0
    reached = 0.0
    for step in range(int((limit + h).max())):
        i = step - h
        left = num_generated + num_fresh - step
        if left <= 0:
            break
        to_generated = alive * np.clip((num_generated - i) / left, 0, 1)
        alive[1:], alive[0] = (alive - to_generated)[:-1], 0.0
        alive += to_generated
        out = i + 1 >= limit  # after this step there are step + 1 − h generated values beside h fresh ones
        reached += float(alive[out].sum())
        alive[out] = 0.0
    return min(reached, 1.0)
