"""From files, from a frozen density, or from samples to a `LikelihoodReport`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.bundle import Bundle, list_bundles
from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.likelihood.files import Likelihoods, LogLikelihoods, read_log_likelihoods
from genmetrics_rt.likelihood.model import DEFAULT_WEIGHTS, Density, DensityRun
from genmetrics_rt.likelihood.report import LikelihoodEntry, LikelihoodReport
from genmetrics_rt.likelihood.reporting import made_report
from genmetrics_rt.likelihood.sides import MAX_OF_SAMPLES, as_images, images_of, known_split, sample_of
from genmetrics_rt.metrics.importance import importance_bounds
from genmetrics_rt.metrics.likelihood import LEVELS, estimate_likelihood, likelihood_gap, offset_bits
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.sides import open_side
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource


def likelihood_of_files(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    train: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    dims: int | None = None,
    scale: str | float | Sequence[float] = "discrete",
    levels: int = LEVELS,
    log_weights: bool = False,
) -> LikelihoodReport:
    """NLL, bits/dim, the gap to the training images, and importance-weighted bounds, from files of log-likelihoods.

    Parameters
    ----------
    files
        One for each model, as `read_log_likelihoods` takes them.
    train
        Likelihoods of training images: one file for each of ``files``, in their order. A file may hold them itself.
    dims
        D = H · W · C of the images; without it there is NLL and no bits/dim.
    scale, levels
        What the density was modelled on, as in `offset_bits`.
    log_weights
        The files hold log-weights (N, K) instead: the likelihoods are the bounds of all K.

    Raises
    ------
    InputError
        One of its kinds: a file that cannot be read, or settings that do not fit.
    """
    start = time.perf_counter()
    offset = offset_bits(scale, levels=levels)
    paths, training = _listed(files), _listed(train)
    if not paths:
        raise InputError("No file of log-likelihoods was given. Give one for each model.")
    if training and len(training) != len(paths):
        raise InputError(
            f"There are {len(paths)} files and {len(training)} of training images. Give as many, in the same order."
        )
    entries = []
    for place, path in enumerate(paths):
        found = read_log_likelihoods(path, log_weights=log_weights)
        other = read_log_likelihoods(training[place], log_weights=log_weights) if training else None
        entries.append(_of_file(found, other, dims, offset, levels))
    settings = {"scale": scale if isinstance(scale, str | int | float) else list(scale), "dims": dims, "levels": levels}
    return made_report(entries, settings, start)


def likelihood_of_images(
    density: str | os.PathLike[str] | Bundle | Density,
    images: Any,
    *,
    train: Any = None,
    generated: Any = None,
    num_weights: int = DEFAULT_WEIGHTS,
    num_images: int | None = None,
    dims: int | None = None,
    offset: float = 0.0,
    device: str = "auto",
    backend: str = "onnx",
    threads: int | None = None,
    batch_size: int = 64,
    strict: bool = False,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> LikelihoodReport:
    """The likelihood that a frozen density gives to images, with all that follows from it.

    Parameters
    ----------
    density
        A bundle of kind ``density`` (name, folder or `Bundle`), an ``.onnx`` file with ``dims`` and ``offset``, or a
        `Density` that is open.
    images
        Images that the model was not trained on: whatever stands as a side in `evaluate`. Of a shipped example such as
        ``"digits"`` the held-out images are taken, and its training images for ``train``.
    train
        Images that it was trained on.
    generated
        Its own samples; None is those of the generator that its manifest names, False is none.
    num_weights
        Importance samples of each image, where the density takes noise: more are slower and tighter. Published
        importance-weighted bounds take 5,000.
    num_images
        A seeded sample of so many images of each side.

    Raises
    ------
    InputError
        One of its kinds; see `Density`.
    """
    start = time.perf_counter()
    model = density
    if not isinstance(model, Density):
        model = Density(model, dims=dims, offset=offset, device=device, backend=backend, threads=threads)
    options: dict[str, Any] = {
        "num_weights": num_weights, "seed": seed, "batch_size": batch_size, "strict": strict, "progress": progress,
    }  # fmt: skip
    known = known_split(images) if train is None else None
    source = images_of(images)
    chosen = sample_of(np.flatnonzero(~known) if known is not None else np.arange(len(source)), num_images, seed)
    test = model.log_likelihoods(source, positions=chosen.tolist(), stage="test", **options)
    runs = {"test": test}
    if known is not None:
        of_train = sample_of(np.flatnonzero(known), num_images, seed)
        runs["train"] = model.log_likelihoods(source, positions=of_train.tolist(), stage="train", **options)
    elif train is not None:
        other = images_of(train)
        of_train = sample_of(np.arange(len(other)), num_images, seed)
        runs["train"] = model.log_likelihoods(other, positions=of_train.tolist(), stage="train", **options)
    samples = _own_samples(model, generated, len(test.log_likelihoods), device, backend, threads, seed)
    if samples is not None:
        wanted = list(range(min(len(samples), MAX_OF_SAMPLES)))
        runs["generated"] = model.log_likelihoods(samples, positions=wanted, stage="samples", **options)
    told = f"{source.name}, the held-out images" if known is not None else source.name
    entry = _of_runs(model, runs, told, num_weights)
    settings = {"num_weights": entry.num_weights, "seed": seed}
    return made_report([entry], settings, start, device=model.device, backend=model.backend)


def likelihoods_for_findings(
    density: str | os.PathLike[str] | Bundle,
    generated: ImageSource | TextSource | None,
    reference: ImageSource | TextSource | None,
    *,
    named: Any = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Likelihoods:
    """What a density says of both sides of an evaluation: up to 1,000 images of each, and of training images.

    ``named`` is the reference as the user gave it: of a shipped example it is known which images are training images.
    Raises `InputError` where a side has no images.
    """
    if generated is None or reference is None or isinstance(generated, TextSource) or isinstance(reference, TextSource):
        raise InputError(
            "A density looks at images, and one of the sides has none: it is text, features, or a saved reference. "
            "Give the images, or a table of log-likelihoods."
        )
    model = Density(density, device=device, threads=threads)
    known = known_split(named)
    held_out = np.arange(len(reference)) if known is None else np.flatnonzero(~known)
    parts = {"reference": (reference, held_out), "generated": (generated, np.arange(len(generated)))}
    if known is not None:
        parts["train"] = (reference, np.flatnonzero(known))
    found = {
        key: model.log_likelihoods(
            source,
            positions=sample_of(positions, MAX_OF_SAMPLES, seed).tolist(),
            seed=seed,
            stage=f"likelihood, {key}",
            progress=progress,
        ).log_likelihoods
        for key, (source, positions) in parts.items()
    }
    return Likelihoods(found["reference"], found["generated"], found.get("train"))


def _of_file(
    found: LogLikelihoods, other: LogLikelihoods | None, dims: int | None, offset: float, levels: int
) -> LikelihoodEntry:
    bounds = None if found.log_weights is None else importance_bounds(found.log_weights)
    values = {"test": found.values if bounds is None else bounds.log_likelihoods}
    if other is not None:
        of_train = None if other.log_weights is None else importance_bounds(other.log_weights).log_likelihoods
        values["train"] = other.values if of_train is None else of_train
    elif found.train is not None:
        values["train"] = found.train
    estimates = {key: estimate_likelihood(own, dims=dims, offset=offset) for key, own in values.items()}
    return LikelihoodEntry(
        Path(found.name).name,
        estimates["test"],
        estimates.get("train"),
        gap=_gap(values),
        bounds=bounds,
        num_weights=None if found.log_weights is None else found.log_weights.shape[1],
        dims=dims,
        levels=levels,
        offset=offset,
        # A density of whole numbers made continuous bounds their probability (Theis et al. 2016).
        is_bound=bounds is not None or offset != 0,
        images=found.name,
        log_likelihoods=values,
    )


def _of_runs(model: Density, runs: Mapping[str, DensityRun], images: str, num_weights: int) -> LikelihoodEntry:
    values = {key: run.log_likelihoods for key, run in runs.items()}
    estimates = {key: estimate_likelihood(own, dims=model.dims, offset=model.offset) for key, own in values.items()}
    bounds = runs["test"].bounds
    return LikelihoodEntry(
        model.name,
        estimates["test"],
        estimates.get("train"),
        estimates.get("generated"),
        gap=_gap(values),
        bounds=bounds,
        num_weights=None if bounds is None else num_weights,
        dims=model.dims,
        levels=model.levels,
        offset=model.offset,
        is_bound=model.is_bound,
        images=images,
        skipped=tuple(entry for run in runs.values() for entry in run.skipped),
        seconds_per_image=sum(run.seconds for run in runs.values()) / sum(map(len, values.values())),
        log_likelihoods=values,
    )


def _gap(values: Mapping[str, FloatArray]) -> Any:
    sides = values.get("train"), values["test"]
    if sides[0] is None or any(len(side) < 2 or not np.isfinite(side).all() for side in (sides[0], sides[1])):
        return None
    return likelihood_gap(*sides)


def _own_samples(
    model: Density, generated: Any, count: int, device: str, backend: str, threads: int | None, seed: int
) -> ImageSource | None:
    if generated is False:
        return None
    if generated is None:
        if model.generator is None or model.generator not in list_bundles("generator"):
            return None
        generated = model.generator
    side = open_side(generated)
    if isinstance(side, Generator):
        return GeneratorSource(
            side, min(count, MAX_OF_SAMPLES), device=device, backend=backend, threads=threads, seed=seed
        )
    return as_images(side)


def _listed(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)
