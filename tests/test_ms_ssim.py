"""MS-SSIM against closed forms, and against its definition written out window by window (spec §4.23)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve2d

from genmetrics_rt.errors import FeatureMismatch, InputError, TooFewImages, UnreadableInput
from genmetrics_rt.metrics.ms_ssim import WEIGHTS, ms_ssim, ms_ssim_diversity
from tests.makers import pictures


def flat(value: int, size: int = 32) -> np.ndarray:
    return np.full((1, size, size, 3), value, np.uint8)


def noisy(images: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(0, 255, 0.29295047811628383), (100, 200, 0.970697200656701), (128, 129, 0.9999959644)]
)
@pytest.mark.parametrize("size", [16, 33, 180])
def test_constant_images(a: int, b: int, expected: float, size: int) -> None:
    """Spec §4.23: cs is 1, so the value is l^0.1333 at any size of five scales."""
    assert ms_ssim(flat(a, size), flat(b, size))[0] == pytest.approx(expected, abs=5e-11)


def test_constant_small_images() -> None:
    """Eight pixels a side are halved thrice: four scales, whose last weight 0.2363 grows by 1.0001/0.8668."""
    luminance = (2 * 100 * 200 + 2.55**2) / (100**2 + 200**2 + 2.55**2)
    expected = luminance ** (0.2363 * 1.0001 / (0.0448 + 0.2856 + 0.3001 + 0.2363))
    assert ms_ssim(flat(100, 8), flat(200, 8))[0] == pytest.approx(expected, rel=1e-10)
    one_pixel = ms_ssim(flat(100, 1), flat(200, 1))[0]
    assert one_pixel == pytest.approx(luminance**1.0001, rel=1e-10)


@pytest.mark.parametrize("size", [1, 2, 5, 16, 40, 100])
def test_identical_images_are_one(size: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    assert ms_ssim(images, images) == pytest.approx(1, abs=1e-12)


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """One pair (H, W, C): two-dimensional windows, one channel at a time, all five scales."""
    x, y = a.astype(float), b.astype(float)
    score = 1.0
    for scale in range(5):
        size = min(11, *x.shape[:2])
        grid = np.arange(size) - (size - 1) / 2
        window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * (1.5 * size / 11) ** 2))
        window /= window.sum()
        ssim, cs = [], []
        for channel in range(x.shape[2]):
            p, q = x[..., channel], y[..., channel]
            m, n, pp, qq, pq = (convolve2d(z, window, mode="valid") for z in (p, q, p * p, q * q, p * q))
            c = (2 * (pq - m * n) + 7.65**2) / (pp - m * m + qq - n * n + 7.65**2)
            cs.append(c)
            ssim.append(c * (2 * m * n + 2.55**2) / (m * m + n * n + 2.55**2))
        score *= max(0.0, float(np.mean(ssim if scale == 4 else cs))) ** WEIGHTS[scale]
        if scale == 4:
            break
        h, w = x.shape[0] // 2, x.shape[1] // 2
        x, y = (z[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).mean(axis=(1, 3)) for z in (x, y))
    return score


@pytest.mark.parametrize("shape", [(64, 64), (40, 55), (16, 21), (200, 179)])
def test_by_definition(shape: tuple[int, int]) -> None:
    """Even and odd sizes, with windows that fit and windows that shrink."""
    a = pictures(2, seed=1, size=200)[:, : shape[0], : shape[1]]
    b = noisy(a, 20)
    assert ms_ssim(a, b) == pytest.approx([by_definition(*pair) for pair in zip(a, b, strict=True)], rel=1e-9)


def test_grey_is_as_three_equal_channels() -> None:
    a, b = pictures(2, seed=2, size=32), pictures(2, seed=3, size=32)
    assert np.array_equal(ms_ssim(a[..., 0], b[..., 0]), ms_ssim(a[..., :1], b[..., :1]))
    three = (np.repeat(side[..., :1], 3, axis=-1) for side in (a, b))
    assert ms_ssim(*three) == pytest.approx(ms_ssim(a[..., 0], b[..., 0]), rel=1e-12)


def test_channels_are_averaged_before_the_product() -> None:
    """Only one channel differs: joint averaging gives another value than the mean of the channels' own products."""
    a = pictures(1, seed=4, size=48)
    b = a.copy()
    b[..., 2] = noisy(b[..., 2], 40)
    own = [ms_ssim(a[..., channel], b[..., channel])[0] for channel in range(3)]
    assert own[0] == own[1] == pytest.approx(1)
    assert ms_ssim(a, b)[0] == pytest.approx(by_definition(a[0], b[0]), rel=1e-9)
    assert abs(ms_ssim(a, b)[0] - np.mean(own)) > 1e-3


