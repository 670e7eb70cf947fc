"""LPIPS 0.1: distances of deep features under linear weights fitted to what people see.

R. Zhang, P. Isola, A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", CVPR 2018; the package `lpips`. With f_l(x) the features of layer l after ReLU, each place divided by its norm
over the channels (plus 1e-10), and w_l ≥ 0 the published weights:

    map_l(p) = Σ_c w_l,c (f_l,c(first)(p) − f_l,c(second)(p))²
    distance = Σ_l mean_p map_l(p)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models

from export.perceptual.parts import summed_map

NORM_OFFSET = 1e-10
# ImageNet's mean and standard deviation, expressed on [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Backbone:
    """A torchvision network and the layers of it that LPIPS looks at: the last index of each slice of ``features``."""

    create: str  # name in torchvision.models
    last: tuple[int, ...]
    channels: tuple[int, ...]
    least_side: int  # pixels; one less leaves a layer empty


BACKBONES = {
    "alex": Backbone("alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31),
    "vgg": Backbone("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16),
    "squeeze": Backbone("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17),
}


def trunk(backbone: str, last: int) -> nn.Sequential:
    """torchvision's ``features`` up to an index, under its own names, with random weights."""
    network = getattr(models, backbone)(weights=None)
    return network.features[: last + 1]


class Lpips(nn.Module):
    """Two batches (N, 3, H, W) float32, RGB in 0…255 → distances (N,) and maps (N, H, W)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.last = backbone.last
        self.features = trunk(backbone.create, backbone.last[-1])
        self.lin = nn.ModuleList(nn.Conv2d(channels, 1, 1, bias=False) for channels in backbone.channels)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        maps = [
            lin((a - b) * (a - b))[:, 0]
            for lin, a, b in zip(self.lin, self._normed(first), self._normed(second), strict=True)
        ]
        distance = torch.stack([found.mean(dim=(1, 2)) for found in maps]).sum(0)
        return distance, summed_map(maps, first)

    def _normed(self, images: Tensor) -> list[Tensor]:
        x = (images / 127.5 - 1 - self.shift) / self.scale
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.last:
                norm = torch.sqrt((x * x).sum(dim=1, keepdim=True))
                found.append(x / (norm + NORM_OFFSET))
        return found
