"""How published networks want their pixels: ``(x/255 − mean) / std``, said as ``x · scale + offset``."""

from __future__ import annotations

from typing import Any

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of red, green, blue
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

# What every reference implementation does to a picture before it resizes it.
AS_PILLOW_READS = {
    "alpha": "drop",  # all of them call Pillow's convert("RGB")
    "orientation": "ignored",  # and none looks at EXIF
    "layout": "NCHW",
    "dtype": "float32",
}


def standardised(statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> dict[str, Any]:
    """The ``scale`` and ``offset`` of a protocol, by mean and standard deviation of pixels in 0…1."""
    mean, std = statistics
    return {
        "scale": [1 / (255 * deviation) for deviation in std],
        "offset": [-centre / deviation for centre, deviation in zip(mean, std, strict=True)],
    }
