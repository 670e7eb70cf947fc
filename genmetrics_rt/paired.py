"""Whether one score is better than another beyond noise: the paired jackknife, and Holm's correction.

Replicates of two scores against one reference leave out the same reference images (`genmetrics_rt.uncertainty`), so
what both share drops out of their differences. Two models are so told apart whose intervals overlap.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from genmetrics_rt.errors import FeatureMismatch
from genmetrics_rt.report import Score
from genmetrics_rt.uncertainty import LEVEL, NUM_GROUPS, around

Name = TypeVar("Name", bound=Hashable)  # of a report: a step of training, a file

SIGNIFICANT = 1 - LEVEL  # a corrected p-value below this is "beyond noise"


@dataclass(frozen=True)
class Difference:
    """The first score minus the second, and how sure that is; None for what is not known."""

    value: float | None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None  # of 95 %
    p_value: float | None = None  # two-sided, of "there is no difference", not corrected for other questions
    paired: bool = False  # whether the replicates were paired, or the standard errors taken as independent


def paired_difference(a: Score, b: Score) -> Difference:
    """The difference of two scores with its noise.

    With ``d_g`` the difference of the replicates without group g, ``SE² = (G − 1)/G Σ_g (d_g − mean d)²`` (Shao and Wu
    1989), compared with Student's t of G − 1 degrees of freedom. Replicates of blocks are written so that this holds
    for them too. The reports should be against one reference; against two, nothing is shared and pairing neither helps
    nor harms.

    Without replicates, with unlike numbers of them, or where their differences do not scatter at all (both scores at
    a bound), the standard errors of the scores are taken as independent: ``SE² = SE_a² + SE_b²``.

    Parameters
    ----------
    a, b
        The same score of two reports.

    Returns
    -------
    Difference
        ``a.value − b.value``; with None for the noise where a score has no standard error, and for everything where
        one has no value.

    Raises
    ------
    FeatureMismatch
        The fingerprints differ: the two numbers do not mean the same.
    """
    if a.fingerprint != b.fingerprint:
        raise FeatureMismatch(
            f"{a.key} and {b.key} were made by unlike recipes (their fingerprints differ), so their difference means "
            "nothing. Evaluate again with one extractor, one protocol and one set of settings."
        )
    if a.value is None or b.value is None:
        return Difference(None)
    value = a.value - b.value
    count = min(len(a.replicates), len(b.replicates))
    if count > 1 and len(a.replicates) == len(b.replicates):
        scatter = np.subtract(a.replicates, b.replicates)
        error = float(np.sqrt((count - 1) / count * np.square(scatter - scatter.mean()).sum()))
        if error > 0 or value == 0:
            return _tested(value, error, count - 1, paired=True)
    if a.standard_error is None or b.standard_error is None:
        return Difference(value)
    # The fewer groups, the less sure a standard error is; where nobody says how many, they were as many as ours.
    error = math.hypot(a.standard_error, b.standard_error)
    if error == 0 and value != 0:
        return Difference(value)  # nothing scatters, so nothing is known
    return _tested(value, error, (count if count > 1 else NUM_GROUPS) - 1, paired=False)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for being many: that any true null is rejected at all has the stated probability.

    In ascending order, ``p_(i) → max_{j ≤ i} min(1, (m − j + 1) p_(j))`` (Holm 1979), given back in the order they
    came.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return tuple(corrected)


@dataclass(frozen=True)
class Standing(Generic[Name]):
    """How several reports stand in one score."""

    higher_is_better: bool
    leader: Name  # who has the best value
    not_told_apart: tuple[Name, ...]  # others whose difference from the leader may be noise
    differences: Mapping[Name, Difference]  # other → leader minus other
    p_values: Mapping[Name, float | None]  # the same, corrected by Holm; None where the noise is not known

    @property
    def beyond_noise(self) -> bool:
        """Whether the leader is better than every other beyond noise."""
        return not self.not_told_apart

    @property
    def noise_known(self) -> bool:
        return all(p_value is not None for p_value in self.p_values.values())

    def mark(self, name: Name) -> str:
        """``*`` for the best beyond noise, ``~`` for the leader and those not told apart from it, else nothing."""
        if not self.noise_known or (name != self.leader and name not in self.not_told_apart):
            return ""
        return "*" if self.beyond_noise else "~"


def standing(scores: Mapping[Name, Score]) -> Standing[Name] | None:
    """Who leads, and who may be as good. None unless two of the scores have a value."""
    scores = {name: score for name, score in scores.items() if score.value is not None}
    if len(scores) < 2:
        return None
    sign = 1 if next(iter(scores.values())).higher_is_better else -1
    leader = max(scores, key=lambda name: sign * float(scores[name].value or 0))
    differences = {name: paired_difference(scores[leader], score) for name, score in scores.items() if name != leader}
    known = {name: entry.p_value for name, entry in differences.items() if entry.p_value is not None}
    # What is not known was asked too: it counts among the questions.
    corrected = holm([*known.values(), *(1.0 for _ in range(len(differences) - len(known)))])
    p_values: dict[Name, float | None] = dict.fromkeys(differences)
    p_values.update(zip(known, corrected, strict=False))
    apart = [name for name, p_value in p_values.items() if p_value is None or p_value >= SIGNIFICANT]
    return Standing(sign > 0, leader, tuple(apart), differences, p_values)


def _tested(value: float, error: float, degrees_of_freedom: int, *, paired: bool) -> Difference:
    from scipy.stats import t

    p_value = float(2 * t.sf(abs(value) / error, degrees_of_freedom)) if error > 0 else 1.0
    return Difference(value, error, around(value, error, degrees_of_freedom), p_value, paired)
