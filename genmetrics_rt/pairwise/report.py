"""How different images look, pair by pair: `PairReport` and its JSON (schema ``genmetrics.pairs/1``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genmetrics_rt.arrays import FloatArray, ImageArray
from genmetrics_rt.report import Runtime, SkippedImage, json_text

SCHEMA = "genmetrics.pairs/1"
BETWEEN, WITHIN = "between", "within"  # pairs of two sides; pairs of one side


@dataclass(frozen=True)
class ImagePair:
    """Two images and how different they look."""

    first: str
    second: str
    distance: float
    resized: bool = False  # whether the second was brought to the size of the first


@dataclass(frozen=True)
class ShownPair:
    """A pair with its pictures. ``why``: "worst", "median" or "nearest"."""

    pair: ImagePair
    why: str
    first_jpeg: bytes | None = field(default=None, repr=False)
    second_jpeg: bytes | None = field(default=None, repr=False)
    highest: float = 0.0  # what the brightest colour of the map stands for: the same in all pairs of one ``why``
    map_jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Rung:
    """A known damage, and the distance of damaged images from what they were: what numbers are to be read against."""

    kind: str  # "JPEG"
    amount: str  # "quality 30"
    distance: float

    @property
    def damage(self) -> str:
        """ "JPEG quality 30" """
        return f"{self.kind} {self.amount}"


@dataclass(frozen=True)
class DistanceSummary:
    """Which perceptual distance it was."""

    name: str
    title: str
    label: str
    numeric_id: str


@dataclass(frozen=True)
class PairReport:
    """The distances of pairs. ``report.mean`` and ``report.interval`` are the short of it.

    ``kind``: "between" for pairs of two sides, "within" for pairs of one, whose mean is its diversity.
    ``distances`` (N,) are in the order of the first side, or as the pairs were drawn; ``pairs`` begin with the most
    different one.
    """

    kind: str
    distance: DistanceSummary
    mean: float
    median: float
    standard_error: float | None
    interval: tuple[float, float] | None  # of the mean, 95 %; None with too few pairs
    pairs: tuple[ImagePair, ...]
    shown: tuple[ShownPair, ...]
    scale: tuple[Rung, ...]
    first: str
    second: str
    only_first: tuple[str, ...]  # names without a partner
    only_second: tuple[str, ...]
    skipped: tuple[SkippedImage, ...]
    settings: Mapping[str, Any]
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str
    distances: FloatArray = field(repr=False)
    heat: ImageArray | None = field(default=None, repr=False)  # (H, W, 3), of a report of one pair

    def __str__(self) -> str:
        return self.to_text()

    @property
    def like(self) -> str:
        """What the median distance is like, in known damage: "about like JPEG quality 30"; empty without a scale."""
        from genmetrics_rt.render.pairs_page import like

        return like(self.median, self.scale)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, without pictures."""
        left_out = ("shown", "distances", "heat")
        record = {
            entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name not in left_out
        }
        return {"schema": SCHEMA, "num_pairs": len(self.pairs), **_plain(record)}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_html(self, *, fragment: bool = False) -> str:
        """The report as one self-contained HTML page: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.pairs_page import render_pairs_page

        return render_pairs_page(self, fragment=fragment)

    def to_text(self, *, width: int = 100) -> str:
        """The report for a terminal, without colour codes."""
        from genmetrics_rt.render.pairs_page import render_pairs_text

        return render_pairs_text(self, width=width)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
