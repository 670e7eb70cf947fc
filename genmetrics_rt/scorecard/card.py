"""What a scorecard says: `Measure`, `Card`, `Scorecard`, and their JSON (schema ``genmetrics.scorecard/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from genmetrics_rt.render.scorecard_page import render_scorecard_page, render_scorecard_text
from genmetrics_rt.report import ExtractorSummary, Runtime, SideSummary, Thumbnail, json_text
from genmetrics_rt.textbook import PROPERTIES, SOURCE, expectation

SCHEMA = "genmetrics.scorecard/1"


@dataclass(frozen=True)
class Measure:
    """One measured value. ``leading`` marks that by which models are ranked in this property."""

    key: str
    title: str
    value: float
    unit: str = ""
    higher_is_better: bool | None = None  # None: neither is better, as of a size
    interval: tuple[float, float] | None = None
    note: str = ""
    leading: bool = False
    scale: str = ""  # measures on unlike scales are not ranked against each other, such as shares of unlike chance
    resolution: float = 0.0  # where there is no interval: share of the value below which two cannot be told apart


@dataclass(frozen=True)
class Found:
    """The measures of one property, or why there is none; what else must be known of it; what textbooks expect."""

    measures: tuple[Measure, ...] = ()
    why_not: str = ""
    notes: tuple[str, ...] = ()
    expected: str | None = None  # "yes" | "no" | "depends" | "has none"; None of an unknown family
    is_ranked: bool = True  # False where something else makes the values worthless, which a note says


@dataclass(frozen=True)
class Card:
    """One generator."""

    name: str
    title: str
    family: str  # "GAN", "VAE", "flow", "diffusion", … or empty
    found: Mapping[str, Found]  # property → what was found, all six
    warnings: tuple[str, ...] = ()  # what is wrong with its samples, whatever the numbers say
    pictures: tuple[Thumbnail, ...] = ()  # its first samples, not chosen


@dataclass(frozen=True)
class Scorecard:
    """Generators side by side in six properties. Better is marked only where the intervals do not meet."""

    cards: tuple[Card, ...]
    reference: SideSummary
    extractor: ExtractorSummary
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str
    seed: int = 0
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.to_text()

    def best(self, key: str) -> tuple[str, ...]:
        """The names of the cards that lead in a property: the best, and those that cannot be told from it.

        Empty where fewer than two have a value, or where nobody can be told apart.
        """
        return leaders({card.name: leading(card.found[key]) for card in self.cards})

    def to_text(self, width: int = 100) -> str:
        """Plain text with no line wider than ``width`` columns."""
        return render_scorecard_text(self, width)

    def to_html(self, *, fragment: bool = False) -> str:
        """One self-contained page; ``fragment``: one ``<div class="genmetrics">`` to stand inside another page."""
        return render_scorecard_page(self, fragment=fragment)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, schema ``genmetrics.scorecard/1``, without the pictures."""
        return {
            "schema": SCHEMA,
            "properties": [asdict(entry) for entry in PROPERTIES],
            "textbook": SOURCE,
            "cards": [asdict(replace(card, pictures=())) for card in self.cards],
            "best": {entry.key: list(self.best(entry.key)) for entry in PROPERTIES},
            "reference": asdict(self.reference),
            "extractor": asdict(self.extractor),
            "runtime": asdict(self.runtime),
            "seed": self.seed,
            "notes": list(self.notes),
            "created": self.created,
            "version": self.version,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)


def leading(found: Found) -> Measure | None:
    """The measure by which a model is ranked in a property; None where it is not."""
    return next((measure for measure in found.measures if measure.leading and found.is_ranked), None)


def leaders(measures: Mapping[str, Measure | None]) -> tuple[str, ...]:
    """Whoever leads: the best, and those whose interval meets its interval. Nobody if all of them do."""
    found = {name: measure for name, measure in measures.items() if measure is not None}
    if len(found) < 2 or any(measure.higher_is_better is None for measure in found.values()):
        return ()
    if len({(measure.key, measure.scale) for measure in found.values()}) > 1:
        return ()
    sign = 1 if next(iter(found.values())).higher_is_better else -1
    best = max(found.values(), key=lambda measure: sign * measure.value)
    meeting = tuple(name for name, measure in found.items() if _meet(best, measure))
    return meeting if len(meeting) < len(found) else ()


def _meet(first: Measure, second: Measure) -> bool:
    (low, high), (other_low, other_high) = _range(first), _range(second)
    return low <= other_high and other_low <= high


def _range(measure: Measure) -> tuple[float, float]:
    half = measure.resolution * abs(measure.value) / 2
    return measure.interval or (measure.value - half, measure.value + half)


__all__ = ["Card", "Found", "Measure", "Scorecard", "expectation", "leaders", "leading"]
