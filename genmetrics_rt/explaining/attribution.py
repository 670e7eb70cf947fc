"""How much each line of the recipe moves the scores: from one report's recipe to another's, one line at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.errors import BundleError, InputError, TooFewImages
from genmetrics_rt.explaining.differences import (
    NETWORK_LINES,
    PIXEL_LINES,
    Difference,
    catalogue_key,
    differing,
    recipe_differences,
    scores_by_catalogue,
)
from genmetrics_rt.explaining.recomputing import DEFAULTS, FeaturePair, features_of, open_images_of
from genmetrics_rt.fetch import fetch_bundle
from genmetrics_rt.manifest import Protocol, factor
from genmetrics_rt.metrics.catalogue import METRICS
from genmetrics_rt.report import ExtractorSummary, Report, SideSummary
from genmetrics_rt.scoring import Space
from genmetrics_rt.sides import Side

TOLERANCE = 1e-4  # relative: what devices and versions may move a number by
_ZERO = 1e-7  # below this, numbers are rounding around 0
Values = Mapping[str, float | None]  # catalogue key → value


@dataclass(frozen=True)
class Step:
    """One line changed: what it was, what it became, and the scores it touches before and after."""

    difference: Difference
    before: Values
    after: Values


@dataclass(frozen=True)
class Attribution:
    """The way from the first report's scores to the second's on the same images.

    ``start`` and ``end`` are all shared scores by the first and by the second recipe; the changes of the steps add up
    to what lies between them. ``complaints`` say where they are not the numbers of the reports.
    """

    start: Values
    steps: tuple[Step, ...]
    end: Values
    complaints: tuple[str, ...] = ()


class CannotRecompute(InputError):
    """A report's network is not here, or is another one, so that its numbers cannot be computed again."""


def attribute(
    first: Report, second: Report, names: tuple[str, str], generated: Any, reference: Any, **options: Any
) -> Attribution:
    """Compute the shared scores by the first recipe, then change one differing line after the other.

    Lines of the picture come in the order of the pipeline, then the settings of the metrics. Another graph brings its
    whole recipe with it, as one step. ``options`` are those of `evaluate` that say how features are computed, and
    ``extractor``: a bundle for reports whose extractor has no name here.

    Raises
    ------
    CannotRecompute
        A network that is not on this machine under its name, or features that were given.
    InputError
        One of its kinds, where the sides cannot be used.
    """
    own = options.pop("extractor", None)
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise InputError(f"explain has no option {unknown[0]!r}. It has: {', '.join(['extractor', *DEFAULTS])}.")
    options = {**DEFAULTS, "seed": first.seed, **options}
    shared = tuple(key for key in scores_by_catalogue(first) if key in scores_by_catalogue(second))
    settings = [_settings(report, shared) for report in (first, second)]
    recipes = [_Recipe.of(report, own, options, "sfid" in shared) for report in (first, second)]
    opened = open_images_of(generated, "explain"), open_images_of(reference, "explain")

    # Each step is (what changes, the recipe and the settings after it).
    pair = recipes[0].features(*opened, options, names[0])
    start = values = _scores(pair, shared, settings[0], options["seed"])
    steps = []
    for difference, recipe in _recipes_between(recipes[0], recipes[1], first.extractor, second.extractor):
        pair = recipe.features(*opened, options, difference.line)
        after = _scores(pair, shared, settings[0], options["seed"])
        steps.append(Step(difference, values, after))
        values = after
    for keys, difference, changed in _settings_between(settings[0], settings[1], shared):
        after = _scores(pair, keys, changed, options["seed"])
        steps.append(Step(difference, {key: values[key] for key in keys}, after))
        values = {**values, **after}
    ends = ((names[0], first, start), (names[1], second, values))
    complaints = [text for name, report, found in ends for text in _complaints(name, report, found, pair)]
    return Attribution(start, tuple(steps), values, tuple(complaints))


def agree(first: float | None, second: float | None) -> bool:
    """Whether two values are the same up to what devices and versions move them by."""
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=_ZERO)


