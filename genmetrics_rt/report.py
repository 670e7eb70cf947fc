"""What an evaluation says: `Report`, its parts, and their JSON (schema ``genmetrics.report/1``)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genmetrics_rt.errors import UnreadableInput

SCHEMA = "genmetrics.report/1"

# How JSON says what it has no number for: null, with one of these beside it under "<key>_reason".
_NON_FINITE = {"not a number": math.nan, "infinite": math.inf, "minus infinite": -math.inf}
# Characters without a shape that json.dumps leaves as they are: half surrogates (bytes of a file name that are no
# text) cannot be written as UTF-8, the others steer a terminal or turn the reading direction around.
_SHAPELESS = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


@dataclass(frozen=True)
class PerfectModel:
    """What a perfect model would score against this reference: on average, and in 95 of 100 cases from low to high.

    The numbers of images are those that it holds for; ``how`` says how it was found.
    """

    value: float
    low: float
    high: float
    num_generated: int
    num_reference: int
    how: str


@dataclass(frozen=True)
class Score:
    """One number of a report, with everything needed to read it.

    ``value`` is None when the number does not exist; ``reason`` then says why and what to do. A value that is not
    finite becomes None here, so that nothing further on can print or compare it.
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
    replicates: tuple[float, ...] = ()  # the score without each of some groups of images: for paired tests
    floor: PerfectModel | None = None
    placement: str = ""  # where it stands among known damages of the reference, in words

    def __post_init__(self) -> None:
        what = None if self.value is None else _what_it_is(self.value)
        if what:
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "reason", self.reason or f"The result is {what}.")


@dataclass(frozen=True)
class Thumbnail:
    """A small picture beside the number that made it worth showing."""

    name: str  # the file name (or "image 17" of an array)
    jpeg: bytes | None  # at most 128 px on the longer side; None when the picture cannot be read again
    value: float  # realism, or distance to the nearest generated image
    caption: str
    text: str | None = None  # in the place of a picture where the side consists of texts; cut to a length


@dataclass(frozen=True)
class Finding:
    """A diagnosis: a claim, how serious it is, the evidence, and what to do about it."""

    key: str
    severity: str  # "info" | "warning" | "problem"
    claim: str
    evidence: str
    advice: str
    pictures: tuple[Thumbnail, ...] = ()  # that show it; pairs stand side by side


