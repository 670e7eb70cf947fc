"""ResNet-20 trained on CIFAR-10, from its published checkpoint to an extractor bundle, with the workshop.

The checkpoint is that of github.com/akamaster/pytorch_resnet_cifar10 (`resnet20.th`, BSD-style licence), written by
DataParallel in torch's legacy container. Architecture: "Deep Residual Learning for Image Recognition" (He et al.,
2016), section 4.2, with the parameter-free shortcuts of option A.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from export.blueprint import Arrays, Blueprint, Tolerance
from export.freeze import freeze
from genmetrics_rt.manifest import TensorSpec

SIZE = 32  # pixels a side
FEATURES = 64
# In the order of the logits.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Block(nn.Module):
    """Two convolutions beside a shortcut; a block that halves the picture doubles the channels with zeros."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        stride = outside // inside
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.widening = stride, (outside - inside) // 2  # zero channels on either side

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.widening, self.widening))
        return relu(y + x)


class ResNet20(nn.Module):
    """Images (N, 3, 32, 32) in [0, 1] → features (N, 64) after the mean over places, and class logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = (images - self.mean) / self.deviation
        x = relu(self.bn1(self.conv1(x)))
        features = self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))
        return features, self.linear(features)

    @classmethod
    def from_checkpoint(cls, file: Path) -> ResNet20:
        record = torch.load(file, map_location="cpu", weights_only=True)
        network = cls().eval()
        network.load_state_dict({name.removeprefix("module."): x for name, x in record["state_dict"].items()})
        return network


def make_bundle(checkpoint: Path, folder: Path) -> Path:
    """Freeze the checkpoint into ``folder``; raises `Disagreement` unless eager, TorchScript, ONNX and NumPy agree."""
    freeze(blueprint(checkpoint), folder)
    return folder


def blueprint(checkpoint: Path) -> Blueprint:
    protocol = {
        "default": True, "size": [SIZE, SIZE], "resize": "triangle-antialias", "rounding": "none", "alpha": "white",
        "layout": "NCHW", "dtype": "float32", "scale": 1 / 255, "offset": 0.0, "metrics": {},
    }  # fmt: skip
    return Blueprint(
        name="resnet20-cifar10",
        version="1",
        kind="extractor",
        title="ResNet-20 trained on CIFAR-10",
        label="features of a small classifier of CIFAR-10",
        licence="BSD-2-Clause",
        command="tests/resnet20.py",
        module=ResNet20.from_checkpoint(checkpoint),
        inputs=(TensorSpec("images", "float32", ("N", 3, SIZE, SIZE), "RGB pixels", "0..1"),),
        outputs=(
            TensorSpec("features", "float32", ("N", FEATURES), "last activations, averaged over places", "none"),
            TensorSpec("logits", "float32", ("N", len(CLASSES)), "class scores before the softmax", "nats"),
        ),
        example={"images": torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))},
        probes=_probes,
        tolerance=Tolerance(absolute=1e-4, relative=1e-5),
        taps={"features": "features", "logits": "logits"},
        protocols={"32x32": protocol},
        selftest_range={"images": (0.0, 1.0)},
    )


def _probes() -> dict[str, Arrays]:
    noise = np.random.default_rng(0).random((3, 3, SIZE, SIZE), dtype=np.float32)
    return {"noise": {"images": noise}, "black": {"images": np.zeros((1, 3, SIZE, SIZE), np.float32)}}
