"""How much of the gap between two reports is recipe, how much is other images, and how much of that may be noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genmetrics_rt.explaining.attribution import Attribution, agree
from genmetrics_rt.explaining.differences import Difference, scores_by_catalogue
from genmetrics_rt.paired import SIGNIFICANT, paired_difference
from genmetrics_rt.report import Report, Score

_TWO_SIDED = 1.96  # standard errors; the noise of two reports is not known well enough for more digits


@dataclass(frozen=True)
class Gap:
    """The gap of one score, the second report's value minus the first's, in its parts.

    ``recipe``: what the other recipe does to the same images; None where the images were not given. ``images``: what is
    left, from other images (another model, another reference). ``noise`` is the standard error of that, None where
    the images are the same or no interval was computed; ``beyond_noise`` whether it is more than chance.
    """

    key: str  # of the catalogue
    total: float
    recipe: float | None
    images: float | None
    noise: float | None
    beyond_noise: bool | None


def gaps(
    a: Report, b: Report, recipe: Sequence[Difference], same_images: bool, attribution: Attribution | None
) -> Iterator[Gap]:
    """The gaps of the scores that both reports have a value of and that differ at all."""
    of_b = scores_by_catalogue(b)
    for key, first in scores_by_catalogue(a).items():
        second = of_b.get(key)
        if second is None or first.value is None or second.value is None or agree(first.value, second.value):
            continue
        total = second.value - first.value
        by_recipe = _by_recipe(key, first, second, recipe, attribution)
        if same_images:
            yield Gap(key, total, total if by_recipe is None else by_recipe, 0.0, None, None)
            continue
        rest = None if by_recipe is None else total - by_recipe
        noise, beyond = _noise(first, second, rest)
        yield Gap(key, total, by_recipe, rest, noise, beyond)


def _by_recipe(
    key: str, first: Score, second: Score, recipe: Sequence[Difference], attribution: Attribution | None
) -> float | None:
    if not recipe and first.settings == second.settings:
        return 0.0
    if attribution is None:
        return None
    start, end = attribution.start.get(key), attribution.end.get(key)
    return None if start is None or end is None else end - start


def _noise(first: Score, second: Score, rest: float | None) -> tuple[float | None, bool | None]:
    """The standard error of what the images do, and whether it exceeds chance."""
    if first.fingerprint == second.fingerprint:
        difference = paired_difference(second, first)
        known = difference.p_value is not None
        return difference.standard_error, difference.p_value < SIGNIFICANT if known else None  # type: ignore[operator]
    if first.standard_error is None or second.standard_error is None:
        return None, None
    error = math.hypot(first.standard_error, second.standard_error)
    return error, None if rest is None else abs(rest) > _TWO_SIDED * error
