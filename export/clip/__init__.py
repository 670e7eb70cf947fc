"""The visual towers of CLIP ViT-B/32 and ViT-L/14 at 336 pixels, frozen without their weights: `python -m export clip`.

Features for CLIP-FID (Kynkäänniemi et al. 2023, clean-fid) and CMMD (Jayasumana et al. 2024). The published files are
TorchScript archives in half precision that hold the text tower too; only the visual one is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export.blueprint import Blueprint, Tolerance
from export.clip.network import VisualTower
from export.probes import standardised_pictures
from export.scaling import AS_PILLOW_READS, CLIP, standardised
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

_RESIZED_BY_PILLOW = {"resize": "pillow-bicubic", "rounding": "uint8"}
_CLEAN_FID = {
    "title": "clean-fid's clip_vit_b_32 and CLIP's own preprocessing",
    **_RESIZED_BY_PILLOW,
    "crop": "shorter-side",
    "metrics": {},
}
_TORCH_FIDELITY = {
    "title": "torch-fidelity's clip-vit-*",
    "resize": "bilinear-tf1",
    "rounding": "none",
    "metrics": {},
}
_CMMD = {
    "title": "CMMD (google-research/cmmd and its port to PyTorch)",
    **_RESIZED_BY_PILLOW,
    "crop": "centre-square",
    "metrics": {"rbf": {"sigma": 10.0, "normalise": True, "scale": 1000.0, "unbiased": False}},
    "published": "cmmd",
}


@dataclass(frozen=True)
class Tower:
    title: str
    side: int
    patch: int
    width: int
    depth: int
    dimension: int
    file: str  # its sha256 is part of its address
    sha256: str
    num_bytes: int
    protocols: dict[str, dict[str, Any]]  # the first is the default
    paper: str


TOWERS = {
    "clip-vit-b-32": Tower(
        "ViT-B/32", 224, 32, 768, 12, 512,
        "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 353_976_522,
        {"clean-fid": _CLEAN_FID, "torch-fidelity": _TORCH_FIDELITY},
        "Radford et al. 2021 (CLIP); Kynkäänniemi et al. 2023 (CLIP-FID)",
    ),
    "clip-vit-l-14-336": Tower(
        "ViT-L/14 at 336 pixels", 336, 14, 1024, 24, 768,
        "ViT-L-14-336px.pt", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", 934_088_680,
        {
            "cmmd": _CMMD,
            "clip": {**_CLEAN_FID, "title": "CLIP's own preprocessing"},
            "torch-fidelity": _TORCH_FIDELITY,
        },
        "Radford et al. 2021 (CLIP); Jayasumana et al. 2024 (CMMD)",
    ),
}  # fmt: skip
PUBLISHER = "https://openaipublic.azureedge.net/clip/models/"


def main(argv: Sequence[str]) -> int:
    """Freeze the visual towers of CLIP."""

    def freeze(name: str, folder: Path) -> Agreement:
        return with_weights_of_nobody(name, freeze_weightless, folder)

    return freeze_command(argv, "clip", str(main.__doc__), tuple(TOWERS), freeze)


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with weights of nobody and measure that its forms agree."""
    return with_weights_of_nobody(read_manifest(folder / "manifest.json").name, verify_weightless, folder)


def with_weights_of_nobody(name: str, step: Step, folder: Path) -> Agreement:
    network = network_of_nobody(name)
    return with_checkpoints(step, blueprint(name, network), folder, [published(network)])


def network_of_nobody(name: str, *, seed: int = 0) -> VisualTower:
    """Seeded weights of a trained network's size, rounded to half precision as the published ones are."""
    tower = TOWERS[name]
    network = VisualTower(tower.side, tower.patch, tower.width, tower.depth, tower.dimension)
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if ".ln_" in f".{parameter_name}" and parameter_name.endswith(".weight"):
                parameter.uniform_(0.5, 1.5, generator=stream)
            elif parameter.ndim > 1 and "embedding" not in parameter_name:
                inputs = parameter.shape[0] if parameter_name == "proj" else parameter[0].numel()
                parameter.normal_(0, inputs**-0.5, generator=stream)
            else:
                parameter.normal_(0, 0.1, generator=stream)
            parameter.copy_(parameter.half())
    return network.eval().requires_grad_(False)


def published(network: VisualTower) -> dict[str, torch.Tensor]:
    """The visual part of a state dict as it is published."""
    return {f"visual.{name}": value.half() for name, value in network.state_dict().items()}


def blueprint(name: str, network: VisualTower) -> Blueprint:
    tower = TOWERS[name]
    shared = {"size": [tower.side, tower.side], **AS_PILLOW_READS, **standardised(CLIP)}
    default = next(iter(tower.protocols))
    return Blueprint(
        name=name,
        version="1",
        kind="extractor",
        title=f"CLIP {tower.title} (projected image features, {tower.dimension}-d)",
        label="",
        licence="Apache-2.0 (graph and code); weights: MIT, OpenAI",
        command="python -m export clip",
        module=network,
        inputs=(
            TensorSpec("images", "float32", ("N", 3, tower.side, tower.side), "standardised RGB pixels", "about −2..2"),
        ),
        outputs=(TensorSpec("features", "float32", ("N", tower.dimension), "projected, not of unit length", "none"),),
        example={"images": torch.randn(2, 3, tower.side, tower.side, generator=torch.Generator().manual_seed(0))},
        probes=lambda: standardised_pictures(tower.side, CLIP),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={"features": "features"},
        protocols={
            key: {**shared, **({"default": True} if key == default else {}), **entry}
            for key, entry in tower.protocols.items()
        },
        extra={
            "paper": tower.paper,
            "trained_on": "400 million images with captions from the web",
            "weights": {
                "sources": [
                    {
                        "name": f"OpenAI CLIP {tower.title}",
                        "layout": "torch",
                        "urls": [f"{PUBLISHER}{tower.sha256}/{tower.file}"],
                        "sha256": tower.sha256,
                        "bytes": tower.num_bytes,
                        "licence": "MIT",
                    }
                ]
            },
            "recipe": {"copies": plain_copies(network, lambda own: f"visual.{own}")},
        },
    )
