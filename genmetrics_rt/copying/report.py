"""What a search for copies says: `CopyReport`, its parts, and their JSON (schema ``genmetrics.copies/1``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.copying.tail import CopiedShare, TailTest
from genmetrics_rt.distances import IntArray
from genmetrics_rt.report import ExtractorSummary, Finding, Runtime, SideSummary, json_text

SCHEMA = "genmetrics.copies/1"
ALARM = 0.05  # p-value below which copying is said to be found


@dataclass(frozen=True)
class CopyPair:
    """A generated image beside the training image that it lies closest to."""

    generated: str
    train: str
    generated_row: int  # position in its side
    train_row: int
    ratio: float  # distance / local scale of the training image
    distance: float
    fresh_share: float  # of fresh images that lie as close or closer
    mirrored: bool  # the mirror image of the training image is meant
    likeness: float | None = None  # correlation of the pixels after the best shift, crop and flip; None: no pictures
    same_picture: bool | None = None  # whether the pixels show one picture
    generated_jpeg: bytes | None = field(default=None, repr=False)
    train_jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that show one picture."""

    first: str
    second: str
    exact: bool  # the same bytes
    likeness: float
    first_jpeg: bytes | None = field(default=None, repr=False)
    second_jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Duplicates:
    """The duplicates of one side, or between two."""

    key: str  # "leak" (held-out against train) | "train" | "heldout" | "generated"
    num_images: int  # of the first side
    num_exact: int  # pairs
    num_near: int  # pairs that are one picture in other bytes
    share: float  # of the first side's images that have a duplicate
    pairs: tuple[DuplicatePair, ...] = ()  # the first ones
    rows: tuple[int, ...] = field(default=(), repr=False)  # of the first side's images that have a duplicate


@dataclass(frozen=True)
class CopyReport:
    """Everything one search for copies has to say. ``report.p_value`` and ``report.pairs`` are the short of it.

    ``ratio`` (M,) and ``nearest`` (M,) hold, for every generated image, how close it lies to its nearest training
    image, and which that is; ``fresh_ratio`` (N,) the same closeness of the images that it is calibrated with.
    """

    test: TailTest
    copied: CopiedShare
    calibration: str  # "held-out" | "set aside": a part of the training set
    pairs: tuple[CopyPair, ...]  # the closest first
    duplicates: Mapping[str, Duplicates]  # by key; empty where they were not looked for
    scores: Mapping[str, float]  # published numbers: auth_pct, copying_z
    findings: tuple[Finding, ...]
    generated: SideSummary
    train: SideSummary
    heldout: SideSummary | None
    extractor: ExtractorSummary
    settings: Mapping[str, Any]
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str
    ratio: FloatArray = field(repr=False)
    nearest: IntArray = field(repr=False)
    mirrored: NDArray[np.bool_] = field(repr=False)
    fresh_ratio: FloatArray = field(repr=False)

    @property
    def p_value(self) -> float:
        """How likely fresh images would crowd as close to the training set as the generated ones do."""
        return self.test.p_value

    @property
    def copies_found(self) -> bool:
        """Whether the p-value is below 5 %."""
        return self.p_value < ALARM

    def __str__(self) -> str:
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, without pictures."""
        record = {
            entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "duplicates"
        }
        record |= {"p_value": self.p_value, "copies_found": self.copies_found, "duplicates": dict(self.duplicates)}
        plain: dict[str, Any] = _without_pictures(record)
        return {"schema": SCHEMA, **plain}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_html(self, *, fragment: bool = False) -> str:
        """The report as one self-contained HTML page: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.copies_page import render_copies_page

        return render_copies_page(self, fragment=fragment)

    def to_text(self, *, width: int = 100) -> str:
        """The report for a terminal, without colour codes."""
        from genmetrics_rt.render.copies_page import render_copies_text

        return render_copies_text(self, width=width)


def _without_pictures(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _without_pictures(entry) for key, entry in value.items() if not str(key).endswith("jpeg")}
    if isinstance(value, list | tuple):
        return [_without_pictures(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value
