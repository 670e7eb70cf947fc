"""What an evaluation says: `Report`, its parts, and their JSON (schema ``genmetrics.report/1``)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genmetrics_rt.errors import UnreadableInput

SCHEMA = "genmetrics.report/1"


@dataclass(frozen=True)
class Score:
    """One number of a report, with everything needed to read it.

    ``value`` is None when the number does not exist; ``reason`` then says why and what to do.
    """

    key: str
    name: str  # "Fréchet distance on scattering features"
    value: float | None
    higher_is_better: bool
    best: float | None  # the value of a perfect model: 0 for distances, 1 for precision; None where there is none
    meaning: str  # one plain sentence: what it measures
    comparable_with: str  # with which other numbers it may be compared
    settings: Mapping[str, Any] = field(default_factory=dict)
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # spread over subsets and the like
    reason: str | None = None
    fingerprint: str = ""  # hash of numeric id, protocol and settings: only like fingerprints may be compared


@dataclass(frozen=True)
class Finding:
    """A diagnosis: a claim, how serious it is, the evidence, and what to do about it."""

    key: str
    severity: str  # "info" | "warning" | "problem"
    claim: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class SkippedImage:
    """A file that was not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SideSummary:
    """What one of the two sides consisted of."""

    num_images: int
    source: str  # a path, "array (1000, 32, 32, 3)", "digits-gan (seed 0)" …
    content_hash: str
    skipped: tuple[SkippedImage, ...] = ()


@dataclass(frozen=True)
class ExtractorSummary:
    """Which features the numbers are made of.

    ``title`` is the long name; ``label`` is a warning that goes with every number, empty where none is needed.
    """

    name: str
    title: str
    label: str
    numeric_id: str
    protocol: str
    dimension: int


@dataclass(frozen=True)
class Thumbnail:
    """A small picture beside the number that made it worth showing."""

    name: str  # the file name (or "image 17" of an array)
    jpeg: bytes | None  # at most 128 px on the longer side; None when the picture cannot be read again
    value: float  # realism, or distance to the nearest generated image
    caption: str


@dataclass(frozen=True)
class Gallery:
    """A row of thumbnails with one question that they answer."""

    key: str  # "least_realistic" | "most_realistic" | "uncovered"
    title: str
    explanation: str
    thumbnails: tuple[Thumbnail, ...]


@dataclass(frozen=True)
class Curve:
    """Points of a curve in the order of its parameter, for instance PRD: x recall, y precision."""

    key: str  # "prd"
    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Runtime:
    """How the numbers were made: recorded beside the fingerprint, never part of it."""

    device: str
    backend: str
    versions: Mapping[str, str]
    seconds: float
    peak_memory_bytes: int | None
    images_per_second: float | None = None
    notes: tuple[str, ...] = ()  # "the cache at … is read-only: nothing was stored", …


@dataclass(frozen=True)
class Report:
    """Everything one evaluation has to say. ``report.scores["kid"].value`` is a number."""

    scores: Mapping[str, Score]
    findings: tuple[Finding, ...]
    generated: SideSummary
    reference: SideSummary
    extractor: ExtractorSummary
    fingerprint: str
    runtime: Runtime
    created: str  # ISO 8601, UTC
    version: str  # of genmetrics-rt
    curves: Mapping[str, Curve] = field(default_factory=dict)
    galleries: tuple[Gallery, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; non-finite numbers are None with a reason beside them."""
        record = dataclasses.asdict(self)
        for gallery in record["galleries"]:
            for thumbnail in gallery["thumbnails"]:
                del thumbnail["jpeg"]  # pictures live in the HTML only
        return {"schema": SCHEMA, **_plain(record)}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text (no pictures)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report that `to_json` wrote."""
        try:
            record = json.loads(text)
            if record.get("schema") != SCHEMA:
                raise UnreadableInput(f"Not a {SCHEMA} file: its schema is {record.get('schema')!r}.")
            return _report_from_dict(record)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise UnreadableInput(f"Not a {SCHEMA} file: {error!r}.") from error

    def to_markdown(self) -> str:
        """The report as a Markdown text for an issue, a pull request or a model card."""
        from genmetrics_rt.render.markdown import render_markdown

        return render_markdown(self)

    def to_html(self) -> str:
        """The report as one self-contained HTML page: no script, no external request."""
        from genmetrics_rt.render.html import render_html

        return render_html(self)

    def to_text(self, *, width: int = 100) -> str:
        """The report as a table for a terminal, without colour codes."""
        from genmetrics_rt.render.text import render_text

        return render_text(self, width=width)


def finite(value: float, why: str) -> tuple[float | None, str | None]:
    """``(value, None)`` when finite, else ``(None, why)``: how a score keeps NaN out of the JSON."""
    return (float(value), None) if math.isfinite(value) else (None, why)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "item"):  # a NumPy scalar
        return _plain(value.item())
    return value


def _report_from_dict(record: Mapping[str, Any]) -> Report:
    def side(entry: Mapping[str, Any]) -> SideSummary:
        return SideSummary(**{**entry, "skipped": tuple(SkippedImage(**s) for s in entry["skipped"])})

    def score(entry: Mapping[str, Any]) -> Score:
        return Score(**{**entry, "interval": tuple(entry["interval"]) if entry["interval"] else None})

    def gallery(entry: Mapping[str, Any]) -> Gallery:
        return Gallery(**{**entry, "thumbnails": tuple(Thumbnail(**t, jpeg=None) for t in entry["thumbnails"])})

    return Report(
        scores={key: score(entry) for key, entry in record["scores"].items()},
        findings=tuple(Finding(**entry) for entry in record["findings"]),
        generated=side(record["generated"]),
        reference=side(record["reference"]),
        extractor=ExtractorSummary(**record["extractor"]),
        fingerprint=record["fingerprint"],
        runtime=Runtime(**{**record["runtime"], "notes": tuple(record["runtime"]["notes"])}),
        created=record["created"],
        version=record["version"],
        curves={
            key: Curve(**{**entry, "x": tuple(entry["x"]), "y": tuple(entry["y"])})
            for key, entry in record["curves"].items()
        },
        galleries=tuple(gallery(entry) for entry in record["galleries"]),
    )
