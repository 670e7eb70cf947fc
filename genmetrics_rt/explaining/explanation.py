"""Why two reports give different numbers: the lines that differ, what each means, and by how much it moves a score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genmetrics_rt.errors import InputError
from genmetrics_rt.explaining import glosses
from genmetrics_rt.explaining.attribution import Attribution, CannotRecompute, agree, attribute
from genmetrics_rt.explaining.comparing import OF_BOTH_SIDES, OF_GENERATED
from genmetrics_rt.explaining.differences import Difference, differing, recipe_differences, scores_by_catalogue
from genmetrics_rt.explaining.gaps import Gap, gaps
from genmetrics_rt.preparation import GIVEN
from genmetrics_rt.report import Report, Score, json_text

SCHEMA = "genmetrics.explanation/1"


@dataclass(frozen=True)
class SharedScore:
    """A score that both reports have, under whatever name (``fid`` in one, ``fd`` in the other)."""

    key: str  # of the catalogue
    shown: str  # "fid", or "fid/fd"
    first: float | None
    second: float | None
    settings: tuple[Difference, ...]  # that the two were not made with alike


@dataclass(frozen=True)
class Explanation:
    """What `explain` found. ``verdict`` is the answer in sentences, the rest is what it rests on."""

    names: tuple[str, str]
    reports: tuple[Report, Report]
    verdict: tuple[str, ...]
    recipe: tuple[Difference, ...]  # lines that the features depend on
    scores: tuple[SharedScore, ...]
    sides: tuple[Difference, ...]  # other images, other numbers of them, other files skipped
    runtime: tuple[Difference, ...]  # moves numbers by rounding only
    gaps: tuple[Gap, ...] = ()  # of the scores that differ: recipe, other images, noise
    attribution: Attribution | None = None  # where the images were given
    not_recomputed: str = ""  # why there is none although they were

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = 100) -> str:
        """The explanation for a terminal, no line wider than ``width`` columns (at least 60)."""
        from genmetrics_rt.explaining.explanation_text import render_explanation

        return render_explanation(self, width)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain JSON values, schema ``genmetrics.explanation/1``."""
        return {
            "schema": SCHEMA,
            "reports": list(self.names),
            "verdict": list(self.verdict),
            "recipe": _with_words(self.recipe),
            "scores": [{**asdict(score), "settings": _with_words(score.settings)} for score in self.scores],
            "sides": [asdict(difference) for difference in self.sides],
            "runtime": [asdict(difference) for difference in self.runtime],
            "gaps": [asdict(gap) for gap in self.gaps],
            "attribution": asdict(self.attribution) if self.attribution else None,
            "not_recomputed": self.not_recomputed or None,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)


def explain(
    a: Report,
    b: Report,
    *,
    generated: Any = None,
    reference: Any = None,
    names: tuple[str, str] = ("A", "B"),
    **options: Any,
) -> Explanation:
    """Say which lines of the recipe, the settings and the sides differ between two reports, and what each does.

    Parameters
    ----------
    a, b
        Two reports.
    generated, reference
        The images, both or neither. With them the scores are computed again, from the recipe of ``a`` to that of
        ``b`` one line at a time, so that each line gets its share of the difference.
    names
        What the two reports are called.
    options
        Of `evaluate`, for computing: ``device``, ``backend``, ``num_images``, ``seed``, ``cache``, ``strict``,
        ``batch_size``, ``threads``, ``progress``; and ``extractor``, a bundle that has no name on this machine.

    Raises
    ------
    InputError
        Only one of the sides was given, or a side cannot be used.
    """
    if (generated is None) != (reference is None):
        missing = "reference" if reference is None else "generated"
        raise InputError(
            f"explain computes the scores again from both sides, and {missing} is missing. Give both, or neither."
        )
    attribution, not_recomputed = None, ""
    if generated is not None:
        try:
            attribution = attribute(a, b, names, generated, reference, **options)
        except CannotRecompute as error:
            not_recomputed = f"The scores cannot be computed again: {error}"
    recipe = recipe_differences(a.extractor, b.extractor)
    scores = _shared_scores(a, b)
    sides = tuple(_side_differences(a, b))
    return Explanation(
        names=names,
        reports=(a, b),
        verdict=tuple(_verdict(a, b, recipe, scores, sides)),
        recipe=recipe,
        scores=scores,
        sides=sides,
        runtime=_runtime_differences(a, b),
        gaps=tuple(gaps(a, b, recipe, _are_the_same_images(a, b), attribution)),
        attribution=attribution,
        not_recomputed=not_recomputed,
    )


