"""What image files tell before any network looks at them: sizes, formats, JPEG history, grey, brightness, sharpness.

Two sides that differ here are told apart by a feature network for reasons that have nothing to do with the model.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, ImageArray
from genmetrics_rt.decode import decode
from genmetrics_rt.sources import ImageSource, RawImage, Undecodable
from genmetrics_rt.threads import threads_or_default

MIN_TRAITS = 20  # images a side, for a word on how the two differ

_BLOCK = 8  # pixels a side of a JPEG block
_LARGEST = 512  # pixels a side that are looked at, from the corner where JPEG's blocks begin
_LUMA = np.array([0.299, 0.587, 0.114])
# The luminance table of the JPEG standard (ITU-T T.81, Annex K.1), ascending: at quality 50 a file has just this one.
_STANDARD = np.sort([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip
_LARGEST_ENTRY = 255  # of a table: larger ones are cut to it
_GREY_TOLERANCE = 3.0  # mean levels between the channels of an image that counts as grey: JPEG rounds them apart


@dataclass(frozen=True)
class Traits:
    """Traits of the n images of a sample that could be read, one entry an image.

    Attributes
    ----------
    widths, heights : (n,)
        Pixels.
    formats : tuple of str
        ``"JPEG"``, ``"PNG"``, …; ``"pixels"`` of an array or a generator.
    jpeg_quality : (n,)
        1 to 100, of the quantisation tables; NaN where the file is no JPEG.
    blockiness : (n,)
        Mean step across the borders of 8 × 8 blocks over the mean step elsewhere, by `blockiness_of`; NaN for small
        images. 1 without, well above 1 after a strong JPEG compression.
    grey : (n,)
        Whether the image has no colour.
    brightness, contrast : (n,)
        Mean and standard deviation of the luminance, 0 to 255.
    high_frequency : (n,)
        Share of high frequencies in the variation, by `high_frequency_of`: falls by blur, rises by noise.
    """

    widths: FloatArray
    heights: FloatArray
    formats: tuple[str, ...]
    jpeg_quality: FloatArray
    blockiness: FloatArray
    grey: FloatArray
    brightness: FloatArray
    contrast: FloatArray
    high_frequency: FloatArray

    @property
    def num_images(self) -> int:
        """How many could be read."""
        return len(self.formats)

    @property
    def jpeg_share(self) -> float:
        """Share of files that are JPEG."""
        return Counter(self.formats)["JPEG"] / max(1, self.num_images)

    @property
    def grey_share(self) -> float:
        """Share of images without colour."""
        return float(self.grey.mean()) if self.num_images else 0.0


def traits_of(
    source: ImageSource,
    sample: int = 300,
    seed: int = 0,
    *,
    positions: NDArray[np.int64] | None = None,
    threads: int | None = None,
) -> Traits:
    """The traits of a seeded sample of a source, or of some positions of it; what cannot be read is left out."""
    among = np.arange(len(source)) if positions is None else positions
    chosen = np.sort(np.random.default_rng(seed).choice(among, min(sample, len(among)), replace=False))
    with ThreadPoolExecutor(threads_or_default(threads), thread_name_prefix="genmetrics-traits") as pool:
        found = pool.map(lambda position: _of_image(source, position), chosen.tolist())
        rows = [row for row in found if row is not None]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 9
    formats, quality, width, height, blockiness, grey, brightness, contrast, high = columns
    return Traits(
        widths=np.array(width, dtype=np.float64),
        heights=np.array(height, dtype=np.float64),
        formats=tuple(formats),
        jpeg_quality=np.array(quality, dtype=np.float64),
        blockiness=np.array(blockiness, dtype=np.float64),
        grey=np.array(grey, dtype=np.float64),
        brightness=np.array(brightness, dtype=np.float64),
        contrast=np.array(contrast, dtype=np.float64),
        high_frequency=np.array(high, dtype=np.float64),
    )


def alike_in_size(generated: Traits, reference: Traits) -> bool:
    """Whether typical images of both sides have about the same number of pixels, and the same shape."""
    sides = generated, reference
    lengths = [float(np.median(np.sqrt(side.widths * side.heights))) for side in sides]
    shapes = [float(np.median(side.widths / side.heights)) for side in sides]
    return max(lengths) <= 1.25 * min(lengths) and max(shapes) <= 1.1 * min(shapes)


def quality_of(table: Sequence[int]) -> float:
    """The quality 1 to 100 whose luminance table is as coarse as this one of 64 entries, in any order.

    The Independent JPEG Group scales the standard table by ``5000/q`` percent below quality 50 and by ``200 − 2q``
    percent from there, and cuts it at 255; the entries below that tell the scale by their sum.
    """
    entries = np.sort(np.asarray(table, dtype=np.float64))
    whole = entries[entries < _LARGEST_ENTRY]
    if not len(whole):
        return 1.0
    percent = 100 * float(whole.sum()) / float(_STANDARD[: len(whole)].sum())
    quality = 5000 / percent if percent > 100 else (200 - percent) / 2
    return float(np.clip(round(quality), 1, 100))


def blockiness_of(luminance: FloatArray) -> float:
    """Mean absolute step across the borders of 8 × 8 blocks over that elsewhere, both ways; NaN below 24 pixels."""
    if min(luminance.shape) < 3 * _BLOCK:
        return float("nan")
    at_border = elsewhere = 0.0
    for picture in (luminance, luminance.T):
        steps = np.abs(np.diff(picture, axis=1)).mean(axis=0)
        is_border = np.arange(1, len(steps) + 1) % _BLOCK == 0
        at_border += float(steps[is_border].mean())
        elsewhere += float(steps[~is_border].mean())
    return at_border / elsewhere if elsewhere > 0 else 1.0


def high_frequency_of(luminance: FloatArray) -> float:
    """The mean squared step between neighbouring pixels over twice the variance, both ways.

    0 for a smooth picture, 1 for white noise (its steps have twice its variance), whatever its contrast; 0 of a flat
    one.
    """
    variance = float(luminance.var())
    if variance == 0 or min(luminance.shape) < 2:
        return 0.0
    squares = [float(np.square(np.diff(luminance, axis=axis)).mean()) for axis in (0, 1)]
    return sum(squares) / 2 / (2 * variance)


def _of_image(source: ImageSource, position: int) -> tuple[Any, ...] | None:
    """The entries of one image, or None where it cannot be read."""
    try:
        raw = source.read(position)
        pixels = decode(raw, alpha="white")
    except (Undecodable, OSError):
        return None
    return *_of_file(raw), *_of_pixels(pixels)


def _of_file(raw: RawImage) -> tuple[str, float]:
    """Format, and JPEG quality, from the header."""
    if raw.pixels is not None:
        return "pixels", float("nan")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw.encoded)) as image:
            kind = image.format or "unknown"
            tables = getattr(image, "quantization", None)
    except Exception:  # the pixels were readable all the same: a format that only `decode` tries
        return "unknown", float("nan")
    if kind not in ("JPEG", "MPO"):
        return kind, float("nan")
    table = (tables or {}).get(0, ())
    return "JPEG", quality_of(table) if len(table) == len(_STANDARD) else float("nan")


def _of_pixels(pixels: ImageArray) -> tuple[int, int, float, bool, float, float, float]:
    corner = pixels[:_LARGEST, :_LARGEST]
    luminance: FloatArray = corner.astype(np.float64) @ _LUMA
    red, green, blue = np.moveaxis(corner, -1, 0)
    # Channel by channel: NumPy reduces a last axis of three entries 30 times slower.
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return (
        pixels.shape[1],
        pixels.shape[0],
        blockiness_of(luminance),
        bool(spread.mean() <= _GREY_TOLERANCE),
        float(luminance.mean()),
        float(luminance.std()),
        high_frequency_of(luminance),
    )