def test_symmetric_and_invariant_under_mirroring() -> None:
    a, b = pictures(4, seed=5, size=48), pictures(4, seed=6, size=48)
    scores = ms_ssim(a, b)
    assert ms_ssim(b, a) == pytest.approx(scores, rel=1e-10)
    assert ms_ssim(a[:, ::-1], b[:, ::-1]) == pytest.approx(scores, rel=1e-10)
    assert ms_ssim(a.transpose(0, 2, 1, 3), b.transpose(0, 2, 1, 3)) == pytest.approx(scores, rel=1e-10)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_more_noise_is_less_alike_and_a_negative_is_zero() -> None:
    a = pictures(1, seed=7, size=64)
    scores = [ms_ssim(a, noisy(a, deviation))[0] for deviation in (2, 8, 32, 128)]
    assert scores == sorted(scores, reverse=True)
    waves = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[None]
    assert ms_ssim(waves, 255 - waves)[0] == 0  # cs of a picture and its negative is nearly −1


def test_the_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pictures(7, seed=8, size=32), pictures(7, seed=9, size=32)
    expected, diversity = ms_ssim(a, b), ms_ssim_diversity(a)
    monkeypatch.setattr("genmetrics_rt.metrics.ms_ssim._BLOCK_BYTES", 2 * 8 * 32 * 32 * 3)  # two images
    assert ms_ssim(a, b) == pytest.approx(expected, rel=1e-12)
    assert ms_ssim_diversity(a).mean == pytest.approx(diversity.mean, rel=1e-12)
    assert len(ms_ssim(a[:0], b[:0])) == 0


def test_diversity_of_copies_is_one_and_variety_lowers_it() -> None:
    copies = ms_ssim_diversity(np.repeat(pictures(1, seed=10, size=32), 40, axis=0))
    assert copies.mean == pytest.approx(1) and copies.standard_error == pytest.approx(0, abs=1e-12)
    varied = ms_ssim_diversity(pictures(40, seed=10, size=32))
    two_kinds = ms_ssim_diversity(np.repeat(pictures(2, seed=10, size=32), 20, axis=0))
    assert varied.mean < two_kinds.mean < copies.mean
    assert varied.num_pairs == 20


def test_diversity_is_the_mean_over_disjoint_pairs() -> None:
    """Of 0, 85, 170 and 255 flat grey, any pairing has two pairs, whose scores are l^0.1333 by hand."""
    images = np.concatenate([flat(value) for value in (0, 85, 170, 255)])

    def alike(a: int, b: int) -> float:
        return float(((2 * a * b + 2.55**2) / (a**2 + b**2 + 2.55**2)) ** 0.1333)

    pairings = [((0, 85), (170, 255)), ((0, 170), (85, 255)), ((0, 255), (85, 170))]
    possible = []
    for pairing in pairings:
        one, two = (alike(*pair) for pair in pairing)
        possible.append(((one + two) / 2, abs(one - two) / 2))  # two values: the standard error is half their distance
    seen = set()
    for seed in range(20):
        result = ms_ssim_diversity(images, seed=seed)
        (match,) = [k for k, (mean, _) in enumerate(possible) if mean == pytest.approx(result.mean, abs=1e-9)]
        assert result.standard_error == pytest.approx(possible[match][1], abs=1e-9)
        seen.add(match)
    assert seen == {0, 1, 2}


def test_the_seed_is_everything() -> None:
    images = pictures(12, seed=11, size=16)
    np.random.seed(1)
    once = ms_ssim_diversity(images, num_pairs=3, seed=2)
    np.random.seed(2)
    assert ms_ssim_diversity(images, num_pairs=3, seed=2) == once and once.num_pairs == 3
    assert ms_ssim_diversity(images, num_pairs=3, seed=3) != once


def test_at_most_a_thousand_pairs_unless_asked() -> None:
    images = np.random.default_rng(12).integers(0, 256, (2100, 2, 2, 3), dtype=np.uint8)
    assert ms_ssim_diversity(images).num_pairs == 1000
    assert ms_ssim_diversity(images, num_pairs=1050).num_pairs == 1050


def test_what_is_refused() -> None:
    images = pictures(6, seed=13, size=16)
    with pytest.raises(FeatureMismatch, match="pixel"):
        ms_ssim(images, images[:5])
    with pytest.raises(FeatureMismatch):
        ms_ssim(images, images[:, :12])
    with pytest.raises(InputError, match="uint8"):
        ms_ssim(images / 255, images / 255)
    with pytest.raises(UnreadableInput):
        ms_ssim_diversity(images.transpose(0, 3, 1, 2))
    with pytest.raises(TooFewImages):
        ms_ssim_diversity(images[:3])
    with pytest.raises(TooFewImages, match="fewer pairs"):
        ms_ssim_diversity(images, num_pairs=4)
    with pytest.raises(InputError, match="num_pairs"):
        ms_ssim_diversity(images, num_pairs=1)
