"""From decoded pixels to the tensor a network takes: the named resizing recipes of the field.

All of them compute in floating point from uint8 (H, W, 3) and return float32 (h, w, 3).

====================== ================================================================================= ==============
``resize``             what it computes                                                                  used by
====================== ================================================================================= ==============
``none``               nothing: the image must already have the size
``triangle-antialias`` triangle filter, widened by the factor of shrinking: Pillow BILINEAR, torch       scattering
                       ``interpolate(bilinear, antialias=True)``
``pillow-bicubic``     Keys' cubic, a = −0.5, likewise widened: Pillow BICUBIC on float channels, torch  clean-fid,
                       ``interpolate(bicubic, antialias=True)``                                          EDM2
``bilinear``           two taps at half-pixel centres, no antialias: torch ``align_corners=False``       pytorch-fid
``bilinear-tf1``       two taps at i·in/out (no half pixel), no antialias: TensorFlow 1                  TTUR,
                                                                                                         torch-fidelity
``bilinear-corners``   two taps at i·(in − 1)/(out − 1), no antialias: torch ``align_corners=True``      BigGAN
====================== ================================================================================= ==============

==================  ===================================================================================================
``crop``            what is seen of an image that is no square
==================  ===================================================================================================
``none``            all of it, at another aspect ratio
``shorter-side``    the middle: resized until the shorter side has the size, then cropped, as torchvision's ``Resize``
                    and ``CenterCrop`` do
``centre-square``   the middle: cropped to the largest square, then resized, as CMMD does
==================  ===================================================================================================

``rounding`` is ``none`` (cubic overshoot stays below 0 or above 255), ``clip`` (to 0…255, as clean-fid; no
quantisation) or ``uint8`` (whole numbers from 0 to 255, as Pillow resizes 8-bit pictures: between its two passes, too).
Nothing here depends on threads: Pillow sums each pixel in double, in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.errors import InputError
from genmetrics_rt.manifest import Factor, Protocol

FloatImage: TypeAlias = NDArray[np.float32]  # (H, W, 3)
Size: TypeAlias = tuple[int, int]  # height, width
Filter: TypeAlias = Callable[[ImageArray, int, int], FloatImage]
Recipe: TypeAlias = Protocol | tuple[tuple[int, int], str, str]  # or (size (height, width), resize, rounding)

Entry = TypeVar("Entry")


def resize(image: ImageArray, recipe: Recipe) -> FloatImage:
    """Pixels (H, W, 3) uint8 → float32 (h, w, 3) on the scale 0…255, by a protocol or ``(size, resize, rounding)``.

    Raises
    ------
    InputError
        An unknown name, or ``"none"`` on an image of another size.
    """
    if isinstance(recipe, Protocol):
        size, filter_name, rounding, crop = recipe.size, recipe.resize, recipe.rounding, recipe.crop
    else:
        (size, filter_name, rounding), crop = recipe, "none"
    resample = _look_up(_FILTERS if rounding != "uint8" else _FILTERS_OF_BYTES, filter_name, "resize")
    finish = _look_up(_ROUNDINGS, rounding, "rounding")
    return finish(_look_up(_CROPS, crop, "crop")(image, size, resample))


def to_tensor(image: FloatImage, protocol: Protocol) -> NDArray[np.float32]:
    """Resized pixels (h, w, 3) → ``pixels * scale + offset``, float32, (3, h, w) for NCHW or (h, w, 3) for NHWC.

    ``(x − 128) / 128`` is scale 1/128, offset −1, to the last bit, since powers of two only shift the exponent.
    """
    if protocol.dtype != "float32":
        raise InputError(f"Protocol {protocol.name!r}: dtype {protocol.dtype!r} is unknown. It must be float32.")
    order = _look_up(_LAYOUTS, protocol.layout, "layout")
    tensor = image.transpose(order) * _per_channel(protocol.scale, protocol.layout)
    tensor += _per_channel(protocol.offset, protocol.layout)
    return np.ascontiguousarray(tensor)


def _per_channel(factor: Factor, layout: str) -> NDArray[np.float32]:
    """Shaped so that it meets the channels of the layout."""
    values = np.asarray(factor, np.float32)
    return values[:, None, None] if values.ndim and layout == "NCHW" else values


def _whole(image: ImageArray, size: Size, resample: Filter) -> FloatImage:
    return resample(image, *size)


def _shorter_side(image: ImageArray, size: Size, resample: Filter) -> FloatImage:
    """torchvision's arithmetic: the longer side is cut off to a whole number, half a pixel goes to the even side."""
    height, width = image.shape[:2]
    side = size[0]
    if width <= height:
        larger = side * height // width, side
    else:
        larger = side, side * width // height
    resized = resample(image, *larger)
    top, left = (round((length - side) / 2) for length in larger)
    return resized[top : top + side, left : left + side]


