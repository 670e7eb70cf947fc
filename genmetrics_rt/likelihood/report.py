"""What a look at likelihoods says: `LikelihoodReport`, its parts, their JSON (schema ``genmetrics.likelihood/1``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.metrics.importance import ImportanceBounds
from genmetrics_rt.metrics.likelihood import LikelihoodEstimate, LikelihoodGap
from genmetrics_rt.metrics.parzen import ParzenEstimate
from genmetrics_rt.report import Finding, Runtime, SkippedImage, json_text

SCHEMA = "genmetrics.likelihood/1"


@dataclass(frozen=True)
class LikelihoodEntry:
    """One model: the likelihood of test images, and of training images and its own samples where they are known."""

    name: str
    test: LikelihoodEstimate
    train: LikelihoodEstimate | None = None
    generated: LikelihoodEstimate | None = None  # of its own samples
    gap: LikelihoodGap | None = None
    bounds: ImportanceBounds | None = None  # of the test images
    num_weights: int | None = None  # importance samples behind each likelihood
    parzen: ParzenEstimate | None = None
    dims: int | None = None
    levels: int = 256
    offset: float = 0.0  # bits/dim that were added for the scale
    is_bound: bool = False  # whether the likelihoods are lower bounds, so that NLL and bits/dim are written with ≤
    images: str = ""  # which images they are of
    skipped: tuple[SkippedImage, ...] = ()
    seconds_per_image: float | None = None  # in the density alone: without opening it, and without reading images
    log_likelihoods: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)  # "test", "train", "generated"

    @property
    def estimates(self) -> Mapping[str, LikelihoodEstimate]:
        """By the images that they are of: "test", "train", "generated"."""
        known = {"test": self.test, "train": self.train, "generated": self.generated}
        return {key: entry for key, entry in known.items() if entry is not None}


@dataclass(frozen=True)
class LikelihoodReport:
    """Everything there is to say of the likelihoods of one model or several."""

    entries: tuple[LikelihoodEntry, ...]
    findings: tuple[Finding, ...]
    settings: Mapping[str, Any]
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str

    def __str__(self) -> str:
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; the likelihoods of single images are left out."""
        record = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        plain: dict[str, Any] = _plain(record)
        return {"schema": SCHEMA, **plain}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_text(self, *, width: int = 100) -> str:
        """The report for a terminal: no line wider than ``width`` columns (at least 40)."""
        from genmetrics_rt.render.likelihood_page import render_likelihood_text

        return render_likelihood_text(self, width=width)

    def to_html(self, *, fragment: bool = False) -> str:
        """One self-contained page: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.likelihood_page import render_likelihood_page

        return render_likelihood_page(self, fragment=fragment)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        record = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
        for name in ("interval", "bits_interval", "verdict"):
            if hasattr(value, name):
                record[name] = getattr(value, name)
        value = record
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items() if key not in ("log_likelihoods", "pictures")}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
