"""What a window is held against, and what comes of it: values for the alarms, findings, a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.calibration.floor import MIN_REFERENCE, Floor, floors, some_rows
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.rules import diagnose
from genmetrics_rt.diagnosis.traits import Traits
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.features import Features
from genmetrics_rt.meaning import with_floors
from genmetrics_rt.metrics.catalogue import METRICS
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.monitor.limits import (
    Limit,
    all_finite,
    level_of_each,
    limit_of_mean,
    limit_of_windows,
    score_windows,
)
from genmetrics_rt.monitor.panes import TRAITS, Pane
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Finding, Report, Runtime, Score, SideSummary
from genmetrics_rt.scoring import Space, choose_metrics, report_fingerprint, score, settings_for
from genmetrics_rt.version import __version__

DEFAULT_METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")
_SHARES = ("precision", "recall", "coverage")  # of images
WATCHED_TRAITS = {"sharpness": "high_frequency", "brightness": "brightness", "contrast": "contrast"}
MIN_HEALTHY = 100  # images, in two windows' worth of rows
NUM_WINDOWS = 100  # drawn for the limits
_JUDGED_WINDOWS = 5  # of them also by the diagnosis: what it says of healthy windows is no news


@dataclass(frozen=True)
class Sizes:
    """Images of a window and panes in it, and rows that are kept of it for what looks at neighbours."""

    window: int
    panes: int
    max_rows: int

    @property
    def pane(self) -> int:
        return self.window // self.panes


class Judge:
    """Scores windows against a reference, and knows how healthy ones score.

    Parameters
    ----------
    reference : Reference
    healthy : Features
        Of healthy images. None: the reference is dealt in two; one half is scored against, the other is healthy.
    reference_traits, healthy_traits : (t, 7) or None
        Of some images of either side. Without healthy ones traits are not watched.
    """

    def __init__(
        self,
        reference: Reference,
        healthy: Features | None,
        sizes: Sizes,
        *,
        metrics: str | Sequence[str] | None = None,
        reference_traits: FloatArray | None = None,
        healthy_traits: FloatArray | None = None,
        false_alarms: float = 1e-3,
        seed: int = 0,
    ) -> None:
        whole, self.extractor, self.reference_summary = reference.features, reference.extractor, reference.summary
        rng = np.random.default_rng([seed, 7])
        if healthy is None:
            if len(whole.values) < 2 * MIN_HEALTHY:
                raise InputError(
                    f"The reference has the features of {len(whole.values):,} single images. Without healthy= it is "
                    f"dealt in two, one half for healthy windows, which takes {2 * MIN_HEALTHY}. Give a larger "
                    "reference with its images, or healthy= (samples of the model at its best)."
                )
            dealt = rng.permutation(len(whole.values))
            half = len(dealt) // 2
            whole, healthy = some_rows(whole, dealt[:half]), some_rows(whole, dealt[half:])
            self.reference_summary = replace(
                self.reference_summary, num_images=half, notes=(*self.reference_summary.notes, _HALVED)
            )
        if len(healthy.values) < MIN_HEALTHY:
            raise InputError(
                f"The healthy side has {len(healthy.values):,} images, and limits from fewer than {MIN_HEALTHY} say "
                "too little. Give more of them."
            )
        self.sizes, self._seed, self._false_alarms = sizes, seed, false_alarms
        self._reference_traits, self._healthy_traits = reference_traits, healthy_traits
        # Neighbours are looked for among as many rows as a window keeps, at most: the cost is their product.
        self.reference = _sampled(whole, sizes.max_rows, rng)
        self._healthy = healthy
        # As many rows as can be drawn from the healthy side without looking at each image all the time.
        self.rows = min(sizes.window, sizes.max_rows, len(healthy.values) // 2)
        self.space = Space(self.extractor.name, has_logits=whole.logits is not None, published=self.extractor.published)
        shown = [self.space.shown(key) for key in DEFAULT_METRICS]
        self.keys = choose_metrics(metrics, self.space) if metrics is not None else tuple(shown)
        if not len(self.reference.values):  # mean and covariance alone
            self.keys = tuple(key for key in self.keys if key == self.space.shown("fd"))
        self.settings = settings_for(reference.settings, seed=seed)
        # All pairs: a subset would make the value depend on the order of the rows.
        subset = min(self.rows, len(self.reference.values) or self.rows)
        self.settings["kid"] = {**self.settings["kid"], "num_subsets": 1, "subset_size": subset}
        self._incremental = {
            self.space.shown(key) for metric in METRICS if not metric.needs_rows for key in metric.keys
        }

    @property
    def limits(self) -> Mapping[str, Limit]:
        """By key: of scores, and of mean traits as ``sharpness_low`` and ``sharpness_high``."""
        return self._known[0]

    @property
    def usual(self) -> frozenset[str]:
        """Findings that hold for healthy windows too."""
        return self._known[1]

    @property
    def is_calibrated(self) -> bool:
        """Whether the limits are known, so that nothing has to be scored to have them."""
        return "_known" in self.__dict__

    def forget_healthy(self) -> None:
        """Let the rows of the healthy side go, once the limits are known."""
        assert self.limits is not None and self._floors is not None
        self._healthy = some_rows(self._healthy, np.empty(0, np.intp))

    def restore(self, record: Mapping[str, Any]) -> None:
        """The limits that `to_record` gave, instead of computing them."""
        limits = {key: Limit(**entry) for key, entry in record["limits"].items()}
        self._floors = {key: Floor(**entry) for key, entry in record["floors"].items()}
        self._known = limits, frozenset(record["usual"])

    def to_record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "limits": {key: asdict(limit) for key, limit in self.limits.items()},
            "usual": sorted(self.usual),
            "floors": {key: asdict(floor) for key, floor in self._floors.items()},
        }

    @cached_property
    def _known(self) -> tuple[Mapping[str, Limit], frozenset[str]]:
        """Score healthy windows."""
        rng = np.random.default_rng([self._seed, 8])
        num_healthy = len(self._healthy.values)
        large = min(self.sizes.window, num_healthy // 2)
        incremental = [key for key in self.keys if key in self._incremental]
        others = [key for key in self.keys if key not in self._incremental]
        windows = {}
        for keys, size in ((incremental, large), (others, self.rows)):
            if keys:
                windows.update(score_windows(self._scored(keys), num_healthy, size, NUM_WINDOWS, rng))
        keys = all_finite(windows, self.keys)
        traits = WATCHED_TRAITS if self._healthy_traits is not None else {}
        level = level_of_each(self._false_alarms, max(1, len(keys) + 2 * len(traits)), self.sizes.panes)
        signs = {key: -1 if self._higher_is_better(key) else 1 for key in keys}
        limits = {}
        for key in keys:
            share, shift, shrink = self.rows / num_healthy, 0.0, 1.0
            if key in self._incremental:
                share, shrink = large / num_healthy, (large / self.sizes.window) ** 0.5
                shift = self._less_bias(key, large, float(windows[key].mean()), rng)
            limits[key] = limit_of_windows(
                windows[key],
                sign=signs[key],
                share=share,
                level=level,
                shift=shift,
                shrink=shrink,
                step=self._step(key),
            )
        for name, column in traits.items():
            assert self._healthy_traits is not None
            values = self._healthy_traits[:, TRAITS.index(column)]
            seen = self.sizes.panes * traits_per_pane(self.sizes)
            limits[f"{name}_low"] = limit_of_mean(values, sign=-1, num_images=seen, level=level)
            limits[f"{name}_high"] = limit_of_mean(values, sign=1, num_images=seen, level=level)
        usual: set[str] = set()
        for _ in range(_JUDGED_WINDOWS):
            chosen = rng.permutation(num_healthy)[: self.rows]
            usual |= {finding.key for finding in self._findings(some_rows(self._healthy, chosen), self._drawn(rng))}
        return limits, frozenset(usual)

    def _step(self, key: str) -> float:
        """By how much a single image can move a score that is a share."""
        of_reference = key in ("recall", "coverage")
        return 1 / (len(self.reference.values) if of_reference else self.rows) if key in _SHARES else 0.0

    def _less_bias(self, key: str, size: int, mean: float, rng: np.random.Generator) -> float:
        """How much lower the score of a whole window is than that of ``size`` images, by its law in 1/N."""
        if size == self.sizes.window:
            return 0.0
        smaller = score_windows(self._scored([key]), len(self._healthy.values), size // 2, NUM_WINDOWS // 4, rng)[key]
        slope = max(0.0, (float(smaller.mean()) - mean) / (1 / (size // 2) - 1 / size))
        return slope * (1 / self.sizes.window - 1 / size)

    def _scored(self, keys: Sequence[str]) -> Any:
        """Rows of the healthy side → the scores of a window of them."""

        def draw(chosen: IntArray) -> dict[str, float]:
            scores = self._scores(some_rows(self._healthy, chosen), keys)[0]
            return {key: np.nan if scores[key].value is None else float(scores[key].value or 0.0) for key in keys}

        return draw

    def _higher_is_better(self, key: str) -> bool:
        for metric in METRICS:
            for own in metric.keys:
                if self.space.shown(own) == key:
                    return metric.wording[own].higher_is_better
        raise KeyError(key)

    def _scores(self, generated: Features, keys: Sequence[str]) -> tuple[dict[str, Score], Comparison]:
        comparison = Comparison(generated, self.reference, self.extractor.name, self._seed, self.settings, False)
        try:
            return score(comparison, tuple(keys), self.extractor, self.space)[0], comparison
        except TooFewImages:
            return {}, comparison

    @cached_property
    def _floors(self) -> dict[str, Floor]:
        if len(self.reference.values) < MIN_REFERENCE:
            return {}
        return floors(self.reference, self.sizes.window, self.keys, self.settings, seed=self._seed, repetitions=4)

    def values(self, window: Pane) -> dict[str, float]:
        """The scores of a window, and its mean traits by the keys of the limits."""
        return self._values(window, self._scores(window.first_rows(self.rows), self.keys)[0])

    def _values(self, window: Pane, scores: Mapping[str, Score]) -> dict[str, float]:
        values = {key: score.value for key, score in scores.items() if score.value is not None}
        for name, column in WATCHED_TRAITS.items():
            if len(window.traits):
                mean = float(window.traits[:, TRAITS.index(column)].mean())
                values |= {name: mean, f"{name}_low": mean, f"{name}_high": mean}
        return values

    def judge(self, window: Pane) -> tuple[dict[str, float], Report]:
        """A whole window: its values, and the report with its findings."""
        scores, comparison = self._scores(window.first_rows(self.rows), self.keys)
        scores = with_floors(scores, self._floors)
        traits = window.all_traits() if len(window.traits) else None
        findings = self._diagnosed(comparison, scores, traits)
        report = Report(
            scores=scores,
            findings=findings,
            generated=SideSummary(window.num_images, f"the stream, {_span(window)}", content_hash=""),
            reference=self.reference_summary,
            extractor=self.extractor,
            fingerprint=report_fingerprint(self.extractor, self.settings),
            runtime=Runtime(
                device="none",
                backend="none",
                versions=library_versions(),
                seconds=window.ended - window.started,
                peak_memory_bytes=peak_memory(),
            ),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            seed=self._seed,
        )
        return self._values(window, scores), report

    def _findings(self, generated: Features, traits: Traits | None) -> tuple[Finding, ...]:
        scores, comparison = self._scores(generated, self.keys)
        return self._diagnosed(comparison, scores, traits)

    def _diagnosed(
        self, comparison: Comparison, scores: Mapping[str, Score], traits: Traits | None
    ) -> tuple[Finding, ...]:
        of_reference = None if self._reference_traits is None else as_traits(self._reference_traits)
        return diagnose(
            Evidence(comparison, scores, self._floors, generated_traits=traits, reference_traits=of_reference)
        )

    def _drawn(self, rng: np.random.Generator) -> Traits | None:
        """Traits of as many healthy images as a window has them."""
        if self._healthy_traits is None:
            return None
        seen = self.sizes.panes * traits_per_pane(self.sizes)
        return as_traits(self._healthy_traits[rng.permutation(len(self._healthy_traits))[:seen]])


_HALVED = "One half of the reference that was given; windows of the other half told how healthy ones score."


def traits_per_pane(sizes: Sizes) -> int:
    """Images of a pane whose pixels are looked at: 400 in a window."""
    return min(sizes.pane, max(1, 400 // sizes.panes))


def as_traits(rows: FloatArray) -> Traits:
    """Rows (t, 7) as the diagnosis takes them."""
    nothing = np.empty((0, 0), np.float32)
    return Pane(0, None, nothing, None, rows, 0.0, 0.0).all_traits()  # type: ignore[arg-type]


def traits_table(traits: Traits) -> FloatArray:
    """(t, 7) the columns `TRAITS` of traits."""
    return np.stack([np.asarray(getattr(traits, name), np.float64) for name in TRAITS], axis=1)


def _sampled(features: Features, most: int, rng: np.random.Generator) -> Features:
    """At most so many rows, with the statistics of all images."""
    if len(features.values) <= most:
        return features
    chosen: NDArray[np.intp] = np.sort(rng.choice(len(features.values), most, replace=False))
    few = some_rows(features, chosen)
    return replace(few, num_images=features.num_images, all_statistics=features.statistics())


def _span(window: Pane) -> str:
    first, last = (
        datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds") for when in (window.started, window.ended)
    )
    return f"{first} to {last}"


def record_text(record: Mapping[str, Any]) -> str:
    """A record in one form for each content, for its hash."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), default=str)
