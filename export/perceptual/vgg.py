"""The perceptual losses on VGG-16: content and style.

J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016, with
the layers of its code, `fast-neural-style`. With F_l (C, H·W) the features of layer l after ReLU and
G_l = F_l F_lᵀ / (C·H·W) their Gram matrix:

    content = mean over C, H, W of (F(first) − F(second))²  at relu3_3
    style   = Σ_l mean over the C² entries of (G_l(first) − G_l(second))²  at relu1_2, relu2_2, relu3_3, relu4_3

The mean over the entries is what the code computes; the paper writes the squared Frobenius norm, which is C² times as
much. The code weighs the style with 5 against the content's 1; here both are given as they are. Its network has Caffe's
weights and takes BGR in 0…255 less a mean; this one has torchvision's, with ImageNet's mean and standard deviation, so
that values differ from the code's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.perceptual.lpips import trunk
from export.perceptual.parts import summed_map

BACKBONE = "vgg16"
CONTENT = 15  # relu3_3
STYLE = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3
LEAST_SIDE = 8
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VggLoss(nn.Module):
    """Two batches (N, 3, H, W) float32, RGB in 0…255 → content (N,), style (N,), and the content's maps (N, H, W)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = trunk(BACKBONE, STYLE[-1])
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b = self._layers(first), self._layers(second)
        difference = a[CONTENT] - b[CONTENT]
        found = (difference * difference).mean(dim=1)
        style = torch.stack([_style_loss(a[layer], b[layer]) for layer in STYLE]).sum(0)
        return found.mean(dim=(1, 2)), style, summed_map([found], first)

    def _layers(self, images: Tensor) -> dict[int, Tensor]:
        x = (images / 255 - self.mean) / self.deviation
        found = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in STYLE:
                found[index] = x
        return found


def _style_loss(a: Tensor, b: Tensor) -> Tensor:
    difference = gram(a) - gram(b)
    return (difference * difference).mean(dim=(1, 2))


def gram(features: Tensor) -> Tensor:
    """F Fᵀ / (C·H·W) of (N, C, H, W): (N, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (features.shape[1] * features.shape[2] * features.shape[3])
