"""Resizing against vectors worked out by hand, against slow obvious formulas, and against torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.manifest import Protocol, _protocol
from genmetrics_rt.resize import resize, to_tensor
from tests import makers

RESAMPLING = ("triangle-antialias", "pillow-bicubic", "bilinear", "bilinear-tf1", "bilinear-corners")


def line(values: list[int], size: int, recipe: str, *, down: bool = False, rounding: str = "none") -> list[float]:
    """Resize one row (or one column) of pixels along itself."""
    row = np.array(values, np.uint8).reshape((-1, 1, 1) if down else (1, -1, 1)).repeat(3, axis=2)
    resized = resize(row, ((size, 1) if down else (1, size), recipe, rounding))
    assert resized.dtype == np.float32 and (resized == resized[..., :1]).all()
    return resized[..., 0].ravel().tolist()


# Worked out by hand from the formulas of the filters; for the triangle widened by 2, the weights at distances
# 1/4 and 3/4 (and 5/4 where the border cuts) are 3/4, 1/4 …, divided by their sum.
VECTORS = [
    ([0, 100], 4, "bilinear-tf1", [0, 50, 100, 100]),
    ([0, 100], 4, "bilinear", [0, 25, 75, 100]),
    ([0, 100], 4, "triangle-antialias", [0, 25, 75, 100]),
    ([0, 100], 4, "pillow-bicubic", [-150 / 17, 145 / 7, 555 / 7, 1850 / 17]),
    ([0, 0, 100, 100], 2, "bilinear-tf1", [0, 100]),
    ([0, 0, 100, 100], 2, "bilinear", [0, 100]),
    ([0, 0, 100, 100], 2, "triangle-antialias", [100 / 7, 600 / 7]),
    ([0, 0, 100, 100], 2, "pillow-bicubic", [1000 / 121, 11100 / 121]),
    ([10, 20, 30], 2, "bilinear-tf1", [10, 25]),
    ([10, 20, 30], 2, "bilinear", [12.5, 27.5]),
    ([0, 100], 4, "bilinear-corners", [0, 100 / 3, 200 / 3, 100]),
    ([0, 30, 90], 5, "bilinear-corners", [0, 15, 30, 60, 90]),
    ([7], 3, "bilinear-corners", [7, 7, 7]),
    ([7], 3, "bilinear-tf1", [7, 7, 7]),
    ([7], 3, "bilinear", [7, 7, 7]),
]


@pytest.mark.parametrize("down", [False, True], ids=["across", "down"])
@pytest.mark.parametrize(("values", "size", "recipe", "expected"), VECTORS)
def test_vectors_worked_out_by_hand(
    values: list[int], size: int, recipe: str, expected: list[float], down: bool
) -> None:
    assert line(values, size, recipe, down=down) == pytest.approx(expected, abs=1e-5)


def test_clipping_takes_away_the_overshoot_only() -> None:
    assert line([0, 255], 4, "pillow-bicubic")[0] < 0 and line([0, 255], 4, "pillow-bicubic")[-1] > 255
    clipped = line([0, 255], 4, "pillow-bicubic", rounding="clip")
    assert clipped[0] == 0 and clipped[-1] == 255
    assert clipped[1:3] == line([0, 255], 4, "pillow-bicubic")[1:3]


@pytest.mark.parametrize("recipe", ["none", *RESAMPLING])
def test_the_same_size_is_the_identity(recipe: str) -> None:
    image = makers.pictures(1, size=299)[0]
    assert (resize(image, ((299, 299), recipe, "none")) == image).all()


@pytest.mark.parametrize("recipe", RESAMPLING)
def test_a_plain_colour_stays_as_it_is(recipe: str) -> None:
    image = np.broadcast_to(np.array([3, 128, 255], np.uint8), (37, 21, 3))
    for size in ((299, 299), (5, 90)):
        assert np.abs(resize(image, (size, recipe, "none")) - [3, 128, 255]).max() < 1e-4


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize("shape", [(32, 32), (28, 45), (299, 300), (640, 480), (1, 7)])
def test_bilinear_is_the_slow_obvious_formula(half_pixel: bool, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    height, width = 61, 47
    found = resize(image, ((height, width), "bilinear" if half_pixel else "bilinear-tf1", "none"))
    shift = 0.5 if half_pixel else 0.0
    tolerance = 2 * 255 * max(shape) * 2**-23  # two axes, float32 coordinates up to the size, steps up to 255

    def taps(index: int, size: int, target: int) -> tuple[int, int, float]:
        place = max((index + shift) * size / target - shift, 0)
        low = min(int(place), size - 1)
        return low, min(low + 1, size - 1), place - low

    for y, x in np.random.default_rng(1).integers(0, (height, width), (200, 2)).tolist():
        (up, down, v), (left, right, u) = taps(y, shape[0], height), taps(x, shape[1], width)
        above = image[up, left] * (1 - u) + image[up, right] * u
        below = image[down, left] * (1 - u) + image[down, right] * u
        assert np.abs(found[y, x] - (above * (1 - v) + below * v)).max() < tolerance


@pytest.mark.parametrize("shape", [(32, 32), (28, 45), (299, 299), (500, 311), (3, 700)])
@pytest.mark.parametrize("recipe", ["triangle-antialias", "bilinear", "pillow-bicubic"])
def test_it_agrees_with_torch(recipe: str, shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    # Without antialias both take float32 coordinates; with it, Pillow's filter weights are computed in double.
    dtype = torch.float32 if recipe == "bilinear" else torch.float64
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype)
    expected = torch.nn.functional.interpolate(
        planes,
        size=(299, 128),
        mode="bicubic" if recipe == "pillow-bicubic" else "bilinear",
        align_corners=False,
        antialias=recipe != "bilinear",
    )
    found = resize(image, ((299, 128), recipe, "none"))
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < (1e-3 if recipe == "bilinear" else 1e-4)


def test_clean_is_pillow_bicubic_on_each_float_channel() -> None:
    image = makers.pictures(1, size=40)[0]
    found = resize(image, ((299, 299), "pillow-bicubic", "clip"))
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        expected = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
        assert (found[..., channel] == expected).all()


def protocol(tmp_path: Path, **changes: Any) -> Protocol:
    folder = makers.make_extractor(tmp_path / "bundle", protocol={**makers.PROTOCOL, **changes})
    return load_bundle(folder).manifest.protocol()


def test_scaling_is_exact_to_the_last_bit(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.float32).reshape(8, 32)[..., None].repeat(3, axis=2)[:, :8] + np.float32(0.37)
    tensor = to_tensor(pixels, protocol(tmp_path, scale=1 / 128, offset=-1.0))
    assert tensor.shape == (3, 8, 8) and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    assert (tensor[0] == (pixels[..., 0] - np.float32(128)) / np.float32(128)).all()
    black_middle_white = np.array([[[0] * 3, [128] * 3, [255] * 3]], np.float32)
    assert to_tensor(black_middle_white, protocol(tmp_path, scale=1 / 128, offset=-1.0))[0].tolist() == [
        [-1, 0, 0.9921875]
    ]


def test_layouts_and_types(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    assert (to_tensor(pixels, protocol(tmp_path, layout="NHWC", scale=1.0)) == pixels).all()
    assert (to_tensor(pixels, protocol(tmp_path, layout="NCHW", scale=1.0)) == pixels.transpose(2, 0, 1)).all()


def test_a_protocol_is_a_recipe(tmp_path: Path) -> None:
    image = makers.pictures(1, size=20)[0]
    recipe = protocol(tmp_path, resize="bilinear", size=[6, 9], rounding="clip")
    assert (resize(image, recipe) == resize(image, ((6, 9), "bilinear", "clip"))).all()


def test_what_a_protocol_may_not_say(tmp_path: Path) -> None:
    image = makers.pictures(1, size=20)[0]
    known = protocol(tmp_path)
    for recipe, message in (
        (((8, 8), "lanczos", "none"), "resize 'lanczos' is unknown"),
        (((8, 8), "bilinear", "up"), "rounding 'up' is unknown"),
        (((8, 9), "none", "none"), "exactly 9 × 8 pixels; one has 20 × 20"),
    ):
        with pytest.raises(gm.InputError, match=message):
            resize(image, recipe)
    for changes, message in (({"layout": "CHW"}, "layout 'CHW'"), ({"dtype": "float16"}, "float16")):
        with pytest.raises(gm.InputError, match=message):
            to_tensor(image.astype(np.float32), dataclasses.replace(known, **changes))
    assert json.dumps(dataclasses.asdict(known))  # as it was


# Crops, bytes and channels


def own_protocol(**changes: Any) -> Protocol:
    entry = {"size": [224, 224], "resize": "pillow-bicubic", "rounding": "uint8", "alpha": "drop", "layout": "NCHW"}
    return _protocol("own", entry | {"dtype": "float32", "scale": 1.0, "offset": 0.0} | changes)


@pytest.mark.parametrize("shape", [(31, 47), (300, 224), (640, 481), (224, 224), (225, 1000), (1000, 227)])
@pytest.mark.parametrize("filter_name", ["BICUBIC", "BILINEAR"])
def test_the_shorter_side_and_the_middle_are_those_of_torchvision(shape: tuple[int, int], filter_name: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mode = transforms.InterpolationMode[filter_name]
    theirs = transforms.Compose([transforms.Resize(224, interpolation=mode), transforms.CenterCrop(224)])
    resize_name = {"BICUBIC": "pillow-bicubic", "BILINEAR": "triangle-antialias"}[filter_name]
    found = resize(image, own_protocol(crop="shorter-side", resize=resize_name))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.asarray(theirs(Image.fromarray(image))))


@pytest.mark.parametrize("shape", [(31, 48), (336, 500), (801, 640)])
def test_the_centre_square_is_cut_before_resizing(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    height, width = shape
    side = min(shape)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image).crop((left, top, left + side, top + side))
    expected = np.asarray(square.resize((336, 336), Image.Resampling.BICUBIC))
    assert np.array_equal(resize(image, own_protocol(crop="centre-square", size=[336, 336])), expected)


def test_bytes_are_whole_numbers_within_the_range() -> None:
    assert line([0, 255], 4, "pillow-bicubic", rounding="uint8") == [0, 53, 202, 255]
    found = line([3, 0, 0, 255], 3, "triangle-antialias", rounding="uint8")
    assert all(value == int(value) for value in found)
    with pytest.raises(gm.InputError, match=r"resize 'bilinear' is unknown: .*pillow-bicubic"):
        line([0, 100], 4, "bilinear", rounding="uint8")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_factor_and_a_shift_for_each_channel(layout: str) -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    own = own_protocol(layout=layout, scale=list(1 / (255 * std)), offset=list(-mean / std))
    image = makers.pictures(1, size=224)[0].astype(np.float32)
    expected = (image.astype(np.float64) / 255 - mean) / std
    found = to_tensor(image, own)
    assert found.dtype == np.float32 and found.flags["C_CONTIGUOUS"]
    assert np.abs(found - (expected.transpose(2, 0, 1) if layout == "NCHW" else expected)).max() < 1e-6


def test_only_what_is_not_the_rule_changes_the_numeric_part() -> None:
    plain = own_protocol().numeric_part()
    assert "crop" not in plain and own_protocol(crop="none").numeric_part() == plain
    assert own_protocol(crop="shorter-side").numeric_part() == {**plain, "crop": "shorter-side"}
    assert own_protocol(scale=[1.0, 1.0, 1.0]).numeric_part()["scale"] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"crop": "left"}, {"crop": "shorter-side", "size": [224, 200]}, {"scale": [1.0, 2.0]}, {"offset": "x"}]
)
def test_a_protocol_that_cannot_be_followed_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        own_protocol(**wrong)
