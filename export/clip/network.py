"""The visual towers of OpenAI's CLIP (Radford et al. 2021): vision transformers with a projection.

The modules are called as in the published archives, under ``visual.``. The activation is QuickGELU,
``x · sigmoid(1.702 x)``, not GELU. The features are projected and not brought to unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.attention import Linear, attend


class Attention(nn.Module):
    """`torch.nn.MultiheadAttention` of a sequence with itself, by its parameters' names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows = nn.functional.linear(x.reshape(-1, self.width), self.in_proj_weight, self.in_proj_bias)
        return self.out_proj(attend(rows.reshape(-1, x.shape[1], 3 * self.width), self.heads))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Linear(width, 4 * width)
        self.c_proj = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class VisualTower(nn.Module):
    """Images (N, 3, side, side), standardised → features (N, dimension)."""

    def __init__(self, side: int, patch: int, width: int, depth: int, dimension: int) -> None:
        super().__init__()
        self.side = side
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + (side // patch) ** 2, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, depth, heads=width // 64)
        self.proj = nn.Parameter(torch.zeros(width, dimension))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj
