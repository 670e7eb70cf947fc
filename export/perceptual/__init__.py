"""Perceptual distances, frozen: `python -m export perceptual`.

`scattering-distance` needs no weights. LPIPS and the VGG loss ship without theirs, which are their publishers': graph
and recipe are in the wheel, and filled on the user's machine from two files (LPIPS: a torchvision network, "trunk", and
the linear weights, "lin") or one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from export.blueprint import Blueprint, Tolerance
from export.freeze import freeze
from export.perceptual import vgg
from export.perceptual.lpips import BACKBONES, Lpips
from export.perceptual.parts import IMAGES, example, probes
from export.perceptual.scattering import LEAST_SIDE, ScatteringDistance
from export.verify import Agreement
from export.weightless import freeze_weightless, plain_copies, verify_weightless
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.manifest import TensorSpec

SCATTERING, VGG_LOSS = "scattering-distance", "vgg-loss"
COMMAND = "python -m export perceptual"
DISTANCE = TensorSpec("distance", "float32", ("N",), "perceptual distance of each pair", "none")
MAP = TensorSpec("map", "float32", ("N", "H", "W"), "where the pair differs", "of the distance")
TRIAL = {"H": 64, "W": 64}  # pixels of the trial run when weights are filled in

TRUNKS: dict[str, dict[str, Any]] = {
    "alex": {
        "name": "torchvision alexnet",
        "urls": ["https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"],
        "sha256": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "bytes": 244_408_911,
        "licence": "BSD-3-Clause (torchvision); trained on ImageNet-1k",
    },
    "vgg": {
        "name": "torchvision vgg16",
        "urls": ["https://download.pytorch.org/models/vgg16-397923af.pth"],
        "sha256": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "bytes": 553_433_881,
        "licence": "BSD-3-Clause (torchvision), CC BY 4.0 (VGG); trained on ImageNet-1k",
    },
    "squeeze": {
        "name": "torchvision squeezenet1_1",
        "urls": ["https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"],
        "sha256": "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        "licence": "BSD-3-Clause (torchvision); trained on ImageNet-1k",
    },
}
LINEAR: dict[str, tuple[str, int]] = {  # sha256 and bytes
    "alex": ("df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", 6_009),
    "vgg": ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7_289),
    "squeeze": ("4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76", 10_811),
}
_LINEAR_URL = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/{}.pth"

Step = Callable[[Blueprint, Path, Sequence[Path]], Agreement]


def main(argv: Sequence[str]) -> int:
    """Freeze the perceptual distances."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, help="folder that takes the bundles")
    parser.add_argument("--only", metavar="NAME", help="one of them")
    arguments = parser.parse_args(argv)
    names = (SCATTERING, *WEIGHT_FREE)
    if arguments.only is not None and arguments.only not in names:
        parser.error(f"--only takes {', '.join(names)}")
    for name in names if arguments.only is None else (arguments.only,):
        folder = arguments.output / name
        made = freeze(scattering(), folder) if name == SCATTERING else with_weights_of_nobody(name, folder)
        print(f"{name}\n{made.summary()}")
    return 0


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with random weights and measure that its forms agree."""
    return with_weights_of_nobody(folder.name, folder, verify_weightless)


def scattering(_: Path | None = None) -> Blueprint:
    """The blueprint of the distance without weights."""
    return Blueprint(
        name=SCATTERING,
        version="1",
        kind="distance",
        title="wavelet scattering distance (training-free)",
        label="training-free perceptual baseline on the built-in extractor's maps; not LPIPS, not comparable with it",
        licence="Apache-2.0",
        command=COMMAND,
        module=ScatteringDistance().eval(),
        inputs=IMAGES,
        outputs=(DISTANCE, MAP),
        example=example(40, 56),
        probes=lambda: probes([(16, 16), (33, 20), (8, 8), (17, 45)]),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={"scattering": "distance"},
        extra={"maps": {"scattering": "map"}, "least_side": LEAST_SIDE},
        selftest_range={"first": (0.0, 255.0), "second": (0.0, 255.0)},
        selftest_sizes={"N": 2, "H": 24, "W": 33},
    )


def lpips(backbone: str, module: Lpips) -> Blueprint:
    """The blueprint of LPIPS on "alex", "vgg" or "squeeze"."""
    name = f"lpips-{backbone}"
    published = {"alex": "AlexNet", "vgg": "VGG-16", "squeeze": "SqueezeNet 1.1"}[backbone]
    sha256, size = LINEAR[backbone]
    linear = {
        "part": "lin",
        "name": f"LPIPS 0.1 linear weights, {backbone}",
        "layout": "torch",
        "urls": [_LINEAR_URL.format(backbone)],
        "sha256": sha256,
        "bytes": size,
        "licence": "BSD-2-Clause (PerceptualSimilarity)",
    }
    trunk = {"part": "trunk", "layout": "torch", **TRUNKS[backbone]}
    copies = plain_copies(module, part="trunk")
    for layer in range(len(module.lin)):
        copies[f"lin.{layer}.weight"] = {"torch": f"lin{layer}.model.1.weight", "part": "lin"}
    least = BACKBONES[backbone].least_side
    return Blueprint(
        name=name,
        version="1",
        kind="distance",
        title=f"LPIPS 0.1 on {published}",
        label="",
        licence="Apache-2.0 (graph and code); weights: BSD-3-Clause (torchvision), BSD-2-Clause (LPIPS)",
        command=COMMAND,
        module=module,
        inputs=IMAGES,
        outputs=(DISTANCE, MAP),
        example=example(72, 88),
        probes=lambda: probes([(least, least), (64, 64), (51, 70), (33, 97)]),
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        least_sizes={"H": least, "W": least},
        taps={name: "distance"},
        extra={
            "maps": {name: "map"},
            "least_side": least,
            "paper": "Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
            "trained_on": "ImageNet-1k; linear weights: BAPPS",
            "weights": {"sources": [trunk, linear]},
            "recipe": {"copies": copies, "sizes": TRIAL},
        },
    )


def vgg_loss(module: vgg.VggLoss) -> Blueprint:
    """The blueprint of the content and the style loss."""
    return Blueprint(
        name=VGG_LOSS,
        version="1",
        kind="distance",
        title="VGG-16 perceptual loss (torchvision's weights, ImageNet mean and deviation)",
        label="torchvision's weights: values differ from those of fast-neural-style's Caffe weights",
        licence="Apache-2.0 (graph and code); weights: BSD-3-Clause (torchvision), CC BY 4.0 (VGG)",
        command=COMMAND,
        module=module,
        inputs=IMAGES,
        outputs=(
            TensorSpec("content", "float32", ("N",), "mean squared difference at relu3_3", "none"),
            TensorSpec(
                "style", "float32", ("N",), "of Gram matrices: mean squared difference, four layers added", "none"
            ),
            TensorSpec("content_map", "float32", ("N", "H", "W"), "where the content differs", "of the content loss"),
        ),
        example=example(40, 56),
        probes=lambda: probes([(8, 8), (64, 64), (33, 50), (40, 23)]),
        tolerance=Tolerance(absolute=1e-9, relative=1e-5),
        least_sizes={"H": vgg.LEAST_SIDE, "W": vgg.LEAST_SIDE},
        taps={"vgg": "content", "vgg-style": "style"},
        extra={
            "maps": {"vgg": "content_map"},
            "titles": {
                "vgg": "VGG-16 content loss at relu3_3 (torchvision's weights)",
                "vgg-style": "VGG-16 style loss (torchvision's weights)",
            },
            "least_side": vgg.LEAST_SIDE,
            "paper": "Johnson et al. 2016, Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
            "trained_on": "ImageNet-1k",
            "weights": {"sources": [{"layout": "torch", **TRUNKS["vgg"]}]},
            "recipe": {"copies": plain_copies(module), "sizes": TRIAL},
        },
    )


WEIGHT_FREE = (*(f"lpips-{backbone}" for backbone in BACKBONES), VGG_LOSS)


def with_weights_of_nobody(name: str, folder: Path, step: Step = freeze_weightless) -> Agreement:
    """Do ``step`` with random weights, in files of the published layout."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        if name == VGG_LOSS:
            module: Lpips | vgg.VggLoss = vgg.VggLoss().eval()
            blueprint = vgg_loss(module)
        else:
            backbone = name.removeprefix("lpips-")
            module = Lpips(BACKBONES[backbone]).eval()
            for linear in module.lin:
                torch.nn.init.uniform_(linear.weight, 0, 0.1)  # the published ones are not negative either
            blueprint = lpips(backbone, module)
        for parameter in module.features.parameters():
            if parameter.ndim == 1:  # equal ones, as the zeros of a fresh network, would become one in the graph
                torch.nn.init.uniform_(parameter, -0.05, 0.05)
        return step(blueprint, folder, list(_checkpoints(module, blueprint, Path(temporary))))


def _checkpoints(module: torch.nn.Module, blueprint: Blueprint, folder: Path) -> Iterator[Path]:
    """The weights of a module as their publishers would write them, a file for each part."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    state = module.state_dict()
    for own, names in blueprint.extra["recipe"]["copies"].items():
        parts.setdefault(names.get("part", "weights"), {})[names["torch"]] = state[own]
    for part, tensors in parts.items():
        path = folder / f"{part}.pth"
        torch.save(tensors, path)
        yield path
