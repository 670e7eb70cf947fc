"""Plain words for the lines of a recipe: what each value means, and what a difference in it typically does.

Every figure is of the implementations that the protocols reproduce; where none is known, none is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genmetrics_rt.explaining.differences import NETWORK_LINES, PIXEL_LINES, Difference
from genmetrics_rt.render.numbers import setting

_MEANINGS = {
    "resize": {
        "none": "nothing is resized: images must have the size already",
        "triangle-antialias": "a triangle filter widened by the factor of shrinking: bilinear with antialias",
        "pillow-bicubic": "Pillow's bicubic, widened by the factor of shrinking: with antialias",
        "bilinear": "two taps at half-pixel centres, no antialias (PyTorch)",
        "bilinear-tf1": "two taps, no half-pixel offset, no antialias (TensorFlow 1)",
        "bilinear-corners": "two taps, the corner pixels kept in place, no antialias",
    },
    "crop": {
        "None": "all of the picture is seen, at another aspect ratio",
        "none": "all of the picture is seen, at another aspect ratio",
        "shorter-side": "only the middle is seen, cut after resizing",
        "centre-square": "only the middle is seen, cut before resizing",
    },
    "rounding": {
        "none": "pixels below 0 or above 255 stay what resizing made them",
        "clip": "pixels are cut to 0…255 after resizing",
        "uint8": "pixels are whole numbers from 0 to 255 after resizing",
    },
    "alpha": {
        "white": "transparent images are laid on white",
        "drop": "transparency is ignored, the stored colours count",
    },
    "orientation": {
        "applied": "images are turned upright as their EXIF says",
        "ignored": "images are taken as they are stored",
    },
    "tap": {"features": "the features of the published scores"},
    "precision": {
        "fp32": "IEEE float32 throughout",
        "tf32": "products of the network rounded to 10 bits",
        "fp16": "convolutions in half precision",
    },
}
_TENSORFLOW, _SYMMETRIC = (1 / 128, -1.0), (2 / 255, -1.0)  # (scale, offset)
_SCALINGS = (_TENSORFLOW, _SYMMETRIC)
_ANTIALIASED = ("triangle-antialias", "pillow-bicubic")
_TWO_TAPS = ("bilinear", "bilinear-tf1")
_EFFECTS = {
    "extractor": "other features: the numbers are not comparable at all",
    "features": "the numbers may come from unlike features, and the reports do not say which line differs",
    "graph": "another network: the numbers are not comparable at all",
    "weights": "another network in the same shape: the numbers are not comparable at all",
    "tap": "other features of the same network: another scale altogether",
    "crop": "only images that are no squares are seen differently",
    "size": "the network sees another picture: the numbers are not comparable",
    "rounding": "only where resizing overshoots, at hard edges",
    "alpha": "only images with transparency are seen differently",
    "orientation": "only images that carry an EXIF rotation are seen differently",
    "ddof": "covariances are divided by N − 1 (ddof 1) or by N (ddof 0): a factor of N/(N − 1) in all but the distance "
    "of the means, 1.2804 against 1.2795 in a worked example of 500 images",
    "splits": "few images in a split bias the score down",
    "split_rule": "small: where one split ends and the next begins",
    "block_size": "small: where one split ends and the next begins",
    "shuffle": "without shuffling, a folder sorted by class scores near 1",
    "nearest_k": "precision and recall rise with k: 0.660 and 0.948 at 3, 0.736 and 0.978 at 5 in a worked example",
    "border_counts": "only ties differ, but identical sets have a density of (k + 1)/k where the border counts, else 1",
    "subset_size": "the expectation stays (it is unbiased), the spread over subsets changes",
    "num_subsets": "the expectation stays (it is unbiased), its noise changes",
    "seed": "other random choices: the number moves within its noise",
    "max_images": "another number of images a side",
}


def named(difference: Difference) -> str:
    """The line as people call it: ``pixel scaling``, ``nearest k``."""
    return {"scaling": "pixel scaling", "orientation": "EXIF orientation", "tap": "feature tap"}.get(
        difference.line, difference.line.replace("_", " ")
    )


def value_words(line: str, value: Any) -> str:
    """A value of a line, short: ``bilinear-tf1``, ``(x − 128)/128``, ``299 × 299``, the first 12 digits of a hash."""
    if value is None:
        return "none"
    if line == "scaling" and _is_pair(value):
        return _scaling(*value)
    if line == "size" and _is_pair(value):
        return f"{value[1]} × {value[0]}"
    if line in ("graph", "weights", "features", "content") and len(str(value)) > 12:
        return f"{str(value)[:12]}…"
    return setting(value)


def effect_of_precision(row: Mapping[str, Any]) -> str:
    """A row of ``agreement.precisions`` in a manifest: what a reduced precision did to features and scores."""
    scores = ", ".join(
        f"{key} {entry['fp32']:.4g} by {100 * entry['relative_change']:+.2g} %" for key, entry in row["scores"].items()
    )
    images = " and ".join(f"{count:,}" for count in row["images"])
    return (
        f"{row['precision']} on {row['device']}: features by up to {row['feature_error']:.1e}; {scores} "
        f"({images} images, weights {row['weights']})"
    )


def meaning(line: str, value: Any) -> str:
    """What a value means, in plain words; empty where it speaks for itself."""
    return _MEANINGS.get(line, {}).get(str(value), "")


def effects(differences: Sequence[Difference]) -> list[str]:
    """What a difference in each line typically does; empty where nothing is known about it.

    Beside another network, what is done to the pixels is not worth a figure.
    """
    other_network = any(difference.line in NETWORK_LINES for difference in differences)
    return [
        "" if other_network and difference.line in PIXEL_LINES else _effect(difference) for difference in differences
    ]


def _effect(difference: Difference) -> str:
    if difference.line == "resize":
        return _effect_of_resizing(difference.first, difference.second)
    if difference.line == "scaling":
        pair = (difference.first, difference.second)
        return "typically below 0.01 FID" if pair in (_SCALINGS, _SCALINGS[::-1]) else ""
    return _EFFECTS.get(difference.line, "")


def _effect_of_resizing(first: Any, second: Any) -> str:
    if first in _TWO_TAPS and second in _TWO_TAPS:
        return "0.006 FID on 5,000 faces (FFHQ), 0.08 on LSUN samples of a ProGAN; more on tiny images"
    if (first in _ANTIALIASED) != (second in _ANTIALIASED) and "none" not in (first, second):
        return "antialias against none: 6 FID and more where 1024 pixels become 299, about 0.1 to 1 at 256 pixels"
    return ""


def _is_pair(value: Any) -> bool:
    """Whether it is two numbers, or two triples of them; a report may have been edited by hand."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and (all(isinstance(x, int | float) for x in value) or all(_is_triple(x) for x in value))
    )


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(x, int | float) for x in value)


def _scaling(scale: Any, offset: Any) -> str:
    """``pixels * scale + offset`` as it is written in papers."""
    if _is_triple(scale) and all(scale):
        # scale = 1 / (255 std) and offset = −mean / std
        stds = [1 / (255 * factor) for factor in scale]
        means = [-shift * std for shift, std in zip(offset, stds, strict=True)]
        return f"(x/255 − {_listed(means)}) / {_listed(stds)}"
    known = {_TENSORFLOW: "(x − 128)/128", _SYMMETRIC: "2x/255 − 1", (1 / 255, 0.0): "x/255", (1.0, 0.0): "x"}
    sign = "−" if offset < 0 else "+"
    return known.get((scale, offset)) or f"x × {scale:g} {sign} {abs(offset):g}"


def _listed(channels: Sequence[float]) -> str:
    """``(0.485, 0.456, 0.406)``"""
    return f"({', '.join(f'{value:.3g}' for value in channels)})"
