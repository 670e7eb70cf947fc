"""Where two reports differ, line by line: the recipe of their features, the settings of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genmetrics_rt.metrics.catalogue import CATALOGUE_KEYS, METRICS
from genmetrics_rt.report import ExtractorSummary, Report, Score

_ORDER = tuple(key for metric in METRICS for key in metric.keys)
# From the network, without which nothing else compares, to what is done to its input: in the order of the pipeline.
NETWORK_LINES = ("extractor", "graph", "weights", "tap")
PIXEL_LINES = ("orientation", "alpha", "crop", "size", "resize", "rounding", "layout", "dtype", "scaling")


@dataclass(frozen=True)
class Difference:
    """One line that two reports do not share, with its value in each: ``resize``, ``"none"``, ``"bilinear"``."""

    line: str
    first: Any
    second: Any


def catalogue_key(shown: str) -> str:
    """The key of a score whatever its features are called: ``fid`` is ``fd``, ``is`` is ``class_score``."""
    return CATALOGUE_KEYS.get(shown, shown)


def scores_by_catalogue(report: Report) -> dict[str, Score]:
    """Catalogue key → score, in the order of the catalogue; scores that it does not know come last."""
    scores = {catalogue_key(score.key): score for score in report.scores.values()}
    return {key: scores[key] for key in sorted(scores, key=lambda key: _ORDER.index(key) if key in _ORDER else 1_000)}


def recipe_lines(extractor: ExtractorSummary) -> dict[str, Any]:
    """Every line that features depend on, by name, the network first. ``scaling`` is (scale, offset)."""
    recipe = dict(extractor.recipe)
    if "scale" in recipe or "offset" in recipe:
        recipe["scaling"] = (recipe.pop("scale", 1.0), recipe.pop("offset", 0.0))
    known = {line: recipe.pop(line) for line in (*NETWORK_LINES, *PIXEL_LINES) if line in recipe}
    return {"extractor": extractor.name, **known, **recipe}


def recipe_differences(first: ExtractorSummary, second: ExtractorSummary) -> tuple[Difference, ...]:
    """The lines of the recipe that two reports do not share. Empty where they have the same numeric id.

    A report that does not hold its recipe (features that were given, an older release) differs in ``features`` then.
    """
    if first.numeric_id == second.numeric_id:
        return ()
    if not (first.recipe and second.recipe) and first.name == second.name:
        return (Difference("features", first.numeric_id, second.numeric_id),)
    lines = recipe_lines(first), recipe_lines(second)
    if not (first.recipe and second.recipe):
        return (Difference("extractor", first.name, second.name),)
    return differing(*lines) or (Difference("features", first.numeric_id, second.numeric_id),)


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The entries of two mappings that are not the same, in the order of the first."""
    return tuple(
        Difference(line, first.get(line), second.get(line))
        for line in dict.fromkeys((*first, *second))
        if _plain(first.get(line)) != _plain(second.get(line))
    )


def _plain(value: Any) -> Any:
    """A list and a tuple of the same entries are the same: JSON knows no tuples."""
    return tuple(_plain(entry) for entry in value) if isinstance(value, list | tuple) else value
