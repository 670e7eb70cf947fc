"""Scores by class: which classes a generator does badly, forgets, invents, or makes too often or too rarely."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.class_labels import Labels, classes_of, label_table
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages
from genmetrics_rt.evaluation import common_extractor
from genmetrics_rt.features import Features
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.paired import SIGNIFICANT, holm
from genmetrics_rt.preparation import Preparation, PreparedSide, side_length
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.render import words
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, plain_number, share
from genmetrics_rt.render.paper import plus_minus
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, labelled
from genmetrics_rt.report import ExtractorSummary, Score, SideSummary, json_text
from genmetrics_rt.scoring import Space, choose_metrics, report_fingerprint, score, settings_for
from genmetrics_rt.sides import open_side
from genmetrics_rt.version import __version__

SCHEMA = "genmetrics.by-class/1"
DEFAULT_METRICS = ("fd", "fid", "kid", "precision", "recall")
MIN_IMAGES = 20  # of a class on each side, from which it gets scores; below, they are mostly noise
_NAMED = 10  # classes in a sentence
_STANDINGS = {
    "missing": "missing",
    "invented": "invented",
    "over": "too many",
    "under": "too few",
    "even": "",
}


@dataclass(frozen=True)
class ClassScores:
    """One class on both sides. Shares are of all images of a side."""

    name: str
    num_generated: int
    num_reference: int
    share_generated: float
    share_reference: float
    standing: str  # "missing" | "invented" | "over" | "under" | "even": how often it occurs, beyond noise
    p_value: float  # of equal shares, corrected for the number of classes
    scores: Mapping[str, Score] = field(default_factory=dict)
    reason: str | None = None  # why there are no scores


@dataclass(frozen=True)
class ByClass:
    """The classes of two sides, the worst first, and the same scores of all images."""

    classes: tuple[ClassScores, ...]
    all_images: Mapping[str, Score]
    generated: SideSummary
    reference: SideSummary
    extractor: ExtractorSummary
    fingerprint: str
    seed: int
    created: str  # ISO 8601, UTC
    version: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, width: int = 100) -> str:
        """The table for a terminal, no line wider than ``width`` columns (at least 40)."""
        width = max(width, NARROWEST)
        about: list[str] = []
        for label, side in (("generated", self.generated), ("reference", self.reference)):
            source = f"{shorten(visible(side.source), 120)} ({counted(side.num_images, 'image')})"
            about += labelled(label, source, width)
        about += labelled("features", prose(f"{self.extractor.title}, protocol {self.extractor.protocol}"), width)
        if self.extractor.label:
            about += labelled("", prose(self.extractor.label), width)
        heads = [f"{key} {'↑' if entry.higher_is_better else '↓'}" for key, entry in self.all_images.items()]
        rows = [("all images", ["", self._images(self.generated), self._images(self.reference), *self._cells(None)])]
        for entry in self.classes:
            sizes = [
                f"{count(entry.num_generated)} {_percent(entry.share_generated)}",
                f"{count(entry.num_reference)} {_percent(entry.share_reference)}",
            ]
            name = shorten(visible(entry.name), 40)
            rows.append((name, [_STANDINGS[entry.standing], *sizes, *self._cells(entry)]))
        table = number_table("class", ["how often", "generated", "reference", *heads], rows, width)
        notes = [line for note in (*self.summary(), *self.notes) for line in labelled("note", note, width)]
        return "\n\n".join("\n".join(block) for block in (about, table, notes) if block)

    def summary(self) -> list[str]:
        """What the table says about how often classes occur, in sentences."""
        told = []
        for standing, words_of_it in (
            ("missing", "Never generated, though the reference has them"),
            ("invented", "Generated, though the reference has none"),
            ("under", "Generated too rarely, beyond noise"),
            ("over", "Generated too often, beyond noise"),
        ):
            names = [
                shorten(visible(entry.name), 40) + (" (may be chance)" if entry.p_value >= SIGNIFICANT else "")
                for entry in self.classes
                if entry.standing == standing
            ]
            if names:
                more = f" and {count(len(names) - _NAMED)} more" if len(names) > _NAMED else ""
                told.append(f"{words_of_it}: {', '.join(names[:_NAMED])}{more}.")
        if not told:
            told.append("No class is generated too often or too rarely beyond noise.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, schema ``genmetrics.by-class/1``."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in ("fingerprint", "seed", "created", "version")},
            "generated": vars(replace(self.generated, skipped=())) | {"skipped": len(self.generated.skipped)},
            "reference": vars(replace(self.reference, skipped=())) | {"skipped": len(self.reference.skipped)},
            "extractor": vars(self.extractor),
            "all_images": {key: vars(entry) for key, entry in self.all_images.items()},
            "classes": [
                {**vars(entry), "scores": {key: vars(of_class) for key, of_class in entry.scores.items()}}
                for entry in self.classes
            ],
            "notes": [*self.summary(), *self.notes],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def _images(self, side: SideSummary) -> str:
        return "–" if side.num_images is None else count(side.num_images)

    def _cells(self, entry: ClassScores | None) -> list[str]:
        scores = self.all_images if entry is None else entry.scores
        return [_cell(scores.get(key)) for key in self.all_images]


def evaluate_by_class(
    generated: Any,
    reference: Any,
    *,
    generated_labels: Any = None,
    reference_labels: Any = None,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    intervals: bool = True,
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> ByClass:
    """Score each class of the generated images against the same class of the reference.

    Features are computed once for each side and then divided by class. The order is by the kernel distance (KID), which
    unlike the Fréchet distance is not biased by how few images a class has; missing classes come first, invented ones
    next. How often a class occurs is compared by Fisher's exact test on its share of both sides (both are samples),
    corrected by Holm for the number of classes.

    Parameters
    ----------
    generated_labels, reference_labels
        The class of each image. None: the folder that it lies in, the first one below the root (of a set of tars, below
        the root of each). Else a file, ``name,class`` as CSV or ``{name: class}`` as JSON, a mapping of the same, or a
        sequence in the order of the images. Names are paths below the root, as in "cat/17.png".
    metrics
        None: the Fréchet distance, KID, precision and recall.

    All other parameters as in `evaluate`. A class with fewer than `MIN_IMAGES` images on a side is counted, not scored.

    Raises
    ------
    InputError
        An image without a class, or no class that both sides have; or one of its kinds as in `evaluate`.
    """
    preparation = Preparation(
        extractor, protocol, tap, device, backend, precision, num_images, seed, cache, strict, batch_size, threads,
        progress,
    )  # fmt: skip
    generated_side, reference_side = open_side(generated), open_side(reference)
    tables = [label_table(labels) for labels in (generated_labels, reference_labels)]  # before any work
    preparation.choose_extractor(generated_side, reference_side)
    space = preparation.space_of(generated_side)
    keys = choose_metrics(metrics or [key for key in space.keys() if key in DEFAULT_METRICS], space)
    of_reference = preparation.features(reference_side, "reference", samples=side_length(generated_side))
    of_generated = preparation.features(generated_side, "generated", samples=of_reference.summary.num_images)
    return _divided(of_generated, of_reference, tables, keys, preparation, intervals)


def _divided(
    generated: PreparedSide,
    reference: PreparedSide,
    tables: Sequence[Labels],
    keys: Sequence[str],
    preparation: Preparation,
    intervals: bool,
) -> ByClass:
    if generated.features.dimension != reference.features.dimension:
        raise FeatureMismatch(
            f"{generated.summary.source} has {generated.features.dimension} feature dimensions and "
            f"{reference.summary.source} has {reference.features.dimension}. Both must come from the same network."
        )
    extractor = common_extractor(generated.extractor, reference.extractor)
    of_g, of_r = (
        classes_of(side.features, side.source, side.summary.source, table)
        for side, table in zip((generated, reference), tables, strict=True)
    )
    counts_g, counts_r = Counter(of_g.tolist()), Counter(of_r.tolist())
    if not set(counts_g) & set(counts_r):
        raise InputError(
            f"The sides have no class in common: the generated one has {_some(counts_g)}, the reference "
            f"{_some(counts_r)}. Give the folders that hold the class folders, or label both sides with the same names."
        )
    settings = settings_for(preparation.overrides(), seed=preparation.seed)
    space = Space(
        extractor.name,
        has_logits=generated.features.logits is not None,
        has_spatial=generated.features.spatial is not None,
        published=extractor.published,
        modality=extractor.modality,
    )

    def scores_of(of_generated: Features, of_reference: Features) -> dict[str, Score]:
        comparison = Comparison(of_generated, of_reference, extractor.name, preparation.seed, settings, intervals)
        return score(comparison, keys, extractor, space)[0]

    names = sorted(set(counts_g) | set(counts_r))
    p_values = holm([_p_value(counts_g[name], len(of_g), counts_r[name], len(of_r)) for name in names])
    classes = []
    for name, p_value in zip(names, p_values, strict=True):
        mine, theirs = counts_g[name], counts_r[name]
        scores: dict[str, Score] = {}
        reason = None
        if min(mine, theirs) < MIN_IMAGES:
            reason = f"fewer than {MIN_IMAGES} images on a side"
        else:
            try:
                scores = scores_of(_rows(generated.features, of_g == name), _rows(reference.features, of_r == name))
            except TooFewImages as error:
                reason = str(error)
        standing = _standing(mine, len(of_g), theirs, len(of_r), p_value)
        classes.append(
            ClassScores(name, mine, theirs, mine / len(of_g), theirs / len(of_r), standing, p_value, scores, reason)
        )
    return ByClass(
        classes=tuple(sorted(classes, key=_badness)),
        all_images=scores_of(generated.features, reference.features),
        generated=generated.summary,
        reference=reference.summary,
        extractor=extractor,
        fingerprint=report_fingerprint(extractor, settings),
        seed=preparation.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        notes=tuple(_notes(generated, reference, classes, keys)),
    )


def _p_value(mine: int, num_generated: int, theirs: int, num_reference: int) -> float:
    """Of one share on both sides: Fisher's exact test (1922) of the two-by-two table, two-sided."""
    from scipy.stats import fisher_exact

    table = [[mine, num_generated - mine], [theirs, num_reference - theirs]]
    return float(fisher_exact(table)[1])


