"""A picture that nobody has to own, and what can be done to it: pairs to try the perceptual distance with."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Picture = NDArray[np.uint8]
_SIDE = 224  # pixels


@cache
def original() -> Picture:
    """Overlapping shaded discs of all sizes, as leaves that fell on each other: edges, smooth parts and fine parts."""
    stream = np.random.default_rng(4)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float64)
    canvas = np.full((_SIDE, _SIDE, 3), (64.0, 84.0, 96.0))
    hues = np.array([[196, 88, 44], [226, 164, 62], [108, 132, 60], [52, 98, 122], [158, 58, 70], [232, 214, 176]])
    for _ in range(420):
        radius = min(5 * stream.random() ** -0.6, _SIDE / 3)
        across, down = stream.uniform(0, _SIDE, 2)
        turn, flat = stream.uniform(0, np.pi), stream.uniform(0.45, 1)
        along = (x - across) * np.cos(turn) + (y - down) * np.sin(turn)
        beside = ((y - down) * np.cos(turn) - (x - across) * np.sin(turn)) / flat
        inside = along**2 + beside**2 < radius**2
        colour = hues[stream.integers(len(hues))] + stream.normal(0, 14, 3)
        shade = 26 * along / radius - 12 * (np.abs(beside) < 0.06 * radius)
        canvas[inside] = (colour + shade[..., None])[inside]
    return _pixels(canvas + stream.normal(0, 1.5, canvas.shape))


def _pixels(values: NDArray[np.float64]) -> Picture:
    pixels: Picture = np.rint(values).clip(0, 255).astype(np.uint8)
    return pixels


def _jpeg(picture: Picture) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=8)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _blurred_below(picture: Picture) -> Picture:
    """The lower half blurred: the map shows which."""
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))
    share = np.clip((np.arange(_SIDE) - 0.5 * _SIDE) / 12, 0, 1)[:, None, None]
    return _pixels(picture * (1 - share) + blurred * share)


def _shifted(picture: Picture) -> Picture:
    return np.concatenate([picture[:, :1], picture[:, :-1]], axis=1)


def _noisy(picture: Picture) -> Picture:
    return _pixels(picture + 20 * np.random.default_rng(0).standard_normal(picture.shape))


def _brighter(picture: Picture) -> Picture:
    return _pixels(picture.astype(np.float64) + 18)


def _missing_leaf(picture: Picture) -> Picture:
    """A disc painted over."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    changed = picture.copy()
    changed[(x - 150) ** 2 + (y - 90) ** 2 < 24**2] = (120, 110, 90)
    return changed


PAIRS: dict[str, Callable[[Picture], Picture]] = {
    "The lower half blurred": _blurred_below,
    "JPEG of quality 8": _jpeg,
    "A disc painted over": _missing_leaf,
    "Noise": _noisy,
    "Shifted by one pixel": _shifted,
    "A little brighter": _brighter,
}
