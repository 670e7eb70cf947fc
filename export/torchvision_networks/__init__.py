"""torchvision's Inception v3 and VGG16, frozen without their weights: `python -m export torchvision_networks`.

VGG16's features are those of the original improved precision and recall (Kynkäänniemi et al. 2019). The Inception is
that of BigGAN-PyTorch, FID_IS_infinity and torcheval: another training than FID's, so its numbers are no FID.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.blueprint import Blueprint, Tolerance
from export.inception.names import unit_names
from export.probes import standardised_pictures
from export.scaling import AS_PILLOW_READS, IMAGENET, standardised
from export.torchvision_networks.network import (
    INCEPTION_CLASSES,
    INCEPTION_FEATURES,
    INCEPTION_SIDE,
    VGG16,
    VGG_FEATURES,
    VGG_SIDE,
    TorchvisionInception,
    folded,
)
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

COMMAND = "python -m export torchvision_networks"
PUBLISHER = "https://download.pytorch.org/models/"
LICENCE = "Apache-2.0 (graph and code); weights: BSD-3, torchvision (trained on ImageNet-1k)"
_MEAN, _STD = IMAGENET

INCEPTION_PROTOCOLS: dict[str, dict[str, Any]] = {
    "biggan": {
        "default": True,
        "title": "BigGAN-PyTorch and FID_IS_infinity",
        "resize": "bilinear-corners",
        "rounding": "none",
        **standardised(IMAGENET),
        "metrics": {"class_score": {"shuffle": False}},
    },
    "torcheval": {
        "title": "torcheval's FrechetInceptionDistance",
        "resize": "bilinear",
        "rounding": "none",
        # Pixels in 0…1 go into torchvision's first step as if they were standardised: x · std/½ + (mean − ½)/½.
        "scale": [std / 127.5 for std in _STD],
        "offset": [2 * mean - 1 for mean in _MEAN],
        "metrics": {},
    },
}
VGG_PROTOCOLS: dict[str, dict[str, Any]] = {
    "tf1": {
        "default": True,
        "title": "improved precision and recall, StyleGAN2 and StyleGAN3 (pr50k3), torch-fidelity's vgg16",
        "resize": "bilinear-tf1",
        "rounding": "none",
        **standardised(IMAGENET),
        "metrics": {"precision": {"nearest_k": 3, "border_counts": True}},
    },
}
NAMES = ("inception-torchvision", "vgg16")


def main(argv: Sequence[str]) -> int:
    """Freeze torchvision's Inception v3 and VGG16."""

    def freeze(name: str, folder: Path) -> Agreement:
        return with_weights_of_nobody(name, freeze_weightless, folder)

    return freeze_command(argv, "torchvision_networks", str(main.__doc__), NAMES, freeze)


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with weights of nobody and measure that its forms agree."""
    return with_weights_of_nobody(read_manifest(folder / "manifest.json").name, verify_weightless, folder)


def with_weights_of_nobody(name: str, step: Step, folder: Path) -> Agreement:
    network = network_of_nobody(name)
    make: Callable[[Any], Blueprint] = inception if name == "inception-torchvision" else vgg
    return with_checkpoints(step, make(network), folder, [network.state_dict()])


def network_of_nobody(name: str, *, seed: int = 0) -> TorchvisionInception | VGG16:
    """He-initialised convolutions and moderate batch norms: features stay near 1, so that errors show in them."""
    stream = torch.Generator().manual_seed(seed)
    network = TorchvisionInception() if name == "inception-torchvision" else VGG16()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=stream)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1, generator=stream)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.9, 1.1, generator=stream)
                module.bias.normal_(0, 0.1, generator=stream)
                module.running_mean.normal_(0, 0.1, generator=stream)
                module.running_var.uniform_(0.8, 1.2, generator=stream)
    return network.eval().requires_grad_(False)


def inception(network: TorchvisionInception) -> Blueprint:
    """The blueprint of the Inception with its batch norms folded."""
    shared = {"size": [INCEPTION_SIDE, INCEPTION_SIDE], **AS_PILLOW_READS}
    copies = {name: {"torch": name} for name in ("fc.weight", "fc.bias")}
    return Blueprint(
        name="inception-torchvision",
        version="1",
        kind="extractor",
        title="torchvision's Inception v3 (2048-d, 1,000 classes)",
        label="torchvision's training of the Inception: not that of FID, so no number made with it is an FID or IS",
        licence=LICENCE,
        command=COMMAND,
        module=folded(network),
        inputs=(
            TensorSpec(
                "images", "float32", ("N", 3, INCEPTION_SIDE, INCEPTION_SIDE), "scaled RGB pixels", "about −2..3"
            ),
        ),
        outputs=(
            TensorSpec("features", "float32", ("N", INCEPTION_FEATURES), "global average after Mixed_7c", "none"),
            TensorSpec("logits", "float32", ("N", INCEPTION_CLASSES), "of ImageNet's classes, with bias", "none"),
        ),
        example={"images": torch.randn(2, 3, INCEPTION_SIDE, INCEPTION_SIDE)},
        probes=lambda: standardised_pictures(INCEPTION_SIDE, IMAGENET),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={"features": "features", "logits": "logits"},
        protocols={name: {**shared, **entry} for name, entry in INCEPTION_PROTOCOLS.items()},
        extra={
            "paper": "Szegedy et al. 2016 (Inception-v3)",
            "trained_on": "ImageNet-1k",
            "weights": {
                "sources": [
                    {
                        "name": "torchvision inception_v3",
                        "layout": "torch",
                        "urls": [f"{PUBLISHER}inception_v3_google-0cc3c7bd.pth"],
                        "sha256": "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
                        "bytes": 108_949_747,
                        "licence": "BSD-3-Clause",
                    }
                ]
            },
            "recipe": {
                "epsilon": 1e-3,
                "units": {unit: {"torch": unit} for unit in unit_names()},
                "copies": copies,
            },
        },
    )


def vgg(network: VGG16) -> Blueprint:
    """The blueprint of VGG16 up to its second fully connected layer."""
    shared = {"size": [VGG_SIDE, VGG_SIDE], **AS_PILLOW_READS}
    return Blueprint(
        name="vgg16",
        version="1",
        kind="extractor",
        title="VGG16 of torchvision (fc2 after ReLU, 4096-d)",
        label="",
        licence=LICENCE,
        command=COMMAND,
        module=network,
        inputs=(
            TensorSpec("images", "float32", ("N", 3, VGG_SIDE, VGG_SIDE), "standardised RGB pixels", "about −2..3"),
        ),
        outputs=(TensorSpec("features", "float32", ("N", VGG_FEATURES), "fc2 after its ReLU", "none"),),
        example={"images": torch.randn(2, 3, VGG_SIDE, VGG_SIDE)},
        probes=lambda: standardised_pictures(VGG_SIDE, IMAGENET),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={"features": "features"},
        protocols={name: {**shared, **entry} for name, entry in VGG_PROTOCOLS.items()},
        extra={
            "paper": "Simonyan and Zisserman 2015; Kynkäänniemi et al. 2019 (improved precision and recall)",
            "trained_on": "ImageNet-1k",
            "weights": {
                "sources": [
                    {
                        "name": "torchvision vgg16",
                        "layout": "torch",
                        "urls": [f"{PUBLISHER}vgg16-397923af.pth"],
                        "sha256": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                        "bytes": 553_433_881,
                        "licence": "BSD-3-Clause; VGG weights CC BY 4.0",
                    }
                ]
            },
            "recipe": {"copies": plain_copies(network)},
        },
    )
