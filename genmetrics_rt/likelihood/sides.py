"""Sides of images as a look at likelihoods needs them: as sources, parted where that is known, in samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.reference import Reference
from genmetrics_rt.sides import SHIPPED_IMAGES, FeatureRows, example_images, open_side
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource

MAX_OF_SAMPLES = 1_000  # of the model's own, whose likelihood is looked at too


def images_of(value: Any) -> ImageSource:
    side = open_side(value)
    return GeneratorSource(side, MAX_OF_SAMPLES) if isinstance(side, Generator) else as_images(side)


def as_images(side: Any) -> ImageSource:
    if isinstance(side, FeatureRows | Reference | TextSource):
        raise InputError("A likelihood is one of images, and this side has none. Give the images themselves.")
    source: ImageSource = side
    return source


def known_split(value: Any) -> Any:
    """Which images of a shipped example are training images; None where nobody knows."""
    return example_images(value).is_train if isinstance(value, str) and value in SHIPPED_IMAGES else None


def sample_of(positions: Any, count: int | None, seed: int) -> Any:
    if count is None or count >= len(positions):
        return positions
    if count < 1:
        raise InputError(f"num_images is {count}; it must be at least 1.")
    return np.sort(np.random.default_rng(seed).choice(positions, count, replace=False))
