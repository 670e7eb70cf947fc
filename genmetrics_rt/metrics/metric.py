"""What a metric is given (`Comparison`) and what it gives back (`Outcome`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genmetrics_rt.distances import IntArray
from genmetrics_rt.features import Features
from genmetrics_rt.manifold import Manifold
from genmetrics_rt.report import Curve
from genmetrics_rt.uncertainty import NUM_BLOCKS, NUM_DEALS, Uncertainty, blocks_of, groups_of, of_blocks


@dataclass
class Comparison:
    """Two sides in one feature space, and what several metrics share: one pass over the neighbour distances."""

    generated: Features
    reference: Features
    space: str  # the extractor's short name, for names like "Kernel distance on scattering features"
    seed: int
    settings: Mapping[str, Mapping[str, Any]]  # metric key → its settings, defaults and protocol already merged
    intervals: bool = True  # whether to say how sure each score is

    @cached_property
    def groups(self) -> tuple[IntArray, IntArray] | None:
        """The groups of the jackknife, generated and reference; None where they are not wanted or rows are too few.

        Of a side without rows, whose mean and covariance alone are known, an empty array.
        """
        if not self.intervals:
            return None
        sides = [groups_of(side.values) if len(side.values) else np.zeros(0, np.intp) for side in self._sides]
        return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])

    @property
    def groups_of_rows(self) -> tuple[IntArray, IntArray] | None:
        """The same for metrics that need the rows of both sides."""
        return self.groups if self.groups and all(len(own) for own in self.groups) else None

    @property
    def _sides(self) -> tuple[Features, Features]:
        return self.generated, self.reference

    @cached_property
    def manifold(self) -> Manifold:
        """Distances to neighbours within and across the sides, computed once, for all metrics that ask."""
        few = min(len(self.generated.values), len(self.reference.values))
        of_precision, of_density = (int(self.settings[key]["nearest_k"]) for key in ("precision", "density"))
        return Manifold(
            self.generated.values,
            self.reference.values,
            nearest_k=min(max(of_precision, of_density), few - 1),  # with few images only the smaller k is answered
            realism_k=of_precision if of_precision < few else None,
            groups=self.groups_of_rows if of_density >= of_precision and of_density < few else None,
            border_counts=bool(self.settings["density"]["border_counts"]),
        )

    @cached_property
    def manifolds_of_blocks(self) -> list[list[Manifold]]:
        """A manifold of each block of both sides, for each way to deal them; empty where rows are too few."""
        deals = []
        for deal in range(NUM_DEALS if self.groups_of_rows else 0):
            in_g, in_r = (blocks_of(side.values, deal) for side in self._sides)
            if in_g is None or in_r is None:
                return []
            sides = [
                (self.generated.values[in_g == block], self.reference.values[in_r == block])
                for block in range(NUM_BLOCKS)
            ]
            deals.append([Manifold(*pair, nearest_k=self.manifold.nearest_k) for pair in sides])
        return deals

    def of_blocks(self, value: float, share: Callable[[Manifold], float], num_trials: int) -> Uncertainty | None:
        """How sure a share is, by that of each block; None where rows are too few."""
        scores = [[share(manifold) for manifold in deal] for deal in self.manifolds_of_blocks]
        return of_blocks(value, np.array(scores), num_trials=num_trials) if scores else None

    def equal_rows(self, limit: int) -> tuple[IntArray, IntArray]:
        """Positions of equally many rows of both sides, at most ``limit``: a seeded sample, drawn where needed."""
        size = min(len(self.generated.values), len(self.reference.values), limit)
        return _sample(len(self.generated.values), size, self.seed), _sample(
            len(self.reference.values), size, self.seed + 1
        )

    def rows_up_to(self, limit: int) -> tuple[IntArray, IntArray]:
        """Positions of at most ``limit`` rows of each side, whatever the other has: a seeded sample."""
        counts = [len(side.values) for side in self._sides]
        g, r = (_sample(count, min(count, limit), self.seed + place) for place, count in enumerate(counts))
        return g, r


@dataclass(frozen=True)
class Value:
    """The number for one key, before words are put around it."""

    value: float
    details: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    why_not_finite: str = "the value is not a finite number"


@dataclass(frozen=True)
class Outcome:
    """What one metric found: a value per key, and perhaps a curve."""

    values: Mapping[str, Value]
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Wording:
    """How the score of one key is presented."""

    title: str  # "Kernel distance (KID)"
    meaning: str
    higher_is_better: bool
    best: float | None
    comparable_with: str


@dataclass(frozen=True)
class Metric:
    """A metric: the keys it fills, what it needs, its default settings, its words, and the function.

    ``compute`` raises `TooFewImages` when it cannot answer; the other metrics are still reported.
    """

    wording: Mapping[str, Wording]
    defaults: Mapping[str, Any]
    compute: Callable[[Comparison, Mapping[str, Any]], Outcome]
    needs_logits: bool = False
    needs_spatial: bool = False  # only where the protocol collects the network's spatial tap
    needs_rows: bool = True  # False: mean and covariance are enough
    takes_seed: bool = False  # the seed of the evaluation becomes its setting "seed"
    by_default: bool = True  # False: only where it is asked for by name …
    default_on: str = ""  # … or where this is what the sides consist of: "text"

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.wording)


def _sample(count: int, size: int, seed: int) -> IntArray:
    if count == size:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
