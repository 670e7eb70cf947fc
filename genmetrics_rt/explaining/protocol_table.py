"""The same images under every protocol of an extractor: how far apart published numbers of one model can lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.errors import InputError, TooFewImages, UnknownMetric
from genmetrics_rt.explaining.differences import catalogue_key
from genmetrics_rt.explaining.recomputing import FeaturePair, features_of, open_images_of
from genmetrics_rt.fetch import fetch_bundle
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import DEFAULT_EXTRACTOR
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.report import Report, Score
from genmetrics_rt.scoring import Space, report_fingerprint, settings_for
from genmetrics_rt.sides import Side

SCHEMA = "genmetrics.protocol-matrix/1"
# All but the PRD scores: no published implementation fixes them, and their clustering takes the longest.
DEFAULT_METRICS = ("fid", "fd", "sfid", "kid", "is", "class_score", "precision", "recall", "density", "coverage")


def protocol_matrix(
    generated: Any,
    reference: Any,
    *,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    tap: str | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Report]:
    """Score the same images under all protocols of an extractor: protocol → its report, in the manifest's order.

    The network runs once for each way to prepare the pixels, however many protocols share it, with a cache or without.
    Parameters as in `evaluate`; ``metrics`` None is all but the PRD scores, and a metric that only some protocols
    have (sFID) is in their reports only. The reports hold no pictures.

    Raises
    ------
    InputError
        The extractor has one protocol only, a side holds features instead of images, or one of its other kinds.
    UnknownMetric
        A metric that no protocol of this extractor has.
    """
    bundle = _several_protocols(extractor)
    sides = open_images_of(generated, "A protocol matrix"), open_images_of(reference, "A protocol matrix")
    taps = bundle.manifest.taps
    own_tap = tap is None or taps.get(tap) == taps["features"]
    spaces = {
        name: Space(
            bundle.name,
            has_logits="logits" in taps,
            has_spatial=protocol.spatial,
            published=own_tap and bundle.manifest.published_by(protocol),
        )
        for name, protocol in bundle.manifest.protocols.items()
    }
    asked = _asked(metrics, spaces)
    if bundle.is_weight_free:  # only once nothing else can be refused
        bundle = fetch_bundle(bundle, progress=progress)
    options = {
        "device": device, "backend": backend, "precision": precision, "num_images": num_images, "seed": seed,
        "cache": cache, "strict": strict, "batch_size": batch_size, "threads": threads, "progress": progress,
    }  # fmt: skip
    reports: dict[str, Report] = {}
    for group in _alike(bundle.manifest.protocols.values()):
        of_group = _Group(_features(sides, bundle, group, tap, options), seed)
        for protocol in group:
            keys = [key for key in spaces[protocol.name].keys() if key in asked]
            if keys:
                reports[protocol.name] = of_group.report(protocol, keys)
    return {name: reports[name] for name in bundle.manifest.protocols if name in reports}


def matrix_record(reports: Mapping[str, Report]) -> dict[str, Any]:
    """The reports as plain JSON values, schema ``genmetrics.protocol-matrix/1``."""
    return {"schema": SCHEMA, "reports": {name: report.to_dict() for name, report in reports.items()}}


def _several_protocols(extractor: str | os.PathLike[str] | Bundle | None) -> Bundle:
    if not isinstance(extractor, Bundle):
        extractor = load_bundle(extractor or os.environ.get("GENMETRICS_EXTRACTOR") or DEFAULT_EXTRACTOR)
    if extractor.kind != "extractor":
        raise InputError(
            f"{extractor.name!r} is a {extractor.kind}, not an extractor. `genmetrics bundles list` names the "
            "extractors."
        )
    if len(extractor.manifest.protocols) == 1:
        raise InputError(
            f"Extractor {extractor.name!r} has one protocol, so there is nothing to compare. Leave --protocol-matrix "
            "out, or name an extractor that has several: --extractor inception-fid."
        )
    return extractor


def _asked(metrics: str | Sequence[str] | None, spaces: Mapping[str, Space]) -> set[str]:
    """The keys to show. Raises `UnknownMetric` for one that no protocol has."""
    possible = {key for space in spaces.values() for key in space.keys()}
    if metrics is None:
        return possible & set(DEFAULT_METRICS)
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    keys = {name.strip().lower() for name in names if name.strip()}
    if not keys or keys - possible:
        wrong = f"No metric {min(keys - possible)!r}" if keys else "No metric was named"
        raise UnknownMetric(
            f"{wrong} under any protocol of this extractor. These exist: {', '.join(sorted(possible))}."
        )
    return keys


def _alike(protocols: Iterable[Protocol]) -> list[list[Protocol]]:
    """Protocols that prepare pixels in the same way, together: they share their features."""
    groups: dict[str, list[Protocol]] = {}
    for protocol in protocols:
        groups.setdefault(repr(protocol.numeric_part()), []).append(protocol)
    return list(groups.values())


def _features(
    sides: tuple[Side, Side], bundle: Bundle, group: Sequence[Protocol], tap: str | None, options: Mapping[str, Any]
) -> FeaturePair:
    """The features of a group. The spatial tap costs no second pass: it is collected if any of them wants it."""
    protocol = replace(group[0], spatial=any(protocol.spatial for protocol in group))
    return features_of(*sides, bundle=bundle, protocol=protocol, tap=tap, options=options, what=group[0].name)


@dataclass(frozen=True)
class _Made:
    """A score with what it was made with, to be taken again where the settings are the same."""

    settings: Mapping[str, Any]
    score: Score


class _Group:
    """The reports of protocols that share their features. A score is computed once for each way to set it."""

    def __init__(self, pair: FeaturePair, seed: int) -> None:
        self._pair, self._seed = pair, seed
        self._made: dict[str, list[_Made]] = {}
        self._last: Report | None = None

    def report(self, protocol: Protocol, keys: Sequence[str]) -> Report:
        settings = settings_for(protocol.metrics, seed=self._seed)
        of = {key: settings[catalogue_key(key)] for key in keys}
        fresh = [key for key in keys if self._known(key, of[key]) is None]
        if fresh or self._last is None:
            self._last = self._compute(protocol, fresh or keys, keys)
            for key, score in self._last.scores.items():
                self._made.setdefault(key, []).append(_Made(of[key], score))
        extractor = replace(self._last.extractor, protocol=protocol.name)
        known = {key: self._known(key, of[key]) for key in keys}
        return replace(
            self._last,
            scores={key: score for key, score in known.items() if score is not None},
            extractor=extractor,
            fingerprint=report_fingerprint(extractor, settings),
        )

    def _known(self, key: str, settings: Mapping[str, Any]) -> Score | None:
        return next((made.score for made in self._made.get(key, ()) if made.settings == settings), None)

    def _compute(self, protocol: Protocol, fresh: Sequence[str], keys: Sequence[str]) -> Report:
        pair = self._pair if protocol.spatial else _without_spatial(self._pair)
        try:
            return pair.report(protocol.name, protocol.metrics, metrics=fresh, seed=self._seed)
        except TooFewImages:  # for these alone: together with the others they are scores without a value
            return pair.report(protocol.name, protocol.metrics, metrics=keys, seed=self._seed)


def _without_spatial(pair: FeaturePair) -> FeaturePair:
    generated, reference = (
        replace(side, features=replace(side.features, spatial=None)) for side in (pair.generated, pair.reference)
    )
    return replace(pair, generated=generated, reference=reference)
