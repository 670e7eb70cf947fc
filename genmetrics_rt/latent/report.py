"""What a look at a latent space says: `LatentReport` and its JSON (schema ``genmetrics.latent/1``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genmetrics_rt.latent.disentanglement import Disentanglement
from genmetrics_rt.latent.path_length import PathLength
from genmetrics_rt.latent.smoothness import Smoothness
from genmetrics_rt.latent.strips import Strip, sheet
from genmetrics_rt.report import Finding, GeneratorSummary, Runtime, json_text

SCHEMA = "genmetrics.latent/1"


@dataclass(frozen=True)
class DistanceSummary:
    """Which perceptual distance the path length is made of; ``label`` is a warning that goes with every number."""

    name: str
    title: str
    label: str
    numeric_id: str


@dataclass(frozen=True)
class LatentReport:
    """Everything `examine_latent_space` has to say. ``report.path_length.value`` is a number."""

    path_length: PathLength
    smoothness: Smoothness
    disentanglement: Disentanglement | None  # None where the generator declares no factors and none were asked for
    findings: tuple[Finding, ...]
    strips: tuple[Strip, ...]
    generator: GeneratorSummary
    distance: DistanceSummary
    seed: int
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str

    def __str__(self) -> str:
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, without pictures and latents; ``distances`` are d / ε² of every path."""
        return {
            "schema": SCHEMA,
            **{entry.name: _plain(getattr(self, entry.name)) for entry in dataclasses.fields(self)},
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_text(self, *, width: int = 100) -> str:
        """The report for a terminal, without colour codes."""
        from genmetrics_rt.render.latent_page import render_latent_text

        return render_latent_text(self, width=width)

    def to_html(self, *, fragment: bool = False) -> str:
        """The report as one self-contained HTML page with the strips: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.latent_page import render_latent_page

        return render_latent_page(self, fragment=fragment)

    def strips_png(self) -> bytes:
        """All picture strips below each other as one PNG."""
        return sheet(self.strips)


def _plain(value: Any) -> Any:
    if isinstance(value, Strip):
        return {"key": value.key, "title": value.title, "caption": value.caption}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [entry.name for entry in dataclasses.fields(value) if entry.name != "paths"]
        return {name: _plain(getattr(value, name)) for name in fields if not name.endswith("jpeg")}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value