@dataclass(frozen=True)
class SkippedImage:
    """A file that was not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SideSummary:
    """What one of the two sides consisted of."""

    num_images: int | None  # None where a statistics file does not say
    source: str  # a path, "array (1000, 32, 32, 3)", "digits-gan (seed 0)" …
    content_hash: str
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()  # what was assumed about it, one sentence each


@dataclass(frozen=True)
class GeneratorSummary:
    """What a side that is a generator costs: recorded beside the fingerprint, never part of it."""

    name: str
    title: str
    latent_dim: int
    distribution: str  # "normal" | "uniform" | "truncnorm"
    truncation: float | None
    num_classes: int  # 0: not class-conditional
    image_size: tuple[int, int]  # height, width
    size_bytes: int  # of the graph with its weights
    num_parameters: int | None  # numbers in its weights and constants; None where they cannot be counted
    images_per_second: float  # of the network alone: no decoding, no features
    seconds_per_image: float  # median over warm batches, over the batch size
    batch_size: int
    num_batches: int  # that were timed
    device: str
    backend: str


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
    published: bool | str = False  # whether scores on them go by published names: fid, is; or by one protocol's: cmmd
    recipe: Mapping[str, Any] = field(default_factory=dict)  # every line that the features depend on, for `explain`
    modality: str = "image"  # what they are features of: "image" or "text"


@dataclass(frozen=True)
class Gallery:
    """A row of thumbnails with one question that they answer."""

    key: str  # "least_realistic" | "most_realistic" | "uncovered" | "nearest_pairs": generated, its reference, …
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
class ScaleRung:
    """What one severity of a damage scores, with its 95 % interval."""

    label: str  # "σ = 2 px"
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScaleDamage:
    """A damage of the reference, from mild to severe."""

    title: str  # "Gaussian blur"
    rungs: tuple[ScaleRung, ...]


@dataclass(frozen=True)
class LadderScale:
    """One score on the scale of known damages, all at equal numbers of images."""

    key: str
    title: str
    value: float  # of the user's images, as many as a rung has
    interval: tuple[float, float] | None
    floor: PerfectModel | None
    damages: tuple[ScaleDamage, ...]
    num_generated: int
    num_reference: int
    placement: str


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
    scales: tuple[LadderScale, ...] = ()  # where a ladder was asked for
    seed: int = 0  # of the evaluation: for samples of images, latents and clusters
    generators: Mapping[str, GeneratorSummary] = field(default_factory=dict)  # "generated", "reference": who are some

    def __str__(self) -> str:
        return self.to_text()

    @property
    def verdict(self) -> str:
        """The headline: the most serious finding, or that there is none. Empty where nothing was judged."""
        from genmetrics_rt.render.reading import verdict

        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values. One that is not finite is None, with ``"<key>_reason"`` beside it."""
        record = dataclasses.asdict(self)
        pictures = [gallery["thumbnails"] for gallery in record["galleries"]]
        pictures += [finding["pictures"] for finding in record["findings"]]
        for thumbnail in itertools.chain.from_iterable(pictures):
            del thumbnail["jpeg"]  # pictures live in the HTML only
            if thumbnail["text"] is None:
                del thumbnail["text"]
        return {"schema": SCHEMA, **_plain(record)}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON text (no pictures)."""
        return json_text(self.to_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report that `to_json` wrote."""
        try:
            record = json.loads(text)
            schema = record["schema"]
            report = _report_from_dict(_restored(record)) if schema == SCHEMA else None
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise UnreadableInput(f"Not a {SCHEMA} file: {error!r}.") from error
        if report is None:
            raise UnreadableInput(f"Not a {SCHEMA} file: its schema is {schema!r}.")
        return report

    def to_markdown(self) -> str:
        """The report as a Markdown text for an issue, a pull request or a model card."""
        from genmetrics_rt.render.markdown import render_markdown

        return render_markdown(self)

    def to_html(self, *, fragment: bool = False) -> str:
        """The report as one self-contained HTML page: no script, no external request.

        Parameters
        ----------
        fragment
            Instead of a page one ``<div class="genmetrics">`` to be put into another page. Its style reaches nothing
            outside and lets nothing in; its widths are those of the div; it is dark inside a host's ``.dark`` class
            and light everywhere else, whatever the system prefers. Headings begin at h2, ids are its own. It needs
            CSS nesting and container queries: browsers since December 2023.
        """
        from genmetrics_rt.render.html import render_html

        return render_html(self, fragment=fragment)

    def to_text(self, *, width: int = 100) -> str:
        """The report as a table for a terminal, without colour codes."""
        from genmetrics_rt.render.text import render_text

        return render_text(self, width=width)


