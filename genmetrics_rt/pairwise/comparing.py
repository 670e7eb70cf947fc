"""The verbs: how different two sides look pair by pair, how diverse one side is, and what the numbers mean."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from genmetrics_rt.arrays import as_image_batch
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.fetch import fetch_bundle
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.pairwise.matching import Matching, match, open_pictures, require_pictures
from genmetrics_rt.pairwise.measuring import Run
from genmetrics_rt.pairwise.report import BETWEEN, WITHIN, PairReport, Rung
from genmetrics_rt.pairwise.scale import scale_of
from genmetrics_rt.perceptual import DEFAULT, PerceptualDistance, find_distance
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.sides import open_side
from genmetrics_rt.sources import ImageSource

DEFAULT_PAIRS = 1000  # of one side, unless more are asked for


def perceptual_distance(
    first: Any,
    second: Any,
    *,
    net: str | os.PathLike[str] | Bundle = DEFAULT,
    resize: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    pictures: bool = True,
    progress: ProgressCallback | None = None,
) -> PairReport:
    """How different the images of two sides look, pair by pair.

    Parameters
    ----------
    first, second
        An image file, a folder, ``.zip``, ``.tar``, ``.npy`` or ``.npz`` of uint8 images, an array (N, H, W, 3) or
        (H, W, 3), a shipped example, or a generator, which is sampled as often as the other side has images (1,000
        where that is one too). Images with names are matched by name (path inside the folder, the suffix apart),
        those of arrays and generators by order.
    net
        A distance of `list_distances`: ``"scattering"`` needs no weights; those of ``"lpips-alex"`` and the like are
        fetched the first time.
    resize
        Bring the second image of a pair to the size of the first (triangle filter, antialiased) where they differ.
        Without it that is an error: resizing is a difference of its own.
    seed
        Of the interval, and of the samples of a generator.
    strict
        A pair of which an image cannot be read is an error; else it is skipped and listed.
    pictures
        Whether the report holds pictures of the most different pairs and of median ones, their maps, and the scale.

    Returns
    -------
    PairReport
        ``mean`` with ``interval``, the 95 % percentile interval of the bootstrap over pairs (2,000 resamples; from
        40 pairs on), and ``pairs``, the most different first.

    Raises
    ------
    InputError
        One of its kinds: nothing matches, sizes differ, an image is too small for the network, and the like.
    """
    opened = [open_pictures(side) for side in (first, second)]
    stored = [len(side) for side in opened if not isinstance(side, Generator)]
    count = stored[0] if stored else DEFAULT_PAIRS
    a, b = (_sampled(side, count, seed, device, threads) for side in opened)
    run = Run(_opened(net, device, threads, progress), resize, seed, strict, pictures, progress)
    return run.report(BETWEEN, a, b, match(a, b))


def perceptual_diversity(
    side: Any,
    *,
    net: str | os.PathLike[str] | Bundle = DEFAULT,
    num_pairs: int | None = None,
    resize: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    pictures: bool = True,
    progress: ProgressCallback | None = None,
) -> PairReport:
    """How different the images of one side look from each other: the mean distance of seeded, disjoint random pairs.

    Lower is less diverse; 0 when all images are equal. LPIPS diversity with ``net="lpips-alex"`` (Zhu et al. 2017,
    "Toward Multimodal Image-to-Image Translation"). No image is in two pairs, so that pairs are independent and the
    interval holds. The number has no scale of its own: compare it with that of the reference images.

    Parameters
    ----------
    side
        As for `perceptual_distance`, or a generator.
    num_pairs
        How many; None is all there are, at most 1,000.

    Others as for `perceptual_distance`. Raises `TooFewImages` for fewer than two images.
    """
    run = Run(_opened(net, device, threads, progress), resize, seed, strict, pictures, progress)
    source = _open_side(side, num_pairs, seed, device, threads)
    possible = len(source) // 2
    if possible == 0:
        raise TooFewImages(f"{source.name} has one image. Diversity is how images differ from each other: give more.")
    count = min(possible, DEFAULT_PAIRS) if num_pairs is None else num_pairs
    if not 0 < count <= possible:
        raise InputError(
            f"num_pairs is {count:,}; {source.name} has {len(source):,} images, enough for 1 to {possible:,} pairs "
            "that share none."
        )
    drawn = np.random.default_rng(seed).permutation(len(source))[: 2 * count].reshape(count, 2)
    couples = tuple((int(i), int(j)) for i, j in drawn)
    return run.report(WITHIN, source, source, Matching(couples))


def perceptual_scale(
    images: Any, *, net: str | os.PathLike[str] | Bundle = DEFAULT, device: str = "auto", threads: int | None = None
) -> tuple[Rung, ...]:
    """What distances mean: known damages of these images, and the mean distance of damaged images from what they were.

    One image (H, W, 3) or several (N, H, W, 3), uint8. A shift by one pixel, blur, noise and JPEG at rising severities.
    """
    return scale_of(_opened(net, device, threads, None), list(as_image_batch(images)))


def _opened(
    net: str | os.PathLike[str] | Bundle, device: str, threads: int | None, progress: ProgressCallback | None
) -> PerceptualDistance:
    bundle, name = find_distance(net)
    if bundle.is_weight_free:
        bundle = fetch_bundle(bundle, progress=progress)
    return PerceptualDistance(bundle, name, device=device, threads=threads)


def _open_side(side: Any, num_pairs: int | None, seed: int, device: str, threads: int | None) -> ImageSource:
    """A set of images, or as many samples of a generator as the pairs need."""
    opened = require_pictures(open_side(side))
    return _sampled(opened, 2 * (num_pairs or DEFAULT_PAIRS), seed, device, threads)


def _sampled(side: ImageSource | Generator, count: int, seed: int, device: str, threads: int | None) -> ImageSource:
    """The images as they are, or ``count`` samples of a generator."""
    if isinstance(side, Generator):
        return GeneratorSource(side, count, seed=seed, device=device, threads=threads)
    return side
