"""The Parzen-window estimate of a set of samples, from sides to a report."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, ImageArray
from genmetrics_rt.decode import decode
from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.likelihood.report import LikelihoodEntry, LikelihoodReport
from genmetrics_rt.likelihood.reporting import made_report
from genmetrics_rt.likelihood.sides import as_images, known_split, sample_of
from genmetrics_rt.metrics.likelihood import estimate_likelihood
from genmetrics_rt.metrics.parzen import MAX_SAMPLES, MAX_VALIDATION, parzen_window
from genmetrics_rt.sides import FeatureRows, open_side
from genmetrics_rt.sources import ImageSource, Undecodable

_MAX_REFERENCE = 10_000  # images that choose the width or are judged, unless the user says how many
_MOST_BYTES = 2_000_000_000  # of a side in float64; the window holds a few copies at a time


def parzen_of_images(
    samples: Any,
    reference: Any,
    *,
    sigma: float | None = None,
    num_images: int | None = None,
    seed: int = 0,
) -> LikelihoodReport:
    """The Parzen-window estimate of a set of samples on real images, in nats; see `parzen_window` for its limits.

    Pixels are divided by 255; grey images count one channel. At most 10,000 samples are used. The width is chosen on a
    seeded half of the reference, at most 1,000 images, and the others are judged. Of a reference above 10,000 images a
    seeded sample of so many is taken, unless ``num_images`` says otherwise; of the shipped digits only held-out images.

    Parameters
    ----------
    samples, reference
        Sides as in `evaluate`, or float arrays (N, d), which are taken as they are.
    sigma
        The width, if it is known: then all of the reference is judged.

    Raises
    ------
    InputError
        One of its kinds: sides that do not fit, fewer than two reference images, or more than 2 GB on a side.
    """
    start = time.perf_counter()
    known = known_split(reference)
    rng = np.random.default_rng(seed)
    held_out_images = None if known is None else np.flatnonzero(~known)
    at_most = (_MAX_REFERENCE, MAX_SAMPLES) if num_images is None else (num_images, num_images)
    of_reference, name, total = _vectors(reference, held_out_images, at_most[0], seed)
    of_samples, samples_name, _ = _vectors(samples, None, at_most[1], seed)
    of_samples, of_reference = _same_channels(of_samples, of_reference)
    if sigma is not None:
        found = parzen_window(of_samples, of_reference, sigma=sigma)
    else:
        if len(of_reference) < 2:
            raise InputError(f"{name} has one image, which cannot choose a width and be judged by it. Give more.")
        order = rng.permutation(len(of_reference))
        held_out = min(MAX_VALIDATION, len(order) // 2)
        found = parzen_window(of_samples, of_reference[order[held_out:]], validation=of_reference[order[:held_out]])
    told = [name]
    if known is not None:
        told.append("the held-out images")
    if total > len(of_reference):
        told.append(f"a seeded sample of {len(of_reference):,} of {total:,}")
    entry = LikelihoodEntry(
        samples_name,
        estimate_likelihood(found.log_likelihoods),
        parzen=found,
        dims=of_samples.shape[1],
        images=", ".join(told),
        log_likelihoods={"test": found.log_likelihoods},
    )
    return made_report([entry], {"sigma": found.sigma, "seed": seed}, start)


def _vectors(value: Any, positions: Any, count: int, seed: int) -> tuple[Any, str, int]:
    """(N, H · W, 3) pixels in [0, 1] of a side, or (N, d) as they are; its name; and of how many they are a sample."""
    side = open_side(value)
    if isinstance(side, FeatureRows):
        rows = np.arange(len(side.values))
        chosen = sample_of(rows, count, seed)
        _require_memory(side.name, len(chosen), side.values.shape[1])
        return np.asarray(side.values[chosen], np.float64), side.name, len(rows)
    source = GeneratorSource(side, count, seed=seed) if isinstance(side, Generator) else as_images(side)
    if positions is None:
        positions = np.arange(len(source))
    chosen = sample_of(positions, count, seed)
    first = _image(source, int(chosen[0]))
    _require_memory(source.name, len(chosen), first.size)
    pixels = np.empty((len(chosen), *first.shape), np.uint8)
    for row, position in enumerate(chosen):
        image = _image(source, int(position))
        if image.shape != first.shape:
            raise InputError(f"{source.name} has images of several sizes. A Parzen window needs them to be of one.")
        pixels[row] = image
    return pixels.reshape(len(pixels), -1, 3) / 255, source.name, len(positions)


def _require_memory(name: str, count: int, values: int) -> None:
    """Raise `InputError` where a side in float64 is more than is held, before any of it is."""
    size = 8 * count * values
    if size > _MOST_BYTES:
        fitting = _MOST_BYTES // (8 * values)
        way_out = f"Take fewer: -n {fitting} (in Python: num_images={fitting})" if fitting > 1 else "Make them smaller"
        raise InputError(
            f"{name}: {count:,} times {values:,} numbers are {size / 1e9:.1f} GB, and a Parzen window holds all of "
            f"them at once, {_MOST_BYTES / 1e9:.0f} GB at most. {way_out}; or take a frozen density, which holds a "
            "batch at a time."
        )


def _image(source: ImageSource, position: int) -> ImageArray:
    try:
        return decode(source.read(position), alpha="white")
    except Undecodable as error:
        raise UnreadableInput(
            f"{source.name}: {source.entry_name(position)} cannot be used: {error}. Remove it, or give a readable copy."
        ) from error


def _same_channels(samples: Any, reference: Any) -> tuple[FloatArray, FloatArray]:
    """(N, d) of both: one channel where both sides are grey."""
    if samples.ndim != reference.ndim:
        raise InputError("One side of a Parzen window is images and the other numbers (N, d). Give the same of both.")
    if samples.ndim == 2:
        return samples, reference
    if all((side == side[..., :1]).all() for side in (samples, reference)):
        samples, reference = samples[..., :1], reference[..., :1]
    return samples.reshape(len(samples), -1), reference.reshape(len(reference), -1)
