"""DINOv2's vision transformers (Oquab et al. 2023) without registers, for pictures of 224 × 224 pixels.

The modules are called as in the published checkpoints. Two things are easily lost on the way:

- The position table is of 37 × 37 patches (518 pixels) and is resized to 16 × 16 by bicubic interpolation (a = −0.75,
  no antialias) with the scale factor (16 + 0.1)/37: the 0.1, put there against rounding, shifts every sample and has to
  be kept. Interpolation is linear, so two small constant matrices in the graph do it to whatever table is published.
- The features are the class token *after* the last layer norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.attention import Linear, attend

SIDE, PATCH = 224, 14
GRID, PUBLISHED_GRID = SIDE // PATCH, 37
OFFSET = 0.1  # of the interpolation
EPSILON = 1e-6


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend(self.qkv(x), self.heads))


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, 4 * width)
        self.fc2 = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(2))
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class DINOv2(nn.Module):
    """Images (N, 3, 224, 224), standardised → features (N, width)."""

    interpolation: Tensor

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PUBLISHED_GRID**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.register_buffer("interpolation", interpolation_matrix(), persistent=False)

    def positions(self) -> Tensor:
        """(1, 257, width): the published table for this many patches."""
        rows = self.interpolation @ self.pos_embed[0, 1:].reshape(PUBLISHED_GRID, PUBLISHED_GRID * self.width)
        table = self.interpolation @ rows.reshape(GRID, PUBLISHED_GRID, self.width)
        return torch.cat([self.pos_embed[:, :1], table.reshape(1, GRID**2, self.width)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.positions()
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])


def interpolation_matrix() -> Tensor:
    """(16, 37): torch's own bicubic interpolation of each unit vector, along one axis, in float32 as the network's."""
    units = torch.eye(PUBLISHED_GRID)[None, :, :, None]  # (1, 37 vectors, 37 long, 1)
    scale = (GRID + OFFSET) / PUBLISHED_GRID
    resized = functional.interpolate(units, scale_factor=(scale, 1.0), mode="bicubic", align_corners=False)
    return resized[0, :, :, 0].T.contiguous()
