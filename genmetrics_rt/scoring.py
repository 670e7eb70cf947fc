"""From two sides in one feature space to named, worded, fingerprinted scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genmetrics_rt.errors import TooFewImages, UnknownMetric
from genmetrics_rt.metrics.catalogue import METRICS, PUBLISHED_BY, settings_of
from genmetrics_rt.metrics.metric import Comparison, Metric, Outcome, Value
from genmetrics_rt.report import Curve, ExtractorSummary, Score, finite

ALL_KEYS = tuple(key for metric in METRICS for key in metric.keys)
# Asked for, but not the name on these features: why, and what to ask for instead.
_OTHER_NAMES = {
    "fid": "FID is the Fréchet distance on ImageNet Inception features; on other features ask for 'fd', or add "
    "--extractor inception-fid",
    "is": "the Inception Score needs the ImageNet Inception; on other class logits ask for 'class_score', or add "
    "--extractor inception-fid",
    "isc": "the Inception Score goes by 'is' on the ImageNet Inception (--extractor inception-fid), on other "
    "class logits by 'class_score'",
    "fd": "on the ImageNet Inception the Fréchet distance goes by its published name, 'fid'",
    "class_score": "on the ImageNet Inception the class score goes by its published name, 'is'",
    "sfid": "sFID needs the Inception's spatial tap: add --extractor inception-fid --protocol adm",
    "prd": "ask for 'prd_f8' and 'prd_f1_8'; the curve comes with them",
    "mmd": "ask for 'kid', the kernel distance, or 'rbf', that with a Gaussian kernel",
    "cmmd": "CMMD is of CLIP features by its own preprocessing: add --extractor clip-vit-l-14-336; on other features "
    "its formula is 'rbf'",
    "rbf": "by the protocol of CMMD it goes by its published name, 'cmmd'",
    "c2st": "ask for 'two_sample', the classifier two-sample test",
    "fid_inf": "FID∞ is of ImageNet Inception features; on other features ask for 'fd_inf'",
    "fd_inf": "on the ImageNet Inception it goes by its published name, 'fid_inf'",
    "is_inf": "IS∞ is of the ImageNet Inception; on other class logits ask for 'class_score_inf'",
    "class_score_inf": "on the ImageNet Inception it goes by its published name, 'is_inf'",
}


def settings_for(overrides: Mapping[str, Any], *, seed: int) -> dict[str, dict[str, Any]]:
    """Metric key → the settings it runs with: the catalogue's defaults with those of the protocol on top.

    ``seed`` is that of the evaluation, for the metrics whose reference implementation fixes none.
    """
    return {key: settings_of(metric, overrides, seed) for metric in METRICS for key in metric.keys}


@dataclass(frozen=True)
class Space:
    """What a set of features is called, and what can be scored on it."""

    name: str  # the extractor's short name, or "given"
    has_logits: bool = False
    has_spatial: bool = False
    published: bool | str = False  # scores go by their published names: those of FID's Inception, or of a protocol
    modality: str = "image"  # what they are features of

    def keys(self, *, by_default: bool = False) -> tuple[str, ...]:
        """The keys that a report on these features may have; or those that it has unless others are asked for."""
        return tuple(
            self.shown(key)
            for metric in METRICS
            for key in metric.keys
            if (self.has_logits or not metric.needs_logits)
            and (self.has_spatial or not metric.needs_spatial)
            and (
                metric.by_default
                or metric.default_on == self.modality
                or not by_default
                or self.shown(key) == self.published
            )
        )

    def shown(self, key: str) -> str:
        """The name of a catalogue key on these features: ``fd`` is ``fid`` on the ImageNet Inception."""
        names = PUBLISHED_BY.get(self.published, {})
        return names[key][0] if key in names else key


def choose_metrics(asked: str | Sequence[str] | None, space: Space) -> tuple[str, ...]:
    """The keys to report: those of every report that these features allow, those asked for, or with ``"all"`` all.

    Raises `UnknownMetric` for a key that does not exist, or not on these features; the message names the right one.
    """
    possible = space.keys()
    if asked is None:
        return space.keys(by_default=True)
    names = asked.split(",") if isinstance(asked, str) else list(asked)
    keys = [name.strip().lower() for name in names if name.strip()]
    if keys == ["all"]:
        return possible
    if not keys:
        raise UnknownMetric(f"No metric was named. These exist on {space.name} features: {', '.join(possible)}.")
    for key in keys:
        if key in possible:
            continue
        if key == "class_score" and not space.has_logits:
            raise UnknownMetric(f"{key!r} needs class logits, and {space.name} features have none. Leave it out.")
        why = f": {_OTHER_NAMES[key]}" if key in _OTHER_NAMES else ""
        raise UnknownMetric(f"No metric {key!r} on {space.name} features{why}. These exist: {', '.join(possible)}.")
    return tuple(key for key in possible if key in keys)


def score(
    comparison: Comparison, keys: Sequence[str], extractor: ExtractorSummary, space: Space
) -> tuple[dict[str, Score], dict[str, Curve]]:
    """Compute the metrics behind ``keys``. One that has too few images becomes a score without a value.

    Raises `TooFewImages` when no metric at all has enough.
    """
    scores: dict[str, Score] = {}
    curves: dict[str, Curve] = {}
    for metric in METRICS:
        wanted = [key for key in metric.keys if space.shown(key) in keys]
        if not wanted:
            continue
        settings = comparison.settings[wanted[0]]
        reason = None
        outcome = Outcome({})
        try:
            _require_rows(metric, comparison)
            outcome = _saying_the_sample(metric, comparison, metric.compute(comparison, settings))
        except TooFewImages as error:
            reason = str(error)
        for key in wanted:
            shown = space.shown(key)
            scores[shown] = _worded(metric, key, shown, outcome.values.get(key), reason, settings, extractor)
        curves.update({curve.key: curve for curve in outcome.curves})
    if scores and all(entry.value is None for entry in scores.values()):
        raise TooFewImages(
            f"No metric could be computed from {comparison.generated.num_images} generated and "
            f"{comparison.reference.num_images} reference images. {next(iter(scores.values())).reason}"
        )
    return {key: scores[key] for key in keys}, curves


def report_fingerprint(extractor: ExtractorSummary, settings: Mapping[str, Any]) -> str:
    """What two reports must share to be comparable at all: features, protocol, and the settings of the metrics that
    every report has.
    """
    always = {key: settings[key] for metric in METRICS if metric.by_default for key in metric.keys}
    return _digest({"numeric_id": extractor.numeric_id, "protocol": extractor.protocol, "settings": always})


def _worded(
    metric: Metric,
    key: str,
    shown: str,
    value: Value | None,
    reason: str | None,
    settings: Mapping[str, Any],
    extractor: ExtractorSummary,
) -> Score:
    wording = metric.wording[key]
    if shown != key:
        wording = next(names[key][1] for names in PUBLISHED_BY.values() if names.get(key, ("",))[0] == shown)(wording)
    number, why_not = (None, reason) if value is None else finite(value.value, value.why_not_finite)
    uncertainty = value.uncertainty if value and number is not None else None
    return Score(
        key=shown,
        name=f"{wording.title} on {extractor.name} features" if extractor.name != "features" else wording.title,
        value=number,
        higher_is_better=wording.higher_is_better,
        best=wording.best,
        meaning=wording.meaning,
        comparable_with=wording.comparable_with,
        settings=dict(settings),
        standard_error=uncertainty.standard_error if uncertainty else None,
        interval=uncertainty.interval if uncertainty else None,
        replicates=uncertainty.replicates if uncertainty else (),
        details=dict(value.details) if value else {},
        reason=why_not,
        fingerprint=_digest(
            {
                "numeric_id": extractor.numeric_id,  # holds all of the protocol that features depend on
                "key": shown,
                "settings": dict(settings),
            }
        ),
    )


def _saying_the_sample(metric: Metric, comparison: Comparison, outcome: Outcome) -> Outcome:
    """The same, with the numbers of rows beside each value where a side was so large that only a sample was kept."""
    used = {
        f"num_{name}_used": len(side.values)
        for name, side in (("generated", comparison.generated), ("reference", comparison.reference))
        if metric.needs_rows and not side.has_all_rows
    }
    values = {key: replace(value, details={**value.details, **used}) for key, value in outcome.values.items()}
    return replace(outcome, values=values)


def _require_rows(metric: Metric, comparison: Comparison) -> None:
    # Class scores look at the generated side alone.
    sides = (comparison.generated,) if metric.needs_logits else (comparison.generated, comparison.reference)
    if metric.needs_rows and any(len(side.values) == 0 for side in sides):
        raise TooFewImages(
            "This metric needs the features of single images, and one side holds only their mean and covariance. "
            "Give the images of that side."
        )


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