def _centre_square(image: ImageArray, size: Size, resample: Filter) -> FloatImage:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resample(image[top : top + side, left : left + side], *size)


def _unchanged(image: ImageArray, height: int, width: int) -> FloatImage:
    if image.shape[:2] != (height, width):
        raise InputError(
            f"This protocol resizes nothing and takes images of exactly {width} × {height} pixels; one has "
            f"{image.shape[1]} × {image.shape[0]}. Resize the images first, or choose another protocol."
        )
    return image.astype(np.float32)


def _pillow(filter_name: str) -> Filter:
    """Pillow's resampling on float channels: coefficients and sums in double, the result in float32."""

    def resample(image: ImageArray, height: int, width: int) -> FloatImage:
        from PIL import Image

        method = Image.Resampling[filter_name]
        resized = np.empty((height, width, 3), np.float32)
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype(np.float32))  # mode F
            resized[..., channel] = np.asarray(plane.resize((width, height), method))
        return resized

    return resample


def _pillow_on_bytes(filter_name: str) -> Filter:
    """Pillow's resampling as most programs call it: of 8-bit pictures, rounded after each of the two passes."""

    def resample(image: ImageArray, height: int, width: int) -> FloatImage:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(picture.resize((width, height), Image.Resampling[filter_name])).astype(np.float32)

    return resample


def _two_taps(geometry: str) -> Filter:
    """Bilinear without antialias: a + (b − a)·t in float32, along x in every row, then along y."""

    def interpolate(image: ImageArray, height: int, width: int) -> FloatImage:
        left, right, x = _taps(image.shape[1], width, geometry)
        upper, lower, y = _taps(image.shape[0], height, geometry)
        if image.shape[0] > 2 * height:  # only the rows that are used; the numbers are the same
            used = np.stack([upper, lower], axis=1).ravel()
            image, upper, lower = image[used], np.arange(0, 2 * height, 2), np.arange(1, 2 * height, 2)
        pixels = image.astype(np.float32)
        rows = _blend(pixels[:, left], pixels[:, right], x[None, :, None])
        return _blend(rows[upper], rows[lower], y[:, None, None])

    return interpolate


def _blend(first: FloatImage, second: FloatImage, share: FloatImage) -> FloatImage:
    """``first + (second − first)·share``, in place of ``second``."""
    second -= first
    second *= share
    second += first
    return second


def _taps(size: int, target: int, geometry: str) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of each target pixel: the two source pixels and the share of the second. Coordinates in float32, as in TF."""
    scale = np.float32(size) / np.float32(target)
    position = np.arange(target, dtype=np.float32)
    if geometry == "corners":
        position = position * np.float32((size - 1) / max(target - 1, 1))
    elif geometry == "half-pixel":
        position = np.maximum((position + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    else:
        position = position * scale
    first = np.minimum(np.floor(position).astype(np.intp), size - 1)
    return first, np.minimum(first + 1, size - 1), position - first.astype(np.float32)


_FILTERS: dict[str, Filter] = {
    "none": _unchanged,
    "triangle-antialias": _pillow("BILINEAR"),
    "pillow-bicubic": _pillow("BICUBIC"),
    "bilinear": _two_taps("half-pixel"),
    "bilinear-tf1": _two_taps("tf1"),
    "bilinear-corners": _two_taps("corners"),
}
_FILTERS_OF_BYTES: dict[str, Filter] = {
    "none": _unchanged,
    "triangle-antialias": _pillow_on_bytes("BILINEAR"),
    "pillow-bicubic": _pillow_on_bytes("BICUBIC"),
}
_CROPS: dict[str, Callable[[ImageArray, Size, Filter], FloatImage]] = {
    "none": _whole,
    "shorter-side": _shorter_side,
    "centre-square": _centre_square,
}
_ROUNDINGS: dict[str, Callable[[FloatImage], FloatImage]] = {
    "none": lambda pixels: pixels,
    "clip": lambda pixels: np.clip(pixels, 0, 255, out=pixels),
    "uint8": lambda pixels: pixels,  # the filters of bytes have done it
}
_LAYOUTS = {"NCHW": (2, 0, 1), "NHWC": (0, 1, 2)}


def _look_up(table: dict[str, Entry], name: str, what: str) -> Entry:
    if name not in table:
        raise InputError(
            f"{what} {name!r} is unknown: this version knows {', '.join(table)}. The bundle was made for another one."
        )
    return table[name]
