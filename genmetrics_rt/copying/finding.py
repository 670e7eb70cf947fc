"""Does the model copy its training set? Three sides → features → closeness, calibrated → duplicates → `CopyReport`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import as_features
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.copying import duplicates as twice
from genmetrics_rt.copying.closeness import NEAREST_K, Closeness, TrainingSet, nearest_rows, set_aside
from genmetrics_rt.copying.likeness import are_the_same, likeness
from genmetrics_rt.copying.pictures import MirroredSource, Pictures
from genmetrics_rt.copying.published import copying_z
from genmetrics_rt.copying.report import CopyPair, CopyReport, DuplicatePair, Duplicates
from genmetrics_rt.copying.tail import CopiedShare, TailTest, copied_share, tail_test
from genmetrics_rt.copying.verdict import findings
from genmetrics_rt.distances import IntArray, PointSet
from genmetrics_rt.errors import EmptySide, FeatureMismatch, InputError
from genmetrics_rt.extraction import extract
from genmetrics_rt.features import FeatureCollector
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import Preparation, PreparedSide, given_features, side_length
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Runtime, SideSummary
from genmetrics_rt.sides import FeatureRows, Side, open_side
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource
from genmetrics_rt.version import __version__

SHOWN_DUPLICATES = 12  # pairs per kind with their pictures


def find_copies(
    generated: Any,
    train: Any,
    heldout: Any = None,
    *,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    mirrored: bool = True,
    duplicates: bool = True,
    nearest_k: int = NEAREST_K,
    num_pairs: int = 24,
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> CopyReport:
    """Test whether generated images are copies of training images, and look for duplicates between the sides.

    For each generated image: the distance to the nearest training image, divided by that image's own distance to its
    third nearest other training image. Held-out images, which no model can have copied, give the same ratios; the
    p-value says how likely fresh images would crowd at the lowest ratios as the generated ones do (`tail_test`, exact
    whatever the distribution), and the share of copies is what exceeds the fresh ones there (`copied_share`). Without
    held-out images a seeded fifth of the training images is set aside and plays their part; copies of these then show
    among the pairs, but not in the p-value. Held-out images that are in the training set, and training images that
    occur twice there, do not calibrate.

    Parameters
    ----------
    generated
        As in `evaluate`; a generator makes as many images as the training set has, at most 10,000.
    train
        The training images: all of them, since a copy of an image that is not here is not seen.
    heldout
        Images of the same kind that the model was not trained on, at least 20; better 1,000.
    extractor, protocol, tap, device, backend, precision, batch_size, threads, cache, strict, progress
        As in `evaluate`.
    mirrored
        Look at the mirror image of every training image too; its features are cached like the others. Only where the
        sides are images.
    duplicates
        Look for images that occur twice, between train and held-out and inside each side. Only where they are images.
        Mirror images inside a side are looked for in the training set alone.
    nearest_k
        Which other training image gives the local scale.
    num_pairs
        How many of the closest pairs to keep, with their pictures.
    num_images
        Use this many generated images.
    seed
        For samples, latents, ties and the interval.

    Raises
    ------
    TooFewImages
        Not more than ``nearest_k`` different training images, fewer than 20 held-out ones, or fewer than 40 training
        images without held-out ones.
    InputError
        One of its kinds, with fact, meaning and way out; see `genmetrics_rt.errors`.
    """
    start = time.perf_counter()
    if num_pairs < 0:
        raise InputError(f"num_pairs is {num_pairs}; it must be at least 0.")
    preparation = Preparation(
        extractor, protocol, tap, device, backend, precision, num_images, seed, cache, strict, batch_size, threads,
        progress,
    )  # fmt: skip
    opened = {"generated": open_side(generated), "train": open_side(train)}
    if heldout is not None:
        opened["heldout"] = open_side(heldout)
    for what in ("train", "heldout"):
        if isinstance(opened.get(what), Generator):
            raise InputError(f"{what} is a generator, but must be real images. Give the folder that holds them.")
    if any(isinstance(side, TextSource) for side in opened.values()):
        raise InputError(
            "Copies are looked for in pictures here. Of texts, genmetrics evaluate GENERATED TRAIN counts those that "
            "stand in the training set word for word, or lie as near."
        )
    preparation.choose_extractor(*opened.values())
    sides = {"train": _all_rows(opened["train"], "train", preparation)}
    if "heldout" in opened:
        sides["heldout"] = _all_rows(opened["heldout"], "held-out", preparation)
    sides["generated"] = preparation.features(opened["generated"], "generated", samples=side_length(opened["train"]))
    _require_one_space(sides)

    flipped = _mirrored(sides["train"], preparation) if mirrored else None
    shown = {what: Pictures(side.images, side.features.index) for what, side in sides.items() if side.images}
    twins = _duplicates(sides, shown, flipped, preparation) if duplicates and "train" in shown else {}
    known = twins.get("leak" if "heldout" in sides else "train")
    found = find(
        sides["generated"].features.values,
        sides["train"].features.values,
        sides["heldout"].features.values if "heldout" in sides else None,
        mirrored=flipped,
        nearest_k=nearest_k,
        not_fresh=known.rows if known else (),
        seed=seed,
    )
    pairs = _pairs(found.generated, found.fresh, sides, shown, num_pairs)
    summaries = {what: side.summary for what, side in sides.items()}
    return CopyReport(
        test=found.test,
        copied=found.copied,
        calibration=found.calibration,
        pairs=pairs,
        duplicates=twins,
        scores={
            "auth_pct": 100 * float(found.generated.authentic.mean()),
            "copying_z": copying_z(found.measured.distance, found.fresh.distance),
        },
        findings=findings(found.test, found.copied, found.calibration, pairs, twins),
        generated=summaries["generated"],
        train=summaries["train"],
        heldout=summaries.get("heldout"),
        extractor=sides["train"].extractor,
        settings={"nearest_k": nearest_k, "mirrored": flipped is not None, "seed": seed},
        runtime=Runtime(
            device=preparation.opened.device if preparation.opened else "none",
            backend=preparation.opened.backend if preparation.opened else "none",
            versions=library_versions(),
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory(),
            notes=tuple(preparation.store.notes),
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        ratio=found.generated.ratio,
        nearest=found.generated.nearest,
        mirrored=found.generated.mirrored,
        fresh_ratio=found.fresh.ratio,
    )


@dataclass(frozen=True)
class Found:
    """What `find` answers: `find_copies` on features alone."""

    test: TailTest
    copied: CopiedShare
    calibration: str  # "held-out" | "set aside"
    generated: Closeness  # to the whole training set
    measured: Closeness  # what was tested: the same, or without the images that were set aside
    fresh: Closeness


def find(
    generated: Any,
    train: Any,
    heldout: Any = None,
    *,
    mirrored: Any = None,
    nearest_k: int = NEAREST_K,
    not_fresh: Sequence[int] = (),
    seed: int = 0,
) -> Found:
    """The test of `find_copies` on features: (M, D) generated, (N, D) train, and (P, D) held-out ones or None.

    ``mirrored`` (N, D) are the features of the mirrored training images, row by row, or None. ``not_fresh`` are the
    held-out rows that are in the training set, or without held-out rows the training rows that occur twice there.
    """
    training = TrainingSet(train, mirrored, nearest_k=nearest_k)
    of_generated = measured = training.closeness(generated)
    seen = 1.0  # share of the training images whose copies the test can see
    if heldout is not None:
        fresh = training.closeness(heldout)
        fresh = fresh.of_rows(np.setdiff1d(np.arange(len(fresh.ratio)), not_fresh))
    else:
        del training
        aside, rest = set_aside(train, without=not_fresh, seed=seed)
        rows, flipped = as_features(train, what="train"), None if mirrored is None else as_features(mirrored)[rest]
        smaller = TrainingSet(rows[rest], flipped, nearest_k=nearest_k)
        measured, fresh = smaller.closeness(generated), smaller.closeness(rows[aside])
        seen = len(rest) / len(rows)
    return Found(
        tail_test(measured.ratio, fresh.ratio, seed=seed),
        copied_share(measured.ratio, fresh.ratio, seen=seen, seed=seed),
        "held-out" if heldout is not None else "set aside",
        of_generated,
        measured,
        fresh,
    )


def _all_rows(side: Side, stage: str, preparation: Preparation) -> PreparedSide:
    """A real side with the features of every image: none is left out, or its copies would not be seen."""
    if isinstance(side, FeatureRows):
        return _given_rows(side)
    if isinstance(side, Reference):
        done = preparation.features(side, stage, samples=None)
        if not done.features.has_all_rows:
            raise InputError(
                f"{done.summary.source} keeps {len(done.features.values):,} feature rows of its images, and a copy of "
                "any other image would not be seen. Give the images themselves."
            )
        return done
    assert not isinstance(side, Generator | TextSource)
    return _extracted(side, stage, preparation)


def _extracted(source: ImageSource, stage: str, preparation: Preparation, rows: Any = None) -> PreparedSide:
    extractor = preparation.open_extractor()
    collector = FeatureCollector(seed=preparation.seed, max_kept=len(source))
    run = extract(
        extractor,
        source,
        collector,
        positions=rows,
        cache=preparation.store,
        strict=preparation.strict,
        stage=stage,
        progress=preparation.progress,
    )
    if collector.num_images == 0:
        first = f" The first: {run.skipped[0].name}: {run.skipped[0].reason}." if run.skipped else ""
        raise EmptySide(f"{source.name}: none of {len(run.skipped):,} files could be used as an image.{first}")
    summary = SideSummary(collector.num_images, source.name, run.content_hash, (*source.skipped, *run.skipped))
    return PreparedSide(collector.result(), extractor.summary, summary, source)


def _given_rows(side: FeatureRows) -> PreparedSide:
    collector = FeatureCollector(max_kept=len(side.values))
    collector.update(side.values, what=side.name)
    summary = SideSummary(num_images=len(side.values), source=side.name, content_hash="")
    return PreparedSide(collector.result(), given_features(side.values.shape[1]), summary)


def _mirrored(train: PreparedSide, preparation: Preparation) -> NDArray[Any] | None:
    """Features of the mirrored training images, row by row; None where there are no images."""
    if train.images is None:
        return None
    protocol = preparation.open_extractor().protocol
    source = MirroredSource(train.images, alpha=protocol.alpha, orientation=protocol.orientation)
    done = _extracted(source, "mirrored", preparation, train.features.index.tolist())
    if not np.array_equal(done.features.index, train.features.index):
        raise InputError(
            f"{train.images.name} changed while it was read: some images can no longer be decoded. Run again."
        )
    return done.features.values


def _require_one_space(sides: dict[str, PreparedSide]) -> None:
    dimensions = {what: side.features.dimension for what, side in sides.items()}
    if len(set(dimensions.values())) > 1:
        told = ", ".join(f"{what} {dimension}" for what, dimension in dimensions.items())
        raise FeatureMismatch(f"The sides have unlike feature dimensions: {told}. All must come from one network.")


def _pairs(
    of_generated: Closeness, fresh: Closeness, sides: dict[str, PreparedSide], shown: dict[str, Pictures], count: int
) -> tuple[CopyPair, ...]:
    """The closest pairs, with a look at their pixels where there are any."""
    order = np.argsort(of_generated.ratio, kind="stable")[:count]
    ordered = np.sort(fresh.ratio)
    train_values = sides["train"].features.values
    others = _other_neighbours(sides["generated"].features.values[order], train_values) if "train" in shown else None
    pairs = []
    for place, row in enumerate(order.tolist()):
        near = int(of_generated.nearest[row])
        ratio = float(of_generated.ratio[row])
        alike: float | None = None
        same: bool | None = None
        if "generated" in shown and "train" in shown:
            assert others is not None
            alike, same = _look(shown["generated"], row, shown["train"], near, others[place].tolist())
        pairs.append(
            CopyPair(
                generated=_name(sides["generated"], row),
                train=_name(sides["train"], near),
                generated_row=int(sides["generated"].features.index[row]),
                train_row=int(sides["train"].features.index[near]),
                ratio=ratio,
                distance=float(of_generated.distance[row]),
                fresh_share=float(np.searchsorted(ordered, ratio, side="right") / len(ordered)),
                mirrored=bool(of_generated.mirrored[row]),
                likeness=alike,
                same_picture=same,
                generated_jpeg=shown["generated"].jpeg(row) if "generated" in shown else None,
                train_jpeg=shown["train"].jpeg(near) if "train" in shown else None,
            )
        )
    return tuple(pairs)


def _other_neighbours(values: NDArray[Any], train: NDArray[Any]) -> IntArray:
    """(n, k) nearest training rows of some rows."""
    points, others = PointSet(values), PointSet(train)
    _, column = nearest_rows(points, others, min(twice.NEAREST_K, len(others)))
    return others.first[column][points.inverse]


def _look(
    generated: Pictures, row: int, train: Pictures, near: int, others: Sequence[int]
) -> tuple[float | None, bool | None]:
    one, other = generated.thumbnail(row), train.thumbnail(near)
    if one is None or other is None:
        return None, None
    alike = likeness(one, other)
    beside = [train.thumbnail(column) for column in others if column != near]
    return alike, are_the_same(alike, [likeness(one, picture) for picture in beside if picture is not None])


def _name(side: PreparedSide, row: int) -> str:
    position = int(side.features.index[row])
    return side.source.entry_name(position) if side.source else f"row {position}"


def _duplicates(
    sides: dict[str, PreparedSide], shown: dict[str, Pictures], flipped: NDArray[Any] | None, preparation: Preparation
) -> dict[str, Duplicates]:
    """Held-out against train, and each side against itself."""
    extractor = preparation.open_extractor()
    reach = twice.reach_of_changes(shown["train"], extractor, seed=preparation.seed)
    points = {what: PointSet(sides[what].features.values) for what in shown}
    mirror = None if flipped is None else PointSet(flipped)
    digests = {what: [pictures.digest(row) for row in range(len(pictures))] for what, pictures in shown.items()}
    found = {}
    if "heldout" in shown:
        near = twice.confirm(
            twice.across(points["heldout"], points["train"], reach, mirror), shown["heldout"], shown["train"]
        )
        pairs = twice.joined(twice.same_bytes(digests["heldout"], digests["train"]), near)
        found["leak"] = _summary("leak", pairs, shown["heldout"], shown["train"])
    for what, pictures in shown.items():
        candidates = twice.across(
            points[what], points[what], reach, mirror if what == "train" else None, same_side=True
        )
        near = [*twice.twins(points[what]), *twice.confirm(candidates, pictures, pictures, same_side=True)]
        pairs = twice.joined(twice.same_bytes(digests[what]), near)
        found[what] = _summary(what, pairs, pictures, pictures)
    return found


def _summary(key: str, pairs: Sequence[twice.Duplicate], own: Pictures, others: Pictures) -> Duplicates:
    exact = sum(pair.exact for pair in pairs)
    named = tuple(
        DuplicatePair(
            own.name(pair.first),
            others.name(pair.second),
            pair.exact,
            pair.likeness,
            own.jpeg(pair.first),
            others.jpeg(pair.second),
        )
        for pair in pairs[:SHOWN_DUPLICATES]
    )
    affected = {pair.first for pair in pairs}
    if own is others:
        affected |= {pair.second for pair in pairs}
    share = len(affected) / len(own)
    return Duplicates(key, len(own), exact, len(pairs) - exact, share, named, tuple(sorted(affected)))
