"""From anything that holds numbers to the NumPy array we work on, checked once, at the door."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, UnreadableInput

FloatArray = NDArray[np.float64]
FeatureArray = NDArray[np.float32]  # (N, D)
ImageArray = NDArray[np.uint8]  # (H, W, 3) one image, (N, H, W, 3) a batch

_LARGEST = 1e140  # magnitude whose squares still add up in float64


def as_numpy(value: Any) -> NDArray[Any]:
    """A NumPy view (or copy) of an array, a tensor on any device, or a nested list."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, perhaps with gradients or on a GPU
        value = value.detach().cpu()
    if hasattr(value, "__dlpack__"):
        with contextlib.suppress(Exception):  # other device or dtype: go through __array__
            return np.from_dlpack(value)
    kind = type(value).__name__
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"No array can be made of this {kind} ({error}). Rows or images in a list must all have "
            "one shape; images of several sizes can be given as a folder or an archive."
        ) from error
    except Exception as error:  # code of another library: it raises what it likes
        raise InputError(
            f"This {kind} does not turn into a NumPy array ({error}). Bring it to the CPU and free it of gradients "
            "first: x.detach().cpu() of each tensor, and .float() where NumPy lacks its dtype."
        ) from error
    if array.ndim == 0 or array.dtype.kind not in "biufc" or (array.size == 0 and isinstance(value, list | tuple)):
        fact = "is empty" if array.size == 0 else "is no array of numbers"
        raise InputError(
            f"This {kind} {fact}, so it holds no images and no features. "
            "Pass uint8 images (N, H, W, 3), features (N, D), or, where a side is asked for, the path of a folder, "
            "archive or array file."
        )
    return array


def as_features(value: Any, *, what: str = "features") -> NDArray[Any]:
    """``(N, D)`` finite features, float32 or float64 as given (integers become float64).

    Raises
    ------
    InputError
        Not two-dimensional, or not numbers.
    NonFiniteFeatures
        NaN or infinity; the message says in which rows.
    """
    features = as_numpy(value)
    if features.ndim != 2:
        raise InputError(
            f"{what}: expected a 2-D array (images, dimensions), got shape {features.shape}. "
            "Pass features.reshape(N, -1)."
        )
    if features.shape[1] == 0:
        raise InputError(f"{what}: rows without any dimension, shape {features.shape}. Each image needs its features.")
    if features.dtype.kind in "iub":
        features = features.astype(np.float64)
    elif features.dtype.kind != "f":
        raise InputError(f"{what}: expected numbers, got dtype {features.dtype}.")
    elif features.dtype == np.float16:
        features = features.astype(np.float32)
    require_finite(features, what=what)
    return features


def as_feature_pair(generated: Any, reference: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both sides by `as_features`. Raises `FeatureMismatch` unless they have the same number of dimensions."""
    g, r = as_features(generated, what="generated"), as_features(reference, what="reference")
    if g.shape[1] != r.shape[1]:
        raise FeatureMismatch(
            f"The generated features have {g.shape[1]} dimensions, the reference {r.shape[1]}. "
            "Both sides must come from the same network."
        )
    return g, r


def require_finite(features: NDArray[Any], *, what: str, squares: bool = True) -> None:
    """Raise `NonFiniteFeatures`, saying where, unless every value of ``(N, D)`` is finite.

    Raises `InputError` where ``squares`` are needed and would overflow.
    """
    if features.size == 0:
        return
    low, high = float(features.min()), float(features.max())  # NaN wins in both
    if -_LARGEST < low and high < _LARGEST:
        return
    if np.isfinite(low) and np.isfinite(high):
        if not squares:
            return
        raise InputError(
            f"{what}: values from {low:.3g} to {high:.3g}, whose squares overflow. Divide all features by one number."
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        shown = ", ".join(str(row) for row in bad[:5]) + (", …" if bad.size > 5 else "")
        raise NonFiniteFeatures(
            f"{what}: NaN or infinity in {bad.size} of {len(features)} rows (rows {shown}; counted from 0). "
            "No metric is meaningful on them. Remove these rows, or look at the network that made them."
        )


def as_image(value: Any, *, what: str = "image") -> ImageArray:
    """One ``(H, W, 3)`` uint8 image from ``(H, W, 3)``, ``(H, W, 1)`` or ``(H, W)``; floats are refused here too."""
    image = as_numpy(value)
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3):
        hint = ""
        if pixels.ndim == 3 and pixels.shape[0] == 3:
            hint = " This looks like (3, H, W): pass image.transpose(1, 2, 0)."
        raise UnreadableInput(f"{what}: expected (H, W, 3) or (H, W), got {image.shape}.{hint}")
    checked: ImageArray = as_image_batch(pixels[None], what=what)[0]
    return checked


def _conversion(images: NDArray[Any]) -> str:
    """The range of values that are no uint8, and how they become pixels as far as that tells. Ends the message."""
    if images.size == 0 or images.dtype.kind not in "biuf":
        return ". Pixels are numbers: decode or convert them first."
    low, high = float(images.min()), float(images.max())
    fact = f" from {low:g} to {high:g}"
    if images.dtype.kind == "b":
        line = "x.astype('uint8') * 255"
    elif images.dtype.kind == "f" and 0 <= low and high <= 1:
        line = "(x * 255).round().clip(0, 255).astype('uint8')"
    elif images.dtype.kind == "f" and -1 <= low and high <= 1:
        line = "((x + 1) * 127.5).round().clip(0, 255).astype('uint8')"
    elif 0 <= low and high <= 255:
        line = "x.round().clip(0, 255).astype('uint8')"
    elif images.dtype == np.uint16:
        line = "(x / 257).round().astype('uint8')"
    else:  # NaN comes here too
        return f"{fact}. Nobody can tell what is black and white in that range: scale it to 0…255 and round."
    return f"{fact}. Convert them yourself; if black and white are what this range suggests: {line}."


def as_image_batch(value: Any, *, what: str = "images") -> ImageArray:
    """``(N, H, W, 3)`` uint8 from ``(N, H, W, 3)``, ``(N, H, W, 1)``, ``(N, H, W)`` or one ``(H, W, 3)`` uint8 image.

    Floats are refused: whether 1.0 means white or nearly black, and whether to round or truncate, is the
    commonest silent error of the field, so the caller says it.
    """
    images = as_numpy(value)
    if images.dtype != np.uint8:
        raise InputError(f"{what}: expected uint8 pixels 0…255, got {images.dtype}{_conversion(images)}")
    if images.ndim == 3 and images.shape[-1] == 3 and images.shape[0] != 3:
        images = images[None] if images.shape[1] != 3 else images
    if images.ndim == 3:  # (N, H, W) grey
        images = np.repeat(images[..., None], 3, axis=-1)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    if images.ndim != 4 or images.shape[-1] != 3:
        hint = ""
        if images.ndim == 4 and images.shape[1] == 3:
            hint = " This looks like (N, 3, H, W): pass images.transpose(0, 2, 3, 1)."
        raise UnreadableInput(f"{what}: expected (N, H, W, 3) or (N, H, W), got {images.shape}.{hint}")
    if 0 in images.shape[1:]:
        raise UnreadableInput(f"{what}: images of no size: {images.shape}.")
    return images