def json_text(record: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Any record of ours as JSON text that every reader takes: null for what is not finite, no shapeless character."""
    text = json.dumps(_plain(record), indent=indent, ensure_ascii=False, allow_nan=False)
    return _SHAPELESS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def finite(value: float, why: str) -> tuple[float | None, str | None]:
    """``(value, None)`` when finite, else ``(None, why)``: how a score keeps NaN out of the JSON."""
    return (float(value), None) if math.isfinite(value) else (None, why)


def _plain(value: Any) -> Any:
    """JSON values only; a null that stands for a number has its reason in the next entry."""
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy, which is not imported here
    if isinstance(value, Mapping):
        plain = {}
        for key, entry in value.items():
            entry = entry.tolist() if hasattr(entry, "tolist") else entry
            plain[str(key)] = _plain(entry)
            several = isinstance(entry, Sequence) and not isinstance(entry, str)
            reason = [_what_it_is(number) for number in entry] if several else _what_it_is(entry)
            if any(reason or ()):
                plain[f"{key}_reason"] = reason
        return plain
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return None if _what_it_is(value) else value


def _what_it_is(value: Any) -> str | None:
    """ "not a number", "infinite", "minus infinite"; None for everything that JSON can say."""
    if not isinstance(value, float) or math.isfinite(value):
        return None
    return "not a number" if math.isnan(value) else "infinite" if value > 0 else "minus infinite"


def _restored(value: Any) -> Any:
    """The inverse of `_plain`: what was not finite is that again, and the reasons are gone."""
    if isinstance(value, list):
        return [_restored(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    restored = {key: _restored(entry) for key, entry in value.items()}
    for key in value:
        reason, entry = restored.get(f"{key}_reason"), restored.get(key)
        if entry is None and isinstance(reason, str) and reason in _NON_FINITE:
            restored[key] = _NON_FINITE[reason]
        elif isinstance(entry, list) and isinstance(reason, list) and set(reason) <= {None, *_NON_FINITE}:
            restored[key] = [_NON_FINITE.get(why, number) for number, why in zip(entry, reason, strict=True)]
        else:
            continue
        del restored[f"{key}_reason"]
    return restored


def _report_from_dict(record: Mapping[str, Any]) -> Report:
    def side(entry: Mapping[str, Any]) -> SideSummary:
        skipped = tuple(SkippedImage(**s) for s in entry["skipped"])
        return SideSummary(**{**entry, "skipped": skipped, "notes": tuple(entry.get("notes", ()))})

    def score(entry: Mapping[str, Any]) -> Score:
        interval = tuple(entry["interval"]) if entry["interval"] else None
        replicates = tuple(entry.get("replicates", ()))
        return Score(**{**entry, "interval": interval, "replicates": replicates, "floor": floor(entry.get("floor"))})

    def floor(entry: Mapping[str, Any] | None) -> PerfectModel | None:
        return None if entry is None else PerfectModel(**entry)

    def scale(entry: Mapping[str, Any]) -> LadderScale:
        damages = tuple(
            ScaleDamage(damage["title"], tuple(ScaleRung(**rung) for rung in damage["rungs"]))
            for damage in entry["damages"]
        )
        interval = tuple(entry["interval"]) if entry["interval"] else None
        return LadderScale(**{**entry, "interval": interval, "floor": floor(entry["floor"]), "damages": damages})

    def thumbnails(entries: Sequence[Mapping[str, Any]]) -> tuple[Thumbnail, ...]:
        return tuple(Thumbnail(**entry, jpeg=None) for entry in entries)

    def gallery(entry: Mapping[str, Any]) -> Gallery:
        return Gallery(**{**entry, "thumbnails": thumbnails(entry["thumbnails"])})

    def finding(entry: Mapping[str, Any]) -> Finding:
        return Finding(**{**entry, "pictures": thumbnails(entry.get("pictures", ()))})

    def generator(entry: Mapping[str, Any]) -> GeneratorSummary:
        height, width = entry["image_size"]
        return GeneratorSummary(**{**entry, "image_size": (height, width)})

    return Report(
        scores={key: score(entry) for key, entry in record["scores"].items()},
        findings=tuple(finding(entry) for entry in record["findings"]),
        generated=side(record["generated"]),
        reference=side(record["reference"]),
        extractor=ExtractorSummary(**record["extractor"]),
        fingerprint=record["fingerprint"],
        runtime=Runtime(**{**record["runtime"], "notes": tuple(record["runtime"]["notes"])}),
        created=record["created"],
        seed=record["seed"],
        version=record["version"],
        curves={
            key: Curve(**{**entry, "x": tuple(entry["x"]), "y": tuple(entry["y"])})
            for key, entry in record["curves"].items()
        },
        galleries=tuple(gallery(entry) for entry in record["galleries"]),
        scales=tuple(scale(entry) for entry in record.get("scales", ())),
        generators={what: generator(entry) for what, entry in record.get("generators", {}).items()},
    )
