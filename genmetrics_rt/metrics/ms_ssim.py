"""Multi-scale structural similarity, from "Multiscale structural similarity for image quality assessment" (Wang,
Simoncelli and Bovik, 2003), and as a measure of lost variety, from "Conditional Image Synthesis with Auxiliary
Classifier GANs" (Odena, Olah and Shlens, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray, ImageArray, as_image_batch
from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first; the paper's, which sum to 1.0001
_WINDOW, _SIGMA = 11, 1.5
_LUMINANCE = (0.01 * 255) ** 2  # C1
_CONTRAST = (0.03 * 255) ** 2  # C2
_BLOCK_BYTES = 16 << 20  # of one float64 copy of some images
_MAX_PAIRS = 1000


@dataclass(frozen=True)
class MsSsim:
    """Mean similarity of random pairs of images, in [0, 1], and its standard error. Lower is more varied."""

    mean: float
    standard_error: float
    num_pairs: int


def ms_ssim(a: Any, b: Any) -> FloatArray:
    """(N,) structural similarity of each image of ``a`` with the one of ``b``, over five scales.

    ``Π_{j<5} cs_j^w_j · ssim_5^w_5`` with ``cs = (2 σ_ab + C2)/(σ_a² + σ_b² + C2)``,
    ``ssim = cs · (2 μ_a μ_b + C1)/(μ_a² + μ_b² + C1)``, each the mean over all places and channels of one scale;
    negative means become 0. Local moments are those of a Gaussian window of 11 × 11 with σ = 1.5 inside the image. The
    next scale is the mean of 2 × 2 pixels; an odd last row or column is dropped. Between 0 and 1 (equal images), and
    symmetric. Window, borders and the mean over all channels follow Progressive GAN's code.

    Small images: where a scale is smaller than the window, the window shrinks to its shorter side, and σ with it. Five
    scales need 16 pixels a side. Smaller images have as many as can be halved, with the weights of the finest scales
    grown to the same sum; such scores compare with those of the same image size only.

    Parameters
    ----------
    a, b : (N, H, W, 3) or (N, H, W) uint8

    Raises
    ------
    FeatureMismatch
        Unlike shapes.
    UnreadableInput, InputError
        No batch of uint8 images.
    """
    first, second = as_image_batch(a, what="a"), as_image_batch(b, what="b")
    if first.shape != second.shape:
        raise FeatureMismatch(
            f"MS-SSIM compares pixel with pixel, and the shapes are {first.shape} and {second.shape}. Bring both sides "
            "to one size and number."
        )
    step = _images_per_block(first)
    parts = [slice(start, start + step) for start in range(0, len(first), step)]
    return np.concatenate([np.zeros(0), *(_scores(_planes(first[part]), _planes(second[part])) for part in parts)])


def ms_ssim_diversity(images: Any, *, num_pairs: int | None = None, seed: int = 0) -> MsSsim:
    """Mean `ms_ssim` of random pairs of images of one set: high where they look alike.

    No image stands in two pairs, so the pairs are independent and the standard error is that of their mean. Lower is
    more varied; look at the value of the reference to know what is low, and compare at the same image size. It sees
    collapse and little else; noise scores near 0.

    Parameters
    ----------
    images : (N, H, W, 3) or (N, H, W) uint8
        Of one class where the question is variety within it (100 pairs a class at 128 × 128 in the AC-GAN paper).
    num_pairs : int
        None takes as many as there are, at most 1000. Progressive GAN takes 10,000.
    seed : int
        Of the pairing.

    Raises
    ------
    TooFewImages
        Fewer than 4 images, or than two for each pair.
    UnreadableInput, InputError
        No batch of uint8 images; fewer than 2 pairs.
    """
    batch = as_image_batch(images)
    there = len(batch) // 2
    count = min(there, _MAX_PAIRS) if num_pairs is None else num_pairs
    if num_pairs is not None and num_pairs < 2:
        raise InputError(f"num_pairs is {num_pairs}; a mean with a standard error needs at least 2.")
    if count > there or there < 2:
        raise TooFewImages(
            f"{max(count, 2)} pairs of different images need {2 * max(count, 2)} images; there are {len(batch)}. Add "
            "images, or ask for fewer pairs."
        )
    of_a, of_b = np.random.default_rng(seed).permutation(len(batch))[: 2 * count].reshape(2, count)
    step = _images_per_block(batch)
    parts = [slice(start, start + step) for start in range(0, count, step)]
    scores = np.concatenate([_scores(_planes(batch[of_a[part]]), _planes(batch[of_b[part]])) for part in parts])
    return MsSsim(float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(count)), count)


def _scores(a: FloatArray, b: FloatArray) -> FloatArray:
    """(n,) of planes (n, C, H, W)."""
    num_scales = min(len(WEIGHTS), min(a.shape[2:]).bit_length())
    weights = np.array(WEIGHTS[:num_scales]) * (sum(WEIGHTS) / sum(WEIGHTS[:num_scales]))
    score = np.ones(len(a))
    for scale, weight in enumerate(weights):
        if scale > 0:
            a, b = _halved(a), _halved(b)
        similarity, contrast = _moments(a, b)
        score *= np.maximum(similarity if scale == num_scales - 1 else contrast, 0) ** weight
    return score


def _moments(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) mean ssim and (n,) mean cs of one scale."""
    height, width = a.shape[2:]
    size = min(_WINDOW, height, width)
    down, across = _window(height, size), _window(width, size).T

    def local(planes: FloatArray) -> FloatArray:
        """(n, C, H − size + 1, W − size + 1) Gaussian means."""
        means: FloatArray = down @ planes @ across
        return means

    mean_a, mean_b = local(a), local(b)
    squares, product = mean_a**2 + mean_b**2, mean_a * mean_b
    contrast = (2 * (local(a * b) - product) + _CONTRAST) / (local(a * a + b * b) - squares + _CONTRAST)
    luminance = (2 * product + _LUMINANCE) / (squares + _LUMINANCE)
    return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))


def _window(length: int, size: int) -> FloatArray:
    """(length − size + 1, length) matrix whose rows are a Gaussian window at each place."""
    sigma = _SIGMA * size / _WINDOW
    offsets = np.arange(size) - (size - 1) / 2
    window = np.exp(-(offsets**2) / (2 * sigma**2))
    places = np.arange(length - size + 1)
    matrix = np.zeros((len(places), length))
    matrix[places[:, None], places[:, None] + np.arange(size)] = window / window.sum()
    return matrix


def _halved(planes: FloatArray) -> FloatArray:
    """(n, C, H // 2, W // 2) means of 2 × 2 pixels."""
    even = planes[:, :, : planes.shape[2] // 2 * 2, : planes.shape[3] // 2 * 2]
    rows = even[:, :, ::2] + even[:, :, 1::2]
    halved: FloatArray = (rows[..., ::2] + rows[..., 1::2]) / 4
    return halved


def _planes(images: ImageArray) -> FloatArray:
    """(n, H, W, C) uint8 as (n, C, H, W) float64."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float64)


def _images_per_block(images: ImageArray) -> int:
    return max(1, _BLOCK_BYTES // (8 * int(np.prod(images.shape[1:]))))