def _standing(mine: int, num_generated: int, theirs: int, num_reference: int, p_value: float) -> str:
    if mine == 0:
        return "missing"
    if theirs == 0:
        return "invented"
    if p_value >= SIGNIFICANT:
        return "even"
    return "over" if mine * num_reference > theirs * num_generated else "under"


def _badness(entry: ClassScores) -> tuple[int, float, str]:
    """Missing and invented classes, then the scored ones from the largest distance down, then the unscored ones."""
    if entry.standing in ("missing", "invented"):
        return (0 if entry.standing == "missing" else 1), -max(entry.share_generated, entry.share_reference), entry.name
    leading = next((entry.scores[key] for key in ("kid", "fid", "fd") if key in entry.scores), None)
    leading = leading or next(iter(entry.scores.values()), None)
    if leading is None or leading.value is None:
        return 3, 0.0, entry.name
    return 2, leading.value if leading.higher_is_better else -leading.value, entry.name


def _rows(features: Features, chosen: NDArray[np.bool_]) -> Features:
    """Some rows as features of their own."""
    logits = None if features.logits is None else features.logits[chosen]
    spatial = None if features.spatial_values is None else features.spatial_values[chosen]
    return Features(features.values[chosen], features.index[chosen], int(chosen.sum()), logits, spatial_values=spatial)