@dataclass(frozen=True)
class _Recipe:
    """Everything that features depend on, ready to run."""

    bundle: Bundle
    protocol: Protocol
    tap: str
    precision: str

    @classmethod
    def of(cls, report: Report, own: Any, options: Mapping[str, Any], spatial: bool) -> _Recipe:
        """The recipe that a report was made by. Raises `CannotRecompute` unless exactly that is on this machine."""
        extractor = report.extractor
        try:
            protocol, tap = _protocol_of(extractor, spatial), str(extractor.recipe["tap"])
            precision = str(extractor.recipe["precision"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CannotRecompute(
                f"the report on {extractor.title} does not hold the whole recipe of its features. Evaluate again from "
                "images, with this version."
            ) from error
        for candidate in (own, extractor.name) if own is not None else (extractor.name,):
            bundle = _opened(candidate, options)
            if bundle is not None and bundle.manifest.numeric_id(protocol, tap, precision) == extractor.numeric_id:
                return cls(bundle, protocol, tap, precision)
        raise CannotRecompute(
            f"the network {extractor.name!r} of that report is not on this machine under its name, or is another one "
            "now (other graph or weights). Give its bundle with --extractor DIR, or see `genmetrics bundles list`."
        )

    def features(self, generated: Side, reference: Side, options: Mapping[str, Any], what: str) -> FeaturePair:
        return features_of(
            generated,
            reference,
            bundle=self.bundle,
            protocol=self.protocol,
            tap=self.tap,
            options={**options, "precision": self.precision},
            what=what,
        )


def _protocol_of(extractor: ExtractorSummary, spatial: bool) -> Protocol:
    """The protocol that a report's recipe describes, without settings of metrics."""
    lines = extractor.recipe
    return Protocol(
        name=extractor.protocol,
        size=(int(lines["size"][0]), int(lines["size"][1])),
        resize=str(lines["resize"]),
        rounding=str(lines["rounding"]),
        alpha=str(lines["alpha"]),
        layout=str(lines["layout"]),
        dtype=str(lines["dtype"]),
        orientation=str(lines["orientation"]),
        scale=factor(lines["scale"]),
        offset=factor(lines["offset"]),
        metrics={},
        spatial=spatial,
        crop=str(lines.get("crop", "none")),
    )


def _opened(extractor: Any, options: Mapping[str, Any]) -> Bundle | None:
    try:
        bundle = extractor if isinstance(extractor, Bundle) else load_bundle(extractor)
    except BundleError:
        return None
    if not bundle.is_weight_free:
        return bundle
    try:
        return fetch_bundle(bundle, progress=options["progress"])
    except InputError as error:
        raise CannotRecompute(str(error)) from error


def _recipes_between(
    first: _Recipe, second: _Recipe, first_extractor: ExtractorSummary, second_extractor: ExtractorSummary
) -> Iterator[tuple[Difference, _Recipe]]:
    """The recipes on the way, each with the line that was changed to get there."""
    differences = recipe_differences(first_extractor, second_extractor)
    network = [difference for difference in differences if difference.line in NETWORK_LINES]
    recipe = first
    if network:
        # Another graph takes other pictures, so the rest of its recipe belongs to it.
        whole = any(difference.line == "graph" for difference in network)
        recipe = second if whole else replace(second, protocol=first.protocol)
        yield network[0], recipe
        if whole:
            return
    pixels = {difference.line: difference for difference in differences if difference.line in PIXEL_LINES}
    for line in PIXEL_LINES:
        if line not in pixels:
            continue
        fields = ("scale", "offset") if line == "scaling" else (line,)
        changed = {field: getattr(second.protocol, field) for field in fields}
        recipe = replace(recipe, protocol=replace(recipe.protocol, **changed))
        yield pixels[line], recipe
    for difference in differences:
        if difference.line == "precision":
            yield difference, replace(recipe, precision=second.precision)


def _settings(report: Report, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Catalogue key → the settings its score was made with, as far as this version has them."""
    scores = scores_by_catalogue(report)
    known = {
        key: {*metric.defaults, *(["seed"] if metric.takes_seed else [])} for metric in METRICS for key in metric.keys
    }
    return {
        key: {name: value for name, value in scores[key].settings.items() if name in known.get(key, ())} for key in keys
    }


def _settings_between(
    first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]], shared: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], Difference, dict[str, dict[str, Any]]]]:
    """The settings on the way: the keys they touch, the one that was changed, all of them after it."""
    current = {key: dict(entry) for key, entry in first.items()}
    for metric in METRICS:
        keys = tuple(key for key in metric.keys if key in shared)  # they share their settings
        if not keys:
            continue
        for difference in differing(first[keys[0]], second[keys[0]]):
            for key in keys:
                current[key][difference.line] = difference.second
            yield keys, difference, {key: dict(entry) for key, entry in current.items()}


def _scores(pair: FeaturePair, keys: Sequence[str], settings: Mapping[str, Any], seed: int) -> dict[str, float | None]:
    """Catalogue key → value on these features; None where there are too few images."""
    # The one metric that takes the seed of the evaluation also draws its images with it.
    seed = next((int(settings[key]["seed"]) for key in keys if key.startswith("prd") and "seed" in settings[key]), seed)
    published = pair.generated.extractor.published
    asked = [Space("", published=published).shown(key) for key in keys]
    try:
        report = pair.report(pair.generated.extractor.protocol, settings, metrics=asked, seed=seed)
    except TooFewImages:
        return dict.fromkeys(keys)
    return {catalogue_key(score.key): score.value for score in report.scores.values()}


def _complaints(name: str, report: Report, found: Values, pair: FeaturePair) -> Iterator[str]:
    """One sentence if the recomputed values are not those of the report, with what is known about the images."""
    scores = scores_by_catalogue(report)
    wrong = [scores[key].key for key, value in found.items() if not agree(value, scores[key].value)]
    if not wrong:
        return
    sides = (
        ("generated", pair.generated.summary, report.generated),
        ("reference", pair.reference.summary, report.reference),
    )
    other = [_other_images(what, given, stated) for what, given, stated in sides]
    unknown = [what for what, given, stated in sides if "" in (given.content_hash, stated.content_hash)]
    if any(other):
        why = f"{' and '.join(filter(None, other))}. The steps hold for the images given."
    elif unknown:
        why = f"a content hash of its {' and '.join(unknown)} side is missing, so it may have been another one."
    else:
        why = "the images are the same by their content hashes, so run `genmetrics bundles verify` on both machines."
    yield f"The recomputed {', '.join(wrong)} of {name} {'is' if len(wrong) == 1 else 'are'} not what it says: {why}"


def _other_images(what: str, given: SideSummary, stated: SideSummary) -> str:
    """``the generated images given (60) are not those of the report (50), by their content hashes``, if so."""
    if "" in (stated.content_hash, given.content_hash) or given.content_hash == stated.content_hash:
        return ""
    numbers = [f" ({side.num_images})" if given.num_images != stated.num_images else "" for side in (given, stated)]
    return (
        f"the {what} images given{numbers[0]} are not those of the report{numbers[1]}, as their content hashes differ"
    )
