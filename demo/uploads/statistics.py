"""Statistics: mean and covariance, features or a saved reference, from an npz or a pickle that is never run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import genmetrics_rt as gm
from uploads.files import keep, size_of
from uploads.limits import Limits, Refused, Side, megabytes, require_rows
from uploads.names import clean, named, shown_name

_PICKLED = (".pkl", ".pickle", ".pt", ".pth")
STATISTICS = {"mu", "sigma", "mu_s", "sigma_s", "feats"}  # names of arrays; those of a saved reference:
REFERENCE = {"header", "mean", "covariance"}


def accept_pickle(path: Path, folder: Path, limits: Limits) -> Side:
    """Statistics of another tool; genmetrics_rt reads the pickle as data and runs nothing of it."""
    name = shown_name(path)
    return statistics_side(keep(path, folder / named(name, _PICKLED)), name, size_of(path), limits)


def statistics_side(kept: Path, name: str, size: int, limits: Limits) -> Side:
    if size > limits.statistics_bytes:
        raise Refused(
            f"{name} holds {megabytes(size)} of statistics, and at most {megabytes(limits.statistics_bytes)} are "
            "taken here. Mean and covariance of the Inception have 34 MB: leave single features out."
        )
    try:
        if kept.suffix == ".npz" and _is_reference(kept):
            return _reference_side(gm.Reference.load(kept), kept, name, limits)
        statistics = gm.read_statistics(kept)
    except gm.GenmetricsError as error:
        raise Refused(str(error).replace(str(kept), name)) from error
    if statistics.features is not None:
        require_rows(name, len(statistics.features), limits)
        count, dimension = statistics.features.shape
        summary = features_summary(count, dimension, size_of(kept))
    else:
        summary = f"mean and covariance of {statistics.dimension:,} features, {megabytes(size_of(kept))}"
    return Side(kept, summary, "statistics", statistics.num_images)


def _is_reference(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return {member.removesuffix(".npy") for member in archive.namelist()} >= REFERENCE


def _reference_side(reference: gm.Reference, kept: Path, name: str, limits: Limits) -> Side:
    """A file of ours. It names an extractor and settings, and whoever wrote it may have named anything."""
    extractor, settings = reference.extractor, dict(reference.settings)
    known: dict[str, Any] = {}
    if extractor.name in gm.list_bundles("extractor"):
        known = dict(gm.load_bundle(extractor.name).manifest.protocol(extractor.protocol).metrics)
    elif extractor.numeric_id != "given":
        raise Refused(
            f"{name} was made with the extractor {clean(str(extractor.name))}, which is not here. Upload the images, "
            "or evaluate on your own machine: pip install genmetrics-rt."
        )
    if settings != known:
        raise Refused(f"{name} has settings that {extractor.name} does not have. Make it again, or upload the images.")
    require_rows(name, len(reference.features.values), limits)
    count = reference.summary.num_images
    images = "an unknown number of images" if count is None else f"{count:,} images"
    return Side(kept, f"saved reference: {images}, {extractor.name}, {megabytes(size_of(kept))}", "statistics", count)


def features_summary(count: int, dimension: int, size: int) -> str:
    return f"features of {count:,} images, {dimension:,} numbers each, {megabytes(size)}"
