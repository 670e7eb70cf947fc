"""A tiny extractor with six protocols that differ as those of the ImageNet Inception do, and its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import makers

_BASE: dict[str, Any] = {
    **makers.PROTOCOL, "default": False, "resize": "bilinear-tf1", "alpha": "drop", "orientation": "ignored",
    "scale": 1 / 128, "offset": -1.0,
}  # fmt: skip
PROTOCOLS: dict[str, dict[str, Any]] = {
    "tf1": {**_BASE, "default": True, "title": "TTUR"},
    "pytorch-fid": {**_BASE, "resize": "bilinear", "scale": 2 / 255, "title": "pytorch-fid"},
    "clean": {**_BASE, "resize": "pillow-bicubic", "rounding": "clip", "title": "clean-fid"},
    "torchmetrics": {**_BASE, "resize": "triangle-antialias", "metrics": {"class_score": {"split_rule": "ceil"}}},
    "adm": {**_BASE, "spatial": True, "metrics": {"class_score": {"shuffle": False}}},
    "stylegan3": {**_BASE, "metrics": {"fd": {"ddof": 0}, "class_score": {"shuffle": False}}},
}
DISTINCT = 4  # ways to prepare pixels among them: tf1, adm and stylegan3 share one


def make_six(folder: Path, **options: Any) -> Path:
    """The bundle: 12 features, 5 classes, published names, and the features themselves as the spatial tap."""
    taps = {"features": "features", "logits": "logits", "spatial": "features"}
    defaults = {"classes": 5, "name": "six", "protocols": PROTOCOLS, "published_scores": True, "taps": taps}
    return makers.make_extractor(folder, **{**defaults, **options})
