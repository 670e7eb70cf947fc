"""Traits of files and pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genmetrics_rt.diagnosis.traits import (
    _STANDARD,
    alike_in_size,
    blockiness_of,
    high_frequency_of,
    quality_of,
    traits_of,
)
from genmetrics_rt.images import open_images
from genmetrics_rt.sides import open_side
from tests import makers


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 90, 95])
def test_jpeg_quality_is_that_which_pillow_was_asked_for(tmp_path: Path, quality: int) -> None:
    for index, pixels in enumerate(makers.pictures(3, size=40)):
        Image.fromarray(pixels).save(tmp_path / f"{index}.jpg", quality=quality)
    traits = traits_of(open_images(tmp_path))
    assert traits.formats == ("JPEG",) * 3
    assert traits.jpeg_share == 1
    assert np.abs(traits.jpeg_quality - quality).max() <= 1  # the entries are rounded


def test_the_standard_table_itself_is_quality_50() -> None:
    """ITU-T T.81, Annex K.1: its 64 entries sum to 3,688; twice as coarse is 25, all ones is 99 or 100."""
    assert int(_STANDARD.sum()) == 3688
    assert quality_of(_STANDARD) == 50
    assert quality_of(2 * _STANDARD[::-1]) == 25
    assert quality_of([255] * 64) == 1
    assert quality_of([1] * 64) >= 99


def test_sizes_formats_and_colour_of_a_mixed_folder(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 20, 200)).save(tmp_path / "a.png")
    Image.new("L", (8, 40), 90).save(tmp_path / "b.bmp")
    Image.new("RGB", (16, 16), (90, 90, 90)).save(tmp_path / "c.jpg")
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    traits = traits_of(open_images(tmp_path))  # the broken one is left out
    assert traits.num_images == 3
    assert traits.formats == ("PNG", "BMP", "JPEG")
    assert traits.widths.tolist() == [30, 8, 16]
    assert traits.heights.tolist() == [20, 40, 16]
    assert traits.grey.tolist() == [0, 1, 1]
    # BT.601: 0.299·10 + 0.587·20 + 0.114·200
    assert traits.brightness[:2].tolist() == pytest.approx([37.53, 90.0])
    assert traits.contrast.tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert traits.high_frequency.tolist() == [0, 0, 0]


def test_nothing_readable_gives_empty_traits(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    traits = traits_of(open_images(tmp_path))
    assert traits.num_images == 0
    assert traits.grey_share == traits.jpeg_share == 0


def test_a_sample_is_seeded_and_as_large_as_asked(tmp_path: Path) -> None:
    source = open_images(makers.pictures(50))
    first, again, other = (traits_of(source, 10, seed) for seed in (0, 0, 1))
    assert first.num_images == 10
    assert first.brightness.tolist() == again.brightness.tolist() != other.brightness.tolist()


def test_archives_have_the_traits_of_their_folder(tmp_path: Path) -> None:
    import shutil

    folder = makers.image_folder(tmp_path / "images", 6, suffix=".jpg")
    packed = shutil.make_archive(str(tmp_path / "images"), "zip", folder)
    ours, theirs = (traits_of(open_images(place)) for place in (folder, packed))
    assert ours.jpeg_quality.tolist() == theirs.jpeg_quality.tolist()
    assert ours.brightness.tolist() == theirs.brightness.tolist()


def test_high_frequency_is_one_for_white_noise_and_falls_by_blur() -> None:
    """Steps of independent values have twice their variance; of a ramp 0, 1, …, n − 1 they are 1 and (n² − 1)/12."""
    noise = np.random.default_rng(0).normal(size=(256, 256))
    assert high_frequency_of(noise) == pytest.approx(1, abs=0.02)
    assert high_frequency_of(7 * noise + 100) == pytest.approx(high_frequency_of(noise))
    ramp = np.tile(np.arange(64.0), (64, 1))
    assert high_frequency_of(ramp) == pytest.approx((1 + 0) / 2 / (2 * (64**2 - 1) / 12))


def test_blockiness_by_hand() -> None:
    """Steps of 5 at the borders of blocks and of 1 elsewhere: their ratio is 5; a ramp has 1."""
    row = np.cumsum([0.0] + [5.0 if at % 8 == 0 else 1.0 for at in range(1, 32)])
    assert blockiness_of(row[:, None] + row[None, :]) == pytest.approx(5)
    ramp = np.arange(32.0)
    assert blockiness_of(ramp[:, None] + ramp[None, :]) == pytest.approx(1)
    assert np.isnan(blockiness_of(np.zeros((8, 8))))


def test_blockiness_stays_when_a_jpeg_becomes_a_png() -> None:
    def through(pixels: np.ndarray, quality: int) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    pictures = makers.pictures(20, size=64)
    never, mild, strong = (
        np.median(traits_of(open_images(np.stack(images))).blockiness)
        for images in (pictures, [through(p, 95) for p in pictures], [through(p, 10) for p in pictures])
    )
    assert never < 1.1
    assert never <= mild + 0.05 < strong
    assert strong > 1.5


def test_alike_in_size_takes_small_differences() -> None:
    of = {size: traits_of(open_images(makers.pictures(3, size=size))) for size in (32, 36, 64)}
    assert alike_in_size(of[32], of[36])
    assert not alike_in_size(of[32], of[64])


def test_generators_have_traits(tiny_generator: Path) -> None:
    from genmetrics_rt.generators import GeneratorSource

    source = GeneratorSource(open_side(tiny_generator).bundle, 12, seed=0, device="cpu", backend="onnx", threads=1)
    traits = traits_of(source)
    assert traits.num_images == 12
    assert set(traits.formats) == {"pixels"}
    assert traits.grey_share < 1