def _shared_scores(a: Report, b: Report) -> tuple[SharedScore, ...]:
    def shared(key: str, first: Score, second: Score) -> SharedScore:
        shown = "/".join(dict.fromkeys((first.key, second.key)))
        return SharedScore(key, shown, first.value, second.value, differing(first.settings, second.settings))

    of_b = scores_by_catalogue(b)
    return tuple(shared(key, score, of_b[key]) for key, score in scores_by_catalogue(a).items() if key in of_b)


def _are_the_same_images(a: Report, b: Report) -> bool:
    """Whether both reports are known to be of the same images on both sides."""
    pairs = [(getattr(a, what).content_hash, getattr(b, what).content_hash) for what in ("generated", "reference")]
    return all(first and first == second for first, second in pairs)


def _side_differences(a: Report, b: Report) -> Iterator[Difference]:
    """What the reports were not made from alike. Where a hash is missing (features, a stream), names decide."""
    for what in ("generated", "reference"):
        first, second = getattr(a, what), getattr(b, what)
        if first.content_hash and second.content_hash:
            if first.content_hash != second.content_hash:
                yield Difference(f"{what} images", first.source, second.source)
        elif first.source != second.source:
            yield Difference(f"{what} images (as far as names tell)", first.source, second.source)
        if first.num_images != second.num_images:
            yield Difference(f"number of {what} images", first.num_images, second.num_images)
        if len(first.skipped) != len(second.skipped):
            yield Difference(f"skipped {what} files", len(first.skipped), len(second.skipped))
    if a.seed != b.seed:
        yield Difference("seed of the evaluation", a.seed, b.seed)


def _runtime_differences(a: Report, b: Report) -> tuple[Difference, ...]:
    first, second = (
        {"device": report.runtime.device, "backend": report.runtime.backend, **report.runtime.versions}
        for report in (a, b)
    )
    both = first.keys() & second.keys()  # a library that was not loaded is in no list, and did nothing
    return tuple(difference for difference in differing(first, second) if difference.line in both)


def _verdict(
    a: Report,
    b: Report,
    recipe: tuple[Difference, ...],
    scores: tuple[SharedScore, ...],
    sides: tuple[Difference, ...],
) -> Iterator[str]:
    """The answer, shortest first."""
    if not scores:
        yield "The two reports share no score, so there are no numbers to explain. Evaluate with the same --metrics."
    settings = [score for score in scores if score.settings]
    given = GIVEN in (a.extractor.numeric_id, b.extractor.numeric_id)
    causes = [
        *(["the features, which were given: only their maker knows whether one network made both"] if given else []),
        *(["the recipe of the features (" + ", ".join(map(glosses.named, recipe)) + ")"] if recipe else []),
        *(["the settings of " + ", ".join(score.shown for score in settings)] if settings else []),
        *(["the sides (" + ", ".join(difference.line for difference in sides) + ")"] if sides else []),
    ]
    if causes:
        yield f"What differs and can move the numbers: {'; '.join(causes)}."
        numbers = [difference for difference in sides if difference.line.startswith("number of")]
        depending = [score.shown for score in scores if score.key in OF_GENERATED + OF_BOTH_SIDES]
        if numbers and depending:
            yield f"{', '.join(depending)} depend on the numbers of images: compare them at equal ones."
        return
    apart = [score for score in scores if not agree(score.first, score.second)]
    if not apart:
        yield "Nothing differs that could change a number, and the numbers agree to a relative 1e-4."
        return
    told = ", ".join(f"{score.shown} ({_apart(score)})" for score in apart)
    if not all(side.content_hash for report in (a, b) for side in (report.generated, report.reference)):
        yield (
            f"Nothing that the reports hold differs, but these do: {told}. A side without a content hash (a stream, "
            "saved statistics) may have been another one: evaluate from the images to know."
        )
        return
    yield f"Nothing differs that could change a number, but these differ all the same: {told}. That is unexpected."
    yield (
        f"On both machines run `genmetrics bundles verify {a.extractor.name}` and `genmetrics doctor`, then evaluate "
        "again with --no-cache."
    )


def _apart(score: SharedScore) -> str:
    if score.first is None or score.second is None:
        return "one of them has no value"
    largest = max(abs(score.first), abs(score.second))
    return f"by {abs(score.first - score.second) / largest:.1e} of it"


def _with_words(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {
            **asdict(difference),
            "meaning": [glosses.meaning(difference.line, value) for value in (difference.first, difference.second)],
            "effect": effect,
        }
        for difference, effect in zip(differences, glosses.effects(differences), strict=True)
    ]
