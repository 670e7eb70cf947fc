"""The protocols of `inception-fid`: one per family of published numbers."""

from __future__ import annotations

from typing import Any

from export.inception.network import SIDE

# (x − 128)/128, and 2x/255 − 1.
_TENSORFLOW = {"scale": 1 / 128, "offset": -1.0}
_SYMMETRIC = {"scale": 2 / 255, "offset": -1.0}
_SHARED = {
    "size": [SIDE, SIDE],
    "alpha": "drop",  # all of them call Pillow's convert("RGB")
    "orientation": "ignored",  # and none looks at EXIF
    "layout": "NCHW",
    "dtype": "float32",
}
_UNSHUFFLED = {"shuffle": False}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "tf1": {
        "default": True,
        "title": "TTUR, torch-fidelity, clean-fid legacy_tensorflow, EDM",
        "resize": "bilinear-tf1",
        "rounding": "none",
        **_TENSORFLOW,
        "metrics": {},
    },
    "pytorch-fid": {
        "title": "pytorch-fid, clean-fid legacy_pytorch, dgm-eval",
        "resize": "bilinear",
        "rounding": "none",
        **_SYMMETRIC,
        "metrics": {},
    },
    "clean": {
        "title": "clean-fid",
        "resize": "pillow-bicubic",
        "rounding": "clip",
        **_TENSORFLOW,
        "metrics": {},
    },
    "torchmetrics": {
        "title": "torchmetrics 1.8 and later, at its defaults",
        "resize": "triangle-antialias",
        "rounding": "none",
        **_TENSORFLOW,
        "metrics": {"class_score": {"split_rule": "ceil"}},
    },
    "adm": {
        "title": "guided-diffusion's evaluator (ADM)",
        "resize": "bilinear-tf1",
        "rounding": "none",
        **_TENSORFLOW,
        "spatial": True,
        "metrics": {"class_score": {**_UNSHUFFLED, "split_rule": "blocks", "block_size": 5000}},
    },
    "stylegan3": {
        "title": "StyleGAN2-ada and StyleGAN3",
        "resize": "bilinear-tf1",
        "rounding": "none",
        **_TENSORFLOW,
        "metrics": {"fd": {"ddof": 0}, "class_score": _UNSHUFFLED},
    },
}
PROTOCOLS = {name: {**_SHARED, **entry} for name, entry in PROTOCOLS.items()}
