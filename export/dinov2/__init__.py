"""DINOv2 at three sizes, frozen without its weights: `python -m export dinov2`.

Features for FD-DINOv2 (Stein et al. 2023, EDM2) and its relatives, by the preprocessing of each implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export.blueprint import Blueprint, Tolerance
from export.dinov2.network import SIDE, DINOv2
from export.probes import standardised_pictures
from export.scaling import AS_PILLOW_READS, IMAGENET, standardised
from export.verify import Agreement
from export.weightless import (
    Step,
    freeze_command,
    freeze_weightless,
    plain_copies,
    verify_weightless,
    with_checkpoints,
)
from genmetrics_rt.manifest import TensorSpec, read_manifest


@dataclass(frozen=True)
class Size:
    title: str
    width: int
    depth: int
    heads: int
    file: str  # under the publisher's address
    sha256: str
    num_bytes: int


SIZES = {
    "dinov2-vits14": Size(
        "ViT-S/14", 384, 12, 6,
        "dinov2_vits14/dinov2_vits14_pretrain.pth",
        # Not in the publisher's own text; the same in a dozen independent repositories.
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9", 88_283_115,
    ),
    "dinov2-vitb14": Size(
        "ViT-B/14", 768, 12, 12,
        "dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73", 346_378_731,
    ),
    "dinov2-vitl14": Size(
        "ViT-L/14", 1024, 24, 16,
        "dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428", 1_217_586_395,
    ),
}  # fmt: skip
PUBLISHER = "https://dl.fbaipublicfiles.com/dinov2/"
_SHARED = {"size": [SIDE, SIDE], **AS_PILLOW_READS, **standardised(IMAGENET)}
_DGM_EVAL = {
    "precision": {"nearest_k": 5, "border_counts": False},
    "density": {"nearest_k": 5, "border_counts": False},
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "dgm-eval": {
        "default": True,
        "title": "dgm-eval (Stein et al. 2023: ViT-L), EDM2 with --resize=pil, FLD (ViT-B)",
        "resize": "pillow-bicubic",
        "rounding": "uint8",
        "metrics": _DGM_EVAL,
    },
    "dgm-eval-clean": {
        "title": "dgm-eval with --clean_resize",
        "resize": "pillow-bicubic",
        "rounding": "clip",
        "metrics": _DGM_EVAL,
    },
    "edm2": {
        "title": "EDM2's fd_dinov2 at its defaults",
        "resize": "pillow-bicubic",
        "rounding": "none",
        "metrics": {},
    },
    "torch-fidelity": {
        "title": "torch-fidelity's dinov2-vit-*-14 (not comparable with published FD-DINOv2)",
        "resize": "bilinear-tf1",
        "rounding": "none",
        "metrics": {},
    },
}
PROTOCOLS = {name: {**_SHARED, **entry} for name, entry in PROTOCOLS.items()}


def main(argv: Sequence[str]) -> int:
    """Freeze DINOv2's transformers."""

    def freeze(name: str, folder: Path) -> Agreement:
        return with_weights_of_nobody(name, freeze_weightless, folder)

    return freeze_command(argv, "dinov2", str(main.__doc__), tuple(SIZES), freeze)


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with weights of nobody and measure that its forms agree."""
    return with_weights_of_nobody(read_manifest(folder / "manifest.json").name, verify_weightless, folder)


def with_weights_of_nobody(name: str, step: Step, folder: Path) -> Agreement:
    network = network_of_nobody(name)
    return with_checkpoints(step, blueprint(name, network), folder, [published(network)])


def network_of_nobody(name: str, *, seed: int = 0) -> DINOv2:
    """Seeded weights of a trained network's size: every part of it shows in the features."""
    size = SIZES[name]
    network = DINOv2(size.width, size.depth, size.heads)
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if parameter_name.endswith((".gamma", "norm.weight", "norm1.weight", "norm2.weight")):
                parameter.uniform_(0.5, 1.5, generator=stream)
            elif parameter.ndim > 1 and "embed" not in parameter_name and "token" not in parameter_name:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=stream)
            else:
                parameter.normal_(0, 0.1, generator=stream)
    return network.eval().requires_grad_(False)


def published(network: DINOv2) -> dict[str, torch.Tensor]:
    """The state dict as it is published: with a mask token, which features do not see."""
    return {**network.state_dict(), "mask_token": torch.zeros(1, network.width)}


def blueprint(name: str, network: DINOv2) -> Blueprint:
    size = SIZES[name]
    return Blueprint(
        name=name,
        version="1",
        kind="extractor",
        title=f"DINOv2 {size.title} (class token, {size.width}-d)",
        label="",
        licence="Apache-2.0 (graph and code); weights: Apache-2.0, Meta",
        command="python -m export dinov2",
        module=network,
        inputs=(TensorSpec("images", "float32", ("N", 3, SIDE, SIDE), "standardised RGB pixels", "about −2..3"),),
        outputs=(
            TensorSpec("features", "float32", ("N", size.width), "class token after the last layer norm", "none"),
        ),
        example={"images": torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))},
        probes=lambda: standardised_pictures(SIDE, IMAGENET),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={"features": "features"},
        protocols=PROTOCOLS,
        extra={
            "paper": "Oquab et al. 2023 (DINOv2); Stein et al. 2023 (FD-DINOv2)",
            "trained_on": "LVD-142M, images without labels from the web",
            "weights": {
                "sources": [
                    {
                        "name": f"DINOv2 {size.title}",
                        "layout": "torch",
                        "urls": [PUBLISHER + size.file],
                        "sha256": size.sha256,
                        "bytes": size.num_bytes,
                        "licence": "Apache-2.0",
                    }
                ]
            },
            "recipe": {"copies": plain_copies(network)},
        },
    )
