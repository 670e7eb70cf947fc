"""The same faults on pictures: handwritten digits, scored on the features and classes of the shipped classifier.

The model draws from real digits that are neither in its training set nor among the held-out ones, so that without a
fault it is perfect, and damages them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import genmetrics_rt as gm
from playground.measure import Measured, Perfect, measure, perfect_model
from playground.mixture import require_limits

Images = NDArray[np.uint8]  # (N, 32, 32)

NUM_CLASSES = 10
# Invented classes are these digits lying on their side: strokes of the same pen, and no digit.
LYING = (3, 2, 7, 4)

LIMITS: Mapping[str, tuple[float, float]] = {
    "classes_dropped": (0, NUM_CLASSES),
    "classes_invented": (0, len(LYING)),
    "blur": (0.0, 4.0),
    "noise": (0.0, 100.0),
    "copies": (0.0, 1.0),
    "num_images": (40, 400),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class DigitKnobs:
    """What is wrong with the model of digits; as it stands, nothing.

    Attributes
    ----------
    classes_dropped
        How many of the 10 digits it never draws, from 0 upward.
    classes_invented
        How many kinds of picture it draws that are no digits. All that it draws is equally frequent.
    blur
        Standard deviation of a Gaussian blur in pixels.
    noise
        Standard deviation of the noise on every pixel, in levels of 255.
    copies
        Share of its pictures that repeat training pictures exactly, of the digits that it has; neither blurred nor
        noisy; each once before any twice.
    num_images
        Generated pictures, and as many training and held-out ones.
    seed
        Of all of them.
    against_training
        Score against the training pictures instead of held-out ones: the leak.
    """

    classes_dropped: int = 0
    classes_invented: int = 0
    blur: float = 0.0
    noise: float = 0.0
    copies: float = 0.0
    num_images: int = 300
    seed: int = 0
    against_training: bool = False

    def __post_init__(self) -> None:
        require_limits(self, LIMITS)
        if self.classes_dropped == NUM_CLASSES and (self.classes_invented == 0 or self.copies > 0):
            raise gm.InputError(
                "All digits are dropped, so the model has nothing to draw or to copy. Keep one digit, or invent one "
                "and set copies to 0."
            )


@dataclass(frozen=True)
class DigitSample:
    """The generated pictures of one step (N, 32, 32), and which of the shipped ones are training and held out (N,)."""

    generated: Images
    training: NDArray[np.intp]
    held_out: NDArray[np.intp]
    knobs: DigitKnobs

    @property
    def reference(self) -> Images:
        """(N, 32, 32) what the generated pictures are scored against."""
        return _shipped().images[self.chosen]

    @property
    def chosen(self) -> NDArray[np.intp]:
        """(N,) which of the shipped pictures the reference is."""
        return self.training if self.knobs.against_training else self.held_out


def draw(knobs: DigitKnobs) -> DigitSample:
    """The model's pictures, those it was trained on and those it never saw."""
    training, held_out, pool = _parts(knobs)
    return DigitSample(_generated(knobs, training, pool), training, held_out, knobs)


def measure_digits(knobs: DigitKnobs) -> tuple[DigitSample, Measured]:
    """One step of the playground on digits. Its milliseconds are those of the scores; the features come on top."""
    sample = draw(knobs)
    features, logits = _extractor()(sample.generated)
    shipped = _shipped()
    reference, training = shipped.features[sample.chosen], shipped.features[sample.training]
    return sample, measure(features, reference, training, logits=logits)


@functools.lru_cache(maxsize=64)
def perfect_digits(num_images: int) -> Perfect:
    """For that many digits. Without a fault the generated pictures are shipped ones, whose features are there."""
    shipped = _shipped()

    def step(seed: int) -> Measured:
        knobs = DigitKnobs(num_images=num_images, seed=seed)
        training, held_out, pool = _parts(knobs)
        _, picture = _chosen(knobs, pool)
        rows = (shipped.features[part] for part in (picture, held_out, training))
        return measure(*rows, logits=shipped.logits[picture])

    def distance(seed: int) -> float:
        knobs = DigitKnobs(num_images=num_images, seed=seed)
        _, held_out, pool = _parts(knobs)
        return gm.frechet_distance(shipped.features[_chosen(knobs, pool)[1]], shipped.features[held_out])

    return perfect_model(step, distance, num_rows=num_images)


