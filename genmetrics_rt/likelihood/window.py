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
    seeded half of the reference, at most 1,000 images, and the others are judged; of the shipped digits only held-out
    images are taken.

    Parameters
    ----------
    samples, reference
        Sides as in `evaluate`, or float arrays (N, d), which are taken as they are.
    sigma
        The width, if it is known: then all of the reference is judged.

    Raises
    ------
    InputError
        One of its kinds: sides that do not fit, or fewer than two reference images.
    """
    start = time.perf_counter()
    known = known_split(reference)
    rng = np.random.default_rng(seed)
    of_reference, name = _vectors(reference, None if known is None else np.flatnonzero(~known), num_images, seed)
    of_samples, samples_name = _vectors(samples, None, num_images or MAX_SAMPLES, seed)
    of_samples, of_reference = _same_channels(of_samples, of_reference)
    if sigma is not None:
        found = parzen_window(of_samples, of_reference, sigma=sigma)
    else:
        if len(of_reference) < 2:
            raise InputError(f"{name} has one image, which cannot choose a width and be judged by it. Give more.")
        order = rng.permutation(len(of_reference))
        held_out = min(MAX_VALIDATION, len(order) // 2)
        found = parzen_window(of_samples, of_reference[order[held_out:]], validation=of_reference[order[:held_out]])
    entry = LikelihoodEntry(
        samples_name,
        estimate_likelihood(found.log_likelihoods),
        parzen=found,
        dims=of_samples.shape[1],
        images=f"{name}, the held-out images" if known is not None else name,
        log_likelihoods={"test": found.log_likelihoods},
    )
    return made_report([entry], {"sigma": found.sigma, "seed": seed}, start)


def _vectors(value: Any, positions: Any, count: int | None, seed: int) -> tuple[Any, str]:
    """(N, H · W, 3) pixels in [0, 1] of a side, or (N, d) as they are; and its name."""
    side = open_side(value)
    if isinstance(side, FeatureRows):
        chosen = sample_of(np.arange(len(side.values)), count, seed)
        return np.asarray(side.values, np.float64)[chosen], side.name
    source = GeneratorSource(side, count or MAX_SAMPLES, seed=seed) if isinstance(side, Generator) else as_images(side)
    chosen = sample_of(np.arange(len(source)) if positions is None else positions, count, seed)
    images = [_image(source, int(position)) for position in chosen]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{source.name} has images of several sizes. A Parzen window needs them to be of one.")
    return np.stack(images).reshape(len(images), -1, 3) / 255, source.name


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