def _notes(
    generated: PreparedSide, reference: PreparedSide, classes: Sequence[ClassScores], keys: Sequence[str]
) -> list[str]:
    notes = []
    for what, side in (("generated", generated), ("reference", reference)):
        if not side.features.has_all_rows:
            notes.append(
                f"Of the {what} side a uniform sample of {count(len(side.features.values))} images was divided."
            )
        if "sfid" in keys and side.features.spatial_values is None:
            notes.append(f"No class has an sFID: the {what} side has no rows of spatial features. Give its images.")
        if side.summary.skipped:
            notes.append(f"{counted(len(side.summary.skipped), f'{what} file')} skipped.")
    few = (entry for entry in classes if min(entry.num_generated, entry.num_reference) < MIN_IMAGES)
    unscored = [entry for entry in few if entry.standing not in ("missing", "invented")]
    if unscored:
        notes.append(
            f"{len(unscored):,} of {len(classes):,} classes have no scores: fewer than {MIN_IMAGES} images on a side."
        )
    if any(key in entry.scores for entry in classes for key in ("fd", "fid", "sfid")):
        notes.append(
            "The Fréchet distance of a class is biased upward by its few images: compare classes by KID, which gives "
            "the order here."
        )
    return notes


def _some(counts: Mapping[str, int]) -> str:
    names = sorted(counts)
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if 0.001 <= value < 0.1 else share(value)


def _cell(entry: Score | None) -> str:
    if entry is None or entry.value is None:
        return "–"
    if entry.standard_error:
        return plus_minus(entry.value, entry.standard_error)
    return words.value(entry, plain_number)
