"""Faults of generative models, injected into real and procedural images, and the evidence of an evaluation of them.

For the tests of the diagnosis and its benchmark. A fault takes images of a perfect model (N, H, W, 3), drawn from the
same distribution as the reference, and gives those of a model with that fault.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from genmetrics_rt.calibration.floor import floors
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.traits import traits_of
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.preparation import Preparation
from genmetrics_rt.scoring import Space, choose_metrics, score, settings_for
from genmetrics_rt.sides import EXAMPLES, open_side

MAX_EACH = 600  # images a side


@cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Generated and reference halves of the shipped digits, (600, 32, 32, 3) each, and the labels of both."""
    with np.load(EXAMPLES / "digits.npz") as archive:
        images, labels = archive["images"], archive["labels"]
    order = np.random.default_rng(0).permutation(len(images))
    images = np.repeat(images[order][..., None], 3, axis=-1)
    labels = labels[order]
    return images[:MAX_EACH], images[MAX_EACH : 2 * MAX_EACH], labels[:MAX_EACH], labels[MAX_EACH : 2 * MAX_EACH]


@cache
def colour_pictures(num_images: int = 400, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generated and reference procedural pictures, and the kinds of the generated: five kinds of coloured shapes.

    A kind has its hue and its shape (a disc of varied place and size on a slope of varied direction).
    """
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 5, 2 * num_images)
    hues = np.array([[220, 60, 40], [40, 180, 70], [60, 80, 220], [230, 200, 40], [180, 60, 190]], float)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    pictures = np.empty((2 * num_images, size, size, 3))
    for row, kind in enumerate(kinds):
        angle, (shift_y, shift_x), radius = rng.uniform(0, 6.28), rng.uniform(-0.2, 0.2, 2), rng.uniform(0.12, 0.28)
        slope = 110 + 70 * (x * np.cos(angle) + y * np.sin(angle)) + rng.normal(0, 10)
        around, along = np.abs(x - shift_x), np.abs(y - shift_y)
        shape = (np.hypot(around, along), np.maximum(around, along), around + along, around, along)[kind] < radius
        pictures[row] = np.where(shape[..., None], hues[kind] + rng.normal(0, 15, 3), slope[..., None] * [1, 1, 0.9])
        pictures[row] += rng.normal(0, 4, (size, size, 1))
    images = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
    return images[:num_images], images[num_images:], kinds[:num_images]


# Faults: images (N, H, W, 3), their kinds (N,), the reference, a stream → images


def none(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A perfect model."""
    return images


def collapse(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few prototypes, each shown many times with a little jitter."""
    prototypes = images[rng.choice(len(images), max(3, len(images) // 40), replace=False)]
    return _shifted(prototypes[rng.integers(0, len(prototypes), len(images))], rng)


def half_collapsed(
    images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Every other image is one of few prototypes; the others vary as they should."""
    made = images.copy()
    made[::2] = collapse(images, kinds, reference, rng)[::2]
    return made


def missing_kind(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One kind in ten is never made."""
    return images[kinds != 4]


def few_copies(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tenth of the images are copies."""
    made = images.copy()
    made[::10] = memoriser(images, kinds, reference, rng)[::10]
    return made


def dropped_kinds(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the kinds are never made; the others vary as they should."""
    return images[kinds < (kinds.max() + 1) // 2]


def invented(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the images is of a kind that the reference does not have."""
    made = images.copy()
    size = images.shape[1]
    grid = np.add.outer(np.arange(size), np.arange(size)) // max(1, size // 8) % 2 * 200 + 20
    for row in range(0, len(made), 5):
        made[row] = np.clip(grid[..., None] + rng.normal(0, 12, (size, size, 1)), 0, 255)
    return made


def blur(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = images.shape[1] / 14
    return np.stack([np.asarray(Image.fromarray(row).filter(ImageFilter.GaussianBlur(radius))) for row in images])


def half_blurred(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every other image is blurred."""
    made = images.copy()
    made[::2] = blur(images, kinds, reference, rng)[::2]
    return made


def noise(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.normal(0, 45, (*images.shape[:3], 1))
    return np.clip(images + grain, 0, 255).astype(np.uint8)


def broken(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The four quarters of each image change their places: always other parts, never a whole."""
    half = images.shape[1] // 2
    made = np.empty_like(images)
    for row, (image, turn) in enumerate(zip(images, rng.integers(1, 4, len(images)).tolist(), strict=True)):
        made[row] = np.roll(image, (half * (turn & 1), half * (turn >> 1)), axis=(0, 1))
    return made


def memoriser(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reference images with hardly visible noise."""
    copied = reference[rng.choice(len(reference), len(images), replace=len(images) > len(reference))]
    return np.clip(copied + rng.normal(0, 2, (*copied.shape[:3], 1)), 0, 255).astype(np.uint8)


def repeated(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tenth of the images is there twice."""
    made = images.copy()
    tenth = len(made) // 10
    made[-tenth:] = made[:tenth]
    return made


def jpeg(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compressed once at quality 15, and decoded again."""
    made = []
    for row in images:
        buffer = io.BytesIO()
        Image.fromarray(row).save(buffer, "JPEG", quality=15)
        made.append(np.asarray(Image.open(buffer).convert("RGB")))
    return np.stack(made)


def binarised(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Only black and white: each digit is plain to see, and none looks as it should."""
    return ((images > 110) * 255).astype(np.uint8)


def framed(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey frame around each digit, which is as plain to see as before."""
    made = images.copy()
    for edge in (np.s_[:, :2], np.s_[:, -2:], np.s_[:, :, :2], np.s_[:, :, -2:]):
        made[edge] = 120
    return made


def two_kinds(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Only two kinds of ten are made."""
    return images[kinds < 2]


def larger(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Twice as large."""
    return images.repeat(2, axis=1).repeat(2, axis=2)


def grey(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(row).convert("L").convert("RGB")) for row in images])


def tinted(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey images come out in colour."""
    return (images * np.array([1.0, 0.9, 0.75])).astype(np.uint8)


def bright(images: np.ndarray, kinds: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[−1, 1] taken for [0, 1] and the like: half of the range, lifted."""
    return (128 + images // 2).astype(np.uint8)


@dataclass(frozen=True)
class Fault:
    """A fault, the rules that must name it, and those that may, as they tell a consequence of it."""

    inject: Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
    must: frozenset[str]
    may: frozenset[str] = frozenset()
    needs_classes: bool = False

    @property
    def name(self) -> str:
        return self.inject.__name__


OF_NUMBERS = {"rank_deficient", "too_few_images"}  # rules on numbers of images, which no fault here changes
_UNLIKE = frozenset({"unrealistic", "diverse_but_blurry"})

ON_DIGITS = (
    Fault(none, frozenset()),
    Fault(collapse, frozenset({"mode_collapse"}), frozenset({"missing_modes"})),
    Fault(dropped_kinds, frozenset({"mode_collapse"}), frozenset({"missing_modes"})),
    Fault(half_collapsed, frozenset({"near_repeats"}), frozenset({"missing_modes", "invented_modes"})),
    Fault(missing_kind, frozenset({"missing_modes"})),
    Fault(invented, frozenset({"invented_modes"}), frozenset({"near_repeats"})),  # of which one is like the other
    Fault(blur, frozenset({"blurry"}), frozenset({"diverse_but_blurry"})),
    Fault(half_blurred, frozenset({"blurry"}), frozenset({"diverse_but_blurry", "invented_modes"})),
    Fault(noise, frozenset({"noisy"}), frozenset({"diverse_but_blurry"})),
    Fault(broken, frozenset({"unrealistic"}), frozenset({"diverse_but_blurry"})),
    Fault(
        binarised,
        frozenset({"sharp_but_wrong"}),
        frozenset({"noisy", "unlike_brightness", "diverse_but_blurry"}),
        needs_classes=True,
    ),
    Fault(memoriser, frozenset({"memorisation"})),
    Fault(few_copies, frozenset({"memorisation"})),
    Fault(repeated, frozenset({"duplicates"})),
    Fault(jpeg, frozenset({"unlike_jpeg"}), _UNLIKE),
    Fault(larger, frozenset({"unlike_sizes"}), _UNLIKE),
    Fault(tinted, frozenset({"unlike_colour"}), _UNLIKE),
)
ON_COLOUR = (
    Fault(none, frozenset()),
    Fault(collapse, frozenset({"mode_collapse"}), frozenset({"missing_modes"})),
    Fault(blur, frozenset({"blurry"}), frozenset({"diverse_but_blurry"})),
    Fault(half_blurred, frozenset({"blurry"}), frozenset({"diverse_but_blurry", "invented_modes"})),
    Fault(noise, frozenset({"noisy"}), frozenset({"diverse_but_blurry"})),
    Fault(memoriser, frozenset({"memorisation"})),
    Fault(jpeg, frozenset({"unlike_jpeg"}), _UNLIKE),
    Fault(grey, frozenset({"unlike_colour"}), _UNLIKE),
    Fault(bright, frozenset({"unlike_brightness"}), _UNLIKE),
)


def faulty(fault: Fault, data: str, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Generated images with a fault, and reference images, of ``"digits"`` or ``"colour"``."""
    if data == "digits":
        images, reference, kinds, _ = digits()
    else:
        images, reference, kinds = colour_pictures()
    images, reference, kinds = images[:num_images], reference[:num_images], kinds[:num_images]
    return fault.inject(images, kinds, reference, np.random.default_rng(1)), reference


SCORES = "fd,kid,precision,recall,density,coverage"


@cache
def _opened(extractor: str) -> Preparation:
    """An extractor, opened once for all evaluations."""
    preparation = Preparation(extractor, None, None, "cpu", "onnx", "fp32", None, 0, False, False, None, 2, None)
    preparation.choose_extractor(more_images=True)
    return preparation


_perfect: dict[
    tuple[str, int, str], tuple[Any, Any]
] = {}  # of each reference: its features, what a perfect model scores


def evidence_of(generated: Any, reference: Any, *, extractor: Any, **known: Any) -> Evidence:
    """The evidence of `genmetrics_rt.evaluate`, made of its own parts. ``known``: training log, likelihoods.

    One reference serves many faults, so its features and floors are computed once.
    """
    preparation = _opened(str(extractor))
    sides = open_side(generated), open_side(reference)
    side = preparation.features(sides[0], "generated", samples=None)
    summary, settings = side.extractor, settings_for({}, seed=0)
    keys = choose_metrics(SCORES + (",class_score" if side.features.logits is not None else ""), _space(side.features))
    named = str(extractor), len(side.features.values), hashlib.sha256(reference.tobytes()).hexdigest()
    if named not in _perfect:
        features = preparation.features(sides[1], "reference", samples=None).features
        _perfect[named] = features, floors(features, len(side.features.values), keys, settings, repetitions=4)
    of_reference, perfect = _perfect[named]
    comparison = Comparison(side.features, of_reference, summary.name, 0, settings, intervals=True)
    scores, _ = score(comparison, keys, summary, _space(side.features))
    traits = {"generated_traits": traits_of(sides[0]), "reference_traits": traits_of(sides[1])}
    sources = {"generated_source": sides[0], "reference_source": sides[1]}
    return Evidence(comparison, scores, perfect, **(traits | sources | known))


def _space(features: Any) -> Space:
    return Space("features", has_logits=features.logits is not None)


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dimmed a little and noised a little, each its own way."""
    made = images * rng.uniform(0.95, 1.0, (len(images), 1, 1, 1)) + rng.normal(0, 3, (*images.shape[:3], 1))
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)