def tile(images: Images, *, rows: int = 4, columns: int = 6) -> Images:
    """The first pictures as one, (rows · 34 + 2, columns · 34 + 2), dark strokes on white; empty places stay white."""
    side, gap = images.shape[1], 2
    page = np.full((rows * (side + gap) + gap, columns * (side + gap) + gap), 255, np.uint8)
    for place, image in enumerate(images[: rows * columns]):
        top, left = (gap + at * (side + gap) for at in divmod(place, columns))
        page[top : top + side, left : left + side] = 255 - image
    return page


@dataclass(frozen=True)
class _Shipped:
    """The example digits, with what the classifier makes of them."""

    images: Images
    labels: NDArray[np.uint8]
    is_train: NDArray[np.bool_]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]


@functools.cache
def _shipped() -> _Shipped:
    digits = gm.example_images("digits")
    features, logits = _extractor()(digits.images)
    assert logits is not None  # it is a classifier
    return _Shipped(digits.images, digits.labels, digits.is_train, features, logits)


@functools.cache
def _extractor() -> gm.FeatureExtractor:
    return gm.FeatureExtractor("digits-classifier", device="cpu")


def _parts(knobs: DigitKnobs) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which of the shipped pictures are training and held out (N,), and which the model draws from."""
    shipped, size = _shipped(), knobs.num_images
    rng = np.random.default_rng([knobs.seed, 0])
    train, test = (rng.permutation(np.flatnonzero(shipped.is_train == chosen)) for chosen in (True, False))
    return train[:size], test[:size], train[size:]


def _chosen(knobs: DigitKnobs, pool: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(N,) what each generated picture is (a digit; below 0, invented), and the shipped picture that it is made of."""
    which = np.random.default_rng([knobs.seed, 1]).random(knobs.num_images)
    kinds = np.array([*range(knobs.classes_dropped, NUM_CLASSES), *range(-knobs.classes_invented, 0)])
    kind = kinds[(which * len(kinds)).astype(int)]
    picture = np.empty(len(kind), np.intp)
    labels = _shipped().labels[pool]
    for each in kinds:
        wanted = kind == each
        picture[wanted] = np.resize(pool[labels == (each if each >= 0 else LYING[-1 - each])], wanted.sum())
    return kind, picture


def _generated(knobs: DigitKnobs, training: NDArray[np.intp], pool: NDArray[np.intp]) -> Images:
    shipped, size = _shipped(), knobs.num_images
    rng = np.random.default_rng([knobs.seed, 2])
    order, order_of_training = rng.permutation(size), rng.permutation(size)

    kind, picture = _chosen(knobs, pool)
    images = shipped.images[picture].astype(np.float32)
    images[kind < 0] = np.rot90(images[kind < 0], axes=(1, 2))
    images = _blurred(images, knobs.blur)
    if knobs.noise:
        images += knobs.noise * rng.standard_normal(images.shape, dtype=np.float32)
    generated: Images = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    num_copies = round(knobs.copies * size)
    if num_copies:
        source = training[order_of_training]
        source = source[shipped.labels[source] >= knobs.classes_dropped]
        if len(source) == 0:
            raise gm.TooFewImages(
                f"Among {size} training pictures none shows a digit that is left, so there is nothing to copy. Take "
                "more pictures, or keep more digits."
            )
        generated[order[:num_copies]] = shipped.images[np.resize(source, num_copies)]
    return generated


def _blurred(images: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of (N, 32, 32) along both sides; beyond the edge is paper."""
    if sigma == 0:
        return images
    at = np.arange(images.shape[1])
    weights = np.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    # By the whole Gaussian's sum, not by what lies inside: the edge darkens nothing.
    reach = np.arange(-(4 * 32), 4 * 32 + 1)
    weights = (weights / np.exp(-(reach**2) / (2 * sigma**2)).sum()).astype(np.float32)
    blurred: NDArray[np.float32] = weights @ images @ weights
    return blurred
